"""The checklist of a yearly refresh: what the platform has seen is ticked, what it has not seen is open, and no line says more."""

from __future__ import annotations

import re
import shutil
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner

from orchestration import audit
from orchestration.cli import main
from orchestration.deliveries.contracts import Organisation
from orchestration.deliveries.ingest import ingest
from orchestration.ledger import now
from orchestration.releases.registers import Terms, _row
from orchestration.settings import CHECKOUT
from orchestration.simulation.mutations import mutate
from orchestration.stewards.checklist import DONE, OPEN, PERSON, checklist, markdown, wording
from tests.conftest import Platform
from tests.deliveries.making import deliver, delivery_in
from tests.test_cli import environment

Contracts = dict[str, Organisation]
TODAY = date(2026, 6, 1)


def states(home: Platform, contracts: Contracts, year: str | None = None, today: date = TODAY) -> dict[str, str]:
    return {item.name: item.state for item in checklist(home.settings, home.ledger, contracts, today, year)}


def test_of_an_empty_home_everything_is_open_but_what_needs_nothing(platform: Platform, contracts: Contracts) -> None:
    found = states(platform, contracts)
    by_hand = {"rehearsed", "packages", "past", "explained", "deposited"}
    assert {name for name, state in found.items() if state == PERSON} == by_hand
    needs_nothing = {"audit_trail", "waivers", "permissions", "told", "proven"}
    assert {name for name, state in found.items() if state == OPEN} == set(found) - by_hand - needs_nothing


def test_each_step_of_the_year_is_ticked_when_it_is_seen_and_not_before(
    platform: Platform, simulated: Path, contracts: Contracts
) -> None:
    settings, ledger = platform.settings, platform.ledger
    asking = ("asked", "received", "accepted")
    assert [states(platform, contracts)[name] for name in asking] == [OPEN, OPEN, OPEN]
    ledger.ask_follow_up("2025", "steward")
    assert [states(platform, contracts)[name] for name in asking] == [DONE, OPEN, OPEN]
    spoiled = deliver(delivery_in(simulated, "registry"), settings.inbox_path, "spoiled", "2025")
    mutate(spoiled, "missing_column")
    assert ingest(spoiled, settings, ledger).status == "rejected"
    assert [states(platform, contracts)[name] for name in asking] == [DONE, DONE, OPEN]
    said = markdown(checklist(settings, ledger, contracts, TODAY), "2025", "en", is_simulated=True)
    assert "rejected: column.missing" in said
    good = deliver(delivery_in(simulated, "registry"), settings.inbox_path, "good", "2025", sequence=2)
    assert ingest(good, settings, ledger).status == "accepted"
    assert [states(platform, contracts)[name] for name in asking] == [DONE, DONE, DONE]
    assert [states(platform, contracts, "2024")[name] for name in asking] == [OPEN, OPEN, OPEN]
    assert states(platform, contracts)["published"] == OPEN


def test_a_copy_counts_for_a_month(platform: Platform, contracts: Contracts) -> None:
    audit.record(platform.ledger, "backup.made", "a copy")
    made = now().date()
    assert states(platform, contracts, today=made)["backup"] == DONE
    assert states(platform, contracts, today=date(made.year + 1, 12, 31))["backup"] == OPEN


def test_a_permission_that_ends_soon_is_said_with_its_day(platform: Platform, contracts: Contracts) -> None:
    terms = Terms(
        "researcher", ("consent",), "a paper", "2026-1", ("all",), ("none",), date(2026, 1, 1), date(2026, 7, 1)
    )
    for by in ("steward", "checker"):
        platform.ledger.record_permission(_row(terms), by)
    found = {item.name: item for item in checklist(platform.settings, platform.ledger, contracts, TODAY)}["permissions"]
    assert found.state == OPEN
    assert found.seen is not None
    assert found.seen.values == {"count": 1, "day": date(2026, 7, 1)}
    assert states(platform, contracts, today=date(2026, 4, 1))["permissions"] == DONE


def test_an_audit_trail_that_was_changed_is_not_ticked(platform: Platform, contracts: Contracts) -> None:
    audit.record(platform.ledger, "backup.made", "a copy")
    assert states(platform, contracts)["audit_trail"] == DONE
    platform.settings.audit_seal_path.unlink()
    assert states(platform, contracts)["audit_trail"] == OPEN


def test_every_item_and_sentence_is_there_in_both_languages_and_explained_in_the_docs() -> None:
    words = wording()
    for part in ("stages", "items", "states", "said"):
        assert all(entry["nl"] and entry["en"] for entry in words[part].values()), part
    for entry in words["said"].values():
        assert set(re.findall(r"{(\w+)}", entry["nl"])) == set(re.findall(r"{(\w+)}", entry["en"]))
    page = (CHECKOUT / "docs" / "yearly-refresh.md").read_text(encoding="utf-8")
    explained = re.findall(r"^- (?:\*\*(\w+)\*\*|\*(\w+)\*)", page, re.MULTILINE)
    assert [own or hand for own, hand in explained] == list(words["items"])
    assert {hand for _, hand in explained if hand} == {
        name for name, one in words["items"].items() if one.get("by") == PERSON
    }


@pytest.mark.parametrize(
    ("language", "said"), [("nl", "Het uittreksel is gevraagd"), ("en", "The extract is asked for")]
)
def test_the_command_prints_it_in_the_language_that_is_asked_for(platform: Platform, language: str, said: str) -> None:
    shown = CliRunner().invoke(main, ["checklist", "2025", "--lang", language], env=environment(platform.settings))
    assert shown.exit_code == 0, shown.output
    assert f"- [ ] {said}" in shown.output
    wrong = CliRunner().invoke(main, ["checklist", "soon"], env=environment(platform.settings))
    assert wrong.exit_code == 2
    shutil.rmtree(platform.settings.home_path)
