"""What `tests.faults.under_load` promises can be broken, and is found when it is; the soak itself runs beside the tests (`.ci/run`)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from orchestration.readings import DeliveryRecord
from orchestration.warehouse import versions
from tests.conftest import Platform
from tests.faults import load_judging
from tests.faults.load_judging import Sample
from tests.faults.load_plan import (
    BAD,
    CHANGED,
    EVERY,
    FILL,
    KILL_ALL,
    KILL_RUN,
    NOT_AT_THE_END,
    SAME,
    Partners,
    Sent,
    plan,
)
from tests.faults.under_load import table_of

SENT = [Sent("rn", "2025-Q4", "one", CHANGED), Sent("rn", "2025-Q4", "two", SAME), Sent("svg", "2025-Q4", "three", BAD)]


def record(sent: Sent, status: str) -> DeliveryRecord:
    moment = datetime(2026, 1, 1)
    return DeliveryRecord(
        f"sha {sent.delivery_id}", sent.organisation, sent.period, sent.delivery_id, 1, moment, moment, status, None, "content", None, True, {},
    )  # fmt: skip


def decisions(*records: DeliveryRecord) -> list[dict[str, str]]:
    return [{"what": f"delivery.{one.status}", "about": f"delivery {one.delivery_id}"} for one in records]


RECORDS = [record(one, status) for one, status in zip(SENT, ("accepted", "duplicate", "rejected"), strict=True)]


def test_what_was_decided_as_it_must_be_is_neither_lost_nor_twice() -> None:
    assert load_judging.lost(SENT, RECORDS) == []
    assert load_judging.twice(SENT, RECORDS, decisions(*RECORDS)) == []
    assert load_judging.otherwise_than(RECORDS, RECORDS) == []


@pytest.mark.parametrize(
    ("records", "said"),
    [
        (RECORDS[1:], ["one: nothing on record, not accepted"]),
        ([replace(RECORDS[0], status="received"), *RECORDS[1:]], ["one: received, not accepted"]),
        ([*RECORDS[:2], replace(RECORDS[2], status="accepted")], ["three: accepted, not rejected"]),
    ],
)
def test_a_delivery_that_is_not_on_record_or_decided_otherwise_is_lost(
    records: list[DeliveryRecord], said: list[str]
) -> None:
    assert load_judging.lost(SENT, records) == said
    assert load_judging.otherwise_than(records, RECORDS) != []


def test_a_delivery_that_was_decided_twice_or_has_two_records_is_twice() -> None:
    again = [*decisions(*RECORDS), {"what": "delivery.duplicate", "about": "delivery one"}]
    found = load_judging.twice(SENT, RECORDS, again)
    assert found == ["4 decisions in the audit trail about 3 deliveries", "delivery one: decided 2 times"]
    twin = replace(RECORDS[0], manifest_sha256="another")
    assert "one: 2 records" in load_judging.twice(SENT, [*RECORDS, twin], decisions(*RECORDS, twin))


def spoil_table(folder: Path) -> None:
    (folder / "client.parquet").write_bytes(b"half")


def spoil_name(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "version_id": "another"}))


def lose_table(folder: Path) -> None:
    (folder / "client.parquet").unlink()


def lose_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


@pytest.mark.parametrize("spoil", [spoil_table, spoil_name, lose_table, lose_manifest])
def test_a_version_that_is_half_there_is_torn_for_the_reader_and_in_the_end(
    published: Platform, spoil: Callable[[Path], None]
) -> None:
    settings, ledger = published.settings, published.ledger
    assert load_judging.look(settings) == []
    assert load_judging.torn(settings, ledger.deliveries()) == []
    folder = settings.versions / str(versions.current_id(settings))
    spoil(folder)
    assert len(load_judging.look(settings)) == 1
    assert len(load_judging.torn(settings, ledger.deliveries())) == 1


def test_raw_content_and_fits_and_notes_that_are_not_whole_are_torn(published: Platform) -> None:
    settings, records = published.settings, published.ledger.deliveries()
    (settings.fits / "made").mkdir()
    assert load_judging.torn(settings, records) == ["fit made: not whole"]
    (settings.fits / "made").rename(settings.fits / ".made.aside")  # what is being made has a hidden name
    assert load_judging.torn(settings, records) == []
    (settings.versions / "a.changes.json").write_text("{")
    assert load_judging.torn(settings, records) == ["a.changes.json: not JSON"]
    (settings.versions / "a.changes.json").unlink()
    shutil.rmtree(settings.raw / "rn")
    assert len(load_judging.torn(settings, records)) == 1


def test_a_version_that_is_not_of_what_counts_is_not_built(published: Platform) -> None:
    ledger, version = published.ledger, versions.current_version(published.settings)
    assert version is not None
    counting = {one.organisation: [one] for one in ledger.deliveries()}
    assert load_judging.not_built(ledger, counting, version.version_id) == ["nothing was built"]
    ledger.record_build("build", version.version_id, version.manifest["build"])
    assert load_judging.not_built(ledger, counting, version.version_id) == []
    assert len(load_judging.not_built(ledger, counting, "another")) == 1
    newer = {**counting, "rn": [replace(counting["rn"][0], content_hash="newer")]}
    assert len(load_judging.not_built(ledger, newer, version.version_id)) == 2
    assert load_judging.differing(version, version) == []
    tables = {**version.manifest["tables"], "client": {**version.manifest["tables"]["client"], "rows": 0}}
    assert load_judging.differing(version, replace(version, manifest={**version.manifest, "tables": tables})) == [
        "client"
    ]


def life(number: int, seconds: int, mb: Callable[[int], float]) -> list[Sample]:
    return [Sample(float(at), number, mb(at), mb(at)) for at in range(0, seconds, 5)]


def test_memory_that_settles_is_flat_and_memory_that_keeps_growing_is_not() -> None:
    settles = life(1, 900, lambda at: 500 + 900 * min(1.0, at / 100))
    leaks = life(2, 1000, lambda at: 1400 + 0.3 * at)
    (flat,) = load_judging.growths(settles)
    assert flat.share == 0
    assert load_judging.grown(load_judging.growths(settles)) == []
    (said,) = load_judging.grown(load_judging.growths([*settles, *leaks]))
    assert said.startswith("1484 MB became 1668 MB in 995 s")
    second_server = [replace(one, whole_mb=one.mb + 340 * (one.at % 120 < 60)) for one in settles]
    assert load_judging.grown(load_judging.growths(second_server)) == []
    pile_up = [replace(one, whole_mb=one.mb + 340 * (one.at // 120)) for one in settles]
    assert len(load_judging.grown(load_judging.growths(pile_up))) == 1
    assert load_judging.grown(load_judging.growths(life(1, 20, lambda _: 1.0))) != []


def test_the_plan_is_that_of_its_seed_has_every_fault_and_leaves_the_daemon_alone_in_the_end() -> None:
    events = plan(3, 300)
    assert events == plan(3, 300) != plan(4, 300)
    assert {one.what for one in events} == set(EVERY)
    assert all(one.at < 200 for one in events if one.what in NOT_AT_THE_END)
    assert {KILL_RUN, FILL} & {one.what for one in plan(3, 1800) if one.at > 1200} == {KILL_RUN, FILL}
    assert sum(one.what == KILL_ALL for one in plan(3, 1800)) == 6


def test_partners_send_what_is_new_what_is_known_and_what_is_wrong_and_remember_which(
    simulated: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    for organisation in ("rn", "registry"):
        shutil.copytree(simulated / organisation, base / organisation)
    partners = Partners(base, tmp_path / "made", tmp_path / "inbox")
    partners.first()
    sent = [
        partners.next((organisation, 0.0, kind, 0.0), 0.0) for organisation in (0.1, 0.9) for kind in (0.1, 0.8, 0.9)
    ]
    assert [one.kind for one in sent] == [CHANGED, SAME, BAD] * 2
    files = [tmp_path / "inbox" / one.organisation / one.period / one.delivery_id for one in sent[:3]]
    changed, same, bad = [(folder / "clients.csv").read_bytes() for folder in files]
    assert changed == same != bad
    assert len(partners.sent) == 8


def test_the_table_says_what_was_not_tried_and_every_promise_that_was_broken() -> None:
    came = {
        "minutes": 5, "seed": 1, "did": {KILL_RUN: 2}, "disk": False, "deliveries": 7, "builds": 2, "versions": 2, "refits": 1, "held": 0,
        "runs": 9, "runs_good": 7, "looks": 300, "quiet_after": 40.0, "of_it_after_refresh": 0.0, "lost": ["one: nothing on record"],
        "twice": [], "torn": [], "grown": [], "memory": [{**vars(load_judging.Growth(0, 100, 10, 11, 12, 12)), "share": 0.1}],
    }  # fmt: skip
    said = table_of(came)
    assert "not tried: this machine lets nobody mount" in said
    assert "1 0 0" in said and "lost: one: nothing on record" in said
    assert "SIMULATED" in said
