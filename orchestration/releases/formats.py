"""Writing a released table as Parquet, as CSV for programs, as CSV for a Dutch Excel, and for SPSS, and reading back what was
written. What is in it comes from `tables.py`; no format changes a value, unless text is made inert for spreadsheets, which is asked for and counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from orchestration.files import write_parts
from orchestration.hashing import plain
from orchestration.releases.catalogue import LANGUAGES, Label, Missing, TableDescription, Variable
from orchestration.releases.tables import ReleasedTable, StoredTable
from orchestration.trouble import Mendable

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

Language = Literal["nl", "en"]
NAME_BYTES, LABEL_BYTES, VALUE_LABEL_BYTES, FILE_LABEL_BYTES = 64, 256, 120, 64  # what SPSS takes
BLOCK = 100_000  # rows that are written at once
EXCEL_LINES = 2**20  # lines of a sheet of Excel, the header among them; it cuts off what is beyond
EXACT_IN_HALF = 2**24  # up to which a number of 32 bits holds whole numbers as they are
RESERVED = frozenset(["ALL", "AND", "BY", "EQ", "GE", "GT", "LE", "LT", "NE", "NOT", "OR", "TO", "WITH"])
EXECUTED = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for the beginning of a formula
SIMULATED: Final = "SIMULATED"
SYNTHETIC: Final = "SYNTHETIC"
Mark = Literal["", "SIMULATED", "SYNTHETIC"]  # what is written wherever rows are not those of people


class CannotBeWritten(Mendable):
    """A format cannot hold what a table holds; names table, column and how many cells."""


@dataclass(frozen=True)
class Dialect:
    """How a CSV is spelled: encoding is UTF-8 always, text in double quotes, nothing for what is missing, 1 and 0 for yes and no."""

    delimiter: str
    decimal: str
    line_end: str
    has_byte_order_mark: bool


FOR_PROGRAMS = Dialect(",", ".", "\n", False)
FOR_DUTCH_EXCEL = Dialect(";", ",", "\r\n", True)


def write_parquet(table: ReleasedTable, path: Path, *, mark: Mark) -> None:
    """Write a table as Parquet, labels in both languages in the metadata of each field. The same rows give the same bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = [
        pa.field(
            one.name, plain(table.rows.schema.field(one.name).type), metadata={"delictvrij": _json(described(one))}
        )
        for one in table.described.variables
    ]
    about = {
        "table": table.name, "description": dict(table.described.description), "key": list(table.described.key),
        "simulated": mark == SIMULATED, "synthetic": mark == SYNTHETIC,
    }  # fmt: skip
    schema = pa.schema(fields, metadata={"delictvrij": _json(about)})
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = table.rows.select([one.name for one in table.described.variables])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for start in range(0, rows.num_rows, BLOCK):
            writer.write_table(rows.slice(start, BLOCK).cast(schema))


def described(variable: Variable) -> dict[str, Any]:
    """What is said of a column, as plain data without what is not said."""
    said = {
        "label": dict(variable.label), "description": variable.description, "type": variable.type,
        "measure": variable.measure, "unit": variable.unit,
        "values": [{"value": value, **label} for value, label in variable.values.items()],
        "missing": [{"value": one.code, "is": one.term, **one.label} for one in variable.missing],
        "personal": variable.personal, "purpose": variable.purpose, "is_required": variable.is_required,
        "csv_name": variable.csv_name,
    }  # fmt: skip
    return {name: value for name, value in said.items() if value}


def variable_said(name: str, said: Mapping[str, Any]) -> Variable:
    """The column of which `described` said this."""
    return Variable(
        name, said["type"], said["label"], said.get("description", ""), said["personal"], said["purpose"], said["measure"],
        unit=said.get("unit"),
        values={one["value"]: _label(one) for one in said.get("values", ())},
        missing=tuple(Missing(one["value"], one["is"], _label(one)) for one in said.get("missing", ())),
        is_required=said.get("is_required", False), csv_name=said.get("csv_name", ""),
    )  # fmt: skip


def _label(said: Mapping[str, Any]) -> Label:
    return {language: said[language] for language in LANGUAGES}


def described_in(name: str, schema: pa.Schema) -> TableDescription:
    """What the Parquet file of a table, by its schema, says of it."""
    about = json.loads(schema.metadata[b"delictvrij"])
    variables = tuple(variable_said(field.name, json.loads(field.metadata[b"delictvrij"])) for field in schema)
    return TableDescription(name, about["description"], tuple(about["key"]), variables)


def read_written(folder: Path, name: str) -> ReleasedTable:
    """A table of a folder that was written, from its Parquet file; why a score is missing is from its SPSS file."""
    import pyarrow.parquet as pq

    rows = pq.read_table(folder / "parquet" / f"{name}.parquet")
    described = described_in(name, rows.schema)
    return ReleasedTable(described, rows.cast(_bare(rows.schema)), _reasons(folder / "sav" / f"{name}.sav", described))


def _bare(schema: pa.Schema) -> pa.Schema:
    import pyarrow as pa

    return pa.schema([pa.field(field.name, field.type) for field in schema])


def _reasons(path: Path, described: TableDescription) -> dict[str, pa.Array]:
    import pyarrow as pa
    import pyreadstat

    told = {one.name: {reason.code for reason in one.missing} for one in described.variables if one.missing}
    if not told:
        return {}
    frame, _ = pyreadstat.read_sav(str(path), usecols=list(told), user_missing=True)
    return {
        name: pa.array([int(value) if value in codes else None for value in frame[name].tolist()], pa.int32())
        for name, codes in told.items()
        if frame[name].isin(codes).any()
    }


def write_csv(table: ReleasedTable, path: Path, dialect: Dialect, *, makes_inert: bool) -> int:
    """Write a table as CSV, a block of rows at a time; the same rows give the same bytes. Gives the number of cells that were changed.

    `makes_inert` puts an apostrophe before text that a spreadsheet would execute; numbers are numbers and stay so. Raises
    CannotBeWritten for a number that is not finite.
    """
    import pyarrow.compute as pc

    variables = table.described.variables
    for one in variables:
        if one.type == "decimal":
            _refuse(table, one, "not finite", pc.sum(pc.invert(pc.is_finite(table.rows[one.name]))).as_py() or 0)
    header = dialect.delimiter.join(one.header for one in variables)
    spellings = [_Spelling(one, dialect, makes_inert) for one in variables]

    def parts() -> Iterator[bytes]:
        yield (("\ufeff" if dialect.has_byte_order_mark else "") + header + dialect.line_end).encode()
        for block in table.rows.select([one.name for one in variables]).to_batches(BLOCK):
            spelled = [one.cells(cells) for one, cells in zip(spellings, block.columns, strict=True)]
            lines = pc.binary_join_element_wise(*spelled, dialect.delimiter)
            yield (dialect.line_end.join([*lines.to_pylist(), ""])).encode()

    write_parts(path, parts())
    return sum(one.inert for one in spellings)


class _Spelling:
    """How the cells of a column are spelled, each distinct one once, and how many cells were changed so far."""

    def __init__(self, variable: Variable, dialect: Dialect, makes_inert: bool) -> None:
        import pyarrow as pa

        self._variable, self._dialect = variable, dialect
        self._makes_inert = makes_inert and variable.type == "text"
        self._met, self._texts = pa.nulls(0), pa.nulls(0)
        self._is_risky: list[bool] = []
        self.inert = 0

    def cells(self, cells: pa.Array) -> pa.Array:
        """The cells of some rows as they are spelled; of text in a dictionary, the next rows mostly have the same."""
        import pyarrow as pa

        is_coded = pa.types.is_dictionary(cells.type)
        coded = cells if is_coded else cells.dictionary_encode()
        if not (is_coded and coded.dictionary.equals(self._met)):
            self._meet(coded.dictionary)
        places = coded.indices.fill_null(len(coded.dictionary)) if coded.null_count else coded.indices
        self.inert += _rows_with(self._is_risky, places)
        return self._texts.take(places)

    def _meet(self, distinct: pa.Array) -> None:
        import pyarrow as pa

        values = [*distinct.to_pylist(), None]
        self._is_risky = [self._makes_inert and value is not None and value.startswith(EXECUTED) for value in values]
        spelled = zip(values, self._is_risky, strict=True)
        self._met = distinct
        self._texts = pa.array(
            [_cell(value, self._variable, self._dialect, is_risky) for value, is_risky in spelled], pa.string()
        )


def _cell(value: Any, variable: Variable, dialect: Dialect, is_risky: bool) -> str:
    if value is None:
        return ""
    if variable.type == "text":
        return '"' + ("'" if is_risky else "") + value.replace('"', '""') + '"'
    if variable.type == "decimal":
        return repr(value).replace(".", dialect.decimal)
    return str(int(value)) if variable.type == "boolean" else str(value)


def _one(column: pa.ChunkedArray) -> pa.Array:
    """A column in one piece."""
    import pyarrow as pa

    pieces = column.combine_chunks()
    return pieces if isinstance(pieces, pa.Array) else pa.concat_arrays(pieces.chunks)


def _distinct(cells: pa.Array) -> tuple[list[Any], pa.Array]:
    """The distinct cells of a column (None among them), and the place of each row's among them."""
    import pyarrow as pa

    if pa.types.is_dictionary(cells.type):
        values, places = cells.dictionary.to_pylist(), cells.indices
        if cells.null_count:
            values, places = [*values, None], places.fill_null(len(values))
    else:
        encoded = cells.dictionary_encode(null_encoding="encode")
        values, places = encoded.dictionary.to_pylist(), encoded.indices
    return values, places


def _rows_with(of_cells: Sequence[bool], places: pa.Array) -> int:
    """How many rows have a cell of which something holds."""
    import numpy as np

    return int(np.bincount(places, minlength=len(of_cells)) @ np.array(of_cells, dtype=int)) if any(of_cells) else 0


def _of_rows(cells: Sequence[Any], places: pa.Array) -> np.ndarray:
    """The cell of each row as an object, (rows,); a block at a time, beside which places take no memory again."""
    import numpy as np

    distinct, found = np.empty(len(cells), dtype=object), np.empty(len(places), dtype=object)
    distinct[:] = cells
    for start in range(0, len(places), BLOCK):
        found[start : start + BLOCK] = distinct[places[start : start + BLOCK]]
    return found


def _refuse(table: ReleasedTable | StoredTable, variable: Variable, what: str, count: int) -> None:
    if count:
        raise CannotBeWritten(
            f"{table.name}.{variable.name}: {count} cell(s) are {what}, which this format cannot hold"
        )


def write_sav(table: ReleasedTable | StoredTable, path: Path, language: Language, *, mark: Mark) -> None:
    """Write a table for SPSS: variable and value labels in one language, user-missing codes, measure, dates and a file label.

    The bytes hold the time of writing: the content hash of the rows names what is in it. Missing text is empty text, declared
    missing. Of a stored table one column at a time is read, since the writer wants all that it writes at once. Raises CannotBeWritten
    for a name, a label or text that SPSS would cut, refuse or not tell from missing.
    """
    import pyreadstat

    variables = table.described.variables
    _refuse_names(table)
    _refuse_labels(table, language)
    frame = _spss_frame(table)
    path.parent.mkdir(parents=True, exist_ok=True)
    pyreadstat.write_sav(
        frame, path,
        file_label=file_label(table, language, mark=mark),
        column_labels={one.name: one.label[language] for one in variables},
        variable_value_labels={
            one.name: labels for one in variables if (labels := _spss_labels(one, language))
        },
        missing_ranges={one.name: ranges for one in variables if (ranges := _spss_missing(one))},
        variable_measure={one.name: one.measure for one in variables},
        variable_format={one.name: spss for one in variables if (spss := _spss_format(one))},
        row_compress=True,
    )  # fmt: skip


def file_label(table: ReleasedTable | StoredTable, language: Language, *, mark: Mark) -> str:
    """What an SPSS file calls itself, in at most 64 bytes: the mark, the table, and what a row is as far as there is room."""
    said = f"{mark + ': ' if mark else ''}{table.name}. {table.described.description[language]}"
    return said.encode()[:FILE_LABEL_BYTES].decode(errors="ignore").rstrip()


def _spss_frame(table: ReleasedTable | StoredTable) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    columns: dict[str, Any] = {}
    for one in table.described.variables:
        cells = _one(table.column(one.name))
        if one.type == "text":
            texts, places = _distinct(cells)
            is_spoiled = [text is not None and (not text.strip() or text != text.rstrip(" ")) for text in texts]
            _refuse(table, one, "empty, or end in a space", _rows_with(is_spoiled, places))
            columns[one.name] = pd.Series(_of_rows([text or "" for text in texts], places), dtype=object)
        elif one.type == "date":
            columns[one.name] = pd.Series(_of_rows(*_distinct(cells)), dtype=object)
        else:
            # Whole numbers too: haven loses the missing ranges of what is written as an integer.
            kind = _floating(cells)
            numbers = cells.cast(kind, safe=False)
            taken = pa.array([float(reason.code) for reason in one.missing], kind)
            if len(taken):
                _refuse(table, one, "codes of missing values", pc.sum(pc.is_in(numbers, taken)).as_py() or 0)
            if one.name in table.reasons:
                numbers = pc.coalesce(numbers, table.reasons[one.name].cast(kind))
            columns[one.name] = pd.Series(numbers.to_numpy(zero_copy_only=False))
    return pd.DataFrame(columns, copy=False)


def _floating(cells: pa.Array) -> pa.DataType:
    """The smallest type of number with a point that holds numbers as they are: half of the memory for small whole ones."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_integer(cells.type):
        return pa.float32() if pa.types.is_boolean(cells.type) else pa.float64()
    least, most = pc.min_max(cells).values()
    is_small = not least.is_valid or -EXACT_IN_HALF < least.as_py() <= most.as_py() < EXACT_IN_HALF
    return pa.float32() if is_small else pa.float64()


def _spss_labels(variable: Variable, language: Language) -> dict[Any, str]:
    """Value labels, and those of the user-missing codes."""
    is_text = variable.type == "text"
    labels: dict[Any, str] = {
        (value if is_text else float(value)): label[language] for value, label in variable.values.items()
    }
    return labels | {float(one.code): one.label[language] for one in variable.missing}


def _spss_missing(variable: Variable) -> list[Any]:
    if variable.type == "text":
        return [] if variable.is_required else [""]
    if not variable.missing:
        return []
    codes = sorted(one.code for one in variable.missing)
    return [{"lo": codes[0], "hi": codes[-1]}] if len(codes) > 3 else list(codes)


def _spss_format(variable: Variable) -> str | None:
    if variable.type in ("integer", "boolean"):
        return "F8.0"
    return "F8.3" if variable.type == "decimal" else None


def _refuse_names(table: ReleasedTable | StoredTable) -> None:
    names = [one.name for one in table.described.variables]
    bad = [
        name for name in names
        if len(name.encode()) > NAME_BYTES or name.upper() in RESERVED or not name[:1].isalpha() or name.endswith(".")
    ]  # fmt: skip
    folded = [name.lower() for name in names]
    bad += [name for name in names if folded.count(name.lower()) > 1]
    if bad:
        raise CannotBeWritten(f"{table.name}: SPSS takes no column called {', '.join(sorted(set(bad)))}")


def _refuse_labels(table: ReleasedTable | StoredTable, language: Language) -> None:
    for one in table.described.variables:
        values = list(_spss_labels(one, language).values())
        if len(one.label[language].encode()) > LABEL_BYTES or any(
            len(text.encode()) > VALUE_LABEL_BYTES for text in values
        ):
            raise CannotBeWritten(f"{table.name}.{one.name}: a label in {language} is longer than SPSS takes")


def _json(content: Mapping[str, Any] | Sequence[Any]) -> str:
    return json.dumps(content, ensure_ascii=False, sort_keys=True)
