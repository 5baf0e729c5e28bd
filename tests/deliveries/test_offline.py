"""A partner's dry run: the same rules without home, key or ledger, and a page that can be mailed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from orchestration.cli import main
from orchestration.deliveries.ingest import REFERENCE, check_delivery
from orchestration.deliveries.offline import SNAPSHOT_RULES, NoReference, Reference, check_offline, read_reference
from orchestration.settings import Settings
from orchestration.simulation.mutations import mutate
from tests.conftest import Platform
from tests.deliveries.making import change_rows, deliver, delivery_in

SOME = (
    "days_swapped",
    "empty_table",
    "file_missing",
    "missing_column",
    "national_number_swapped",
    "rows_fewer_than_said",
    "unknown_code",
)
ORGANISATIONS = ("ljr", "registry", "rn", "svg")


def reference_of(platform: Platform, organisation: str) -> Path:
    (found,) = (platform.settings.letters / organisation).glob(f"*/*/{REFERENCE}")
    return found


@pytest.mark.parametrize("name", SOME)
def test_a_partner_finds_what_the_platform_would_find(settled: Platform, tmp_path: Path, name: str) -> None:
    bad = deliver(delivery_in(settled.settings.inbox_path, "rn"), tmp_path / "outside", "bad", sequence=2)
    mutate(bad, name)
    nowhere = Settings(home=tmp_path / "nowhere", admit_test_numbers=True)
    offline = check_offline(bad, nowhere, read_reference(reference_of(settled, "rn")))
    inside = check_delivery(bad, settled.settings, settled.ledger)
    assert offline.receipt.status == inside.status == "rejected"
    found = {reason.rule for reason in inside.reasons} - set(SNAPSHOT_RULES[1:])
    assert {reason.rule for reason in offline.receipt.reasons} == found
    assert set(SNAPSHOT_RULES) == set(offline.not_applied)
    assert not nowhere.home.exists()


@pytest.mark.parametrize("organisation", ORGANISATIONS)
def test_a_good_delivery_is_good_offline_and_what_was_not_applied_is_named(
    simulated: Path, tmp_path: Path, organisation: str
) -> None:
    verdict = check_offline(
        delivery_in(simulated, organisation), Settings(home=tmp_path / "nowhere", admit_test_numbers=True), None
    )
    assert verdict.receipt.status == "accepted"
    assert verdict.receipt.content_hash is None
    assert "rows.shrunk" in verdict.not_applied


def test_counts_of_the_last_receipt_find_a_delivery_that_lost_rows(settled: Platform, tmp_path: Path) -> None:
    short = deliver(delivery_in(settled.settings.inbox_path, "rn"), tmp_path / "outside", "short", sequence=2)
    change_rows(short, "item_responses", lambda rows: rows[: len(rows) // 2])
    nowhere = Settings(home=tmp_path / "nowhere", admit_test_numbers=True)
    assert check_offline(short, nowhere, None).receipt.status == "accepted"
    verdict = check_offline(short, nowhere, read_reference(reference_of(settled, "rn")))
    assert [(reason.rule, reason.table) for reason in verdict.receipt.reasons] == [("rows.shrunk", "item_responses")]


def test_a_reference_holds_counts_only_and_another_organisations_is_refused(settled: Platform, tmp_path: Path) -> None:
    path = reference_of(settled, "rn")
    content = json.loads(path.read_text())
    assert set(content) == {"organisation", "period", "delivery_id", "rows"}
    assert all(isinstance(count, int) for count in content["rows"].values())
    with pytest.raises(NoReference, match="the reference is of svg"):
        check_offline(
            delivery_in(settled.settings.inbox_path, "rn"), settled.settings, Reference("svg", "2025-Q4", "x", {})
        )
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(NoReference, match=r"not a reference\.json"):
        read_reference(tmp_path / "other.json")


@pytest.mark.parametrize(("language", "word"), [("nl", "zou worden geweigerd"), ("en", "would be rejected")])
def test_the_page_asks_nobody_for_anything_and_repeats_no_value(
    settled: Platform, tmp_path: Path, language: str, word: str
) -> None:
    planted = "<script>Wilhelmina Geheim</script>"
    bad = deliver(delivery_in(settled.settings.inbox_path, "rn"), tmp_path / "outside", "bad", sequence=2)
    change_rows(bad, "clients", lambda rows: [{**rows[0], "Geslacht": planted, "Achternaam": planted}, *rows[1:]])
    page, reference = tmp_path / "page.html", str(reference_of(settled, "rn"))
    done = CliRunner().invoke(
        main,
        ["check", str(bad), "--offline", "--reference", reference, "--html", str(page), "--lang", language],
        env={"DELICTVRIJ_HOME": str(tmp_path / "nowhere"), "DELICTVRIJ_ADMIT_TEST_NUMBERS": "1"},
    )
    assert done.exit_code == 1, done.output
    text = page.read_text()
    assert word in text
    assert "value.code" in text
    assert "Wilhelmina" not in text + done.output
    assert re.findall(r"(?:src|href|url)\s*[=(]", text) == []
    assert "<script" not in text
    assert "default-src 'none'" in text
    assert "rows.shrunk" in text
    assert "rows.shrunk" in done.output


def test_changes_and_offline_do_not_go_together(settled: Platform) -> None:
    delivery = delivery_in(settled.settings.inbox_path, "rn")
    for words in (["--offline", "--changes"], ["--reference", "x.json"]):
        done = CliRunner().invoke(main, ["check", str(delivery), *words])
        assert done.exit_code == 2
        assert "goes with" in done.output or "does not go with" in done.output
