"""Rubin's rules: from the estimates of m imputed data sets to one, with degrees of freedom. What is estimated is not known here."""

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
