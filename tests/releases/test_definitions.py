"""Definitions of the outcome beside each other: how many people two of them differ by, and which of them leave together."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.analysis.specification import Specification, read_specification
from orchestration.releases.definitions import COLUMNS, DECIDES, differing, that_leave
from tests.analysis.synthetic import synthetic_inputs

THRESHOLD = 10


@pytest.fixture(scope="module")
def spec() -> Specification:
    return read_specification()


@pytest.fixture(scope="module")
def cohort() -> pd.DataFrame:
    """Forty people of one definition."""
    rows = synthetic_inputs(40, seed=3).analysis_cohort
    rows = rows[rows["outcome_id"] == "general_landmark"].sort_values("client_id").reset_index(drop=True)
    return rows.assign(is_eligible=True, event=[place % 2 == 0 for place in range(len(rows))])


def definitions(*names: str, **other: str) -> pd.DataFrame:
    """Definitions that say the same, but for the column and the name that are given."""
    said = pd.DataFrame({"outcome_id": names, "role": "sensitivity", "detention": "subtracted", **dict.fromkeys(DECIDES, "as always")})  # fmt: skip
    for column, name in other.items():
        said.loc[said["outcome_id"] == name, column] = "otherwise"
    return said


def both(cohort: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([cohort.assign(outcome_id="one"), other.assign(outcome_id="other")], ignore_index=True)


def test_two_definitions_differ_by_people_events_and_records(cohort: pd.DataFrame, spec: Specification) -> None:
    other = cohort.copy()
    other.loc[:2, "is_eligible"] = False  # 3 people, 2 of them with an event
    other.loc[5, "event"] = True  # 1 more event
    other.loc[10:13, "duration_days"] += 1  # 4 people on another clock
    (row,) = differing(both(cohort, other), definitions("one", "other"), spec).to_dict("records")
    assert (row["people"], row["events"], row["records"]) == (3, 3, 8)


@pytest.mark.parametrize(("column", "is_same"), [("detention", True), ("role", True), ("lag_months", False)])
def test_definitions_that_only_count_time_otherwise_have_the_same_events_by_what_they_say(
    cohort: pd.DataFrame, spec: Specification, column: str, is_same: bool
) -> None:
    said = definitions("one", "other", **{column: "other"})
    assert bool(differing(both(cohort, cohort), said, spec)["is_same_event"].iloc[0]) is is_same


def test_definitions_that_say_too_little_are_not_the_same(cohort: pd.DataFrame, spec: Specification) -> None:
    said = definitions("one", "other").drop(columns="lag_months")
    assert not differing(both(cohort, cohort), said, spec)["is_same_event"].any()


def pair(people: int = 0, events: int = 30, records: int = 60, is_same_event: bool = False) -> pd.DataFrame:
    return pd.DataFrame([("one", "other", people, events, records, is_same_event)], columns=list(COLUMNS))


@pytest.mark.parametrize(
    ("differences", "leaves"),
    [
        (pair(), True),
        (pair(events=11), True),
        (pair(events=10), False),
        (pair(events=0), False),
        (pair(events=0, is_same_event=True), True),
        (pair(events=3, is_same_event=True), False),
        (pair(events=0, is_same_event=True, records=10), False),
        (pair(people=10), False),
        (pair(people=11), True),
        (pair().iloc[:0], False),
    ],
)
def test_a_definition_leaves_beside_another_only_where_enough_people_differ(
    differences: pd.DataFrame, leaves: bool
) -> None:
    assert ("other" in that_leave(["other"], ["one"], differences, THRESHOLD)) is leaves


@given(
    st.dictionaries(
        st.sampled_from("abcdef"), st.frozensets(st.integers(0, 79), min_size=10, max_size=70), min_size=2, max_size=6
    )
)
def test_whoever_compares_any_two_definitions_that_left_sees_no_small_difference(
    events: Mapping[str, frozenset[int]],
) -> None:
    rows = [
        (one, other, 0, len(events[one] ^ events[other]), 80, False) for one, other in combinations(sorted(events), 2)
    ]
    left = that_leave(sorted(events), [], pd.DataFrame(rows, columns=list(COLUMNS)), THRESHOLD)
    assert sorted(events)[0] in left
    for one, other in combinations(sorted(left), 2):
        assert len(events[one] ^ events[other]) > THRESHOLD
    for name in events.keys() - left:  # withheld means near one that left, none included
        assert any(len(events[name] ^ events[other]) <= THRESHOLD for other in left)
