"""Writes a simulated cohort as each organisation would deliver it: snapshots by period, spelled by its contract.

Headers, codes, number patterns and formats come from the contracts; what a source knows at a period's end is decided
here. The same cohort gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyreadstat
import xlsxwriter

from orchestration.deliveries.contracts import Column, Organisation, Table
from orchestration.simulation.cohort import Cohort

Periods = Literal["all", "last"]
Array = np.ndarray[Any, Any]

EXPECTATIONS = Path(__file__).parents[2] / "expectations"
CHUNK_ROWS = 2_000_000
WRITERS = 2
_EPOCH = date(1970, 1, 1)
_FIRST_DAY, _LAST_DAY = -25_567, 29_220  # 1900-01-01 to 2050-01-01
_DIGITS = re.compile(r"^\^([A-Z]*)\\d\{(\d+)\}\$$")
# A table whose rows change: the day on which the end is known, and what is hidden before it.
CLOSING: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "supervisions": ("end_on", ("end_on", "end_reason")),
    "assignments": ("end_on", ("end_on", "end_reason")),
    "disposals": ("disposed_on", ("disposed_on", "custodial_days")),
    "detentions": ("end_on", ("end_on",)),
}


@dataclass(frozen=True)
class Period:
    """A period of delivery and its last day (the registry's cut-off)."""

    name: str
    last_day: date

    @property
    def created_at(self) -> datetime:
        """When its deliveries are made: six in the morning after it ended."""
        return datetime.combine(self.last_day + timedelta(days=1), datetime.min.time()).replace(hour=6)


@dataclass(frozen=True)
class WrittenFile:
    """A data file as the manifest names it."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Coded:
    """A column as indices into its spellings (bytes of the target encoding, quoted where needed)."""

    index: Array
    spellings: Sequence[bytes] | pa.Array


def quarters(first_year: int, last_year: int) -> tuple[Period, ...]:
    """The quarters of these years."""
    ends = ((3, 31), (6, 30), (9, 30), (12, 31))
    return tuple(
        Period(f"{year}-Q{quarter}", date(year, *end))
        for year in range(first_year, last_year + 1)
        for quarter, end in enumerate(ends, start=1)
    )


def years(first_year: int, last_year: int) -> tuple[Period, ...]:
    """These years."""
    return tuple(Period(str(year), date(year, 12, 31)) for year in range(first_year, last_year + 1))


# ---------------------------------------------------------------------------------------------------- spelling


def as_days(values: pd.Series) -> Array:
    """Days since 1970-01-01; NaT becomes the smallest integer."""
    return values.to_numpy().astype("datetime64[D]").astype(np.int64)


def spell_number(value: Array, pattern: str | None) -> list[str]:
    """Identifiers as their contract's pattern spells them: a prefix and zero-padded digits."""
    match = _DIGITS.match(pattern or "")
    if not match:
        raise ValueError(f"cannot spell an identifier by the pattern {pattern!r}")
    prefix, width = match[1], int(match[2])
    return [f"{prefix}{number:0{width}d}" for number in value.tolist()]


def missing_spelling(column: Column) -> str:
    """How a value that was not recorded is written: the first missing code, or nothing."""
    return next(iter(column.missing), "")


def spell_terms(column: Column, terms: Sequence[str]) -> list[str]:
    """Our terms as the partner's codes. Raises KeyError for a term that the contract does not know."""
    if column.type != "code":
        return list(terms)
    by_term = {code.term: code.source for code in column.codes}
    return [by_term[term] for term in terms]


@lru_cache(maxsize=8)
def _day_spellings(date_format: str) -> pa.Array:
    days = [
        (_EPOCH + timedelta(days=day)).strftime(date_format).encode("ascii") for day in range(_FIRST_DAY, _LAST_DAY)
    ]
    return pa.array([*days, b""], type=pa.large_binary())


def _quoted(text: str, form: Mapping[str, Any]) -> bytes:
    """One CSV field, quoted only where it must be (csv.QUOTE_MINIMAL)."""
    if any(mark in text for mark in (form["delimiter"], '"', "\r", "\n")):
        text = '"' + text.replace('"', '""') + '"'
    return text.encode(form["encoding"])


def _fixed_width(value: Array, pattern: str | None) -> pa.Array:
    """Identifiers as an Arrow binary column, made from a matrix of digits."""
    match = _DIGITS.match(pattern or "")
    if not match:
        raise ValueError(f"cannot spell an identifier by the pattern {pattern!r}")
    prefix, width = match[1].encode("ascii"), int(match[2])
    total = len(prefix) + width
    matrix = np.empty((len(value), total), dtype=np.uint8)
    matrix[:, : len(prefix)] = np.frombuffer(prefix, dtype=np.uint8)
    rest = value.astype(np.int64)
    for place in range(total - 1, len(prefix) - 1, -1):
        rest, digit = np.divmod(rest, 10)
        matrix[:, place] = digit + 48
    offsets = np.arange(len(value) + 1, dtype=np.int64) * total
    return pa.Array.from_buffers(pa.large_binary(), len(value), [None, pa.py_buffer(offsets), pa.py_buffer(matrix)])


def _code_column(column: Column, values: pd.Series, blank: Array | None, form: Mapping[str, Any]) -> Coded:
    """A canonical column as indices into its spellings; `blank` marks what has not happened yet."""
    missing = missing_spelling(column)
    if isinstance(values.dtype, pd.CategoricalDtype):
        index = values.cat.codes.to_numpy()
        words = spell_terms(column, list(values.cat.categories))
    elif column.type == "date":
        days = as_days(values)
        known = (days >= _FIRST_DAY) & (days < _LAST_DAY)
        index = np.where(known if blank is None else known & ~blank, days - _FIRST_DAY, _LAST_DAY - _FIRST_DAY)
        return Coded(index, _day_spellings(form["date_format"]))
    elif column.type == "decimal":
        numbers, index = np.unique(values.to_numpy(), return_inverse=True)
        words = [
            missing if np.isnan(number) else repr(float(number)).replace(".", form["decimal"]) for number in numbers
        ]
    elif column.type == "text":
        number = values.to_numpy()
        top = int(number.max(initial=0))
        if top > 4 * len(number) + 1000:
            spelled = _fixed_width(np.maximum(number, 0), column.pattern)
            index = np.where(number < 0, len(number), np.arange(len(number)))
            return Coded(index, pa.concat_arrays([spelled, pa.array([b""], type=pa.large_binary())]))
        spelled = _fixed_width(np.arange(top + 1), column.pattern)
        return Coded(
            np.where(number < 0, top + 1, number), pa.concat_arrays([spelled, pa.array([b""], type=pa.large_binary())])
        )
    else:
        index = values.to_numpy()
        words = [str(number) for number in range(int(index.max(initial=0)) + 1)]
    index = np.where(index < 0, len(words), index) if (index < 0).any() else index
    words = [*words, missing]
    if blank is not None:
        index = np.where(blank, len(words), index)
        words = [*words, ""]
    return Coded(index, [_quoted(word, form) for word in words])


def _merge_small(columns: list[Coded], delimiter: bytes, rows: int) -> list[Coded]:
    """Join neighbours of few spellings into one column of their combinations, so that a row takes fewer pieces."""
    merged: list[Coded] = []
    for column in columns:
        last = merged[-1] if merged else None
        if last is not None and len(last.spellings) * len(column.spellings) <= min(5000, rows // 8):
            left, right = [bytes(x) if isinstance(x, bytes) else x.as_py() for x in last.spellings], column.spellings
            if not isinstance(right, pa.Array):
                words = [one + delimiter + other for one in left for other in right]
                merged[-1] = Coded(last.index.astype(np.int32) * len(right) + column.index.astype(np.int32), words)
                continue
        merged.append(column)
    return merged


def render_csv(
    table: Table, frame: pd.DataFrame, blanks: Mapping[str, Array], form: Mapping[str, Any], newline: bytes
) -> Iterator[tuple[memoryview, Array]]:
    """The rows of `frame` as CSV, in chunks: the bytes, and where each row starts (one offset more than rows)."""
    delimiter = form["delimiter"].encode("ascii")
    columns = [_code_column(column, frame[column.name], blanks.get(column.name), form) for column in table.columns]
    columns = _merge_small(columns, delimiter, len(frame))
    pieces = []
    for place, column in enumerate(columns):
        end = newline if place == len(columns) - 1 else delimiter
        words = (
            column.spellings
            if isinstance(column.spellings, pa.Array)
            else pa.array(column.spellings, type=pa.large_binary())
        )
        pieces.append(
            pc.binary_join_element_wise(
                words, pa.scalar(end, type=pa.large_binary()), pa.scalar(b"", type=pa.large_binary())
            )
        )
    nothing = pa.scalar(b"", type=pa.large_binary())
    for start in range(0, len(frame), CHUNK_ROWS):
        part = slice(start, start + CHUNK_ROWS)
        taken = [words.take(pa.array(column.index[part])) for words, column in zip(pieces, columns, strict=True)]
        rows = pc.binary_join_element_wise(*taken, nothing) if len(taken) > 1 else taken[0]
        offsets = np.frombuffer(rows.buffers()[1], dtype=np.int64)[rows.offset : rows.offset + len(rows) + 1]
        yield memoryview(rows.buffers()[2]), offsets


def csv_header(table: Table, form: Mapping[str, Any], newline: bytes) -> bytes:
    """The first line: the partner's headers in the order of the contract."""
    return form["delimiter"].encode("ascii").join(_quoted(column.source, form) for column in table.columns) + newline


def csv_newline(form: Mapping[str, Any]) -> bytes:
    """Windows files end their lines in the Windows way."""
    return b"\r\n" if form["encoding"] == "cp1252" else b"\n"


# ---------------------------------------------------------------------------------------------------- snapshots


def rows_known(frame: pd.DataFrame, day: date) -> int:
    """How many rows the source holds at the end of `day`; they are the first rows of `frame`."""
    return int(np.searchsorted(frame["known_on"].to_numpy(), np.datetime64(day, "s"), side="right"))


def snapshot(table: str, frame: pd.DataFrame, day: date) -> tuple[pd.DataFrame, dict[str, Array]]:
    """What the source holds at the end of `day`, and which cells are empty because their event is still to come."""
    known = frame.iloc[: rows_known(frame, day)]
    if table not in CLOSING:
        return known, {}
    by, hidden = CLOSING[table]
    still_open = ~(known[by].to_numpy() <= np.datetime64(day, "s"))
    if table == "disposals":
        disposal = known["disposal"].copy()
        disposal[still_open] = "pending"
        known = known.assign(disposal=disposal)
    return known, dict.fromkeys(hidden, still_open)


def spelled_frame(
    table: Table, known: pd.DataFrame, blanks: Mapping[str, Array], *, numeric_codes: bool
) -> pd.DataFrame:
    """A snapshot under the partner's headers: text and codes as text (codes of digits as numbers when `numeric_codes`),
    numbers as floats, dates as datetime64[s]; what is not recorded is the missing code or empty."""
    columns: dict[str, Any] = {}
    for column in table.columns:
        values, missing = known[column.name], missing_spelling(column)
        blank = blanks.get(column.name)
        if column.type == "date":
            days = values.to_numpy().copy()
            if blank is not None:
                days[blank] = np.datetime64("NaT")
            columns[column.source] = days
        elif column.type in ("integer", "decimal"):
            numbers = values.to_numpy().astype(float)
            numbers = np.where(np.isnan(numbers) | (numbers < 0), float(missing) if missing else np.nan, numbers)
            columns[column.source] = numbers if blank is None else np.where(blank, np.nan, numbers)
        else:
            if isinstance(values.dtype, pd.CategoricalDtype):
                words = np.array([*spell_terms(column, list(values.cat.categories)), missing], dtype=object)
                texts = words[values.cat.codes.to_numpy()]
            else:
                numbers = values.to_numpy()
                texts = np.array(spell_number(np.maximum(numbers, 0), column.pattern), dtype=object)
                texts[numbers < 0] = ""
            if blank is not None:
                texts[blank] = ""
            if numeric_codes and is_numeric_code(column):
                columns[column.source] = np.array([float(text) if text else np.nan for text in texts])
            else:
                columns[column.source] = texts
    return pd.DataFrame(columns)


def is_numeric_code(column: Column) -> bool:
    """Whether all spellings of a code column are digits, so that SPSS holds it as a number with labels."""
    return column.type == "code" and all(code.source.isdigit() for code in column.codes)


# ---------------------------------------------------------------------------------------------------- files


def write_xlsx(path: Path, tables: Sequence[tuple[Table, pd.DataFrame]], created_at: datetime) -> None:
    """One workbook with a sheet for each table: text as text cells, numbers as numbers, dates as date cells."""
    book = xlsxwriter.Workbook(str(path))
    book.set_properties({"created": created_at})
    day_format = book.add_format({"num_format": "dd-mm-yyyy"})
    for table, frame in tables:
        sheet = book.add_worksheet(table.name)
        for place, name in enumerate(frame.columns):
            sheet.write_string(0, place, name)
            values = frame[name].to_numpy()
            if values.dtype.kind == "M":
                serials = values.astype("datetime64[D]").astype(np.int64) + 25_569
                for row, (serial, is_empty) in enumerate(
                    zip(serials.tolist(), np.isnat(values).tolist(), strict=True), start=1
                ):
                    if not is_empty:
                        sheet.write_number(row, place, serial, day_format)
            elif values.dtype.kind == "f":
                for row, number in enumerate(values.tolist(), start=1):
                    if number == number:
                        sheet.write_number(row, place, number)
            else:
                for row, text in enumerate(values.tolist(), start=1):
                    if text:
                        sheet.write_string(row, place, text)
    book.close()


def write_sav(path: Path, table: Table, frame: pd.DataFrame, created_at: datetime) -> None:
    """One SPSS file: identifiers as text, dates as SPSS dates, codes with labels, missing codes as user-missing."""
    labels: dict[str, dict[Any, str]] = {}
    missing: dict[str, list[Any]] = {}
    formats: dict[str, str] = {}
    frame = frame.copy()
    for column in table.columns:
        is_number = column.type in ("integer", "decimal") or is_numeric_code(column)
        as_key = float if is_number else str
        if column.type == "code":
            labels[column.source] = {as_key(code.source): code.label["nl"] for code in column.codes}
        if column.missing:
            labels.setdefault(column.source, {}).update(
                {as_key(code): label["nl"] for code, label in column.missing.items()}
            )
            missing[column.source] = [as_key(code) for code in column.missing]
        if column.type == "date":
            days = frame[column.source].to_numpy()
            frame[column.source] = pd.Series(
                [None if np.isnat(day) else day.item().date() for day in days], dtype=object
            )
            formats[column.source] = "DATE11"
        elif column.type == "decimal":
            formats[column.source] = "F8.1"
        elif is_number:
            formats[column.source] = "F8.0"
    pyreadstat.write_sav(
        frame,
        str(path),
        column_labels=[column.label["nl"] for column in table.columns],
        variable_value_labels=labels,
        missing_ranges=missing,
        variable_format=formats,
    )
    stamp_sav(path, created_at)


def stamp_sav(path: Path, created_at: datetime) -> None:
    """Replace the day and time that the writing library put in an SPSS header, bytes 92 to 109."""
    months = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    day = f"{created_at.day:02d} {months[created_at.month - 1]} {created_at.year % 100:02d}"
    with path.open("r+b") as file:
        file.seek(92)
        file.write(f"{day}{created_at:%H:%M:%S}".encode("ascii"))


def describe_file(path: Path) -> WrittenFile:
    """Name, size and SHA-256 of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return WrittenFile(path.name, path.stat().st_size, digest)


# ---------------------------------------------------------------------------------------------------- deliveries


def delivery_name(organisation: str, period: Period) -> str:
    """The delivery's id, and the name of its folder."""
    return f"{organisation}-{period.name}-1"


def write_manifest(
    folder: Path,
    organisation: Organisation,
    period: Period,
    form: str,
    files: Sequence[WrittenFile],
    rows: Mapping[str, int],
) -> None:
    """Write `manifest.json`, the last file of a delivery."""
    spelling = organisation.forms[form]
    file_of = {table.name: file_name(organisation, table.name, form) for table in organisation.tables}
    manifest = {
        "organisation": organisation.name,
        "period": period.name,
        "delivery_id": folder.name,
        "sequence": 1,
        "supersedes": None,
        "created_at": period.created_at.isoformat() + "+00:00",
        "schema_version": organisation.schema_version,
        "contact": f"data@{organisation.name.replace('_', '-')}.example",
        "cutoff_on": period.last_day.isoformat() if organisation.kind == "registry" else None,
        "files": [
            {
                "name": file.name,
                "bytes": file.size,
                "sha256": file.sha256,
                **{key: spelling.get(key) for key in ("encoding", "delimiter", "decimal", "date_format")},
            }
            for file in files
        ],
        "tables": [
            {
                "table": table.name,
                "file": file_of[table.name],
                "sheet": table.name if form == "xlsx" else None,
                "rows": rows[table.name],
            }
            for table in organisation.tables
        ],
        "deletions": [],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def file_name(organisation: Organisation, table: str, form: str) -> str:
    """The name of the file that holds a table in a form: the agreed workbook, or one for each table."""
    return str(organisation.forms[form]["workbook"]) if form == "xlsx" else f"{table}.{form}"


def _append_only_csv(
    table: Table, frame: pd.DataFrame, rows: Mapping[Path, int], form: Mapping[str, Any]
) -> dict[Path, WrittenFile]:
    """Write a table that only grows to many deliveries at once: `rows` is how many rows each folder gets.

    Each delivery is the beginning of the next one, so that the table is rendered and hashed once.
    """
    newline = csv_newline(form)
    header = csv_header(table, form, newline)
    folders = sorted(rows, key=lambda folder: (rows[folder], folder.parent.name))
    files = {folder: (folder / f"{table.name}.csv").open("wb") for folder in folders}
    digest, size, done = hashlib.sha256(header), len(header), 0
    written: dict[Path, WrittenFile] = {}
    for file in files.values():
        file.write(header)
    most = max(rows.values())
    waiting = list(folders)

    def close_finished() -> None:
        while waiting and rows[waiting[0]] == done:
            folder = waiting.pop(0)
            files[folder].close()
            written[folder] = WrittenFile(f"{table.name}.csv", size, digest.copy().hexdigest())

    close_finished()
    for data, offsets in render_csv(table, frame.iloc[:most], {}, form, newline):
        chunk_start, chunk_end = done, done + len(offsets) - 1
        for stop in sorted({min(rows[folder], chunk_end) for folder in waiting}):
            piece = data[offsets[done - chunk_start] : offsets[stop - chunk_start]]
            for folder in waiting:
                files[folder].write(piece)
            digest.update(piece)
            size, done = size + len(piece), stop
            close_finished()
    return written


def _closing_csv(
    table: Table, frame: pd.DataFrame, folder: Path, period: Period, form: Mapping[str, Any]
) -> WrittenFile:
    newline = csv_newline(form)
    digest = hashlib.sha256()
    path = folder / f"{table.name}.csv"
    known, blanks = snapshot(table.name, frame, period.last_day)
    with path.open("wb") as file:
        for piece in (
            csv_header(table, form, newline),
            *(data[offsets[0] : offsets[-1]] for data, offsets in render_csv(table, known, blanks, form, newline)),
        ):
            chunk = bytes(piece)
            file.write(chunk)
            digest.update(chunk)
    return WrittenFile(path.name, path.stat().st_size, digest.hexdigest())


def frames_of(cohort: Cohort, organisation: Organisation) -> dict[str, pd.DataFrame]:
    """The frames of one organisation. Partner frames are ordered by organisation, so each is a slice."""
    if organisation.kind == "registry":
        return dict(cohort.registry)
    frames = {}
    for name, frame in cohort.partners.items():
        place = list(frame["organisation"].cat.categories).index(organisation.name)
        codes = frame["organisation"].cat.codes.to_numpy()
        frames[name] = frame.iloc[
            np.searchsorted(codes, place, side="left") : np.searchsorted(codes, place, side="right")
        ]
    return frames


@dataclass(frozen=True)
class _Plan:
    """What one organisation will deliver: a folder and the rows of each table by period."""

    organisation: Organisation
    form: str
    frames: Mapping[str, pd.DataFrame]
    folders: Mapping[Period, Path]
    rows: Mapping[Period, Mapping[str, int]]


def _plan(cohort: Cohort, out: Path, organisation: Organisation, form: str, periods: Periods) -> _Plan:
    config = cohort.config
    span = (quarters if organisation.cadence == "quarterly" else years)(config.first_year, config.last_year)
    frames = frames_of(cohort, organisation)
    rows = {
        period: {table.name: rows_known(frames[table.name], period.last_day) for table in organisation.tables}
        for period in (span if periods == "all" else span[-1:])
    }
    folders = {
        period: out / organisation.name / period.name / delivery_name(organisation.name, period)
        for period, known in rows.items()
        if all(known[table.name] or table.may_be_empty for table in organisation.tables)
    }
    return _Plan(organisation, form, frames, folders, rows)


def _write_csv_table(plan: _Plan, table: Table) -> dict[Period, WrittenFile]:
    frame, form = plan.frames[table.name], plan.organisation.forms["csv"]
    if table.name in CLOSING:
        return {period: _closing_csv(table, frame, folder, period, form) for period, folder in plan.folders.items()}
    written = _append_only_csv(
        table, frame, {folder: plan.rows[period][table.name] for period, folder in plan.folders.items()}, form
    )
    return {period: written[folder] for period, folder in plan.folders.items()}


def _write_other_form(plan: _Plan, period: Period) -> list[WrittenFile]:
    """A workbook with all tables, or an SPSS file for each."""
    organisation, folder = plan.organisation, plan.folders[period]
    spelled = []
    for table in organisation.tables:
        known, blanks = snapshot(table.name, plan.frames[table.name], period.last_day)
        spelled.append((table, spelled_frame(table, known, blanks, numeric_codes=plan.form == "sav")))
    paths: list[Path] = []
    for table, frame in spelled:
        path = folder / file_name(organisation, table.name, plan.form)
        if plan.form == "sav":
            write_sav(path, table, frame, period.created_at)
        elif not paths:
            write_xlsx(path, spelled, period.created_at)
        paths.append(path)
    return [describe_file(path) for path in dict.fromkeys(paths)]


def write_deliveries(
    cohort: Cohort, out: Path, contracts: Mapping[str, Organisation], form: str | None = None, periods: Periods = "all"
) -> list[Path]:
    """Write the deliveries of partners and registry below `out`; returns their folders.

    `form` None takes each organisation's first form, "csv" its CSV form. `periods` "last" writes only the final period
    of each. A period in which a table that may not be empty would be empty is not delivered. Raises FileExistsError
    when a delivery is there already.
    """
    plans = [
        _plan(cohort, out, organisation, form or next(iter(organisation.forms)), periods)
        for organisation in contracts.values()
        if organisation.kind in ("partner", "registry")
    ]
    for plan in plans:
        for folder in plan.folders.values():
            folder.mkdir(parents=True)
    files: dict[str, dict[Period, list[WrittenFile]]] = {
        plan.organisation.name: {period: [] for period in plan.folders} for plan in plans
    }
    # Rendering and writing release the interpreter; the largest tables go first so that no thread ends alone.
    tasks = [
        (plan, table) for plan in plans if plan.form == "csv" and plan.folders for table in plan.organisation.tables
    ]
    tasks.sort(key=lambda task: -len(task[0].frames[task[1].name]))
    with ThreadPoolExecutor(WRITERS) as pool:
        for (plan, _), written in zip(tasks, pool.map(lambda task: _write_csv_table(*task), tasks), strict=True):
            for period, file in written.items():
                files[plan.organisation.name][period].append(file)
    for plan in plans:
        for period, folder in plan.folders.items():
            if plan.form != "csv":
                files[plan.organisation.name][period] = _write_other_form(plan, period)
            in_order = sorted(files[plan.organisation.name][period], key=lambda file: file.name)
            write_manifest(folder, plan.organisation, period, plan.form, in_order, plan.rows[period])
    return [folder for plan in plans for folder in plan.folders.values()]
