"""Residuals of a fitted Cox model, and the score test of proportional hazards that is made of them. Fitting lives in `cox.py`.

Every function takes the `RiskSets` and covariates (n, p) of the fit and the fit; rows come back in the order they were given,
rows of events in the order of `RiskSets.deaths` (by stratum, then time). Notation is that of the docstring of `cox.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from orchestration.analysis.cox import (
    Array,
    CoxFit,
    CoxInputError,
    Moments,
    RiskSets,
    moments,
    over_exposure,
)

TimeTransform = Literal["km", "identity", "rank", "log"]


def martingale_residuals(sets: RiskSets, covariates: ArrayLike, fit: CoxFit) -> Array:
    """(n,) event minus expected events of each row (Therneau & Grambsch 2000, section 4.2; Efron form: section 4.7.2).

    Rows of one person may be summed; weights count in the hazard and do not multiply the residual.
    """
    at = moments(sets, covariates, fit.coefficients)
    residuals = sets.event - at.risk * over_exposure(sets, at.hazard)
    residuals[sets.deaths] += at.risk[sets.deaths] * at.spared[sets.death_time]
    return residuals


def deviance_residuals(martingale: ArrayLike, event: ArrayLike) -> Array:
    """Martingale residuals made symmetric (Therneau, Grambsch & Fleming 1990): sign(M) sqrt(-2 [M + d log(d - M)]).

    Both (n,); with several rows per person, sum residuals and events by person first.
    """
    m, d = np.asarray(martingale, dtype=np.float64), np.asarray(event, dtype=np.float64)
    inner = m + np.where(d > 0, d * np.log(np.where(d > 0, d - m, 1.0)), 0.0)
    return np.sign(m) * np.sqrt(np.maximum(-2 * inner, 0.0))


def score_residuals(sets: RiskSets, covariates: ArrayLike, fit: CoxFit) -> Array:
    """(n, p) contribution u_i of each row to the score, unweighted (Therneau & Grambsch 2000, section 4.6)."""
    at = moments(sets, covariates, fit.coefficients)
    exposure, drift = over_exposure(sets, at.hazard), over_exposure(sets, at.drift)
    residuals = at.risk[:, None] * (drift - at.x * exposure[:, None])
    died, k = sets.deaths, sets.death_time
    residuals[died] += _schoenfeld(sets, at)
    residuals[died] += at.risk[died, None] * (at.x[died] * at.spared[k, None] - at.spared_drift[k])
    return residuals


def dfbeta_residuals(sets: RiskSets, covariates: ArrayLike, fit: CoxFit) -> Array:
    """(n, p) approximate change of each coefficient when a row is there rather than not: w_i u_i' V (Cain & Lange 1984)."""
    return (sets.weights[:, None] * score_residuals(sets, covariates, fit)) @ fit.covariance


def schoenfeld_residuals(sets: RiskSets, covariates: ArrayLike, fit: CoxFit) -> Array:
    """(events, p) covariates of each death minus their mean over its risk set (Schoenfeld 1982), unweighted."""
    return _schoenfeld(sets, moments(sets, covariates, fit.coefficients))


def scaled_schoenfeld_residuals(sets: RiskSets, covariates: ArrayLike, fit: CoxFit) -> Array:
    """(events, p) coefficients + events V s_i: about the coefficient at each death's time (Grambsch & Therneau 1994, eq. 4)."""
    return fit.coefficients + sets.events * schoenfeld_residuals(sets, covariates, fit) @ fit.covariance


def event_times(sets: RiskSets) -> Array:
    """(events,) the time of each row of the Schoenfeld residuals, in the unit of `stop`."""
    return sets.time[sets.death_time]


@dataclass(frozen=True)
class ProportionalHazardsTest:
    """Chi-squared, degrees of freedom and p-value for each name in `terms`; the last is `GLOBAL`."""

    terms: tuple[str, ...]
    chi_squared: Array
    degrees_of_freedom: Array
    p_value: Array
    transform: TimeTransform

    @property
    def global_p_value(self) -> float:
        """That no coefficient changes with time."""
        return float(self.p_value[-1])


def proportional_hazards_test(
    sets: RiskSets,
    covariates: ArrayLike,
    fit: CoxFit,
    *,
    transform: TimeTransform = "km",
    groups: Mapping[str, Sequence[str]] | None = None,
) -> ProportionalHazardsTest:
    """Score test of gamma = 0 in x'(b + gamma g(t)), the model errors being those of the fit (Grambsch & Therneau 1994; no
    approximation of a constant variance of the residuals, as in R's `cox.zph` since survival 3).

    `transform` is g: one minus the left-continuous Kaplan-Meier of all rows, the time, its rank among the ends of all rows, or its logarithm. `groups`
    names terms that are tested together (the columns of one factor); by default every term is tested alone. Raises
    `CoxInputError` for a group with an unknown term, and for a logarithm of time zero.
    """
    from scipy import stats

    g = _transformed(sets, transform)
    # The score of b is zero, so that g may be centred: this keeps the matrices below well-conditioned.
    g = g - (g * sets.tied).sum() / sets.tied.sum()
    at = moments(sets, covariates, fit.coefficients)
    weighted = _schoenfeld(sets, at) * sets.weights[sets.deaths, None]
    score = g[sets.death_time] @ weighted
    plain, cross, squared = (_information(sets, at, power) for power in (np.ones_like(g), g, g**2))
    variance = squared - cross @ np.linalg.solve(plain, cross)

    alone: dict[str, tuple[str, ...]] = {term: (term,) for term in fit.terms}
    asked = alone if groups is None else {name: tuple(groups[name]) for name in groups}
    unknown = sorted({term for members in asked.values() for term in members} - set(fit.terms))
    if unknown:
        raise CoxInputError(f"no term {', '.join(unknown)} in the fit; it has {', '.join(fit.terms)}")
    asked["GLOBAL"] = fit.terms
    chi_squared, freedom = [], []
    for members in asked.values():
        place = [fit.terms.index(term) for term in members]
        chi_squared.append(float(score[place] @ np.linalg.solve(variance[np.ix_(place, place)], score[place])))
        freedom.append(float(len(place)))
    return ProportionalHazardsTest(
        tuple(asked), np.array(chi_squared), np.array(freedom), stats.chi2.sf(chi_squared, freedom), transform
    )


def _schoenfeld(sets: RiskSets, at: Moments) -> Array:
    return at.x[sets.deaths] - at.mean[sets.death_time]


def _information(sets: RiskSets, at: Moments, g: Array) -> Array:
    """(p, p) sum over event times of g_k V_k, V_k being the information that the time contributes."""
    weighted = sets.weights * at.risk
    share = weighted * over_exposure(sets, g * at.hazard)
    share[sets.deaths] -= weighted[sets.deaths] * (g * at.spared)[sets.death_time]
    return at.x.T @ (share[:, None] * at.x) - at.squares(g)


def _transformed(sets: RiskSets, transform: TimeTransform) -> Array:
    """(K,) g(t) of each event time of each stratum."""
    if transform == "identity":
        return sets.time
    if transform == "log":
        return np.log(sets.time)
    if transform == "rank":
        stops = np.sort(sets.stop)
        return (np.searchsorted(stops, sets.time) + 1 + np.searchsorted(stops, sets.time, side="right")) / 2
    if transform == "km":
        times, counts = np.unique(event_times(sets), return_counts=True)
        at_risk = sets.n - np.searchsorted(np.sort(sets.stop), times)
        if sets.start is not None:
            at_risk = at_risk - (sets.n - np.searchsorted(np.sort(sets.start), times))
        before = np.concatenate([[1.0], np.cumprod(1 - counts / at_risk)])
        return 1 - before[np.searchsorted(times, sets.time)]
    raise CoxInputError(f"transform must be km, identity, rank or log, not {transform}")
