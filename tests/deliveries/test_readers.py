"""Files are read exactly as declared: what does not fit is named and counted, and nothing is guessed or lost."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pandas as pd
import pytest

from orchestration.deliveries import readers, screening
from orchestration.deliveries.contracts import Code, Column, FileLimits, Table
from orchestration.deliveries.judgement import Judgement, Refused, Status
from orchestration.deliveries.manifest import Manifest, ManifestFile, ManifestTable
from orchestration.deliveries.readers import Cells, Reading, check_headers, read_delivery, typed
from tests.deliveries.making import column, table

CANARY = "Zwaluwstaart"
PEOPLE = table(
    column("number", pattern=r"^\d{3}$"),
    column("score", "decimal", is_required=False),
    column("day", "date", is_required=False),
)
DUTCH = {"encoding": "cp1252", "delimiter": ";", "decimal": ",", "date_format": "%d-%m-%Y"}


def _manifest(name: str, rows: int, form: dict[str, str | None], sheet: str | None) -> Manifest:
    file = ManifestFile(name=name, bytes=0, sha256="0" * 64, **form)
    return Manifest(
        organisation="rn", period="2024-Q1", delivery_id="d", sequence=1, created_at="", schema_version="1", contact="",
        files=(file,), tables=(ManifestTable(table="people", file=name, sheet=sheet, rows=rows),),
    )  # fmt: skip


def read(folder: Path, content: str | bytes, rows: int, contract: Table = PEOPLE, **form: str | None) -> Reading:
    """Read one CSV table under the declared form (default: cp1252, `;`, decimal comma, dd-mm-yyyy)."""
    terms: dict[str, str | None] = {**DUTCH, **form}
    data = content if isinstance(content, bytes) else content.encode(terms["encoding"] or "")
    (folder / "people.csv").write_bytes(data)
    (found,) = read_delivery(folder, _manifest("people.csv", rows, terms, None), [contract], admit_test_numbers=False)
    return found


def failures(reading: Reading) -> dict[tuple[str, str], tuple[int | None, tuple[int, ...]]]:
    """Rule and column to how many failed and the first row numbers."""
    return {
        (item.rule, item.column): (item.failed, item.rows)
        for item in reading.judgements
        if item.status == Status.FAILED
    }


def refusal(call: Callable[[], object]) -> dict[str, Judgement]:
    with pytest.raises(Refused) as caught:
        call()
    assert CANARY not in repr(caught.value.judgements) + str(caught.value)
    return {item.rule: item for item in caught.value.judgements}


# what readers that infer get wrong -----------------------------------------------------------------------------------
def test_a_file_of_three_lines_has_two_rows(tmp_path: Path) -> None:
    found = read(tmp_path, "number;score;day\n001;1,5;01-02-2024\n002;;\n", rows=2)
    assert found.rows.num_rows == 2
    assert failures(found) == {}


def test_a_decimal_after_many_whole_numbers_keeps_its_fraction(tmp_path: Path) -> None:
    rows = 20_481
    found = read(tmp_path, "number;score;day\n" + "007;1;\n" * rows + "007;1,9;\n", rows=rows + 1)
    assert found.rows["score"].to_pylist()[-1] == 1.9
    assert found.rows["number"].to_pylist()[-1] == "007"
    assert failures(found) == {}


def test_a_fraction_in_a_column_of_whole_numbers_is_named_and_not_rounded(tmp_path: Path) -> None:
    contract = table(column("number"), column("count", "integer"))
    found = read(tmp_path, "number;count\n1;1\n2;1,9\n3;1.9\n", rows=3, contract=contract)
    assert failures(found) == {("value.type", "count"): (2, (2, 3))}
    assert found.rows["count"].is_null().to_pylist() == [False, True, True]


def test_leading_zeros_of_text_are_kept_and_words_that_look_empty_are_words(tmp_path: Path) -> None:
    contract = table(column("number"), column("word", is_required=False))
    found = read(tmp_path, 'number;word\n007;NA\n000;NULL\n010;nan\n1e5;""\n', rows=4, contract=contract)
    assert found.rows["number"].to_pylist() == ["007", "000", "010", "1e5"]
    assert found.rows["word"].to_pylist()[:3] == ["NA", "NULL", "nan"]
    assert found.rows["word"].to_pylist()[3] is None


def test_days_are_read_as_declared_and_never_guessed(tmp_path: Path) -> None:
    content = "number;score;day\n001;;03-04-2025\n002;;2025-04-03\n003;;31-02-2025\n004;;3-4-2025\n005;;04/13/2025\n006;;13-04-25\n"
    found = read(tmp_path, content, rows=6)
    assert found.rows["day"].to_pylist()[0] == date(2025, 4, 3)
    assert failures(found) == {("value.type", "day"): (5, (2, 3, 4, 5, 6))}
    iso = read(tmp_path, "number;score;day\n001;;2025-04-03\n002;;03-04-2025\n", rows=2, date_format="%Y-%m-%d")
    assert iso.rows["day"].to_pylist()[0] == date(2025, 4, 3)
    assert failures(iso) == {("value.type", "day"): (1, (2,))}


@pytest.mark.parametrize(
    "written",
    ["1.5", "1.234,5", "1,5 ", "NaN", "inf", "-inf", "1e3", "1,5,5", "0x1", "١٢", "１２", "--1", ",5", "1,", "1" * 16],
)
def test_a_number_in_another_notation_is_named_and_never_becomes_missing_in_silence(
    tmp_path: Path, written: str
) -> None:
    found = read(tmp_path, f"number;score;day\n001;{written};\n", rows=1, encoding="utf-8")
    assert failures(found) == {("value.type", "score"): (1, (1,))}


@pytest.mark.parametrize(("written", "number"), [("1,5", 1.5), ("-2", -2.0), ("+0,25", 0.25), ("007", 7.0)])
def test_a_number_in_the_declared_notation_is_that_number(tmp_path: Path, written: str, number: float) -> None:
    found = read(tmp_path, f"number;score;day\n001;{written};\n", rows=1)
    assert found.rows["score"].to_pylist() == [number]
    assert failures(found) == {}


def test_digits_of_another_script_are_no_number_of_a_person(tmp_path: Path) -> None:
    contract = table(column("number", pattern=r"^\d{9}$", check="eleven_proof"))
    found = read(tmp_path, "number\n١٢٣٤٥٦٧٨٢\n", rows=1, contract=contract, encoding="utf-8")
    assert failures(found) == {("value.pattern", "number"): (1, (1,)), ("value.check", "number"): (1, (1,))}


def test_test_numbers_are_seen_and_only_pass_where_they_are_admitted(tmp_path: Path) -> None:
    contract = table(column("number", pattern=r"^\d{9}$", check="eleven_proof"))
    found = read(tmp_path, "number\n900000004\n111222333\n", rows=2, contract=contract)
    assert found.has_test_numbers
    assert failures(found) == {("value.test_number", "number"): (1, (1,))}


# the shape of a file -------------------------------------------------------------------------------------------------
def test_rows_are_counted_against_the_manifest(tmp_path: Path) -> None:
    content = "number;score;day\n001;;\n002;;\n"
    for rows in (1, 3):
        found = refusal(lambda rows=rows: read(tmp_path, content, rows=rows))  # type: ignore[misc]
        assert found["table.rows"].evaluated == 2
        assert found["table.rows"].expected == f"{rows} rows"


def test_a_line_break_inside_quotes_is_one_row(tmp_path: Path) -> None:
    contract = table(column("number"), column("word"))
    found = read(tmp_path, 'number;word\r\n1;"a\r\nb"\r\n2;"say ""so"";"\r\n', rows=2, contract=contract)
    assert found.rows["word"].to_pylist() == ["a\r\nb", 'say "so";']


@pytest.mark.parametrize("line", ["001;1,5", "001;1,5;;", "001,1.5,", "", '001;"1,5;'])
def test_a_ragged_row_is_refused_with_its_number(tmp_path: Path, line: str) -> None:
    found = refusal(lambda: read(tmp_path, f"number;score;day\n000;;\n{line}\n002;;\n", rows=3))
    assert set(found) == {"file.unreadable"}
    if line != '001;"1,5;':
        assert found["file.unreadable"].rows == (2,)


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    contract = table(column("number"), column("word"))
    written = f"number;word\n1;{CANARY} Curaçao\n".encode("cp1252")
    found = refusal(lambda: read(tmp_path, written, rows=1, contract=contract, encoding="utf-8"))
    assert found["file.encoding"].expected == "utf-8"
    undefined = b"number;word\n1;\x81\x8d\n"
    assert set(refusal(lambda: read(tmp_path, undefined, rows=1, contract=contract))) == {"file.encoding"}


def test_utf_8_read_as_windows_1252_is_caught_by_the_code_list(tmp_path: Path) -> None:
    codes = (Code("cliënt", "client", {}), Code("werker", "officer", {}))
    contract = table(column("number"), column("rater", "code", codes=codes))
    found = read(tmp_path, "number;rater\n1;werker\n2;cliënt\n".encode(), rows=2, contract=contract)
    assert failures(found) == {("value.code", "rater"): (1, (2,))}


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    found = read(tmp_path, "\ufeffnumber;score;day\n007;1;\n", rows=1, encoding="utf-8")
    assert found.rows["number"].to_pylist() == ["007"]
    assert failures(found) == {}


def test_nul_bytes_do_not_pass(tmp_path: Path) -> None:
    found = refusal(lambda: read(tmp_path, "number;score;day\n0\x0007;\x00;\n", rows=1))
    assert set(found) == {"file.control"}


def test_an_empty_file_lacks_its_columns(tmp_path: Path) -> None:
    assert set(refusal(lambda: read(tmp_path, "", rows=0))) == {"column.missing"}


def test_an_empty_required_field_is_named(tmp_path: Path) -> None:
    found = read(tmp_path, "number;score;day\n001;1;\n;1;\n", rows=2)
    assert failures(found) == {("value.missing", "number"): (1, (2,))}


def test_at_most_ten_row_numbers_are_given(tmp_path: Path) -> None:
    found = read(tmp_path, "number;score;day\n" + "x;;\n" * 25, rows=25)
    assert failures(found) == {("value.pattern", "number"): (25, tuple(range(1, 11)))}


# headers -------------------------------------------------------------------------------------------------------------
def _headers(*names: str) -> dict[str, Judgement]:
    return refusal(lambda: check_headers(names, PEOPLE, "people.csv"))


def test_the_order_of_columns_is_free(tmp_path: Path) -> None:
    found = read(tmp_path, "day;number;score\n03-04-2025;001;2,5\n", rows=1)
    assert found.rows.column_names == ["number", "score", "day"]
    assert list(found.rows.to_pylist()[0].values()) == ["001", 2.5, date(2025, 4, 3)]


def test_a_missing_column_is_named() -> None:
    found = _headers("number", "day")
    assert set(found) == {"column.missing"}
    assert found["column.missing"].column == "score"


def test_an_undeclared_column_is_refused_and_its_name_never_repeated() -> None:
    found = _headers("number", CANARY, "score", "day")
    assert set(found) == {"column.undeclared"}
    assert found["column.undeclared"].expected == "at 2"


def test_a_renamed_column_is_named_by_its_agreed_name_only() -> None:
    found = _headers("number", CANARY, "day")
    assert set(found) == {"column.renamed"}
    assert (found["column.renamed"].column, found["column.renamed"].expected) == ("score", "column 2")


def test_a_column_that_comes_twice_is_refused() -> None:
    assert set(_headers("number", "score", "day", "day")) == {"column.duplicate"}
    assert set(_headers("number", "number", "day")) == {"column.duplicate", "column.missing"}


def test_a_header_in_other_capitals_is_another_header() -> None:
    assert set(_headers("Number", "score", "day")) == {"column.renamed"}


# cells of workbooks and SPSS files -----------------------------------------------------------------------------------
CODED = column("cell", "code", codes=(Code("1", "one", {}), Code("2", "two", {})), is_required=False)


def _cell(contract: Column, *cells: Any) -> Reading:
    file = ManifestFile(name="people.xlsx", bytes=0, sha256="0" * 64)
    given = {"cell": pd.Series(list(cells), dtype=object)}
    return typed(table(contract), Cells(given, len(cells), is_text=False), file, admit_test_numbers=False)


@pytest.mark.parametrize("cell", [123456782, 123456782.0, True, date(2024, 1, 1), time(1, 2), math.inf])
def test_an_identifier_that_is_no_text_was_mangled_on_the_way(cell: object) -> None:
    assert failures(_cell(column("cell"), "123456782", cell)) == {("value.type", "cell"): (1, (2,))}


@pytest.mark.parametrize("cell", ["2024-01-31", "31-01-2024", 45322, 45322.0, datetime(2024, 1, 31, 12, 30), True])
def test_a_day_that_is_no_date_cell_is_named(cell: object) -> None:
    found = _cell(column("cell", "date", is_required=False), date(2024, 1, 31), datetime(2024, 1, 31), None, cell)
    assert failures(found) == {("value.type", "cell"): (1, (4,))}
    assert found.rows["cell"].to_pylist()[:2] == [date(2024, 1, 31)] * 2


@pytest.mark.parametrize("cell", [math.inf, -math.inf, "5", "", True, 1e300, 1e16, 2.5, date(2024, 1, 1)])
def test_a_whole_number_that_is_none_is_named(cell: object) -> None:
    found = _cell(column("cell", "integer", is_required=False), 5, 5.0, None, cell)
    assert failures(found) == {("value.type", "cell"): (1, (4,))}
    assert found.rows["cell"].to_pylist()[:2] == [5, 5]


def test_not_a_number_is_not_recorded_and_infinity_is_no_decimal() -> None:
    found = _cell(column("cell", "decimal"), 1.5, math.nan, math.inf)
    assert failures(found) == {("value.type", "cell"): (1, (3,)), ("value.missing", "cell"): (1, (2,))}


@pytest.mark.parametrize("cell", [1.5, math.inf, True, date(2024, 1, 1), 1e300])
def test_a_code_is_text_or_a_whole_number(cell: object) -> None:
    found = _cell(CODED, "1", 2, 1.0, math.nan, None, " ", cell)
    assert found.rows["cell"].to_pylist()[:6] == ["1", "2", "1", None, None, None]
    wrong = failures(found)
    assert list(wrong.values()) == [(1, (7,))]


def test_a_workbook_without_the_sheet_is_refused(tmp_path: Path) -> None:
    import xlsxwriter

    with xlsxwriter.Workbook(str(tmp_path / "people.xlsx")) as book:
        book.add_worksheet(CANARY).write_row(0, 0, ["number", "score", "day"])
    nothing = dict.fromkeys(DUTCH)
    found = refusal(lambda: read_delivery(tmp_path, _manifest("people.xlsx", 0, nothing, "people"), [PEOPLE], False))
    assert set(found) == {"file.unreadable"}


def test_a_workbook_gives_text_dates_and_numbers_as_they_are(tmp_path: Path) -> None:
    import xlsxwriter

    with xlsxwriter.Workbook(str(tmp_path / "people.xlsx")) as book:
        sheet, dated = book.add_worksheet("people"), book.add_format({"num_format": "dd-mm-yyyy"})
        sheet.write_row(0, 0, ["number", "score", "day"])
        sheet.write_string(1, 0, "007")
        sheet.write_number(1, 1, 2.5)
        sheet.write_datetime(1, 2, datetime(2025, 4, 3), dated)
        sheet.write_number(2, 0, 7)
        sheet.write_string(2, 1, "2,5")
        sheet.write_string(2, 2, "03-04-2025")
    nothing = dict.fromkeys(DUTCH)
    (found,) = read_delivery(tmp_path, _manifest("people.xlsx", 2, nothing, "people"), [PEOPLE], False)
    assert list(found.rows.to_pylist()[0].values()) == ["007", 2.5, date(2025, 4, 3)]
    assert failures(found) == {("value.type", name): (1, (2,)) for name in ("number", "score", "day")}


def test_an_spss_file_keeps_user_missing_codes_and_text_numbers(tmp_path: Path) -> None:
    import pyreadstat

    contract = table(column("number"), column("answer", "integer", is_required=False, missing={"9": {}}))
    frame = pd.DataFrame({"number": ["007", "008", "009"], "answer": [3.0, 9.0, None]})
    pyreadstat.write_sav(frame, str(tmp_path / "people.sav"), missing_ranges={"answer": [9]})
    (found,) = read_delivery(tmp_path, _manifest("people.sav", 3, dict.fromkeys(DUTCH), None), [contract], False)
    assert found.rows["number"].to_pylist() == ["007", "008", "009"]
    assert found.rows["answer"].to_pylist()[:2] == [3, 9]
    assert found.rows["answer"].is_null().to_pylist() == [False, False, True]
    assert failures(found) == {}
    (tmp_path / "people.sav").write_bytes(b"$FL2 nothing")
    assert set(
        refusal(
            lambda: read_delivery(tmp_path, _manifest("people.sav", 3, dict.fromkeys(DUTCH), None), [contract], False)
        )
    ) == {"file.unreadable"}


# the quick reader and the careful one --------------------------------------------------------------------------------
LINES = st.lists(st.text(st.sampled_from("a;\u00e9 \n\r\",.'\t0\ufeff"), max_size=8), max_size=6).map("\n".join)


def _whatever_comes(
    path: Path, file: ManifestFile, contract: Table
) -> list[tuple[str, list[object]]] | list[Judgement]:
    """What is read, or why it is refused."""
    try:
        cells = readers._read_csv(path, file, contract)
    except Refused as refused:
        return list(refused.judgements)
    return [(name, one.to_pylist()) for name, one in cells.columns.items()]


@hypothesis.settings(max_examples=400, deadline=None, derandomize=True, database=None)
@hypothesis.given(header=st.sampled_from(["number;score", "score;number", "\ufeffnumber;score", "number", ""]), body=LINES, encoding=st.sampled_from(["utf-8", "cp1252"]))  # fmt: skip
def test_what_the_quick_reader_takes_alone_is_what_both_agree_on(
    tmp_path_factory: pytest.TempPathFactory, header: str, body: str, encoding: str
) -> None:
    path = tmp_path_factory.mktemp("both") / "people.csv"
    path.write_bytes(f"{header}\n{body}".encode(encoding, "replace"))
    file = ManifestFile(
        name=path.name, bytes=0, sha256="0" * 64, encoding=encoding, delimiter=";", decimal=",", date_format=None
    )
    contract = table(column("number"), column("score", is_required=False)) if ";" in header else table(column("number"))
    alone = _whatever_comes(path, file, contract)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers, "_beyond_doubt", lambda *_: None)
        assert _whatever_comes(path, file, contract) == alone


def test_a_file_in_which_nothing_is_quoted_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []
    monkeypatch.setattr(readers, "_counted", lambda *_: counted.append(1) or 1)
    read(tmp_path, "number;score;day\n001;1,5;01-02-2024\n", rows=1)
    assert not counted
    read(tmp_path, 'number;score;day\n001;"1,5";01-02-2024\n', rows=1)
    assert counted


def test_what_holds_of_a_cell_holds_of_every_row_that_has_it(tmp_path: Path) -> None:
    rows = ["001;1,5;01-02-2024", "0x1;;31-02-2024", "001;1,5;01-02-2024", ";9;", "0x1;a;31-02-2024"]
    found = read(tmp_path, "number;score;day\n" + "\n".join(rows) + "\n", rows=5)
    assert failures(found) == {
        ("value.pattern", "number"): (2, (2, 5)), ("value.missing", "number"): (1, (4,)),
        ("value.type", "score"): (1, (5,)), ("value.type", "day"): (2, (2, 5)),
    }  # fmt: skip
    evaluated = {(item.rule, item.column): item.evaluated for item in found.judgements}
    assert evaluated["value.pattern", "number"] == 4
    assert evaluated["value.type", "day"] == 4
    assert found.rows["number"].combine_chunks().dictionary.to_pylist() == ["001", "0x1"]
    assert found.rows["score"].to_pylist() == [1.5, None, 1.5, 9.0, None]


def test_a_truth_value_and_a_one_of_a_workbook_stay_two_things() -> None:
    cells = Cells({"number": pd.Series(["001", "002"]), "score": pd.Series([1, True], dtype=object), "day": pd.Series([None, None], dtype=object)}, 2, is_text=False)  # fmt: skip
    found = typed(PEOPLE, cells, ManifestFile(name="people.xlsx", bytes=0, sha256="0" * 64), admit_test_numbers=False)
    assert failures(found) == {("value.type", "score"): (1, (2,))}


@hypothesis.settings(max_examples=300, deadline=None, derandomize=True, database=None)
@hypothesis.given(text=st.lists(st.sampled_from([b"a", b"a", b"a", b"\n"]), max_size=30), block=st.integers(1, 9), most=st.integers(1, 6))  # fmt: skip
def test_a_line_is_too_long_wherever_it_is_cut_into_blocks(
    tmp_path_factory: pytest.TempPathFactory, text: list[bytes], block: int, most: int
) -> None:
    path = tmp_path_factory.mktemp("lines") / "people.csv"
    path.write_bytes(b"".join(text))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(screening, "BLOCK", block)
        try:
            screening.screen(path, FileLimits(line_bytes=most), rows=30, columns=1, where={"place": path.name})
            is_refused = False
        except Refused:
            is_refused = True
    # In a file without a line feed a carriage return would end a line; here there is none, and all of it is one line.
    assert is_refused == (max(map(len, path.read_bytes().split(b"\n"))) > most)
