"""What is said of a change in public: bands instead of counts, and results that left."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.analysis.specification import read_specification
from orchestration.releases.changes import Headline, band, changes, headlines
from orchestration.releases.disclosure import Judged
from orchestration.releases.scripts import text_of
from orchestration.warehouse.diff import Difference, TableChange
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
