"""Chained equations: deterministic, proper, aware of the outcome and of answered items, beside mice, and diagnosed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from orchestration.analysis import cox
from orchestration.analysis.imputation import (
    DIAGNOSTIC_COLUMNS,
    TRACE_COLUMNS,
    Hint,
    ImputationError,
    Imputer,
    imputation_diagnostics,
    impute,
    item_hints,
    nelson_aalen,
    potential_scale_reduction,
)
from orchestration.analysis.pooling import pool
from tests.analysis.reference_r import ask_r, needs_r

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


@needs_r
def test_pooled_estimates_are_those_of_mice_within_the_error_of_drawing(tmp_path: Path) -> None:
    """SIMULATED data, m = 200 for both: a linear model over normal, logistic and matched columns. Estimates within four Monte-
    Carlo standard errors of the two, standard errors within 5 %."""
    frame, m = incomplete(150, seed=4), 200
    methods = {"score": "norm", "helper": "pmm", "flag": "logreg", "whole": ""}
    script = f"""
suppressMessages(library(mice)); d <- frame("d"); d$flag <- factor(d$flag)
imp <- mice(d, m = {m}, maxit = 2, method = c({", ".join(f'{k} = "{v}"' for k, v in methods.items())}), printFlag = FALSE, seed = 5)
f <- with(imp, lm(score ~ helper + I(flag == "1") + whole)); s <- summary(pool(f)); say("estimate", s$estimate); say("error", s$std.error)
say("between", pool(f)$pooled$b)
"""
    answers = ask_r(tmp_path, script, d=frame)
    stacked = impute(frame, Imputer(METHODS, m=m, iterations=2), 6)
    estimates, variances = [], []
    for _, one in stacked.groupby("imputation"):
        x = np.column_stack([np.ones(len(one)), one[["helper", "flag", "whole"]]])
        y = one["score"].to_numpy()
        beta = np.linalg.lstsq(x, y, rcond=None)[0]
        estimates.append(beta)
        variances.append(np.diag(np.linalg.inv(x.T @ x)) * ((y - x @ beta) ** 2).sum() / (len(x) - 4))
    ours = pool(estimates, variances, complete_df=len(frame) - 4)
    by_drawing = np.sqrt(answers["between"] / m + np.var(estimates, axis=0, ddof=1) / m)
    assert (np.abs(ours.estimate - answers["estimate"]) < 4 * by_drawing).all()
    np.testing.assert_allclose(ours.std_error, answers["error"], rtol=0.05)


def answered(n: int = 1500, seed: int = 8) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """A score of five items; one in five, and more of those who answer low, answered only the first three and so lack it. Frame, truth, items."""
    rng = np.random.default_rng(seed)
    other, trait = rng.normal(size=n), rng.normal(size=n)
    items = 0.3 * other[:, None] + trait[:, None] + rng.normal(0, 0.8, (n, 5))
    truth = items.mean(axis=1)
    is_partial = rng.uniform(size=n) < np.where(items[:, :3].mean(axis=1) < 0, 0.35, 0.05)
    frame = pd.DataFrame({"score": np.where(is_partial, np.nan, truth), "other": other})
    return frame, truth, items


def test_the_answers_that_were_given_tell_of_the_score() -> None:
    """Those who lack the score are low. Without their answers they are imputed as if like the rest; with them the bias goes,
    a value lies closer to the truth, and still varies between imputations by what the two other items leave open."""
    frame, truth, items = answered()
    gap = frame["score"].isna().to_numpy()
    hint = Hint(np.flatnonzero(gap), items[:, :3].mean(axis=1))
    imputer = Imputer({"score": "normal"}, m=20, iterations=3)

    def drawn(**hints: list[Hint]) -> np.ndarray:
        return impute(frame, imputer, 2, hints)["score"].to_numpy().reshape(20, -1)[:, gap]

    blind, told = drawn(), drawn(score=[hint])
    assert blind.mean() - truth[gap].mean() > 0.4
    assert told.mean() == pytest.approx(truth[gap].mean(), abs=0.04)
    assert np.sqrt(((told - truth[gap]) ** 2).mean()) < 0.5 * np.sqrt(((blind - truth[gap]) ** 2).mean())
    assert told.std(axis=0, ddof=1).mean() == pytest.approx((told - truth[gap]).std() / np.sqrt(2), rel=0.1)


def test_a_hint_moves_only_its_rows_and_few_who_have_both_leave_the_ordinary_draw() -> None:
    frame, _, items = answered(300)
    gap = np.flatnonzero(frame["score"].isna())
    imputer = Imputer({"score": "normal"}, m=2, iterations=1)
    plain = impute(frame, imputer, 4)
    some = Hint(gap[:5], items[:, :3].mean(axis=1))
    moved = impute(frame, imputer, 4, {"score": [some]})["score"].to_numpy() != plain["score"].to_numpy()
    assert set(np.flatnonzero(moved) % 300) == set(gap[:5])
    values = np.full(300, np.nan)
    values[gap[:5]] = 1.0
    values[np.flatnonzero(frame["score"].notna())[:15]] = 2.0
    assert impute(frame, imputer, 4, {"score": [Hint(gap[:5], values)]}).equals(plain)


def test_items_become_hints_by_the_set_that_was_answered() -> None:
    """a, b have the score; c gave items 1 and 2, d only item 3; e gave an item of a rating of which nothing else is known."""
    client = np.array(list("abcde"), dtype=object)
    scores = pd.DataFrame(
        {
            "client_trust_t2": [3.0, 4.0, np.nan, np.nan, np.nan],
            "client_bond_t2": [3.0, np.nan, 2.0, 5.0, np.nan],
            "officer_trust_t2": [1.0, 1.0, np.nan, 1.0, 1.0],
        }
    )
    given = [
        ("a", 1, 2),
        ("a", 2, 3),
        ("a", 3, 4),
        ("b", 1, 5),
        ("b", 2, 3),
        ("c", 1, 1),
        ("c", 2, 2),
        ("d", 3, 5),
        ("e", 1, 1),
    ]
    items = pd.DataFrame(given, columns=["client_id", "item", "value"])
    items = items.assign(rater="client", scale="trust", wave="T2", item="trust_0" + items["item"].astype(str))
    hints = item_hints(items, client, scores)
    assert list(hints) == ["client_trust_t2"]
    third, both = hints["client_trust_t2"]
    assert (third.rows.tolist(), both.rows.tolist()) == ([3], [2])
    np.testing.assert_allclose(third.values, [4, np.nan, np.nan, 5, np.nan])
    np.testing.assert_allclose(both.values, [2.5, 4, 1.5, np.nan, np.nan])
    assert item_hints(items.iloc[:0], client, scores) == {}


def test_the_trace_ends_at_what_was_imputed_and_recording_changes_nothing() -> None:
    frame, imputer, traces = incomplete(), Imputer(METHODS, m=3, iterations=4), []
    stacked = impute(frame, imputer, 5, record=traces.append)
    assert stacked.equals(impute(frame, imputer, 5))
    (trace,) = traces
    assert tuple(trace.columns) == TRACE_COLUMNS and len(trace) == 3 * 3 * 4
    for column in METHODS:
        drawn = stacked[column].to_numpy().reshape(3, -1)[:, frame[column].isna()]
        last = trace[(trace["column"] == column) & (trace["iteration"] == 4)].sort_values("imputation")
        np.testing.assert_allclose(last["mean"], drawn.mean(axis=1), rtol=1e-9)
        np.testing.assert_allclose(last["sd"], drawn.std(axis=1, ddof=1), rtol=1e-9)


def test_chains_that_stay_apart_are_seen_and_those_that_mix_are_not() -> None:
    rng = np.random.default_rng(1)
    assert potential_scale_reduction(rng.normal(size=(20, 40))) == pytest.approx(1, abs=0.05)
    assert potential_scale_reduction(rng.normal(size=(20, 40)) + np.arange(20)[:, None]) > 3
    # Two chains, second halves (0, 2) and (2, 4): W = 2, variance of means 2, so sqrt(1/2 + 2/2).
    by_hand = potential_scale_reduction(np.array([[9.0, 9.0, 0.0, 2.0], [9.0, 9.0, 2.0, 4.0]]))
    assert by_hand == pytest.approx(np.sqrt(1.5))
    assert np.isnan(potential_scale_reduction(np.ones((1, 10)))) and np.isnan(
        potential_scale_reduction(np.ones((3, 2)))
    )


def test_diagnostics_compare_what_was_drawn_with_what_was_observed() -> None:
    """A column whose missing half is high by its helper: the drawn values are, by some SD, and no row is a person's."""
    rng = np.random.default_rng(3)
    helper = rng.normal(size=800)
    frame = pd.DataFrame({"score": helper + rng.normal(0, 0.3, 800), "helper": helper})
    frame.loc[helper > 0, "score"] = np.nan
    traces: list[pd.DataFrame] = []
    imputer = Imputer({"score": "normal"}, m=20, iterations=10)
    stacked = impute(frame, imputer, 1, record=traces.append)
    rows = imputation_diagnostics(frame, stacked, traces[0], imputer, 1.2)
    assert tuple(rows.columns) == DIAGNOSTIC_COLUMNS and rows["column"].tolist() == ["score"]
    row = rows.iloc[0]
    assert row["observed"] + row["missing"] == 800 and row["method"] == "normal" and row["note"] is None
    assert row["standardised_difference"] > 2 and 0.7 < row["largest_distance"] <= 1
    assert row["rhat_mean"] < 1.2
    apart = traces[0].assign(mean=traces[0]["mean"] + traces[0]["imputation"])
    assert "chains differ" in str(imputation_diagnostics(frame, stacked, apart, imputer, 1.2)["note"].iloc[0])


def test_of_a_single_missing_value_there_are_counts_only() -> None:
    frame = incomplete(100).dropna().reset_index(drop=True)
    frame.loc[3, "score"] = np.nan
    traces: list[pd.DataFrame] = []
    stacked = impute(frame, Imputer(METHODS, m=3, iterations=4), 1, record=traces.append)
    row = imputation_diagnostics(frame, stacked, traces[0], Imputer(METHODS, m=3), 1.2).iloc[0]
    assert not len(traces[0]) and (row["column"], row["missing"], row["observed"]) == ("score", 1, len(frame) - 1)
    assert row[["imputed_mean", "imputed_sd", "largest_distance", "rhat_mean"]].isna().all() and row["note"] is None
