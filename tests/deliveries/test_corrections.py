"""A value that a source has wrong is read as it should be, visibly, until the source is mended; raw keeps what came."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from orchestration.deliveries.contracts import Organisation
from orchestration.deliveries.corrections import (
    CannotCorrect,
    Correction,
    CorrectionStale,
    correct,
    read_corrections,
)
from orchestration.deliveries.inbox import waiting
from orchestration.deliveries.ingest import Receipt, ingest, known_key
from orchestration.deliveries.page import page
from orchestration.settings import Settings
from orchestration.status import lines
from orchestration.warehouse import build
from tests.conftest import Platform
from tests.deliveries.making import change_rows, deliver, delivery_in

Contracts = dict[str, Organisation]
LATER = date(2099, 12, 31)
WHY = {"why": "the officer confirmed it", "reported_to": "helpdesk of rn", "by": "ann", "until": LATER}


@pytest.fixture
def home(settled: Platform, tmp_path: Path) -> Platform:
    return Platform(settled.settings.model_copy(update={"corrections": tmp_path / "corrections.yml"}), settled.ledger)


def _wrong(home: Platform, name: str = "wrong", sequence: int = 2, **values: str) -> Path:
    """A delivery of rn in which the first covariate has a wrong value."""
    made = deliver(delivery_in(home.settings.inbox_path, "rn"), home.settings.inbox_path, name, "2026-Q1", sequence)
    change_rows(made, "covariates", lambda rows: rows[0].update(values or {"Waarde": "8"}))
    return made


def _correct(home: Platform, contracts: Contracts, name: str = "wrong", becomes: str = "1", **terms: Any) -> Correction:
    (record,) = [item for item in home.ledger.deliveries() if item.delivery_id == name]
    place = terms.pop("place", ("covariates", 1, "value"))
    key = known_key(home.settings, home.ledger)
    return correct(home.settings, home.ledger, contracts["rn"], record, key, place, becomes, **{**WHY, **terms})


def _rules(receipt: Receipt) -> list[str]:
    return [reason.rule for reason in receipt.reasons]


def _built_value(home: Platform, contracts: Contracts) -> Any:
    """A build's inputs, and the value in them of the row that the correction names."""
    inputs = build.prepare(home.settings, home.ledger, contracts, known_key(home.settings, home.ledger))
    (made,) = read_corrections(home.settings.corrections_file) or (None,)
    frame = pq.read_table(inputs.folder / "sources" / "rn__covariates.parquet").to_pandas()
    if made is not None:
        for name, value in made.key.items():
            frame = frame[frame[contracts["rn"].table("covariates").column(name).source].astype(str) == value]
    return inputs, frame["Waarde"].tolist()


def test_a_wrong_value_is_corrected_and_everybody_sees_it(home: Platform, contracts: Contracts) -> None:
    wrong = _wrong(home)
    assert _rules(ingest(wrong, home.settings, home.ledger)) == ["value.range"]
    made = _correct(home, contracts)
    assert made.was not in ("8", "") and "8" not in home.settings.corrections_file.read_text().split()
    (waits,) = waiting(home.settings, home.ledger, contracts)
    receipt = ingest(waits.path, home.settings, home.ledger)

    assert receipt.status == "accepted"
    (applied,) = receipt.corrected
    assert (applied.rule, applied.table, applied.column, applied.evaluated) == (
        "correction.applied",
        "covariates",
        "Waarde",
        1,
    )
    raw = home.settings.raw / "rn" / str(receipt.content_hash) / "covariates.parquet"
    assert 8 in pq.read_table(raw)["Waarde"].to_pylist()
    letter = (home.settings.letters / "rn" / "2026-Q1" / f"wrong-{receipt.sha256[:8]}" / "letter.nl.txt").read_text()
    shown = [letter, page(receipt, contracts["rn"], "en")]
    assert all("helpdesk of rn" in text and "2099-12-31" in text for text in shown)
    (line,) = [
        item for item in lines(home.settings, home.ledger, contracts, date(2026, 5, 1)) if item.delivery_id == "wrong"
    ]
    assert line.reason == "corrections: 1"
    inputs, values = _built_value(home, contracts)
    assert values == [1]
    (entry,) = inputs.record["corrections"]
    assert entry["why"] == WHY["why"] and "key" not in entry and "was" not in entry


def test_a_wrong_value_in_the_first_delivery_of_all_is_corrected(
    platform: Platform, simulated: Path, contracts: Contracts, tmp_path: Path
) -> None:
    home = Platform(platform.settings.model_copy(update={"corrections": tmp_path / "corrections.yml"}), platform.ledger)
    first = deliver(delivery_in(simulated, "rn"), home.settings.inbox_path, "wrong")
    change_rows(first, "covariates", lambda rows: rows[0].update({"Waarde": "8"}))
    assert _rules(ingest(first, home.settings, home.ledger)) == ["value.range"]
    _correct(home, contracts)
    (waits,) = waiting(home.settings, home.ledger, contracts)
    receipt = ingest(waits.path, home.settings, home.ledger)
    assert receipt.status == "accepted", receipt.reasons
    assert [item.rule for item in receipt.corrected] == ["correction.applied"]


def test_a_correction_of_an_accepted_delivery_changes_the_build_and_the_code_that_it_hangs_on(
    home: Platform, contracts: Contracts
) -> None:
    assert ingest(_wrong(home, Waarde="2"), home.settings, home.ledger).status == "accepted"
    before = build.warehouse_code(home.settings)
    _correct(home, contracts, becomes="3")
    assert build.warehouse_code(home.settings) != before
    assert waiting(home.settings, home.ledger, contracts) == []
    assert _built_value(home, contracts)[1] == [3]


def test_once_the_source_is_mended_nothing_is_built_until_the_correction_is_gone(
    home: Platform, contracts: Contracts
) -> None:
    ingest(_wrong(home), home.settings, home.ledger)
    _correct(home, contracts)
    (waits,) = waiting(home.settings, home.ledger, contracts)
    ingest(waits.path, home.settings, home.ledger)
    receipt = ingest(_wrong(home, "mended", 3, Waarde="0"), home.settings, home.ledger)
    assert receipt.status == "accepted"
    assert [(item.rule, item.severity) for item in receipt.corrected] == [("correction.stale", "warning")]
    with pytest.raises(CorrectionStale, match="entry 1"):
        _built_value(home, contracts)
    home.settings.corrections_file.unlink()
    _built_value(home, contracts)


def test_a_correction_whose_time_is_over_stops_the_build_rather_than_lapse_in_silence(
    home: Platform, contracts: Contracts
) -> None:
    ingest(_wrong(home, Waarde="2"), home.settings, home.ledger)
    _correct(home, contracts, becomes="3", until=date(2020, 1, 1))
    with pytest.raises(CorrectionStale, match="time is over"):
        _built_value(home, contracts)


def test_a_row_that_is_gone_makes_its_correction_stale(home: Platform, contracts: Contracts) -> None:
    ingest(_wrong(home, Waarde="2"), home.settings, home.ledger)
    made = _correct(home, contracts, becomes="3")
    text = home.settings.corrections_file.read_text()
    home.settings.corrections_file.write_text(text.replace(next(iter(made.key.values())), "0" * 32))
    with pytest.raises(CorrectionStale):
        _built_value(home, contracts)


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ({"place": ("clients", 1, "national_number")}, "no column of that name"),
        ({"place": ("clients", 1, "surname")}, "no column of that name"),
        ({"place": ("covariates", 1, "name")}, "no column of that name"),
        ({"place": ("covariates", 10**6, "value")}, "has rows 1 to"),
        ({"place": ("elsewhere", 1, "value")}, "no such table"),
        ({"becomes": "veel"}, "takes integer values"),
        ({"place": ("clients", 1, "sex"), "becomes": "X"}, "agreed codes"),
        ({"place": ("clients", 1, "sex"), "becomes": ""}, "required"),
        ({"why": " "}, "needs a reason"),
        ({"reported_to": ""}, "needs a reason"),
    ],
)
def test_what_cannot_be_corrected_is_said(
    home: Platform, contracts: Contracts, terms: dict[str, Any], said: str
) -> None:
    ingest(_wrong(home, Waarde="2"), home.settings, home.ledger)
    with pytest.raises(CannotCorrect, match=said):
        _correct(home, contracts, **terms)
    assert not home.settings.corrections_file.exists()


def test_an_entry_that_says_too_little_or_too_much_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "corrections.yml"
    path.write_text("- {organisation: rn, table: clients}\n")
    with pytest.raises(CannotCorrect, match="entry 1"):
        read_corrections(path)


def test_a_delivery_that_was_cleared_from_landing_can_no_longer_be_looked_into(
    home: Platform, contracts: Contracts
) -> None:
    ingest(_wrong(home, Waarde="2"), home.settings, home.ledger)
    shutil.rmtree(home.settings.landing)
    with pytest.raises(CannotCorrect, match="no longer lies in landing"):
        _correct(home, contracts)


def test_two_people_let_a_build_be_made_without_an_organisation_that_never_delivered(
    settled: Platform, contracts: Contracts, tmp_path: Path
) -> None:
    from orchestration.deliveries.retraction import retract
    from orchestration.deliveries.waivers import CannotWaive, read_waivers, waive_missing

    settings = Settings(**{**settled.settings.model_dump(), "waivers": tmp_path / "waivers.yml"})
    ledger, key = settled.ledger, known_key(settings, settled.ledger)
    today = date(2026, 1, 15)
    terms = ("they start next year", LATER)
    with pytest.raises(CannotWaive, match="is accepted"):
        waive_missing(settings.waivers_file, ledger, contracts["svg"], *terms, "ann", today)
    with pytest.raises(CannotWaive, match="nothing can be built without"):
        waive_missing(settings.waivers_file, ledger, contracts["registry"], *terms, "ann", today)
    retract(ledger, delivery_in(settings.inbox_path, "svg").name, "sent by mistake")
    waive_missing(settings.waivers_file, ledger, contracts["svg"], *terms, "ann", today)
    with pytest.raises(build.DeliveriesMissing, match="svg"):
        build.prepare(settings, ledger, contracts, key)
    waive_missing(settings.waivers_file, ledger, contracts["svg"], *terms, "bob", today)
    assert read_waivers(settings.waivers_file)[0].by == ("ann", "bob")
    inputs = build.prepare(settings, ledger, contracts, key)
    assert inputs.record["without"] == {"svg": "ann, bob; 2099-12-31; they start next year"}
    assert inputs.rows["svg.clients"] == 0 and inputs.rows["rn.clients"] > 0
    content = pq.read_table(inputs.folder / "sources" / "svg__clients.parquet")
    assert content.schema.equals(pq.read_schema(inputs.folder / "sources" / "svg__clients.parquet")) and not len(
        content
    )
