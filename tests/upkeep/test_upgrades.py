"""What earlier tools wrote is still read, and the trial of newer ones says which step went wrong."""

from __future__ import annotations

import datetime
import sys
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from tests.upkeep.upgrades import Tried, release_of, run

FIXTURES = Path(__file__).parent / "fixtures"


def test_a_database_that_duckdb_1_5_wrote_is_read_with_every_value() -> None:
    with duckdb.connect(str(FIXTURES / "storage-1.5.db"), read_only=True) as opened:
        rows = opened.execute(
            "select count(*), count(score), sum(score), max(start_on), count(*) filter (where is_male) from client"
        ).fetchall()
    assert rows == [(100, 66, Decimal("816.75"), datetime.date(2022, 4, 10), 50)]


@pytest.mark.parametrize(
    ("after", "wrong", "said"),
    [("2.0", (), "is the newest"), ("2.1", (), "would do"), ("2.1", ("refresh",), "NOT YET: refresh")],
)
def test_what_is_said_of_a_tool(after: str, wrong: tuple[str, ...], said: str) -> None:
    assert Tried("duckdb", "2.0", after, wrong, 1.0).said == said


def test_a_step_that_fails_is_a_step_that_went_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([sys.executable, "-c", "pass"])
    assert not run([sys.executable, "-c", "raise SystemExit('no such table')"])
    assert "no such table" in capsys.readouterr().err
    assert release_of(Path(sys.executable), "duckdb") == duckdb.__version__
