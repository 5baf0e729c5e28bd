"""Deliveries made from a simulated one: copied under another name or period, and changed in a single place."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from orchestration.deliveries.contracts import Column, Table
from orchestration.settings import Settings
from orchestration.warehouse.versions import PublishedTable, Version, publish

Row = dict[str, str]


def delivery_in(root: Path, organisation: str) -> Path:
    """The newest delivery of an organisation below `root`."""
    return max(path.parent for path in root.glob(f"{organisation}/*/*/manifest.json"))


def manifest_of(delivery: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((delivery / "manifest.json").read_text())
    return content


def write_manifest(delivery: Path, content: Any) -> None:
    (delivery / "manifest.json").write_text(json.dumps(content, indent=2))


def change_manifest(delivery: Path, **changes: Any) -> None:
    write_manifest(delivery, {**manifest_of(delivery), **changes})


def sign(delivery: Path) -> None:
    """Make sizes and hashes in the manifest those of the files."""
    content = manifest_of(delivery)
    for file in content["files"]:
        data = (delivery / file["name"]).read_bytes()
        file["bytes"], file["sha256"] = len(data), hashlib.sha256(data).hexdigest()
    write_manifest(delivery, content)


def deliver(
    source: Path, inbox: Path, delivery_id: str | None = None, period: str | None = None, sequence: int = 1
) -> Path:
    """A copy of the delivery `source` in the inbox, under another id, period and sequence where given."""
    content = manifest_of(source)
    period = period or content["period"]
    delivery_id = delivery_id or content["delivery_id"]
    target = inbox / content["organisation"] / period / delivery_id
    shutil.copytree(source, target)
    change_manifest(target, period=period, delivery_id=delivery_id, sequence=sequence)
    if content["cutoff_on"]:
        change_manifest(target, cutoff_on=period + content["cutoff_on"][4:])
    return target


def change_rows(delivery: Path, table: str, change: Callable[[list[Row]], list[Row] | None]) -> None:
    """Rewrite a CSV table of a delivery: `change` edits the rows or gives new ones. The manifest stays true."""
    content = manifest_of(delivery)
    entry = next(item for item in content["tables"] if item["table"] == table)
    file = next(item for item in content["files"] if item["name"] == entry["file"])
    path = delivery / file["name"]
    with path.open(encoding=file["encoding"], newline="") as stream:
        reader = csv.DictReader(stream, delimiter=file["delimiter"])
        headers, rows = list(reader.fieldnames or ()), list(reader)
    changed = change(rows)
    rows = rows if changed is None else changed
    with path.open("w", encoding=file["encoding"], newline="") as stream:
        writer = csv.DictWriter(stream, headers, delimiter=file["delimiter"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    entry["rows"] = len(rows)
    write_manifest(delivery, content)
    sign(delivery)


def digests(folder: Path, leave_out: str = "") -> dict[str, str]:
    """The SHA-256 of every file below a folder, and where every link points, by path.

    The files that SQLite keeps beside an open database come and go with a reader and are left out.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name.endswith(("-wal", "-shm")) or (leave_out and name.startswith(leave_out)):
            continue
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[name] = "folder"
    return found


RECORD: dict[str, Any] = {"is_simulated": True, "registry_cutoff_on": "2025-12-31", "deliveries": []}


def publish_marts(settings: Settings, **marts: pa.Table) -> tuple[Version, bool]:
    """Publish small tables as a version."""
    tables = [PublishedTable(name, name, f"one row per {name}", {}) for name in marts]
    return publish(settings, marts, tables, RECORD)


def publish_stand_in(settings: Settings) -> Version:
    """A published version of one tiny table."""
    return publish_marts(settings, client=pa.table({"client_id": ["a", "b"], "age_at_start": [30, 41]}))[0]


def column(name: str, type: str = "text", **terms: Any) -> Column:
    """A column of a contract that keeps no secrets."""
    return Column(name, terms.pop("source", name), type, "none", {"nl": name, "en": name}, **terms)  # type: ignore[arg-type]


def table(
    *columns: Column, key: tuple[str, ...] = (), rules: tuple[Any, ...] = (), may_be_empty: bool = False
) -> Table:
    """A contract of one table called `people`."""
    return Table("rn", "people", {"nl": "", "en": ""}, key or (columns[0].name,), columns, rules, may_be_empty)
