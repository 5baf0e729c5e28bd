"""Firth's penalty against what can be worked out by hand, and against a maximisation by brute force that shares nothing with it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from orchestration.analysis import cox
from orchestration.analysis.cox_firth import FirthFit, fit_firth
from tests.analysis.test_cox import simulated_rows

TERMS = ("x1", "x2", "x4")


def penalised_by_brute_force(rows: pd.DataFrame, terms: tuple[str, ...], beta: np.ndarray, ties: cox.Ties) -> float:
    """log partial likelihood + half the log determinant of the information, one death at a time, by its definition."""
    x = rows[list(terms)].to_numpy()
    likelihood, information = 0.0, np.zeros((len(terms), len(terms)))
    for time in np.unique(rows["stop"][rows["event"] == 1]):
        at_risk = ((rows["start"] < time) & (rows["stop"] >= time)).to_numpy()
        died = ((rows["stop"] == time) & (rows["event"] == 1)).to_numpy()
        for place in range(died.sum()):
            share = at_risk - (place / died.sum() if ties == "efron" else 0.0) * died
            risk = share * np.exp(x @ beta)
            probability = risk / risk.sum()
            mean = probability @ x
            information += (x - mean).T @ (probability[:, None] * (x - mean))
            likelihood -= np.log(risk.sum())
        likelihood += (x @ beta)[died].sum()
    return float(likelihood + np.linalg.slogdet(information)[1] / 2)


def firth(rows: pd.DataFrame, ties: cox.Ties = "efron") -> FirthFit:
    sets = cox.risk_sets(rows["stop"], rows["event"], start=rows["start"], ties=ties)
    return fit_firth(sets, rows[list(TERMS)].to_numpy(), terms=TERMS)


@pytest.mark.parametrize("pairs", [1, 3, 10])
def test_pairs_in_which_the_exposed_always_fails_first_have_log_of_two_pairs_plus_one(pairs: int) -> None:
    """With s pairs and p = e^b / (1 + e^b), l* = s log p + log(s p (1 - p)) / 2 has its maximum at p = (s + 1/2) / (s + 1)."""
    exposed = np.tile([1.0, 0.0], pairs)[:, None]
    sets = cox.risk_sets(np.tile([1.0, 2.0], pairs), np.tile([1, 0], pairs), strata=np.repeat(np.arange(pairs), 2))
    with pytest.raises(cox.CoxSeparationError):
        cox.fit_on(sets, exposed)
    fit = fit_firth(sets, exposed)
    assert fit.coefficients[0] == pytest.approx(np.log(2 * pairs + 1), abs=1e-8)
    p = (pairs + 0.5) / (pairs + 1)
    assert fit.covariance[0, 0] == pytest.approx(1 / (pairs * p * (1 - p)), rel=1e-7)
    assert fit.penalised_log_likelihood == pytest.approx(pairs * np.log(p) + np.log(pairs * p * (1 - p)) / 2, abs=1e-10)
    assert fit.penalised_log_likelihood_null == pytest.approx(pairs * np.log(0.5) + np.log(pairs / 4) / 2, abs=1e-10)
    assert fit.high[0] == np.inf or fit.high[0] > fit.coefficients[0]


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_estimates_and_profile_limits_are_those_of_brute_force(ties: cox.Ties) -> None:
    from scipy import optimize, stats

    rows = simulated_rows(60, 5)
    fit = firth(rows, ties)

    def worst(beta: np.ndarray) -> float:
        return -penalised_by_brute_force(rows, TERMS, beta, ties)

    found = optimize.minimize(worst, fit.coefficients + 0.2, method="BFGS", options={"gtol": 1e-7})
    assert -found.fun == pytest.approx(fit.penalised_log_likelihood, abs=1e-9)
    assert np.allclose(fit.coefficients, found.x, atol=1e-5)

    for limit in (fit.low[0], fit.high[0]):  # the others are maximised over, the first is held
        held = optimize.minimize(lambda rest, at=limit: worst(np.append(at, rest)), fit.coefficients[1:], method="BFGS")
        assert 2 * (held.fun - found.fun) == pytest.approx(stats.chi2.ppf(0.95, 1), abs=1e-5)
    null = optimize.minimize(lambda rest: worst(np.append(0.0, rest)), fit.coefficients[1:], method="BFGS")
    assert fit.p_value[0] == pytest.approx(stats.chi2.sf(2 * (null.fun - found.fun), 1), abs=1e-6)


def test_with_many_events_the_penalty_hardly_matters() -> None:
    rows = simulated_rows(1_000, 8)
    ordinary = cox.fit_cox(rows[list(TERMS)].to_numpy(), rows["stop"], rows["event"], start=rows["start"], terms=TERMS)
    sets = cox.risk_sets(rows["stop"], rows["event"], start=rows["start"])
    penalised = fit_firth(sets, rows[list(TERMS)].to_numpy(), terms=TERMS, profile=False)
    assert np.abs(penalised.coefficients - ordinary.coefficients).max() < 0.1 * ordinary.std_errors.min()
    assert (penalised.coefficients != ordinary.coefficients).all()


def test_the_unit_of_a_covariate_changes_its_coefficient_only() -> None:
    rows = simulated_rows(60, 5)
    one, other = firth(rows), firth(rows.assign(x1=rows["x1"] * 12 + 3))
    assert np.allclose(one.coefficients, other.coefficients * [12, 1, 1], rtol=1e-6)
    assert np.allclose(one.low, other.low * [12, 1, 1], rtol=1e-5)


def test_dependent_terms_are_refused() -> None:
    rows = simulated_rows(60, 5)
    sets = cox.risk_sets(rows["stop"], rows["event"])
    with pytest.raises(cox.CoxSingularError):
        fit_firth(sets, np.column_stack([rows["x1"], 2 * rows["x1"]]))
    with pytest.raises(cox.CoxSingularError) as caught:
        fit_firth(sets, np.column_stack([rows["x1"], np.ones(60)]), terms=("x1", "flat"))
    assert caught.value.terms == ("flat",)
