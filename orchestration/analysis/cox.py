"""The Cox core: partial likelihood, model and clustered variance, in numpy. Imputing, pooling and naming of models live elsewhere.

Derivation
----------
Row i is under observation on (start_i, stop_i], has covariates x_i, weight w_i, risk r_i = exp(x_i'b), and event_i at stop_i.
With t_1 < ... < t_K the distinct event times of a stratum, R_k = {i: start_i < t_k <= stop_i} the rows at risk and D_k the
d_k rows that fail at t_k, Efron's approximation (Efron 1977; Therneau & Grambsch 2000, section 3.3) lets the tied deaths
leave the risk set one share at a time. With S0_k = sum over R_k of w r, S1_k = sum of w r x, the same sums over D_k being
T0_k and T1_k, and for the l-th of the tied deaths (l = 0 .. d_k - 1)

    f_kl = l / d_k,    E0_kl = S0_k - f_kl T0_k,    e_kl = (S1_k - f_kl T1_k) / E0_kl,    v_k = mean of w over D_k,

    log-likelihood  L = sum_events w x'b - sum_kl v_k log E0_kl
    score           U = sum_events w x   - sum_kl v_k e_kl
    information     I = sum_kl v_k [(S2_k - f_kl T2_k) / E0_kl - e_kl e_kl'].

Breslow's approximation is the same with f = 0 and the d_k terms counted at once.

Two rewritings make it fast. S0 and S1 are reversed cumulative sums over tie blocks: a row adds at the last event time that
it is at risk for, and takes itself away just before the first, so delayed entry costs one more block sum. And the second-order
sums are never formed for each time: with a_k = sum_l v_k / E0_kl, b_k = sum_l v_k f_kl / E0_kl and A_i = the sum of a_k over
the times at which row i is at risk,

    sum_kl v_k (S2_k - f_kl T2_k) / E0_kl = X' diag(w_i r_i (A_i - event_i b_k(i))) X.

Score residuals (Therneau & Grambsch 2000, section 4.6; the Efron form of their section 4.7.2): with c_kl = v_k / E0_kl,

    u_i = event_i (x_i - mean_l e_kl) - r_i sum over k at risk, l, of g_ikl c_kl (x_i - e_kl),

g_ikl being 1 - f_kl for the rows that fail at t_k and 1 for the others. The sandwich of Lin & Wei (1989), with the residuals
summed within clusters (Lee, Wei & Amato 1992), is V (sum_g u_g u_g') V with u_g = sum over the cluster of w_i u_i and
V = I^-1; it is then multiplied by G / (G - 1), G being the number of clusters ("small-cluster correction"; ask for
`small_cluster=False` to have the bare sandwich that R prints).

Times are compared exactly: round them before, if they come from a subtraction of floating-point numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ties = Literal["efron", "breslow"]
Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

_MAX_ITERATIONS = 50
_MAX_HALVINGS = 30
# Largest step, in standard deviations of the covariates; Newton is quadratic, so that what is left then is ~1e-12.
_STEP_TOLERANCE = 1e-6
# Log hazard ratio between the extremes of a covariate: nobody estimates a ratio of three million.
_SEPARATION_LIMIT = 15.0
# Smallest eigenvalue of the information scaled to a unit diagonal.
_SINGULAR_LIMIT = 1e-11


class CoxError(ValueError):
    """A Cox model that cannot be fitted; the message says why, in counts and names of terms."""


class CoxIntervalError(CoxError):
    """Rows whose interval is not (start, stop] with stop > start, or that overlap within a subject; carries the counts."""

    def __init__(self, counts: dict[str, int], rows: int):
        self.counts = counts
        self.rows = rows
        found = ", ".join(f"{count} with {problem}" for problem, count in counts.items())
        super().__init__(
            f"of {rows} rows, {found}; expected finite (start, stop] with stop > start, no overlap within a subject "
            "and at most one event, its last row. Mend the rows where they are made."
        )


class CoxInputError(CoxError):
    """Covariates, weights or labels that do not fit the rows: wrong length, missing or infinite values, no event."""


class CoxSingularError(CoxError):
    """Terms that cannot be told apart (constant or linearly dependent)."""

    def __init__(self, terms: tuple[str, ...]):
        self.terms = terms
        super().__init__(f"information matrix is singular: {', '.join(terms)} constant or linearly dependent")


class CoxSeparationError(CoxError):
    """A coefficient runs away: some term (or combination) orders the events perfectly (quasi-separation)."""

    def __init__(self, terms: tuple[str, ...]):
        self.terms = terms
        super().__init__(f"the likelihood has no maximum (quasi-separation) in {', '.join(terms)}")


class CoxConvergenceError(CoxError):
    """Newton-Raphson did not settle within its iterations, without a sign of separation."""


@dataclass(frozen=True)
class RiskSets:
    """Who is at risk when: everything of a fit that does not depend on the covariates, so that imputed data sets share it.

    Shapes: n rows, K distinct (stratum, event time), J terms of the likelihood (events for Efron, K for Breslow).
    Rows that are at risk at no event time are left out of `order`; they have no part in the likelihood.
    """

    n: int
    events: int
    ties: Ties
    weights: Array  # (n,)
    event: NDArray[np.bool_]  # (n,)
    first: IntArray  # (n,) first event time at which the row is at risk
    last: IntArray  # (n,) one past the last
    order: IntArray  # (n',) rows at risk at some time, by last
    blocks: IntArray  # (K,) where each tie block begins in `order`
    late: IntArray  # rows entering after the first event time of their stratum, by first
    late_blocks: IntArray
    late_at: IntArray  # event time just before they enter
    deaths: IntArray  # (events,) rows that fail, by time
    death_blocks: IntArray  # (K,)
    death_time: IntArray  # (events,)
    strata_bounds: IntArray  # (strata + 1,) of the K event times
    term_time: IntArray  # (J,) event time of each term of the likelihood
    term_fraction: Array  # (J,) f_kl
    term_weight: Array  # (J,) v_k
    tied: IntArray  # (K,) deaths at each time
    time: Array  # (K,) the event times, in the unit of `stop`
    start: Array | None  # (n,)
    stop: Array  # (n,)
    stratum: IntArray  # (n,) code, a place in `strata`
    strata: NDArray[np.generic]  # labels, sorted

    @property
    def times(self) -> int:
        return len(self.blocks)

    @cached_property
    def term_blocks(self) -> IntArray:
        """(K,) where the terms of each event time begin."""
        return np.searchsorted(self.term_time, np.arange(self.times)).astype(np.int64)


@dataclass(frozen=True)
class CoxFit:
    """A fitted model. Arrays run over `terms`; `covariance` is the inverse information, `robust_covariance` the sandwich."""

    terms: tuple[str, ...]
    coefficients: Array
    covariance: Array
    robust_covariance: Array | None
    log_likelihood_null: float
    log_likelihood: float
    n: int
    events: int
    clusters: int | None
    iterations: int
    ties: Ties

    @property
    def std_errors(self) -> Array:
        """Clustered where clusters were given, else those of the model."""
        return np.sqrt(np.diag(self.covariance if self.robust_covariance is None else self.robust_covariance))

    @property
    def model_std_errors(self) -> Array:
        return np.sqrt(np.diag(self.covariance))

    @property
    def variance(self) -> Array:
        return self.covariance if self.robust_covariance is None else self.robust_covariance


def fit_cox(
    covariates: ArrayLike,
    stop: ArrayLike,
    event: ArrayLike,
    *,
    start: ArrayLike | None = None,
    strata: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
    subjects: ArrayLike | None = None,
    terms: tuple[str, ...] | None = None,
    ties: Ties = "efron",
    small_cluster: bool = True,
) -> CoxFit:
    """Fit one Cox model: covariates (n, p), the rest (n,). See `risk_sets` and `fit_on` for the two halves of it."""
    sets = risk_sets(stop, event, start=start, strata=strata, weights=weights, subjects=subjects, ties=ties)
    return fit_on(sets, covariates, terms=terms, clusters=clusters, small_cluster=small_cluster)


def check_intervals(
    start: Array | None, stop: Array, event: NDArray[np.bool_], subjects: ArrayLike | None = None
) -> None:
    """Raise `CoxIntervalError` unless every row is (start, stop], finite, stop > start, and within a subject nothing
    overlaps and no row follows the event."""
    counts: dict[str, int] = {}
    lower = np.zeros_like(stop) if start is None else start
    unknown = ~(np.isfinite(lower) & np.isfinite(stop))
    counts["a time that is missing or infinite"] = int(unknown.sum())
    counts["a negative time"] = int(((lower < 0) | (stop < 0)).sum())
    counts["stop not after start"] = int((stop <= lower).sum())
    if subjects is not None:
        _, code = np.unique(np.asarray(subjects), return_inverse=True)
        order = np.lexsort((lower, code))
        same = code[order][1:] == code[order][:-1]
        counts["an overlap with the row before of the same subject"] = int(
            (same & (lower[order][1:] < stop[order][:-1])).sum()
        )
        counts["an event that is not the subject's last row"] = int((same & event[order][:-1]).sum())
    counts = {problem: count for problem, count in counts.items() if count}
    if counts:
        raise CoxIntervalError(counts, len(stop))


def risk_sets(
    stop: ArrayLike,
    event: ArrayLike,
    *,
    start: ArrayLike | None = None,
    strata: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    subjects: ArrayLike | None = None,
    ties: Ties = "efron",
) -> RiskSets:
    """Sort rows and event times once.

    `stop`, `start` in one unit of time; `event` true where the row ends in the event; `subjects` (optional) names the
    person of each row, so that overlaps are refused. Raises `CoxIntervalError`, `CoxInputError`.
    """
    stop = np.asarray(stop, dtype=np.float64)
    n = len(stop)
    died = _as_event(event, n)
    entry = None if start is None else np.asarray(start, dtype=np.float64)
    weight = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    if (entry is not None and len(entry) != n) or len(weight) != n:
        raise CoxInputError(f"{n} stop times, but start or weights have another length")
    if not np.all(np.isfinite(weight) & (weight > 0)):
        raise CoxInputError(
            f"{int((~(np.isfinite(weight) & (weight > 0))).sum())} of {n} weights are not finite and positive"
        )
    check_intervals(entry, stop, died, subjects)
    if not died.any():
        raise CoxInputError(f"no event in {n} rows")

    labels, stratum = _labels(strata, n)
    n_strata = len(labels)
    death_order = np.flatnonzero(died)[np.lexsort((stop[died], stratum[died]))]
    death_stop, death_stratum = stop[death_order], stratum[death_order]
    is_new = np.ones(len(death_order), dtype=bool)
    is_new[1:] = (death_stop[1:] != death_stop[:-1]) | (death_stratum[1:] != death_stratum[:-1])
    death_blocks = np.flatnonzero(is_new)
    death_time = np.cumsum(is_new) - 1
    times, time_stratum = death_stop[death_blocks], death_stratum[death_blocks]
    bounds = np.searchsorted(time_stratum, np.arange(n_strata + 1))

    last = _position(times, bounds, stratum, stop)
    first = bounds[stratum] if entry is None else _position(times, bounds, stratum, entry)
    at_risk = np.flatnonzero(last > first)
    order = at_risk[np.argsort(last[at_risk], kind="stable")]
    blocks = np.searchsorted(last[order], np.arange(1, len(times) + 1))  # a death stands in every block: none is empty
    late = at_risk[first[at_risk] > bounds[stratum[at_risk]]]
    late = late[np.argsort(first[late], kind="stable")]
    late_at, late_blocks = np.unique(first[late] - 1, return_index=True)

    tied = np.diff(np.append(death_blocks, len(death_order)))
    weight_of_deaths = np.add.reduceat(weight[death_order], death_blocks)
    if ties == "efron":
        term_time = death_time
        fraction = (np.arange(len(death_order)) - death_blocks[death_time]) / tied[death_time]
        term_weight = (weight_of_deaths / tied)[death_time]
    elif ties == "breslow":
        term_time, fraction, term_weight = np.arange(len(times)), np.zeros(len(times)), weight_of_deaths
    else:
        raise CoxInputError(f"ties must be efron or breslow, not {ties}")
    return RiskSets(
        n=n, events=int(died.sum()), ties=ties, weights=weight, event=died, first=first, last=last, order=order,
        blocks=blocks, late=late, late_blocks=late_blocks, late_at=late_at, deaths=death_order, death_blocks=death_blocks,
        death_time=death_time, strata_bounds=bounds, term_time=term_time, term_fraction=fraction, term_weight=term_weight,
        tied=tied, time=times, start=entry, stop=stop, stratum=stratum, strata=labels,
    )  # fmt: skip


def fit_on(
    sets: RiskSets,
    covariates: ArrayLike,
    *,
    terms: tuple[str, ...] | None = None,
    clusters: ArrayLike | None = None,
    small_cluster: bool = True,
) -> CoxFit:
    """Maximise the partial likelihood by Newton-Raphson with step-halving, from zero.

    `covariates` (n, p) in any unit (they are centred and scaled inside); `clusters` (n,) labels for the sandwich.
    Raises `CoxInputError`, `CoxSingularError`, `CoxSeparationError`, `CoxConvergenceError`.
    """
    raw = np.asarray(covariates, dtype=np.float64)
    if raw.ndim != 2 or raw.shape[0] != sets.n:
        raise CoxInputError(f"covariates have shape {raw.shape}, expected ({sets.n}, p)")
    names = terms if terms is not None else tuple(f"x{j + 1}" for j in range(raw.shape[1]))
    if len(names) != raw.shape[1] or raw.shape[1] == 0:
        raise CoxInputError(f"{len(names)} names for {raw.shape[1]} covariates")
    if not np.isfinite(raw).all():
        raise CoxInputError(
            f"{int((~np.isfinite(raw)).sum())} covariate values are missing or infinite: impute or drop them first"
        )

    total_weight = sets.weights.sum()
    centre = sets.weights @ raw / total_weight
    centred = raw - centre
    scale = np.sqrt(sets.weights @ centred**2 / total_weight)
    constant = scale <= 1e-12 * np.maximum(1.0, np.abs(centre))
    if constant.any():
        raise CoxSingularError(_named(names, constant))
    x = centred / scale
    x_at_risk = x[sets.order]
    w_at_risk = sets.weights[sets.order]
    died_x = sets.weights[sets.deaths] @ x[sets.deaths]
    reach = x.max(axis=0) - x.min(axis=0)

    beta = np.zeros(x.shape[1])
    state = _evaluate(sets, x, x_at_risk, w_at_risk, died_x, beta)
    null = state.log_likelihood
    for iteration in range(1, _MAX_ITERATIONS + 1):
        step = _newton_step(state, names, beta * reach, is_first=iteration == 1)
        proposal = _evaluate(sets, x, x_at_risk, w_at_risk, died_x, beta + step)
        halvings = 0
        slack = 1e-10 * max(1.0, abs(state.log_likelihood))
        while not proposal.log_likelihood >= state.log_likelihood - slack:  # also true for nan
            halvings += 1
            if halvings > _MAX_HALVINGS:
                raise CoxConvergenceError(f"no step raises the likelihood after {iteration} iterations")
            step = step / 2
            proposal = _evaluate(sets, x, x_at_risk, w_at_risk, died_x, beta + step)
        beta, state = beta + step, proposal
        runaway = np.abs(beta) * reach > _SEPARATION_LIMIT
        if runaway.any():
            raise CoxSeparationError(_named(names, runaway))
        if np.max(np.abs(step)) <= _STEP_TOLERANCE:
            break
    else:
        raise CoxConvergenceError(f"not converged in {_MAX_ITERATIONS} iterations")

    inverse = _inverse(state.information, names, beta * reach)
    covariance = inverse / np.outer(scale, scale)
    robust, n_clusters = None, None
    if clusters is not None:
        residuals = score_residuals_at(sets, x, np.exp(x @ beta), state.hazard, state.mean)
        summed = summed_within(clusters, (residuals * sets.weights[:, None]) @ inverse / scale)
        n_clusters = len(summed)
        if n_clusters < 2:
            raise CoxInputError("clustered errors need at least two clusters")
        robust = summed.T @ summed
        if small_cluster:
            robust = robust * (n_clusters / (n_clusters - 1))
    return CoxFit(
        terms=tuple(names), coefficients=beta / scale, covariance=covariance, robust_covariance=robust,
        log_likelihood_null=null, log_likelihood=state.log_likelihood, n=sets.n, events=sets.events,
        clusters=n_clusters, iterations=iteration, ties=sets.ties,
    )  # fmt: skip


@dataclass(frozen=True)
class _State:
    log_likelihood: float
    score: Array
    information: Array
    risk: Array  # (n',) w r of the rows at risk, in the order of `order`
    hazard: Array  # (J,) c_kl
    mean: Array  # (J, p) e_kl


def _evaluate(sets: RiskSets, x: Array, x_at_risk: Array, w_at_risk: Array, died_x: Array, beta: Array) -> _State:
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        risk = np.exp(x_at_risk @ beta)
        risk *= w_at_risk
        block0 = np.add.reduceat(risk, sets.blocks)
        block1 = np.add.reduceat(risk[:, None] * x_at_risk, sets.blocks, axis=0)
        if len(sets.late):
            x_late = x[sets.late]
            risk_late = sets.weights[sets.late] * np.exp(x_late @ beta)
            block0[sets.late_at] -= np.add.reduceat(risk_late, sets.late_blocks)
            block1[sets.late_at] -= np.add.reduceat(risk_late[:, None] * x_late, sets.late_blocks, axis=0)
        s0, s1 = _from_the_end(block0, sets.strata_bounds), _from_the_end(block1, sets.strata_bounds)

        k, f, v = sets.term_time, sets.term_fraction, sets.term_weight
        x_died = x[sets.deaths]
        risk_died = sets.weights[sets.deaths] * np.exp(x_died @ beta)
        is_tied = sets.ties == "efron" and len(k) > sets.times
        if is_tied:
            t0 = np.add.reduceat(risk_died, sets.death_blocks)
            t1 = np.add.reduceat(risk_died[:, None] * x_died, sets.death_blocks, axis=0)
            e0 = s0[k] - f * t0[k]
            mean = (s1[k] - f[:, None] * t1[k]) / e0[:, None]
        else:
            e0 = s0[k]
            mean = s1[k] / e0[:, None]
        hazard = v / e0
        log_likelihood = float(died_x @ beta - v @ np.log(e0))
        score = died_x - v @ mean

        cumulated = _cumulate(np.add.reduceat(hazard, sets.term_blocks))
        exposure = cumulated[sets.last[sets.order]] - cumulated[sets.first[sets.order]]
        information = x_at_risk.T @ ((risk * exposure)[:, None] * x_at_risk) - mean.T @ (v[:, None] * mean)
        if is_tied:
            b = np.add.reduceat(hazard * f, sets.term_blocks)[sets.death_time]
            information -= x_died.T @ ((risk_died * b)[:, None] * x_died)
    return _State(log_likelihood, score, information, risk, hazard, mean)


def score_residuals_at(sets: RiskSets, x: Array, risk: Array, hazard: Array, mean: Array) -> Array:
    """(n, p) residuals u_i of the docstring, unweighted, from what `Moments` holds."""
    exposure = over_exposure(sets, sum_terms(sets, hazard))
    drift = over_exposure(sets, sum_terms(sets, hazard[:, None] * mean))
    residuals = -risk[:, None] * (x * exposure[:, None] - drift)
    died, k = sets.deaths, sets.death_time
    residuals[died] += x[died] - mean_of_time(sets, mean)[k]
    fraction = hazard * sets.term_fraction
    b, b1 = sum_terms(sets, fraction), sum_terms(sets, fraction[:, None] * mean)
    residuals[died] += risk[died, None] * (x[died] * b[k, None] - b1[k])
    return residuals


def mean_of_time(sets: RiskSets, mean: Array) -> Array:
    """(K, p) mean of e_kl over the terms of each event time."""
    terms_of_time = np.diff(np.append(sets.term_blocks, len(sets.term_time)))
    return sum_terms(sets, mean) / terms_of_time[:, None]


@dataclass(frozen=True)
class Moments:
    """Sums over the risk sets at given coefficients, in covariates that are centred (not scaled): what comes after a fit needs."""

    centre: Array  # (p,)
    x: Array  # (n, p) covariates - centre
    risk: Array  # (n,) exp(x'b), unweighted
    hazard: Array  # (J,) c_kl, the share of the baseline hazard of a row whose x is zero
    mean: Array  # (J, p) e_kl


def moments(sets: RiskSets, covariates: ArrayLike, coefficients: Array) -> Moments:
    """Risk, hazard and weighted means at `coefficients` (p,) of `covariates` (n, p), both in the caller's unit."""
    raw = np.asarray(covariates, dtype=np.float64)
    if raw.shape != (sets.n, len(coefficients)):
        raise CoxInputError(f"covariates have shape {raw.shape}, expected ({sets.n}, {len(coefficients)})")
    centre = sets.weights @ raw / sets.weights.sum()
    x = raw - centre
    state = _evaluate(
        sets, x, x[sets.order], sets.weights[sets.order], sets.weights[sets.deaths] @ x[sets.deaths], coefficients
    )
    return Moments(centre, x, np.exp(x @ coefficients), state.hazard, state.mean)


def over_exposure(sets: RiskSets, by_time: Array) -> Array:
    """(n, ...) sum of `by_time` (K, ...) over the event times at which each row is at risk."""
    cumulated = _cumulate(by_time)
    # A row that is never at risk may enter after its stop's last event time: its exposure is nothing, not less than nothing.
    return cumulated[np.maximum(sets.last, sets.first)] - cumulated[sets.first]


def summed_within(clusters: ArrayLike, by_row: Array) -> Array:
    """(G, ...) sums of `by_row` (n, ...) over the rows of each cluster, clusters in the order of their labels."""
    label = _codes(clusters, len(by_row))
    by_cluster = np.argsort(label, kind="stable")
    begins = np.flatnonzero(np.diff(label[by_cluster], prepend=-1))
    return np.add.reduceat(by_row[by_cluster], begins, axis=0)


def sum_terms(sets: RiskSets, by_term: Array) -> Array:
    """(K, ...) sums of `by_term` (J, ...) over the terms of each event time."""
    return np.add.reduceat(by_term, sets.term_blocks, axis=0)


def _newton_step(state: _State, names: tuple[str, ...], spread: Array, is_first: bool) -> Array:
    """Information is checked where it is cheap and where it matters: at zero (dependent terms) and when a step looks wild."""
    if is_first:
        _refuse_singular(state.information, names, spread)
    try:
        step = np.linalg.solve(state.information, state.score).astype(np.float64, copy=False)
    except np.linalg.LinAlgError:
        step = np.full(len(names), np.nan)
    if not np.abs(step).max() < 100:
        _refuse_singular(state.information, names, spread)
    return step


def _inverse(information: Array, names: tuple[str, ...], spread: Array) -> Array:
    _refuse_singular(information, names, spread)
    inverse = np.linalg.inv(information)
    return (inverse + inverse.T) / 2


def _refuse_singular(information: Array, names: tuple[str, ...], spread: Array) -> None:
    diagonal = np.diag(information)
    runaway = np.abs(spread) > _SEPARATION_LIMIT / 3
    if not np.isfinite(information).all() or (diagonal <= 0).any():
        if runaway.any():
            raise CoxSeparationError(_named(names, runaway))
        raise CoxSingularError(_named(names, ~(diagonal > 0)) or names)
    root = np.sqrt(diagonal)
    values, vectors = np.linalg.eigh(information / np.outer(root, root))
    if values[0] < _SINGULAR_LIMIT:
        if runaway.any():
            raise CoxSeparationError(_named(names, runaway))
        raise CoxSingularError(_named(names, np.abs(vectors[:, 0]) > 0.1))


def _from_the_end(blocks: Array, bounds: IntArray) -> Array:
    """Reversed cumulative sum over the event times of each stratum by itself (so strata do not eat each other's digits)."""
    if len(bounds) == 2:
        return np.cumsum(blocks[::-1], axis=0)[::-1]
    out = np.empty_like(blocks)
    for low, high in pairwise(bounds):
        out[low:high] = np.cumsum(blocks[low:high][::-1], axis=0)[::-1]
    return out


def _cumulate(values: Array) -> Array:
    """(K + 1, ...) cumulative sum that begins with zero."""
    out = np.zeros((len(values) + 1, *values.shape[1:]))
    np.cumsum(values, axis=0, out=out[1:])
    return out


def _position(times: Array, bounds: IntArray, stratum: IntArray, value: Array) -> IntArray:
    """Number of event times at or before `value` in the row's stratum, counted from the first of all strata."""
    if len(bounds) == 2:
        return np.searchsorted(times, value, side="right").astype(np.int64)
    out = np.empty(len(value), dtype=np.int64)
    order = np.argsort(stratum, kind="stable")
    edges = np.searchsorted(stratum[order], np.arange(len(bounds)))
    for s in range(len(bounds) - 1):
        rows = order[edges[s] : edges[s + 1]]
        out[rows] = bounds[s] + np.searchsorted(times[bounds[s] : bounds[s + 1]], value[rows], side="right")
    return out


def _as_event(event: ArrayLike, n: int) -> NDArray[np.bool_]:
    values = np.asarray(event)
    if values.shape != (n,):
        raise CoxInputError(f"{n} stop times, but events have shape {values.shape}")
    if values.dtype != np.bool_:
        numbers = values.astype(np.float64)
        if not np.isin(numbers, (0.0, 1.0)).all():
            raise CoxInputError(f"{int((~np.isin(numbers, (0.0, 1.0))).sum())} of {n} events are neither 0 nor 1")
        values = numbers == 1.0
    return values


def _labels(values: ArrayLike | None, n: int) -> tuple[NDArray[np.generic], IntArray]:
    """Sorted labels, and for each row its place among them; one label where there are none."""
    given = np.zeros(n, dtype=np.int64) if values is None else np.asarray(values)
    if given.shape != (n,):
        raise CoxInputError(f"{n} rows, but strata or clusters have shape {given.shape}")
    labels, codes = np.unique(given, return_inverse=True)
    return labels, codes.astype(np.int64)


def _codes(labels: ArrayLike | None, n: int) -> IntArray:
    return _labels(labels, n)[1]


def _named(names: tuple[str, ...], mask: NDArray[np.bool_]) -> tuple[str, ...]:
    return tuple(name for name, hit in zip(names, mask, strict=True) if hit)
