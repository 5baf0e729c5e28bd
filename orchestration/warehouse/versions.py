"""Publishing a gated candidate as a version: Parquet and a manifest, written aside, renamed, then the pointer swapped.

`versions/<id>/` never changes once it is there; `versions/current` points at one of them. The id is the hash of the
tables' canonical content, so the same rows are the same version.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestration.files import folder_by_rename, write_json
from orchestration.hashing import combined_hash, content_hashes, is_as_marked, sha256_file
from orchestration.settings import Settings
from orchestration.store import keep, point
from orchestration.trouble import Mendable

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST = "manifest.json"
CURRENT = "current"


class VersionDamaged(Mendable):
    """A version's files are not what its manifest says; names the tables."""


class NoSuchVersion(Mendable):
    """No version, or more than one, has the name that was given."""


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


def read_marts(warehouse: Path, tables: Iterable[PublishedTable]) -> dict[str, pa.Table]:
    """The marts of a built warehouse as Arrow tables, rows in canonical order."""
    import duckdb

    with duckdb.connect(str(warehouse), read_only=True) as connection:
        marts = {
            table.name: connection.sql(f"select * from {table.relation} order by all").to_arrow_table()  # noqa: S608
            for table in tables
        }
    return {name: mart.replace_schema_metadata(None) for name, mart in marts.items()}


def publish(
    settings: Settings,
    marts: Mapping[str, pa.Table],
    tables: Sequence[PublishedTable],
    record: Mapping[str, Any],
    *,
    as_current: bool = True,
) -> tuple[Version, bool]:
    """Publish marts as a version and point `current` at it; gives the version and whether it is new.

    `as_current=False` puts it into the store and leaves the pointer where it is.

    `record` says how the build came about; it is part of the manifest of the build that first made the version.
    Killed at any moment, `current` points at a whole version.
    """
    from concurrent.futures import ThreadPoolExecutor

    import pyarrow.parquet as pq

    hashes = content_hashes(marts)
    version_id = combined_hash(hashes)[:16]
    folder = settings.versions / version_id
    is_new = not folder.exists()
    if is_new:
        with folder_by_rename(folder) as aside:

            def written(table: PublishedTable) -> str:
                path = aside / f"{table.name}.parquet"
                pq.write_table(marts[table.name], path, compression="zstd")
                return sha256_file(path)

            with ThreadPoolExecutor() as pool:
                digests = list(pool.map(written, tables))
            entries = {}
            for table, digest in zip(tables, digests, strict=True):
                mart = marts[table.name]
                entries[table.name] = {
                    "rows": mart.num_rows,
                    "content_hash": hashes[table.name],
                    "sha256": digest,
                    "description": table.description,
                    "key": list(table.key),
                    "columns": [
                        {"name": field.name, "type": str(field.type), "description": table.columns.get(field.name, "")}
                        for field in mart.schema
                    ],
                }
            manifest = {
                "version_id": version_id,
                "tables": entries,
                "simulated": bool(record["is_simulated"]),
                "registry_cutoff_on": record["registry_cutoff_on"],
                "build": dict(record),
            }
            write_json(aside / MANIFEST, manifest)
    version = read_version(folder)
    keep(settings, folder)
    if as_current and current_id(settings) != version_id:
        point(settings, settings.versions, version_id)
    return version, is_new


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
