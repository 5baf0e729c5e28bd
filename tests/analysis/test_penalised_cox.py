"""Firth's penalty on many data sets at once: against the definition, spelled out, and where the likelihood itself has no maximum."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize

from orchestration.analysis import cox
from orchestration.analysis.cox_firth import fit_firth
from orchestration.analysis.cox_residuals import score_residuals
from orchestration.analysis.penalised_cox import _State, _Sums, fit_many_penalised

TERMS = ("a", "b", "c")


def people(n: int = 60, seed: int = 3, late: bool = True) -> tuple[cox.RiskSets, np.ndarray, np.ndarray]:
    """Ties, late entry, weights and two strata; two data sets of three covariates; clusters."""
    rng = np.random.default_rng(seed)
    stop = np.ceil(rng.exponential(12, n)) + 1
    start = np.floor(stop * rng.uniform(0, 0.8, n)) if late else np.zeros(n)
    event = rng.uniform(size=n) < 0.4
    sets = cox.risk_sets(stop, event, start=start, strata=rng.integers(0, 2, n), weights=rng.uniform(0.5, 2, n))
    return sets, rng.normal(size=(2, n, 3)), rng.integers(0, 25, n)


def penalised_likelihood(sets: cox.RiskSets, x: np.ndarray, beta: np.ndarray) -> float:
    """l + log|I| / 2 by loops over deaths and rows."""
    likelihood, information = 0.0, np.zeros((x.shape[1], x.shape[1]))
    likelihood += float(sets.weights[sets.deaths] @ (x[sets.deaths] @ beta))
    for k, f, v in zip(sets.term_time, sets.term_fraction, sets.term_weight, strict=True):
        total, first, second = 0.0, 0.0, 0.0
        for i in range(sets.n):
            if sets.first[i] <= k < sets.last[i]:
                fails = i in sets.deaths[sets.death_time == k]
                share = sets.weights[i] * np.exp(x[i] @ beta) * (1 - f * fails)
                total, first, second = total + share, first + share * x[i], second + share * np.outer(x[i], x[i])
        likelihood -= v * np.log(total)
        information += v * (second / total - np.outer(first, first) / total**2)
    return likelihood + np.linalg.slogdet(information)[1] / 2


def test_the_estimate_is_where_the_penalised_likelihood_is_highest() -> None:
    sets, data, _ = people()
    fits = fit_many_penalised(sets, data, TERMS)
    for x, found in zip(data, fits.coefficients, strict=True):
        best = optimize.minimize(
            lambda b, x=x: -penalised_likelihood(sets, x, b), np.zeros(3), method="BFGS", options={"gtol": 1e-7}
        )
        np.testing.assert_allclose(found, best.x, atol=2e-5)
        at = penalised_likelihood(sets, x, found)
        assert all(
            penalised_likelihood(sets, x, found + move) < at for move in 1e-3 * np.vstack([np.eye(3), -np.eye(3)])
        )


def test_each_data_set_has_the_estimate_of_the_fit_that_profiles() -> None:
    sets, data, _ = people()
    fits = fit_many_penalised(sets, data, TERMS)
    for i in range(2):
        alone = fit_firth(sets, data[i], terms=TERMS)
        np.testing.assert_allclose(fits.coefficients[i], alone.coefficients, rtol=1e-7)
        np.testing.assert_allclose(fits.covariance[i], alone.covariance, rtol=1e-6)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_a_row_that_counts_twice_is_two_rows(ties: cox.Ties) -> None:
    """Frequencies against the rows themselves, some of them not there at all, fits that take more steps than others beside them."""
    rng = np.random.default_rng(9)
    stop, event = np.ceil(rng.exponential(12, 50)), rng.uniform(size=50) < 0.5
    x, counts = rng.normal(size=(4, 50, 3)), rng.integers(0, 4, (4, 50))
    x[1, :, 0] = event * 3 + rng.normal(size=50)
    fits = fit_many_penalised(cox.risk_sets(stop, event, ties=ties), x, TERMS, frequencies=counts)
    for i in range(4):
        rows = np.repeat(np.arange(50), counts[i])
        alone = fit_many_penalised(cox.risk_sets(stop[rows], event[rows], ties=ties), x[i][rows][None], TERMS)
        np.testing.assert_allclose(fits.coefficients[i], alone.coefficients[0], rtol=1e-7)
        np.testing.assert_allclose(fits.covariance[i], alone.covariance[0], rtol=1e-6)
        assert (fits.events[i], fits.rows[i]) == (event[rows].sum(), len(rows))


def test_what_is_wrong_with_one_sample_stops_no_other() -> None:
    rng = np.random.default_rng(9)
    stop, event, x = np.arange(1.0, 31), np.arange(30) % 3 == 0, rng.normal(size=(2, 30, 3))
    counts = np.ones((2, 30), dtype=int)
    counts[0, event] = 0
    fits = fit_many_penalised(cox.risk_sets(stop, event), x, TERMS, frequencies=counts)
    assert isinstance(fits.problems[0], cox.CoxInputError) and np.isfinite(fits.coefficients[1]).all()


def test_likelihood_information_and_residuals_are_those_of_the_core() -> None:
    sets, data, clusters = people()
    ordinary = cox.fit_many(sets, data, terms=TERMS, clusters=clusters)
    state = _State(_Sums.of(sets, None), data, ordinary.coefficients)
    np.testing.assert_allclose(state.log_likelihood, ordinary.log_likelihood, rtol=1e-10)
    np.testing.assert_allclose(np.linalg.inv(state.information), ordinary.covariance, rtol=1e-8)
    for i in range(2):
        theirs = score_residuals(sets, data[i], ordinary[i])
        ours = state.score_residuals()[i]
        np.testing.assert_allclose(ours, theirs, atol=1e-8)


def test_a_term_that_orders_the_events_perfectly_has_an_estimate() -> None:
    """The ordinary likelihood runs away; the penalised one stays, and so do its errors."""
    rng = np.random.default_rng(5)
    event = np.arange(40) < 8
    stop = np.where(event, rng.uniform(1, 5, 40), rng.uniform(6, 10, 40))
    x = np.column_stack([event, rng.normal(size=40)]).astype(float)
    sets = cox.risk_sets(stop, event)
    with pytest.raises(cox.CoxSeparationError):
        cox.fit_on(sets, x, terms=("perfect", "other"))
    fit = fit_many_penalised(sets, x[None], ("perfect", "other"), np.arange(40) // 2)[0]
    assert 2 < fit.coefficients[0] < 8 and np.isfinite(fit.std_errors).all() and fit.clusters == 20


def test_with_many_events_the_penalty_is_nothing() -> None:
    rng = np.random.default_rng(6)
    x = rng.normal(size=(1, 1500, 3))
    sets = cox.risk_sets(rng.exponential(1 / np.exp(x[0, :, 0] * 0.5)), np.ones(1500, dtype=bool))
    ordinary = cox.fit_many(sets, x, terms=TERMS, clusters=np.arange(1500))
    penalised = fit_many_penalised(sets, x, TERMS, np.arange(1500))
    assert np.abs(penalised.coefficients - ordinary.coefficients).max() < 0.02 * ordinary[0].std_errors.max()
    assert ordinary.robust_covariance is not None and penalised.robust_covariance is not None
    np.testing.assert_allclose(penalised.robust_covariance, ordinary.robust_covariance, rtol=0.01, atol=1e-6)


def test_dependent_terms_are_named_and_the_other_data_set_is_fitted() -> None:
    sets, data, _ = people()
    data[0, :, 2] = 1.0
    fits = fit_many_penalised(sets, data, TERMS)
    assert isinstance(fits.problems[0], cox.CoxSingularError) and fits.problems[0].terms == ("c",)
    assert np.isnan(fits.coefficients[0]).all() and np.isfinite(fits.coefficients[1]).all()


def test_a_term_that_is_the_same_for_all_at_risk_at_the_events_is_named() -> None:
    """Somebody who left before the first event differs; the information has no row of that term."""
    sets = cox.risk_sets(np.array([1.0, 3, 4, 5, 6, 7]), np.array([False, True, True, False, True, False]))
    data = np.random.default_rng(4).normal(size=(2, 6, 3))
    data[0, :, 1] = [1, 0, 0, 0, 0, 0]
    fits = fit_many_penalised(sets, data[:, :, :2], TERMS[:2])
    assert isinstance(fits.problems[0], cox.CoxSingularError) and fits.problems[0].terms == ("b",)
    assert fits.problems[1] is None and np.isfinite(fits.coefficients[1]).all()


def test_terms_that_are_dependent_at_the_events_only_are_refused() -> None:
    sets = cox.risk_sets(np.array([1.0, 3, 4, 5, 6, 7]), np.array([False, True, True, False, True, False]))
    data = np.random.default_rng(4).normal(size=(1, 6, 2))
    data[0, 1:, 1] = 2 * data[0, 1:, 0] + 1
    assert isinstance(fit_many_penalised(sets, data, TERMS[:2]).problems[0], cox.CoxSingularError)
