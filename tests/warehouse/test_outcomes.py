"""Outcome definitions in a file: what cannot be computed is named before anything is."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestration.settings import Settings
from orchestration.warehouse.outcomes import COLUMNS, OutcomeNotDefined, read_definitions, write_definitions

HEADER = "outcome_id,level,origin,horizon_months,lag_months,pending_counts,policy_dismissal_counts,date_basis,detention"
ROW = "two_years,general,landmark,24,6,true,false,offence,subtracted"


def file(folder: Path, *lines: str) -> Path:
    path = folder / "own.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_the_definitions_of_the_repository_can_all_be_computed() -> None:
    found = read_definitions(Settings().dbt_project / "seeds" / "outcome.csv")
    assert 10 <= len(found) <= 16
    assert {row["role"] for row in found} == {"primary", "sensitivity"}


def test_what_is_left_out_has_its_usual_meaning(tmp_path: Path) -> None:
    (found,) = read_definitions(file(tmp_path, HEADER, ROW))
    assert (found["version"], found["role"], found["entry"], found["early_offenders"]) == (
        "1",
        "sensitivity",
        "origin",
        "kept",
    )
    write_definitions(tmp_path / "again.csv", [found])
    assert read_definitions(tmp_path / "again.csv") == [found]
    assert (tmp_path / "again.csv").read_text().splitlines()[0] == ",".join(COLUMNS)


def test_a_semicolon_and_a_byte_order_mark_as_spreadsheets_write_them_are_read(tmp_path: Path) -> None:
    found = read_definitions(file(tmp_path, "\ufeff" + HEADER.replace(",", ";"), ROW.replace(",", ";")))
    assert found[0]["outcome_id"] == "two_years"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([HEADER, ROW.replace("general", "generl")], "row 1: level is one of general"),
        ([HEADER, ROW, ROW], "row 2: outcome_id stands there already in row 1"),
        ([HEADER, ROW.replace(",24,", ",0,")], "horizon_months is a whole number from 1 to 240"),
        ([HEADER, ROW.replace(",6,", ",6.5,")], "lag_months is a whole number from 0 to 60"),
        ([HEADER, ROW.replace("two_years", "Two years; drop")], "outcome_id begins with a letter"),
        ([HEADER, ROW + ",more"], "more fields than columns"),
        ([HEADER.replace("level,", ""), ROW], "columns that are missing: level"),
        ([HEADER + ",colour", ROW + ",red"], "columns that are not known, by number: 10"),
        ([HEADER], "holds 0 definitions"),
        ([HEADER, '"unclosed'], "no CSV"),
    ],
)
def test_what_nobody_computes_is_named_with_its_place(tmp_path: Path, lines: list[str], said: str) -> None:
    with pytest.raises(OutcomeNotDefined, match=r"own\.csv") as refused:
        read_definitions(file(tmp_path, *lines))
    assert said in str(refused.value)
    assert "drop" not in str(refused.value) and "colour" not in str(refused.value)
