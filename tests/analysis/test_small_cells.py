"""What is shown of small counts cannot be turned back into them."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.analysis.showing.people import groups_shown
from orchestration.analysis.showing.small_cells import coarse_curve, rounded, suppress
from orchestration.analysis.showing.source import without_small_counts


@pytest.mark.parametrize(
    ("counts", "shown"),
    [
        ([100, 20, 15], [100, 20, 15]),
        ([100, 20, 3], [100, None, None]),
        ([100, 9, 4], [100, None, None]),
        ([100, 4, 3], [None, None, None]),
        ([100, 0, 40], [100, None, None]),
    ],
)
def test_a_small_count_takes_others_with_it(counts: list[int], shown: list[int | None]) -> None:
    assert suppress(counts, 10) == shown


def test_nobody_left_out_may_be_said() -> None:
    assert suppress([0, 12, 0, 30], 10, is_zero_shown=True) == [0, 12, 0, 30]
    assert suppress([0, 3, 0, 30], 10, is_zero_shown=True) == [0, None, 0, None]


@given(st.lists(st.integers(0, 60), min_size=2, max_size=8))
def test_what_is_hidden_is_never_one_count_and_never_adds_up_to_a_small_one(counts: list[int]) -> None:
    """An attacker who knows the total learns the sum of what is hidden, and no more."""
    shown = suppress(counts, 10)
    hidden = [count for count, visible in zip(counts, shown, strict=True) if visible is None]
    assert all(visible is None or visible >= 10 for visible in shown)
    if hidden and any(visible is not None for visible in shown):
        assert len(hidden) >= 2 and sum(hidden) >= 10


def test_a_curve_moves_only_after_enough_further_events_with_ten_at_risk() -> None:
    curve = pd.DataFrame(
        {"month": range(6), "n": 40, "events": [0, 4, 11, 20, 21, 33], "at_risk": [40, 35, 28, 18, 12, 6]}
    )
    assert coarse_curve(curve, 10, step_events=10)["month"].tolist() == [0, 2, 4]
    assert coarse_curve(curve.assign(events=[0, 5, 6, 11, 12, 20]), 10)["month"].tolist() == [0, 2, 4]
    assert coarse_curve(curve.assign(n=9), 10).empty


def test_rounding_is_to_fives() -> None:
    assert [rounded(count) for count in (11, 12, 13, 199)] == [10, 10, 15, 200]


def group(count: int, observed: int, kind: str = "yes_no") -> dict[str, object]:
    return {"kind": kind, "count": count, "observed": observed}


def test_a_group_of_table_one_takes_another_with_it_until_subtraction_tells_of_nobody() -> None:
    """Yes and no are counted apart: what is hidden must be many on either side."""
    many = [group(20, 50), group(25, 60), group(30, 70)]
    assert groups_shown(many, 10) == [True, True, True]
    assert groups_shown([group(4, 50), *many[1:]], 10) == [False, False, True]
    assert groups_shown([group(47, 50), *many[1:]], 10) == [False, False, True]  # three are without
    assert groups_shown([group(1, 12), group(2, 14), group(30, 70)], 10) == [False, False, False]
    assert groups_shown([group(-1, 4, "number"), group(-1, 30, "number"), group(-1, 40, "number")], 10) == [False, False, True]  # fmt: skip


def test_a_reason_that_counts_few_people_says_few() -> None:
    said = without_small_counts("not estimable: 7 events, fewer than 10; 12 clients; p = 0.004, level 0.01", 10)
    assert said == "not estimable: few events, fewer than 10; 12 clients; p = 0.004, level 0.01"
