"""Rubin's rules against a small example worked by hand and against mice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from orchestration.analysis.pooling import PoolingError, pool
from tests.analysis.reference_r import ask_r, needs_r


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
