"""Hashes by which content is named: of files, of tables whatever their row order, and of source code."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

SLICE = 1 << 16  # rows that are looked at, or written, at once
CACHED = 1 << 13  # rows of which the text stays in the cache of a processor
WORD = 8  # bytes of text that are compared as one number
LARGEST = 2**63 - 1  # what a whole number of 64 bits holds
FEW = 1 << 16  # values that may be counted through, whether they occur or not
LONGEST = 2**31 - 1  # bytes of text that one Arrow array of strings holds


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

    The order of rows and the way the table is stored do not matter, nor whether text stands in a dictionary; a changed value, name or
    type does. No sorted copy of the table is made: what is out of order takes some 20 bytes a row beside it, and as many for text.
    """
    hashed = RowsInOrder(table.schema)
    for rows in in_order(table):
        hashed.write(rows)
    return hashed.hexdigest()


def in_order(table: pa.Table) -> Iterator[pa.RecordBatch]:
    """The rows of a table sorted by all columns, a part at a time; those of one that is in order as they are."""
    import pyarrow as pa

    if is_in_order(table):
        yield from table.to_batches(max_chunksize=SLICE)
        return
    columns = [_encoded(column) for column in table.columns]
    order = _order(columns)
    for start in range(0, len(order), SLICE):
        rows = pa.array(order[start : start + SLICE])
        taken = pa.table([column.take(rows) for column in columns], names=table.column_names)
        yield from (_decoded(batch).cast(plain_schema(table.schema)) for batch in taken.to_batches())


def content_hashes(tables: Mapping[str, pa.Table]) -> dict[str, str]:
    """The content hash of each table, several at a time: what takes the time leaves Python to others."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        return dict(zip(tables, pool.map(content_hash, tables.values()), strict=True))


class RowsInOrder:
    """The content hash of rows that come in canonical order, a part at a time. Whether they do is for `follows` to say."""

    def __init__(self, schema: pa.Schema) -> None:
        self._digest = hashlib.sha256()
        self._digest.update(json.dumps([[column.name, str(column.type)] for column in plain_schema(schema)]).encode())

    def write(self, rows: pa.RecordBatch) -> None:
        """Take in the rows that come next."""
        import pyarrow as pa
        import pyarrow.csv as pacsv

        if rows.num_rows:
            options = pacsv.WriteOptions(include_header=False, batch_size=CACHED)
            pacsv.write_csv(_decoded(rows), pa.PythonFile(_Sink(self._digest), mode="w"), options)

    def hexdigest(self) -> str:
        """The hash of the rows so far."""
        return self._digest.hexdigest()


def is_in_order(table: pa.Table) -> bool:
    """Whether the rows stand as sorting by all columns would put them: what is not a number after the numbers, missing values last.

    It ends where the first rows are out of order; what a warehouse gives is in order.
    """
    parts = [part for part in table.to_batches(max_chunksize=SLICE) if part.num_rows]
    return all(follows(before, part) for before, part in zip([None, *parts], parts, strict=False))


def follows(before: pa.RecordBatch | None, part: pa.RecordBatch) -> bool:
    """Whether the rows of a part of a table are in order, and may stand behind those of the part before it (None: it is the first)."""
    import pyarrow as pa

    if before is None:
        return _are_in_order(part)
    border = pa.concat_batches([_decoded(before.slice(before.num_rows - 1)), _decoded(part.slice(0, 1))])
    return _are_in_order(border) and _are_in_order(part)


def _are_in_order(rows: pa.RecordBatch) -> bool:
    import pyarrow as pa
    import pyarrow.compute as pc

    tied = None  # pairs of neighbours that are the same in all columns so far
    for column in _decoded(rows).columns:
        first, second = column.slice(0, rows.num_rows - 1), column.slice(1)
        after, same = pc.greater(first, second), pc.equal(first, second)
        if pa.types.is_floating(column.type):
            odd, odd_next = pc.is_nan(first), pc.is_nan(second)
            after = pc.or_(after, pc.and_not(odd, odd_next))
            same = pc.or_(same, pc.and_(odd, odd_next))
        if column.null_count:
            after = pc.or_(after.fill_null(False), pc.and_(first.is_null(), second.is_valid()))
            same = pc.or_(same.fill_null(False), pc.and_(first.is_null(), second.is_null()))
        if pc.any(after if tied is None else pc.and_(tied, after)).as_py():
            return False
        tied = same if tied is None else pc.and_(tied, same)
        if not pc.any(tied).as_py():
            return True
    return True


def plain(kind: pa.DataType) -> pa.DataType:
    """The type of the values, whether or not they stand in a dictionary."""
    import pyarrow as pa

    return kind.value_type if pa.types.is_dictionary(kind) else kind


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """The same columns with the types of their values, whether or not they stand in dictionaries."""
    import pyarrow as pa

    return pa.schema([(column.name, plain(column.type)) for column in schema])


def _decoded(rows: pa.RecordBatch) -> pa.RecordBatch:
    import pyarrow as pa

    columns = [column.dictionary_decode() if pa.types.is_dictionary(column.type) else column for column in rows.columns]
    return pa.RecordBatch.from_arrays(columns, rows.schema.names)


def _encoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column in one piece, its text in a dictionary, which is quick to compare and to take rows from."""
    import pyarrow as pa

    if pa.types.is_string(column.type) and column.nbytes > LONGEST:
        column = column.cast(pa.large_string())
    if _is_text(column.type):
        column = column.dictionary_encode()
    # Rows are taken from one piece fifty times as fast as from a thousand.
    return column if column.num_chunks == 1 else pa.chunked_array([column.combine_chunks()])


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _order(columns: Sequence[pa.ChunkedArray]) -> np.ndarray:
    """The numbers of the rows, (rows,), as a stable sort by all columns puts them, each column ascending as Arrow has it.

    Columns are put into one whole number a row for as long as it has room; only rows that are then still tied are looked at again.
    """
    import numpy as np

    n = len(columns[0])
    order = np.arange(n, dtype=np.min_scalar_type(n))
    rows, places = order.copy(), order.copy()  # which rows are still tied, and where they stand
    key, distinct, left = np.zeros(n, dtype=np.int64), 1, list(columns)
    while left and len(rows):
        is_first = True
        while left:
            codes, count = _ranks(left[0], rows)
            if not is_first and distinct * count * len(rows) > LARGEST:
                break
            key *= count
            key += codes
            distinct *= count
            is_first = False
            del left[0], codes
        moved = _sorted(key, distinct)
        if moved is not None:
            rows = rows[moved]
            order[places] = rows
        is_tied = key[1:] == key[:-1]
        kept = np.append(is_tied, False) | np.append(False, is_tied)
        rows, places, key = rows[kept], places[kept], key[kept]
        if len(rows):
            key = np.append(0, np.cumsum(key[1:] != key[:-1]))
            distinct = int(key[-1]) + 1
    return order


def _sorted(key: np.ndarray, distinct: int) -> np.ndarray | None:
    """Sort whole numbers from 0 up to `distinct` in place; gives where each stood, the first of equals first, or None where all stay."""
    import numpy as np

    n = len(key)
    if (key[1:] >= key[:-1]).all():
        return None
    if distinct * n > LARGEST:
        moved = key.argsort(kind="stable")
        key[:] = key[moved]
        return moved
    key *= n  # with its place in it, a number can be sorted itself, which takes a fifth of the time
    key += np.arange(n)
    key.sort()
    moved = (key % n).astype(np.min_scalar_type(n))
    key //= n
    return moved


def _ranks(column: pa.ChunkedArray, rows: np.ndarray) -> tuple[np.ndarray, int]:
    """The rank of the values in some rows among those of a column, and below what all are; equals have the same, missing the last.

    Ranks of what is counted may have gaps; `rows` are the numbers of the rows, in the order in which they are wanted.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    n = len(column)
    if 8 * len(rows) < n:
        return _ranks(column.take(pa.array(rows)), np.arange(len(rows)))
    if column.null_count == n:
        return np.zeros(len(rows), dtype=np.uint8), 1
    numbers = _counted(column)
    if numbers is not None:
        least, most = (bound.as_py() for bound in pc.min_max(numbers).values())
        if most - least < max(n, FEW):
            count = most - least + 2
            parts = (pc.subtract(part.cast(pa.int64()), least).fill_null(count - 1) for part in _parts(numbers))
            return _joined(parts, n, count)[rows], count
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    values = encoded.chunk(0).dictionary
    ranks = _dense_ranks(values)
    count = int(ranks.max()) + (0 if values.null_count else 1)
    ranks = np.append(ranks - 1, count - 1)
    parts = (ranks[part.indices.fill_null(len(values))] for part in _parts(encoded))
    return _joined(parts, n, count)[rows], count


def _dense_ranks(values: pa.Array) -> np.ndarray:
    """The rank from 1 of each value, (n,), equals the same; of texts that are all of one length, as pseudonyms are, by eight bytes at a time."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    n = len(values)
    length = pc.min_max(pc.binary_length(values)) if pa.types.is_string(values.type) and not values.null_count else None
    width = length["min"].as_py() if length and length["min"] == length["max"] else 0
    if not width or width % WORD:
        return pc.rank(values, tiebreaker="dense").to_numpy()
    text = np.frombuffer(values.buffers()[2], np.uint8)
    start = np.frombuffer(values.buffers()[1], np.int32)[values.offset]
    words = text[start : start + n * width].view(">u8").reshape(n, width // WORD)
    first = words[:, 0].astype(np.uint64)
    order = first.argsort()
    first = first[order]
    is_tied = first[1:] == first[:-1]
    if is_tied.any():
        tied = np.flatnonzero(np.append(is_tied, False) | np.append(False, is_tied))
        rows = order[tied]
        order[tied] = rows[np.lexsort(words[rows].T[::-1])]
        is_tied[is_tied] = (words[order[1:][is_tied]] == words[order[:-1][is_tied]]).all(axis=1)
    ranks = np.empty(n, dtype=np.int64)
    ranks[order] = np.append(1, 1 + np.cumsum(~is_tied))
    return ranks


def _counted(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """A column as signed whole numbers in the same order, or None where it is nothing of the kind."""
    import pyarrow as pa

    if pa.types.is_boolean(column.type):
        return column.cast(pa.int8())
    if pa.types.is_date32(column.type):
        return column.cast(pa.int32())
    return column if pa.types.is_signed_integer(column.type) else None


def _parts(column: pa.ChunkedArray) -> Iterator[pa.Array]:
    import pyarrow as pa

    return (batch.column(0) for batch in pa.table([column], names=["_"]).to_batches(max_chunksize=SLICE))


def _joined(parts: Iterable[Any], n: int, count: int) -> np.ndarray:
    """Whole numbers below `count`, which come a part at a time, as one array (n,) of the smallest type that holds them."""
    import numpy as np

    found, start = np.empty(n, dtype=np.min_scalar_type(count)), 0
    for part in parts:
        found[start : start + len(part)] = part
        start += len(part)
    return found


def combined_hash(parts: Mapping[str, str]) -> str:
    """SHA-256 over named hashes, whatever the order in which they are given."""
    return hashlib.sha256(json.dumps(sorted(parts.items())).encode()).hexdigest()


def code_hash(files: Iterable[Path], root: Path) -> str:
    """SHA-256 over source files and their paths below `root`."""
    return combined_hash({path.relative_to(root).as_posix(): sha256_file(path) for path in files})
