"""Cox regression with Firth's penalty, for few events and for terms that order the events perfectly. The ordinary fit is `cox.py`.

Heinze & Schemper (2001) maximise l*(b) = l(b) + log|I(b)| / 2, l being the log partial likelihood and I its information (Firth
1993). With P_kl the distribution over the rows at risk for the l-th death at t_k, proportional to w r (1 - f_kl for those that fail
there), e_kl and C_kl its mean and covariance, V = I^-1 and h_i = x_i'V x_i, the score of the penalty is half of

    tr(V dI/db_q) = sum_kl v_k E_kl[(x - e_kl)'V(x - e_kl) (x_q - e_kl,q)]
                  = sum_kl v_k (E_kl[h x_q] - e_kl,q E_kl[h] - 2 (C_kl V e_kl)_q).

The penalised likelihood has a maximum where l has none. Steps are V times its score, halved until l* rises,
and then drawn to where the slope along them is zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestration.analysis.cox import Array, CoxConvergenceError, CoxInputError, CoxSingularError, RiskSets, Ties

_MAX_ITERATIONS = 200
_TOLERANCE = 1e-9  # of a step, in standard deviations of the covariates
_LARGEST_STEP = 2.0
_NUMBERS_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class FirthFit:
    """A penalised fit. Arrays run over `terms`; `covariance` is the inverse information at the estimate.

    `low`, `high` are limits and `p_value` the test of zero by the profile of the penalised likelihood (an open limit is
    infinite), or Wald's.
    """

    terms: tuple[str, ...]
    coefficients: Array
    covariance: Array
    low: Array
    high: Array
    p_value: Array
    penalised_log_likelihood: float
    penalised_log_likelihood_null: float
    n: int
    events: int
    iterations: int
    ties: Ties
    level: float

    @property
    def std_errors(self) -> Array:
        """By the inverse information; Wald limits are symmetric, and poor where the profile is not."""
        return np.sqrt(np.diag(self.covariance))


def fit_firth(
    sets: RiskSets,
    covariates: ArrayLike,
    *,
    terms: tuple[str, ...] | None = None,
    level: float = 0.95,
    profile: bool = True,
) -> FirthFit:
    """Maximise the penalised likelihood: `covariates` (n, p). Time grows with events x rows, as befits few events.

    Limits and tests are those of the profile, or Wald's, which take no time, where `profile` is false.

    Raises `CoxInputError`, `CoxSingularError` (dependent terms), `CoxConvergenceError`.
    """
    from scipy import stats

    raw = np.asarray(covariates, dtype=np.float64)
    if raw.ndim != 2 or raw.shape[0] != sets.n or not np.isfinite(raw).all():
        raise CoxInputError(f"covariates have shape {raw.shape}, expected finite numbers of shape ({sets.n}, p)")
    names = terms if terms is not None else tuple(f"x{j + 1}" for j in range(raw.shape[1]))
    if len(names) != raw.shape[1] or not names:
        raise CoxInputError(f"{len(names)} names for {raw.shape[1]} covariates")
    x = raw[sets.order] - raw[sets.order].mean(axis=0)
    scale = x.std(axis=0)
    if not (scale > 0).all() or np.linalg.matrix_rank(x / np.where(scale > 0, scale, 1.0)) < len(names):
        raise CoxSingularError(tuple(np.array(names)[~(scale > 0)]) or names)
    x = x / scale

    everything = np.ones(len(names), dtype=bool)
    best, state, iterations = _maximise(sets, x, np.zeros(len(names)), everything)
    null = _state(sets, x, np.zeros(len(names))).penalised
    covariance = np.linalg.inv(state.information)
    error, reach = np.sqrt(np.diag(covariance)), np.sqrt(stats.chi2.ppf(level, 1))
    low, high, p_value = best - reach * error, best + reach * error, stats.chi2.sf((best / error) ** 2, 1)
    for j in range(len(names)) if profile else ():
        others = everything.copy()
        others[j] = False

        def lack(value: float, j: int = j, others: NDArray[np.bool_] = others) -> float:
            """How far twice the profile at `value` is below its maximum."""
            start = best + covariance[:, j] / covariance[j, j] * (value - best[j])
            return 2 * (state.penalised - _maximise(sets, x, start, others)[1].penalised)

        p_value[j] = stats.chi2.sf(max(lack(0.0), 0.0), 1)
        low[j], high[j] = (_limit(lack, float(best[j]), sign * float(error[j]), float(reach**2)) for sign in (-1, 1))
    return FirthFit(
        names, best / scale, covariance / np.outer(scale, scale), low / scale, high / scale, p_value,
        state.penalised + np.log(scale).sum(), null + np.log(scale).sum(),        sets.n, sets.events, iterations, sets.ties, level,
    )  # fmt: skip


def _limit(lack: Callable[[float], float], estimate: float, step: float, needed: float) -> float:
    """Where the profile has fallen by `needed` on the side of `step`; infinite if it never does."""
    from scipy.optimize import brentq

    near, far = 0.0, 2.0 * step
    while lack(estimate + far) < needed:
        near, far = far, 2 * far
        if abs(far) > 100:
            return float(np.inf * np.sign(step))
    return estimate + float(brentq(lambda away: lack(estimate + away) - needed, near, far, xtol=1e-9))


@dataclass(frozen=True)
class _State:
    penalised: float
    score: Array  # (p,) of the penalised likelihood
    information: Array  # (p, p) of the likelihood


def _state(sets: RiskSets, x: Array, beta: Array) -> _State:
    """At coefficients of the centred covariates (n', p) of the rows at risk."""
    p = x.shape[1]
    linear = x @ beta
    weight = sets.weights[sets.order]
    risk = weight * np.exp(linear - linear.max())
    information, likelihood = np.zeros((p, p)), float((weight * linear)[sets.deaths_place].sum())
    score = weight[sets.deaths_place] @ x[sets.deaths_place]
    for there, v in _shares(sets):
        mass = there @ risk
        mean = (there * risk) @ x / mass[:, None]
        information += x.T @ (((v / mass) @ there * risk)[:, None] * x) - mean.T @ (v[:, None] * mean)
        score = score - v @ mean
        likelihood -= float(v @ (np.log(mass) + linear.max()))
    sign, log_determinant = np.linalg.slogdet(information)
    if not sign > 0 or not np.isfinite(log_determinant):
        return _State(-np.inf, score, information)
    covariance = np.linalg.inv(information)
    h = np.einsum("ip,pq,iq->i", x, covariance, x)
    skew = np.zeros(p)
    for there, v in _shares(sets):
        share = there * risk / (there @ risk)[:, None]  # (terms, n'): the distributions
        mean = share @ x
        along = mean @ covariance  # (terms, p)
        skew += (v @ share * h) @ x - (v * (share @ h)) @ mean
        skew -= 2 * ((v[:, None] * share * (along @ x.T)).sum(axis=0) @ x - (v * (along * mean).sum(axis=1)) @ mean)
    return _State(likelihood + log_determinant / 2, score + skew / 2, information)


def _shares(sets: RiskSets) -> Iterator[tuple[Array, Array]]:
    """Blocks of terms: how much of each row is at risk at each (terms, n'), and the weight v of each term."""
    first, last = sets.first[sets.order], sets.last[sets.order]
    died = sets.event[sets.order]
    together = max(1, _NUMBERS_AT_ONCE // len(sets.order))
    for begin in range(0, len(sets.term_time), together):
        k = sets.term_time[begin : begin + together, None]
        there = ((first <= k) & (k < last)).astype(np.float64)
        there -= sets.term_fraction[begin : begin + together, None] * (died & (last - 1 == k))
        yield there, sets.term_weight[begin : begin + together]


def _maximise(sets: RiskSets, x: Array, start: Array, free: NDArray[np.bool_]) -> tuple[Array, _State, int]:
    """Over the coefficients that are `free`; the others stay where they start."""
    beta, state = start.copy(), _state(sets, x, start)
    if not free.any():
        return beta, state, 0
    for iteration in range(1, _MAX_ITERATIONS + 1):
        step = np.zeros_like(beta)
        step[free] = np.linalg.solve(state.information[np.ix_(free, free)], state.score[free])
        step *= min(1.0, _LARGEST_STEP / max(float(np.abs(step).max()), 1e-300))
        proposal = _state(sets, x, beta + step)
        while not proposal.penalised >= state.penalised - 1e-10 * max(1.0, abs(state.penalised)):
            step /= 2
            if np.abs(step).max() < 1e-14:
                raise CoxConvergenceError(f"no step raises the penalised likelihood after {iteration} iterations")
            proposal = _state(sets, x, beta + step)
        # The penalty has a curvature that I leaves out: where the slope along the step says so, it is made shorter or longer.
        before, after = float(state.score @ step), float(proposal.score @ step)
        if abs(after) > 0.1 * before > 0:
            other = step * (before / max(before - after, before / 4))
            secant = _state(sets, x, beta + other)
            if secant.penalised >= proposal.penalised:
                step, proposal = other, secant
        beta, state = beta + step, proposal
        if np.abs(step).max() <= _TOLERANCE:
            return beta, state, iteration
    raise CoxConvergenceError(f"the penalised likelihood has not converged in {_MAX_ITERATIONS} iterations")
