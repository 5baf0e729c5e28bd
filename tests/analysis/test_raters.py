"""Q1: client and officer side by side, against published and R's numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from orchestration.analysis.inputs import Inputs
from orchestration.analysis.raters import (
    AGREEMENT_COLUMNS,
    CONVERGENCE_COLUMNS,
    clustered_intervals,
    intraclass,
    rated_pairs,
    rater_agreement,
    rater_convergence,
)
from tests.analysis.question_agreement import bar, rater_differences, rater_pairs
from tests.analysis.reference_r import needs_r

SHROUT_AND_FLEISS = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], dtype=float
)


def test_the_example_of_shrout_and_fleiss_comes_out() -> None:
    """Shrout and Fleiss (1979), table 4: ICC(2,1) .29 and ICC(3,1) .71, which are A,1 and C,1."""
    found = intraclass(SHROUT_AND_FLEISS)
    assert round(found["icc_agreement"], 2) == 0.29 and round(found["icc_consistency"], 2) == 0.71


def test_raters_who_agree_but_for_a_constant_are_consistent_and_do_not_agree() -> None:
    rng = np.random.default_rng(1)
    first = rng.normal(3, 1, 400)
    found = intraclass(np.column_stack([first, first + 1 + rng.normal(0, 0.1, 400)]))
    assert found["icc_consistency"] > 0.98 and found["icc_agreement"] == pytest.approx(1 / 1.5, abs=0.05)
    assert found["icc_agreement_low"] < found["icc_agreement"] < found["icc_agreement_high"]


def test_intervals_of_both_coefficients_cover_the_truth() -> None:
    """Rows SD 1, error SD 1, raters who differ by SD .3 themselves: consistency .5, agreement 1 / 2.09; 1,500 samples of 60."""
    rng = np.random.default_rng(5)
    covered = np.zeros(2)
    for _ in range(1500):
        ratings = rng.normal(0, 1, (60, 1)) + rng.normal(0, 0.3, (1, 4)) + rng.normal(0, 1, (60, 4))
        found = intraclass(ratings)
        covered += [
            found["icc_consistency_low"] <= 0.5 <= found["icc_consistency_high"],
            found["icc_agreement_low"] <= 1 / 2.09 <= found["icc_agreement_high"],
        ]
    assert (covered / 1500 > 0.93).all() and covered[0] / 1500 < 0.97


def pairs_of_officers(rng: np.random.Generator, officers: int = 30, each: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Pairs in which half of what both raters see, and half of where they differ, belongs to the officer: correlation .5, gap 0."""

    def shared(sd: float) -> np.ndarray:
        own = rng.normal(0, sd * np.sqrt(0.5), (officers, each))
        return (rng.normal(0, sd * np.sqrt(0.5), (officers, 1)) + own).ravel()

    seen = shared(1.0)
    return np.column_stack([seen + shared(1.0), seen + shared(1.0)]), np.repeat(np.arange(officers), each)


def test_clustered_intervals_cover_where_pairs_share_officers_and_the_others_do_not() -> None:
    """600 samples of 30 officers with 8 pairs each; the truth of all three is .5."""
    rng = np.random.default_rng(11)
    names = ("pearson", "icc_agreement", "icc_consistency")
    clustered, independent = dict.fromkeys(names, 0), 0
    for _ in range(600):
        ratings, label = pairs_of_officers(rng)
        found = intraclass(ratings)
        points = {"pearson": float(np.corrcoef(ratings.T)[0, 1]), **{name: found[name] for name in names[1:]}}
        limits = clustered_intervals(ratings, points, label)
        for name in names:
            clustered[name] += limits[f"{name}_clustered_low"] <= 0.5 <= limits[f"{name}_clustered_high"]
        independent += found["icc_consistency_low"] <= 0.5 <= found["icc_consistency_high"]
    assert all(0.91 < count / 600 < 0.975 for count in clustered.values()), clustered
    assert independent / 600 < 0.85


def test_with_an_officer_for_each_pair_clustered_intervals_are_those_of_independent_pairs() -> None:
    rng = np.random.default_rng(2)
    seen = rng.normal(0, 1, 2000)
    ratings = np.column_stack([seen + rng.normal(0, 1, 2000), seen + rng.normal(0, 1, 2000)])
    found = intraclass(ratings)
    points = {"pearson": float(np.corrcoef(ratings.T)[0, 1]), "icc_agreement": found["icc_agreement"], "icc_consistency": found["icc_consistency"]}  # fmt: skip
    limits = clustered_intervals(ratings, points, np.arange(2000))
    half = 1.96 / np.sqrt(1997)
    assert limits["pearson_clustered_high"] == pytest.approx(np.tanh(np.arctanh(points["pearson"]) + half), abs=0.003)
    assert limits["icc_consistency_clustered_low"] == pytest.approx(found["icc_consistency_low"], abs=0.003)


@needs_r
def test_agreement_and_convergence_are_those_of_r(tmp_path: Path) -> None:
    for name, difference in rater_differences(tmp_path).items():
        assert difference < bar(name), name


def test_raters_who_come_closer_have_a_negative_slope_and_others_none() -> None:
    def slope(closer: float) -> pd.Series:
        rows = rater_convergence(rater_pairs(400, closer=closer)).set_index(["pairs", "measure", "term"])
        return rows.loc[("all", "absolute_difference", "months")]

    assert slope(0.03)["conf_high"] < 0
    assert slope(0.0)["conf_low"] < 0 < slope(0.0)["conf_high"]


def test_pairs_are_those_that_both_rated_and_a_shared_officer_is_as_published(inputs: Inputs) -> None:
    wave = inputs.wave.assign(raters_share_officer=pd.array([None] * len(inputs.wave), dtype="boolean"))
    both = inputs.alliance_score.dropna(subset="score")
    expected = both.groupby(["supervision_id", "wave", "scale"])["rater"].nunique().eq(2).sum()
    known, unknown = (rated_pairs(inputs.alliance_score, table, inputs.dyad) for table in (inputs.wave, wave))
    assert len(known) == len(unknown) == expected
    assert known["is_same_officer"].all() and not unknown["is_same_officer"].any()


def test_few_pairs_and_a_constant_rater_give_a_reason_and_no_number() -> None:
    table = rater_pairs(40)
    few = rater_agreement(table.groupby("wave").head(3))
    assert few["pearson"].isna().all() and few["note"].str.contains("fewer than 4 pairs").all()
    flat = rater_agreement(table.assign(officer=3.0))
    assert flat["icc_agreement"].isna().all() and flat["note"].str.contains("same score").all()
    one_wave = rater_convergence(table[table["wave"] == "T1"])
    assert one_wave["estimate"].isna().all() and one_wave["note"].str.contains("one wave").all()
    assert tuple(few.columns) == AGREEMENT_COLUMNS and tuple(one_wave.columns) == CONVERGENCE_COLUMNS
