"""Deliveries come in the same over every transport, whole or not at all, from real servers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestration.deliveries.contracts import Organisation
from orchestration.deliveries.fetching import Fetched, acknowledge, fetch, fetch_all
from orchestration.deliveries.inbox import waiting
from orchestration.deliveries.ingest import ingest
from orchestration.deliveries.sealing import SEAL, make_opening_key, recipient, seal
from orchestration.deliveries.sources import Source
from orchestration.deliveries.transports import Clock, Patience, open_source
from tests.conftest import Platform
from tests.deliveries.making import change_manifest, change_rows, deliver, delivery_in, digests, manifest_of, sign
from tests.deliveries.over_transports import killed_and_resumed
from tests.deliveries.servers import TRANSPORTS, Files, Served, put, served

Contracts = dict[str, Organisation]
QUICK = Patience(connect=5, answer=5, total=60)


class Time:
    """A clock that tests turn."""

    def __init__(self) -> None:
        self.at = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.at, self.sleep)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture(params=TRANSPORTS)
def partner(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    """A partner's server with nothing on it yet."""
    with served(request.param, tmp_path / "served", tmp_path / "secrets") as found:
        yield found


@pytest.fixture
def sftp(tmp_path: Path) -> Iterator[Served]:
    with served("SFTP", tmp_path / "served", tmp_path / "secrets") as found:
        yield found


def look(source: Source, home: Platform, contracts: Contracts, time: Time, patience: Patience = QUICK) -> Fetched:
    return fetch(source, contracts["rn"], home.settings, home.ledger, patience, time.clock)


def test_a_complete_delivery_arrives_byte_for_byte_and_once(
    partner: Served, platform: Platform, contracts: Contracts, simulated: Path, time: Time
) -> None:
    delivery = delivery_in(simulated, "rn")
    put(delivery, partner.root)
    partner.sync()
    before = digests(partner.root)
    found = look(partner.source, platform, contracts, time)
    assert (found.trouble, found.taken, found.incomplete) == ("", 1, 0)
    assert found.bytes == sum(file["bytes"] for file in manifest_of(delivery)["files"])
    (waits,) = waiting(platform.settings, platform.ledger, contracts)
    assert digests(waits.path) == digests(delivery)
    assert digests(partner.root) == before
    assert look(partner.source, platform, contracts, time).taken == 0
    assert ingest(waits.path, platform.settings, platform.ledger).status == "accepted"
    assert look(partner.source, platform, contracts, time).taken == 0
    assert list(platform.settings.inbox_path.glob(".fetching-*/*")) == []


def test_nothing_is_taken_before_the_manifest_and_all_files_are_there(
    partner: Served, platform: Platform, contracts: Contracts, simulated: Path, time: Time
) -> None:
    whole = delivery_in(simulated, "rn")
    there = put(whole, partner.root)
    manifest = (there / "manifest.json").read_bytes()
    (there / "manifest.json").unlink()
    partner.sync()
    assert look(partner.source, platform, contracts, time) == Fetched("rn")
    (there / "manifest.json").write_bytes(manifest[:-40])
    partner.sync()
    assert look(partner.source, platform, contracts, time).incomplete == 1
    (there / "manifest.json").write_bytes(manifest)
    data = (there / "waves.csv").read_bytes()
    for part in (0, 1, 5, 10, 15, 19):  # twentieths of it
        (there / "waves.csv").write_bytes(data[: len(data) * part // 20])
        partner.sync()
        found = look(partner.source, platform, contracts, time)
        assert (found.taken, found.incomplete, found.bytes) == (0, 1, 0)
    assert waiting(platform.settings, platform.ledger, contracts) == []
    assert [seen.state for seen in platform.ledger.sightings("rn")] == ["incomplete"]
    (there / "waves.csv").write_bytes(data)
    partner.sync()
    assert look(partner.source, platform, contracts, time).taken == 1


def test_one_that_stays_incomplete_is_taken_as_it_is_and_gets_its_letter(
    partner: Served, platform: Platform, contracts: Contracts, simulated: Path, time: Time
) -> None:
    there = put(delivery_in(simulated, "rn"), partner.root)
    (there / "risc.csv").unlink()
    partner.sync()
    assert look(partner.source, platform, contracts, time).incomplete == 1
    late = Platform(platform.settings.model_copy(update={"incomplete_hours": 0}), platform.ledger)
    assert look(partner.source, late, contracts, time).taken == 1
    (waits,) = waiting(late.settings, late.ledger, contracts)
    receipt = ingest(waits.path, late.settings, late.ledger)
    assert [reason.rule for reason in receipt.reasons] == ["file.missing"]
    assert look(partner.source, late, contracts, time).taken == 0
    put_back = delivery_in(simulated, "rn") / "risc.csv"
    (there / "risc.csv").write_bytes(put_back.read_bytes())
    partner.sync()
    assert look(partner.source, late, contracts, time).taken == 1
    (waits,) = waiting(late.settings, late.ledger, contracts)
    assert ingest(waits.path, late.settings, late.ledger).status == "accepted"


def test_a_receipt_says_verdict_and_counts_where_writing_is_allowed_and_only_there(
    partner: Served, platform: Platform, contracts: Contracts, simulated: Path, time: Time
) -> None:
    sources = platform.settings.home_path / "sources.yml"
    settings = platform.settings.model_copy(update={"sources": sources})

    def name(source: Source) -> None:
        sources.write_text(yaml.safe_dump({"rn": json.loads(source.model_dump_json(exclude_none=True))}))

    there = put(delivery_in(simulated, "rn"), partner.root)
    partner.sync()
    name(partner.source)
    (found,) = fetch_all(settings, platform.ledger, contracts, QUICK, time.clock)
    assert found.taken == 1
    for waits in waiting(settings, platform.ledger, contracts):
        ingest(waits.path, settings, platform.ledger)
    before = digests(partner.root)
    assert acknowledge(settings, platform.ledger, QUICK) == 0
    assert digests(partner.root) == before
    name(partner.source.model_copy(update={"writes_receipts": True}))
    assert acknowledge(settings, platform.ledger, QUICK) == 1
    assert acknowledge(settings, platform.ledger, QUICK) == 0
    if partner.source.scheme != "s3":
        said = json.loads((there.parent / f"{there.name}.receipt.json").read_text())
        assert said["status"] == "accepted" and said["findings"] == [] and set(said["rows"]) >= {"clients", "waves"}
    assert fetch_all(settings, platform.ledger, contracts, QUICK, time.clock)[0].taken == 0


def test_a_host_key_that_is_not_pinned_is_refused_at_once_and_nothing_is_sent(
    sftp: Served, platform: Platform, contracts: Contracts, time: Time, tmp_path: Path
) -> None:
    with served("SFTP", tmp_path / "other", tmp_path / "others") as other:
        known = (tmp_path / "others" / "known_hosts").read_text().partition(" ")[2]
        here = sftp.source.known_hosts
        assert here is not None
        here.write_text(here.read_text().partition(" ")[0] + " " + known)
        found = look(sftp.source, platform, contracts, time)
        assert (found.trouble, time.slept) == ("source.host_key", [])
        here.write_text("")
        assert look(sftp.source, platform, contracts, time).trouble == "source.host_key"
        assert look(other.source, platform, contracts, time).trouble == ""


def test_a_server_that_does_not_answer_is_tried_three_times_with_growing_pauses_and_then_left_alone(
    sftp: Served, platform: Platform, contracts: Contracts, time: Time
) -> None:
    gone = sftp.source.model_copy(update={"url": "sftp://127.0.0.1:9/"})
    for _ in range(3):
        assert look(gone, platform, contracts, time).trouble == "source.unreachable"
    assert len(time.slept) == 6 and all(0 <= pause <= 60 for pause in time.slept)
    assert look(gone, platform, contracts, time).trouble == "source.resting"
    assert len(platform.ledger.fetchings("rn")) == 3
    assert look(sftp.source, platform, contracts, time).trouble == "source.resting"


def test_a_wrong_password_is_not_tried_again(
    partner: Served, platform: Platform, contracts: Contracts, time: Time, tmp_path: Path
) -> None:
    if partner.source.scheme in ("file", "s3"):  # a folder asks nobody; the S3 server of the tests lets everybody in
        return
    wrong = tmp_path / "wrong"
    wrong.write_text("something else")
    wrong.chmod(0o400)
    bad = partner.source.model_copy(update={"secret_file": wrong})
    assert look(bad, platform, contracts, time).trouble == "source.denied"
    assert time.slept == []


def test_a_folder_that_is_not_there_is_said(
    partner: Served, platform: Platform, contracts: Contracts, time: Time
) -> None:
    url = partner.source.url.rstrip("/") + "/nowhere"
    if partner.source.scheme == "s3":  # there, only a bucket can be missing: nothing delivered yet is no trouble
        assert look(partner.source.model_copy(update={"url": url}), platform, contracts, time) == Fetched("rn")
        url = "s3://no-such-bucket/out"
    assert look(partner.source.model_copy(update={"url": url}), platform, contracts, time).trouble == "source.folder"


class Swapping(Files):
    """A server on which a file is replaced while it is read."""

    swaps = 1
    held = b""

    def close(self, file_obj: Any) -> None:
        name = os.fsdecode(file_obj.name)
        super().close(file_obj)
        if type(self).swaps and name.endswith("clients.csv"):
            type(self).swaps -= 1
            victim = next(self.root.rglob("clients.csv"))
            type(self).held = type(self).held or victim.read_bytes()
            victim.write_bytes(self.held[::-1] if self.swaps else self.held)
            os.utime(victim, (0, 10_000 + self.swaps))  # SFTP tells times in whole seconds


@pytest.mark.parametrize(("swaps", "state"), [(2, "fetched"), (99, "changing")])
def test_a_file_that_changes_while_it_is_fetched_is_noticed(
    platform: Platform, contracts: Contracts, simulated: Path, time: Time, tmp_path: Path, swaps: int, state: str
) -> None:
    kind = type("Swaps", (Swapping,), {"swaps": swaps})
    with served("SFTP", tmp_path / "served", tmp_path / "secrets", files=kind) as partner:
        put(delivery_in(simulated, "rn"), partner.root)
        found = look(partner.source, platform, contracts, time)
    assert (found.taken, found.changing) == ((1, 0) if state == "fetched" else (0, 1))
    assert [seen.state for seen in platform.ledger.sightings("rn")] == [state]
    assert len(waiting(platform.settings, platform.ledger, contracts)) == found.taken


class Hanging(Files):
    """A server that opens a file and never gives a byte of it."""

    gate: threading.Event
    asked: list[int]

    async def read(self, file_obj: object, offset: int, size: int) -> bytes:
        import asyncio

        self.asked.append(offset)
        while not self.gate.is_set():
            await asyncio.sleep(0.01)
        return b""


def test_a_server_that_hangs_is_given_up_in_time(
    platform: Platform, contracts: Contracts, simulated: Path, time: Time, tmp_path: Path
) -> None:
    kind = type("Hangs", (Hanging,), {"gate": threading.Event(), "asked": []})
    with served("SFTP", tmp_path / "served", tmp_path / "secrets", files=kind) as partner:
        put(delivery_in(simulated, "rn"), partner.root)
        found = look(partner.source, platform, contracts, time, Patience(connect=5, answer=0.3, total=60))
        kind.gate.set()
    assert found == Fetched("rn", trouble="source.timeout")
    assert len(kind.asked) >= 3 and len(time.slept) == 2


def test_a_server_that_trickles_is_given_up_when_the_whole_takes_too_long(
    sftp: Served, platform: Platform, contracts: Contracts, simulated: Path
) -> None:
    put(delivery_in(simulated, "rn"), sftp.root)
    ticks = iter(range(0, 10**9, 400))
    clock = Clock(lambda: float(next(ticks)), lambda _: None)
    found = fetch(sftp.source, contracts["rn"], platform.settings, platform.ledger, Patience(5, 5, 900), clock)
    assert (found.taken, found.trouble) == (0, "source.timeout")
    assert waiting(platform.settings, platform.ledger, contracts) == []


class Resetting(Files):
    """A server whose connection breaks in the middle of a file, as often as it is told to."""

    breaks = 0
    broken: set[object]

    def read(self, file_obj: object, offset: int, size: int) -> bytes:
        connection = self.channel.get_connection()
        if len(self.broken) < self.breaks and connection not in self.broken:
            self.broken.add(connection)
            connection.abort()
        return super().read(file_obj, offset, size)  # type: ignore[return-value]


@pytest.mark.parametrize("breaks", [1, 2, 3])
def test_a_connection_that_breaks_is_made_again_at_most_twice(
    platform: Platform, contracts: Contracts, simulated: Path, time: Time, tmp_path: Path, breaks: int
) -> None:
    kind = type("Resets", (Resetting,), {"breaks": breaks, "broken": set()})
    with served("SFTP", tmp_path / "served", tmp_path / "secrets", files=kind) as partner:
        put(delivery_in(simulated, "rn"), partner.root)
        found = look(partner.source, platform, contracts, time)
    assert len(time.slept) == min(breaks, 2)
    assert (found.taken, found.trouble) == ((1, "") if breaks < 3 else (0, "source.unreachable"))


class ReadOnly(Files):
    is_read_only = True


def test_an_account_that_may_only_read_is_enough(
    platform: Platform, contracts: Contracts, simulated: Path, time: Time, tmp_path: Path
) -> None:
    with served("SFTP", tmp_path / "served", tmp_path / "secrets", files=ReadOnly) as partner:
        put(delivery_in(simulated, "rn"), partner.root)
        assert look(partner.source, platform, contracts, time).taken == 1
        (waits,) = waiting(platform.settings, platform.ledger, contracts)
        ingest(waits.path, platform.settings, platform.ledger)
        sources = tmp_path / "sources.yml"
        terms = json.loads(partner.source.model_dump_json(exclude_none=True))
        sources.write_text(yaml.safe_dump({"rn": {**terms, "writes_receipts": True}}))
        settings = platform.settings.model_copy(update={"sources": sources})
        assert acknowledge(settings, platform.ledger, QUICK) == 0
        assert platform.ledger.fetchings("rn")[-1]["trouble"] == "source.denied"


def test_a_delivery_that_waits_is_not_overwritten_and_a_corrected_one_is_taken_after_it(
    sftp: Served, platform: Platform, contracts: Contracts, simulated: Path, time: Time
) -> None:
    there = put(delivery_in(simulated, "rn"), sftp.root)
    assert look(sftp.source, platform, contracts, time).taken == 1
    (first,) = waiting(platform.settings, platform.ledger, contracts)
    held = digests(first.path)
    change_rows(there, "covariates", lambda rows: rows[:-1])
    change_manifest(there, sequence=7)
    assert look(sftp.source, platform, contracts, time).taken == 0
    assert digests(first.path) == held
    assert ingest(first.path, platform.settings, platform.ledger).status == "accepted"
    assert look(sftp.source, platform, contracts, time).taken == 1
    (second,) = waiting(platform.settings, platform.ledger, contracts)
    assert second.path == first.path and second.sha256 != first.sha256
    assert ingest(second.path, platform.settings, platform.ledger).status == "accepted"


def test_the_same_delivery_over_two_transports_counts_once(
    platform: Platform, contracts: Contracts, simulated: Path, time: Time, tmp_path: Path
) -> None:
    delivery = delivery_in(simulated, "rn")
    for transport in ("SFTP", "WebDAV"):
        with served(transport, tmp_path / transport, tmp_path / f"{transport}-secrets") as partner:
            put(delivery, partner.root)
            look(partner.source, platform, contracts, time)
        for waits in waiting(platform.settings, platform.ledger, contracts):
            ingest(waits.path, platform.settings, platform.ledger)
    assert [record.status for record in platform.ledger.deliveries()] == ["accepted"]


def test_what_is_not_a_delivery_is_left_where_it_is(
    partner: Served, platform: Platform, contracts: Contracts, simulated: Path, time: Time
) -> None:
    delivery = deliver(delivery_in(simulated, "rn"), partner.root.parent / "made", "x")
    put(delivery, partner.root)
    (partner.root / "2025-Q9" / "y").mkdir(parents=True)
    (partner.root / "2025-Q9" / "y" / "manifest.json").write_text("{}")
    (partner.root / "2025-Q4" / "notes.txt").write_text("x")
    (partner.root / "2025-Q4" / " odd name").mkdir()
    (partner.root / "2025-Q4" / " odd name" / "manifest.json").write_text("{}")
    sign(partner.root / "2025-Q4" / "x")
    partner.sync()
    found = look(partner.source, platform, contracts, time)
    assert (found.taken, found.incomplete, found.trouble) == (1, 0, "")


def test_a_full_disk_here_is_no_trouble_of_the_source(partner: Served, simulated: Path) -> None:
    there = put(delivery_in(simulated, "rn"), partner.root)
    partner.sync()
    with (
        contextlib.closing(open_source(partner.source, QUICK)) as remote,
        pytest.raises(OSError, match="No space left"),
    ):
        remote.copy(f"{there.parent.name}/{there.name}/clients.csv", Path("/dev/full"), 1e9)


@pytest.mark.parametrize("part", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_killed_at_any_moment_nothing_is_half_there_and_the_next_look_brings_it(
    _settled_once: Path, simulated: Path, contracts: Contracts, tmp_path: Path, part: float
) -> None:
    found = killed_and_resumed(_settled_once, simulated, contracts["rn"], tmp_path, part=part)
    assert found == (-signal.SIGKILL, 1)


def test_a_sealed_delivery_is_fetched_when_its_seal_is_there(
    partner: Served, settled: Platform, simulated: Path, contracts: Contracts, time: Time, tmp_path: Path
) -> None:
    make_opening_key(settled.settings.opening_key_path)
    plain = deliver(delivery_in(simulated, "rn"), tmp_path / "made", "next", "2026-Q1")
    there = partner.root / "2026-Q1" / "next"
    seal(plain, recipient(settled.settings.opening_key_path), there)
    checksum = (there / SEAL).read_bytes()
    (there / SEAL).unlink()
    partner.sync()
    assert look(partner.source, settled, contracts, time) == Fetched("rn")
    (there / SEAL).write_bytes(checksum)
    partner.sync()
    assert look(partner.source, settled, contracts, time).taken == 1
    (waits,) = waiting(settled.settings, settled.ledger, contracts)
    assert ingest(waits.path, settled.settings, settled.ledger).status == "accepted"
    assert look(partner.source, settled, contracts, time).taken == 0
