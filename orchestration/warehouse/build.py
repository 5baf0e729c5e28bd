"""From accepted deliveries to the inputs of a dbt build: for each organisation and table the effective snapshot.

A build is made in `builds/candidate/`, the one folder that dbt sees; once it has passed its gate it is renamed to its
id. Nothing here publishes.
"""

from __future__ import annotations

import csv
import importlib.metadata
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestration.deliveries import corrections, people, raw, waivers
from orchestration.deliveries.contracts import Organisation, Table
from orchestration.deliveries.corrections import Correction
from orchestration.deliveries.keys import PseudonymKey
from orchestration.files import locked
from orchestration.hashing import code_hash, combined_hash, sha256_file
from orchestration.ledger import Ledger, now
from orchestration.readings import DeliveryRecord
from orchestration.settings import CHECKOUT, Settings
from orchestration.warehouse.versions import quoted

KEPT_BUILDS = 2
SORTING = "6GB"  # what DuckDB may take to sort a table; beyond that it sorts on disk
AT_ONCE = 1_000_000  # rows that are written at once
DECIDES_ON_BUILDS = (
    "delivery.accepted",
    "delivery.duplicate",
    "delivery.retracted",
    "version.published",
    "version.held",
)
PACKAGES = ("dbt-core", "dbt-duckdb", "duckdb", "great-expectations", "lifelines", "numpy", "pandas", "pyarrow")


class DeliveriesMissing(RuntimeError):
    """A build lacks the accepted delivery of an expected organisation; names which."""


@dataclass(frozen=True)
class BuildInputs:
    """What a candidate is built from. `carried` counts, by `organisation.table`, rows kept from earlier deliveries."""

    build_id: str
    folder: Path
    deliveries: tuple[DeliveryRecord, ...]
    carried: Mapping[str, int]
    rows: Mapping[str, int]
    registry_cutoff_on: date
    record: Mapping[str, Any]

    @property
    def warehouse(self) -> Path:
        return self.folder / "warehouse.duckdb"


def candidate_folder(settings: Settings) -> Path:
    """The folder in which dbt builds."""
    return settings.builds / "candidate"


@contextmanager
def one_writer(settings: Settings) -> Iterator[None]:
    """Hold the home for writing: a second writer waits. The lock goes with its process, however that ends."""
    with locked(settings.home_path / "writer.lock"):
        yield


def effective(records: Sequence[DeliveryRecord]) -> list[DeliveryRecord]:
    """The deliveries that count, oldest first: for each period what the one of the highest sequence says.

    Deliveries that repeat it stand behind the first that said so: neither a duplicate nor the order of arrival matters.
    """
    latest: dict[str, DeliveryRecord] = {}
    for record in sorted(records, key=lambda item: (item.period, item.sequence, item.manifest_sha256)):
        if record.period not in latest or latest[record.period].content_hash != record.content_hash:
            latest[record.period] = record
    return [latest[period] for period in sorted(latest)]


def require_all(
    contracts: Mapping[str, Organisation], ledger: Ledger, without: Collection[str] = ()
) -> dict[str, list[DeliveryRecord]]:
    """The effective deliveries of every organisation. Raises DeliveriesMissing when one has none.

    `without` names those that a waiver lets be missing; they have an empty list then.
    """
    taken_in = [record for record in ledger.deliveries() if record.status in ("accepted", "duplicate")]
    by_organisation = {
        name: effective([record for record in taken_in if record.organisation == name]) for name in contracts
    }
    missing = [name for name, records in by_organisation.items() if not records and name not in without]
    if missing:
        raise DeliveriesMissing(
            f"no accepted delivery of {', '.join(missing)}: nothing is built on a part of the sources; "
            "see `delictvrij status` for what was received"
        )
    return by_organisation


def is_behind(
    ledger: Ledger, contracts: Mapping[str, Organisation], version_id: str | None, without: Collection[str] = ()
) -> bool:
    """Whether the published version was never built from the deliveries that count, and no person is to decide first.

    A candidate that the gate held waits for a person until another delivery is decided on. Where an organisation has no delivery, nothing can
    be built.
    """
    try:
        counting = require_all(contracts, ledger, without)
    except DeliveriesMissing:
        return False
    last = next((str(row["what"]) for row in reversed(ledger.audit()) if row["what"] in DECIDES_ON_BUILDS), "")
    counts = {(one.organisation, one.period, one.content_hash) for of_one in counting.values() for one in of_one}
    return last != "version.held" and not any(
        build["version_id"] == version_id
        and {(row["organisation"], row["period"], row["content_hash"]) for row in build["record"]["deliveries"]}
        == counts
        for build in ledger.builds()
    )


def snapshot(
    connection: duckdb.DuckDBPyConnection,
    root: Path,
    records: Sequence[DeliveryRecord],
    table: Table,
    target: Path,
) -> tuple[int, int]:
    """Write the effective snapshot of one table to `target`; gives its rows and how many of them were carried forward.

    The newest delivery counts whole. A row that an earlier one had and later ones lack is carried forward from the
    delivery that last had it, unless a later delivery declared it deleted. One row per key of the contract, in its order. Rows are
    sorted, on disk beyond what `connection` may take, and written a part at a time.
    """
    if not table.key:
        raise ValueError(f"{table.organisation}.{table.name} has no key")
    key = [table.column(name).source for name in table.key]
    paths = [root / table.organisation / str(record.content_hash) / f"{table.name}.parquet" for record in records]
    files = "[" + ", ".join("'" + str(path).replace("'", "''") + "'" for path in paths) + "]"
    deleted = [
        (position, *keys)
        for position, record in enumerate(records)
        for keys in raw.read_deletions(root, table.organisation, str(record.content_hash)).get(table.name, [])
    ]
    gone = _deleted_clause(connection, table, deleted)
    reader = connection.sql(
        f"""
        select {", ".join(quoted(column.source) for column in table.kept)}, list_position({files}, filename) - 1 as position
        from read_parquet({files}, filename = true) as raw
        where true {gone}
        order by {", ".join(map(quoted, key))}, position desc
        """  # noqa: S608 - identifiers come from the contract, paths from the store
    ).to_arrow_reader(AT_ONCE)
    delivery = pa.array([record.manifest_sha256[:16] for record in records], pa.string())
    received_on = pa.array([record.received_at.date() for record in records], pa.date32())
    fields = [*list(reader.schema)[:-1], pa.field("_delivery", pa.string()), pa.field("_received_on", pa.date32())]
    rows = carried = 0
    with pq.ParquetWriter(target, pa.schema(fields)) as writer:
        for part in first_of_each(reader, key):
            position = part["position"]
            rows += part.num_rows
            carried += pc.sum(pc.less(position, len(records) - 1)).as_py() or 0
            of_delivery = [delivery.take(position), received_on.take(position)]
            writer.write_batch(pa.record_batch([*part.columns[:-1], *of_delivery], schema=pa.schema(fields)))
    return rows, carried


def first_of_each(parts: Iterable[pa.RecordBatch], key: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Of rows in order, which come in parts, the first of each key."""
    last: pa.RecordBatch | None = None
    for part in parts:
        if not part.num_rows:
            continue
        is_first = np.zeros(part.num_rows, dtype=bool)
        is_first[0] = last is None
        for name in key:
            values = part[name]
            before = pa.concat_arrays([values[:1] if last is None else last[name], values[:-1]])
            differs = pc.coalesce(pc.not_equal(values, before), pc.xor(values.is_null(), before.is_null()))
            is_first |= differs.to_numpy(zero_copy_only=False)
        last = part[part.num_rows - 1 :]
        yield part if is_first.all() else part.filter(pa.array(is_first))


def _deleted_clause(connection: duckdb.DuckDBPyConnection, table: Table, deleted: Sequence[tuple[Any, ...]]) -> str:
    """A condition that leaves out rows which a later delivery declared deleted."""
    if not deleted:
        return ""
    names = ["at_position", *(f"key_{index}" for index in range(len(table.key)))]
    frame = pa.table({name: [row[index] for row in deleted] for index, name in enumerate(names)})
    connection.register("deletion", frame)
    matches = " and ".join(
        f"raw.{quoted(table.column(name).source)}::varchar = deletion.key_{index}"
        for index, name in enumerate(table.key)
    )
    return f"and not exists (select 1 from deletion where deletion.at_position > position and {matches})"  # noqa: S608


def nothing(table: Table, target: Path) -> tuple[int, int]:
    """Write the snapshot of a table of an organisation that is missing: its columns and no row."""
    fields = [*raw.raw_schema(table), pa.field("_delivery", pa.string()), pa.field("_received_on", pa.date32())]
    pq.write_table(pa.schema(fields).empty_table(), target)
    return 0, 0


def correct(
    table: Table, target: Path, known: Sequence[Correction], key: PseudonymKey, today: date, path: Path
) -> None:
    """Apply the corrections of a table to its snapshot. Raises CorrectionStale when one no longer fits."""
    if not corrections.of_table(table, known):
        return
    mended, judgements = corrections.corrected(table, pq.read_table(target), known, key, today)
    corrections.require_fresh(judgements, path)
    pq.write_table(mended, target)


def prepare(
    settings: Settings, ledger: Ledger, contracts: Mapping[str, Organisation], key: PseudonymKey
) -> BuildInputs:
    """Make the candidate folder with the snapshot of every table. Raises DeliveriesMissing and CorrectionStale."""
    today = now().date()
    without = waivers.missing(waivers.read_waivers(settings.waivers_file), today)
    by_organisation = require_all(contracts, ledger, without)
    known = corrections.read_corrections(settings.corrections_file)
    return assemble(
        settings, ledger, contracts, key, by_organisation, known, candidate_folder(settings), today,
        {name: without[name].said() for name, records in by_organisation.items() if not records},
    )  # fmt: skip


def assemble(
    settings: Settings,
    ledger: Ledger,
    contracts: Mapping[str, Organisation],
    key: PseudonymKey,
    by_organisation: Mapping[str, Sequence[DeliveryRecord]],
    known: Sequence[Correction],
    folder: Path,
    today: date,
    without: Mapping[str, str],
) -> BuildInputs:
    """Write to `folder` the snapshot of every table that these deliveries come to, each organisation's oldest first.

    `without` says why an organisation with no delivery may be missing. Raises DeliveriesMissing and CorrectionStale.
    """
    shutil.rmtree(folder, ignore_errors=True)
    sources = folder / "sources"
    sources.mkdir(parents=True)
    rows: dict[str, int] = {}
    carried: dict[str, int] = {}
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": SORTING,
        "temp_directory": str(folder / "sorting"),
        "preserve_insertion_order": False,  # or what is read is held until it is sorted
    }
    with duckdb.connect(config=config) as connection:
        for organisation in contracts.values():
            records = by_organisation[organisation.name]
            for table in organisation.tables:
                place = f"{organisation.name}.{table.name}"
                target = sources / f"{organisation.name}__{table.name}.parquet"
                if not records:
                    rows[place], carried[place] = nothing(table, target)
                    continue
                rows[place], carried[place] = snapshot(connection, settings.raw, records, table, target)
                correct(table, target, known, key, today, settings.corrections_file)
    cutoff_on = registry_cutoff(contracts, by_organisation)
    write_build_row(sources, cutoff_on, settings)
    write_stopped(sources, contracts, ledger, people.marks_of(ledger, key))
    deliveries = tuple(record for records in by_organisation.values() for record in records)
    record = {
        **build_record(settings, key, deliveries, cutoff_on, ledger.waived()),
        "withdrawals": withdrawals_counted(ledger),
        "rows_delivered": rows,
        **({"corrections": [item.as_record() for item in known]} if known else {}),
        **({"without": dict(without)} if without else {}),
    }
    return BuildInputs(
        build_id=combined_hash({name: str(value) for name, value in record.items()})[:16],
        folder=folder,
        deliveries=deliveries,
        carried={place: count for place, count in carried.items() if count},
        rows=rows,
        registry_cutoff_on=cutoff_on,
        record=record,
    )


def empty_tables(contracts: Mapping[str, Organisation], inputs: BuildInputs) -> list[str]:
    """The tables, as `organisation.table`, that a build starts from without a row, of organisations whose delivery counts.

    One that its contract lets be empty is no finding.
    """
    delivering = {record.organisation for record in inputs.deliveries}
    return [
        f"{organisation.name}.{table.name}"
        for organisation in contracts.values()
        for table in organisation.tables
        if organisation.name in delivering
        and not table.may_be_empty
        and not inputs.rows.get(f"{organisation.name}.{table.name}")
    ]


def withdrawals_counted(ledger: Ledger) -> list[dict[str, Any]]:
    """The withdrawals that a build heeds, as its record has them: how many people, how, and when; nobody."""
    return [
        {"mode": item.mode, "people": item.people, "on": item.requested_at.date().isoformat()}
        for item in ledger.withdrawals()
    ]


def registry_cutoff(
    contracts: Mapping[str, Organisation], by_organisation: Mapping[str, Sequence[DeliveryRecord]]
) -> date:
    """The cut-off of the newest registry extract. Raises DeliveriesMissing when no registry has delivered."""
    cutoffs = [
        records[-1].cutoff_on
        for name, records in by_organisation.items()
        if contracts[name].kind == "registry" and records and records[-1].cutoff_on
    ]
    if not cutoffs:
        raise DeliveriesMissing("no registry extract with a cut-off date was accepted: no follow-up can be computed")
    return min(cutoffs)


def write_build_row(sources: Path, cutoff_on: date, settings: Settings) -> None:
    """Write the one row of settings that the SQL reads, as `_build.parquet`."""
    row = pa.table(
        {
            "registry_cutoff_on": pa.array([cutoff_on], pa.date32()),
            "enrolment_from": pa.array([settings.enrolment_from], pa.date32()),
            "enrolment_to": pa.array([settings.enrolment_to], pa.date32()),
            "landmark_months": pa.array([settings.landmark_months], pa.int32()),
        }
    )
    pq.write_table(row, sources / "_build.parquet")


def keep(settings: Settings, build_id: str) -> Path:
    """Rename the candidate to its build id; an earlier build of the same id gives way. The newest two are kept."""
    target = settings.builds / build_id
    shutil.rmtree(target, ignore_errors=True)
    candidate_folder(settings).rename(target)
    others = sorted(
        (path for path in settings.builds.iterdir() if path != target), key=lambda path: path.stat().st_mtime
    )
    for path in others[: -(KEPT_BUILDS - 1)]:
        shutil.rmtree(path)
    return target


def write_stopped(sources: Path, contracts: Mapping[str, Organisation], ledger: Ledger, marks: people.Marks) -> None:
    """Write whose data stopped, and until when the registry had been asked about them, as `_stopped.parquet`.

    Somebody of whom no newer extract is taken in is followed to the cut-off of the last that was.
    """
    until = {item.withdrawal_id: item.known_until for item in ledger.withdrawals()}
    known_until = {row["mark"]: until[row["withdrawal_id"]] for row in ledger.withdrawn() if row["mode"] == people.STOP}
    stopped: dict[str, date | None] = {}
    for organisation in contracts.values() if known_until else ():
        clients = people.clients_table(organisation)
        if clients is None:
            continue
        content = pq.read_table(sources / f"{organisation.name}__{clients.name}.parquet")
        persons = {person for _, person in people.pairs(clients, content) if person}
        stopped |= {person: known_until[people.mark(marks.key, person)] for person in marks.named(persons, people.STOP)}
    write_stopped_rows(sources, stopped)


def write_stopped_rows(sources: Path, stopped: Mapping[str, date | None]) -> None:
    """Write clients whose data stopped, and the cut-off that counted then; none of them, where nobody has."""
    fields = pa.schema([("client_id", pa.string()), ("known_until", pa.date32())])
    rows = [{"client_id": person, "known_until": day} for person, day in sorted(stopped.items())]
    pq.write_table(pa.Table.from_pylist(rows, schema=fields), sources / "_stopped.parquet")


def warehouse_code(settings: Settings) -> str:
    """Hash of what turns deliveries into tables: the dbt project, the contracts, these rooms, corrections and waivers."""
    project = settings.dbt_project
    models = sorted(
        path for kind in ("models", "macros", "seeds") for path in (project / kind).rglob("*.*") if path.is_file()
    )
    rules = sorted(settings.expectations.rglob("*.yml"))
    rooms = [
        path
        for room in ("warehouse", "deliveries")
        for path in sorted((CHECKOUT / "orchestration" / room).glob("*.py"))
    ]
    decisions = {
        path.name: sha256_file(path) for path in (settings.corrections_file, settings.waivers_file) if path.is_file()
    }
    return combined_hash(
        {
            "models": code_hash(models, project), "rules": code_hash(rules, settings.expectations),
            "rooms": code_hash(rooms, CHECKOUT), **decisions,
        }
    )  # fmt: skip


def code_lists(settings: Settings) -> dict[str, list[dict[str, str]]]:
    """The rows of every seed (items, classes of offences and disposals, outcomes): what codes and definitions meant then."""
    found = {}
    for path in sorted((settings.dbt_project / "seeds").glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as stream:
            found[path.stem] = list(csv.DictReader(stream))
    return found


def build_record(
    settings: Settings,
    key: PseudonymKey,
    deliveries: Sequence[DeliveryRecord],
    cutoff_on: date,
    waived: Mapping[str, list[str]],
) -> dict[str, Any]:
    """How a build comes about: deliveries with their waived rules, settings, code, packages and the id of the key."""
    return {
        "deliveries": [
            {
                "organisation": record.organisation,
                "period": record.period,
                "delivery_id": record.delivery_id,
                "manifest_sha256": record.manifest_sha256,
                "content_hash": record.content_hash,
                **({"waived": waived[record.manifest_sha256]} if record.manifest_sha256 in waived else {}),
            }
            for record in deliveries
        ],
        "registry_cutoff_on": cutoff_on.isoformat(),
        "settings": {
            "enrolment_from": settings.enrolment_from.isoformat(),
            "enrolment_to": settings.enrolment_to.isoformat(),
            "landmark_months": settings.landmark_months,
        },
        "code": warehouse_code(settings),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "key_id": key.key_id,
        "code_lists": code_lists(settings),
        "is_simulated": any(record.is_simulated for record in deliveries),
    }
