"""Bad deliveries on purpose: a good one in which exactly one thing is made wrong, to see that the gate names it.

Each mutation rewrites a delivery in place, in its own form, and keeps the manifest true to the files unless that is
what is wrong. What rule must fire stands beside it.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from orchestration.deliveries.contracts import Column, Organisation, Table, read_contracts
from orchestration.simulation.delivery import EXPECTATIONS, describe_file, is_numeric_code, write_sav, write_xlsx

Rewrite = Callable[[Organisation, Table, pd.DataFrame], tuple[Table, pd.DataFrame]]


@dataclass(frozen=True)
class Mutation:
    """One thing that can be wrong with a delivery, and the code of the rule that must reject it."""

    name: str
    rule: str
    why: str


MUTATIONS: dict[str, Mutation] = {
    mutation.name: mutation
    for mutation in (
        Mutation("truncated_file", "file.size", "A transfer that broke off leaves the beginning of a file."),
        Mutation("wrong_hash", "file.hash", "A file that changed after its manifest was made is not what was sent."),
        Mutation("missing_column", "column.missing", "An export whose query lost a column."),
        Mutation(
            "renamed_column", "column.renamed", "A new version of the partner's system calls a column differently."
        ),
        Mutation("unknown_code", "value.code", "A code that no contract explains, in one row."),
        Mutation("empty_table", "table.empty", "An export that ran before its source was filled: headers and no row."),
    )
}


class CannotMutate(ValueError):
    """This delivery has nothing that the mutation could make wrong, such as a column of codes."""


def mutate(delivery: Path, name: str, expectations: Path = EXPECTATIONS) -> None:
    """Make one thing wrong in the delivery folder `delivery`; `name` is a key of MUTATIONS.

    Raises KeyError for an unknown name, and CannotMutate where the contract has nothing to make wrong.
    """
    MUTATIONS[name]
    manifest = json.loads((delivery / "manifest.json").read_text(encoding="utf-8"))
    organisation = read_contracts(expectations)[manifest["organisation"]]
    if name == "truncated_file":
        path = delivery / manifest["files"][0]["name"]
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    elif name == "wrong_hash":
        file = manifest["files"][0]
        file["sha256"] = file["sha256"][::-1]
        _write_manifest(delivery, manifest)
    else:
        target, rewrite = _REWRITES[name]
        _rewrite(delivery, manifest, organisation, target(organisation), rewrite)


# which table ---------------------------------------------------------------------------------------------------------
def _first_table(organisation: Organisation) -> Table:
    return organisation.tables[0]


def _coded_table(organisation: Organisation) -> Table:
    for table in organisation.tables:
        if any(column.type == "code" and column.keep for column in table.columns):
            return table
    raise CannotMutate(f"{organisation.name} delivers no codes")


def _unreferenced_table(organisation: Organisation) -> Table:
    """A table that may not be empty and that no other refers to, so that emptying it breaks one rule only."""
    referenced = {
        column.references.split(".")[0]
        for table in organisation.tables
        for column in table.columns
        if column.references
    }
    for table in organisation.tables:
        if not table.may_be_empty and table.name not in referenced:
            return table
    raise CannotMutate(f"every table of {organisation.name} is referred to or may be empty")


# what is done to it --------------------------------------------------------------------------------------------------
def _expendable(table: Table) -> Column:
    """A column that must be there and is in no key."""
    return next(
        column for column in table.columns if column.is_required and column.keep and column.name not in table.key
    )


def _drop_column(_: Organisation, table: Table, frame: pd.DataFrame) -> tuple[Table, pd.DataFrame]:
    lost = _expendable(table)
    kept = tuple(column for column in table.columns if column is not lost)
    return replace(table, columns=kept), frame.drop(columns=lost.source)


def _rename_column(_: Organisation, table: Table, frame: pd.DataFrame) -> tuple[Table, pd.DataFrame]:
    old = _expendable(table)
    new = replace(old, source=f"{old.source}_2")
    columns = tuple(new if column is old else column for column in table.columns)
    return replace(table, columns=columns), frame.rename(columns={old.source: new.source})


def _change_code(_: Organisation, table: Table, frame: pd.DataFrame) -> tuple[Table, pd.DataFrame]:
    column = next(column for column in table.columns if column.type == "code" and column.keep)
    known = {code.source for code in column.codes} | set(column.missing)
    unknown = next(str(number) for number in range(77, 99) if str(number) not in known)
    values = frame[column.source].to_numpy().copy()
    values[0] = float(unknown) if values.dtype.kind == "f" else unknown
    return table, frame.assign(**{column.source: values})


def _empty(_: Organisation, table: Table, frame: pd.DataFrame) -> tuple[Table, pd.DataFrame]:
    return table, frame.iloc[:0]


_REWRITES: Mapping[str, tuple[Callable[[Organisation], Table], Rewrite]] = {
    "missing_column": (_first_table, _drop_column),
    "renamed_column": (_first_table, _rename_column),
    "unknown_code": (_coded_table, _change_code),
    "empty_table": (_unreferenced_table, _empty),
}


# reading and writing the files back ----------------------------------------------------------------------------------
def _rewrite(
    delivery: Path, manifest: dict[str, Any], organisation: Organisation, target: Table, rewrite: Rewrite
) -> None:
    entry = next(entry for entry in manifest["tables"] if entry["table"] == target.name)
    file = next(file for file in manifest["files"] if file["name"] == entry["file"])
    path = delivery / entry["file"]
    form = path.suffix.removeprefix(".")
    created_at = datetime.fromisoformat(manifest["created_at"]).replace(tzinfo=None)
    if form == "xlsx":
        sheets = [(table, _read_sheet(path, table)) for table in organisation.tables]
        changed = [rewrite(organisation, *sheet) if sheet[0] is target else sheet for sheet in sheets]
        write_xlsx(path, changed, created_at)
        rows = next(len(frame) for table, frame in changed if table.name == target.name)
    else:
        read = _read_sav(path, target) if form == "sav" else _read_csv(path, file)
        table, frame = rewrite(organisation, target, read)
        if form == "sav":
            write_sav(path, table, frame, created_at)
        else:
            _write_csv(path, frame, file)
        rows = len(frame)
    written = describe_file(path)
    file["bytes"], file["sha256"], entry["rows"] = written.size, written.sha256, rows
    _write_manifest(delivery, manifest)


def _write_manifest(delivery: Path, manifest: Mapping[str, Any]) -> None:
    (delivery / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def _read_csv(path: Path, file: Mapping[str, Any]) -> pd.DataFrame:
    with path.open(encoding=file["encoding"], newline="") as stream:
        header, *rows = csv.reader(stream, delimiter=file["delimiter"])
    return pd.DataFrame(rows, columns=header, dtype=object)


def _write_csv(path: Path, frame: pd.DataFrame, file: Mapping[str, Any]) -> None:
    newline = "\r\n" if b"\r\n" in path.read_bytes()[:10_000] else "\n"
    with path.open("w", encoding=file["encoding"], newline="") as stream:
        writer = csv.writer(stream, delimiter=file["delimiter"], lineterminator=newline)
        writer.writerow(frame.columns)
        writer.writerows(frame.to_numpy().tolist())


def _typed(values: pd.Series, column: Column, *, numeric_codes: bool) -> Any:
    """Cells of a workbook or SPSS file in the shape that the writers take."""
    if column.type == "date":
        return pd.to_datetime(values.replace("", None)).to_numpy().astype("datetime64[s]")
    if column.type in ("integer", "decimal") or (numeric_codes and is_numeric_code(column)):
        return pd.to_numeric(values, errors="coerce").to_numpy(dtype=float)
    return values.where(values.notna(), "").to_numpy(dtype=object)


def _read_sheet(path: Path, table: Table) -> pd.DataFrame:
    from python_calamine import CalamineWorkbook

    header, *rows = CalamineWorkbook.from_path(str(path)).get_sheet_by_name(table.name).to_python(skip_empty_area=False)
    cells = pd.DataFrame(rows, columns=header, dtype=object)
    return pd.DataFrame(
        {column.source: _typed(cells[column.source], column, numeric_codes=False) for column in table.columns}
    )


def _read_sav(path: Path, table: Table) -> pd.DataFrame:
    import pyreadstat

    cells, _ = pyreadstat.read_sav(str(path), user_missing=True)
    return pd.DataFrame(
        {column.source: _typed(cells[column.source], column, numeric_codes=True) for column in table.columns}
    )
