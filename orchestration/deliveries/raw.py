"""The raw store: accepted deliveries, pseudonymised, as Parquet under the hash of their content, read-only.

`raw/<organisation>/<content hash>/<table>.parquet` holds the kept columns under the partner's headers with declared
types; `deletions.json` the pseudonymised keys that the source says it deleted.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestration.deliveries.coding import in_one
from orchestration.deliveries.contracts import Column, Organisation, Table
from orchestration.deliveries.keys import PseudonymKey
from orchestration.deliveries.manifest import Manifest
from orchestration.deliveries.pseudonyms import Known, pseudonyms
from orchestration.files import folder_by_rename, write_json
from orchestration.hashing import combined_hash, content_hashes, plain, plain_schema

ARROW_TYPES = {
    "text": pa.string(),
    "code": pa.string(),
    "integer": pa.int64(),
    "decimal": pa.float64(),
    "date": pa.date32(),
}
# The same person has one pseudonym in every source; officers, supervisions and the like are numbered by organisation.
_GLOBAL_PURPOSES = frozenset({"client", "case", "offence", "detention"})

FEW = 1_000  # different values of a column
AT_ONCE = 1_000_000  # rows that are written at once

Deletions = Mapping[str, Sequence[tuple[str, ...]]]


def raw_schema(table: Table) -> pa.Schema:
    """The schema of a raw table: kept columns under the partner's headers."""
    return pa.schema([(column.raw_name, ARROW_TYPES[column.staged_type]) for column in table.kept])


def pseudonymised(table: Table, rows: pa.Table, key: PseudonymKey, known: Known | None = None) -> pa.Table:
    """What is read of a table as the raw store has it: the kept columns, pseudonyms in the place of identifiers, years in that
    of dates that are reduced. Text stays dictionary-encoded, for which the schema has `string`.

    `known` is passed on from table to table of a delivery (`pseudonyms`), and goes with the delivery.
    """
    kept: dict[str, pa.Array] = {}
    for column in table.kept:
        values = in_one(rows[column.source])
        if column.pseudonym:
            values = pseudonyms(key, column.pseudonym, values, _scope(table.organisation, column), known)
        elif column.reduce == "year":
            values = pc.year(values)
        kept[column.raw_name] = values
    return pa.table(kept)


def _scope(organisation: str, column: Column) -> str:
    return "" if column.pseudonym in _GLOBAL_PURPOSES else f"{organisation}/"


def pseudonym_of(organisation: str, column: Column, number: str, key: PseudonymKey) -> str:
    """The pseudonym of one number as a column of an organisation has it in the raw store."""
    assert column.pseudonym is not None  # noqa: S101 - asked only of columns that have one
    return key.pseudonym(column.pseudonym, _scope(organisation, column) + number)


def to_frame(table: pa.Table, coded: Collection[str] = ()) -> pd.DataFrame:
    """A raw table as a frame to be judged: text categorical, days as `datetime64`.

    Text of `coded` has numbers for categories: its rows are told apart, and what it says is left where it is.
    """
    frame = table.drop_columns(list(coded)).to_pandas(strings_to_categorical=True, date_as_object=False)
    for name in coded:
        frame[name] = _numbered(in_one(table.column(name).dictionary_encode()))
    for field in table.schema:
        if pa.types.is_date(field.type) and field.name not in coded:
            frame[field.name] = frame[field.name].astype("datetime64[ns]")
    return frame


def _numbered(column: pa.DictionaryArray) -> pd.Categorical:
    codes = column.indices.fill_null(-1).to_numpy()
    return pd.Categorical.from_codes(codes, categories=pd.RangeIndex(len(column.dictionary)))


def pseudonymised_deletions(
    manifest: Manifest, organisation: Organisation, key: PseudonymKey
) -> dict[str, list[tuple[str, ...]]]:
    """Keys that the source says it deleted, as they stand in the raw store, by table."""
    deletions: dict[str, list[tuple[str, ...]]] = {}
    for entry in manifest.deletions:
        table = organisation.table(entry.table)
        for given in entry.keys:
            parts = []
            for name in table.key:
                column = table.column(name)
                value = given.get(column.source, given.get(name, ""))
                parts.append(pseudonym_of(organisation.name, column, value, key) if column.pseudonym else value)
            deletions.setdefault(entry.table, []).append(tuple(parts))
    return deletions


def store(
    root: Path, organisation: Organisation, tables: Mapping[str, pa.Table], deletions: Deletions, digest: str = ""
) -> str:
    """Write accepted tables into the raw store and return their content hash (`digest`, where it is known already).

    The same content twice is one folder.
    """
    digest = digest or content_hash_of(tables, deletions)
    with folder_by_rename(root / organisation.name / digest) as folder:
        for name, table in tables.items():
            _write(table, folder / f"{name}.parquet")
            (folder / f"{name}.parquet").chmod(0o440)
        write_json(folder / "deletions.json", {name: [list(key) for key in keys] for name, keys in deletions.items()})
    return digest


def _write(table: pa.Table, path: Path) -> None:
    """A table as Parquet: text of few different values in dictionaries, all other as it stands, which is smaller and sooner written."""
    few = [field.name for field in table.schema if pa.types.is_string(plain(field.type)) and _is_few(table[field.name])]
    schema = pa.schema([field if field.name in few else field.with_type(plain(field.type)) for field in table.schema])
    with pq.ParquetWriter(path, schema, compression="zstd", store_schema=False, use_dictionary=few) as writer:
        for start in range(0, table.num_rows, AT_ONCE):
            writer.write_table(table.slice(start, AT_ONCE).cast(schema))


def _is_few(column: pa.ChunkedArray) -> bool:
    dictionaries = [chunk.dictionary for chunk in column.chunks if pa.types.is_dictionary(column.type)]
    return all(len(values) <= FEW for values in dictionaries)


def content_hash_of(tables: Mapping[str, pa.Table], deletions: Deletions) -> str:
    """The content hash of a delivery: tables and declared deletions, whatever order rows and tables come in."""
    parts = content_hashes(tables)
    parts["deletions"] = json.dumps({name: sorted(map(list, keys)) for name, keys in deletions.items()}, sort_keys=True)
    return combined_hash(parts)


def read_raw(root: Path, organisation: str, digest: str, table: Table) -> pa.Table:
    """One raw table of an accepted delivery."""
    return pq.read_table(root / organisation / digest / f"{table.name}.parquet", schema=raw_schema(table))


def read_coded(root: Path, organisation: str, digest: str, table: Table) -> pa.Table:
    """The same with text dictionary-encoded, as `pseudonymised` gives it."""
    texts = [field.name for field in raw_schema(table) if pa.types.is_string(field.type)]
    path = root / organisation / digest / f"{table.name}.parquet"
    return pq.read_table(path, columns=raw_schema(table).names, read_dictionary=texts).replace_schema_metadata(None)


def decoded(table: pa.Table) -> pa.Table:
    """A table with text as it stands in the schema, whether it was dictionary-encoded or not."""
    return table.cast(plain_schema(table.schema))


def read_numbers(root: Path, organisation: str, digest: str, table: Table) -> pd.DataFrame:
    """The numbers of one raw table of an accepted delivery."""
    names = [column.raw_name for column in table.kept if column.staged_type in ("integer", "decimal")]
    return pq.read_table(root / organisation / digest / f"{table.name}.parquet", columns=names).to_pandas()


def read_all(root: Path, organisation: Organisation, digest: str) -> dict[str, pa.Table]:
    """All raw tables of an accepted delivery, by name."""
    return {table.name: read_raw(root, organisation.name, digest, table) for table in organisation.tables}


def read_deletions(root: Path, organisation: str, digest: str) -> dict[str, list[tuple[str, ...]]]:
    """The declared deletions of an accepted delivery, by table."""
    content = json.loads((root / organisation / digest / "deletions.json").read_text())
    return {name: [tuple(key) for key in keys] for name, keys in content.items()}
