"""Bad deliveries on purpose: a good one in which exactly one thing is made wrong, to see that the gate names it.

Each mutation rewrites a delivery in place, in its own form, and keeps the manifest true to the files unless that is
what is wrong. What rule must fire stands beside it. There are three kinds: what the manifest says, what the files are
(bytes), and what the tables hold (rows).
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from orchestration.deliveries.contracts import Column, Organisation, Table, spoken_today
from orchestration.simulation.delivery import EXPECTATIONS, describe_file, is_numeric_code, write_sav, write_xlsx

Frame = pd.DataFrame
Change = Callable[[Path, dict[str, Any], Organisation], None]
Rewrite = Callable[[Organisation, Table, Frame], tuple[Table, Frame]]


@dataclass(frozen=True)
class Mutation:
    """One thing that can be wrong with a delivery: the rule that must say so, and those that may say so too.

    Without a rule, the delivery is still good: what is changed is a freedom that partners have. A warning does not keep
    the delivery out.
    """

    name: str
    rule: str
    why: str
    change: Change
    also: tuple[str, ...] = ()
    is_warning: bool = False


class CannotMutate(ValueError):
    """This delivery has nothing that the mutation could make wrong, such as a column of codes."""


MUTATIONS: dict[str, Mutation] = {}
_also: tuple[str, ...]


def mutate(delivery: Path, name: str, expectations: Path = EXPECTATIONS) -> None:
    """Make one thing wrong in the delivery folder `delivery`; `name` is a key of MUTATIONS.

    Raises KeyError for an unknown name, and CannotMutate where there is nothing to make wrong; the delivery is then as
    it was.
    """
    mutation = MUTATIONS[name]
    manifest = json.loads((delivery / "manifest.json").read_text(encoding="utf-8"))
    mutation.change(delivery, manifest, spoken_today(expectations)[manifest["organisation"]])


def _add(name: str, rule: str, why: str, change: Change, also: Sequence[str] = (), *, is_warning: bool = False) -> None:
    assert name not in MUTATIONS, name  # noqa: S101 - a name twice would hide a mutation
    MUTATIONS[name] = Mutation(name, rule, why, change, tuple(also), is_warning)


# what the manifest says ----------------------------------------------------------------------------------------------
def _saying(edit: Callable[[dict[str, Any], Organisation], Any]) -> Change:
    def change(delivery: Path, manifest: dict[str, Any], organisation: Organisation) -> None:
        edit(manifest, organisation)
        _write_manifest(delivery, manifest)

    return change


def _bytes_of_manifest(content: bytes) -> Change:
    return lambda delivery, manifest, organisation: _nothing((delivery / "manifest.json").write_bytes(content))


def _nothing(_: Any) -> None:
    return None


def _only_csv(manifest: Mapping[str, Any]) -> dict[str, Any]:
    file: dict[str, Any] = manifest["files"][0]
    if not file["name"].endswith(".csv"):
        raise CannotMutate("no CSV file is delivered")
    return file


def _cutoff(manifest: dict[str, Any], organisation: Organisation) -> None:
    manifest["cutoff_on"] = None if organisation.kind == "registry" else "2025-12-31"


def _deleted(**keys: str) -> Callable[[dict[str, Any], Organisation], Any]:
    def edit(manifest: dict[str, Any], organisation: Organisation) -> None:
        manifest["deletions"] = [{"table": keys.get("table", organisation.tables[0].name), "keys": [{"zomaar": "1"}]}]

    return edit


# A wrong name leaves the right file undeclared; a wrong period is also not that of the cut-off and of the rows.
_ALSO_SAID = {"file.name": ("file.undeclared",), "manifest.place": ("manifest.cutoff", "value.range")}

for _name, _rule, _why, _edit in (
    ("manifest_field_missing", "manifest.unreadable", "A manifest made by hand forgets who to ask.", lambda m, o: m.pop("contact")),
    ("manifest_field_added", "manifest.unreadable", "A manifest of another project says more than agreed.", lambda m, o: m.update(remark="-")),
    ("manifest_rows_negative", "manifest.unreadable", "A count that is a code for an error.", lambda m, o: m["tables"][0].update(rows=-1)),
    ("manifest_rows_text", "manifest.unreadable", "A count in words.", lambda m, o: m["tables"][0].update(rows="veel")),
    ("manifest_hash_short", "manifest.unreadable", "A checksum of another kind.", lambda m, o: m["files"][0].update(sha256="abc")),
    ("manifest_sequence_negative", "manifest.unreadable", "A counter that ran over.", lambda m, o: m.update(sequence=-1)),
    ("manifest_id_with_folder", "manifest.unreadable", "A delivery id that is a path.", lambda m, o: m.update(delivery_id="../x")),
    ("manifest_other_organisation", "manifest.place", "A delivery in another organisation's folder.", lambda m, o: m.update(organisation="elsewhere")),
    ("manifest_other_period", "manifest.place", "A delivery in another period's folder.", lambda m, o: m.update(period="2019-Q1" if o.cadence == "quarterly" else "2019")),
    ("manifest_period_unknown", "manifest.place", "A fifth quarter.", lambda m, o: m.update(period="2025-Q5")),
    ("manifest_other_id", "manifest.place", "A copied manifest names the delivery before.", lambda m, o: m.update(delivery_id="another")),
    ("manifest_schema_version", "manifest.schema_version", "A partner who moved to a version that was not agreed.", lambda m, o: m.update(schema_version="99")),
    ("manifest_table_missing", "manifest.tables", "An export that leaves a table out.", lambda m, o: m["tables"].pop()),
    ("manifest_table_twice", "manifest.tables", "An export that names a table twice.", lambda m, o: m["tables"].append(m["tables"][0])),
    ("manifest_table_unknown", "manifest.tables", "An export that names a table of its own.", lambda m, o: m["tables"][0].update(table="overig")),
    ("manifest_table_elsewhere", "manifest.tables", "A table in a file that is not delivered.", lambda m, o: m["tables"][0].update(file="nergens.csv")),
    ("manifest_cutoff", "manifest.cutoff", "A registry without its cut-off, or a partner with one.", _cutoff),
    ("manifest_deletion_table", "manifest.deletions", "A deletion in a table that nobody agreed on.", _deleted(table="overig")),
    ("manifest_deletion_key", "manifest.deletions", "A deletion that does not name the key of its table.", _deleted()),
    ("manifest_encoding", "manifest.form", "An export in another encoding than agreed.", lambda m, o: _only_csv(m).update(encoding="utf-16")),
    ("manifest_delimiter", "manifest.form", "An export with another delimiter than agreed.", lambda m, o: _only_csv(m).update(delimiter="|")),
    ("manifest_decimal", "manifest.form", "An export from a computer set to another language.", lambda m, o: _only_csv(m).update(decimal="'")),
    ("manifest_date_format", "manifest.form", "An export with American dates.", lambda m, o: _only_csv(m).update(date_format="%m/%d/%Y")),
    ("file_name_with_folder", "file.name", "A file name that leads out of the delivery.", lambda m, o: _rename_entry(m, "../" + m["files"][0]["name"])),
    ("file_name_unknown", "file.name", "A file with a name of its own.", lambda m, o: _rename_entry(m, "export.csv")),
    ("file_name_twice", "file.name", "A manifest that names a file twice.", lambda m, o: m["files"].append(m["files"][0])),
    ("file_hash_of_another", "file.hash", "A checksum that was copied from another file.", lambda m, o: m["files"][0].update(sha256=hashlib.sha256(b"").hexdigest())),
    ("wrong_hash", "file.hash", "A file that changed after its manifest was made is not what was sent.", lambda m, o: m["files"][0].update(sha256=m["files"][0]["sha256"][::-1])),
    ("rows_fewer_than_said", "table.rows", "A table that was cut off after it was counted.", lambda m, o: m["tables"][0].update(rows=m["tables"][0]["rows"] + 1)),
    ("rows_more_than_said", "table.rows", "A table that grew after it was counted.", lambda m, o: m["tables"][0].update(rows=m["tables"][0]["rows"] - 1)),
):  # fmt: skip
    _add(_name, _rule, _why, _saying(_edit), _ALSO_SAID.get(_rule, ()))


def _rename_entry(manifest: dict[str, Any], name: str) -> None:
    old = manifest["files"][0]["name"]
    manifest["files"][0]["name"] = name
    for entry in manifest["tables"]:
        if entry["file"] == old:
            entry["file"] = name


_add(
    "manifest_broken_off",
    "manifest.unreadable",
    "A manifest whose transfer broke off.",
    _bytes_of_manifest(b'{"organisation": "rn"'),
)
_add(
    "manifest_other_encoding",
    "manifest.unreadable",
    "A manifest saved by an editor in UTF-16.",
    _bytes_of_manifest("{}".encode("utf-16")),
)
_add("manifest_list", "manifest.unreadable", "A manifest that holds a list of manifests.", _bytes_of_manifest(b"[]"))


# what the files are --------------------------------------------------------------------------------------------------
def _files(edit: Callable[[Path, dict[str, Any]], Any], *, is_signed: bool = False, form: str = "") -> Change:
    """Change the first file (of a form); `is_signed` keeps size and checksum in the manifest true to it."""

    def change(delivery: Path, manifest: dict[str, Any], organisation: Organisation) -> None:
        file = manifest["files"][0]
        if form and not file["name"].endswith(f".{form}"):
            raise CannotMutate(f"no file of the form {form} is delivered")
        path = delivery / file["name"]
        edit(path, file)
        if is_signed:
            written = describe_file(path)
            file["bytes"], file["sha256"] = written.size, written.sha256
            _write_manifest(delivery, manifest)

    return change


def _bytes(edit: Callable[[bytes], bytes]) -> Callable[[Path, dict[str, Any]], Any]:
    return lambda path, file: path.write_bytes(edit(path.read_bytes()))


def _second_line(edit: Callable[[bytes, bytes], bytes]) -> Callable[[Path, dict[str, Any]], Any]:
    """Change the first row under the header; `edit` gets the line and the delimiter."""

    def change(path: Path, file: dict[str, Any]) -> None:
        header, line, rest = path.read_bytes().split(b"\n", 2)
        path.write_bytes(b"\n".join((header, edit(line, file["delimiter"].encode()), rest)))

    return change


def _to_link(path: Path, _: dict[str, Any]) -> None:
    aside = path.with_name(path.name + ".data")
    path.rename(aside)
    path.symlink_to(aside.name)


for _name, _rule, _why, _step, _signed, _form, _also in (
    ("truncated_file", "file.size", "A transfer that broke off leaves the beginning of a file.", _bytes(lambda b: b[: len(b) * 2 // 3]), False, "", ()),
    ("file_longer", "file.size", "A file that was appended to after its manifest was made.", _bytes(lambda b: b + b"\n"), False, "", ()),
    ("file_emptied", "file.size", "A transfer that made the file and no more.", _bytes(lambda b: b""), False, "", ()),
    ("file_byte_changed", "file.hash", "A bit that fell over on the way.", _bytes(lambda b: b[:-3] + bytes([b[-3] ^ 1]) + b[-2:]), False, "", ()),
    ("file_missing", "file.missing", "A file that was forgotten.", lambda path, file: path.unlink(), False, "", ()),
    ("file_added", "file.undeclared", "A file that nobody asked for.", lambda path, file: path.with_name("extra.txt").write_bytes(b"x"), False, "", ()),
    ("file_is_link", "file.name", "A link in the place of a file.", _to_link, False, "", ("file.undeclared",)),
    ("file_of_noise", "file.unreadable", "A file of another program under the agreed name.", _bytes(lambda b: b"\x07\x99" * 500), True, "xlsx", ()),
    ("file_of_noise_sav", "file.unreadable", "A file of another program under the agreed name.", _bytes(lambda b: b"\x07\x99" * 500), True, "sav", ()),
    ("file_cut_and_signed", "file.unreadable", "A broken file that was signed as it was.", _bytes(lambda b: b[: len(b) // 2]), True, "xlsx", ()),
    ("file_cut_and_signed_sav", "file.unreadable", "A broken file that was signed as it was.", _bytes(lambda b: b[: len(b) // 2]), True, "sav", ("table.rows",)),
    ("file_without_content", "column.missing", "An export that ran and wrote nothing.", _bytes(lambda b: b""), True, "csv", ()),
    ("encoding_broken", "file.encoding", "A byte that the declared encoding does not have.", _second_line(lambda line, mark: line.replace(mark, b"\x81" + mark, 1)), True, "csv", ("value.pattern", "file.unreadable")),
    ("row_with_a_cell_more", "file.unreadable", "A delimiter in a text without quotes.", _second_line(lambda line, mark: line.rstrip(b"\r") + mark + b"x"), True, "csv", ()),
    ("row_with_a_cell_less", "file.unreadable", "A row that was cut off.", _second_line(lambda line, mark: line.rpartition(mark)[0]), True, "csv", ()),
    ("quote_never_closed", "file.unreadable", "A quote that swallows the rest of the file.", _second_line(lambda line, mark: b'"' + line), True, "csv", ("table.rows",)),
    ("other_delimiter", "column.missing", "A file with commas where semicolons were declared.", lambda path, file: path.write_bytes(path.read_bytes().replace(file["delimiter"].encode(), b"|")), True, "csv", ("column.undeclared",)),
):  # fmt: skip
    _add(_name, _rule, _why, _files(_step, is_signed=_signed, form=_form), _also)


# what the tables hold ------------------------------------------------------------------------------------------------
Where = Callable[[Organisation], tuple[Table, Column]]


def _rows(target: Callable[[Organisation], Table], rewrite: Rewrite) -> Change:
    return lambda delivery, manifest, organisation: _rewrite(
        delivery, manifest, organisation, target(organisation), rewrite
    )


def _first(wanted: Callable[[Table, Column], bool], what: str) -> Where:
    """The first column, in the order of the contract, that is wanted; its table is not one that may be empty."""

    def find(organisation: Organisation) -> tuple[Table, Column]:
        for table in organisation.tables:
            for column in table.columns:
                if not table.may_be_empty and wanted(table, column):
                    return table, column
        raise CannotMutate(f"{organisation.name} delivers no {what}")

    return find


def _cell(where: Where, value: Callable[[Column, Any], Any], *, form: str = "", row: int = 0) -> Change:
    """Change one cell: that of the first row in which the column holds something."""

    def change(delivery: Path, manifest: dict[str, Any], organisation: Organisation) -> None:
        table, column = where(organisation)
        entry = next(entry for entry in manifest["tables"] if entry["table"] == table.name)
        if form and not entry["file"].endswith(f".{form}"):
            raise CannotMutate(f"no table of the form {form} is delivered")

        def rewrite(_: Organisation, same: Table, frame: Frame) -> tuple[Table, Frame]:
            values = frame[column.source].to_numpy().copy()
            held = [place for place, cell in enumerate(values) if not pd.isna(cell) and cell != ""]
            if len(held) <= row:
                raise CannotMutate("the column holds too little")
            values[held[row]] = value(column, values[held[row]])
            return same, frame.assign(**{column.source: values})

        _rewrite(delivery, manifest, organisation, table, rewrite)

    return change


_is_plain = _first(
    lambda table, column: column.is_required and column.keep and column.name not in table.key, "plain column"
)
_integer = _first(lambda table, column: column.type == "integer" and column.keep and not column.missing, "integer")
_decimal = _first(lambda table, column: column.type == "decimal" and column.keep, "decimal number")
_date = _first(lambda table, column: column.type == "date" and column.is_required, "date")
_code = _first(lambda table, column: column.type == "code" and column.keep and column.name not in table.key, "codes")
_lettered = _first(
    lambda table, column: (
        column.type == "code" and any(code.source.lower() != code.source.upper() for code in column.codes)
    ),
    "codes with letters",
)
_national = _first(lambda table, column: column.check == "eleven_proof", "national numbers")
_numbered = _first(
    lambda table, column: bool(column.pattern) and not column.check and column.name in table.key, "numbered key"
)
_ranged = _first(
    lambda table, column: column.type in ("integer", "decimal") and column.maximum is not None, "number with a range"
)
_dated = _first(
    lambda table, column: (
        column.type == "date" and column.maximum in ("period_end", "cutoff") and column.name not in table.key
    ),
    "date that may not lie ahead",
)
_born = _first(lambda table, column: column.reduce == "year", "date of birth")
_referring = _first(lambda table, column: bool(column.references) and not column.check, "reference")
_seeded = _first(lambda table, column: bool(column.seed), "code of a list")


def _unknown(column: Column, old: Any) -> Any:
    known = {code.source for code in column.codes} | set(column.missing)
    new = next(str(number) for number in range(77, 99) if str(number) not in known)
    return float(new) if isinstance(old, float) else new


def _like(old: Any, digits: str) -> str:
    """Another number of the same shape."""
    return "".join(digits if letter.isdigit() else letter for letter in str(old))


def _day(text: str) -> Callable[[Column, Any], Any]:
    return lambda column, old: pd.Timestamp(text).to_datetime64() if not isinstance(old, str) else _spelled(text, old)


def _spelled(day: str, like: str) -> str:
    year, month, number = day.split("-")
    return f"{number}-{month}-{year}" if like[2:3] == "-" else day


def _number(value: float) -> Callable[[Column, Any], Any]:
    return lambda column, old: value if not isinstance(old, str) else str(value).removesuffix(".0")


for _name, _rule, _why, _where, _value, _form, _also in (
    ("value_missing", "value.missing", "A required field that one row lacks.", _is_plain, lambda c, v: "" if isinstance(v, str) else None, "csv", ()),
    ("text_in_a_number", "value.type", "A remark in the place of a number.", _integer, lambda c, v: "onbekend", "csv", ()),
    ("fraction_in_an_integer", "value.type", "A mean in the place of a count.", _integer, lambda c, v: f"{v},5", "csv", ()),
    ("number_in_scientific_notation", "value.type", "A spreadsheet that shortened a number.", _integer, lambda c, v: "1,0E+08", "csv", ()),
    ("number_with_thousands", "value.type", "A spreadsheet that grouped the digits.", _integer, lambda c, v: "1.000", "csv", ()),
    ("other_decimal_mark", "value.type", "A number from a computer set to another language.", _decimal, lambda c, v: str(v).replace(",", "."), "csv", ()),
    ("date_iso", "value.type", "A date in another notation than declared.", _date, lambda c, v: "2024-03-04" if v[2] == "-" else "04-03-2024", "csv", ()),
    ("date_american", "value.type", "A date with slashes.", _date, lambda c, v: "03/04/2024", "csv", ()),
    ("date_two_digit_year", "value.type", "A date with half a year number.", _date, lambda c, v: v[:-4] + v[-2:] if v[2] == "-" else v[2:], "csv", ()),
    ("date_excel_serial", "value.type", "A date that a spreadsheet turned into a number.", _date, lambda c, v: "45355", "csv", ()),
    ("date_impossible", "value.type", "A thirty-first of February.", _date, lambda c, v: "31-02-2024" if v[2] == "-" else "2024-02-31", "csv", ()),
    ("date_with_time", "value.type", "A date with a time behind it.", _date, lambda c, v: f"{v} 00:00", "csv", ()),
    ("leading_zero_lost", "value.pattern", "A number that a spreadsheet read as a number.", _numbered, lambda c, v: v[1:], "csv", ("relation.unknown",)),
    ("id_as_a_fraction", "value.pattern", "A number that was read as a fraction and written again.", _numbered, lambda c, v: f"{v}.0", "csv", ("relation.unknown",)),
    ("id_in_scientific_notation", "value.pattern", "A number that a spreadsheet shortened.", _numbered, lambda c, v: "1,0E+08", "csv", ("relation.unknown",)),
    ("id_with_spaces", "value.pattern", "A number padded to a width.", _numbered, lambda c, v: f" {v}", "csv", ("relation.unknown",)),
    ("id_in_other_digits", "value.pattern", "Digits of another script, which look like digits to a program.", _numbered, lambda c, v: v.translate({ord(str(d)): 0xFF10 + d for d in range(10)}), "csv", ("relation.unknown", "file.encoding")),
    ("national_number_too_short", "value.pattern", "A national number without its leading zero.", _national, lambda c, v: v[1:], "csv", ("value.check",)),
    ("national_number_swapped", "value.check", "Two digits of a national number swapped.", _national, lambda c, v: _swap(v), "csv", ()),
    ("national_number_of_zeros", "value.check", "A national number that is only filled in.", _national, lambda c, v: "000000000", "csv", ()),
    ("unknown_code", "value.code", "A code that no contract explains, in one row.", _code, _unknown, "", ()),
    ("code_in_other_case", "value.code", "A code in small letters.", _lettered, lambda c, v: v.swapcase(), "csv", ()),
    ("code_with_a_space", "value.code", "A code with a space behind it.", _lettered, lambda c, v: f"{v} ", "csv", ()),
    ("label_for_code", "value.code", "A label in the place of its code.", _code, lambda c, v: f"{c.codes[0].label['nl']} (label)", "csv", ()),
    ("number_too_large", "value.range", "A code for missing that nobody declared.", _ranged, _number(1e9), "", ()),
    ("number_too_small", "value.range", "A code for missing that nobody declared.", _ranged, _number(-9.0), "", ()),
    ("date_ahead", "value.range", "A day that had not come when the export was made.", _dated, _day("2049-01-01"), "", ("rule.order",)),
    ("birth_filled_in", "value.range", "A date of birth that is only filled in.", _born, _day("1900-01-01"), "", ()),
    ("article_unknown", "value.seed", "An article of a law that no list has.", _seeded, lambda c, v: "Sr 999zz", "", ("value.pattern",)),
    ("reference_to_nobody", "relation.unknown", "A row about somebody who was not delivered.", _referring, lambda c, v: _like(v, "9"), "", ()),
):  # fmt: skip
    _add(_name, _rule, _why, _cell(_where, _value, form=_form), _also)


def _swap(number: str) -> str:
    """The number with two neighbouring digits swapped that differ."""
    place = next((i for i in range(len(number) - 1) if number[i] != number[i + 1]), None)
    if place is None:
        raise CannotMutate("all digits are the same")
    return number[:place] + number[place + 1] + number[place] + number[place + 2 :]


# which table ---------------------------------------------------------------------------------------------------------
def _first_table(organisation: Organisation) -> Table:
    return organisation.tables[0]


def _long_table(organisation: Organisation) -> Table:
    """The table that most rows belong to: no other refers to it."""
    return _unreferenced(organisation)[-1]


def _unreferenced(organisation: Organisation) -> list[Table]:
    referenced = {
        column.references.split(".")[0]
        for table in organisation.tables
        for column in table.columns
        if column.references
    }
    found = [table for table in organisation.tables if not table.may_be_empty and table.name not in referenced]
    if not found:
        raise CannotMutate(f"every table of {organisation.name} is referred to or may be empty")
    return found


def _unreferenced_table(organisation: Organisation) -> Table:
    """A table that may not be empty and that no other refers to, so that emptying it breaks one rule only."""
    return _unreferenced(organisation)[0]


def _with_rule(kind: str) -> Callable[[Organisation], Table]:
    def find(organisation: Organisation) -> Table:
        for table in organisation.tables:
            if any(rule.kind == kind for rule in table.rules):
                return table
        raise CannotMutate(f"{organisation.name} has no rule {kind}")

    return find


# what is done to it --------------------------------------------------------------------------------------------------
def _expendable(table: Table) -> Column:
    """A column that must be there and is in no key."""
    return next(
        column for column in table.columns if column.is_required and column.keep and column.name not in table.key
    )


def _drop_column(_: Organisation, table: Table, frame: Frame) -> tuple[Table, Frame]:
    lost = _expendable(table)
    kept = tuple(column for column in table.columns if column is not lost)
    return replace(table, columns=kept), frame.drop(columns=lost.source)


def _rename_column(_: Organisation, table: Table, frame: Frame) -> tuple[Table, Frame]:
    old = _expendable(table)
    new = replace(old, source=f"{old.source}_2")
    columns = tuple(new if column is old else column for column in table.columns)
    return replace(table, columns=columns), frame.rename(columns={old.source: new.source})


def _add_column(_: Organisation, table: Table, frame: Frame) -> tuple[Table, Frame]:
    text = next(column for column in table.columns if column.type == "text")
    new = replace(text, name="remark", source="Opmerking")
    return replace(table, columns=(*table.columns, new)), frame.assign(Opmerking="-")


def _double_column(_: Organisation, table: Table, frame: Frame) -> tuple[Table, Frame]:
    return table, pd.concat([frame, frame[[table.columns[0].source]]], axis="columns")


def _reverse_columns(_: Organisation, table: Table, frame: Frame) -> tuple[Table, Frame]:
    columns = table.columns[::-1]
    return replace(table, columns=columns), frame[[column.source for column in columns]]


def _empty(_: Organisation, table: Table, frame: Frame) -> tuple[Table, Frame]:
    return table, frame.iloc[:0]


def _repeat_row(_: Organisation, table: Table, frame: Frame) -> tuple[Table, Frame]:
    return table, pd.concat([frame, frame.iloc[:1]], ignore_index=True)


def _keep_share(share: float) -> Rewrite:
    return lambda organisation, table, frame: (table, frame.iloc[: int(len(frame) * share)])


def _two_under_one(_: Organisation, table: Table, frame: Frame) -> tuple[Table, Frame]:
    """Two rows that say the same where no two may."""
    rule = next(rule for rule in table.rules if rule.kind == "unique")
    columns = [table.column(name).source for name in rule.columns]
    changed = frame.copy()
    for name in columns:
        values = changed[name].to_numpy().copy()
        values[1] = values[0]
        changed[name] = values
    return table, changed


def _swap_days(_: Organisation, table: Table, frame: Frame) -> tuple[Table, Frame]:
    """Beginning and end swapped in every row that has both."""
    rule = next(rule for rule in table.rules if rule.kind == "order")
    first, second = (table.column(name).source for name in rule.columns)
    both = (frame[first].notna() & frame[second].notna() & (frame[first] != "") & (frame[second] != "")).to_numpy()
    both &= (frame[first] != frame[second]).to_numpy()
    if not both.any():
        raise CannotMutate("no row has both days")
    one, two = frame[first].to_numpy().copy(), frame[second].to_numpy().copy()
    one[both], two[both] = two[both], one[both].copy()
    return table, frame.assign(**{first: one, second: two})


def _blank(kind: str) -> Rewrite:
    """The column of a rule left empty throughout."""

    def rewrite(_: Organisation, table: Table, frame: Frame) -> tuple[Table, Frame]:
        rule = next(rule for rule in table.rules if rule.kind == kind)
        name = table.column(rule.columns[0]).source
        values = frame[name].to_numpy().copy()
        values[:] = float("nan") if values.dtype.kind == "f" else "NaT" if values.dtype.kind == "M" else ""
        return table, frame.assign(**{name: values})

    return rewrite


for _name, _rule, _why, _target, _rewritten, _also in (
    ("missing_column", "column.missing", "An export whose query lost a column.", _first_table, _drop_column, ()),
    ("renamed_column", "column.renamed", "A new version of the partner's system calls a column differently.", _first_table, _rename_column, ()),
    ("column_added", "column.undeclared", "A column of remarks, in which anything may stand.", _first_table, _add_column, ()),
    ("columns_in_other_order", "", "The order of columns is free.", _first_table, _reverse_columns, ()),
    ("empty_table", "table.empty", "An export that ran before its source was filled: headers and no row.", _unreferenced_table, _empty, ("rows.shrunk",)),
    ("row_twice", "key.unique", "A join that met a row twice.", _long_table, _repeat_row, ()),
    ("first_row_twice", "key.unique", "A person who was exported twice.", _first_table, _repeat_row, ("rule.unique",)),
    ("two_people_under_one_number", "rule.unique", "Two people who were given one number.", _with_rule("unique"), _two_under_one, ("value.type",)),
    ("days_swapped", "rule.order", "Beginning and end in each other's column.", _with_rule("order"), _swap_days, ("value.range", "rows.shrunk", "value.missing", "history.dates")),
    ("required_when_blank", "rule.required_when", "A rating that was done, on no day.", _with_rule("required_when"), _blank("required_when"), ()),
    ("answers_blank", "rule.missing_share", "A failed export of answers.", _with_rule("missing_share"), _blank("missing_share"), ("value.missing",)),
    ("rows_lost", "rows.shrunk", "A selection that lost one row in twenty.", _long_table, _keep_share(0.95), ()),
    ("half_the_rows_lost", "rows.shrunk", "A selection of one office.", _long_table, _keep_share(0.5), ()),
):  # fmt: skip
    _add(_name, _rule, _why, _rows(_target, _rewritten), _also)


def _column_twice(delivery: Path, manifest: dict[str, Any], organisation: Organisation) -> None:
    _only_csv(manifest)
    _rewrite(delivery, manifest, organisation, organisation.tables[0], _double_column)


_add("column_twice", "column.duplicate", "A query that selects a column twice.", _column_twice)


# what was delivered before and now says something else ---------------------------------------------------------------
def _named_table(name: str) -> Callable[[Organisation], Table]:
    def find(organisation: Organisation) -> Table:
        for table in organisation.tables:
            if table.name == name:
                return table
        raise CannotMutate(f"{organisation.name} delivers no {name}")

    return find


def _values(change: Callable[[Table, Frame], Mapping[str, Any]]) -> Rewrite:
    """Put whole columns in the place of others, by header."""
    return lambda _, table, frame: (table, frame.assign(**change(table, frame)))


def _as_numbers(cells: Any) -> Any:
    return pd.to_numeric(pd.Series(list(cells)), errors="coerce").to_numpy(dtype=float)


def _like_cells(numbers: Any, cells: pd.Series, where: Any) -> Any:
    """Numbers in the spelling of the cells that they replace, where `where` holds."""
    old = cells.to_numpy(dtype=object).copy()
    new = [
        str(int(number)) if isinstance(cell, str) else float(number)
        for number, cell in zip(numbers[where], old[where], strict=True)
    ]
    old[where] = new
    return old if any(isinstance(cell, str) for cell in old) else old.astype(float)


def _answers(change: Callable[[Any], Any], items: slice) -> Rewrite:
    """Change the answers (1 to 5) to some of the items."""

    def new(table: Table, frame: Frame) -> Mapping[str, Any]:
        item, response = table.column("item"), table.column("response")
        chosen = [code.source for code in item.codes[items]]
        numbers = _as_numbers(frame[response.source])
        given = (
            frame[item.source].map(lambda cell: _spelling(cell) in chosen).to_numpy() & (numbers >= 1) & (numbers <= 5)
        )
        return {response.source: _like_cells(change(numbers), frame[response.source], given)}

    return _values(new)


def _spelling(cell: Any) -> str:
    return str(int(cell)) if isinstance(cell, float) else str(cell)


def _codes_swapped(name: str, first: int = 0, second: int = 1) -> Rewrite:
    """Two codes of a column in each other's place."""

    def new(table: Table, frame: Frame) -> Mapping[str, Any]:
        column = table.column(name)
        one, two = column.codes[first].source, column.codes[second].source
        swap = {one: two, two: one}
        cells = [
            cell if _spelling(cell) not in swap else type(cell)(swap[_spelling(cell)])
            for cell in frame[column.source].to_numpy().tolist()
        ]
        return {column.source: cells}

    return _values(new)


def _columns_swapped(first: str, second: str) -> Rewrite:
    return _values(
        lambda table, frame: {
            table.column(first).source: frame[table.column(second).source].to_numpy(),
            table.column(second).source: frame[table.column(first).source].to_numpy(),
        }
    )


def _days(name: str, change: Callable[[pd.Timestamp], pd.Timestamp]) -> Rewrite:
    """Every day of a column changed, in its own spelling."""

    def new(table: Table, frame: Frame) -> Mapping[str, Any]:
        cells = frame[table.column(name).source]

        def one(cell: Any) -> Any:
            if pd.isna(cell) or cell == "":
                return cell if isinstance(cell, str) else np.datetime64("NaT")
            if not isinstance(cell, str):
                return change(pd.Timestamp(cell)).to_datetime64().astype("datetime64[s]")
            day = pd.to_datetime(cell, format="%d-%m-%Y" if cell[2:3] == "-" else "%Y-%m-%d")
            return _spelled(change(day).date().isoformat(), cell)

        changed = [one(cell) for cell in cells]
        is_text = any(isinstance(cell, str) for cell in changed)
        return {table.column(name).source: changed if is_text else np.array(changed, dtype="datetime64[s]")}

    return _values(new)


def _day_and_month_swapped(day: pd.Timestamp) -> pd.Timestamp:
    return day if day.day > 12 else day.replace(day=day.month, month=day.day)


def _first_cells(name: str, count: int, value: Callable[[int, Any], Any]) -> Rewrite:
    """The first cells of a column that hold something, one after another."""

    def new(table: Table, frame: Frame) -> Mapping[str, Any]:
        values = frame[table.column(name).source].to_numpy().copy()
        held = [place for place, cell in enumerate(values) if not pd.isna(cell) and cell != ""][:count]
        if len(held) < count:
            raise CannotMutate("the column holds too little")
        for number, place in enumerate(held):
            values[place] = value(number, values[place])
        return {table.column(name).source: values}

    return _values(new)


def _two_exchanged(name: str) -> Rewrite:
    """What two rows say of a column, exchanged."""

    def new(table: Table, frame: Frame) -> Mapping[str, Any]:
        values = frame[table.column(name).source].to_numpy().copy()
        other = next((place for place, cell in enumerate(values) if cell != values[0]), None)
        if other is None:
            raise CannotMutate("all rows say the same")
        values[0], values[other] = values[other], values[0]
        return {table.column(name).source: values}

    return _values(new)


def _scaled(name: str, factor: float) -> Rewrite:
    """A column of numbers in another unit."""

    def new(table: Table, frame: Frame) -> Mapping[str, Any]:
        cells = frame[table.column(name).source]
        mark = "," if any("," in str(cell) for cell in cells) else "."
        if not any(isinstance(cell, str) for cell in cells):
            return {table.column(name).source: cells.to_numpy(dtype=float) * factor}
        spelled = [
            str(round(float(cell.replace(mark, ".")) * factor, 4)).replace(".", mark) if cell else cell
            for cell in cells
        ]
        return {table.column(name).source: spelled}

    return _values(new)


for _name, _rule, _why, _place, _rewritten, _also in (
    ("item_flipped", "history.recoded", "An item whose answers were turned round, 1 for 5.", "item_responses", _answers(lambda n: 6 - n, slice(1)), ()),
    ("items_all_flipped", "history.recoded", "A scale that was turned round.", "item_responses", _answers(lambda n: 6 - n, slice(None)), ()),
    ("scale_shifted", "history.recoded", "Answers that count from 0, and a highest that was cut off.", "item_responses", _answers(lambda n: (n + 1).clip(max=5), slice(None)), ()),
    ("scale_stretched", "history.recoded", "A scale of three in the place of one of five.", "item_responses", _answers(lambda n: ((n + 1) // 2).clip(max=3), slice(None)), ()),
    ("items_swapped", "history.recoded", "Two items in each other's place.", "item_responses", _codes_swapped("item", 0, 4), ("rows.shrunk",)),
    ("raters_swapped", "history.recoded", "Client and officer in each other's place.", "item_responses", _codes_swapped("rater"), ("rows.shrunk", "relation.unknown")),
    ("waves_swapped", "history.recoded", "Two waves in each other's place.", "item_responses", _codes_swapped("wave"), ("rows.shrunk",)),
    ("sexes_swapped", "history.recoded", "A code that means something else than it did.", "clients", _codes_swapped("sex"), ()),
    ("scales_swapped", "history.recoded", "Two columns of one type in each other's place.", "risc", _columns_swapped("scale_08", "scale_03"), ()),
    ("linkage_recoded", "history.recoded", "A code that means something else than it did.", "disposals", _codes_swapped("disposal"), ("rule.required_when",)),
    ("days_shifted_by_one", "history.dates", "Days that an export in another time zone moved by one.", "assignments", _days("start_on", lambda d: d - pd.Timedelta(days=1)), ("rule.order",)),
    ("days_and_months_swapped", "history.dates", "Day and month in each other's place where that gives a day.", "waves", _days("measured_on", _day_and_month_swapped), ("rule.order", "value.range")),
    ("offence_days_shifted", "history.dates", "Days that an export in another time zone moved by one.", "offences", _days("offence_on", lambda d: d - pd.Timedelta(days=1)), ("rule.order",)),
    ("days_of_another_century", "value.range", "Years of two digits that were read as of the century before.", "assignments", _days("start_on", lambda d: d - pd.DateOffset(years=100)), ("rule.order", "history.dates")),
    ("made_up_person", "value.dummy", "A record that somebody made to try the system.", "clients", _first_cells("surname", 1, lambda n, v: "Testpersoon"), ()),
):  # fmt: skip
    _add(_name, _rule, _why, _rows(_named_table(_place), _rewritten), _also)

for _name, _rule, _why, _place, _rewritten in (
    ("two_people_exchanged", "history.identity", "Two people who were given each other's number.", "clients", _two_exchanged("national_number")),
    ("case_of_another_person", "history.identity", "Two cases that were given each other's person.", "cases", _two_exchanged("national_number")),
    ("sentinel_in_a_number", "value.sentinel", "A code for unknown that nobody declared, within the range.", "disposals", _first_cells("custodial_days", 8, lambda n, v: "9999" if isinstance(v, str) else 9999.0)),
    ("days_first_to_twelfth", "value.day_month", "Days that were cut to the width of months.", "waves", _days("measured_on", lambda d: d.replace(day=(d.day - 1) % 12 + 1))),
    ("number_in_another_unit", "history.units", "Years of experience as centuries.", "officers", _scaled("experience_years", 0.01)),
):  # fmt: skip
    _add(
        _name,
        _rule,
        _why,
        _rows(_named_table(_place), _rewritten),
        ("history.dates", "history.recoded"),
        is_warning=True,
    )


def _labels_swapped(_: Organisation, table: Table, frame: Frame) -> tuple[Table, Frame]:
    """Two value labels of a column in each other's place; the codes stay."""
    column = next(column for column in table.columns if len(column.codes) > 1)
    one, two, *rest = column.codes
    swapped = replace(column, codes=(replace(one, label=two.label), replace(two, label=one.label), *rest))
    return replace(table, columns=tuple(swapped if item is column else item for item in table.columns)), frame


def _swap_labels(delivery: Path, manifest: dict[str, Any], organisation: Organisation) -> None:
    if not manifest["files"][0]["name"].endswith(".sav"):
        raise CannotMutate("no file with value labels is delivered")
    _rewrite(delivery, manifest, organisation, organisation.tables[0], _labels_swapped)


_add("value_labels_swapped", "column.labels", "A code whose label changed: what was yes is no.", _swap_labels)


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
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=file["delimiter"], lineterminator=newline)
    writer.writerow(frame.columns)
    writer.writerows(frame.to_numpy().tolist())
    try:
        content = stream.getvalue().encode(file["encoding"])
    except UnicodeEncodeError:
        raise CannotMutate("the agreed encoding does not have these letters") from None
    path.write_bytes(content)


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
