"""How long the dbt project takes, and how much memory, by the number of clients: `python -m tests.bench.building --clients 200 20000`.

Each size in a process of its own, tests and contracts included. Up to 2,000 clients are simulated, more are those again under other
pseudonyms. The deliveries are read before the clock starts, without the gate, which has figures of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb

from orchestration.deliveries import raw
from orchestration.deliveries.contracts import read_contracts
from orchestration.deliveries.keys import read_key
from orchestration.deliveries.manifest import read_manifest
from orchestration.deliveries.readers import read_delivery
from orchestration.home import initialise
from orchestration.settings import Settings
from orchestration.simulation import simulate
from orchestration.warehouse import build, dbt
from orchestration.warehouse.outcomes import read_definitions
from tests.bench.measuring import Row
from tests.conftest import settings_in

SIZES = (200, 20_000, 200_000)
BASE = 2_000  # clients that are simulated; beyond that they are copied under other pseudonyms


def made(folder: Path, clients: int) -> Path:
    """A build folder with the snapshots of that many clients."""
    base = min(clients, BASE)
    simulate(folder / "delivered", base, 7, "csv", "last")
    return build_folder(folder, folder / "delivered", -(-clients // base))


def build_folder(folder: Path, delivered: Path, copies: int = 1) -> Path:
    """A home in `folder`, and a build folder in it with what was delivered, `copies` times over; not gated."""
    settings = settings_in(folder)
    initialise(settings)
    key = read_key(settings.key_path, settings.project)
    sources = folder / "build" / "sources"
    sources.mkdir(parents=True)
    contracts = read_contracts(settings.expectations)
    cutoff = None
    for path in sorted(delivered.glob("*/*/*/manifest.json")):
        manifest = read_manifest(path.parent)
        organisation = contracts[manifest.organisation]
        cutoff = manifest.cutoff_on or cutoff
        for reading in read_delivery(path.parent, manifest, organisation.tables, admit_test_numbers=True):
            table = reading.table
            stored = raw.decoded(raw.pseudonymised(table, reading.rows, key))
            numbered = ", ".join(
                f'"{column.raw_name}" || copy as "{column.raw_name}"' for column in table.kept if column.pseudonym
            )
            is_copied = bool(numbered)
            target = sources / f"{organisation.name}__{table.name}.parquet"
            duckdb.execute(
                f"""
                copy (
                    select * exclude (copy) {f"replace ({numbered})" if is_copied else ""}, 'bench' as _delivery, date '2026-01-01' as _received_on
                    from (select stored.*, copies.copy from stored cross join range({copies if is_copied else 1}) as copies(copy))
                ) to '{target}' (format parquet)
                """
            )
            assert len(stored)
    assert cutoff is not None
    build.write_build_row(sources, cutoff, settings)
    build.write_stopped_rows(sources, {})
    return folder / "build"


def measure(place: Path) -> dict[str, float]:
    """Seconds of the build in a folder and peak memory of this process in MB."""
    settings = settings_in(place.parent)
    dbt.manifest_path(settings)
    began = time.perf_counter()
    nodes = dbt.build(settings, place)
    seconds = time.perf_counter() - began
    bad = [node.unique_id for node in nodes if not node.is_good]
    assert not bad, bad
    return {
        "seconds": seconds,
        "nodes": len(nodes),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def rows(sizes: Sequence[int] = SIZES) -> Iterator[Row]:
    """Seconds of the build, its tests among them, by the number of clients."""
    definitions = len(read_definitions(Settings().dbt_project / "seeds" / "outcome.csv"))
    for clients in sizes:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            place = made(Path(folder), clients)
            command = [sys.executable, "-m", "tests.bench.building", "--built-in", str(place)]
            found = json.loads(
                subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
            )
        note = f"peak {found['peak_mb']:,.0f} MB, {found['nodes']:.0f} nodes, {definitions} outcome definitions"
        yield Row("building", f"{clients:,} clients", found["seconds"], "s", note=note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, nargs="+", default=SIZES)
    parser.add_argument("--built-in", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.built_in:
        print(json.dumps(measure(given.built_in)))
        return
    for row in rows(given.clients):
        print(row, flush=True)


if __name__ == "__main__":
    main()
