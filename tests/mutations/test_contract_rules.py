"""Every rule of every contract, not only every kind: one row that breaks it makes it fail, and it passes on what is good."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from orchestration.deliveries import gate, raw
from orchestration.deliveries.contracts import Column, Organisation, Table, read_contracts
from orchestration.deliveries.ingest import seed_values
from orchestration.deliveries.judgement import Judgement, Status
from orchestration.deliveries.keys import PseudonymKey
from orchestration.deliveries.manifest import read_manifest
from orchestration.deliveries.periods import last_day
from orchestration.deliveries.readers import Cells, _cells, read_delivery, typed
from orchestration.settings import Settings
from tests.deliveries.making import delivery_in

CONTRACTS = read_contracts(Settings().expectations)
TABLES = [(organisation.name, table.name) for organisation in CONTRACTS.values() for table in organisation.tables]
SIMULATED = [(name, table) for name, table in TABLES if name != "north_carolina"]
KEY = PseudonymKey(b"k" * 32, "tests")


def _failing(judgements: list[Judgement]) -> set[tuple[str, str]]:
    return {(item.rule, item.column) for item in judgements if item.status is Status.FAILED}


def _asked(judgements: list[Judgement]) -> set[tuple[str, str]]:
    return {(item.rule, item.column) for item in judgements}


def _wrong(column: Column, is_text: bool, like: Any) -> dict[str, Any]:
    """For each rule that a reader applies to a column: a cell that breaks it."""
    found: dict[str, Any] = {}
    if column.is_required:
        found["value.missing"] = None
    if column.type in ("integer", "decimal"):
        found["value.type"] = "veel"
    elif column.type == "date":
        found["value.type"] = "2024/01/31" if is_text else "vandaag"
    elif not is_text:
        found["value.type"] = 1.5
    if column.type == "code":
        found["value.code"] = "code die niemand kent"
    if column.pattern:
        found["value.pattern"] = "!" if column.type == "text" else like
    if column.check:
        found["value.check"] = "123456789"
    return found


@pytest.mark.parametrize(("name", "table_name"), SIMULATED, ids=lambda value: str(value))
def test_a_reader_names_each_cell_that_breaks_a_rule_of_its_column(simulated: Path, name: str, table_name: str) -> None:
    organisation = CONTRACTS[name]
    table = organisation.table(table_name)
    delivery = delivery_in(simulated, name)
    manifest = read_manifest(delivery)
    entry = manifest.table(table_name)
    file = manifest.file(entry.file)
    cells = _cells(delivery / entry.file, file, table, entry.sheet, {})
    clean = list(typed(table, cells, file, admit_test_numbers=True).judgements)
    assert _failing(clean) == set()
    # One row for each way of being wrong: a copy of the first row in which every column is wrong in that way.
    spoiled: dict[str, pa.DictionaryArray | pd.Series] = {}
    expected = set()
    ways = ("value.missing", "value.type", "value.code", "value.pattern", "value.check")
    for column in table.columns:
        came = cells.columns[column.source]
        given = (
            came.reset_index(drop=True) if isinstance(came, pd.Series) else pd.Series(came.to_pylist(), dtype=object)
        )
        wrong = _wrong(column, cells.is_text, given.dropna().iloc[0] if given.notna().any() else None)
        expected |= {(rule, column.source) for rule in wrong}
        extra = [wrong.get(way, given.iloc[0] if len(given) else None) for way in ways]
        both = pd.Series([*given, *extra], dtype=object)
        spoiled[column.source] = pa.array(both, pa.string()).dictionary_encode() if cells.is_text else both
    bad = typed(table, Cells(spoiled, cells.rows + len(ways), cells.is_text), file, admit_test_numbers=False)
    found = list(bad.judgements)
    asked = {item for item in _asked(found) if item[0] not in ("value.test_number",)}
    text_types = {
        ("value.type", column.source) for column in table.columns if cells.is_text and column.type in ("text", "code")
    }
    assert asked - text_types == expected
    assert expected <= _failing(found)


@cache
def _frames(organisation_name: str, simulated: Path) -> tuple[dict[str, pd.DataFrame], gate.Limits]:
    organisation = CONTRACTS[organisation_name]
    delivery = delivery_in(simulated, organisation.name)
    manifest = read_manifest(delivery)
    readings = read_delivery(delivery, manifest, organisation.tables, admit_test_numbers=True)
    frames = {}
    for reading in readings:
        frame = raw.to_frame(raw.pseudonymised(reading.table, reading.rows, KEY))
        # As objects: what is spoiled below is in no category.
        frames[reading.table.name] = frame.astype(dict.fromkeys(frame.select_dtypes("category"), object))
    return frames, gate.Limits(manifest.cutoff_on or last_day(manifest.period), seed_values(Settings(), organisation))


def _judged(
    table: Table,
    frame: pd.DataFrame,
    frames: Mapping[str, pd.DataFrame],
    organisation: Organisation,
    limits: gate.Limits,
) -> list[Judgement]:
    together, related = {**frames, table.name: frame}, {}
    for column in table.kept:
        if column.references:
            name, other = column.references.split(".")
            referred = together[name][organisation.table(name).column(other).source]
            related[column.source] = frame[column.source].isin(referred).to_numpy()
    return gate.judge_table(table, gate.prepare(table, frame, related), limits)


def _breaking(
    table: Table, frame: pd.DataFrame, limits: gate.Limits
) -> list[tuple[str, tuple[str, ...], pd.DataFrame]]:
    """For each expectation of a table's suite: its rule, its columns, and the frame with rows that break it."""
    by_source = {column.source: column for column in table.columns}
    rules = {
        (f"rule.{rule.kind}", tuple(table.column(name).source for name in rule.columns)): rule for rule in table.rules
    }
    made = []
    for rule, headers, _, _ in gate.suite_of(table, limits, max(len(frame), 1)):
        bad = frame.copy()
        column = by_source[headers[0]] if headers else None
        if rule == "table.empty":
            bad = frame.iloc[:0]
        elif rule in ("key.unique", "rule.unique"):
            bad.loc[1, list(headers)] = bad.loc[0, list(headers)].to_numpy()
        elif rule == "value.range":
            assert column is not None
            bad[headers[0]] = bad[headers[0]].astype(object)
            beyond = pd.Timestamp("2190-01-01") if column.staged_type == "date" else 10**8
            below = pd.Timestamp("1700-01-01") if column.staged_type == "date" else -(10**8)
            bad.loc[0, headers[0]] = beyond if column.maximum is not None else below
            bad[headers[0]] = bad[headers[0]].astype(frame[headers[0]].dtype)
        elif rule in ("value.seed", "relation.unknown"):
            bad.loc[0, headers[0]] = "nobody knows this"
        elif rule == "rule.order":
            bad.loc[0, headers[0]] = pd.Timestamp("2024-02-02")
            bad.loc[0, headers[1]] = pd.Timestamp("2024-01-01")
        elif rule == "rule.required_when":
            condition = rules[rule, headers].when
            for other, term in condition.items():
                spelled = next(code.source for code in table.column(other).codes if code.term == term)
                bad[table.column(other).source] = spelled
            bad[headers[0]] = (
                None
                if bad[headers[0]].dtype == object
                else bad[headers[0]].astype(object).where(np.zeros(len(bad), dtype=bool), None)
            )
        elif rule == "rule.missing_share":
            bad[headers[0]] = np.nan
        else:
            raise AssertionError(f"no way to break {rule} is known here")
        made.append((rule, headers, bad))
    return made


# Broken in the columns that they are of, and in no others.
ONE_VALUE = ("value.range", "value.seed", "relation.unknown", "rule.order")


def _together(
    made: list[tuple[str, tuple[str, ...], pd.DataFrame]],
) -> list[tuple[list[tuple[str, tuple[str, ...]]], pd.DataFrame]]:
    """The same rules in fewer frames: those of one value stand in one, each in columns that no other of them is in."""
    groups: list[tuple[list[tuple[str, tuple[str, ...]]], pd.DataFrame]] = []
    for rule, headers, bad in made:
        for broken, frame in groups if rule in ONE_VALUE else ():
            if broken[0][0] in ONE_VALUE and not {name for _, names in broken for name in names} & set(headers):
                for name in headers:
                    frame[name] = bad[name]
                broken.append((rule, headers))
                break
        else:
            groups.append(([(rule, headers)], bad))
    return groups


@pytest.mark.parametrize(("name", "table_name"), SIMULATED, ids=lambda value: str(value))
def test_the_gate_names_each_row_that_breaks_a_rule_of_its_contract(
    simulated: Path, name: str, table_name: str
) -> None:
    organisation = CONTRACTS[name]
    table = organisation.table(table_name)
    frames, limits = _frames(name, simulated)
    frame = frames[table_name].reset_index(drop=True)
    if len(frame) < 2:
        # A table that may be empty, and is: two rows of nobody.
        frame = pd.DataFrame(
            {
                header: pd.Series(
                    ["a", "b"] if dtype.kind == "O" else [pd.NaT] * 2 if dtype.kind == "M" else [1, 2], dtype=dtype
                )
                for header, dtype in frame.dtypes.items()
            }
        )
    else:
        assert _failing(_judged(table, frame, frames, organisation, limits)) == set()
    for broken, bad in _together(_breaking(table, frame, limits)):
        if broken == [("table.empty", ())] and table.may_be_empty:
            continue
        found = _failing(_judged(table, bad, frames, organisation, limits))
        assert {(rule, ", ".join(headers)) for rule, headers in broken} <= found, (broken, sorted(found))
