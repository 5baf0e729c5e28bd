"""What a fitted Cox model predicts, with errors, and how well it ranks: baseline hazard, survival, concordance.

Fitting lives in `cox.py`, whose notation is used here; residuals and tests live beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from orchestration.analysis.cox import (
    Array,
    CoxFit,
    CoxInputError,
    IntArray,
    RiskSets,
    moments,
    summed_within,
)

IntervalScale = Literal["log", "log-log", "plain"]


@dataclass(frozen=True)
class PredictedSurvival:
    """Survival of q profiles at T times: every array is (q, T), `times` is (T,).

    `std_error` is that of `survival`, `hazard_std_error` that of `cumulative_hazard`.
    """

    times: Array
    cumulative_hazard: Array
    hazard_std_error: Array
    survival: Array
    std_error: Array
    low: Array
    high: Array
    level: float


def predicted_survival(
    sets: RiskSets,
    covariates: ArrayLike,
    fit: CoxFit,
    profiles: ArrayLike,
    times: ArrayLike,
    *,
    stratum: Any = None,
    since: float = 0.0,
    level: float = 0.95,
    interval: IntervalScale = "log",
    clustered: bool = False,
) -> PredictedSurvival:
    """exp(-H) for each row of `profiles` (q, p; in the covariates' unit) at each of `times`, in the unit of `stop`.

    H(t; z) = exp(z'b) sum of c_kl over the event times in (since, t] of one `stratum` (a label; needed where there are several):
    Breslow's estimator, or its Efron form where the fit is Efron's. Its variance (Tsiatis 1981; Therneau & Grambsch 2000,
    section 10.2.3) is exp(2 z'b) (sum of c_kl^2 / v_k + d'Vd), d = sum of c_kl (z - e_kl), V being the model's covariance, or
    the clustered one if `clustered`. Intervals are normal on the scale of `interval`. After the last event the curve is flat,
    though nobody may be under observation any more: that is for the caller to cut off. Raises `CoxInputError`.
    """
    from scipy import stats

    if clustered and fit.robust_covariance is None:
        raise CoxInputError("clustered errors asked of a fit without clusters")
    wanted = np.atleast_2d(np.asarray(profiles, dtype=np.float64))
    if wanted.shape[1] != len(fit.terms) or not np.isfinite(wanted).all():
        raise CoxInputError(
            f"profiles have shape {wanted.shape}, expected finite numbers of shape (q, {len(fit.terms)})"
        )
    asked = np.atleast_1d(np.asarray(times, dtype=np.float64))
    low_k, high_k = _bounds_of(sets, stratum)
    at = moments(sets, covariates, fit.coefficients)
    z = wanted - at.centre
    risk = np.exp(z @ fit.coefficients)

    known = sets.time[low_k:high_k]
    begin = np.searchsorted(known, since, side="right")
    place = np.maximum(np.searchsorted(known, asked, side="right"), begin)

    def until(by_time: Array) -> Array:
        cumulated = np.concatenate([np.zeros((1, *by_time.shape[1:])), np.cumsum(by_time[low_k:high_k], axis=0)])
        return cumulated[place] - cumulated[begin]

    base = until(at.hazard)  # (T,)
    own = until(at.hazard_variance)
    drift = until(at.drift)  # (T, p)
    distance = z[:, None, :] * base[None, :, None] - drift[None, :, :]  # (q, T, p)
    variance = own + np.einsum("qtp,pr,qtr->qt", distance, fit.variance if clustered else fit.covariance, distance)
    hazard = risk[:, None] * base
    error = risk[:, None] * np.sqrt(variance)
    survival = np.exp(-hazard)
    low, high = _interval(hazard, error, float(stats.norm.ppf(0.5 + level / 2)), interval)
    return PredictedSurvival(asked, hazard, error, survival, survival * error, low, high, level)


@dataclass(frozen=True)
class BaselineHazard:
    """Cumulative hazard of a profile just after each event time of one stratum, all (k,), and its standard error."""

    time: Array
    cumulative_hazard: Array
    std_error: Array


def baseline_hazard(
    sets: RiskSets, covariates: ArrayLike, fit: CoxFit, *, stratum: Any = None, profile: ArrayLike | None = None
) -> BaselineHazard:
    """Cumulative hazard at the event times of a stratum, for covariates of zero or of `profile` (p,). As `predicted_survival`."""
    low_k, high_k = _bounds_of(sets, stratum)
    times = sets.time[low_k:high_k]
    wanted = np.zeros(len(fit.terms)) if profile is None else np.asarray(profile, dtype=np.float64)
    found = predicted_survival(sets, covariates, fit, wanted[None, :], times, stratum=stratum)
    return BaselineHazard(times, found.cumulative_hazard[0], found.hazard_std_error[0])


@dataclass(frozen=True)
class Concordance:
    """Harrell's C of a score that is higher where the event is expected sooner; pairs are weighted by the product of weights."""

    value: float
    std_error: float
    concordant: float
    discordant: float
    tied: float  # comparable pairs with the same score

    @property
    def pairs(self) -> float:
        """Comparable pairs."""
        return self.concordant + self.discordant + self.tied


def concordance(sets: RiskSets, score: ArrayLike, *, clusters: ArrayLike | None = None) -> Concordance:
    """Share of comparable pairs in which the row with the higher `score` (n,) has the event first, ties counting half (Harrell
    et al. 1982), in O(n log n).

    A death is comparable with the rows of its stratum that are at risk at its time (entered before it) and do not fail with
    it. The error is the infinitesimal jackknife over rows, or over `clusters` (n,) (Therneau & Watson 2017). Raises
    `CoxInputError` where no pair is comparable.
    """
    values = np.asarray(score, dtype=np.float64)
    if values.shape != (sets.n,) or not np.isfinite(values).all():
        raise CoxInputError(f"scores have shape {values.shape}, expected {sets.n} finite numbers")
    rank = np.unique(values, return_inverse=True)[1].astype(np.int64)
    died, k, weights = sets.deaths, sets.death_time, sets.weights
    rows = np.flatnonzero(sets.last > sets.first)
    last = sets.last[rows] - sets.event[rows]  # at its own time a death has no pair with those that fail with it
    # Of each death: the weight of comparable rows by their score. Rows that leave later, less those that enter later.
    leaving, entering = np.argsort(last, kind="stable"), np.argsort(sets.first[rows], kind="stable")
    from_leaving = np.searchsorted(last[leaving], k, side="right")
    from_entering = np.searchsorted(sets.first[rows][entering], k, side="right")
    end = np.full(len(died), len(rows))

    def rows_below(threshold: IntArray) -> Array:
        out = _weight_below(rank[rows][leaving], weights[rows][leaving], from_leaving, end, threshold)
        return out - _weight_below(rank[rows][entering], weights[rows][entering], from_entering, end, threshold)

    everyone = np.full(len(died), rank.max() + 1)
    below, upto, total = rows_below(rank[died]), rows_below(rank[died] + 1), rows_below(everyone)
    concordant, tied, discordant = below, upto - below, total - upto
    # Of each row: the weight of the deaths that it is comparable with, by their score.
    since, until = np.searchsorted(k, sets.first[rows]), np.searchsorted(k, last)
    until = np.maximum(since, until)

    def deaths_below(threshold: IntArray) -> Array:
        return _weight_below(rank[died], weights[died], since, until, threshold)

    cumulated = np.concatenate([[0.0], np.cumsum(weights[died])])
    beaten, as_well = deaths_below(rank[rows]), deaths_below(rank[rows] + 1)
    all_deaths = cumulated[until] - cumulated[since]
    mass = weights[died]
    counts = [float(mass @ kind) for kind in (concordant, discordant, tied)]
    pairs = sum(counts)
    if not pairs > 0:
        raise CoxInputError(f"no comparable pair among {sets.n} rows with {sets.events} events")
    value = (counts[0] + counts[2] / 2) / pairs

    influence = np.zeros(sets.n)
    influence[rows] = (all_deaths - as_well) + (as_well - beaten) / 2 - value * all_deaths
    influence[died] += concordant + tied / 2 - value * total
    influence *= weights / pairs
    if clusters is not None:
        influence = summed_within(clusters, influence)
    return Concordance(value, float(np.sqrt(influence @ influence)), *counts)


def _bounds_of(sets: RiskSets, stratum: Any) -> tuple[int, int]:
    """First and one past the last event time of a stratum."""
    if stratum is None:
        if len(sets.strata) > 1:
            raise CoxInputError(f"the fit has {len(sets.strata)} strata: say of which one the hazard is wanted")
        code = 0
    else:
        found = np.flatnonzero(sets.strata == stratum)
        if len(found) != 1:
            raise CoxInputError(f"no such stratum among the {len(sets.strata)} of the fit")
        code = int(found[0])
    return int(sets.strata_bounds[code]), int(sets.strata_bounds[code + 1])


def _interval(hazard: Array, error: Array, z: float, scale: IntervalScale) -> tuple[Array, Array]:
    """Limits of the survival; where no event has happened yet both are one."""
    if scale == "log":
        return np.exp(-hazard - z * error), np.minimum(np.exp(-hazard + z * error), 1.0)
    if scale == "plain":
        survival = np.exp(-hazard)
        return np.maximum(survival * (1 - z * error), 0.0), np.minimum(survival * (1 + z * error), 1.0)
    if scale == "log-log":
        factor = np.exp(z * np.divide(error, hazard, out=np.zeros_like(error), where=hazard > 0))
        return np.exp(-hazard * factor), np.exp(-hazard / factor)
    raise CoxInputError(f"interval must be log, log-log or plain, not {scale}")


def _weight_below(rank: IntArray, weight: Array, low: IntArray, high: IntArray, threshold: IntArray) -> Array:
    """(q,) sum of `weight` over the places low .. high - 1 whose rank is below `threshold`: a wavelet matrix (Claude & Navarro
    2012), walked for all queries at once, one bit of the rank at a time."""
    out = np.zeros(len(low))
    for bit in reversed(range(int(max(rank.max(initial=0), threshold.max(initial=0))).bit_length())):
        is_one = (rank >> bit & 1).astype(bool)
        zeros = np.concatenate([[0], np.cumsum(~is_one)])
        zero_weight = np.concatenate([[0.0], np.cumsum(np.where(is_one, 0.0, weight))])
        is_above = (threshold >> bit & 1).astype(bool)
        out += np.where(is_above, zero_weight[high] - zero_weight[low], 0.0)
        low = np.where(is_above, zeros[-1] + low - zeros[low], zeros[low])
        high = np.where(is_above, zeros[-1] + high - zeros[high], zeros[high])
        order = np.concatenate([np.flatnonzero(~is_one), np.flatnonzero(is_one)])
        rank, weight = rank[order], weight[order]
    return out
