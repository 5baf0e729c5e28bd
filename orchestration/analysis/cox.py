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
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestration.analysis.cox_risk_sets import (
    Array,
    CoxConvergenceError,
    CoxError,
    CoxInputError,
    CoxIntervalError,
    CoxSeparationError,
    CoxSingularError,
    IntArray,
    RiskSets,
    Ties,
    check_intervals,
    labels_of,
    risk_sets,
)  # fmt: skip

# What a fit is asked with stands in `cox_risk_sets`, and is had from here too.
__all__ = [
    "Array", "Baselines", "CoxConvergenceError", "CoxError", "CoxFit", "CoxFits", "CoxInputError", "CoxIntervalError", "CoxSeparationError",
    "CoxSingularError", "IntArray", "Moments", "RiskSets", "Ties", "baselines", "check_intervals", "fit_cox", "fit_many",
    "fit_on", "inverse_of", "moments", "over_exposure", "resampled", "risk_sets", "singular_fits", "summed_within", "terms_of",
]  # fmt: skip

_MAX_ITERATIONS = 50
_MAX_HALVINGS = 30
# Steps in standard deviations of the covariates, the largest of them. Newton is quadratic: after steps of a and b the next is of
# about b^3 / a^2, which is what is left undone. Where b is small at all, nothing is left.
_STEP_TOLERANCE, _SMALL_STEP, _LEFT_TOLERANCE = 1e-6, 1e-4, 1e-11
# Log hazard ratio between the extremes of a covariate: nobody estimates a ratio of three million.
_SEPARATION_LIMIT = 15.0
# Smallest eigenvalue of the information scaled to a unit diagonal.
_SINGULAR_LIMIT = 1e-11
# Fits side by side share the overhead of numpy; more than this many numbers of an array leave the cache.
_NUMBERS_AT_ONCE = 150_000
_ROWS_AT_ONCE = 8_192


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
    problems: list[CoxError | None]

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
        clusters=None if grouping is None else grouping.size, ties=sets.ties, problems=[None] * m,
    )  # fmt: skip
    together = min(m, max(1, _NUMBERS_AT_ONCE // max(1, len(sets.order) * p)))
    shared = _rows_of(sets, raw) if len(raw) == 1 else None
    own = terms_of(sets, None) if counted is None else None
    scratch = None
    for begin in range(0, m, together):
        part = slice(begin, min(m, begin + together))
        likelihood = own or terms_of(sets, None if counted is None else counted[part])
        data = _Data.of(sets, shared or _rows_of(sets, raw[part]), likelihood, scratch)
        scratch = data.scratch
        for which, found, beta, state, inverse in _maximise(sets, data, out, np.arange(part.start, part.stop)):
            scale, inverse = found.rows.scale, (inverse + inverse.swapaxes(1, 2)) / 2
            unit = scale[:, :, None] * scale[:, None, :]
            out.log_likelihood[which] = state.log_likelihood
            out.coefficients[which] = beta / scale
            out.covariance[which] = inverse / unit
            if grouping is not None and out.robust_covariance is not None:
                influence = np.matmul(inverse, _cluster_scores(sets, found, beta, state, grouping))  # (fits, p, G)
                factor = grouping.size / (grouping.size - 1) if small_cluster else 1.0
                out.robust_covariance[which] = np.matmul(influence, influence.swapaxes(1, 2)) * factor / unit
    for i in np.flatnonzero(out.events == 0):
        out.problems[int(i)] = CoxInputError(f"no event in the {out.rows[i]} rows that were drawn")
    return out


def resampled(clusters: ArrayLike, replicates: int, rng: np.random.Generator) -> IntArray:
    """(replicates, n) how many times each row counts when its cluster is drawn with replacement, as many clusters as there are."""
    labels, code = np.unique(np.asarray(clusters), return_inverse=True)
    drawn = rng.multinomial(len(labels), np.full(len(labels), 1 / len(labels)), size=replicates)
    return drawn[:, code].astype(np.int64)


@dataclass(frozen=True)
class _Rows:
    """Covariates of the rows at risk, centred and scaled, rows last and a row of ones first; b is 1 where all fits share them."""

    x: Array  # (b, 1 + p, n') in the order of `RiskSets.order`
    scale: Array  # (b, p)
    reach: Array  # (b, p) between the extremes
    constant: NDArray[np.bool_]  # (b, p)


@dataclass(frozen=True)
class _Tied:
    """Event times at which more than one row fails, Kt of them, and what belongs to them: Efron's correction is theirs alone."""

    times: IntArray  # (Kt,)
    place: IntArray  # (deaths there,) in `RiskSets.order`, by time
    deaths: IntArray  # (deaths there,) in `RiskSets.deaths`
    death_blocks: IntArray  # (Kt,) where the deaths of each begin
    death_time: IntArray  # (deaths there,) which of Kt
    terms: IntArray  # (Jt,) their terms
    term_blocks: IntArray  # (Kt,)
    term_time: IntArray  # (Jt,) which of Kt


@dataclass(frozen=True)
class Terms:
    """Weights of rows and the terms of the likelihood; b is 1 where all fits share them."""

    weight: Array  # (b, n') of the rows at risk
    died: Array  # (b, events) weight of the rows that fail
    fraction: Array  # (b, Jt) f_kl of tied times
    share: Array  # (b, J) v_k, zero for a term that this fit has not
    time: IntArray  # (J,)
    blocks: IntArray  # (K,)
    tied: _Tied | None
    is_padded: bool


@dataclass(frozen=True)
class _Data:
    """What m fits are made of."""

    rows: _Rows
    terms: Terms
    died_x: Array  # (m, p) the first part of the score
    mass: Array  # (m,) weight of all events
    scratch: Array  # flat, for what is as large as the x of the fits computed at once

    @classmethod
    def of(cls, sets: RiskSets, rows: _Rows, terms: Terms, scratch: Array | None = None) -> _Data:
        """With room for all of the fits."""
        m = max(len(rows.x), len(terms.died))
        died_x = np.matmul(rows.x[:, 1:, sets.deaths_place], terms.died[:, :, None])[:, :, 0]
        mass = np.broadcast_to(terms.share.sum(axis=1), m)
        return cls(rows, terms, died_x, mass, np.empty(m * rows.x[0].size) if scratch is None else scratch)

    def take(self, live: NDArray[np.bool_]) -> _Data:
        """Those of some of the fits."""
        if live.all():
            return self
        rows, terms = self.rows, self.terms
        if len(rows.x) > 1:
            rows = _Rows(rows.x[live], rows.scale[live], rows.reach[live], rows.constant[live])
        if len(terms.weight) > 1:
            terms = replace(
                terms, weight=terms.weight[live], died=terms.died[live], share=terms.share[live],
                fraction=terms.fraction[live] if len(terms.fraction) > 1 else terms.fraction,
            )  # fmt: skip
        return _Data(rows, terms, self.died_x[live], self.mass[live], self.scratch)


def _rows_of(sets: RiskSets, raw: Array, is_scaled: bool = True) -> _Rows:
    b, _, p = raw.shape
    both = np.empty((b, 1 + p, len(sets.order)))
    both[:, 0] = 1.0
    x = both[:, 1:]
    for begin in range(0, len(sets.order), _ROWS_AT_ONCE):  # rows are gathered whole, and turned while they are near
        rows = sets.order[begin : begin + _ROWS_AT_ONCE]
        x[:, :, begin : begin + len(rows)] = raw[:, rows].swapaxes(1, 2)
    scale, constant = np.ones((b, p)), np.zeros((b, p), dtype=bool)
    if is_scaled:
        weight = sets.weights[sets.order]
        weight = weight / weight.sum()
        centre = x @ weight
        x -= centre[:, :, None]
        scale = np.sqrt(np.einsum("bpn,bpn,n->bp", x, x, weight))
        constant = scale <= 1e-12 * np.maximum(1.0, np.abs(centre))
        scale[constant] = 1.0
        x /= scale[:, :, None]
    return _Rows(both, scale, x.max(axis=2) - x.min(axis=2), constant)


def _tied(sets: RiskSets, terms_of_time: IntArray) -> _Tied | None:
    """`terms_of_time` (K,) how many terms each event time has."""
    times = np.flatnonzero(terms_of_time > 1)
    if not len(times):
        return None
    deaths, deaths_of_time = _within(sets.death_blocks, sets.tied, times)
    begins = np.cumsum(terms_of_time) - terms_of_time
    terms, _ = _within(begins, terms_of_time, times)
    which, blocks, term_blocks = (
        np.arange(len(times)),
        *(np.cumsum(c) - c for c in (deaths_of_time, terms_of_time[times])),
    )
    return _Tied(
        times, sets.deaths_place[deaths], deaths, blocks, np.repeat(which, deaths_of_time), terms, term_blocks,
        np.repeat(which, terms_of_time[times]),
    )  # fmt: skip


def _within(begins: IntArray, counts: IntArray, chosen: IntArray) -> tuple[IntArray, IntArray]:
    """Indices of the members of chosen blocks, and how many each has."""
    many = counts[chosen]
    return np.repeat(begins[chosen] - (np.cumsum(many) - many), many) + np.arange(many.sum()), many


def terms_of(sets: RiskSets, frequencies: IntArray | None) -> Terms:
    """The terms of the likelihood of `sets`, or of as many fits as there are rows of `frequencies` (m, n)."""
    if frequencies is None:
        tied = _tied(sets, sets.terms_of_time)
        return Terms(
            sets.weights[sets.order][None], sets.weights[sets.deaths][None],
            np.zeros((1, 0)) if tied is None else sets.term_fraction[None, tied.terms], sets.term_weight[None],
            sets.term_time, sets.term_blocks, tied, is_padded=False,
        )  # fmt: skip
    weight, died = sets.weights * frequencies, sets.weights[sets.deaths] * frequencies[:, sets.deaths]
    weight = weight[:, sets.order]
    mass = np.add.reduceat(died, sets.death_blocks, axis=1)
    if sets.ties == "breslow":
        time = np.arange(sets.times)
        return Terms(weight, died, np.zeros((1, 0)), mass, time, time, None, is_padded=True)
    deaths = np.add.reduceat(frequencies[:, sets.deaths], sets.death_blocks, axis=1)  # (m, K)
    most = np.maximum(deaths.max(axis=0), 1)
    time = np.repeat(np.arange(sets.times), most)
    blocks = np.cumsum(most) - most
    place = np.arange(len(time)) - blocks[time]
    count = np.maximum(deaths, 1)
    share = np.where(place < deaths[:, time], (mass / count)[:, time], 0.0)
    tied = _tied(sets, most)
    fraction = np.zeros((1, 0)) if tied is None else place[tied.terms] / count[:, time[tied.terms]]
    return Terms(weight, died, fraction, share, time, blocks, tied, is_padded=True)


@dataclass(frozen=True)
class _State:
    """What the docstring derives, for m fits. T, b, q1 and q2 are there for tied times only, as they are zero elsewhere."""

    log_likelihood: Array  # (m,)
    score: Array  # (m, p)
    information: Array  # (m, p, p)
    s: Array  # (m, 1 + p, K) S0 and S1
    t: Array  # (m, 1 + p, Kt) T0 and T1
    sums: Array  # (m, 2, K) a and q0
    tied_sums: Array  # (m, 3, Kt) b, q1, q2
    tied: _Tied | None

    def take(self, live: NDArray[np.bool_]) -> _State:
        """Those of some of the fits."""
        likelihood, score, information, s, t, sums, tied_sums = (part[live] for part in self._parts)
        return _State(likelihood, score, information, s, t, sums, tied_sums, self.tied)

    def put(self, live: NDArray[np.bool_], other: _State) -> None:
        """Overwrite some of the fits."""
        for mine, theirs in zip(self._parts, other._parts, strict=True):
            mine[live] = theirs

    @property
    def _parts(self) -> tuple[Array, ...]:
        return self.log_likelihood, self.score, self.information, self.s, self.t, self.sums, self.tied_sums

    @property
    def weighted_mean(self) -> Array:
        """(m, p, K) sum_l v_k e_kl."""
        return self._between(self.sums[:, 0], self.tied_sums[:, 0])

    @property
    def drift(self) -> Array:
        """(m, p, K) sum_l c_kl e_kl."""
        return self._between(self.sums[:, 1], self.tied_sums[:, 1])

    @property
    def spared_drift(self) -> Array:
        """(m, p, Kt) sum_l f_kl c_kl e_kl."""
        if self.tied is None:
            return self.t[:, 1:]
        return self.tied_sums[:, 1, None] * self.s[:, 1:, self.tied.times] - self.tied_sums[:, 2, None] * self.t[:, 1:]

    def _between(self, of_s: Array, of_t: Array) -> Array:
        out = of_s[:, None] * self.s[:, 1:]
        if self.tied is not None:
            out[:, :, self.tied.times] -= of_t[:, None] * self.t[:, 1:]
        return out

    def squares(self, g: Array | None = None) -> Array:
        """(m, p, p) sum over event times of (g_k times) sum_l v_k e_kl e_kl'."""
        drift, spared = self.drift, self.spared_drift
        if g is not None:
            drift = g * drift
        out = np.matmul(drift, self.s[:, 1:].swapaxes(1, 2))
        if self.tied is not None:
            spared = spared if g is None else g[self.tied.times] * spared
            out -= np.matmul(spared, self.t[:, 1:].swapaxes(1, 2))
        return out


def _evaluate(sets: RiskSets, data: _Data, beta: Array) -> _State:
    """Overflow and division by nothing are for the caller to silence and to see in the likelihood."""
    m, x, terms, tied = len(beta), data.rows.x, data.terms, data.terms.tied
    scratch = data.scratch[: m * x[0].size].reshape(m, *x.shape[1:])
    linear = np.matmul(beta[:, None, :], x[:, 1:])[:, 0]
    risk = np.exp(linear, out=linear)
    risk *= terms.weight
    np.multiply(risk[:, None], x, out=scratch)
    s = np.add.reduceat(scratch, sets.blocks, axis=2)
    if len(sets.late):
        s[:, :, sets.late_at] -= np.add.reduceat(scratch[:, :, sets.late_place], sets.late_blocks, axis=2)
    _from_the_end(s, sets.strata_bounds)

    v = terms.share
    if tied is None:
        e0, t, tied_sums = s[:, 0], np.empty((m, x.shape[1], 0)), np.empty((m, 3, 0))
    else:
        t = np.add.reduceat(scratch[:, :, tied.place], tied.death_blocks, axis=2)
        e0 = s[:, 0, terms.time]
        e0[:, tied.terms] -= terms.fraction * t[:, 0, tied.term_time]
    if terms.is_padded:
        e0 = np.where(v > 0, e0, 1.0)
    by_term = np.empty((m, 2, len(terms.time)))
    np.divide(v, e0, out=by_term[:, 0])
    np.divide(by_term[:, 0], e0, out=by_term[:, 1])
    sums = by_term
    score = data.died_x
    log_likelihood = (data.died_x * beta).sum(axis=1) - (v * np.log(e0)).sum(axis=1)
    if tied is not None:
        sums = np.add.reduceat(by_term, terms.blocks, axis=2)
        spared = np.empty((m, 3, len(tied.terms)))
        np.multiply(terms.fraction[:, None], by_term[:, :, tied.terms], out=spared[:, :2])
        np.multiply(terms.fraction, spared[:, 1], out=spared[:, 2])
        tied_sums = np.add.reduceat(spared, tied.term_blocks, axis=2)
        score = score + np.matmul(t[:, 1:], tied_sums[:, 0, :, None])[:, :, 0]
    score = score - np.matmul(s[:, 1:], sums[:, 0, :, None])[:, :, 0]

    risk *= _exposure(sets, sums[:, 0])
    if tied is not None:
        risk[:, tied.place] -= scratch[:, 0, tied.place] * tied_sums[:, 0, tied.death_time]
    np.sqrt(np.maximum(risk, 0.0, out=risk), out=risk)
    root = np.multiply(risk[:, None], x[:, 1:], out=scratch[:, 1:])
    state = _State(log_likelihood, score, np.matmul(root, root.swapaxes(1, 2)), s, t, sums, tied_sums, tied)
    state.information[:] -= state.squares()
    return state


def _exposure(sets: RiskSets, by_time: Array) -> Array:
    """(..., n') sum of `by_time` (..., K) over the event times at which each row of `order` is at risk."""
    cumulated = _from_the_start(by_time, sets.strata_bounds)
    out = cumulated[..., sets.final]
    if len(sets.late):
        out[..., sets.late_place] -= cumulated[..., sets.first[sets.late] - 1]
    return out


def _maximise(
    sets: RiskSets, data: _Data, out: CoxFits, which: IntArray
) -> Iterator[tuple[IntArray, _Data, Array, _State, Array]]:
    """Newton-Raphson of fits side by side. Yields those that have arrived: their places in `out`, data, coefficients of the scaled
    covariates, state, inverse information. What is wrong with the others goes to `out.problems`."""
    names = out.terms
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        beta = np.zeros((len(which), len(names)))
        state = _evaluate(sets, data, beta)
        inverse = inverse_of(state.information)
        bad = singular_fits(names, state.information, inverse, beta, data.mass)
        out.log_likelihood_null[which] = state.log_likelihood
        if data.rows.constant.any():
            constant = np.broadcast_to(data.rows.constant, beta.shape)
            bad |= {int(i): CoxSingularError(_named(names, constant[i])) for i in np.flatnonzero(constant.any(axis=1))}
        before = np.zeros(len(which))
        for iteration in range(1, _MAX_ITERATIONS + 1):
            step = np.matmul(inverse, state.score[:, :, None])[:, :, 0]
            if iteration == 1:
                out.score_test[which] = (step * state.score).sum(axis=1)
            if bad:
                step[list(bad)] = 0.0
            proposal = _evaluate(sets, data, beta + step)
            floor = state.log_likelihood - 1e-10 * np.abs(state.log_likelihood) - 1e-10
            halvings = 0
            while (
                not (rising := proposal.log_likelihood >= floor).all() and halvings < _MAX_HALVINGS
            ):  # nan does not rise
                halvings += 1
                step[~rising] /= 2
                again = _evaluate(sets, data.take(~rising), (beta + step)[~rising])
                proposal.put(~rising, again)
            if halvings == _MAX_HALVINGS:
                stuck = CoxConvergenceError(f"no step raises the likelihood after {iteration} iterations")
                bad = dict.fromkeys(map(int, np.flatnonzero(~rising)), stuck) | bad
            beta, state = beta + step, proposal
            inverse = inverse_of(state.information)
            out.iterations[which] = iteration
            spread, length = np.abs(beta * data.rows.reach), np.abs(step).max(axis=1)
            left = length**3 / before**2
            arrived = (length <= _STEP_TOLERANCE) | ((length <= _SMALL_STEP) & (left <= _LEFT_TOLERANCE))
            before = length
            for i in map(int, np.flatnonzero(spread.max(axis=1) > _SEPARATION_LIMIT)):
                bad = {i: CoxSeparationError(_named(names, spread[i] > _SEPARATION_LIMIT))} | bad
            if bad or arrived.any() or not length.max() < 100:
                bad = singular_fits(names, state.information, inverse, spread, data.mass) | bad
            elif iteration < _MAX_ITERATIONS:
                continue
            for i in map(int, np.flatnonzero(~arrived)) if iteration == _MAX_ITERATIONS else ():
                bad.setdefault(i, CoxConvergenceError(f"not converged in {_MAX_ITERATIONS} iterations"))
            failed = np.zeros(len(beta), dtype=bool)
            for place, problem in bad.items():
                out.problems[which[place]] = problem
                failed[place] = True
            good, live = arrived & ~failed, ~arrived & ~failed
            if good.all():
                yield which, data, beta, state, inverse
                return
            if good.any():
                yield which[good], data.take(good), beta[good], state.take(good), inverse[good]
            if not live.any():
                return
            which, data, beta, before = which[live], data.take(live), beta[live], before[live]
            state, inverse = state.take(live), inverse[live]
            bad = {}


def inverse_of(information: Array) -> Array:
    """(m, p, p); nan where the information has none."""
    try:
        return np.asarray(np.linalg.inv(information), dtype=np.float64)
    except np.linalg.LinAlgError:
        if len(information) == 1:
            return np.full_like(information, np.nan)
        return np.concatenate([inverse_of(matrix[None]) for matrix in information])


def singular_fits(
    names: tuple[str, ...], information: Array, inverse: Array, spread: Array, mass: Array
) -> dict[int, CoxError]:
    """Fits whose information (m, p, p), of covariates of unit deviation, is singular, and why: dependent terms, or separation.
    `spread` (m, p): how far the linear predictor reaches by each term; `mass` (m,): the weight of all events.

    The variance inflation factors, diag(I) diag(I^-1), add up to the trace of the inverse of the information scaled to a unit
    diagonal, and so bound its smallest eigenvalue from below; where that does not settle it, eigenvalues do.
    """
    diagonal = np.diagonal(information, axis1=1, axis2=2)
    inflation = (diagonal * np.diagonal(inverse, axis1=1, axis2=2)).sum(axis=1)
    settled = (diagonal.min(axis=1) > _SINGULAR_LIMIT * mass) & (inflation > 0) & (inflation < 1e-3 / _SINGULAR_LIMIT)
    out: dict[int, CoxError] = {}
    for i in map(int, np.flatnonzero(~settled)):
        flat = ~(diagonal[i] > _SINGULAR_LIMIT * mass[i])  # also true for nan
        if flat.any() or not np.isfinite(information[i]).all():
            out[i] = _why(names, spread[i], flat)
            continue
        root = np.sqrt(diagonal[i])
        values, vectors = np.linalg.eigh(information[i] / np.outer(root, root))
        if values[0] < _SINGULAR_LIMIT:
            out[i] = _why(names, spread[i], np.abs(vectors[:, 0]) > 0.1)
    return out


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
        label = labels_of(clusters, n)[1]
        rows = np.argsort(label, kind="stable")
        return cls(rows, np.flatnonzero(np.diff(label[rows], prepend=-1)))

    def sums(self, by_row: Array) -> Array:
        """(..., G) sums of (..., n)."""
        return np.add.reduceat(by_row[..., self.rows], self.begins, axis=-1)


def _cluster_scores(sets: RiskSets, data: _Data, beta: Array, state: _State, grouping: _Grouping) -> Array:
    """(m, p, G) weighted score residuals summed within clusters."""
    m, p = beta.shape
    weight, x, tied = sets.weights[sets.order], data.rows.x[:, 1:], state.tied
    risk = weight * np.exp(np.matmul(beta[:, None, :], x)[:, 0])
    at_risk = risk * _exposure(sets, state.sums[:, 0])
    if tied is not None:
        risk_tied = risk[:, tied.place]
        at_risk[:, tied.place] -= risk_tied * state.tied_sums[:, 0, tied.death_time]
    mean, drift, spared = state.weighted_mean / sets.mass_of_time, state.drift, state.spared_drift
    died = sets.deaths_place
    out = np.empty((m, p, grouping.size))
    together = max(1, _NUMBERS_AT_ONCE // (m * sets.n))  # covariates at once, so that memory stays small
    for j in range(0, p, together):
        these = slice(j, j + together)
        residual = risk[:, None] * _exposure(sets, drift[:, these]) - at_risk[:, None] * x[:, these]
        residual[:, :, died] += weight[died] * (x[:, these, died] - mean[:, these, sets.death_time])
        if tied is not None:
            residual[:, :, tied.place] -= risk_tied[:, None] * spared[:, these, tied.death_time]
        by_row = np.zeros((*residual.shape[:2], sets.n))
        by_row[:, :, sets.order] = residual
        out[:, these] = grouping.sums(by_row)
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
    data = _Data.of(sets, _rows_of(sets, x[None], is_scaled=False), terms_of(sets, None))
    state = _evaluate(sets, data, coefficients[None])
    spared, spared_drift = np.zeros(sets.times), np.zeros((sets.times, len(coefficients)))
    if state.tied is not None:
        spared[state.tied.times], spared_drift[state.tied.times] = state.tied_sums[0, 0], state.spared_drift[0].T
    return Moments(
        centre, x, np.exp(x @ coefficients), state.sums[0, 0], spared, state.sums[0, 1],
        (state.weighted_mean[0] / sets.mass_of_time).T, state.drift[0].T, spared_drift, state,
    )  # fmt: skip


@dataclass(frozen=True)
class Baselines:
    """Baseline hazards of m fits, of rows that are at `centre` (m, p): its jumps and those of its variance, (m, K), coefficients being
    given, and `drift` (m, K, p), the sum of jumps times the mean of who is at risk, less the centre."""

    centre: Array
    hazard: Array
    hazard_variance: Array
    drift: Array


def baselines(
    sets: RiskSets, covariates: ArrayLike, coefficients: Array, frequencies: ArrayLike | None = None
) -> Baselines:
    """At `coefficients` (m, p) of `covariates` (m, n, p), both in the caller's unit; `frequencies` (m, n) as in `fit_many`."""
    raw = np.asarray(covariates, dtype=np.float64)
    if raw.shape != (len(coefficients), sets.n, coefficients.shape[1]):
        raise CoxInputError(f"covariates have shape {raw.shape}, coefficients {coefficients.shape}, rows are {sets.n}")
    counted = None if frequencies is None else _as_frequencies(frequencies, sets.n)
    weight = sets.weights if counted is None else sets.weights * counted
    centre = (weight[..., None, :] @ raw / weight.sum(axis=-1)[..., None, None])[:, 0]
    data = _Data.of(sets, _rows_of(sets, raw - centre[:, None], is_scaled=False), terms_of(sets, counted))
    state = _evaluate(sets, data, coefficients)
    return Baselines(centre, state.sums[:, 0], state.sums[:, 1], state.drift.swapaxes(1, 2))


def over_exposure(sets: RiskSets, by_time: Array) -> Array:
    """(n, ...) sum of `by_time` (K, ...) over the event times at which each row is at risk."""
    out = np.zeros((sets.n, *by_time.shape[1:]))
    out[sets.order] = np.moveaxis(_exposure(sets, np.moveaxis(by_time, 0, -1)), -1, 0)
    return out


def summed_within(clusters: ArrayLike, by_row: Array) -> Array:
    """(G,) sums of `by_row` (n,) over the rows of each cluster, clusters in the order of their labels."""
    return _Grouping.of(clusters, len(by_row)).sums(by_row)


def _as_frequencies(frequencies: ArrayLike, n: int) -> IntArray:
    given = np.asarray(frequencies)
    if given.ndim != 2 or given.shape[1] != n:
        raise CoxInputError(f"frequencies have shape {given.shape}, expected (m, {n})")
    if not (np.isfinite(given).all() and (given >= 0).all() and (given == np.rint(given)).all()):
        raise CoxInputError("frequencies must be whole numbers, none below zero")
    return given.astype(np.int64)


def _from_the_end(blocks: Array, bounds: IntArray) -> None:
    """Reversed cumulative sum of (..., K), in place, over the event times of each stratum by itself (so strata do not eat each
    other's digits)."""
    for low, high in pairwise(bounds):
        backwards = blocks[..., low:high][..., ::-1]
        np.cumsum(backwards, axis=-1, out=backwards)


def _from_the_start(blocks: Array, bounds: IntArray) -> Array:
    """(..., K) cumulative sum over the event times of each stratum by itself."""
    out = np.empty_like(blocks)
    for low, high in pairwise(bounds):
        np.cumsum(blocks[..., low:high], axis=-1, out=out[..., low:high])
    return out


def _named(names: tuple[str, ...], mask: NDArray[np.bool_]) -> tuple[str, ...]:
    return tuple(name for name, hit in zip(names, mask, strict=True) if hit)
