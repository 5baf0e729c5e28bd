"""Looking for what should be nowhere: every file below a folder, decoded, searched for words and for rows of values.

Decoded are Parquet, DuckDB, SQLite, SPSS, and whatever is packed (workbooks, documents, zip, gzip); the bytes themselves are
read as text in two encodings.
"""

from __future__ import annotations

import gzip
import io
import re
import sqlite3
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow.parquet as pq

from orchestration.hashing import sha256_file

PSEUDONYM = re.compile(r"[0-9a-f]{32}")
TABLES = (".parquet", ".sav", ".duckdb")
_HEX_RUN = re.compile(r"[0-9a-f]{32,}")


def _unpacked(content: bytes, depth: int = 0) -> Iterator[bytes]:
    """What is packed in bytes, and what is packed in that."""
    if depth < 3 and content[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in archive.namelist():
                inner = archive.read(name)
                yield inner
                yield from _unpacked(inner, depth + 1)
    elif depth < 3 and content[:2] == b"\x1f\x8b":
        try:
            inner = gzip.decompress(content)
        except (OSError, EOFError, zlib.error):
            return
        yield inner
        yield from _unpacked(inner, depth + 1)


def frames(path: Path) -> Iterator[pd.DataFrame]:
    """The tables that a file holds, where it is Parquet, DuckDB, SPSS or CSV."""
    if path.suffix == ".parquet":
        yield pq.read_table(path).to_pandas()
    elif path.suffix == ".sav":
        import pyreadstat

        yield pyreadstat.read_sav(path)[0]
    elif path.suffix == ".duckdb":
        with duckdb.connect(str(path), read_only=True) as connection:
            tables = "select schema_name, table_name from duckdb_tables() where database_name = current_database()"
            for schema, name in connection.execute(tables).fetchall():
                yield connection.execute(f'select * from "{schema}"."{name}"').df()
    elif path.suffix == ".csv":
        with path.open("rb") as stream:
            first = stream.readline()
        try:
            yield pd.read_csv(path, sep=";" if b";" in first else ",", dtype=str, encoding="utf-8-sig")
        except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError):
            return


def texts(path: Path) -> Iterator[str]:
    """What a file holds: its bytes in two encodings, and decoded where it is a table, a database or packed."""
    content = path.read_bytes()
    yield content.decode("latin-1")
    if path.suffix not in TABLES:
        yield content.decode("utf-16-le", "ignore")
    for inner in _unpacked(content):
        yield inner.decode("latin-1")
    if path.suffix in TABLES:
        for frame in frames(path):
            yield from ("\n".join(frame[column].astype(str).unique()) for column in frame)
    if path.suffix in (".sqlite", ".db"):
        with closing(sqlite3.connect(path)) as connection:
            tables = [name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")]
            for name in tables:
                yield repr(connection.execute(f'select * from "{name}"').fetchall())


def as_number(name: str) -> re.Pattern[str]:
    """Digits where they stand as a number: by chance they come among the decimals of an estimate and in a hash."""
    return re.compile(rf"(?<![0-9A-Fa-f.]){re.escape(name)}(?![0-9A-Fa-f])")


@dataclass(frozen=True)
class Words:
    """What is looked for: pseudonyms (32 hexadecimal characters), and other words as patterns."""

    pseudonyms: frozenset[str] = frozenset()
    patterns: tuple[tuple[str, re.Pattern[str]], ...] = ()

    @classmethod
    def of(cls, words: Collection[str]) -> Words:
        hexadecimal = frozenset(word for word in words if PSEUDONYM.fullmatch(word))
        others = [(word, as_number(word)) for word in sorted(set(words) - hexadecimal)]
        return cls(hexadecimal, tuple(others))

    def in_text(self, text: str) -> set[str]:
        found = {word for word, pattern in self.patterns if word in text and pattern.search(text)}
        if self.pseudonyms:
            for run in _HEX_RUN.finditer(text):
                spelled = run.group()
                if len(spelled) == 32:
                    found |= {spelled} & self.pseudonyms
                    continue
                windows = {spelled[start : start + 32] for start in range(len(spelled) - 31)}
                found |= windows & self.pseudonyms
        return found


@dataclass
class Search:
    """How many files were searched below which folders, and where something was found: path and how many words or rows."""

    files: int = 0
    bytes: int = 0
    hits: list[tuple[str, int]] = field(default_factory=list)
    kinds: set[str] = field(default_factory=set)


def search(
    roots: Sequence[Path],
    words: Words,
    rows: Callable[[pd.DataFrame], int] | None = None,
    leave_out: Callable[[Path], bool] = lambda _: False,
    is_of_nobody: Callable[[Path], bool] = lambda _: False,
) -> Search:
    """Search every file below some folders, and every name of a file or folder, for words; and each table for rows.

    Tables of made-up people are searched for words only: a row of few values is like somebody's by chance.
    """
    found = Search()
    known: dict[tuple[str, str], int] = {}  # the same bytes are searched once

    def inside(path: Path) -> int:
        mark = (path.suffix, sha256_file(path))
        if mark not in known:
            known[mark] = len(set().union(*(words.in_text(text) for text in texts(path))))
            if rows and not is_of_nobody(path):
                known[mark] += sum(rows(frame) for frame in frames(path))
        return known[mark]

    for root in roots:
        for path in sorted(root.rglob("*")) if root.is_dir() else [root] if root.is_file() else []:
            if leave_out(path):
                continue
            hits = len(words.in_text(path.name))
            if path.is_file() and not path.is_symlink():
                found.files += 1
                found.bytes += path.stat().st_size
                found.kinds.add(path.suffix)
                hits += inside(path)
            if hits:
                found.hits.append((str(path), hits))
    return found
