"""Chained equations: deterministic, proper, and aware of the outcome."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from orchestration.analysis import cox
from orchestration.analysis.imputation import ImputationError, Imputer, impute, nelson_aalen
from orchestration.analysis.pooling import pool

METHODS = {"score": "normal", "helper": "pmm", "flag": "logistic"}


def incomplete(n: int = 300, seed: int = 0) -> pd.DataFrame:
    """A score that depends on a flag and a helper, all three missing for some."""
    rng = np.random.default_rng(seed)
    helper, flag = rng.integers(1, 6, n).astype(float), (rng.uniform(size=n) < 0.4).astype(float)
    score = 2 + 0.3 * helper - 0.5 * flag + rng.normal(0, 0.5, n)
    frame = pd.DataFrame({"score": score, "helper": helper, "flag": flag, "whole": rng.normal(size=n) + flag})
    for number, column in enumerate(METHODS):
        frame.loc[np.random.default_rng([seed, number]).uniform(size=n) < 0.2, column] = np.nan
    return frame


def test_the_same_seed_gives_the_same_bits_and_another_does_not() -> None:
    frame, imputer = incomplete(), Imputer(METHODS, m=3)
    assert impute(frame, imputer, 5).equals(impute(frame, imputer, 5))
    assert not impute(frame, imputer, 5).equals(impute(frame, imputer, 6))


def test_an_imputation_is_the_same_however_many_there_are() -> None:
    frame = incomplete()
    few, many = impute(frame, Imputer(METHODS, m=2), 5), impute(frame, Imputer(METHODS, m=7), 5)
    assert few.equals(many[many["imputation"] <= 2])


def test_observed_values_stay_and_nothing_is_left_missing() -> None:
    frame = incomplete()
    stacked = impute(frame, Imputer(METHODS, m=4), 1)
    assert stacked["imputation"].tolist() == np.repeat([1, 2, 3, 4], len(frame)).tolist()
    for _, one in stacked.groupby("imputation"):
        values = one.drop(columns="imputation")
        assert values.notna().all(axis=None)
        assert values.where(frame.notna()).equals(frame.where(frame.notna()))


def test_matching_and_logistic_columns_take_observed_values_only() -> None:
    stacked = impute(incomplete(), Imputer(METHODS, m=4), 1)
    assert set(stacked["helper"]) == {1.0, 2.0, 3.0, 4.0, 5.0}
    assert set(stacked["flag"]) == {0.0, 1.0}


def test_an_answer_is_drawn_by_its_chance_and_not_decided() -> None:
    """A flag that one in five has, whatever else is known: one in five of the imputed have it, not none."""
    rng = np.random.default_rng(9)
    flag = (rng.uniform(size=2000) < 0.2).astype(float)
    frame = pd.DataFrame({"flag": np.where(rng.uniform(size=2000) < 0.5, np.nan, flag), "other": rng.normal(size=2000)})
    stacked = impute(frame, Imputer({"flag": "logistic"}, m=4, iterations=2), 1)
    drawn = stacked["flag"].to_numpy().reshape(4, 2000)[:, frame["flag"].isna()]
    assert drawn.mean() == pytest.approx(frame["flag"].mean(), abs=0.04)
    assert (drawn[0] != drawn[1]).mean() == pytest.approx(2 * 0.2 * 0.8, abs=0.08)


def test_regression_on_imputed_values_is_not_attenuated() -> None:
    """The conditional mean survives imputation: 0.3 a point of helper, -0.5 for the flag."""
    stacked = impute(incomplete(4000, seed=2), Imputer(METHODS, m=5), 3)
    design = np.column_stack([np.ones(len(stacked)), stacked["helper"], stacked["flag"]])
    slopes = np.linalg.lstsq(design, stacked["score"].to_numpy(), rcond=None)[0]
    assert slopes[1] == pytest.approx(0.3, abs=0.02)
    assert slopes[2] == pytest.approx(-0.5, abs=0.06)


def test_imputed_values_vary_between_imputations_as_much_as_is_not_known() -> None:
    """Residual SD .5 given helper and flag, where both are known: between imputations a value spreads about as much."""
    frame = incomplete(2000, seed=3)
    stacked = impute(frame, Imputer(METHODS, m=20), 3)
    gap = (frame["score"].isna() & frame["helper"].notna() & frame["flag"].notna()).to_numpy()
    values = stacked["score"].to_numpy().reshape(20, len(frame))[:, gap]
    assert values.std(axis=0, ddof=1).mean() == pytest.approx(0.5, abs=0.05)


def test_few_observed_rows_and_separation_do_not_break_it() -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(rng.normal(size=(25, 18)), columns=[f"x{j}" for j in range(18)])
    frame.loc[5:, "x0"] = np.nan
    frame["flag"] = (frame["x1"] > 0).astype(float).where(np.arange(25) % 4 > 0)
    stacked = impute(frame, Imputer({"x0": "normal", "flag": "logistic"}, m=3), 1)
    assert np.isfinite(stacked.to_numpy()).all()
    assert stacked["x0"].abs().max() < 50


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.assign(whole=np.nan), "names no method"),
        (lambda frame: frame.assign(score=np.nan), "all 300 values are missing"),
        (lambda frame: frame.assign(flag=frame["flag"] * 2), "neither 0 nor 1"),
    ],
)
def test_what_cannot_be_imputed_is_named(change: object, message: str) -> None:
    with pytest.raises(ImputationError, match=message):
        impute(change(incomplete()), Imputer(METHODS), 1)  # type: ignore[operator]


def test_nelson_aalen_by_hand() -> None:
    """Deaths at 1 (of 4), at 3 (two of 3 at risk, one of them having entered at 2); the row censored at 2 left in between."""
    hazard = nelson_aalen([1.0, 2.0, 3.0, 3.0, 5.0], [1, 0, 1, 1, 0], start=[0.0, 0.0, 0.0, 2.0, 0.0])
    np.testing.assert_allclose(hazard, [1 / 4, 1 / 4, 1 / 4 + 2 / 3, 1 / 4 + 2 / 3, 1 / 4 + 2 / 3])


def test_leaving_out_the_outcome_pulls_the_coefficient_to_zero() -> None:
    """White and Royston (2009): the imputation model needs the event and the Nelson-Aalen estimate. One large sample."""
    rng = np.random.default_rng(11)
    n, truth = 8000, -0.5
    other = rng.normal(size=n)
    score = 0.4 * other + rng.normal(size=n)
    time_to_event, censored = rng.exponential(1 / np.exp(truth * score)), rng.uniform(0, 1, n)
    event, stop = time_to_event <= censored, np.minimum(time_to_event, censored)
    seen = np.where(rng.uniform(size=n) < 0.5, np.nan, score)
    outcome = {"event": event.astype(float), "nelson_aalen": nelson_aalen(stop, event)}

    def coefficient(**predictors: np.ndarray) -> float:
        stacked = impute(
            pd.DataFrame({"score": seen, "other": other, **predictors}),
            Imputer({"score": "normal"}, m=5, iterations=1),
            1,
        )
        sets = cox.risk_sets(stop, event)
        fits = [cox.fit_on(sets, one[["score", "other"]].to_numpy()) for _, one in stacked.groupby("imputation")]
        pooled = pool([fit.coefficients for fit in fits], [np.diag(fit.covariance) for fit in fits], complete_df=1000)
        return float(pooled.estimate[0])

    assert coefficient(**outcome) == pytest.approx(truth, abs=0.05)
    assert coefficient() - truth > 0.15, "the mutant that must be seen"
