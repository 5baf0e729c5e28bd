"""Nonparametric curves with errors: state occupation (Kaplan-Meier and cumulative incidence among it), time spent in a state,
log-rank. Arrays in, arrays out; which outcome and which groups is not known here.

Derivation
----------
A row is somebody in state h on (start, stop], who at stop moves to another state or is no longer seen. At each time t with
moves, n_h rows are in h and d_hj of them move to j; the increment dA of the cumulative hazards has d_hj / n_h beside the diagonal
and minus their sum on it, and the occupation probabilities are p(t) = p(t-) (I + dA) (Aalen & Johansen 1978). With two states
that is the product-limit estimate of Kaplan & Meier (1958); with one state per cause, the cumulative incidence.

Errors are those of the infinitesimal jackknife: how p(t) moves with the weight of subject i,

    U_i(t) = U_i(t-) (I + dA) + [i at risk in h at t] p_h(t-) / n_h (dN_i - dA_h),    Var p(t) = sum_i U_i(t)^2,

dN_i being the move of i. When nobody enters late this is Greenwood's formula (1926) and its counterpart for cumulative incidence
(Dinse & Larson 1986); unlike those it needs no Markov assumption with several moves a subject, and sums over clusters of
subjects before squaring, then times G / (G - 1). Both p and U are integrated over time for the mean time in a state up to a horizon.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestration.analysis import cox

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]
STAYS = -1


@dataclass(frozen=True)
class Moves:
    """n rows on (start, stop] in state `origin`, ending in a move to `target` (`STAYS`: not seen any more). `subject` numbers
    the people from 0, in whose order influences are given; `initial` is the state in which each begins."""

    start: Array
    stop: Array
    origin: IntArray
    target: IntArray
    subject: IntArray
    states: int

    @cached_property
    def initial(self) -> IntArray:
        """(subjects,) state of each subject's first row."""
        order = np.lexsort((self.start, self.subject))
        first = np.append(True, np.diff(self.subject[order]) > 0)
        return self.origin[order][first]

    @property
    def subjects(self) -> int:
        return int(self.subject.max()) + 1


@dataclass(frozen=True)
class Occupation:
    """At each of g grid times: probability of each state (g, s) and its standard error, and with the horizon of
    `occupation` the mean time in each state up to it (s,), with the influence of each subject on that (subjects, s)."""

    probability: Array
    std_error: Array
    time_in_state: Array
    influence_on_time: Array


def moves_of(
    start: ArrayLike, stop: ArrayLike, cause: ArrayLike, causes: int, subject: ArrayLike | None = None
) -> Moves:
    """Rows of one state that can be left for `causes` others: `cause` (n,) is 0 where not seen any more, else 1 .. causes.

    Raises `CoxIntervalError` for rows that are no (start, stop] or overlap within a subject.
    """
    lower, upper = np.asarray(start, dtype=np.float64), np.asarray(stop, dtype=np.float64)
    why = np.asarray(cause, dtype=np.int64)
    who = np.arange(len(upper)) if subject is None else np.unique(np.asarray(subject), return_inverse=True)[1]
    cox.check_intervals(lower, upper, why > 0, None if subject is None else who)
    return Moves(
        lower, upper, np.zeros(len(upper), np.int64), np.where(why > 0, why, STAYS), who.astype(np.int64), causes + 1
    )


def occupation(moves: Moves, grid: ArrayLike, clusters: ArrayLike | None = None, horizon: float = 0.0) -> Occupation:
    """Occupation probabilities at the times of `grid` (ascending), and mean times in the states up to `horizon`.

    `clusters` (subjects,): errors are summed within them. Somebody who enters late is at risk from then on; the
    probabilities of departure are those of the states in which subjects begin.
    """
    points = np.asarray(grid, dtype=np.float64)
    is_move = moves.target != STAYS
    times = np.unique(moves.stop[is_move])
    times = times[times <= max(points.max(initial=0.0), horizon)]
    share = np.bincount(moves.initial, minlength=moves.states) / moves.subjects
    influence = (np.eye(moves.states)[moves.initial] - share) / moves.subjects
    p, identity = share.copy(), np.eye(moves.states)
    area, area_influence = np.zeros(moves.states), np.zeros_like(influence)
    probability, std_error = np.empty((len(points), moves.states)), np.empty((len(points), moves.states))
    done, now = 0, 0.0
    for time in [*times, np.inf]:
        reached = int(np.searchsorted(points, time, side="left"))
        if reached > done:
            probability[done:reached], std_error[done:reached] = p, root_sum_of_squares(influence, clusters)
            done = reached
        until = min(time, horizon)
        if until > now:
            area += (until - now) * p
            area_influence += (until - now) * influence
            now = until
        if not np.isfinite(time):
            break
        at_risk = np.flatnonzero((moves.start < time) & (moves.stop >= time))
        state = moves.origin[at_risk]
        in_state = np.bincount(state, minlength=moves.states)
        moving = at_risk[(moves.stop[at_risk] == time) & is_move[at_risk]]
        hazard = np.zeros((moves.states, moves.states))
        np.add.at(hazard, (moves.origin[moving], moves.target[moving]), 1.0)
        hazard /= np.maximum(in_state, 1)[:, None]
        np.fill_diagonal(hazard, -hazard.sum(axis=1))
        weight = p / np.maximum(in_state, 1)
        influence = influence @ (identity + hazard)
        influence[moves.subject[at_risk]] -= weight[state, None] * hazard[state]
        influence[moves.subject[moving]] += weight[moves.origin[moving], None] * (
            identity[moves.target[moving]] - identity[moves.origin[moving]]
        )
        p = p @ (identity + hazard)
    return Occupation(probability, std_error, area, area_influence)


def root_sum_of_squares(influence: Array, clusters: ArrayLike | None = None) -> Array:
    """(s,) standard errors from the influences (subjects, s) of subjects, or of clusters of them with G / (G - 1)."""
    if clusters is None:
        return np.sqrt((influence**2).sum(axis=0))
    code = np.unique(np.asarray(clusters), return_inverse=True)[1]
    groups = int(code.max()) + 1
    summed = np.zeros((groups, influence.shape[1]))
    np.add.at(summed, code, influence)
    return np.sqrt((summed**2).sum(axis=0) * groups / max(groups - 1, 1))


def log_log_interval(probability: Array, std_error: Array, level: float = 0.95) -> tuple[Array, Array]:
    """Interval of a probability by the log of minus its log (Kalbfleisch & Prentice 1980); the point where it is 0 or 1."""
    from scipy import stats

    z = stats.norm.ppf(0.5 + level / 2)
    inside = (probability > 0) & (probability < 1)
    p = np.where(inside, probability, 0.5)
    half = z * std_error / np.abs(p * np.log(p))
    low, high = p ** np.exp(half), p ** np.exp(-half)
    return np.where(inside, low, probability), np.where(inside, high, probability)


@dataclass(frozen=True)
class LogRank:
    """Log-rank test of k groups: chi-square with k - 1 degrees of freedom."""

    statistic: float
    degrees_of_freedom: int
    p_value: float


def log_rank(start: ArrayLike, stop: ArrayLike, event: ArrayLike, group: ArrayLike) -> LogRank:
    """Log-rank test (Mantel 1966; Peto & Peto 1972) with late entry, ties by the hypergeometric variance.

    Raises `CoxInputError` for fewer than two groups or no event.
    """
    from scipy import stats

    lower, upper = np.asarray(start, dtype=np.float64), np.asarray(stop, dtype=np.float64)
    died = np.asarray(event, dtype=bool)
    code = np.unique(np.asarray(group), return_inverse=True)[1]
    groups = int(code.max(initial=0)) + 1
    if groups < 2 or not died.any():
        raise cox.CoxInputError(
            f"a log-rank test needs two groups and an event; there are {groups} and {int(died.sum())}"
        )
    times = np.unique(upper[died])
    at_risk, deaths = np.empty((len(times), groups)), np.empty((len(times), groups))
    for g in range(groups):
        of = code == g
        entered = np.searchsorted(np.sort(lower[of]), times, side="left")
        at_risk[:, g] = entered - np.searchsorted(np.sort(upper[of]), times, side="left")
        failed = np.sort(upper[of & died])
        deaths[:, g] = np.searchsorted(failed, times, side="right") - np.searchsorted(failed, times, side="left")
    n, d = at_risk.sum(axis=1), deaths.sum(axis=1)
    share = at_risk / n[:, None]
    difference = (deaths - d[:, None] * share).sum(axis=0)
    spread = d * (n - d) / np.maximum(n - 1, 1)
    variance = np.diag((spread[:, None] * share).sum(axis=0)) - share.T @ (spread[:, None] * share)
    statistic = float(difference[1:] @ np.linalg.pinv(variance[1:, 1:]) @ difference[1:])
    return LogRank(statistic, groups - 1, float(stats.chi2.sf(statistic, groups - 1)))
