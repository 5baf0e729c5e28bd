"""Q1: wave means with intervals that know officers, and counts of patterns."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from orchestration.analysis.development import change_patterns, wave_means


def scores(rows: list[tuple[str, str, float | None]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """client, officer, score: one wave, rater and scale."""
    frame = pd.DataFrame(rows, columns=["client_id", "officer_id", "score"]).astype({"score": float})
    frame = frame.assign(
        dyad_id=frame["client_id"] + frame["officer_id"].fillna(""), wave="T1", rater="client", scale="trust"
    )
    return frame.drop(columns="officer_id"), frame[["dyad_id", "officer_id"]].dropna()


def test_the_interval_of_a_mean_counts_officers_not_ratings() -> None:
    """Two officers with two clients each, 1 1 and 3 3: mean 2, cluster sums -2 and 2, SE = sqrt(2/1 * 8) / 4 = 1."""
    row = wave_means(*scores([("a", "o1", 1.0), ("b", "o1", 1.0), ("c", "o2", 3.0), ("d", "o2", 3.0)])).iloc[0]
    assert (row["n"], row["officers"], row["mean"], row["std_error"]) == (4, 2, 2.0, pytest.approx(1.0))
    assert row["conf_high"] - row["mean"] == pytest.approx(12.7062, abs=1e-3)  # t(.975, 1)


def test_without_sharing_officers_it_is_the_ordinary_standard_error() -> None:
    values = [2.0, 3.0, 3.5, 4.5, 1.0]
    row = wave_means(*scores([(f"c{i}", f"o{i}", value) for i, value in enumerate(values)])).iloc[0]
    assert row["std_error"] == pytest.approx(np.std(values, ddof=1) / np.sqrt(5))


def test_a_score_that_was_not_given_is_counted_and_not_averaged() -> None:
    row = wave_means(*scores([("a", "o1", 2.0), ("b", "o2", None), ("c", "o3", 4.0)])).iloc[0]
    assert (row["n"], row["missing"], row["mean"]) == (2, 1, 3.0)


def test_one_officer_gives_a_mean_without_an_interval() -> None:
    row = wave_means(*scores([("a", "o1", 2.0), ("b", "o1", 4.0)])).iloc[0]
    assert row["mean"] == 3.0 and np.isnan(row["conf_low"])


def test_patterns_are_counted_with_and_without_a_change_of_officer() -> None:
    change = pd.DataFrame(
        {
            "rater": "client", "scale": "trust", "span": "T1-T2", "rule": "rci", "reliability": 0.8,
            "pattern": ["stable", "stable", "deteriorating", None], "officer_changed": [False, None, True, False],
        }
    )  # fmt: skip
    rows = change_patterns(change).set_index(["pairs", "pattern"])
    assert rows.loc["all", "count"].to_dict() == {"stable": 2, "improving": 0, "deteriorating": 1}
    assert rows.loc["same_officer", "count"].to_dict() == {"stable": 2, "improving": 0, "deteriorating": 0}
    assert rows.loc[("all", "stable"), ["n", "not_rated"]].tolist() == [3, 1]
    assert rows.loc[("all", "stable"), "share"] == pytest.approx(2 / 3)
