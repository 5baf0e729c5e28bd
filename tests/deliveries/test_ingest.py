"""The way in: bad deliveries are named and change nothing, good ones count once, and a dry run says the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from orchestration.deliveries import ingest as way_in
from orchestration.deliveries.inbox import waiting
from orchestration.deliveries.ingest import check_delivery, ingest
from orchestration.deliveries.manifest import NotADelivery
from orchestration.ledger import Ledger
from orchestration.simulation.mutations import MUTATIONS, mutate
from orchestration.warehouse.versions import current_version, verify
from tests.conftest import Platform
from tests.deliveries.making import (
    change_manifest,
    change_rows,
    deliver,
    delivery_in,
    digests,
    publish_stand_in,
    sign,
)

# An empty table is also one that shrank: every row of the snapshot before is gone.
WHOLE_WAY = ("empty_table", "missing_column", "renamed_column", "truncated_file", "unknown_code", "wrong_hash")
NAMED = {name: {MUTATIONS[name].rule} for name in WHOLE_WAY} | {"empty_table": {"table.empty", "rows.shrunk"}}
NEXT = {"rn": "2026-Q1", "svg": "2026-Q1", "ljr": "2026-Q1"}


def _accepted(ledger: Ledger) -> list[tuple[str, str | None]]:
    return [(record.manifest_sha256, record.content_hash) for record in ledger.deliveries(status="accepted")]


def _codes(receipt: way_in.Receipt) -> set[str]:
    return {judgement.rule for judgement in receipt.reasons}


def _counts(receipt: way_in.Receipt) -> list[tuple[object, ...]]:
    return [(item.rule, item.table, item.column, item.place, item.status, item.failed) for item in receipt.judgements]


@pytest.mark.parametrize("name", WHOLE_WAY)
@pytest.mark.parametrize("organisation", ["rn", "svg", "ljr"])
def test_a_spoiled_delivery_is_rejected_by_name_and_changes_nothing(
    settled: Platform, simulated: Path, organisation: str, name: str
) -> None:
    settings, ledger = settled.settings, settled.ledger
    publish_stand_in(settings)
    bad = deliver(delivery_in(simulated, organisation), settings.inbox_path, "spoiled", NEXT[organisation])
    mutate(bad, name)
    published, raw, accepted = digests(settings.versions), digests(settings.raw), _accepted(ledger)
    home = digests(settings.home_path)

    dry = check_delivery(bad, settings, ledger)
    assert digests(settings.home_path) == home
    receipt = ingest(bad, settings, ledger)

    assert receipt.status == dry.status == "rejected"
    assert MUTATIONS[name].rule in NAMED[name]
    assert _codes(receipt) == NAMED[name]
    assert _counts(dry) == _counts(receipt)
    assert digests(settings.versions) == published
    assert digests(settings.raw) == raw
    assert _accepted(ledger) == accepted
    version = current_version(settings)
    assert version is not None
    verify(version)
    (quarantined,) = (settings.quarantine / organisation / NEXT[organisation]).iterdir()
    assert digests(quarantined) == digests(bad)
    assert not (settings.landing / organisation / NEXT[organisation] / quarantined.name).exists()
    letters = settings.letters / organisation / NEXT[organisation] / quarantined.name
    assert "geweigerd" in (letters / "letter.nl.txt").read_text()
    assert "rejected" in (letters / "letter.en.txt").read_text()
    assert f"[{MUTATIONS[name].rule}]" in (letters / "letter.nl.txt").read_text()
    judgement = json.loads((letters / "judgement.json").read_text())
    assert judgement["status"] == "rejected"
    assert {item["rule"] for item in judgement["findings"]} == NAMED[name]
    record = ledger.delivery(receipt.sha256)
    assert record is not None
    assert (record.status, record.content_hash) == ("rejected", None)
    rules = {item["rule"] for item in ledger.judgements(receipt.sha256) if item["status"] == "failed"}
    assert rules == NAMED[name]


def test_clean_deliveries_of_every_organisation_are_accepted(settled: Platform, simulated: Path) -> None:
    records = settled.ledger.deliveries(status="accepted")
    assert [record.organisation for record in records] == ["ljr", "north_carolina", "registry", "rn", "svg"]
    for record in records:
        stored = settled.settings.raw / record.organisation / str(record.content_hash)
        assert sorted(path.stem for path in stored.glob("*.parquet")) == sorted(record.row_counts)
        assert record.is_simulated == (record.organisation != "north_carolina")
        letters = settled.settings.letters / record.organisation / record.period
        assert len(list(letters.glob("*/letter.*.txt"))) == 2


def test_what_is_in_the_inbox_waits_until_it_has_a_verdict(settled: Platform, contracts: dict[str, object]) -> None:
    settings, ledger = settled.settings, settled.ledger
    assert waiting(settings, ledger, contracts) == []  # type: ignore[arg-type]
    fresh = deliver(delivery_in(settings.inbox_path, "rn"), settings.inbox_path, "next", "2026-Q1")
    assert [item.path for item in waiting(settings, ledger, contracts)] == [fresh]  # type: ignore[arg-type]
    (fresh / "manifest.json").unlink()
    assert waiting(settings, ledger, contracts) == []  # type: ignore[arg-type]


@pytest.mark.parametrize("odd", ["link", "folder"])
def test_a_folder_whose_manifest_is_no_file_does_not_keep_others_waiting(
    settled: Platform, contracts: dict[str, object], odd: str
) -> None:
    settings = settled.settings
    fresh = deliver(delivery_in(settings.inbox_path, "rn"), settings.inbox_path, "next", "2026-Q1")
    strange = fresh.with_name("strange")
    strange.mkdir()
    if odd == "link":
        (strange / "manifest.json").symlink_to(fresh / "manifest.json")
    else:
        (strange / "manifest.json").mkdir()
    assert [item.path for item in waiting(settings, settled.ledger, contracts)] == [fresh]  # type: ignore[arg-type]
    with pytest.raises(NotADelivery):
        ingest(strange, settings, settled.ledger)


def test_the_same_manifest_again_is_a_no_op(settled: Platform) -> None:
    settings, ledger = settled.settings, settled.ledger
    before = digests(settings.home_path)
    receipt = ingest(delivery_in(settings.inbox_path, "rn"), settings, ledger)
    assert receipt.status == "accepted"
    assert digests(settings.home_path) == before


def test_the_same_content_under_another_id_is_a_duplicate(settled: Platform) -> None:
    settings, ledger = settled.settings, settled.ledger
    first = delivery_in(settings.inbox_path, "rn")
    raw, accepted = digests(settings.raw), _accepted(ledger)
    again = deliver(first, settings.inbox_path, "again", sequence=2)
    assert check_delivery(again, settings, ledger).status == "duplicate"
    receipt = ingest(again, settings, ledger)
    assert receipt.status == "duplicate"
    assert receipt.content_hash == ingest(first, settings, ledger).content_hash
    assert digests(settings.raw) == raw
    assert _accepted(ledger) == accepted


def test_rows_in_another_order_are_the_same_content(settled: Platform) -> None:
    again = deliver(delivery_in(settled.settings.inbox_path, "rn"), settled.settings.inbox_path, "again", sequence=2)
    change_rows(again, "waves", lambda rows: rows[::-1])
    assert ingest(again, settled.settings, settled.ledger).status == "duplicate"


def test_one_changed_value_is_new_content(settled: Platform) -> None:
    settings, ledger = settled.settings, settled.ledger
    first = delivery_in(settings.inbox_path, "rn")
    other = deliver(first, settings.inbox_path, "corrected", sequence=2)
    change_rows(other, "clients", lambda rows: rows[0].update(Geslacht="V" if rows[0]["Geslacht"] == "M" else "M"))
    dry = check_delivery(other, settings, ledger)
    receipt = ingest(other, settings, ledger)
    assert receipt.status == dry.status == "accepted"
    assert receipt.content_hash == dry.content_hash
    before = ingest(first, settings, ledger).content_hash
    assert receipt.content_hash != before
    assert {path.name for path in (settings.raw / "rn").iterdir()} == {before, receipt.content_hash}


def test_a_correction_may_go_back_to_what_the_first_delivery_said(settled: Platform) -> None:
    settings, ledger = settled.settings, settled.ledger
    first = delivery_in(settings.inbox_path, "rn")
    other = deliver(first, settings.inbox_path, "corrected", sequence=2)
    change_rows(other, "clients", lambda rows: rows[0].update(Geslacht="V" if rows[0]["Geslacht"] == "M" else "M"))
    ingest(other, settings, ledger)
    back = deliver(first, settings.inbox_path, "back", sequence=3)
    assert ingest(back, settings, ledger).status == "accepted"


def test_a_transfer_that_broke_off_is_accepted_when_it_is_repeated_whole(settled: Platform) -> None:
    settings, ledger = settled.settings, settled.ledger
    fresh = deliver(delivery_in(settings.inbox_path, "rn"), settings.inbox_path, "next", "2026-Q1")
    path = fresh / "item_responses.csv"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert _codes(ingest(fresh, settings, ledger)) == {"file.size"}
    assert ingest(fresh, settings, ledger).status == "rejected"
    path.write_bytes(whole)
    receipt = ingest(fresh, settings, ledger)
    assert receipt.status == "accepted"
    assert _codes(receipt) == set()
    record = ledger.delivery(receipt.sha256)
    assert record is not None
    assert (record.status, record.content_hash) == ("accepted", receipt.content_hash)
    letter = settings.letters / "rn" / "2026-Q1" / f"next-{receipt.sha256[:8]}" / "letter.en.txt"
    assert "is accepted" in letter.read_text()


@pytest.mark.parametrize("step", ["examine", "_write_letters"])
def test_a_run_that_died_is_simply_done_again(
    settled: Platform, monkeypatch: pytest.MonkeyPatch, contracts: dict[str, object], step: str
) -> None:
    settings, ledger = settled.settings, settled.ledger
    fresh = deliver(delivery_in(settings.inbox_path, "rn"), settings.inbox_path, "next", "2026-Q1")
    mutate(fresh, "wrong_hash")

    def died(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(way_in, step, died)
        with pytest.raises(KeyboardInterrupt):
            ingest(fresh, settings, ledger)
    assert [item.path for item in waiting(settings, ledger, contracts)] == [fresh]  # type: ignore[arg-type]
    assert _codes(ingest(fresh, settings, ledger)) == {"file.hash"}
    assert waiting(settings, ledger, contracts) == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [{"period": "2025-Q3"}, {"delivery_id": "another"}, {"organisation": "svg"}],
    ids=lambda item: next(iter(item)),
)
def test_a_manifest_that_speaks_of_another_place_is_misplaced(settled: Platform, change: dict[str, str]) -> None:
    fresh = deliver(delivery_in(settled.settings.inbox_path, "rn"), settled.settings.inbox_path, "next", "2026-Q1")
    change_manifest(fresh, **change)
    dry = check_delivery(fresh, settled.settings, settled.ledger)
    receipt = ingest(fresh, settled.settings, settled.ledger)
    assert "manifest.place" in _codes(receipt)
    assert _counts(dry) == _counts(receipt)
    assert receipt.delivery_id == "next"


def test_test_persons_are_kept_out_unless_the_demo_admits_them(platform: Platform, simulated: Path) -> None:
    strict = platform.settings.model_copy(update={"admit_test_numbers": False})
    fresh = deliver(delivery_in(simulated, "registry"), platform.settings.inbox_path)
    assert _codes(check_delivery(fresh, strict, platform.ledger)) == {"value.test_number"}
    assert check_delivery(fresh, platform.settings, platform.ledger).status == "accepted"


def test_a_delivery_may_be_checked_from_any_folder(settled: Platform, tmp_path: Path) -> None:
    loose = tmp_path / "desk" / "somewhere" / "next"
    made = deliver(delivery_in(settled.settings.inbox_path, "rn"), tmp_path / "elsewhere", "next", "2026-Q1")
    shutil.copytree(made, loose)
    receipt = check_delivery(loose, settled.settings, settled.ledger)
    assert (receipt.organisation, receipt.period, receipt.status) == ("rn", "2026-Q1", "accepted")
    change_manifest(loose, organisation="nobody")
    with pytest.raises(NotADelivery):
        check_delivery(loose, settled.settings, settled.ledger)


def _without(share: float) -> object:
    def change(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        return rows[: len(rows) - max(1, int(len(rows) * share))]

    return change


def test_a_shrunken_export_is_blocked_and_a_small_loss_is_not(settled: Platform) -> None:
    settings, ledger = settled.settings, settled.ledger
    source = delivery_in(settings.inbox_path, "rn")
    small = deliver(source, settings.inbox_path, "small", "2026-Q1")
    change_rows(small, "item_responses", _without(0.01))  # type: ignore[arg-type]
    assert check_delivery(small, settings, ledger).status == "accepted"
    large = deliver(source, settings.inbox_path, "large", "2026-Q1")
    change_rows(large, "item_responses", _without(0.3))  # type: ignore[arg-type]
    receipt = ingest(large, settings, ledger)
    assert _codes(receipt) == {"rows.shrunk"}
    assert {item.table for item in receipt.reasons} == {"item_responses"}


def test_declared_deletions_do_not_count_as_shrinkage(settled: Platform) -> None:
    settings, ledger = settled.settings, settled.ledger
    fresh = deliver(delivery_in(settings.inbox_path, "rn"), settings.inbox_path, "next", "2026-Q1")
    gone: list[dict[str, str]] = []

    def change(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        gone.extend(rows[:100])
        return rows[100:]

    change_rows(fresh, "item_responses", change)
    assert _codes(check_delivery(fresh, settings, ledger)) == {"rows.shrunk"}
    names = ("Toezichtnummer", "Meting", "Beoordelaar", "Item")
    keys = [{name: row[name] for name in names} for row in gone]
    change_manifest(fresh, deletions=[{"table": "item_responses", "keys": keys}])
    receipt = ingest(fresh, settings, ledger)
    assert receipt.status == "accepted"
    stored = json.loads((settings.raw / "rn" / str(receipt.content_hash) / "deletions.json").read_text())
    assert len(stored["item_responses"]) == 100
    assert not any(row["Toezichtnummer"] in json.dumps(stored) for row in gone)


def test_a_broken_workbook_is_rejected_and_raises_nothing(settled: Platform) -> None:
    settings, ledger = settled.settings, settled.ledger
    fresh = deliver(delivery_in(settings.inbox_path, "svg"), settings.inbox_path, "next", "2026-Q1")
    whole = (fresh / "svg.xlsx").read_bytes()
    for number, content in enumerate((b"", b"no workbook", whole[: len(whole) // 2])):
        (fresh / "svg.xlsx").write_bytes(content)
        sign(fresh)
        receipt = ingest(fresh, settings, ledger)
        assert _codes(receipt) == {"file.unreadable"}, number
