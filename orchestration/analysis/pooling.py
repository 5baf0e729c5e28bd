"""Rubin's rules: from the estimates of m imputed data sets to one, and to a test of several at once. What is estimated is not known here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


class PoolingError(ValueError):
    """Estimates that cannot be pooled: shapes differ, none given, or a variance that is not positive."""


@dataclass(frozen=True)
class Pooled:
    """Pooled estimates of p terms. `fraction_missing` is the fraction of missing information (Rubin 1987, eq. 3.1.10)."""

    estimate: Array
    std_error: Array
    degrees_of_freedom: Array
    conf_low: Array
    conf_high: Array
    p_value: Array
    fraction_missing: Array
    lowest: Array
    highest: Array
    imputations: int


def pool(estimates: ArrayLike, variances: ArrayLike, complete_df: float, level: float = 0.95) -> Pooled:
    """Pool `estimates` and their `variances`, both (m, p).

    `complete_df`: degrees of freedom had nothing been missing; for a Cox model events - p, as mice takes it.
    Within W, between B, total T = W + (1 + 1/m) B (Rubin 1987, section 3.1). Degrees of freedom by Barnard & Rubin (1999),
    eq. 3: with lambda = (1 + 1/m) B / T, 1/df = lambda^2 / (m - 1) + 1 / df_observed, where df_observed =
    (complete_df + 1) / (complete_df + 3) * complete_df * (1 - lambda). Intervals and p-values are of Student's t.
    Raises `PoolingError`.
    """
    from scipy import stats

    q, u = np.asarray(estimates, dtype=np.float64), np.asarray(variances, dtype=np.float64)
    if q.ndim != 2 or q.shape != u.shape or not len(q):
        raise PoolingError(f"estimates {q.shape} and variances {u.shape}; expected two arrays (imputations, terms)")
    if not (np.isfinite(q).all() and np.isfinite(u).all() and (u > 0).all()):
        raise PoolingError("an estimate is not finite or a variance not positive in one of the imputations")
    if not complete_df > 0:
        raise PoolingError(
            f"{complete_df:g} degrees of freedom in the complete data; there must be more events than terms"
        )
    m = len(q)
    mean, within = q.mean(axis=0), u.mean(axis=0)
    between = q.var(axis=0, ddof=1) if m > 1 else np.zeros_like(mean)
    added = (1 + 1 / m) * between
    total = within + added
    share = added / total
    observed_df = (complete_df + 1) / (complete_df + 3) * complete_df * (1 - share)
    df = 1 / (share**2 / max(m - 1, 1) + 1 / observed_df)
    increase = added / within
    std_error = np.sqrt(total)
    half = stats.t.ppf(0.5 + level / 2, df) * std_error
    return Pooled(
        estimate=mean,
        std_error=std_error,
        degrees_of_freedom=df,
        conf_low=mean - half,
        conf_high=mean + half,
        p_value=2 * stats.t.sf(np.abs(mean) / std_error, df),
        fraction_missing=np.where(increase > 0, (increase + 2 / (df + 3)) / (increase + 1), 0.0),
        lowest=q.min(axis=0),
        highest=q.max(axis=0),
        imputations=m,
    )


@dataclass(frozen=True)
class JointTest:
    """A test that k parameters are zero: F on (`df_numerator`, `df_denominator`) degrees of freedom. `relative_increase` is the
    average relative increase in variance due to what is missing."""

    statistic: float
    df_numerator: int
    df_denominator: float
    p_value: float
    relative_increase: float
    imputations: int


def pool_joint(estimates: ArrayLike, covariances: ArrayLike, complete_df: float) -> JointTest:
    """D1: the Wald test of `estimates` (m, k) with `covariances` (m, k, k) that all k parameters are zero, pooled over m data sets.

    With mean Q, within W, between B and r = (1 + 1/m) tr(B W^-1) / k, D1 = Q' W^-1 Q / (k (1 + r)) (Li, Raghunathan & Rubin
    1991, eqs. 1.17-1.18). F on k and v degrees of freedom: v by Reiter (2007, eq. 6) for finite `complete_df`, which keeps v
    at or below it; by Li et al. (eq. 1.19) for infinite ones. Where Reiter's formula is not defined (k (m - 1) <= 4, or too few
    complete degrees of freedom) those of Li et al., at most `complete_df`.
    One data set (nothing imputed) gives the Wald F on k and `complete_df`. Raises `PoolingError`.
    """
    from scipy import stats

    q, u = np.asarray(estimates, dtype=np.float64), np.asarray(covariances, dtype=np.float64)
    if q.ndim != 2 or not q.size or u.shape != (*q.shape, q.shape[1]):
        raise PoolingError(
            f"estimates {q.shape} and covariances {u.shape}; expected (imputations, k) and (imputations, k, k)"
        )
    if not (np.isfinite(q).all() and np.isfinite(u).all()):
        raise PoolingError("an estimate or a covariance is not finite in one of the imputations")
    if not complete_df > 0:
        raise PoolingError(f"{complete_df:g} degrees of freedom in the complete data; there must be more than none")
    m, k = q.shape
    mean, within = q.mean(axis=0), u.mean(axis=0)
    try:
        np.linalg.cholesky(within)
    except np.linalg.LinAlgError:
        raise PoolingError(
            "the mean covariance is not positive definite, so that the terms cannot be tested at once"
        ) from None
    wald = float(mean @ np.linalg.solve(within, mean))
    if m == 1:
        statistic, r, df = wald / k, 0.0, float(complete_df)
    else:
        deviation = q - mean
        between = deviation.T @ deviation / (m - 1)
        r = float((1 + 1 / m) * np.trace(np.linalg.solve(within, between)) / k)
        statistic, df = wald / (k * (1 + r)), _joint_df(m, k, r, float(complete_df))
    return JointTest(statistic, k, df, float(stats.f.sf(statistic, k, df)), r, m)


def _joint_df(m: int, k: int, r: float, complete_df: float) -> float:
    """Denominator degrees of freedom of D1 (Li et al. 1991; Reiter 2007)."""
    t = k * (m - 1)
    if r <= 0:
        return complete_df if np.isfinite(complete_df) else np.inf
    if t <= 4:
        return min(t * (1 + 1 / k) * (1 + 1 / r) ** 2 / 2, complete_df)
    many = 4 + (t - 4) * (1 + (1 - 2 / t) / r) ** 2
    if not np.isfinite(complete_df):
        return many
    a = r * t / (t - 2)
    c = complete_df * (complete_df + 1) / (complete_df + 3)
    c0, c1, c2 = c - 2 * (1 + a), c - 4 * (1 + a), 1 + a
    if c1 <= 0:
        return min(many, complete_df)
    z = (
        1 / c1
        + a**2 * c0 / (c2**2 * c1) / (t - 4)
        + (8 * a**2 * c0 / (c2 * c1**2) + 4 * a**2 / (c2 * c1)) / (t - 4)
        + (4 * a**2 / (c1 * c0) + 16 * a**2 * c0 / c1**3) / (t - 4)
        + 8 * a**2 / c1**2 / (t - 4)
    )
    return 4 + 1 / z
