"""Each station on its own by the number of clients, a process each: time, peak memory, growth, and what DuckDB takes for the same bytes.

`python -m tests.bench --only stations --sizes 1000 10000`. The last snapshots of all sources in CSV, each client with its whole history,
and the primary outcome definitions: taken in (readers and gate), built (dbt, with its tests), judged (the gate on the marts), published, released (microdata in every
format). Readers and gate are held against DuckDB reading the same files with declared types, publication against DuckDB copying the same
tables to Parquet.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import duckdb

from orchestration.deliveries import gate
from orchestration.deliveries.contracts import Column, read_contracts
from orchestration.deliveries.inbox import bytes_of, is_backlog, waiting
from orchestration.deliveries.ingest import ingest, known_key
from orchestration.deliveries.manifest import read_manifest
from orchestration.home import initialise, opened, readings
from orchestration.ledger import now
from orchestration.releases import metadata
from orchestration.releases.catalogue import catalogue_in
from orchestration.releases.tables import laid_aside, stored, wide_of
from orchestration.releases.writing import Content, Spelling, write_folder
from orchestration.settings import DBT_PROJECT, Settings
from orchestration.simulation import simulate
from orchestration.warehouse import build, dbt, outcomes, versions
from orchestration.warehouse import gate as marts_gate
from orchestration.workers import forked
from tests.bench.floor import environment
from tests.bench.measuring import Cost, Row, cost_of
from tests.conftest import same_key_each_time, settings_in

GROWTH, READING, COPYING = 1.1, 3.0, 2.0
MEMORY_MB = {10_000: 2_000.0, 1_000_000: 12_000.0}
DUCKDB_TYPES = {"integer": "BIGINT", "decimal": "DOUBLE"}
SEED = 7
OURS = ("taken in", "built", "judged", "published", "released")


def settings_of(folder: Path) -> Settings:
    """The settings of the home in a folder, with the primary outcome definitions alone (`with_primary_outcomes`)."""
    own = {"dbt_project": folder / "dbt_project", "dbt_target": folder / "dbt_target"}
    return settings_in(folder).model_copy(update=own)


def with_primary_outcomes(folder: Path) -> None:
    """Put the dbt project into a folder, with the primary ones of the outcome definitions that it has."""
    project = shutil.copytree(DBT_PROJECT, folder / "dbt_project", ignore=shutil.ignore_patterns("target", "logs"))
    seed = project / "seeds" / "outcome.csv"
    outcomes.write_definitions(seed, [row for row in outcomes.read_definitions(seed) if row["role"] == "primary"])


def take_in(folder: Path) -> None:
    """Readers, gate and raw store: every delivery of the inbox, organisations side by side where a refresh takes them in so."""
    settings = settings_of(folder)
    waits = waiting(settings, readings(settings), read_contracts(settings.expectations))
    bytes_left: Counter[str] = Counter()
    for item in waits:
        bytes_left[item.organisation] += bytes_of(item)
    organisations = [name for name, _ in bytes_left.most_common()]
    if not is_backlog(waits):
        take_in_of(folder, organisations)
        return
    with forked(os.cpu_count() or 1) as pool:
        for taken in [pool.submit(take_in_of, folder, [name]) for name in organisations]:
            taken.result()


def take_in_of(folder: Path, organisations: Sequence[str]) -> None:
    """Every delivery of some organisations."""
    settings = settings_of(folder)
    ledger = opened(settings)
    for name in organisations:
        for path in sorted(settings.inbox_path.glob(f"{name}/*/*/manifest.json")):
            receipt = ingest(path.parent, settings, ledger)
            assert receipt.status == "accepted", (receipt.delivery_id, [reason.rule for reason in receipt.reasons])


def build_all(folder: Path) -> None:
    """Snapshots, models and their tests."""
    settings = settings_of(folder)
    ledger = opened(settings)
    inputs = build.prepare(settings, ledger, read_contracts(settings.expectations), known_key(settings, ledger))
    (folder / "record.json").write_text(json.dumps(inputs.record, default=str))
    nodes = dbt.build(settings, inputs.folder)
    assert all(node.is_good for node in nodes)


def judge(folder: Path) -> None:
    """The gate on the marts."""
    settings = settings_of(folder)
    tables = versions.published_tables(dbt.read_manifest(settings))
    warehouse = build.candidate_folder(settings) / "warehouse.duckdb"
    marts = versions.StoredMarts(warehouse, tables, marts_gate.looked_at(settings))
    delivered = json.loads((folder / "record.json").read_text())["rows_delivered"]
    found = marts_gate.judge_candidate(settings, warehouse, marts, delivered, None, [], now().date())
    assert not any(judgement.blocks for judgement in found), marts_gate.said([item for item in found if item.blocks])


def publish(folder: Path) -> None:
    """The marts as a version."""
    settings = settings_of(folder)
    tables = versions.published_tables(dbt.read_manifest(settings))
    warehouse = build.candidate_folder(settings) / "warehouse.duckdb"
    versions.publish(settings, warehouse, tables, json.loads((folder / "record.json").read_text()))


def release(folder: Path) -> None:
    """The microdata of the version in every format, with the codebook; a fit and what is judged of it do not grow with the clients."""
    settings = settings_of(folder)
    version, catalogue = versions.named_version(settings, versions.CURRENT), catalogue_in(settings)
    marts = stored(version, catalogue)
    (folder / "aside").mkdir()
    across = laid_aside(wide_of(marts, catalogue), folder / "aside")
    about = metadata.About(
        tag="2026.1.0", released_on=date(2026, 1, 1), version_id=version.version_id, fit_id="", is_simulated=True,
        registry_cutoff_on=str(version.manifest["registry_cutoff_on"]), study=metadata.read_study(),
        tables=tuple(table.described for table in [*marts, across]),
        rows={table.name: table.n_rows for table in [*marts, across]},
    )  # fmt: skip
    write_folder(
        Content(about, catalogue, [*marts, across], None, Spelling(makes_inert=True, language="nl"), {}),
        folder / "released",
    )


def read_bare(folder: Path) -> None:
    """DuckDB reads the delivered files with declared types into tables, which is what it can do without a contract."""
    settings = settings_of(folder)
    contracts = read_contracts(settings.expectations)
    with duckdb.connect(str(folder / "bare.duckdb")) as connection:
        for number, path in enumerate(sorted(settings.inbox_path.glob("*/*/*/manifest.json"))):
            manifest = read_manifest(path.parent)
            for table in contracts[manifest.organisation].tables:
                file = manifest.file(manifest.table(table.name).file)
                kinds = {column.source: _type(column) for column in table.columns}
                connection.execute(
                    f"create table t{number}_{table.name} as select * from read_csv(?, header = true, delim = ?, decimal_separator = ?, "
                    "columns = ?, encoding = ?, strict_mode = false, nullstr = '')",
                    [
                        str(path.parent / file.name),
                        file.delimiter,
                        file.decimal or ".",
                        kinds,
                        _encoding(file.encoding),
                    ],
                )


def copy_bare(folder: Path) -> None:
    """DuckDB copies the marts to Parquet."""
    settings = settings_of(folder)
    tables = versions.published_tables(dbt.read_manifest(settings))
    (folder / "copied").mkdir()
    with duckdb.connect(str(build.candidate_folder(settings) / "warehouse.duckdb"), read_only=True) as connection:
        for table in tables:
            connection.execute(
                f"copy (from {table.relation}) to '{folder / 'copied' / table.name}.parquet' (format parquet, compression zstd)"
            )


def _type(column: Column) -> str:
    """The type that a plain reader can be told: a date in a partner's own form, or with codes for missing, is text to it."""
    return "VARCHAR" if column.missing or column.codes else DUCKDB_TYPES.get(column.type, "VARCHAR")


def _encoding(name: str | None) -> str:
    return "utf-8" if name is None or name.startswith("utf-8") else "latin-1"


STATIONS: dict[str, Callable[[Path], None]] = {
    "taken in": take_in, "read by DuckDB": read_bare, "built": build_all, "judged": judge, "published": publish, "copied by DuckDB": copy_bare,
    "released": release,
}  # fmt: skip


@dataclass(frozen=True)
class Station:
    """What one station took: the seconds of its work, its libraries loaded, and its process as a whole."""

    seconds: float
    whole: Cost


def work(name: str, folder: Path) -> None:
    """Do the work of a station and note its seconds beside the home."""
    if name in ("taken in", "judged"):
        gate.load()  # Great Expectations takes as long for one row as for a million
    began = time.perf_counter()
    STATIONS[name](folder)
    (folder / f"{name}.seconds").write_text(str(time.perf_counter() - began))


def measured(folder: Path, clients: int) -> dict[str, Station]:
    """What each station took for so many clients."""
    settings = settings_of(folder)
    same_key_each_time(settings)
    with_primary_outcomes(folder)
    initialise(settings)
    simulate(settings.inbox_path, clients=clients, seed=SEED, form="csv", periods="last")
    made = environment(folder)
    found = {}
    read_no_more = {
        "read by DuckDB": [folder / "bare.duckdb", settings.inbox_path],
        "copied by DuckDB": [folder / "copied", settings.landing, settings.raw, settings.builds],
    }
    for name in STATIONS:
        whole = cost_of([sys.executable, "-m", "tests.bench.stations", name, folder], made)
        found[name] = Station(float((folder / f"{name}.seconds").read_text()), whole)
        for gone in read_no_more.get(name, ()):  # at a million clients the disk is full otherwise
            shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    return found


def rows(sizes: Sequence[int]) -> Iterator[Row]:
    """Time and memory of each station at each size, what DuckDB takes beside it, and how time grows from the smallest to the largest."""
    found: dict[int, dict[str, Station]] = {}
    for clients in sizes:
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            used = found[clients] = measured(Path(name), clients)
        section = f"{clients:,} clients"
        for station, one in used.items():
            yield Row(
                section,
                station,
                one.seconds,
                "s",
                note=f"peak {one.whole.peak_mb:,.0f} MB, its process {one.whole.seconds:.1f} s",
            )
        yield Row(
            section,
            "readers and gate against DuckDB reading the same",
            _ratio(used, "taken in", "read by DuckDB"),
            "×",
            READING,
        )
        yield Row(
            section,
            "publication against DuckDB copying the same",
            _ratio(used, "published", "copied by DuckDB"),
            "×",
            COPYING,
        )
        own = max(used[station].whole.peak_mb for station in OURS)
        yield Row(section, "largest memory of a station", own, "MB", MEMORY_MB.get(clients))
    if len(sizes) > 1:
        small, large = min(sizes), max(sizes)
        for station in OURS:
            grown = math.log(found[large][station].seconds / found[small][station].seconds) / math.log(large / small)
            yield Row("growth", f"{station}, {small:,} to {large:,} clients: exponent", grown, "", GROWTH)


def _ratio(used: dict[str, Station], ours: str, theirs: str) -> float:
    return used[ours].seconds / used[theirs].seconds


if __name__ == "__main__":
    work(sys.argv[1], Path(sys.argv[2]))
