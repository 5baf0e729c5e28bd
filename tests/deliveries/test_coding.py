"""Codes tell rows apart exactly as their values do, whatever is missing."""

from __future__ import annotations

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest

from orchestration.deliveries import coding
from orchestration.deliveries.coding import by_category, codes_of, condensed, repeated, together

CELLS = st.sampled_from(["a", "b", "c", None])
ROWS = st.lists(st.tuples(CELLS, CELLS, st.sampled_from([1.0, 2.0, float("nan")])), max_size=12)


@hypothesis.settings(max_examples=200, deadline=None, derandomize=True, database=None)
@hypothesis.given(rows=ROWS, is_narrow=st.booleans())
def test_rows_have_one_number_where_and_only_where_their_values_are_the_same(
    rows: list[tuple[str | None, str | None, float]], is_narrow: bool
) -> None:
    frame = pd.DataFrame(rows, columns=["first", "second", "third"]).astype({"first": "category", "second": object})
    with pytest.MonkeyPatch.context() as patch:
        if is_narrow:  # as with more combinations than a whole number holds
            patch.setattr(coding, "_LARGEST", 8)
        numbers = together([codes_of(frame[name]) for name in frame], len(frame))
    spelled = [repr(row) for row in rows]
    for found in (numbers, condensed(numbers)):
        pairs = set(zip(found.tolist(), spelled, strict=True))
        assert len({number for number, _ in pairs}) == len({text for _, text in pairs}) == len(pairs)
    assert numbers.min(initial=0) == 0
    assert condensed(numbers).max(initial=0) < 2 * max(len(rows), 1)


def test_what_is_known_of_a_category_holds_for_each_of_its_rows() -> None:
    values = pd.Series(["b", None, "a", "b"], dtype="category")
    places = by_category(values, np.array([10, 20]), -1)  # of a and b
    assert places.tolist() == [20, -1, 10, 20]


KINDS = st.sampled_from(["category", object, "far apart", float])


@hypothesis.settings(max_examples=200, deadline=None, derandomize=True, database=None)
@hypothesis.given(cells=st.lists(st.integers(0, 6), max_size=10), missing=st.sampled_from([None, 3]), kind=KINDS)
def test_rows_are_repeated_where_another_holds_the_same_or_they_hold_nothing(
    cells: list[int], missing: int | None, kind: object
) -> None:
    given = [None if cell == missing else cell for cell in cells]
    if kind == "far apart":
        values = pd.Series([0 if cell is None else cell * 10**15 for cell in given], dtype="int64")
        expected = [values.tolist().count(value) > 1 for value in values]
    else:
        spelled = given if kind is float else [None if cell is None else str(cell) for cell in given]
        values = pd.Series(spelled, dtype=kind)
        expected = [cell is None or given.count(cell) > 1 for cell in given]
    assert repeated(values).tolist() == expected
