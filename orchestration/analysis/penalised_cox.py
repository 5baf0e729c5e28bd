"""Firth's penalty on many imputed data sets at once, with clustered errors, for models of few events for each parameter.

Heinze & Schemper (2001) maximise l*(b) = l(b) + log|I(b)| / 2 (Firth 1993). In the notation of `cox.py`, let T be the (J, n) matrix that
has 1 where row i is at risk for the l-th death at t_k, less f_kl where i itself fails there: with few events it is small, and every
sum over a risk set is a product with it, or a sum over who is at risk less one over who fails. With r = w exp(x'b), E0 = T r, e = T(r x) / E0, c = v / E0, V = I^-1 and h_i = x_i'V x_i,

    U   = sum_events w x - e'v,        I = x' diag(r T'c) x - e' diag(v) e,
    U*  = U + 1/2 [ sum_i r_i (T'c)_i h_i x_i - e' (v T(r h) / E0) - 2 sum_i r_i x_i x_i'V (T'(c e))_i + 2 sum v e (e'V e) ],

the bracket being tr(V dI/db), third central moments written out. Steps are V U*, halved until l* rises. Errors are the sandwich of
`cox.py` at the penalised estimate (Lin & Wei 1989), with G / (G - 1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestration.analysis import cox

Array = NDArray[np.float64]
_MAX_ITERATIONS = 200
_MAX_HALVINGS = 30
_TOLERANCE = 1e-9  # of a step, in standard deviations of the covariates
_LARGEST_STEP = 2.0


def fit_many_penalised(
    sets: cox.RiskSets,
    covariates: ArrayLike,
    terms: tuple[str, ...],
    clusters: ArrayLike | None = None,
    frequencies: ArrayLike | None = None,
) -> cox.CoxFits:
    """Penalised fits of `covariates` (m, n, p) as `cox.fit_many` gives ordinary ones; log-likelihoods are without the penalty.

    `frequencies` (m, n) as there: how many times each row counts. Memory and time grow with event times x rows. A data set whose
    terms are dependent or that does not settle has its problem in `problems`, and no numbers.
    """
    raw = np.asarray(covariates, dtype=np.float64)
    m, _, p = raw.shape
    counted = None if frequencies is None else np.asarray(frequencies, dtype=np.int64)
    sums = _Sums.of(sets, counted)
    share = (np.full((1, sets.n), 1 / sets.n) if counted is None else counted / counted.sum(axis=1, keepdims=True))[:, :, None]  # fmt: skip
    centred = raw - (share * raw).sum(axis=1, keepdims=True)
    scale = np.sqrt((share * centred**2).sum(axis=1))
    events = np.full(m, sets.events) if counted is None else counted[:, sets.deaths].sum(axis=1)
    problems: list[cox.CoxError | None] = [None] * m
    rank = np.linalg.matrix_rank(np.sqrt(share) * centred / np.where(scale > 0, scale, 1.0)[:, None, :])
    for i in np.flatnonzero(rank < p):
        flat = tuple(name for name, one in zip(terms, scale[i], strict=True) if not one > 0)
        problems[i] = cox.CoxSingularError(flat or terms)
    for i in np.flatnonzero(events == 0):
        problems[i] = cox.CoxInputError("no event in the rows that were drawn")
    out = cox.CoxFits(
        terms=terms, coefficients=np.full((m, p), np.nan), covariance=np.full((m, p, p), np.nan),
        robust_covariance=None if clusters is None else np.full((m, p, p), np.nan), log_likelihood_null=np.full(m, np.nan),
        log_likelihood=np.full(m, np.nan), score_test=np.full(m, np.nan), iterations=np.zeros(m, dtype=np.int64),
        events=events, rows=np.full(m, sets.n) if counted is None else counted.sum(axis=1), clusters=None, ties=sets.ties,
        problems=problems,
    )  # fmt: skip
    full = np.array([i for i in range(m) if problems[i] is None], dtype=np.int64)
    if len(full):  # terms may yet be dependent among those who are at risk at the events
        own = sums.take(full)
        start = _State(own, centred[full] / scale[full, None, :], np.zeros((len(full), p)))
        out.log_likelihood_null[full] = start.log_likelihood
        mass = np.broadcast_to(own.died.sum(axis=1), len(full))
        inverse = cox.inverse_of(start.information)
        for place, problem in cox.singular_fits(
            terms, start.information, inverse, np.zeros((len(full), p)), mass
        ).items():
            problems[full[place]] = problem
    good = np.array([i for i in full if problems[i] is None], dtype=np.int64)
    number_of_clusters = None
    if len(good):
        x = centred[good] / scale[good, None, :]
        beta, iterations, settled = _maximise(sums.take(good), x)
        for place, i in enumerate(good):
            if not settled[place]:
                problems[i] = cox.CoxConvergenceError(
                    f"the penalised likelihood did not settle in {_MAX_ITERATIONS} steps"
                )
        kept = good[settled]
        state = _State(sums.take(kept), x[settled], beta[settled])
        unit = scale[kept, :, None] * scale[kept, None, :]
        out.coefficients[kept] = beta[settled] / scale[kept]
        out.covariance[kept] = state.inverse / unit
        out.log_likelihood[kept] = state.log_likelihood
        out.iterations[kept] = iterations[settled]
        if clusters is not None and out.robust_covariance is not None:
            residuals = state.score_residuals() * sets.weights[:, None]
            code = np.unique(np.asarray(clusters), return_inverse=True)[1]
            number_of_clusters = int(code.max()) + 1
            member = np.zeros((number_of_clusters, sets.n))
            member[code, np.arange(sets.n)] = 1.0
            influence = np.matmul(member, residuals) @ state.inverse  # (m, G, p)
            factor = number_of_clusters / (number_of_clusters - 1)
            out.robust_covariance[kept] = influence.swapaxes(1, 2) @ influence * factor / unit
    return replace(out, clusters=number_of_clusters)


@dataclass(frozen=True)
class _Sums:
    """The matrix T and its transpose as sums over who is at risk, and the weights; b is 1 where all fits share them."""

    sets: cox.RiskSets
    at_risk: Array  # (K, n)
    weight: Array  # (b, n) of rows
    died: Array  # (b, D) of rows that fail
    fraction: Array  # (b, J) f_kl
    v: Array  # (b, J), zero for a term that this fit has not
    time: cox.IntArray  # (J,)
    blocks: cox.IntArray  # (K,) where the terms of each time begin

    @classmethod
    def of(cls, sets: cox.RiskSets, frequencies: cox.IntArray | None) -> _Sums:
        terms = cox.terms_of(sets, frequencies)
        k = np.arange(sets.times)[:, None]
        fraction = np.zeros((len(terms.fraction), len(terms.time)))
        if terms.tied is not None:
            fraction[:, terms.tied.terms] = terms.fraction
        weight = sets.weights[None] if frequencies is None else sets.weights * frequencies
        at_risk = ((sets.first <= k) & (sets.last > k)).astype(np.float64)
        return cls(sets, at_risk, weight, terms.died, fraction, terms.share, terms.time, terms.blocks)

    def take(self, which: cox.IntArray) -> _Sums:
        """Those of some of the fits."""
        weight, died, fraction, v = (
            part[which] if len(part) > 1 else part for part in (self.weight, self.died, self.fraction, self.v)
        )
        return replace(self, weight=weight, died=died, fraction=fraction, v=v)

    def over(self, rows: Array) -> Array:
        """(m, J, q) T times `rows` (m, n, q)."""
        at_risk = np.matmul(self.at_risk, rows)[:, self.time]
        if self.fraction.any():
            failing = np.add.reduceat(rows[:, self.sets.deaths], self.sets.death_blocks, axis=1)
            at_risk -= self.fraction[:, :, None] * failing[:, self.time]
        return at_risk

    def back(self, terms: Array) -> Array:
        """(m, n, q) the transpose of T times `terms` (m, J, q)."""
        out = np.matmul(self.at_risk.T, np.add.reduceat(terms, self.blocks, axis=1))
        if self.fraction.any():
            spared = np.add.reduceat(self.fraction[:, :, None] * terms, self.blocks, axis=1)
            out[:, self.sets.deaths] -= spared[:, self.sets.death_time]
        return np.asarray(out)


class _State:
    """Everything at coefficients `beta` (m, p) of scaled covariates `x` (m, n, p)."""

    def __init__(self, sums: _Sums, x: Array, beta: Array):
        self._sums, self._x = sums, x
        deaths, died, v = sums.sets.deaths, sums.died, sums.v
        linear = np.einsum("mnp,mp->mn", x, beta)
        linear -= linear.max(axis=1, keepdims=True)  # a constant of each data set drops out of the likelihood
        self.risk = sums.weight * np.exp(linear)
        e0 = sums.over(self.risk[:, :, None])[:, :, 0]  # (m, J)
        self._e0 = np.where(v > 0, e0, 1.0)
        self._c = v / self._e0
        self._mean = sums.over(self.risk[:, :, None] * x) / self._e0[:, :, None]  # (m, J, p)
        self._exposure = sums.back(self._c[:, :, None])[:, :, 0]  # (m, n)
        weighted_mean = v[:, :, None] * self._mean
        self.log_likelihood = (linear[:, deaths] * died).sum(axis=1) - (np.log(self._e0) * v).sum(axis=1)
        self._score = (x[:, deaths] * died[:, :, None]).sum(axis=1) - weighted_mean.sum(axis=1)
        self.information = x.swapaxes(1, 2) @ ((self.risk * self._exposure)[:, :, None] * x)
        self.information -= self._mean.swapaxes(1, 2) @ weighted_mean
        sign, determinant = np.linalg.slogdet(self.information)
        with np.errstate(invalid="ignore"):
            self.penalised = np.where(sign > 0, self.log_likelihood + determinant / 2, -np.inf)

    @property
    def inverse(self) -> Array:
        """(m, p, p)"""
        inverse = cox.inverse_of(self.information)
        return (inverse + inverse.swapaxes(1, 2)) / 2

    def step(self) -> Array:
        """(m, p) V U*."""
        x, inverse = self._x, self.inverse
        turned = x @ inverse  # (m, n, p) rows x'V
        leverage = (turned * x).sum(axis=2)
        drift = self._sums.back(self._c[:, :, None] * self._mean)  # (m, n, p)
        mean_leverage = self._sums.over((self.risk * leverage)[:, :, None])[:, :, 0] / self._e0
        own = ((self._mean @ inverse) * self._mean).sum(axis=2)
        by_row = self.risk * (self._exposure * leverage - 2 * (turned * drift).sum(axis=2))
        by_term = self._sums.v * (2 * own - mean_leverage)
        penalty = np.einsum("mn,mnp->mp", by_row, x) + np.einsum("mj,mjp->mp", by_term, self._mean)
        return np.asarray(np.einsum("mpq,mq->mp", inverse, self._score + penalty / 2))

    def score_residuals(self) -> Array:
        """(m, n, p) residuals u_i of `cox.py`, unweighted, of fits without frequencies."""
        sets = self._sums.sets
        bare = self.risk / sets.weights
        drift = self._sums.back(self._c[:, :, None] * self._mean)
        residuals = -bare[:, :, None] * (self._x * self._exposure[:, :, None] - drift)
        terms_of_time = np.bincount(self._sums.time, minlength=sets.times)
        mean_of_time = np.add.reduceat(self._mean, self._sums.blocks, axis=1) / terms_of_time[:, None]
        residuals[:, sets.deaths] += self._x[:, sets.deaths] - mean_of_time[:, sets.death_time]
        return residuals


def _maximise(sums: _Sums, x: Array) -> tuple[Array, cox.IntArray, NDArray[np.bool_]]:
    """Coefficients (m, p), steps taken and whether it settled (m,); those that have settled are not stepped again."""
    beta = np.zeros((len(x), x.shape[2]))
    iterations, settled = np.zeros(len(x), dtype=np.int64), np.zeros(len(x), dtype=bool)
    live = np.arange(len(x))
    own, rows = sums, x
    state = _State(own, rows, beta)
    for iteration in range(1, _MAX_ITERATIONS + 1):
        step = state.step()
        largest = np.abs(step).max(axis=1, keepdims=True)
        step *= np.minimum(1.0, _LARGEST_STEP / np.maximum(largest, 1e-300))
        for _ in range(_MAX_HALVINGS):
            proposal = _State(own, rows, beta[live] + step)
            is_worse = ~(proposal.penalised >= state.penalised - 1e-10 * np.maximum(1.0, np.abs(state.penalised)))
            if not is_worse.any():
                break
            step[is_worse] /= 2
        beta[live] += step
        iterations[live] = iteration
        arrived = np.abs(step).max(axis=1) <= _TOLERANCE
        settled[live[arrived]] = True
        going = ~arrived & np.isfinite(step).all(axis=1)
        if not going.any():
            break
        if going.all():
            state = proposal
            continue
        live, rows, own = live[going], rows[going], own.take(np.flatnonzero(going))
        state = _State(own, rows, beta[live])
    return beta, iterations, settled
