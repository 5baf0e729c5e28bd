"""Hashes by which content is named: of files, of tables whatever their row order, and of source code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_bytes(content: bytes) -> str:
    """SHA-256 of bytes, as hex."""
    return hashlib.sha256(content).hexdigest()


class _Sink:
    """A writable that only hashes."""

    closed = False

    def __init__(self, digest: hashlib._Hash) -> None:
        self._digest = digest

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        return len(data)

    def flush(self) -> None:
        return None

    def close(self) -> None:
        return None


def is_as_marked(path: Path, sha256: str) -> bool:
    """Whether a file is there and has the SHA-256 that a manifest says."""
    return path.is_file() and sha256_file(path) == sha256


def content_hash(table: pa.Table) -> str:
    """SHA-256 of a table's canonical content: column names, types and rows sorted by all columns, written as text.

    The order of rows and the way the table is stored do not matter; a changed value, name or type does.
    """
    import pyarrow as pa
    import pyarrow.csv as pacsv

    digest = hashlib.sha256()
    digest.update(json.dumps([[column.name, str(column.type)] for column in table.schema]).encode())
    if table.num_rows:
        ordered = table if _is_in_order(table) else table.sort_by([(name, "ascending") for name in table.column_names])
        pacsv.write_csv(ordered, pa.PythonFile(_Sink(digest), mode="w"), pacsv.WriteOptions(include_header=False))
    return digest.hexdigest()


def content_hashes(tables: Mapping[str, pa.Table]) -> dict[str, str]:
    """The content hash of each table, several at a time: what takes the time leaves Python to others."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor() as pool:
        return dict(zip(tables, pool.map(content_hash, tables.values()), strict=True))


def _is_in_order(table: pa.Table) -> bool:
    """Whether the rows stand as sorting by all columns would put them, missing values last; False where a value is not a number.

    To look is a tenth of the work of sorting, and what a warehouse gives is in order already.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    tied = None  # pairs of neighbours that are the same in all columns so far
    for column in table.columns:
        first, second = column.slice(0, table.num_rows - 1), column.slice(1)
        if pa.types.is_floating(column.type) and pc.any(pc.is_nan(column)).as_py():
            return False
        after = pc.or_kleene(pc.greater(first, second), pc.and_(first.is_null(), second.is_valid())).fill_null(False)
        same = pc.or_kleene(pc.equal(first, second), pc.and_(first.is_null(), second.is_null())).fill_null(False)
        if pc.any(after if tied is None else pc.and_(tied, after)).as_py():
            return False
        tied = same if tied is None else pc.and_(tied, same)
        if not pc.any(tied).as_py():
            return True
    return True


def combined_hash(parts: Mapping[str, str]) -> str:
    """SHA-256 over named hashes, whatever the order in which they are given."""
    return hashlib.sha256(json.dumps(sorted(parts.items())).encode()).hexdigest()


def code_hash(files: Iterable[Path], root: Path) -> str:
    """SHA-256 over source files and their paths below `root`."""
    return combined_hash({path.relative_to(root).as_posix(): sha256_file(path) for path in files})
