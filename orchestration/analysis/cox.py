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

Three rewritings make it fast. S0 and S1 are reversed cumulative sums over tie blocks: a row adds at the last event time that
it is at risk for, and takes itself away just before the first, so delayed entry costs one more block sum. The second-order
sums are never formed for each time: with a_k = sum_l c_kl, b_k = sum_l f_kl c_kl, c_kl = v_k / E0_kl, and A_i = the sum of a_k
over the times at which row i is at risk,

    sum_kl v_k (S2_k - f_kl T2_k) / E0_kl = X' diag(w_i r_i (A_i - event_i b_k(i))) X.

And the means e_kl are never formed for each of the tied deaths: with q0_k, q1_k, q2_k = sum_l of (1, f_kl, f_kl^2) c_kl^2 / v_k,

    sum_l v_k e_kl = a_k S1_k - b_k T1_k,    sum_l c_kl e_kl = q0_k S1_k - q1_k T1_k,    sum_l f_kl c_kl e_kl = q1_k S1_k - q2_k T1_k,
    sum_l v_k e_kl e_kl' = q0_k S1_k S1_k' - q1_k (S1_k T1_k' + T1_k S1_k') + q2_k T1_k T1_k'.

Score residuals (Therneau & Grambsch 2000, section 4.6; the Efron form of their section 4.7.2):

    u_i = event_i (x_i - mean_l e_kl) - r_i sum over k at risk, l, of g_ikl c_kl (x_i - e_kl),

g_ikl being 1 - f_kl for the rows that fail at t_k and 1 for the others. The sandwich of Lin & Wei (1989), with the residuals
summed within clusters (Lee, Wei & Amato 1992), is V (sum_g u_g u_g') V with u_g = sum over the cluster of w_i u_i and
V = I^-1; it is then multiplied by G / (G - 1), G being the number of clusters ("small-cluster correction"; ask for
`small_cluster=False` to have the bare sandwich that R prints).

Many fits that share their risk sets are one computation with a leading axis: other covariates (imputed data sets), or other
frequencies of the rows (a bootstrap). A row with frequency h stands for h rows of its weight, so that t_k has as many deaths, and
as many l, as the frequencies say: what is fitted is exactly the data set in which each row is written h times.

Times are compared exactly: round them before, if they come from a subtraction of floating-point numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
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
# Fits side by side share the overhead of numpy; more than this many numbers of an array leave the cache.
_NUMBERS_AT_ONCE = 150_000
_ROWS_AT_ONCE = 8_192


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
    def place(self) -> IntArray:
        """(n,) where each row stands in `order`; one past its end for rows that are never at risk."""
        out = np.full(self.n, len(self.order))
        out[self.order] = np.arange(len(self.order))
        return out

    @cached_property
    def deaths_place(self) -> IntArray:
        """(events,) where the rows that fail stand in `order`."""
        return self.place[self.deaths]

    @cached_property
    def late_place(self) -> IntArray:
        """Where the rows that enter late stand in `order`."""
        return self.place[self.late]

    @cached_property
    def final(self) -> IntArray:
        """(n',) last event time at which each row of `order` is at risk."""
        return self.last[self.order] - 1

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
    score_test: float  # Rao's statistic of all coefficients being zero, by the information there
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


@dataclass(frozen=True)
class CoxFits:
    """m fits on the same risk sets. `fits[i]` is one of them, or raises what is wrong with it (`problems[i]`; its numbers are nan)."""

    terms: tuple[str, ...]
    coefficients: Array  # (m, p)
    covariance: Array  # (m, p, p)
    robust_covariance: Array | None  # (m, p, p)
    log_likelihood_null: Array  # (m,)
    log_likelihood: Array  # (m,)
    score_test: Array  # (m,)
    iterations: IntArray  # (m,)
    events: IntArray  # (m,) frequencies counted
    rows: IntArray  # (m,) frequencies counted
    clusters: int | None
    ties: Ties
    problems: tuple[CoxError | None, ...]

    def __len__(self) -> int:
        return len(self.problems)

    def __getitem__(self, i: int) -> CoxFit:
        problem = self.problems[i]
        if problem is not None:
            raise problem
        return CoxFit(
            terms=self.terms, coefficients=self.coefficients[i], covariance=self.covariance[i],
            robust_covariance=None if self.robust_covariance is None else self.robust_covariance[i],
            log_likelihood_null=float(self.log_likelihood_null[i]), log_likelihood=float(self.log_likelihood[i]),
            score_test=float(self.score_test[i]), n=int(self.rows[i]), events=int(self.events[i]), clusters=self.clusters,
            iterations=int(self.iterations[i]), ties=self.ties,
        )  # fmt: skip


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
    if raw.ndim != 2:
        raise CoxInputError(f"covariates have shape {raw.shape}, expected ({sets.n}, p)")
    return fit_many(sets, raw[None], terms=terms, clusters=clusters, small_cluster=small_cluster)[0]


def fit_many(
    sets: RiskSets,
    covariates: ArrayLike,
    *,
    frequencies: ArrayLike | None = None,
    terms: tuple[str, ...] | None = None,
    clusters: ArrayLike | None = None,
    small_cluster: bool = True,
) -> CoxFits:
    """Fit m models on the same risk sets at once, each as `fit_on` would.

    `covariates` (m, n, p), or (n, p) when only the frequencies differ; `frequencies` (m, n) whole numbers, how many times each row
    counts (see `resampled`). What is wrong with one fit does not stop the others; only inputs that fit no data set raise
    `CoxInputError`. Clusters and frequencies exclude each other.
    """
    raw = np.asarray(covariates, dtype=np.float64)
    if raw.ndim == 2:
        raw = raw[None]
    if raw.ndim != 3 or raw.shape[1] != sets.n:
        raise CoxInputError(f"covariates have shape {raw.shape}, expected (m, {sets.n}, p)")
    names = terms if terms is not None else tuple(f"x{j + 1}" for j in range(raw.shape[2]))
    if len(names) != raw.shape[2] or raw.shape[2] == 0:
        raise CoxInputError(f"{len(names)} names for {raw.shape[2]} covariates")
    if not np.isfinite(raw).all():
        raise CoxInputError(
            f"{int((~np.isfinite(raw)).sum())} covariate values are missing or infinite: impute or drop them first"
        )
    counted = None if frequencies is None else _as_frequencies(frequencies, sets.n)
    if counted is not None and clusters is not None:
        raise CoxInputError("clustered errors of a resampled data set are not made: the resampling is the error")
    m = len(raw) if counted is None else len(counted)
    if len(raw) not in (1, m):
        raise CoxInputError(f"{len(raw)} sets of covariates for {m} sets of frequencies")
    grouping = None if clusters is None else _Grouping.of(clusters, sets.n)
    if grouping is not None and grouping.size < 2:
        raise CoxInputError("clustered errors need at least two clusters")

    p = len(names)
    out = CoxFits(
        terms=tuple(names), coefficients=np.full((m, p), np.nan), covariance=np.full((m, p, p), np.nan),
        robust_covariance=None if grouping is None else np.full((m, p, p), np.nan), log_likelihood_null=np.full(m, np.nan),
        log_likelihood=np.full(m, np.nan), score_test=np.full(m, np.nan), iterations=np.zeros(m, dtype=np.int64),
        events=np.full(m, sets.events) if counted is None else counted[:, sets.event].sum(axis=1),
        rows=np.full(m, sets.n) if counted is None else counted.sum(axis=1),
        clusters=None if grouping is None else grouping.size, ties=sets.ties, problems=(),
    )  # fmt: skip
    problems: list[CoxError | None] = [None] * m
    shared = _standardised(sets, raw) if len(raw) == 1 else None
    together = max(1, _NUMBERS_AT_ONCE // max(1, len(sets.order) * p))
    for begin in range(0, m, together):
        part = slice(begin, min(m, begin + together))
        data = shared if shared is not None else _standardised(sets, raw[part])
        terms_of = _terms_of(sets, None if counted is None else counted[part])
        found = _maximise(sets, data, terms_of, tuple(names), part.stop - begin)
        for name in ("log_likelihood_null", "score_test", "iterations"):
            getattr(out, name)[part] = getattr(found, name)
        problems[part] = found.problems
        good = np.array([problem is None for problem in found.problems])
        if not good.any():
            continue
        inverse, scale = _symmetric(np.linalg.inv(found.state.information[good])), data.scale_of(good)
        into = np.arange(begin, part.stop)[good]
        unit = scale[:, :, None] * scale[:, None, :]
        out.log_likelihood[into] = found.state.log_likelihood[good]
        out.coefficients[into] = found.beta[good] / scale
        out.covariance[into] = inverse / unit
        if grouping is not None and out.robust_covariance is not None:
            scores = _cluster_scores(sets, data.take(good), found.beta[good], found.state.take(good), grouping)
            influence = np.matmul(inverse, scores)  # (m, p, G)
            factor = grouping.size / (grouping.size - 1) if small_cluster else 1.0
            out.robust_covariance[into] = np.matmul(influence, influence.swapaxes(1, 2)) * factor / unit
    return replace(out, problems=tuple(problems))


def resampled(clusters: ArrayLike, replicates: int, rng: np.random.Generator) -> IntArray:
    """(replicates, n) how many times each row counts when its cluster is drawn with replacement, as many clusters as there are."""
    labels, code = np.unique(np.asarray(clusters), return_inverse=True)
    drawn = rng.multinomial(len(labels), np.full(len(labels), 1 / len(labels)), size=replicates)
    return drawn[:, code].astype(np.int64)


@dataclass(frozen=True)
class _Standardised:
    """Covariates of the rows at risk, centred and scaled, rows last; b is 1 where all fits share them."""

    x: Array  # (b, p, n') in the order of `RiskSets.order`
    scale: Array  # (b, p)
    reach: Array  # (b, p) between the extremes
    constant: NDArray[np.bool_]  # (b, p)
    scratch: Array  # as large as what is computed at once

    def take(self, live: NDArray[np.bool_]) -> _Standardised:
        """Those of some of the fits."""
        if live.all() or len(self.x) == 1:
            return self
        return _Standardised(self.x[live], self.scale[live], self.reach[live], self.constant[live], self.scratch)

    def scale_of(self, live: NDArray[np.bool_]) -> Array:
        """(fits that live, p)"""
        return np.broadcast_to(self.scale, (len(live), self.scale.shape[1]))[live]


def _standardised(sets: RiskSets, raw: Array) -> _Standardised:
    b, _, p = raw.shape
    x = np.empty((b, p, len(sets.order)))
    for begin in range(0, len(sets.order), _ROWS_AT_ONCE):  # rows are gathered whole, and turned while they are near
        rows = sets.order[begin : begin + _ROWS_AT_ONCE]
        x[:, :, begin : begin + len(rows)] = raw[:, rows].swapaxes(1, 2)
    weight = sets.weights[sets.order]
    weight = weight / weight.sum()
    centre = x @ weight
    x -= centre[:, :, None]
    scratch = np.empty_like(x)
    np.multiply(x, x, out=scratch)
    scale = np.sqrt(scratch @ weight)
    constant = scale <= 1e-12 * np.maximum(1.0, np.abs(centre))
    scale = np.where(constant, 1.0, scale)
    x /= scale[:, :, None]
    return _Standardised(x, scale, x.max(axis=2) - x.min(axis=2), constant, scratch)


@dataclass(frozen=True)
class _Terms:
    """Weights of rows and the terms of the likelihood; b is 1 where all fits share them."""

    weight: Array  # (b, n') of the rows at risk
    died: Array  # (b, events) weight of the rows that fail
    time: IntArray  # (J,)
    blocks: IntArray  # (K,)
    fraction: Array  # (b, J)
    share: Array  # (b, J) v_k, zero for a term that this fit has not
    is_padded: bool

    def take(self, live: NDArray[np.bool_]) -> _Terms:
        """Those of some of the fits."""
        if live.all() or len(self.weight) == 1:
            return self
        return replace(
            self, weight=self.weight[live], died=self.died[live], fraction=self.fraction[live], share=self.share[live]
        )


def _terms_of(sets: RiskSets, frequencies: IntArray | None) -> _Terms:
    if frequencies is None:
        return _Terms(
            sets.weights[sets.order][None], sets.weights[sets.deaths][None], sets.term_time, sets.term_blocks,
            sets.term_fraction[None], sets.term_weight[None], is_padded=False,
        )  # fmt: skip
    weight, died = sets.weights * frequencies, sets.weights[sets.deaths] * frequencies[:, sets.deaths]
    mass = np.add.reduceat(died, sets.death_blocks, axis=1)
    if sets.ties == "breslow":
        time = np.arange(sets.times)
        return _Terms(weight[:, sets.order], died, time, time, np.zeros((1, sets.times)), mass, is_padded=True)
    deaths = np.add.reduceat(frequencies[:, sets.deaths], sets.death_blocks, axis=1)  # (m, K)
    most = np.maximum(deaths.max(axis=0), 1)
    time = np.repeat(np.arange(sets.times), most)
    blocks = np.cumsum(most) - most
    place = np.arange(len(time)) - blocks[time]
    count = np.maximum(deaths, 1)
    share = np.where(place < deaths[:, time], (mass / count)[:, time], 0.0)
    return _Terms(weight[:, sets.order], died, time, blocks, place / count[:, time], share, is_padded=True)


@dataclass(frozen=True)
class _State:
    """What the docstring derives, for m fits."""

    log_likelihood: Array  # (m,)
    score: Array  # (m, p)
    information: Array  # (m, p, p)
    s1: Array  # (m, p, K)
    t1: Array | None  # (m, p, K); nothing where no deaths are tied
    sums: Array  # (5, m, K) a, b, q0, q1, q2

    def take(self, live: NDArray[np.bool_]) -> _State:
        """Those of some of the fits."""
        t1 = None if self.t1 is None else self.t1[live]
        return _State(
            self.log_likelihood[live], self.score[live], self.information[live], self.s1[live], t1, self.sums[:, live]
        )

    def put(self, live: NDArray[np.bool_], other: _State) -> None:
        """Overwrite some of the fits."""
        self.log_likelihood[live], self.score[live], self.information[live] = (
            other.log_likelihood, other.score, other.information,
        )  # fmt: skip
        self.s1[live], self.sums[:, live] = other.s1, other.sums
        if self.t1 is not None and other.t1 is not None:
            self.t1[live] = other.t1

    def between(self, s: int, t: int) -> Array:
        """(m, p, K) sums[s] S1 - sums[t] T1."""
        out = self.sums[s, :, None] * self.s1
        if self.t1 is not None:
            out -= self.sums[t, :, None] * self.t1
        return out

    def squares(self, g: Array | float = 1.0) -> Array:
        """(m, p, p) sum over event times of g_k sum_l v_k e_kl e_kl'."""
        q0, q1, q2 = self.sums[2:]
        out = np.matmul((g * q0)[:, None] * self.s1, self.s1.swapaxes(1, 2))
        if self.t1 is not None:
            cross = np.matmul((g * q1)[:, None] * self.s1, self.t1.swapaxes(1, 2))
            out -= cross + cross.swapaxes(1, 2)
            out += np.matmul((g * q2)[:, None] * self.t1, self.t1.swapaxes(1, 2))
        return out


def _evaluate(sets: RiskSets, data: _Standardised, terms: _Terms, beta: Array) -> _State:
    m = len(beta)
    x = data.x
    scratch = data.scratch.reshape(-1)[: m * x.shape[1] * x.shape[2]]
    scratch = (scratch if scratch.size == m * x[0].size else np.empty(m * x[0].size)).reshape(m, *x.shape[1:])
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        linear = np.matmul(beta[:, None, :], x)[:, 0]
        died_linear = (terms.died * linear[:, sets.deaths_place]).sum(axis=1)
        risk = np.exp(linear, out=linear)
        risk *= terms.weight
        np.multiply(risk[:, None], x, out=scratch)
        s0, s1 = np.add.reduceat(risk, sets.blocks, axis=1), np.add.reduceat(scratch, sets.blocks, axis=2)
        if len(sets.late):
            s0[:, sets.late_at] -= np.add.reduceat(risk[:, sets.late_place], sets.late_blocks, axis=1)
            s1[:, :, sets.late_at] -= np.add.reduceat(scratch[:, :, sets.late_place], sets.late_blocks, axis=2)
        s0, s1 = _from_the_end(s0, sets.strata_bounds), _from_the_end(s1, sets.strata_bounds)

        x_died = x[:, :, sets.deaths_place]
        died_x = np.matmul(x_died, terms.died[:, :, None])[:, :, 0]
        k, f, v = terms.time, terms.fraction, terms.share
        is_tied = sets.ties == "efron" and len(k) > sets.times
        e0, t1 = s0[:, k], None
        if is_tied:
            risk_died = risk[:, sets.deaths_place]
            t0 = np.add.reduceat(risk_died, sets.death_blocks, axis=1)
            t1 = np.add.reduceat(scratch[:, :, sets.deaths_place], sets.death_blocks, axis=2)
            e0 -= f * t0[:, k]
        if terms.is_padded:
            e0 = np.where(v > 0, e0, 1.0)
        hazard = v / e0
        square = hazard / e0
        log_likelihood = died_linear - (v * np.log(e0)).sum(axis=1)
        sums = np.zeros((5, m, sets.times))
        weights = (hazard, f * hazard, square, f * square, f * f * square) if is_tied else (hazard, None, square)
        for into, by_term in zip(sums, weights, strict=False):
            if by_term is not None:
                np.add.reduceat(by_term, terms.blocks, axis=1, out=into)
        state = _State(log_likelihood, died_x, np.empty(0), s1, t1, sums)
        score = died_x - state.between(0, 1).sum(axis=2)

        risk *= _exposure(sets, sums[0])
        if is_tied:
            risk[:, sets.deaths_place] -= risk_died * sums[1][:, sets.death_time]
        np.sqrt(np.maximum(risk, 0.0, out=risk), out=risk)
        np.multiply(risk[:, None], x, out=scratch)
        information = np.matmul(scratch, scratch.swapaxes(1, 2)) - state.squares()
    return replace(state, score=score, information=information)


def _exposure(sets: RiskSets, by_time: Array) -> Array:
    """(..., n') sum of `by_time` (..., K) over the event times at which each row of `order` is at risk."""
    cumulated = _from_the_start(by_time, sets.strata_bounds)
    out = cumulated[..., sets.final]
    if len(sets.late):
        out[..., sets.late_place] -= cumulated[..., sets.first[sets.late] - 1]
    return out


@dataclass(frozen=True)
class _Maximum:
    beta: Array  # (m, p) of the scaled covariates
    state: _State
    log_likelihood_null: Array
    score_test: Array
    iterations: IntArray
    problems: list[CoxError | None]


def _maximise(sets: RiskSets, data: _Standardised, terms: _Terms, names: tuple[str, ...], m: int) -> _Maximum:
    """Newton-Raphson of m fits side by side; each leaves when it has arrived, or when something is wrong with it."""
    beta = np.zeros((m, len(names)))
    everyone = np.ones(m, dtype=bool)
    reach = np.broadcast_to(data.reach, beta.shape)
    problems: list[CoxError | None] = [None] * m
    for i in np.flatnonzero(np.broadcast_to(data.constant.any(axis=1), m)):
        problems[i] = CoxSingularError(_named(names, np.broadcast_to(data.constant, beta.shape)[i]))
    state = _evaluate(sets, data, terms, beta)
    null, score_test, iterations = state.log_likelihood.copy(), np.full(m, np.nan), np.zeros(m, dtype=np.int64)
    live = everyone & [problem is None for problem in problems]

    def drop(where: NDArray[np.bool_], problem: CoxError | None) -> None:
        for i in np.flatnonzero(where):
            problems[i] = problem
            live[i] = False

    for i, problem in _singular(state.information, names, beta, live, np.sum(terms.share, axis=1)):
        drop(np.arange(m) == i, problem)
    for iteration in range(1, _MAX_ITERATIONS + 1):
        if not live.any():
            break
        step = _newton_steps(state.information[live], state.score[live])
        wild = np.zeros(m, dtype=bool)
        wild[live] = ~(np.abs(step).max(axis=1) < 100)
        if wild.any():
            for i, problem in _singular(state.information, names, beta * reach, wild, np.sum(terms.share, axis=1)):
                drop(np.arange(m) == i, problem)
            drop(
                wild & live & ~np.isfinite(state.score).all(axis=1), CoxConvergenceError("the likelihood is not finite")
            )
            if not live.any():
                break
            step = _newton_steps(state.information[live], state.score[live])
        if iteration == 1:
            score_test[live] = (step * state.score[live]).sum(axis=1)
        before, slack = state.log_likelihood[live], 1e-10 * np.maximum(1.0, np.abs(state.log_likelihood[live]))
        some, some_terms = data.take(live), terms.take(live)
        proposal = _evaluate(sets, some, some_terms, beta[live] + step)
        worse = ~(proposal.log_likelihood >= before - slack)  # also true for nan
        for _ in range(_MAX_HALVINGS):
            if not worse.any():
                break
            step[worse] /= 2
            again = _evaluate(sets, some.take(worse), some_terms.take(worse), (beta[live] + step)[worse])
            proposal.put(worse, again)
            worse = ~(proposal.log_likelihood >= before - slack)
        beta[live] += step
        iterations[live] = iteration
        if live.all():
            state = proposal
        else:
            state.put(live, proposal)
        arrived, stuck = np.zeros(m, dtype=bool), np.zeros(m, dtype=bool)
        stuck[live] = worse
        arrived[live] = np.abs(step).max(axis=1) <= _STEP_TOLERANCE
        drop(stuck, CoxConvergenceError(f"no step raises the likelihood after {iteration} iterations"))
        runaway = np.abs(beta) * reach > _SEPARATION_LIMIT
        for i in np.flatnonzero(live & runaway.any(axis=1)):
            drop(np.arange(m) == i, CoxSeparationError(_named(names, runaway[i])))
        live &= ~arrived
    drop(live, CoxConvergenceError(f"not converged in {_MAX_ITERATIONS} iterations"))
    well = np.array([problem is None for problem in problems])
    for i, problem in _singular(state.information, names, beta * reach, well, np.sum(terms.share, axis=1)):
        problems[i] = problem
    return _Maximum(beta, state, null, score_test, iterations, problems)


def _newton_steps(information: Array, score: Array) -> Array:
    """(m, p); nan where the information is singular."""
    try:
        return np.linalg.solve(information, score[:, :, None])[:, :, 0].astype(np.float64, copy=False)
    except np.linalg.LinAlgError:
        if len(score) == 1:
            return np.full(score.shape, np.nan)
        return np.concatenate([_newton_steps(information[i : i + 1], score[i : i + 1]) for i in range(len(score))])


def _singular(
    information: Array, names: tuple[str, ...], spread: Array, which: NDArray[np.bool_], mass: Array
) -> Iterator[tuple[int, CoxError]]:
    """Fits among `which` whose information, scaled to a unit diagonal, is singular, and why: dependent terms, or separation."""
    chosen = np.flatnonzero(which)
    diagonal = np.diagonal(information, axis1=1, axis2=2)
    flat = ~(diagonal > _SINGULAR_LIMIT * np.broadcast_to(mass, len(information))[:, None])  # also true for nan
    suspect = chosen[flat[chosen].any(axis=1) | ~np.isfinite(information[chosen]).all(axis=(1, 2))]
    sound = np.setdiff1d(chosen, suspect)
    if len(sound):
        root = np.sqrt(diagonal[sound])
        scaled = information[sound] / (root[:, :, None] * root[:, None, :])
        try:  # a Cholesky factor is ten times cheaper than eigenvalues, which are looked at only where a pivot is small
            pivots = np.diagonal(np.linalg.cholesky(scaled), axis1=1, axis2=2) ** 2
            doubtful = pivots.min(axis=1) < 1e-6
        except np.linalg.LinAlgError:
            doubtful = np.ones(len(sound), dtype=bool)
        for i, matrix in zip(sound[doubtful], scaled[doubtful], strict=True):
            values, vectors = np.linalg.eigh(matrix)
            if values[0] < _SINGULAR_LIMIT:
                yield int(i), _why(names, spread[i], np.abs(vectors[:, 0]) > 0.1)
    for i in suspect:
        yield int(i), _why(names, spread[i], flat[i])


def _why(names: tuple[str, ...], spread: Array, involved: NDArray[np.bool_]) -> CoxError:
    runaway = np.abs(spread) > _SEPARATION_LIMIT / 3
    if runaway.any():
        return CoxSeparationError(_named(names, runaway))
    return CoxSingularError(_named(names, involved) or names)


@dataclass(frozen=True)
class _Grouping:
    """Rows by cluster."""

    rows: IntArray  # (n,) by cluster
    begins: IntArray  # (G,)

    @property
    def size(self) -> int:
        return len(self.begins)

    @classmethod
    def of(cls, clusters: ArrayLike, n: int) -> _Grouping:
        """Clusters in the order of their labels."""
        label = _codes(clusters, n)
        rows = np.argsort(label, kind="stable")
        return cls(rows, np.flatnonzero(np.diff(label[rows], prepend=-1)))

    def sums(self, by_row: Array) -> Array:
        """(..., G) sums of (..., n)."""
        return np.add.reduceat(by_row[..., self.rows], self.begins, axis=-1)


def _cluster_scores(sets: RiskSets, data: _Standardised, beta: Array, state: _State, grouping: _Grouping) -> Array:
    """(m, p, G) weighted score residuals summed within clusters, one covariate at a time, so that memory stays small."""
    m, p = beta.shape
    weight = sets.weights[sets.order]
    with np.errstate(over="ignore"):
        risk = weight * np.exp(np.matmul(beta[:, None, :], data.x)[:, 0])
    died, k = sets.deaths_place, sets.death_time
    at_risk = risk * _exposure(sets, state.sums[0])
    at_risk[:, died] -= risk[:, died] * state.sums[1][:, k]
    mass = np.add.reduceat(sets.weights[sets.deaths], sets.death_blocks)
    mean, drift, spared = state.between(0, 1) / mass, state.between(2, 3), state.between(3, 4)
    out = np.empty((m, p, grouping.size))
    by_row = np.zeros((m, sets.n))
    for j in range(p):
        x = data.x[:, j]
        residual = risk * _exposure(sets, drift[:, j]) - at_risk * x
        residual[:, died] += weight[died] * (x[:, died] - mean[:, j, k]) - risk[:, died] * spared[:, j, k]
        by_row[:, sets.order] = residual
        out[:, j] = grouping.sums(by_row)
    return out


@dataclass(frozen=True)
class Moments:
    """Sums over the risk sets at given coefficients, in covariates that are centred (not scaled): what comes after a fit needs.

    With c, e, f, v of the docstring, each summed over the tied deaths l of an event time.
    """

    centre: Array  # (p,)
    x: Array  # (n, p) covariates - centre
    risk: Array  # (n,) exp(x'b), unweighted
    hazard: Array  # (K,) sum c: the baseline hazard of a row whose x is zero
    spared: Array  # (K,) sum f c: what a row that fails there is not exposed to
    hazard_variance: Array  # (K,) sum c^2 / v
    mean: Array  # (K, p) mean of e
    drift: Array  # (K, p) sum c e
    spared_drift: Array  # (K, p) sum f c e
    _state: _State

    def squares(self, g: Array) -> Array:
        """(p, p) sum over event times of g_k (K,) times sum v e e'."""
        return self._state.squares(g)[0]


def moments(sets: RiskSets, covariates: ArrayLike, coefficients: Array) -> Moments:
    """At `coefficients` (p,) of `covariates` (n, p), both in the caller's unit."""
    raw = np.asarray(covariates, dtype=np.float64)
    if raw.shape != (sets.n, len(coefficients)):
        raise CoxInputError(f"covariates have shape {raw.shape}, expected ({sets.n}, {len(coefficients)})")
    centre = sets.weights @ raw / sets.weights.sum()
    x = raw - centre
    ordered = np.ascontiguousarray(x[sets.order].T)[None]
    unit = np.ones((1, len(coefficients)))
    data = _Standardised(ordered, unit, unit, unit < 0, np.empty_like(ordered))
    state = _evaluate(sets, data, _terms_of(sets, None), coefficients[None])
    mass = np.add.reduceat(sets.weights[sets.deaths], sets.death_blocks)
    a, b, q0, *_ = state.sums[:, 0]
    return Moments(
        centre, x, np.exp(x @ coefficients), a, b, q0, (state.between(0, 1)[0] / mass).T, state.between(2, 3)[0].T,
        state.between(3, 4)[0].T, state,
    )  # fmt: skip


def over_exposure(sets: RiskSets, by_time: Array) -> Array:
    """(n, ...) sum of `by_time` (K, ...) over the event times at which each row is at risk."""
    out = np.zeros((sets.n, *by_time.shape[1:]))
    out[sets.order] = np.moveaxis(_exposure(sets, np.moveaxis(by_time, 0, -1)), -1, 0)
    return out


def summed_within(clusters: ArrayLike, by_row: Array) -> Array:
    """(G,) sums of `by_row` (n,) over the rows of each cluster, clusters in the order of their labels."""
    return _Grouping.of(clusters, len(by_row)).sums(by_row)


def _symmetric(matrix: Array) -> Array:
    return (matrix + matrix.swapaxes(-1, -2)) / 2


def _as_frequencies(frequencies: ArrayLike, n: int) -> IntArray:
    given = np.asarray(frequencies)
    if given.ndim != 2 or given.shape[1] != n:
        raise CoxInputError(f"frequencies have shape {given.shape}, expected (m, {n})")
    if not (np.isfinite(given).all() and (given >= 0).all() and (given == np.rint(given)).all()):
        raise CoxInputError("frequencies must be whole numbers, none below zero")
    return given.astype(np.int64)


def _from_the_end(blocks: Array, bounds: IntArray) -> Array:
    """(..., K) reversed cumulative sum over the event times of each stratum by itself (so strata do not eat each other's digits)."""
    out = np.empty_like(blocks)
    for low, high in pairwise(bounds):
        np.cumsum(blocks[..., low:high][..., ::-1], axis=-1, out=out[..., low:high][..., ::-1])
    return out


def _from_the_start(blocks: Array, bounds: IntArray) -> Array:
    """(..., K) cumulative sum over the event times of each stratum by itself."""
    out = np.empty_like(blocks)
    for low, high in pairwise(bounds):
        np.cumsum(blocks[..., low:high], axis=-1, out=out[..., low:high])
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
