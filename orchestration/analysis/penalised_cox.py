"""Firth's penalty on many imputed data sets at once, with clustered errors, for models of few events for each parameter.

Heinze & Schemper (2001) maximise l*(b) = l(b) + log|I(b)| / 2 (Firth 1993). In the notation of `cox.py`, let T be the (J, n) matrix that
has 1 where row i is at risk for the l-th death at t_k, less f_kl where i itself fails there: with few events it is small, and every
sum over a risk set is a product with it. With r = w exp(x'b), E0 = T r, e = T(r x) / E0, c = v / E0, V = I^-1 and h_i = x_i'V x_i,

    U   = sum_events w x - e'v,        I = x' diag(r T'c) x - e' diag(v) e,
    U*  = U + 1/2 [ sum_i r_i (T'c)_i h_i x_i - e' (v T(r h) / E0) - 2 sum_i r_i x_i x_i'V (T'(c e))_i + 2 sum v e (e'V e) ],

the bracket being tr(V dI/db), third central moments written out. Steps are V U*, halved until l* rises. Errors are the sandwich of
`cox.py` at the penalised estimate (Lin & Wei 1989), with G / (G - 1).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestration.analysis import cox

Array = NDArray[np.float64]
_MAX_ITERATIONS = 200
_MAX_HALVINGS = 30
_TOLERANCE = 1e-9  # of a step, in standard deviations of the covariates
_LARGEST_STEP = 2.0


def fit_many_penalised(
    sets: cox.RiskSets, covariates: ArrayLike, terms: tuple[str, ...], clusters: ArrayLike | None = None
) -> cox.CoxFits:
    """Penalised fits of `covariates` (m, n, p) as `cox.fit_many` gives ordinary ones; log-likelihoods are without the penalty.

    Memory and time grow with events x rows. A data set whose terms are dependent or that does not settle has its problem in
    `problems`, and no numbers.
    """
    raw = np.asarray(covariates, dtype=np.float64)
    m, _, p = raw.shape
    shares = _shares(sets)
    centred = raw - raw.mean(axis=1, keepdims=True)
    scale = centred.std(axis=1)
    problems: list[cox.CoxError | None] = [None] * m
    rank = np.linalg.matrix_rank(centred / np.where(scale > 0, scale, 1.0)[:, None, :])
    for i in np.flatnonzero(rank < p):
        flat = tuple(name for name, one in zip(terms, scale[i], strict=True) if not one > 0)
        problems[i] = cox.CoxSingularError(flat or terms)
    out = cox.CoxFits(
        terms=terms, coefficients=np.full((m, p), np.nan), covariance=np.full((m, p, p), np.nan),
        robust_covariance=None if clusters is None else np.full((m, p, p), np.nan), log_likelihood_null=np.full(m, np.nan),
        log_likelihood=np.full(m, np.nan), score_test=np.full(m, np.nan), iterations=np.zeros(m, dtype=np.int64),
        events=np.full(m, sets.events), rows=np.full(m, sets.n), clusters=None, ties=sets.ties, problems=problems,
    )  # fmt: skip
    full = np.flatnonzero(rank == p)
    if len(full):  # terms may yet be dependent among those who are at risk at the events
        start = _State(sets, shares, centred[full] / scale[full, None, :], np.zeros((len(full), p)))
        out.log_likelihood_null[full] = start.log_likelihood
        mass = np.full(len(full), sets.weights[sets.deaths].sum())
        inverse = cox.inverse_of(start.information)
        for place, problem in cox.singular_fits(
            terms, start.information, inverse, np.zeros((len(full), p)), mass
        ).items():
            problems[full[place]] = problem
    good = np.array([i for i in full if problems[i] is None], dtype=np.int64)
    number_of_clusters = None
    if len(good):
        x = centred[good] / scale[good, None, :]
        beta, state, iterations, settled = _maximise(sets, shares, x)
        for place, i in enumerate(good):
            if not settled[place]:
                problems[i] = cox.CoxConvergenceError(
                    f"the penalised likelihood did not settle in {_MAX_ITERATIONS} steps"
                )
        kept = good[settled]
        unit = scale[kept, :, None] * scale[kept, None, :]
        inverse = state.inverse[settled]
        out.coefficients[kept] = beta[settled] / scale[kept]
        out.covariance[kept] = inverse / unit
        out.log_likelihood[kept] = state.log_likelihood[settled]
        out.iterations[kept] = iterations
        if clusters is not None and out.robust_covariance is not None:
            residuals = state.score_residuals()[settled] * sets.weights[:, None]
            code = np.unique(np.asarray(clusters), return_inverse=True)[1]
            number_of_clusters = int(code.max()) + 1
            member = np.zeros((number_of_clusters, sets.n))
            member[code, np.arange(sets.n)] = 1.0
            influence = np.matmul(member, residuals) @ inverse  # (m, G, p)
            factor = number_of_clusters / (number_of_clusters - 1)
            out.robust_covariance[kept] = influence.swapaxes(1, 2) @ influence * factor / unit
    return replace(out, clusters=number_of_clusters)


def _shares(sets: cox.RiskSets) -> Array:
    """(J, n) the matrix T."""
    k = sets.term_time[:, None]
    at_risk = ((sets.first <= k) & (sets.last > k)).astype(np.float64)
    fails = np.zeros((sets.times, sets.n))
    fails[sets.death_time, sets.deaths] = 1.0
    return at_risk - sets.term_fraction[:, None] * fails[sets.term_time]


class _State:
    """Everything at coefficients `beta` (m, p) of scaled covariates `x` (m, n, p)."""

    def __init__(self, sets: cox.RiskSets, shares: Array, x: Array, beta: Array):
        self._sets, self._shares, self._x = sets, shares, x
        v, deaths = sets.term_weight, sets.deaths
        weight = sets.weights[deaths]
        linear = np.einsum("mnp,mp->mn", x, beta)
        linear -= linear.max(axis=1, keepdims=True)  # a constant of each data set drops out of the likelihood
        self.risk = sets.weights * np.exp(linear)
        self._e0 = self.risk @ shares.T  # (m, J)
        self._c = v / self._e0
        self._mean = shares @ (self.risk[:, :, None] * x) / self._e0[:, :, None]  # (m, J, p)
        self._exposure = self._c @ shares  # (m, n)
        weighted_mean = v[:, None] * self._mean
        self.log_likelihood = linear[:, deaths] @ weight - np.log(self._e0) @ v
        self._score = np.einsum("d,mdp->mp", weight, x[:, deaths]) - weighted_mean.sum(axis=1)
        self.information = x.swapaxes(1, 2) @ ((self.risk * self._exposure)[:, :, None] * x)
        self.information -= self._mean.swapaxes(1, 2) @ weighted_mean
        sign, determinant = np.linalg.slogdet(self.information)
        with np.errstate(invalid="ignore"):
            self.penalised = np.where(sign > 0, self.log_likelihood + determinant / 2, -np.inf)

    @property
    def inverse(self) -> Array:
        """(m, p, p)"""
        inverse = np.linalg.inv(self.information)
        return (inverse + inverse.swapaxes(1, 2)) / 2

    def step(self) -> Array:
        """(m, p) V U*."""
        x, v, inverse = self._x, self._sets.term_weight, self.inverse
        turned = x @ inverse  # (m, n, p) rows x'V
        leverage = (turned * x).sum(axis=2)
        drift = self._shares.T @ (self._c[:, :, None] * self._mean)  # (m, n, p)
        mean_leverage = (self.risk * leverage) @ self._shares.T / self._e0
        own = ((self._mean @ inverse) * self._mean).sum(axis=2)
        by_row = self.risk * (self._exposure * leverage - 2 * (turned * drift).sum(axis=2))
        by_term = v * (2 * own - mean_leverage)
        penalty = np.einsum("mn,mnp->mp", by_row, x) + np.einsum("mj,mjp->mp", by_term, self._mean)
        return np.asarray(np.einsum("mpq,mq->mp", inverse, self._score + penalty / 2))

    def score_residuals(self) -> Array:
        """(m, n, p) residuals u_i of `cox.py`, unweighted."""
        sets = self._sets
        bare = self.risk / sets.weights
        drift = self._shares.T @ (self._c[:, :, None] * self._mean)
        residuals = -bare[:, :, None] * (self._x * self._exposure[:, :, None] - drift)
        terms_of_time = np.bincount(sets.term_time, minlength=sets.times)
        averaging = np.zeros((sets.times, len(sets.term_time)))
        averaging[sets.term_time, np.arange(len(sets.term_time))] = 1 / terms_of_time[sets.term_time]
        mean_of_time = averaging @ self._mean
        residuals[:, sets.deaths] += self._x[:, sets.deaths] - mean_of_time[:, sets.death_time]
        return residuals


def _maximise(sets: cox.RiskSets, shares: Array, x: Array) -> tuple[Array, _State, int, NDArray[np.bool_]]:
    beta = np.zeros((len(x), x.shape[2]))
    state = _State(sets, shares, x, beta)
    settled = np.zeros(len(x), dtype=bool)
    iterations = 0
    while not settled.all() and iterations < _MAX_ITERATIONS:
        iterations += 1
        step = state.step()
        largest = np.abs(step).max(axis=1, keepdims=True)
        step *= np.minimum(1.0, _LARGEST_STEP / np.maximum(largest, 1e-300))
        step[settled] = 0.0
        for _ in range(_MAX_HALVINGS):
            proposal = _State(sets, shares, x, beta + step)
            is_worse = ~(proposal.penalised >= state.penalised - 1e-10 * np.maximum(1.0, np.abs(state.penalised)))
            if not is_worse.any():
                break
            step[is_worse] /= 2
        beta, state = beta + step, proposal
        settled |= np.abs(step).max(axis=1) <= _TOLERANCE
    return beta, state, iterations, settled
