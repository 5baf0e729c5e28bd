"""Reading delivered files exactly as declared: CSV, XLSX and SPSS, nothing inferred, every row counted.

A reader gives each column as cells; `typed` turns them into the declared type and finds what does not fit. What is wrong
comes out as judgements with counts and row numbers; no value leaves this module in a message.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from orchestration.deliveries.coding import in_one
from orchestration.deliveries.contracts import ORDINARY, Column, FileLimits, Table
from orchestration.deliveries.judgement import MAX_ROW_NUMBERS, Judgement, Refused, Status, failed
from orchestration.deliveries.manifest import Manifest, ManifestFile
from orchestration.deliveries.pseudonyms import is_eleven_proof, is_test_number
from orchestration.deliveries.screening import BLOCK, screen

_WIDTHS = {"%d-%m-%Y": r"[0-9]{2}-[0-9]{2}-[0-9]{4}", "%Y-%m-%d": r"[0-9]{4}-[0-9]{2}-[0-9]{2}"}
_LARGEST_INTEGER = 10**15
_AT_ONCE = 2**23  # bytes that the quick reader parses at once
# Text and codes as their distinct values and which of them each row has.
TEXT = pa.dictionary(pa.int32(), pa.string())
READ_TYPES = {"text": TEXT, "code": TEXT, "integer": pa.int64(), "decimal": pa.float64(), "date": pa.date32()}


@dataclass(frozen=True)
class Reading:
    """One table as read: rows under the partner's headers with declared types (`READ_TYPES`), and what was found on the way."""

    table: Table
    rows: pa.Table
    judgements: tuple[Judgement, ...]
    has_test_numbers: bool


def read_delivery(
    delivery: Path, manifest: Manifest, tables: Sequence[Table], admit_test_numbers: bool, limits: FileLimits = ORDINARY
) -> list[Reading]:
    """Read every table of a verified delivery. Raises Refused when a file cannot be read or its columns differ."""
    readings = []
    refused: list[Judgement] = []
    workbooks: dict[str, Any] = {}
    screened: dict[str, Refused | None] = {}
    most_columns = max(len(table.columns) for table in tables)
    for table in tables:
        entry = manifest.table(table.name)
        file = manifest.file(entry.file)
        try:
            if entry.file not in screened:
                most_rows = max(other.rows for other in manifest.tables if other.file == entry.file)
                try:
                    screen(delivery / entry.file, limits, most_rows, most_columns, {"place": entry.file})
                    screened[entry.file] = None
                except Refused as refusal:
                    screened[entry.file] = refusal
                    raise
            elif screened[entry.file]:
                continue  # said once, of the file
            cells = _cells(delivery / entry.file, file, table, entry.sheet, workbooks)
            if cells.rows != entry.rows:
                raise Refused(
                    failed("table.rows", table=table.name, place=entry.file, evaluated=cells.rows, expected=f"{entry.rows} rows")
                )  # fmt: skip
            readings.append(typed(table, cells, file, admit_test_numbers))
        except Refused as refusal:
            refused.extend(refusal.judgements)
    if refused:
        raise Refused(*refused, *(judgement for reading in readings for judgement in reading.judgements))
    return readings


def in_present_words(reading: Reading, table: Table) -> Reading:
    """A reading in an earlier schema version, under the headers of the raw store; a column that it lacked is empty."""
    if reading.table == table:
        return reading
    given = {column.name: reading.rows[column.source] for column in reading.table.columns}
    empty = {kind: pa.nulls(reading.rows.num_rows, read) for kind, read in READ_TYPES.items()}
    rows = {column.source: given.get(column.name, empty[column.type]) for column in table.columns}
    return replace(reading, table=table, rows=pa.table(rows))


@dataclass(frozen=True)
class Cells:
    """A table as a form gives it: a column for each declared header, and the number of rows.

    What came as text is of the type `TEXT`, one array; cells of a workbook or SPSS file are objects.
    """

    columns: Mapping[str, pa.DictionaryArray | pd.Series]
    rows: int
    is_text: bool


def _cells(path: Path, file: ManifestFile, table: Table, sheet: str | None, workbooks: dict[str, Any]) -> Cells:
    form = file.name.rpartition(".")[2].lower()
    if form == "csv":
        return _read_csv(path, file, table)
    if form == "xlsx":
        return _read_sheet(path, table, sheet, workbooks)
    return _read_sav(path, table)


def check_headers(headers: Sequence[str], table: Table, place: str) -> None:
    """Hold a header against the contract: order is free, everything else must fit. Raises Refused.

    An undeclared header is partner-made text and is never repeated; its position is.
    """
    declared = [column.source for column in table.columns]
    missing = [name for name in declared if name not in headers]
    extra = [position for position, name in enumerate(headers, start=1) if name not in declared]
    found = []
    if len(set(headers)) != len(headers):
        found.append(failed("column.duplicate", table=table.name, place=place))
    renamed = set()
    for name in missing:
        position = declared.index(name) + 1
        if position in extra and len(headers) == len(declared):
            renamed.add(position)
            found.append(
                failed("column.renamed", table=table.name, column=name, place=place, expected=f"column {position}")
            )
        else:
            found.append(failed("column.missing", table=table.name, column=name, place=place))
    undeclared = [position for position in extra if position not in renamed]
    if undeclared:
        positions = ", ".join(str(position) for position in undeclared[:MAX_ROW_NUMBERS])
        found.append(
            failed(
                "column.undeclared", table=table.name, place=place, failed=len(undeclared), expected=f"at {positions}"
            )
        )
    if found:
        raise Refused(*found)


# CSV ----------------------------------------------------------------------------------------------------------------
def _csv_rows(path: Path, file: ManifestFile) -> Iterator[list[str]]:
    with path.open(encoding=file.encoding, newline="") as stream:
        yield from csv.reader(stream, delimiter=file.delimiter or ",", strict=True)


def _read_csv(path: Path, file: ManifestFile, table: Table) -> Cells:
    """Two readers must agree: ours, which counts row by row, and the quick one; unless they cannot differ."""
    where = {"table": table.name, "place": file.name}
    try:
        rows = _csv_rows(path, file)
        headers = next(rows, [])
        headers = [headers[0].removeprefix("\ufeff"), *headers[1:]] if headers else []
        check_headers(headers, table, file.name)
        alone = _beyond_doubt(path, file, table)
        if alone is not None:
            return _cells_of(alone)
        counted = _counted(rows, len(headers), where)
    except UnicodeError:
        raise Refused(failed("file.encoding", **where, expected=file.encoding or "")) from None
    except csv.Error:
        raise Refused(failed("file.unreadable", **where)) from None
    read = _quickly(path, file, table)
    if read is None:
        raise Refused(failed("file.unreadable", **where))
    if read.num_rows != counted:
        raise Refused(failed("table.rows", **where, evaluated=read.num_rows, expected=f"{counted} rows"))
    return _cells_of(read)


def _beyond_doubt(path: Path, file: ManifestFile, table: Table) -> pa.Table | None:
    """What the quick reader alone makes of a file in which nothing is quoted and no line is empty; None of any other."""
    with path.open("rb") as stream:
        if any(b'"' in block for block in iter(lambda: stream.read(BLOCK), b"")):
            return None
    read = _quickly(path, file, table, quoted=False)
    return None if read is None or _has_empty_row(read) else read


def _counted(rows: Iterator[list[str]], width: int, where: Mapping[str, str]) -> int:
    """How many rows follow a header of so many columns. Raises Refused where some have another width, with their numbers."""
    ragged, first_ragged, counted = 0, [], 0
    for counted, row in enumerate(rows, start=1):
        if len(row) != width:
            ragged += 1
            if ragged <= MAX_ROW_NUMBERS:
                first_ragged.append(counted)
    if ragged:
        raise Refused(failed("file.unreadable", **where, failed=ragged, rows=tuple(first_ragged)))
    return counted


def _quickly(path: Path, file: ManifestFile, table: Table, *, quoted: bool = True) -> pa.Table | None:
    """The rows of a file, each column as its distinct texts and which of them each row has; None where some row does not fit.

    Text has many values, of which Arrow finds the distinct ones sooner in the whole than in each block of the file.
    """
    kinds = {column.source: pa.string() if column.type == "text" else TEXT for column in table.columns}
    try:
        read = pacsv.read_csv(
            path,
            read_options=pacsv.ReadOptions(encoding=file.encoding, use_threads=True, block_size=_AT_ONCE),
            parse_options=pacsv.ParseOptions(
                delimiter=file.delimiter,
                newlines_in_values=quoted,
                ignore_empty_lines=False,
                quote_char='"' if quoted else False,
            ),
            convert_options=pacsv.ConvertOptions(
                column_types=kinds,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
                check_utf8=True,
            ),
        )
    except (pa.ArrowInvalid, UnicodeError):
        return None
    names, columns = [name.removeprefix("\ufeff") for name in read.column_names], read.columns
    del read  # so that the texts of a column go when its distinct ones are there
    return pa.table([_coded(columns.pop(0)) for _ in names], names=names)


def _coded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column with its text in one dictionary."""
    return column.unify_dictionaries() if column.type == TEXT else column.dictionary_encode()


def _has_empty_row(read: pa.Table) -> bool:
    """Whether some row holds nothing at all, as the quick reader makes one of an empty line."""
    empty: np.ndarray | None = None
    for column in sorted(read.columns, key=lambda column: column.null_count):
        if column.null_count == 0 or (empty is not None and not empty.any()):
            return False
        missing = column.is_null().to_numpy()
        empty = missing if empty is None else empty & missing
    return empty is not None and bool(empty.any())


def _cells_of(read: pa.Table) -> Cells:
    return Cells({name: in_one(read.column(name)) for name in read.column_names}, read.num_rows, is_text=True)


# XLSX ---------------------------------------------------------------------------------------------------------------
def _read_sheet(path: Path, table: Table, sheet: str | None, workbooks: dict[str, Any]) -> Cells:
    from python_calamine import CalamineError, CalamineWorkbook

    where = {"table": table.name, "place": path.name}
    try:
        if path.name not in workbooks:
            workbooks[path.name] = CalamineWorkbook.from_path(str(path))
        rows = workbooks[path.name].get_sheet_by_name(sheet or table.name).to_python(skip_empty_area=False)
    except (CalamineError, OSError, ValueError):
        raise Refused(failed("file.unreadable", **where, expected="a sheet for each table")) from None
    headers = [str(cell) for cell in rows[0]] if rows else []
    check_headers(headers, table, path.name)
    body = rows[1:]
    columns = {
        name: pd.Series([None if row[index] == "" else row[index] for row in body], dtype=object)
        for index, name in enumerate(headers)
    }
    return Cells(columns, len(body), is_text=False)


# SPSS ---------------------------------------------------------------------------------------------------------------
def _read_sav(path: Path, table: Table) -> Cells:
    import pyreadstat

    where = {"table": table.name, "place": path.name}
    try:
        frame, metadata = pyreadstat.read_sav(str(path), user_missing=True)
    except (pyreadstat.ReadstatError, ValueError, OSError):
        raise Refused(failed("file.unreadable", **where)) from None
    check_headers(list(metadata.column_names), table, path.name)
    _check_labels(metadata.variable_value_labels, table, path.name)
    columns = {}
    for name in frame.columns:
        series = frame[name].astype(object)
        columns[str(name)] = or_missing(series, (series.notna() & (series != "")).to_numpy(dtype=bool))
    return Cells(columns, len(frame), is_text=False)


def _check_labels(labels: Mapping[str, Mapping[Any, str]], table: Table, place: str) -> None:
    """Hold the value labels of a file against those of the contract, in either language. Raises Refused."""
    found = []
    for column in table.columns:
        agreed = {code.source: code.label for code in column.codes} | dict(column.missing)
        given = {_code(value): str(label).strip().casefold() for value, label in labels.get(column.source, {}).items()}
        shared = [code for code in given if code in agreed]
        other = sum(given[code] not in {text.strip().casefold() for text in agreed[code].values()} for code in shared)
        if other:
            found.append(
                failed(
                    "column.labels",
                    table=table.name,
                    column=column.source,
                    place=place,
                    evaluated=len(shared),
                    failed=other,
                )
            )
    if found:
        raise Refused(*found)


def _code(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value % 1 == 0 else str(value)


def or_missing(cells: pd.Series, kept: np.ndarray) -> pd.Series:
    """The cells where `kept` holds, None elsewhere, as objects."""
    values = cells.to_numpy(dtype=object, copy=True)
    values[~kept] = None
    return pd.Series(values, index=cells.index, dtype=object)


def fully_match(texts: pa.StringArray | pd.Series, pattern: str) -> np.ndarray:
    """Which texts are a pattern from end to end, classes of characters being ASCII; False where there is none."""
    given = texts if isinstance(texts, pa.Array) else pa.array(texts, pa.string(), from_pandas=True)
    whole = pc.match_substring_regex(given, rf"\A(?:{pattern})\z")
    return np.asarray(whole.fill_null(False).to_numpy(zero_copy_only=False), dtype=bool)


# types --------------------------------------------------------------------------------------------------------------
def _rows_where(mask: np.ndarray) -> tuple[int, ...]:
    return tuple(int(row) + 1 for row in np.flatnonzero(mask)[:MAX_ROW_NUMBERS])


def _as_text(cells: pd.Series, column: Column) -> tuple[pd.Series, np.ndarray]:
    """Cells of a workbook or SPSS file as text: identifiers must be text already, codes may be whole numbers."""

    def one(cell: Any) -> Any:
        if cell is None or (isinstance(cell, float) and np.isnan(cell)):
            return None
        if isinstance(cell, str):
            return cell.strip() or None
        if column.type == "code" and isinstance(cell, int | float) and not isinstance(cell, bool) and cell % 1 == 0:
            return str(int(cell))
        return NotImplemented

    converted = cells.map(one)
    wrong = np.array([cell is NotImplemented for cell in converted], dtype=bool)
    return or_missing(converted, ~wrong), wrong


def _number_cells(cells: pd.Series, column: Column) -> tuple[pd.Series, np.ndarray]:
    """Cells of a workbook or SPSS file as numbers, and which do not fit."""
    present = cells.notna().to_numpy()
    plain = cells.map(lambda cell: isinstance(cell, int | float) and not isinstance(cell, bool)).to_numpy(dtype=bool)
    numbers = pd.to_numeric(cells.where(plain), errors="coerce")
    fits = plain & np.isfinite(numbers.to_numpy(dtype=float, na_value=np.nan))
    if column.type == "integer":
        whole = numbers.astype(float)
        fits &= ((whole % 1 == 0) & (whole.abs() < _LARGEST_INTEGER)).to_numpy(dtype=bool)
    numbers = numbers.where(fits)
    return numbers.astype("Int64") if column.type == "integer" else numbers.astype("float64"), present & ~fits


def _spelled_numbers(texts: pa.StringArray, column: Column, file: ManifestFile) -> tuple[pa.Array, np.ndarray]:
    """Texts as numbers, missing where they do not fit, and which do."""
    point = file.decimal or "."
    fraction = "" if column.type == "integer" else rf"(?:\{point}[0-9]{{1,15}})?"
    fits = fully_match(texts, r"[+-]?[0-9]{1,15}" + fraction)
    plain = pc.if_else(pa.array(fits), pc.utf8_ltrim(texts, "+"), pa.scalar(None, pa.string()))
    return pc.replace_substring(plain, point, ".").cast(READ_TYPES[column.type]), fits


def _as_date(cells: pd.Series, file: ManifestFile, is_text: bool) -> tuple[pd.Series, np.ndarray]:
    present = cells.notna().to_numpy()
    if is_text:
        style = file.date_format or "%Y-%m-%d"
        days = pd.to_datetime(cells.where(fully_match(cells, _WIDTHS[style])), format=style, errors="coerce")
    else:
        plain = cells.map(
            lambda cell: isinstance(cell, date) and not (isinstance(cell, datetime) and cell.time() != cell.time().min)
        ).to_numpy(dtype=bool)
        days = pd.to_datetime(cells.where(plain), errors="coerce")
    return days, present & days.isna().to_numpy()


@dataclass(frozen=True)
class Spread:
    """A column as its distinct cells and the place of each row's among them: what holds of a cell holds of every row that has it.

    The cells of text are strings, of a workbook or SPSS file objects, each row's its own (1 and True are not the same). What is said of
    cells, (cells,), has of text one more place: that of the missing one, the last.
    """

    cells: pa.StringArray | pd.Series
    indices: pa.Array | None  # None where each row is a cell of its own

    @classmethod
    def of(cls, given: pa.DictionaryArray | pd.Series, is_text: bool) -> Spread:
        """A column as a form gives it."""
        if not is_text:
            return cls(given.reset_index(drop=True).astype(object), None)
        return cls(given.dictionary, given.indices)

    @cached_property
    def places(self) -> np.ndarray:
        """The place of each row's cell, (rows,)."""
        if self.indices is None:
            return np.arange(len(self.cells))
        return self.indices.fill_null(len(self.cells)).to_numpy()

    @cached_property
    def counts(self) -> np.ndarray:
        """How many rows have each cell, (cells,)."""
        return np.bincount(self.places, minlength=len(self.cells) + (self.indices is not None))

    def objects(self) -> pd.Series:
        """The cells as objects, the missing one last where it is none of them."""
        if isinstance(self.cells, pd.Series):
            return self.cells
        return pd.Series([*self.cells.to_pylist(), None], dtype=object)

    def total(self, of_cells: np.ndarray) -> int:
        """In how many rows something holds that does of some cells. Rows are counted one by one only where it holds of some and not of others."""
        if self.indices is None:
            return int(np.count_nonzero(of_cells))
        there, missing = of_cells[:-1], self.indices.null_count
        if there.any() and not there.all():
            return int(self.counts[of_cells].sum())
        return (len(self.indices) - missing) * int(there.any()) + missing * int(of_cells[-1])

    def first_rows(self, of_cells: np.ndarray) -> tuple[int, ...]:
        """The numbers, from 1, of the first of those rows."""
        return _rows_where(of_cells[self.places])

    def column(self, of_cells: pa.Array) -> pa.Array:
        """What was made of each cell, for each row."""
        return of_cells if self.indices is None else of_cells.take(pa.array(self.places))


@dataclass(frozen=True)
class Converted:
    """Cells in the declared type: the column of all rows, and which cells are present, and which do not fit."""

    column: pa.Array
    present: np.ndarray
    wrong: np.ndarray
    texts: pa.StringArray | None = None  # of text and codes: each cell, missing where it does not fit


def typed(table: Table, cells: Cells, file: ManifestFile, admit_test_numbers: bool) -> Reading:
    """Turn a table's cells into the declared types and judge each column: type, code list, pattern, presence."""
    columns: dict[str, pa.Array] = {}
    judgements: list[Judgement] = []
    has_test_numbers = False
    for column in table.columns:
        given = cells.columns[column.source]
        spread = Spread.of(given, cells.is_text)
        converted = _converted(spread, given, column, file)
        columns[column.source] = converted.column

        def judge(
            rule: str,
            mask: np.ndarray,
            evaluated: int,
            expected: str = "",
            column: Column = column,
            spread: Spread = spread,
        ) -> None:
            count = spread.total(mask)
            judgements.append(
                Judgement(
                    rule=rule,
                    status=Status.FAILED if count else Status.PASSED if evaluated else Status.NOT_APPLICABLE,
                    table=table.name,
                    column=column.source,
                    evaluated=evaluated,
                    failed=count,
                    threshold=0.0,
                    rows=spread.first_rows(mask) if count else (),
                    expected=expected,
                )
            )

        present, wrong = converted.present, converted.wrong
        there = spread.total(present)
        judge(
            "value.type",
            wrong,
            spread.total(present | wrong),
            expected=_expected_type(column, file, cells.is_text),
        )
        if column.is_required:
            judge("value.missing", ~present & ~wrong, cells.rows)
        texts = converted.texts
        if texts is None:
            continue
        if column.type == "code":
            known = [code.source for code in column.codes] + list(column.missing)
            is_known = pc.is_in(texts, value_set=pa.array(known, pa.string())).to_numpy(zero_copy_only=False)
            judge("value.code", present & ~is_known, there, f"{len(known)} agreed codes")
        if column.pattern:
            judge("value.pattern", present & ~fully_match(texts, column.pattern), there, column.pattern)
        if column.check == "eleven_proof":
            numbers = texts.to_pandas()
            judge("value.check", ~is_eleven_proof(numbers).to_numpy(dtype=bool), there)
            tests = is_test_number(numbers).to_numpy(dtype=bool)
            has_test_numbers |= spread.total(tests) > 0
            judge("value.test_number", tests & (not admit_test_numbers), there)
    return Reading(table, pa.table(columns), tuple(judgements), has_test_numbers)


def _converted(spread: Spread, given: pa.DictionaryArray | pd.Series, column: Column, file: ManifestFile) -> Converted:
    """A column in its declared type, missing where a cell does not fit."""
    is_text = spread.indices is not None
    if is_text and column.type != "date":
        # The missing cell is the last.
        texts = pa.concat_arrays([spread.cells, pa.nulls(1, pa.string())])
        present = np.append(np.ones(len(spread.cells), dtype=bool), False)
        if column.type in ("text", "code"):
            return Converted(given, present, np.zeros(len(present), dtype=bool), texts)
        numbers, fits = _spelled_numbers(texts, column, file)
        return Converted(spread.column(numbers), fits, present & ~fits)
    cells = spread.objects()
    if column.type in ("text", "code"):
        series, wrong = _as_text(or_missing(cells, cells.notna().to_numpy(dtype=bool)), column)
        texts = pa.array(series, pa.string(), from_pandas=True)
        return Converted(texts.dictionary_encode(), series.notna().to_numpy(dtype=bool), wrong, texts)
    series, wrong = _as_date(cells, file, is_text) if column.type == "date" else _number_cells(cells, column)
    of_cells = pa.array(series, READ_TYPES[column.type], from_pandas=True)
    return Converted(spread.column(of_cells), series.notna().to_numpy(dtype=bool), wrong)


def _expected_type(column: Column, file: ManifestFile, is_text: bool) -> str:
    if column.type == "date":
        return f"date {file.date_format}" if is_text else "date cell"
    if column.type == "decimal" and is_text:
        return f"decimal number with {file.decimal}"
    return {"text": "text", "code": "code", "integer": "whole number", "decimal": "number"}[column.type]
