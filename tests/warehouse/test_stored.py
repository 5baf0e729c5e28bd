"""Database files of earlier versions of DuckDB can still be read, and there is one of the version that is pinned."""

from __future__ import annotations

import gzip
from pathlib import Path

import duckdb
import pytest

from orchestration.hashing import content_hash
from orchestration.warehouse.versions import PublishedTable, read_marts
from tests.warehouse.stored.__main__ import EXPECTED

STORED = sorted((Path(__file__).parent / "stored").glob("*.duckdb.gz"))


@pytest.mark.parametrize("stored", STORED, ids=lambda path: path.name.removesuffix(".duckdb.gz"))
def test_a_file_that_an_earlier_duckdb_wrote_holds_the_same_rows(stored: Path, tmp_path: Path) -> None:
    warehouse = tmp_path / "warehouse.duckdb"
    warehouse.write_bytes(gzip.decompress(stored.read_bytes()))
    tables = [PublishedTable(name, f"marts.{name}", "", {}) for name in ("followup", "event")]
    found = read_marts(warehouse, tables)
    with duckdb.connect() as connection:
        expected = connection.sql(EXPECTED).to_arrow_table()
    assert content_hash(found["followup"]) == content_hash(expected)
    assert found["event"].num_rows == 1000


def test_there_is_a_file_of_the_last_storage_before_and_of_the_version_that_is_pinned() -> None:
    versions = {path.name.removeprefix("duckdb-").removesuffix(".duckdb.gz") for path in STORED}
    assert duckdb.__version__ in versions, "python tests/warehouse/stored writes it"
    assert any(version.startswith("1.5.") for version in versions)
