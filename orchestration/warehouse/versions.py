"""Publishing a gated candidate as a version: Parquet and a manifest, written aside, renamed, then the pointer swapped.

`versions/<id>/` never changes once it is there; `versions/current` points at one of them. The id is the hash of the
tables' canonical content, so the same rows are the same version.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestration.files import folder_aside, settle, write_json
from orchestration.hashing import (
    SLICE,
    RowsInOrder,
    combined_hash,
    follows,
    in_order,
    is_as_marked,
    is_in_order,
    sha256_file,
)
from orchestration.settings import Settings
from orchestration.store import keep, point
from orchestration.trouble import Mendable

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

MANIFEST = "manifest.json"
CURRENT = "current"
PART = 1_000_000  # rows that are read at once
AT_A_TIME = 2  # marts that are written at once
SORTING = "4GB"  # what DuckDB may take to sort a mart that is not in order; beyond that it sorts on disk
_ROWS = "select * from {}"
_FLOATING = ("FLOAT", "DOUBLE")  # types of numbers of which one may be none


class VersionDamaged(Mendable):
    """A version's files are not what its manifest says; names the tables."""


class NoSuchVersion(Mendable):
    """No version, or more than one, has the name that was given."""


class _OutOfOrder(Exception):
    """Rows do not come in canonical order."""


@dataclass(frozen=True)
class PublishedTable:
    """A mart: its name, the relation that holds it, its description, those of its columns, and what names a row."""

    name: str
    relation: str
    description: str
    columns: Mapping[str, str]
    key: tuple[str, ...] = ()


@dataclass(frozen=True)
class Version:
    """A published version: its id, folder and manifest."""

    version_id: str
    folder: Path
    manifest: Mapping[str, Any]

    @property
    def table_hashes(self) -> dict[str, str]:
        return {name: table["content_hash"] for name, table in self.manifest["tables"].items()}


def published_tables(dbt_manifest: Mapping[str, Any]) -> list[PublishedTable]:
    """The marts of a dbt manifest, by name."""
    nodes = [
        node
        for node in dbt_manifest["nodes"].values()
        if node["resource_type"] == "model" and node["original_file_path"].startswith("models/marts/")
    ]
    keys = _keys(dbt_manifest)
    return [
        PublishedTable(
            key=keys.get(node["name"], ()),
            name=node["name"],
            relation=f'"{node["schema"]}"."{node["alias"]}"',
            description=node["description"].strip(),
            columns={column["name"]: column["description"].strip() for column in node["columns"].values()},
        )
        for node in sorted(nodes, key=lambda node: node["name"])
    ]


def _keys(dbt_manifest: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """What names a row of each model: the columns whose uniqueness the project tests."""
    found: dict[str, tuple[str, ...]] = {}
    for node in dbt_manifest["nodes"].values():
        test = node.get("test_metadata") or {}
        if test.get("name") not in ("unique", "unique_combination"):
            continue
        model = str(node["attached_node"]).rpartition(".")[2]
        columns = test["kwargs"].get("columns") or [test["kwargs"]["column_name"]]
        found[model] = tuple(str(column) for column in columns)
    return found


class Marts(Mapping[str, "pa.Table"]):
    """The marts of a built warehouse, wherever their rows are."""

    @abstractmethod
    def rows(self, name: str) -> int:
        """How many rows a mart has."""

    @abstractmethod
    def columns(self, name: str) -> list[str]:
        """The columns of a mart that may be asked for."""

    @abstractmethod
    def parts(self, name: str) -> Iterator[pa.RecordBatch]:
        """The rows of a mart in parts: at least one, which may be empty."""

    @abstractmethod
    def alike(self, name: str, columns: Sequence[str]) -> pa.Table:
        """These columns of all rows that may agree in them with another row. More may come; a row that does agree is never left out."""


class HeldMarts(Marts):
    """Marts that are in memory, all columns of them."""

    def __init__(self, tables: Mapping[str, pa.Table]) -> None:
        self._tables = tables

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)

    def __getitem__(self, name: str) -> pa.Table:
        return self._tables[name]

    def rows(self, name: str) -> int:
        return int(self[name].num_rows)

    def columns(self, name: str) -> list[str]:
        return list(self[name].column_names)

    def parts(self, name: str) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        yield from self[name].to_batches(PART) or [pa.RecordBatch.from_pylist([], schema=self[name].schema)]

    def alike(self, name: str, columns: Sequence[str]) -> pa.Table:
        return self[name].select(list(columns))


def read_marts(warehouse: Path, tables: Iterable[PublishedTable]) -> HeldMarts:
    """The marts of a built warehouse as Arrow tables, all of them at once, rows in canonical order."""
    import pyarrow as pa

    found = {}
    with _opened(warehouse) as connection:
        for table in tables:
            rows = connection.sql(_ROWS.format(table.relation)).to_arrow_table()
            found[table.name] = rows if is_in_order(rows) else pa.Table.from_batches(in_order(rows))
    return HeldMarts({name: mart.replace_schema_metadata(None) for name, mart in found.items()})


class StoredMarts(Marts):
    """The marts of a built warehouse, each read when it is asked for: of one in `columns` only those, of which some may be missing. The
    last one is kept; `parts` and `alike` keep nothing.
    """

    def __init__(
        self, warehouse: Path, tables: Iterable[PublishedTable], columns: Mapping[str, Collection[str]]
    ) -> None:
        self._warehouse, self._columns = warehouse, columns
        self._relations = {table.name: table.relation for table in tables}
        self._last: tuple[str, pa.Table] | None = None

    def __iter__(self) -> Iterator[str]:
        return iter(self._relations)

    def __len__(self) -> int:
        return len(self._relations)

    def __contains__(self, name: object) -> bool:
        return name in self._relations

    def __getitem__(self, name: str) -> pa.Table:
        if self._last is None or self._last[0] != name:
            self._last = None  # let go before the next is there
            with self._reader(name, self.columns(name)) as reader:
                self._last = (name, reader.read_all())
        return self._last[1]

    def rows(self, name: str) -> int:
        return self._held[name][0]

    def columns(self, name: str) -> list[str]:
        wanted = self._columns.get(name)
        return [column for column in self._held[name][1] if wanted is None or column in wanted]

    @cached_property
    def _held(self) -> dict[str, tuple[int, dict[str, str]]]:
        """Of each mart its rows, and its columns with their types; asked at once, since opening a warehouse takes longer than asking."""
        found = {}
        with _opened(self._warehouse) as connection:
            for name, relation in self._relations.items():
                rows = connection.sql(_ROWS.format(relation))
                ((count,),) = rows.count("*").fetchall()
                found[name] = (int(count), dict(zip(rows.columns, map(str, rows.types), strict=True)))
        return found

    def parts(self, name: str) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        with self._reader(name, self.columns(name)) as reader:
            is_empty = True
            for part in reader:
                is_empty = False
                yield part
            if is_empty:
                yield pa.RecordBatch.from_pylist([], schema=reader.schema)

    def alike(self, name: str, columns: Sequence[str]) -> pa.Table:
        """As `Marts.alike`: the rows whose hash another has too, and those that hold nothing in any; as in a frame, what is not a number
        is nothing.
        """
        kinds = self._held[name][1]
        held = [f"nullif({quoted(one)}, 'nan')" if kinds[one] in _FLOATING else quoted(one) for one in columns]
        hashed = f"hash({', '.join(held)})"
        several = f"select {hashed} from {self._relations[name]} group by all having count(*) > 1"  # noqa: S608
        is_nothing = " and ".join(f"{one} is null" for one in held)
        with self._reader(name, columns, f"where {hashed} in ({several}) or ({is_nothing})") as reader:
            return reader.read_all()

    @contextmanager
    def _reader(self, name: str, columns: Sequence[str], condition: str = "") -> Iterator[pa.RecordBatchReader]:
        listed = ", ".join(map(quoted, columns))
        with _opened(self._warehouse) as connection:
            rows = connection.sql(f"select {listed} from {self._relations[name]} {condition}")  # noqa: S608
            yield rows.to_arrow_reader(PART)


def quoted(name: str) -> str:
    """A name as SQL takes it."""
    return '"' + name.replace('"', '""') + '"'


def _opened(warehouse: Path) -> duckdb.DuckDBPyConnection:
    import duckdb

    connection = duckdb.connect(str(warehouse), read_only=True)
    connection.execute(f"set memory_limit = '{SORTING}'; set enable_progress_bar = false")
    return connection


def publish(
    settings: Settings,
    marts: Mapping[str, pa.Table] | Path,
    tables: Sequence[PublishedTable],
    record: Mapping[str, Any],
    *,
    as_current: bool = True,
) -> tuple[Version, bool]:
    """Publish marts as a version and point `current` at it; gives the version and whether it is new.

    `marts`: Arrow tables, or the built warehouse that holds them, which are then written two at a
    time and of each no more in memory than a part. `as_current=False` puts it into the store and leaves the pointer where it is.

    `record` says how the build came about; it is part of the manifest of the build that first made the version.
    Killed at any moment, `current` points at a whole version.
    """
    with folder_aside(settings.versions, "new") as aside:
        entries = _written(marts, tables, aside)
        version_id = combined_hash({name: entry["content_hash"] for name, entry in entries.items()})[:16]
        folder = settings.versions / version_id
        is_new = not folder.exists()
        if is_new:
            manifest = {
                "version_id": version_id,
                "tables": entries,
                "simulated": bool(record["is_simulated"]),
                "registry_cutoff_on": record["registry_cutoff_on"],
                "build": dict(record),
            }
            write_json(aside / MANIFEST, manifest)
            settle(aside, folder)
    version = read_version(folder)
    keep(settings, folder)
    if as_current and current_id(settings) != version_id:
        point(settings, settings.versions, version_id)
    return version, is_new


def _written(marts: Mapping[str, pa.Table] | Path, tables: Sequence[PublishedTable], folder: Path) -> dict[str, Any]:
    """Write marts into a folder and give the entry of each in the manifest."""
    from concurrent.futures import ThreadPoolExecutor

    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(AT_A_TIME))
        if isinstance(marts, Path):
            connection = stack.enter_context(_opened(marts))
            entries = pool.map(lambda table: _copied(connection, table, folder), tables)
        else:
            held = marts
            entries = pool.map(
                lambda table: _entry(table, held[table.name].schema, in_order(held[table.name]), folder), tables
            )
        return {table.name: entry for table, entry in zip(tables, entries, strict=True)}


def _copied(connection: duckdb.DuckDBPyConnection, table: PublishedTable, folder: Path) -> dict[str, Any]:
    """The entry of a mart that is written from the warehouse: as it stands there, or where that is in no order, as DuckDB sorts it."""
    for order in ("", " order by all"):
        with connection.cursor() as own, suppress(_OutOfOrder):
            reader = own.sql(_ROWS.format(table.relation) + order).to_arrow_reader(SLICE)
            return _entry(table, reader.schema, _checked(reader), folder)
    raise AssertionError(f"{table.name}: what DuckDB sorts is in no order that Arrow knows")


def _checked(parts: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    before = None
    for part in parts:
        if part.num_rows:
            if not follows(before, part):
                raise _OutOfOrder
            before = part
            yield part


def _entry(table: PublishedTable, schema: pa.Schema, parts: Iterable[pa.RecordBatch], folder: Path) -> dict[str, Any]:
    """Write rows in canonical order to the Parquet file of a mart, and hash them on the way; what the manifest says of it."""
    import pyarrow.parquet as pq

    path, rows, hashed = folder / f"{table.name}.parquet", 0, RowsInOrder(schema)
    with pq.ParquetWriter(path, schema.remove_metadata(), compression="zstd") as writer:
        for part in parts:
            hashed.write(part)
            writer.write_batch(part)
            rows += part.num_rows
    return {
        "rows": rows,
        "content_hash": hashed.hexdigest(),
        "sha256": sha256_file(path),
        "description": table.description,
        "key": list(table.key),
        "columns": [
            {"name": field.name, "type": str(field.type), "description": table.columns.get(field.name, "")}
            for field in schema
        ],
    }


def read_version(folder: Path) -> Version:
    """The version in a folder, by its manifest."""
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return Version(manifest["version_id"], folder, manifest)


def current_id(settings: Settings) -> str | None:
    """The id of the version that `current` points at, or None when nothing was published."""
    link = settings.versions / CURRENT
    return link.readlink().name if link.is_symlink() else None


def current_version(settings: Settings) -> Version | None:
    """The published version, or None."""
    version_id = current_id(settings)
    return read_version(settings.versions / version_id) if version_id else None


def verify(version: Version) -> None:
    """Hold every file of a version against its manifest. Raises VersionDamaged."""
    damaged = [
        name
        for name, entry in version.manifest["tables"].items()
        if not is_as_marked(version.folder / f"{name}.parquet", entry["sha256"])
    ]
    if damaged:
        raise VersionDamaged(f"version {version.version_id}: {', '.join(damaged)} differ from the manifest")


def require_present(version: Version) -> None:
    """Raise NoSuchVersion when a version has gone since it was read: nothing that was made of it may be kept then."""
    if not version.folder.is_dir():
        raise NoSuchVersion(
            f"version {version.version_id} was issued again without people who withdrew; nothing was kept: ask for `current`"
        )


def named_version(settings: Settings, name: str) -> Version:
    """The version that a person names: its id, the beginning of it, or `current`. Raises NoSuchVersion."""
    if name == CURRENT:
        version = current_version(settings)
        if version is None:
            raise NoSuchVersion("nothing is published yet")
        return version
    found = [version for version in all_versions(settings) if name and version.version_id.startswith(name)]
    if len(found) != 1:
        raise NoSuchVersion(f"{len(found)} versions have a name that begins so; `delictvrij versions` lists them")
    return found[0]


def fingerprint(version: Version, tables: Iterable[str]) -> str:
    """One hash over the content of the tables that a reader uses."""
    hashes = version.table_hashes
    return combined_hash({name: hashes[name] for name in tables})


def all_versions(settings: Settings) -> list[Version]:
    """Every version in the store, by id."""
    folders = settings.versions.glob(f"[!.]*/{MANIFEST}") if settings.versions.is_dir() else []
    return [read_version(path.parent) for path in sorted(folders) if not path.parent.is_symlink()]
