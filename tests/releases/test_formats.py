"""What a table holds is in every format, and what a format cannot hold is refused."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyreadstat
import pytest

from orchestration.releases.catalogue import Missing, TableDescription, Variable
from orchestration.releases.formats import (
    FOR_DUTCH_EXCEL,
    FOR_PROGRAMS,
    CannotBeWritten,
    write_csv,
    write_parquet,
    write_sav,
)
from orchestration.releases.tables import ReleasedTable

REFUSED = {"nl": "geweigerd", "en": "refused"}


def variable(name: str, kind: Any, **said: Any) -> Variable:
    measure = "nominal" if kind == "text" else "scale"
    return Variable(
        name, kind, {"nl": f"{name} é", "en": name}, "", "none", "quality", said.pop("measure", measure), **said
    )


def table_of(*columns: tuple[Variable, pa.Array]) -> ReleasedTable:
    rows = pa.table({one.name: values for one, values in columns})
    return ReleasedTable(
        TableDescription("small", {"nl": "Klein", "en": "Small"}, (), tuple(one for one, _ in columns)), rows
    )


SCORE = variable("score", "decimal", missing=(Missing(991, "refused", REFUSED),))
SMALL = table_of(
    (variable("text", "text"), pa.array(["=1+1", 'é;"', None])),
    (variable("long", "text"), pa.array(["x" * 400, "y", None])),
    (variable("code", "text", values={"a_long_code": REFUSED}), pa.array(["a_long_code", None, "a_long_code"])),
    (SCORE, pa.array([-1.5, 0.1, None])),
    (variable("count", "integer", measure="ordinal"), pa.array([1, None, -3], pa.int32())),
    (variable("yes", "boolean", values={1: {"nl": "ja", "en": "yes"}}), pa.array([True, False, None])),
    (variable("day", "date"), pa.array([date(2022, 1, 5), None, date(1999, 12, 31)])),
)


def test_a_csv_keeps_numbers_numbers_and_makes_text_inert_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "small.csv"
    assert write_csv(SMALL, path, FOR_PROGRAMS, makes_inert=True) == 1
    rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
    assert [row[0] for row in rows] == ["text", "'=1+1", 'é;"', ""]
    assert [row[3] for row in rows] == ["score", "-1.5", "0.1", ""]
    assert write_csv(SMALL, path, FOR_PROGRAMS, makes_inert=False) == 0
    assert '"=1+1"' in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("begins", ["=", "+", "-", "@", "\t", "\r"])
def test_whatever_a_spreadsheet_would_execute_is_made_inert(tmp_path: Path, begins: str) -> None:
    table = table_of((variable("text", "text"), pa.array([f"{begins}1"])))
    assert write_csv(table, tmp_path / "one.csv", FOR_DUTCH_EXCEL, makes_inert=True) == 1
    assert (tmp_path / "one.csv").read_bytes().endswith(f'"\'{begins}1"\r\n'.encode())


def test_a_dutch_excel_finds_its_mark_its_comma_and_its_line_ends(tmp_path: Path) -> None:
    write_csv(SMALL, tmp_path / "small.csv", FOR_DUTCH_EXCEL, makes_inert=False)
    content = (tmp_path / "small.csv").read_bytes()
    assert content.startswith(b"\xef\xbb\xbftext;long;code;score")
    assert b";-1,5;" in content
    assert content.count(b"\r\n") == content.count(b"\n") == 4


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "other"):
        write_parquet(SMALL, tmp_path / f"{name}.parquet", mark="SIMULATED")
        write_csv(SMALL, tmp_path / f"{name}.csv", FOR_PROGRAMS, makes_inert=True)
    for kind in ("parquet", "csv"):
        assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"other.{kind}").read_bytes()


def test_rows_in_pieces_with_dictionaries_of_their_own_give_the_bytes_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["a", None, "=b", "c", "a", None, "=b", '"', "c", "c"]
    numbers = [0.0, None, -0.0, 1.5, -0.0, 0.0, 1e300, None, 2.0, 0.1]
    described = (variable("text", "text"), pa.array(texts)), (variable("score", "decimal"), pa.array(numbers))
    whole = table_of(*described)
    cut = [(0, 3), (3, 5), (5, 5), (5, 10)]
    coded = pa.chunked_array([pa.array(texts[start:end], pa.string()).dictionary_encode() for start, end in cut])
    parts = pa.chunked_array([pa.array(numbers[start:end], pa.float64()) for start, end in cut])
    pieces = replace(whole, rows=pa.table({"text": coded, "score": parts}))
    changed = write_csv(whole, tmp_path / "whole.csv", FOR_DUTCH_EXCEL, makes_inert=True)
    for block in (1, 2, 100):
        monkeypatch.setattr("orchestration.releases.formats.BLOCK", block)
        assert write_csv(pieces, tmp_path / "pieces.csv", FOR_DUTCH_EXCEL, makes_inert=True) == changed == 2
        assert (tmp_path / "pieces.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_an_spss_file_keeps_labels_missing_codes_measure_dates_and_long_text(tmp_path: Path) -> None:
    table = replace(SMALL, reasons={"score": pa.array([None, None, 991], pa.int32())})
    write_sav(table, tmp_path / "small.sav", "nl", mark="SIMULATED")
    frame, said = pyreadstat.read_sav(tmp_path / "small.sav", user_missing=True)
    assert said.file_label == "SIMULATED: small. Klein"
    assert said.column_names_to_labels["text"] == "text é"
    assert said.variable_value_labels["code"] == {"a_long_code": "geweigerd"}
    assert said.variable_value_labels["score"] == {991.0: "geweigerd"}
    assert said.missing_ranges["score"] == [{"lo": 991.0, "hi": 991.0}]
    assert (said.variable_measure["count"], said.variable_measure["text"]) == ("ordinal", "nominal")
    assert frame["score"].tolist() == [-1.5, 0.1, 991.0]
    assert frame["day"].tolist()[::2] == [date(2022, 1, 5), date(1999, 12, 31)]
    assert frame["long"][0] == "x" * 400
    assert pyreadstat.read_sav(tmp_path / "small.sav")[0]["score"].isna().tolist() == [False, False, True]


@pytest.mark.skipif(shutil.which("Rscript") is None, reason="Rscript is not on PATH (apt: r-base-core, r-cran-haven)")
def test_haven_finds_the_missing_codes_too(tmp_path: Path) -> None:
    table = replace(SMALL, reasons={"score": pa.array([None, None, 991], pa.int32())})
    write_sav(table, tmp_path / "small.sav", "en", mark="")
    code = 'x <- haven::read_sav(commandArgs(TRUE)[1], user_na = TRUE); cat(attr(x$score, "na_range"), attr(x$score, "na_values"), unclass(x$score)[3], sum(is.na(x$text)), class(x$day))'
    done = subprocess.run(
        ["Rscript", "-e", code, str(tmp_path / "small.sav")], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["991", "991", "1", "Date"]


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        (variable("with", "text"), pa.array(["a"]), "no column called with"),
        (variable("é" * 33, "text"), pa.array(["a"]), "no column called"),
        (variable("text", "text"), pa.array([""]), r"small\.text: 1 cell\(s\) are empty"),
        (variable("text", "text"), pa.array(["a "]), "end in a space"),
        (SCORE, pa.array([991.0]), "codes of missing values"),
        (replace(SCORE, label={"nl": "x" * 257, "en": "x"}), pa.array([1.0]), "label in nl is longer"),
    ],
)
def test_what_spss_would_cut_or_confuse_is_refused(
    tmp_path: Path, column: Variable, values: pa.Array, said: str
) -> None:
    with pytest.raises(CannotBeWritten, match=said):
        write_sav(table_of((column, values)), tmp_path / "one.sav", "nl", mark="")
    assert not (tmp_path / "one.sav").exists()


def test_a_number_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotBeWritten, match=r"small\.x: 1 cell\(s\) are not finite"):
        write_csv(
            table_of((variable("x", "decimal"), pa.array([float("inf")]))),
            tmp_path / "one.csv",
            FOR_PROGRAMS,
            makes_inert=False,
        )
