"""Tests and combinations of the coefficients of a fitted Cox model, and its information criteria. Fitting lives in `cox.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from orchestration.analysis.cox import Array, CoxFit, CoxInputError


@dataclass(frozen=True)
class ChiSquaredTest:
    """A statistic that has a chi-squared distribution with so many degrees of freedom if the hypothesis holds."""

    statistic: float
    degrees_of_freedom: int
    p_value: float


@dataclass(frozen=True)
class Combination:
    """A weighted sum of coefficients: a log hazard ratio, its error, limits and two-sided p-value."""

    estimate: float
    std_error: float
    low: float
    high: float
    p_value: float


def likelihood_ratio_test(fit: CoxFit, smaller: CoxFit | None = None) -> ChiSquaredTest:
    """Twice the difference of log-likelihoods: against no covariates, or against a nested fit on the same rows.

    It knows nothing of clusters or of weights that are not frequencies. Raises `CoxInputError` where `smaller` is not nested.
    """
    if smaller is None:
        return _test(2 * (fit.log_likelihood - fit.log_likelihood_null), len(fit.terms))
    extra = set(smaller.terms) - set(fit.terms)
    if (
        extra
        or len(smaller.terms) >= len(fit.terms)
        or (smaller.n, smaller.events, smaller.ties) != (fit.n, fit.events, fit.ties)
    ):
        raise CoxInputError(
            f"not nested: {len(extra)} of {len(smaller.terms)} terms of the smaller fit are not among the {len(fit.terms)} of the larger; "
            f"rows {smaller.n} and {fit.n}, events {smaller.events} and {fit.events}, ties {smaller.ties} and {fit.ties}"
        )
    return _test(2 * (fit.log_likelihood - smaller.log_likelihood), len(fit.terms) - len(smaller.terms))


def score_test(fit: CoxFit) -> ChiSquaredTest:
    """Rao's test of all coefficients being zero; with one binary covariate and no ties, the log-rank test (Cox 1972)."""
    return _test(fit.score_test, len(fit.terms))


def wald_test(fit: CoxFit, terms: Sequence[str] | None = None) -> ChiSquaredTest:
    """That the coefficients of `terms` (all by default) are zero, by the clustered errors where there are clusters."""
    return wald_test_of(fit, np.eye(len(fit.terms))[_places(fit, fit.terms if terms is None else terms)])


def wald_test_of(fit: CoxFit, contrasts: ArrayLike, values: ArrayLike | None = None) -> ChiSquaredTest:
    """That L b equals `values` (q,; zero by default), `contrasts` being L (q, p) of full row rank: (Lb - v)' (L V L')^-1 (Lb - v)."""
    matrix = np.atleast_2d(np.asarray(contrasts, dtype=np.float64))
    if matrix.shape[1] != len(fit.terms) or np.linalg.matrix_rank(matrix) < len(matrix):
        raise CoxInputError(f"contrasts have shape {matrix.shape}, expected (q, {len(fit.terms)}) of full row rank")
    gap = matrix @ fit.coefficients - (0.0 if values is None else np.asarray(values, dtype=np.float64))
    return _test(float(gap @ np.linalg.solve(matrix @ fit.variance @ matrix.T, gap)), len(matrix))


def linear_combination(
    fit: CoxFit, weights: Mapping[str, float], *, level: float = 0.95, degrees_of_freedom: float | None = None
) -> Combination:
    """Sum of weight times coefficient, by term, with the errors of the fit; normal, or t where degrees of freedom are given."""
    from scipy import stats

    vector = np.zeros(len(fit.terms))
    vector[_places(fit, tuple(weights))] = list(weights.values())
    estimate, error = float(vector @ fit.coefficients), float(np.sqrt(vector @ fit.variance @ vector))
    law = stats.norm() if degrees_of_freedom is None else stats.t(degrees_of_freedom)
    reach = float(law.ppf(0.5 + level / 2)) * error
    return Combination(estimate, error, estimate - reach, estimate + reach, float(2 * law.sf(abs(estimate) / error)))


def akaike(fit: CoxFit) -> float:
    """-2 log partial likelihood + 2 terms (Akaike 1974); comparable between fits on the same rows only."""
    return 2 * len(fit.terms) - 2 * fit.log_likelihood


def schwarz(fit: CoxFit) -> float:
    """-2 log partial likelihood + terms x log events (Volinsky & Raftery 2000)."""
    return float(np.log(fit.events)) * len(fit.terms) - 2 * fit.log_likelihood


def _places(fit: CoxFit, terms: Sequence[str]) -> list[int]:
    unknown = [term for term in terms if term not in fit.terms]
    if unknown or not terms:
        raise CoxInputError(f"no term {', '.join(unknown) or 'given'}; the fit has {', '.join(fit.terms)}")
    return [fit.terms.index(term) for term in terms]


def _test(statistic: float | Array, degrees_of_freedom: int) -> ChiSquaredTest:
    from scipy import stats

    return ChiSquaredTest(float(statistic), degrees_of_freedom, float(stats.chi2.sf(statistic, degrees_of_freedom)))
