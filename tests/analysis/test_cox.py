"""The Cox core against the PyPI port of R's survival, against lifelines, and against what must hold for any data; R has a module of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.analysis import cox

TERMS = ("x1", "x2", "x3", "x4")


@dataclass(frozen=True)
class Case:
    """One way of asking for a Cox model; `rows` has start, stop, event, stratum, weight, officer, x1..x4."""

    ties: cox.Ties = "efron"
    has_entry: bool = False
    has_strata: bool = False
    has_weights: bool = False

    def fit(self, rows: pd.DataFrame, small_cluster: bool = False) -> cox.CoxFit:
        return cox.fit_cox(
            rows[list(TERMS)].to_numpy(), rows["stop"], rows["event"],
            start=rows["start"] if self.has_entry else None, strata=rows["stratum"] if self.has_strata else None,
            weights=rows["weight"] if self.has_weights else None, clusters=rows["officer"], terms=TERMS, ties=self.ties,
            small_cluster=small_cluster,
        )  # fmt: skip

    @property
    def formula(self) -> str:
        response = "Surv(start, stop, event)" if self.has_entry else "Surv(stop, event)"
        return f"{response} ~ {' + '.join(TERMS)}" + (" + strata(stratum)" if self.has_strata else "")


CASES = {
    f"{ties}_{'entry' if entry else 'plain'}{'_strata' if strata else ''}{'_weights' if weights else ''}": Case(
        ties, entry, strata, weights
    )
    for ties in ("efron", "breslow")
    for entry in (False, True)
    for strata in (False, True)
    for weights in (False, True)
}


def simulated_rows(n: int, seed: int, unit_days: float = 30.0) -> pd.DataFrame:
    """Times in whole months (many ties), late entry, three strata, officers with about two clients each."""
    rng = np.random.default_rng(seed)
    x = np.column_stack([rng.normal(3.5, 0.7, n), rng.integers(0, 2, n), rng.normal(0, 10, n), rng.exponential(1.0, n)])
    hazard = 0.001 * np.exp(x @ np.array([-0.4, 0.5, 0.03, 0.2]))
    time_to_event = rng.exponential(1 / hazard)
    censoring = rng.uniform(100, 1400, n)
    stop = np.ceil(np.minimum(time_to_event, censoring) / unit_days)
    start = np.floor(np.where(rng.uniform(size=n) < 0.6, 0.0, rng.uniform(size=n) * stop))
    start = np.minimum(start, stop - 1)
    return pd.DataFrame(
        {
            "start": start, "stop": stop, "event": (time_to_event <= censoring).astype(int), "stratum": rng.integers(0, 3, n),
            "weight": rng.uniform(0.4, 2.5, n), "officer": rng.integers(0, max(2, n // 2), n),
            **{name: x[:, j] for j, name in enumerate(TERMS)},
        }
    )  # fmt: skip


def relative(ours: np.ndarray | float, theirs: np.ndarray | float) -> float:
    ours, theirs = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
    return float(np.max(np.abs(ours - theirs) / np.maximum(np.abs(theirs), 1e-300)))


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return simulated_rows(300, seed=7)


@pytest.mark.parametrize("name", CASES)
def test_coefficients_errors_and_likelihoods_are_those_of_the_survival_package(name: str, rows: pd.DataFrame) -> None:
    survival = pytest.importorskip("survival", reason="the PyPI package survival is a development dependency")
    case = CASES[name]
    theirs = survival.coxph(
        case.formula, rows, ties=case.ties, cluster=rows["officer"].tolist(), eps=1e-12, toler_chol=1e-13, iter_max=50,
        weights=rows["weight"].tolist() if case.has_weights else None,
    )  # fmt: skip
    ours = case.fit(rows)
    assert relative(ours.coefficients, theirs.coefficients) < 1e-9
    assert relative(ours.covariance, theirs.naive_var) < 1e-9
    assert relative(ours.variance, theirs.var) < 1e-9
    assert relative([ours.log_likelihood_null, ours.log_likelihood], theirs.loglik) < 1e-9


def test_coefficients_and_model_errors_are_those_of_lifelines(rows: pd.DataFrame) -> None:
    from lifelines import CoxPHFitter

    ours = CASES["efron_plain"].fit(rows)
    theirs = CoxPHFitter().fit(
        rows[["stop", "event", *TERMS]], "stop", "event", fit_options={"precision": 1e-14, "r_precision": 1e-20}
    )
    assert relative(ours.coefficients, theirs.params_[list(TERMS)]) < 1e-7
    assert relative(ours.model_std_errors, theirs.standard_errors_[list(TERMS)]) < 1e-7
    assert relative(ours.log_likelihood, theirs.log_likelihood_) < 1e-9


def test_small_cluster_correction_is_g_over_g_minus_one(rows: pd.DataFrame) -> None:
    bare, corrected = CASES["efron_plain"].fit(rows), CASES["efron_plain"].fit(rows, small_cluster=True)
    groups = rows["officer"].nunique()
    assert corrected.clusters == groups
    assert relative(corrected.variance, bare.variance * groups / (groups - 1)) < 1e-14


def test_two_people_by_hand() -> None:
    """Three rows, one covariate 0/1/1; the first event has risk set {a, b, c}, the second {b, c}."""
    fit = cox.fit_cox([[1.0], [0.0], [1.0]], [1.0, 2.0, 3.0], [1, 1, 0], terms=("x",))
    # L(b) = b - log(1 + 2 e^b) + 0 - log(1 + e^b), so U = 1 - 2e^b/(1 + 2e^b) - e^b/(1 + e^b) = 0 at e^b = 1/sqrt(2)
    assert fit.coefficients[0] == pytest.approx(-0.5 * np.log(2), abs=1e-12)
    assert fit.log_likelihood_null == pytest.approx(-np.log(3) - np.log(2), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), shift=st.floats(-50, 50), unit=st.floats(0.01, 100))
def test_unit_shift_and_order_of_rows_change_nothing(seed: int, shift: float, unit: float) -> None:
    rows = simulated_rows(80, seed)
    case = CASES["efron_entry_strata_weights"]
    moved = rows.assign(x1=(rows["x1"] + shift) * unit).sample(frac=1.0, random_state=seed)
    try:
        one = case.fit(rows)
    except cox.CoxError as error:
        with pytest.raises(type(error)):
            case.fit(moved)
        return
    other = case.fit(moved)
    scale = np.array([unit, 1, 1, 1])
    assert np.allclose(one.coefficients, other.coefficients * scale, rtol=1e-7, atol=1e-9)
    assert np.allclose(one.variance, other.variance * np.outer(scale, scale), rtol=1e-6, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_splitting_a_row_in_two_intervals_changes_nothing(seed: int) -> None:
    rows = simulated_rows(80, seed)
    rows["start"] = 0.0
    whole = Case(has_entry=True)
    cut = np.floor(rows["stop"] / 2)
    is_cut = cut > 0
    early = rows[is_cut].assign(stop=cut[is_cut], event=0)
    late = rows.assign(start=cut)
    try:
        one = whole.fit(rows)
    except cox.CoxError:
        return
    other = whole.fit(pd.concat([early, late], ignore_index=True))
    assert np.allclose(one.coefficients, other.coefficients, rtol=1e-8)
    assert np.allclose(one.covariance, other.covariance, rtol=1e-7)
    assert np.allclose(one.variance, other.variance, rtol=1e-6)  # residuals of one officer's rows add up


def test_an_event_at_the_entry_time_of_another_row_does_not_have_that_row_at_risk() -> None:
    """(start, stop]: the row that enters at 5 is not there when somebody fails at 5."""
    x = [[0.3], [1.0], [-1.0], [0.2]]
    late = cox.fit_cox(x, [5.0, 9.0, 7.0, 8.0], [1, 1, 1, 0], start=[0.0, 5.0, 0.0, 0.0])
    later = cox.fit_cox(x, [5.0, 9.0, 7.0, 8.0], [1, 1, 1, 0], start=[0.0, 5.5, 0.0, 0.0])
    before = cox.fit_cox(x, [5.0, 9.0, 7.0, 8.0], [1, 1, 1, 0], start=[0.0, 4.9, 0.0, 0.0])
    assert late.log_likelihood == later.log_likelihood
    assert late.log_likelihood_null != before.log_likelihood_null


def test_bad_intervals_are_refused_and_counted() -> None:
    with pytest.raises(cox.CoxIntervalError) as caught:
        cox.fit_cox(np.ones((5, 1)), [3.0, 2.0, np.nan, 4.0, -1.0], [1, 0, 0, 1, 0], start=[3.0, 1.0, 0.0, 5.0, -2.0])
    assert caught.value.counts == {
        "a time that is missing or infinite": 1,
        "a negative time": 1,
        "stop not after start": 2,
    }


def test_overlaps_and_events_before_the_last_row_are_refused() -> None:
    with pytest.raises(cox.CoxIntervalError) as caught:
        cox.risk_sets([5.0, 9.0, 4.0, 8.0], [1, 0, 0, 1], start=[0.0, 4.0, 0.0, 4.0], subjects=["a", "a", "b", "b"])
    assert caught.value.counts == {
        "an overlap with the row before of the same subject": 1,
        "an event that is not the subject's last row": 1,
    }


def test_a_term_that_orders_the_events_perfectly_is_separation() -> None:
    rng = np.random.default_rng(3)
    stop = rng.permutation(60) + 1.0
    event = rng.uniform(size=60) < 0.5
    x = np.column_stack([rng.normal(size=60), event.astype(float)])
    with pytest.raises(cox.CoxSeparationError) as caught:
        cox.fit_cox(x, stop, event, terms=("noise", "outcome"))
    assert caught.value.terms == ("outcome",)


def test_constant_and_dependent_terms_are_singular() -> None:
    rows = simulated_rows(100, 1)
    with pytest.raises(cox.CoxSingularError) as caught:
        cox.fit_cox(np.column_stack([rows["x1"], np.full(100, 3.0)]), rows["stop"], rows["event"], terms=("x1", "flat"))
    assert caught.value.terms == ("flat",)
    with pytest.raises(cox.CoxSingularError) as caught:
        twice = np.column_stack([rows["x1"], rows["x2"], 2 * rows["x1"] + 1])
        cox.fit_cox(twice, rows["stop"], rows["event"], terms=("x1", "x2", "x1_again"))
    assert caught.value.terms == ("x1", "x1_again")


@pytest.mark.parametrize(
    ("change", "message"),
    [({"event": np.zeros(4)}, "no event in 4 rows"), ({"covariates": [[1.0], [np.nan], [2.0], [0.0]]}, "1 covariate values"),
     ({"weights": [1.0, 0.0, 1.0, 1.0]}, "1 of 4 weights"), ({"event": [0, 1, 2, 0]}, "1 of 4 events")],
)  # fmt: skip
def test_inputs_that_do_not_fit_are_named_in_counts(change: dict[str, object], message: str) -> None:
    given_ = {"covariates": [[1.0], [0.5], [2.0], [0.0]], "stop": [1.0, 2.0, 3.0, 4.0], "event": [1, 0, 1, 0]} | change
    with pytest.raises(cox.CoxInputError, match=message):
        cox.fit_cox(**given_)  # type: ignore[arg-type]
