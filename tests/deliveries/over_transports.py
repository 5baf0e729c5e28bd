"""Prints what the transports are held to: `python -m tests.deliveries.over_transports [--clients N] [--files N]`.

The catalogue of spoiled deliveries over each transport, whose ledgers must be the same, and a thousand files of 1 MB over SFTP.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestration.deliveries.contracts import Organisation, read_contracts
from orchestration.deliveries.fetching import fetch
from orchestration.deliveries.inbox import waiting
from orchestration.deliveries.ingest import ingest
from orchestration.deliveries.manifest import read_manifest, verify
from orchestration.deliveries.sources import Source
from orchestration.deliveries.transports import Clock, Patience, Remote
from orchestration.hashing import sha256_bytes
from orchestration.home import initialise, opened
from orchestration.ledger import Ledger
from orchestration.settings import Settings
from orchestration.simulation import simulate
from orchestration.simulation.mutations import MUTATIONS
from tests.conftest import Platform, settings_in
from tests.deliveries.making import deliver, delivery_in
from tests.deliveries.servers import TRANSPORTS, Served, put, served
from tests.mutations.trials import NEXT, spoiled

# Object stores and WebDAV have no links: a partner cannot deliver one over them.
ONLY_FILES = frozenset({"S3", "WebDAV"})
LINKS = frozenset({"file_is_link"})

Verdict = tuple[str, str, str, tuple[tuple[Any, ...], ...]]


def catalogue(organisation: str, source: Path, folder: Path, names: list[str]) -> Iterator[tuple[str, Path]]:
    """Each spoiled delivery of one organisation, with the name of what is wrong."""
    for name in names:
        if (bad := spoiled(name, organisation, source, folder)) is not None:
            yield name, bad


def verdicts(
    organisation: Organisation, made: dict[str, Path], settled: Path, folder: Path, transport: str
) -> dict[str, Verdict]:
    """What the ledger says of each spoiled delivery after it came over a transport, each held against the same snapshot."""
    found = {}
    with served(transport, folder / "served", folder / "secrets") as partner:
        for name, delivery in made.items():
            if name in LINKS and transport in ONLY_FILES:
                continue
            found[name] = _verdict(organisation, delivery, partner, settled, folder / "home")
    return found


def _verdict(organisation: Organisation, delivery: Path, partner: Served, settled: Path, folder: Path) -> Verdict:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(settled, folder)
    settings = settings_in(folder).model_copy(update={"incomplete_hours": 0})
    home = Platform(settings, opened(settings))
    for old in partner.root.iterdir():
        shutil.rmtree(old)
    put(delivery, partner.root)
    partner.sync()
    known = {record.manifest_sha256 for record in home.ledger.deliveries()}
    looked = fetch(partner.source, organisation, settings, home.ledger, Patience(), Clock())
    assert not looked.trouble, looked
    for item in waiting(settings, home.ledger, {organisation.name: organisation}):
        ingest(item.path, settings, home.ledger)
    (record,) = [item for item in home.ledger.deliveries() if item.manifest_sha256 not in known]
    judged = sorted(
        tuple((key, str(value)) for key, value in sorted(item.items()) if key != "id")
        for item in home.ledger.judgements(record.manifest_sha256)
    )
    home.ledger.close()
    return record.manifest_sha256, record.status, str(record.content_hash), tuple(judged)


def settled_home(folder: Path, clients: int) -> tuple[Path, Path]:
    """A home that has accepted a simulated delivery of every organisation, and those deliveries."""
    simulated = folder / "simulated"
    simulate(simulated, clients=clients, seed=20260101, periods="last")
    settings = settings_in(folder / "settled")
    initialise(settings)
    ledger = opened(settings)
    for manifest in sorted(simulated.glob("*/*/*/manifest.json")):
        assert ingest(manifest.parent, settings, ledger).status == "accepted"
    shutil.rmtree(settings.landing)
    ledger.close()
    return folder / "settled", simulated


def matrix(folder: Path, clients: int, organisations: list[str], names: list[str]) -> tuple[dict[str, int], list[str]]:
    """Deliveries judged over each transport, and those whose ledgers differ from that over a folder."""
    settled, simulated = settled_home(folder, clients)
    contracts = read_contracts(Settings().expectations)
    judged = dict.fromkeys(TRANSPORTS, 0)
    different = []
    for organisation in organisations:
        made = dict(catalogue(organisation, simulated, folder / "made", names))
        by_transport = {}
        for transport in TRANSPORTS:
            place = folder / f"{organisation}-{transport}"
            by_transport[transport] = verdicts(contracts[organisation], made, settled, place, transport)
            print(f"{transport}: {len(by_transport[transport])} of {organisation} judged", file=sys.stderr, flush=True)
        for transport, found in by_transport.items():
            judged[transport] += len(found)
            different += [
                f"{name} of {organisation} over {transport}"
                for name, verdict in found.items()
                if verdict != by_transport["folder"][name]
            ]
    return judged, different


# kills --------------------------------------------------------------------------------------------------------------
MOMENTS = (
    (Remote, "entries"), (Remote, "read"), (Remote, "copy"), (Remote, "close"), (Path, "rename"), (Path, "mkdir"), (shutil, "rmtree"),
    (Ledger, "record_sighting"), (Ledger, "record_fetching"), (os, "fsync"),
)  # fmt: skip


def killed_and_resumed(
    settled: Path, simulated: Path, organisation: Organisation, folder: Path, *, part: float
) -> tuple[int | None, int]:
    """Fetch in a process that is killed (`part` of the way, 0 to 1), look at what it left, and fetch again.

    Gives how the process ended and how many deliveries there are in the end. Whatever waits in between must be whole.
    """
    shutil.copytree(settled, folder / "home")
    settings = settings_in(folder / "home")
    home = Platform(settings, opened(settings))
    put(deliver(delivery_in(simulated, organisation.name), folder / "made", "next", "2026-Q1"), folder / "served")
    source = Source(url=(folder / "served").as_uri())
    known = len(waiting(settings, home.ledger, {organisation.name: organisation}))
    home.ledger.close()
    moments = _in_a_fork(_fetch_counting, source, organisation, settings, None)[1]
    shutil.rmtree(folder / "home")
    shutil.copytree(settled, folder / "home")
    code, _ = _in_a_fork(_fetch_counting, source, organisation, settings, max(1, round(part * moments)))
    for item in waiting(settings, home.ledger, {organisation.name: organisation}):
        verify(item.path, read_manifest(item.path), organisation)
    fetch(source, organisation, settings, home.ledger, Patience(), Clock())
    whole = waiting(settings, home.ledger, {organisation.name: organisation})
    for item in whole:
        verify(item.path, read_manifest(item.path), organisation)
    assert not list(settings.inbox_path.glob(".fetching-*/*"))
    home.ledger.close()
    return code, len(whole) - known


def _in_a_fork(function: Any, *given: Any) -> tuple[int | None, int]:
    context = multiprocessing.get_context("fork")
    counted = context.Value("i", 0)
    process = context.Process(target=function, args=(counted, *given))
    process.start()
    process.join(120)
    return process.exitcode, counted.value


def _fetch_counting(
    counted: Any, source: Source, organisation: Organisation, settings: Settings, last: int | None
) -> None:
    """Fetch, counting the moments before and after each step; at moment `last` the process is killed."""

    def moment() -> None:
        counted.value += 1
        if counted.value == last:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(step: Any) -> Any:
        def stepped(*args: Any, **terms: Any) -> Any:
            moment()
            try:
                return step(*args, **terms)
            finally:
                moment()

        return stepped

    for place, name in MOMENTS:
        setattr(place, name, around(getattr(place, name)))
    fetch(source, organisation, settings, opened(settings), Patience(), Clock())


def kills(folder: Path, count: int) -> int:
    """How many of `count` kills, spread over a fetch, left nothing half there and lost nothing."""
    settled, simulated = settled_home(folder, 10)
    organisation = read_contracts(Settings().expectations)["rn"]
    good = 0
    for number in range(count):
        place = folder / f"kill-{number}"
        code, fetched = killed_and_resumed(settled, simulated, organisation, place, part=(number + 1) / (count + 1))
        good += (code, fetched) == (-signal.SIGKILL, 1)
        shutil.rmtree(place)
    return good


# throughput ---------------------------------------------------------------------------------------------------------
def _serve_many(folder: Path, files: int) -> int:
    """Fill a folder with deliveries of eight files of 1 MB and serve it over SFTP, in this process, until it is ended."""
    root = folder / "served"
    block = os.urandom(2**20)
    names = [f"{table.name}.csv" for table in read_contracts(Settings().expectations)["rn"].tables]
    template = json.loads((delivery_in(folder / "simulated", "rn") / "manifest.json").read_text())
    for number in range(files // len(names)):
        delivery = root / "2025-Q4" / f"many-{number:04d}"
        delivery.mkdir(parents=True)
        described = []
        for place, name in enumerate(names):
            content = f"{number} {place}".encode().ljust(16) + block[16:]
            (delivery / name).write_bytes(content)
            file = next(item for item in template["files"] if item["name"] == name)
            described.append({**file, "bytes": len(content), "sha256": sha256_bytes(content)})
        manifest = {**template, "delivery_id": delivery.name, "files": described}
        (delivery / "manifest.json").write_text(json.dumps(manifest))
    with served("SFTP", root, folder / "secrets") as partner:
        (folder / "source.json").write_text(partner.source.model_dump_json())
        print("ready", flush=True)
        signal.sigwait({signal.SIGTERM})
    return 0


def throughput(folder: Path, files: int) -> tuple[int, int, float, int]:
    """Files and bytes fetched over SFTP from a server in another process, seconds, and extra peak memory in MB."""
    simulate(folder / "simulated", clients=10, seed=1, periods="last")
    settings = settings_in(folder)
    initialise(settings)
    contracts = read_contracts(settings.expectations)
    command = [sys.executable, "-m", "tests.deliveries.over_transports", "--serve", str(folder), "--files", str(files)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None and server.stdout.readline() == "ready\n"
        source = Source.model_validate_json((folder / "source.json").read_text())
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.monotonic()
        found = fetch(source, contracts["rn"], settings, opened(settings), Patience(), Clock())
        seconds = time.monotonic() - began
        extra = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
        server.terminate()
    assert not found.trouble, found
    fetched = len(list(settings.inbox_path.glob("*/*/*/*.csv")))
    return fetched, found.bytes, seconds, extra


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=40)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        return _serve_many(given.serve, given.files)
    with tempfile.TemporaryDirectory() as folder:
        fetched, size, seconds, extra = throughput(Path(folder), given.files)
    print(
        f"SFTP: {fetched} files, {size / 2**20:.0f} MB in {seconds:.1f} s; {extra} MB more memory at the peak",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        unharmed = kills(Path(folder), given.kills)
    print(f"killed while fetching {given.kills} times: {unharmed} times nothing half there, nothing lost", flush=True)
    is_fast = unharmed == given.kills and fetched >= given.files and seconds <= 120 and extra <= 300
    with tempfile.TemporaryDirectory() as folder:
        judged, different = matrix(Path(folder), given.clients, list(NEXT), list(MUTATIONS))
    for transport, count in judged.items():
        print(f"{transport}: {count} spoiled deliveries judged")
    for place in different:
        print(f"differs: {place}")
    print(f"{len(TRANSPORTS)} transports, {len(MUTATIONS)} mutations: {len(different)} ledgers differ")
    return int(bool(different) or not is_fast)


if __name__ == "__main__":
    sys.exit(main())
