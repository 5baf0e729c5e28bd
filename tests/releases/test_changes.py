"""What is said of a change in public: bands instead of counts, and results that left."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from orchestration.analysis.specification import read_specification
from orchestration.releases.changes import Headline, band, changes, headlines
from orchestration.releases.disclosure import Judged
from orchestration.releases.scripts import text_of
from orchestration.releases.tags import Step, Tag, proposed, step_of
from orchestration.settings import Settings
from orchestration.warehouse.diff import Difference, TableChange, compare
from orchestration.warehouse.versions import PublishedTable, Version, publish
from tests.conftest import settings_in
from tests.deliveries.making import RECORD
from tests.releases.making import DAY

SPEC = read_specification()
WIDEST = list(SPEC.recidivism.adjustments)[-1]


def estimates(**rows: tuple[float, float, float]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"model_id": f"o.{scale}", "outcome_id": "o", "rater": SPEC.recidivism.rater, "scale": scale, "adjustment": WIDEST,
             "exposure": "score", "term": scale, "estimate": np.log(at), "conf_low": np.log(low), "conf_high": np.log(high)}
            for scale, (at, low, high) in rows.items()
        ]
    )  # fmt: skip


@pytest.mark.parametrize(("count", "said"), [(0, "0–9"), (9, "0–9"), (10, "10–19"), (117, "110–119")])
def test_rows_are_told_in_bands_that_do_not_tell_none_from_few(count: int, said: str) -> None:
    assert band(count, 10) == said


def test_a_table_that_changed_is_named_with_its_columns_and_one_that_did_not_is_not() -> None:
    same = TableChange(10, 10, 0, 0, 0, {})
    difference = Difference(
        "a", "b", True,
        {"client": TableChange(200, 213, 14, 1, 3, {"birth_year": 3}, columns_added=("partner",)), "wave": same},
        {}, {}, {}, {"general": {"change": "changed", "columns": {"lag_months": [6, 12]}}}, {"offence": {"added": 1, "removed": 2}}, {},
    )  # fmt: skip
    found = changes(difference, "2026.1.0", "minor", (), 10)
    (table,) = found.tables
    assert (table.name, table.added, table.removed, table.changed) == ("client", "10–19", "0–9", "0–9")
    assert (table.columns, table.columns_added) == ({"birth_year": "0–9"}, ("partner",))
    assert (found.definitions, found.code_lists) == ({"general": "changed"}, ("offence",))


@given(st.lists(st.integers(0, 300), min_size=4, max_size=4))
def test_no_exact_number_of_rows_is_in_the_changelog(counts: list[int]) -> None:
    added, removed, changed, column = (1000 + 7 * count for count in counts)
    difference = Difference("a", "b", False, {"client": TableChange(5000, 5000, added, removed, changed, {"sex": column})}, {}, {}, {}, {}, {}, {})  # fmt: skip
    text = text_of(
        "PUBLIC-CHANGELOG.md", about=_About, changes=changes(difference, "2026.1.0", "patch", (), 10), threshold=10
    )
    exact = {number for number in (added, removed, changed, column) if number % 10 not in (0, 9)}
    assert not any(str(number) in text for number in exact)


class _About:
    tag, is_simulated, released_on = "2026.1.1", False, DAY


def test_headline_results_stand_old_beside_new_and_one_that_did_not_leave_has_none() -> None:
    found = headlines(estimates(trust=(0.8, 0.6, 1.1), bond=(0.9, 0.7, 1.2)), estimates(trust=(0.85, 0.65, 1.15)), SPEC)
    assert found == (
        Headline("o.bond", "o", "bond", None, (0.9, 0.7, 1.2)),
        Headline("o.trust", "o", "trust", (0.85, 0.65, 1.15), (0.8, 0.6, 1.1)),
    )
    assert [one.has_moved for one in found] == [True, True]
    assert not headlines(estimates(trust=(1, 1, 1)), estimates(trust=(1, 1, 1)), SPEC)[0].has_moved
    assert headlines(pd.DataFrame(), None, SPEC) == ()


def test_the_headlines_of_a_fit_are_those_of_the_rater_and_adjustment_of_the_main_analysis(
    judged: Judged, fit_tables: Mapping[str, pd.DataFrame]
) -> None:
    rows = judged.frames["estimates"]
    assert {one.model_id for one in headlines(rows, None, SPEC)} <= set(rows["model_id"])
    assert all(one.term in SPEC.recidivism.scales for one in headlines(rows, None, SPEC))


# ----------------------------------------------------------------------------- two releases, and what was done in between

CLIENTS = tuple(f"c{number:02}" for number in range(24))
OFFICERS = tuple(f"o{number:02}" for number in range(12))
CODES = ("theft", "fraud", "arson")
ENTRY = re.compile(r"\| `(\w+)` \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (.*)\|")


@dataclass(frozen=True)
class Edits:
    """What is done to the data between two releases, written down before it is done."""

    clients_added: int
    clients_removed: frozenset[str]
    older: frozenset[str]
    other_sex: frozenset[str]
    promoted: frozenset[str]
    has_new_column: bool
    has_lost_sex: bool
    definition_changed: bool
    definition_added: bool
    definition_removed: bool
    codes_added: int
    codes_removed: int
    is_another_year: bool
    is_modelled_otherwise: bool
    is_refitted: bool


SOME = st.frozensets(st.sampled_from(CLIENTS), max_size=18)
RARELY = st.sampled_from((False, False, False, True))
EDITS = st.builds(
    Edits, clients_added=st.integers(0, 22), clients_removed=SOME, older=SOME, other_sex=SOME,
    promoted=st.frozensets(st.sampled_from(OFFICERS)), has_new_column=RARELY, has_lost_sex=RARELY, definition_changed=RARELY,
    definition_added=RARELY, definition_removed=RARELY, codes_added=st.sampled_from((0, 0, 2)), codes_removed=st.sampled_from((0, 0, 1)),
    is_another_year=RARELY, is_modelled_otherwise=RARELY, is_refitted=RARELY,
)  # fmt: skip
NOBODY: frozenset[str] = frozenset()
NOTHING = Edits(
    0, NOBODY, NOBODY, NOBODY, NOBODY, False, False, False, False, False, 0, 0, False, False, False
)  # fmt: skip


def written(
    settings: Settings, tables: Mapping[str, tuple[str, list[dict[str, Any]]]], codes: tuple[str, ...]
) -> Version:
    """A version of tables, each with the name of its key, and of one code list."""
    marts = {name: pa.Table.from_pylist(rows) for name, (_, rows) in tables.items()}
    published = [PublishedTable(name, name, f"one row per {name}", {}, (key,)) for name, (key, _) in tables.items()]
    lists = {"offence_class": [{"code": code} for code in codes]}
    return publish(settings, marts, published, {**RECORD, "code_lists": lists})[0]


def before(settings: Settings) -> Version:
    tables = {
        "client": ("client_id", [{"client_id": name, "age": 30, "sex": "f"} for name in CLIENTS]),
        "officer": ("officer_id", [{"officer_id": name, "years": 5} for name in OFFICERS]),
        "outcome_definition": (
            "outcome_id",
            [{"outcome_id": name, "lag_months": 6} for name in ("general", "serious")],
        ),
    }
    return written(settings, tables, CODES)


def after(settings: Settings, edits: Edits) -> Version:
    """The same with the edits made, one by one."""
    clients: list[dict[str, Any]] = [{"client_id": name, "age": 30, "sex": "f"} for name in CLIENTS]
    for row in clients:
        row["age"] += row["client_id"] in edits.older
        row["sex"] = "m" if row["client_id"] in edits.other_sex else row["sex"]
    clients = [row for row in clients if row["client_id"] not in edits.clients_removed]
    clients += [{"client_id": f"new{number}", "age": 30, "sex": "f"} for number in range(edits.clients_added)]
    for row in clients:
        row |= {"partner": "yes"} if edits.has_new_column else {}
        if edits.has_lost_sex:
            del row["sex"]
    definitions = [{"outcome_id": "general", "lag_months": 12 if edits.definition_changed else 6}]
    definitions += [] if edits.definition_removed else [{"outcome_id": "serious", "lag_months": 6}]
    definitions += [{"outcome_id": "specific", "lag_months": 6}] if edits.definition_added else []
    tables = {
        "client": ("client_id", clients),
        "officer": (
            "officer_id",
            [{"officer_id": name, "years": 6 if name in edits.promoted else 5} for name in OFFICERS],
        ),
        "outcome_definition": ("outcome_id", definitions),
    }
    codes = (*CODES[edits.codes_removed :], *(f"new{number}" for number in range(edits.codes_added)))
    return written(settings, tables, codes)


def expected(edits: Edits) -> dict[str, tuple[int, int, int, int, int, dict[str, int], set[str], set[str]]]:
    """By table that has changed: rows before and now, came, went, changed, changed by column, new and gone columns."""
    stayed = set(CLIENTS) - edits.clients_removed
    columns = {"age": edits.older & stayed} | ({} if edits.has_lost_sex else {"sex": edits.other_sex & stayed})
    went, came = len(edits.clients_removed), edits.clients_added
    new, gone = {"partner"} if edits.has_new_column else set(), {"sex"} if edits.has_lost_sex else set()
    changed = len(frozenset().union(*columns.values()))
    by_column = {name: len(who) for name, who in columns.items() if who}
    promoted = len(edits.promoted)
    defined = int(edits.definition_changed)
    now = 2 + edits.definition_added - edits.definition_removed
    found = {
        "client": (24, 24 + came - went, came, went, changed, by_column, new, gone),
        "officer": (12, 12, 0, 0, promoted, {"years": promoted} if promoted else {}, set(), set()),
        "outcome_definition": (
            2, now, int(edits.definition_added), int(edits.definition_removed), defined, {"lag_months": 1} if defined else {}, set(), set()
        ),
    }  # fmt: skip
    return {name: entry for name, entry in found.items() if any(entry[2:])}


def expected_codes(edits: Edits) -> tuple[int, int]:
    """Rows of the code list that came and went; where no row of any table is another, the version is the same one and says nothing of it."""
    return (edits.codes_added, edits.codes_removed) if expected(edits) else (0, 0)


def expected_step(edits: Edits) -> Step:
    if edits.is_another_year:
        return "year"
    means_otherwise = (
        edits.has_new_column, edits.has_lost_sex, edits.definition_changed, edits.definition_added, edits.definition_removed,
        *expected_codes(edits), edits.is_modelled_otherwise,
    )  # fmt: skip
    if any(means_otherwise):
        return "minor"
    return "patch" if expected(edits) or edits.is_refitted else "none"


def read(changelog: str) -> dict[str, tuple[int, int, int, int, int, dict[str, int], set[str], set[str]]]:
    """What the changelog of the zone says of tables, as `expected` has it."""
    found = {}
    for name, *counts, columns in ENTRY.findall(changelog):
        rows, came, gone = (re.findall(rf"`(\w+)` {what}", columns) for what in (r"(\d+)", "new", "gone"))
        was, now, added, removed, changed = map(int, counts)
        found[name] = (was, now, added, removed, changed, {column: int(n) for column, n in rows}, set(came), set(gone))
    return found


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Version]:
    settings = settings_in(tmp_path_factory.mktemp("edited"))
    return settings, before(settings)


@examples(max_examples=25, deadline=None)
@given(EDITS)
def test_the_changelog_of_two_releases_is_exactly_what_was_edited_and_the_tag_follows(
    store: tuple[Settings, Version], edits: Edits
) -> None:
    settings, old = store
    difference = compare(old, after(settings, edits))
    text = text_of("CHANGELOG.md", about=_About, difference=difference)
    assert read(text) == expected(edits)

    defined = {"general": edits.definition_changed and "changed", "serious": edits.definition_removed and "removed", "specific": edits.definition_added and "added"}  # fmt: skip
    said = ", ".join(f"`{name}` {change}" for name, change in defined.items() if change) or "none changed"
    assert f"Definitions: {said}." in text
    came, went = expected_codes(edits)
    codes = f"`offence_class` {came} added, {went} removed" if came or went else "none changed"
    assert f"Code lists: {codes}." in text

    step = step_of(difference, 2025, 2025 + edits.is_another_year, edits.is_modelled_otherwise, edits.is_refitted)
    assert step == expected_step(edits)
    assert str(proposed(Tag(2025, 2, 3), step, 2025 + edits.is_another_year, ())) == {
        "year": "2026.1.0", "minor": "2025.3.0", "patch": "2025.2.4", "none": "2025.2.4",
    }[step]  # fmt: skip

    bands = {table.name: table for table in changes(difference, "2025.2.3", step, (), 10).tables}
    assert bands.keys() == expected(edits).keys()
    for name, (_, _, came, went, changed, columns, new, gone) in expected(edits).items():
        one = bands[name]
        assert (one.added, one.removed, one.changed) == tuple(f"{n // 10}0–{n // 10}9".replace("00–09", "0–9") for n in (came, went, changed))  # fmt: skip
        assert one.columns.keys() == columns.keys()
        assert (set(one.columns_added), set(one.columns_removed)) == (new, gone)


def test_a_release_of_the_same_data_has_nothing_in_its_changelog(store: tuple[Settings, Version]) -> None:
    difference = compare(store[1], after(store[0], NOTHING))
    assert read(text_of("CHANGELOG.md", about=_About, difference=difference)) == {}
    assert step_of(difference, 2025, 2025, is_modelled_otherwise=False, is_refitted=False) == "none"
