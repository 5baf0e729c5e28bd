"""Rubin's rules and the joint test against small examples worked by hand and against mice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from orchestration.analysis.pooling import PoolingError, pool, pool_joint
from tests.analysis.question_agreement import bar, joint_differences
from tests.analysis.reference_r import ask_r, needs_r, skip_without


def test_three_imputations_by_hand() -> None:
    """Estimates 1, 2, 3 with variances 1, 1, 4: W = 2, B = 1, T = 2 + 4/3, lambda = .4, df by Barnard and Rubin (1999)."""
    pooled = pool([[1.0], [2.0], [3.0]], [[1.0], [1.0], [4.0]], complete_df=20)
    assert pooled.estimate[0] == pytest.approx(2.0)
    assert pooled.std_error[0] ** 2 == pytest.approx(10 / 3)
    old, observed = 2 / 0.4**2, 21 / 23 * 20 * 0.6
    df = old * observed / (old + observed)
    assert pooled.degrees_of_freedom[0] == pytest.approx(df)
    r = (4 / 3) / 2
    assert pooled.fraction_missing[0] == pytest.approx((r + 2 / (df + 3)) / (r + 1))
    assert (pooled.lowest[0], pooled.highest[0], pooled.imputations) == (1.0, 3.0, 3)


def test_imputations_that_agree_cost_nothing() -> None:
    pooled = pool([[0.4]] * 5, [[0.09]] * 5, complete_df=40)
    assert pooled.std_error[0] == pytest.approx(0.3)
    assert pooled.fraction_missing[0] == 0
    assert pooled.degrees_of_freedom[0] == pytest.approx(41 / 43 * 40)


@pytest.mark.parametrize(
    ("estimates", "variances", "df", "message"),
    [
        ([[1.0, 2.0]], [[1.0]], 10, "expected two arrays"),
        ([[1.0]], [[0.0]], 10, "variance not positive"),
        ([[np.nan]], [[1.0]], 10, "not finite"),
        ([[1.0]], [[1.0]], -1, "more events than terms"),
    ],
)
def test_what_cannot_be_pooled_is_refused(
    estimates: list[list[float]], variances: list[list[float]], df: float, message: str
) -> None:
    with pytest.raises(PoolingError, match=message):
        pool(estimates, variances, complete_df=df)


@needs_r
def test_estimates_errors_and_degrees_of_freedom_are_those_of_mice(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    m, p, df = 20, 3, 52
    estimates, variances = rng.normal([0.2, -0.5, 1.0], 0.15, (m, p)), rng.uniform(0.03, 0.06, (m, p))
    table = pd.DataFrame({"q": estimates.T.ravel(), "u": variances.T.ravel(), "term": np.repeat(np.arange(p), m)})
    script = f"""
suppressMessages(library(mice)); d <- frame("d")
for (k in 0:{p - 1}) {{ s <- d[d$term == k, ]; f <- pool.scalar(s$q, s$u, n = {df + 1}, k = 1)
  say(paste0("term", k), c(f$qbar, sqrt(f$t), f$df, f$fmi)) }}
"""
    answers = ask_r(tmp_path, script, d=table)
    pooled = pool(estimates, variances, complete_df=df)
    for k in range(p):
        ours = [pooled.estimate[k], pooled.std_error[k], pooled.degrees_of_freedom[k], pooled.fraction_missing[k]]
        np.testing.assert_allclose(ours, answers[f"term{k}"], rtol=1e-10)


@needs_r
def test_the_joint_test_is_that_of_mice(tmp_path: Path) -> None:
    skip_without("mitml")
    for name, difference in joint_differences(tmp_path).items():
        assert difference < bar(name), name


def test_one_parameter_at_once_is_the_square_of_its_t() -> None:
    estimates, variances = np.array([[0.4], [0.7], [0.5], [0.6]]), np.array([[0.04], [0.05], [0.04], [0.03]])
    single, joint = pool(estimates, variances, 60), pool_joint(estimates, variances[:, :, None], 60)
    assert joint.statistic == pytest.approx((single.estimate[0] / single.std_error[0]) ** 2)


def test_nothing_imputed_is_the_ordinary_wald_test() -> None:
    joint = pool_joint([[1.0, 2.0]], [np.diag([0.5, 1.0])], complete_df=30)
    assert (joint.statistic, joint.df_denominator, joint.relative_increase) == (pytest.approx(3.0), 30, 0.0)
    same = pool_joint([[1.0, 2.0]] * 3, [np.diag([0.5, 1.0])] * 3, complete_df=30)
    assert (same.statistic, same.df_denominator) == (pytest.approx(3.0), 30)


@pytest.mark.parametrize(("m", "complete_df"), [(20, 60.0), (5, 60.0), (5, np.inf)])
def test_the_joint_test_rejects_one_in_twenty_where_nothing_is_true(m: int, complete_df: float) -> None:
    """Three parameters, half as much variance between imputations as within: 4,000 studies, p of .05 within .038 and .062."""
    rng = np.random.default_rng(12)
    rejected = 0
    for _ in range(4000):
        centre = rng.normal(0, np.sqrt(1.5), 3)
        variance = 1.0 if np.isinf(complete_df) else rng.chisquare(complete_df) / complete_df
        estimates = centre + rng.normal(0, np.sqrt(0.5), (m, 3))
        covariances = np.broadcast_to(variance * np.eye(3), (m, 3, 3))
        rejected += pool_joint(estimates, covariances, complete_df).p_value < 0.05
    assert 0.038 < rejected / 4000 < 0.062


def test_degrees_of_freedom_of_the_joint_test_never_exceed_those_of_the_complete_data() -> None:
    rng = np.random.default_rng(2)
    for complete_df in (6.0, 25.0, 130.0):
        for m, k in [(2, 1), (3, 2), (5, 1), (5, 3), (20, 2)]:
            test = pool_joint(rng.normal(size=(m, k)), np.broadcast_to(np.eye(k), (m, k, k)), complete_df)
            assert 0 < test.df_denominator <= complete_df


@pytest.mark.parametrize(
    ("estimates", "covariances", "df", "message"),
    [
        ([[1.0, 2.0]], [[[1.0]]], 10, "expected"),
        ([[1.0, 2.0]], [np.ones((2, 2))], 10, "not positive definite"),
        ([[np.inf]], [[[1.0]]], 10, "not finite"),
        ([[1.0]], [[[1.0]]], 0, "more than none"),
    ],
)
def test_what_cannot_be_tested_at_once_is_refused(
    estimates: list[list[float]], covariances: object, df: float, message: str
) -> None:
    with pytest.raises(PoolingError, match=message):
        pool_joint(estimates, covariances, complete_df=df)  # type: ignore[arg-type]
