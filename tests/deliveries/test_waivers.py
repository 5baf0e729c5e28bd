"""A failed rule is accepted by two people, for one delivery, until a day; and that is seen wherever it has an effect."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from orchestration.deliveries import waivers
from orchestration.deliveries.contracts import Organisation
from orchestration.deliveries.inbox import waiting
from orchestration.deliveries.ingest import ingest, known_key
from orchestration.deliveries.judgement import Judgement, Status, failed
from orchestration.deliveries.page import page
from orchestration.deliveries.waivers import WAIVABLE, CannotWaive, Waiver, read_waivers, waive
from orchestration.settings import Settings
from orchestration.status import lines
from orchestration.warehouse import build
from tests.conftest import Platform
from tests.deliveries.making import change_rows, deliver, delivery_in

TODAY, LATER = date(2026, 1, 15), date(2099, 12, 31)
PLACE = ("rn", "2025-Q4", "short")
SHRUNK = Waiver("rows.shrunk", *PLACE, reason="the archive moved", by=("ann", "bob"), until=LATER)


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return settings.model_copy(update={"waivers": tmp_path / "waivers.yml"})


def rejected(settled: Platform, tmp_path: Path) -> tuple[Settings, Path]:
    """A delivery of rn that lost a third of its covariates, refused; and settings with waivers of their own."""
    settings = settled.settings.model_copy(update={"waivers": tmp_path / "waivers.yml"})
    short = deliver(delivery_in(settings.inbox_path, "rn"), settings.inbox_path, "short", sequence=2)
    change_rows(short, "covariates", lambda rows: rows[: len(rows) * 2 // 3])
    receipt = ingest(short, settings, settled.ledger)
    assert [reason.rule for reason in receipt.reasons] == ["rows.shrunk"]
    return settings, short


def test_two_people_sign_and_the_delivery_is_judged_again_and_everybody_sees_it(
    settled: Platform, contracts: dict[str, Organisation], tmp_path: Path
) -> None:
    settings, short = rejected(settled, tmp_path)
    ledger, path = settled.ledger, settings.waivers_file
    signed, _ = waive(path, ledger, "short", "rows.shrunk", "the archive moved", LATER, "ann", TODAY)
    assert not signed.holds(TODAY)
    same, _ = waive(path, ledger, "short", "rows.shrunk", "again", LATER, "ann", TODAY)
    assert not same.holds(TODAY)  # one person twice is one person
    assert waiting(settings, ledger, contracts) == []
    signed, record = waive(path, ledger, "short", "rows.shrunk", "agreed", LATER, "bob", TODAY)
    assert (signed.by, signed.reason) == (("ann", "bob"), "the archive moved")
    assert [item.path for item in waiting(settings, ledger, contracts)] == [short]

    receipt = ingest(short, settings, ledger)

    assert receipt.status == "accepted"
    assert [finding.rule for finding in receipt.waived] == ["rows.shrunk"]
    said = "ann, bob; 2099-12-31; the archive moved"
    for language in ("nl", "en"):
        letter = next((settings.letters / "rn").glob(f"*/short-*/letter.{language}.txt")).read_text()
        assert said in letter
        assert said in page(receipt, contracts["rn"], language)
    shown = next(line for line in lines(settings, ledger, contracts, TODAY) if line.delivery_id == "short")
    assert (shown.state, shown.reason) == ("accepted", "waived: rows.shrunk")
    inputs = build.prepare(settings, ledger, contracts, known_key(settings, ledger))
    assert [entry["waived"] for entry in inputs.record["deliveries"] if "waived" in entry] == [["rows.shrunk"]]
    assert record.delivery_id == "short"


def test_a_waiver_that_is_over_or_of_another_delivery_does_nothing(settled: Platform, tmp_path: Path) -> None:
    settings, short = rejected(settled, tmp_path)
    path, ledger = settings.waivers_file, settled.ledger
    waive(path, ledger, "short", "rows.shrunk", "why", LATER, "ann", TODAY)
    waive(path, ledger, "short", "rows.shrunk", "why", LATER, "bob", TODAY)
    path.write_text(path.read_text().replace("2099-12-31", "2020-01-01"))
    assert ingest(short, settings, ledger).status == "rejected"


@pytest.mark.parametrize(
    ("waiver", "judgement", "is_waived"),
    [
        (SHRUNK, failed("rows.shrunk", table="waves"), True),
        (SHRUNK, failed("rule.order", table="waves"), False),
        (Waiver(**{**vars(SHRUNK), "table": "risc"}), failed("rows.shrunk", table="waves"), False),
        (Waiver(**{**vars(SHRUNK), "by": ("ann",)}), failed("rows.shrunk", table="waves"), False),
        (Waiver(**{**vars(SHRUNK), "period": "2025-Q3"}), failed("rows.shrunk", table="waves"), False),
        (SHRUNK, Judgement("rows.shrunk", Status.ERROR, table="waves"), False),
        (SHRUNK, Judgement("rows.shrunk", Status.PASSED, table="waves"), False),
    ],
)
def test_only_what_it_says_is_waived(waiver: Waiver, judgement: Judgement, is_waived: bool) -> None:
    (found,) = waivers.apply([judgement], [waiver], PLACE, TODAY)
    assert bool(found.waived) == is_waived
    assert found.blocks == (judgement.blocks and not is_waived)


def test_what_cannot_be_waived_is_said_plainly(settled: Platform, tmp_path: Path) -> None:
    settings, _ = rejected(settled, tmp_path)
    path, ledger = settings.waivers_file, settled.ledger
    for rule, until, words in (
        ("file.hash", LATER, "is delivered again"),
        ("rule.order", LATER, "did not fail there; what failed: rows.shrunk"),
        ("rows.shrunk", date(2020, 1, 1), "not before today"),
    ):
        with pytest.raises(CannotWaive, match=words):
            waive(path, ledger, "short", rule, "why", until, "ann", TODAY)
    with pytest.raises(CannotWaive, match="0 rejected deliveries"):
        waive(path, ledger, "nobody", "rows.shrunk", "why", LATER, "ann", TODAY)
    assert not path.exists()
    path.write_text(
        "- {rule: file.hash, organisation: rn, period: 2025-Q4, delivery: x, reason: y, by: [a, b], until: 2099-01-01}"
    )
    with pytest.raises(CannotWaive, match=r"entry 1: file\.hash cannot be waived"):
        read_waivers(path)
    path.write_text("- {rule: rows.shrunk}")
    with pytest.raises(CannotWaive, match="entry 1: it says rule"):
        read_waivers(path)


def test_no_rule_that_stops_the_reading_can_be_waived() -> None:
    assert not {rule for rule in WAIVABLE if rule.startswith(("manifest.", "file.", "column.", "platform."))}
    assert {"value.type", "value.code", "value.pattern", "key.unique"}.isdisjoint(WAIVABLE)
