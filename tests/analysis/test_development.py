"""Q1: wave means with intervals that know officers, and counts of patterns."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from orchestration.analysis.development import change_patterns, pattern_agreement, reliability, wave_means


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


def test_reliability_says_what_a_low_alpha_does() -> None:
    """Alpha .60: a band of 1.75 SD and at most .77 of a correlation; .80 is left alone (band 1.24)."""
    table = pd.DataFrame(
        {
            "rater": "client", "scale": ["reactance", "trust", "bond"], "wave": "T1", "form": ["r1 r2 r3 r4 r5", "t1 t2 t3", "b1 b2"],
            "n_complete": [100, 100, 1], "alpha": [0.6, 0.8, None], "omega": [0.6, 0.81, None], "n_scores": 120, "score_sd": 0.5,
        }
    )  # fmt: skip
    rows = reliability(table, 0.7).set_index("scale")
    low = rows.loc["reactance"]
    assert low["is_low"] and "alpha 0.60 is below 0.70" in low["note"] and "at most 0.77" in low["note"]
    assert low["reliable_change_band"] == pytest.approx(1.753, abs=1e-3)
    assert low["standard_error_of_measurement"] == pytest.approx(0.5 * np.sqrt(0.4))
    assert low["alpha_low"] < 0.6 < low["alpha_high"]
    assert not rows.loc["trust", "is_low"] and rows.loc["trust", "note"] is None
    assert rows.loc["trust", "reliable_change_band"] == pytest.approx(1.24, abs=1e-2)
    assert rows.loc["bond", ["alpha_low", "attenuation"]].isna().all()


def test_the_interval_of_alpha_covers_the_truth() -> None:
    """Six parallel items with error variance 1.5 times the true one: alpha .8; 1,000 samples of 80 people."""
    rng = np.random.default_rng(2)
    items = rng.normal(size=(1000, 80, 1)) + rng.normal(0, np.sqrt(1.5), (1000, 80, 6))
    alpha = 6 / 5 * (1 - items.var(axis=1, ddof=1).sum(axis=1) / items.sum(axis=2).var(axis=1, ddof=1))
    table = pd.DataFrame(
        {
            "rater": "client", "scale": "trust", "wave": "T1", "form": "a b c d e f", "n_complete": 80, "alpha": alpha,
            "omega": alpha, "n_scores": 80, "score_sd": 1.0,
        }
    )  # fmt: skip
    rows = reliability(table, 0.7)
    covered = ((rows["alpha_low"] <= 0.8) & (rows["alpha_high"] >= 0.8)).mean()
    assert 0.93 < covered < 0.97


def test_rules_that_find_one_pattern_in_everybody_have_no_kappa_but_a_reason() -> None:
    table = pd.DataFrame(
        {
            "rater": "client", "scale": ["trust", "bond"], "span": "T1-T2", "rule_one": "half_sd", "rule_other": "rci",
            "n": 50, "observed_agreement": [0.8, 1.0], "kappa": [0.5, None],
        }
    )  # fmt: skip
    rows = pattern_agreement(table)
    assert rows["scale"].tolist() == ["bond", "trust"] and rows["kappa"].isna().tolist() == [True, False]
    assert rows["note"].notna().tolist() == [True, False]
