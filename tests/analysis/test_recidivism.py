"""Q3 on a synthetic cohort: who is in, what is imputed, what is estimated, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from orchestration.analysis import cox, recidivism
from orchestration.analysis.inputs import Inputs
from orchestration.analysis.specification import Specification
from tests.analysis.synthetic import TRUE_ADDICTION, TRUE_TRUST, synthetic_inputs
from tests.conftest import brief

LANDMARK = "general_landmark"


@pytest.fixture(scope="module")
def cohort(inputs: Inputs, spec: Specification) -> recidivism.OutcomeCohort:
    return recidivism.outcome_cohort(inputs.analysis_cohort, LANDMARK, spec)


@pytest.fixture(scope="module")
def imputed(cohort: recidivism.OutcomeCohort, spec: Specification) -> pd.DataFrame:
    return recidivism.impute_cohort(cohort, spec, 1)


@pytest.fixture(scope="module")
def estimates(cohort: recidivism.OutcomeCohort, imputed: pd.DataFrame, spec: Specification) -> pd.DataFrame:
    return recidivism.estimates_of(cohort, imputed, spec)


def three_people(**change: object) -> pd.DataFrame:
    """Three rows of analysis_cohort: only what matters is given, scores and covariates are the same for all."""
    base = synthetic_inputs(60, seed=3).analysis_cohort
    rows = base[base["outcome_id"] == LANDMARK].iloc[1:4].reset_index(drop=True)
    return rows.assign(client_id=["c", "a", "b"], **change)


def test_not_eligible_and_not_linked_people_are_left_out(spec: Specification) -> None:
    rows = three_people(is_eligible=[True, False, True], event=pd.array([True, False, None], dtype="boolean"))
    assert recidivism.outcome_cohort(rows, LANDMARK, spec).client.tolist() == ["c"]


def test_rows_are_ordered_by_client_whatever_order_they_come_in(inputs: Inputs, spec: Specification) -> None:
    shuffled = inputs.analysis_cohort.sample(frac=1, random_state=2)
    one = recidivism.outcome_cohort(inputs.analysis_cohort, LANDMARK, spec)
    other = recidivism.outcome_cohort(shuffled, LANDMARK, spec)
    assert one.client.tolist() == other.client.tolist()
    assert one.covariates.equals(other.covariates)


def test_a_client_without_an_officer_is_a_cluster_of_one(spec: Specification) -> None:
    rows = three_people(
        officer_id=["o1", None, "o1"], is_eligible=True, event=pd.array([True, False, True], dtype="boolean")
    )
    assert recidivism.outcome_cohort(rows, LANDMARK, spec).cluster.tolist() == ["a", "o1", "o1"]


def test_nobody_is_dropped_for_a_missing_rating(cohort: recidivism.OutcomeCohort, imputed: pd.DataFrame) -> None:
    assert cohort.covariates["client_trust_t2"].isna().any()
    assert len(imputed) == 4 * cohort.n
    assert imputed.notna().all(axis=None)


def test_the_outcome_is_among_the_predictors_of_the_imputation(
    cohort: recidivism.OutcomeCohort, imputed: pd.DataFrame, spec: Specification
) -> None:
    """Other outcomes for the same people give other imputed values; the outcome itself is not handed on."""
    other = replace(cohort, event=~cohort.event)
    assert not recidivism.impute_cohort(other, spec, 1).equals(imputed)
    assert {"event", "nelson_aalen"}.isdisjoint(imputed.columns)


def test_estimates_are_tidy_and_complete(cohort: recidivism.OutcomeCohort, estimates: pd.DataFrame) -> None:
    rows = estimates
    assert tuple(rows.columns) == recidivism.ESTIMATE_COLUMNS
    assert len(rows) == 2 * 4 * ((1 + 3 + 10 + 9) + (2 + 4 + 11 + 10))  # raters x scales x (score + trait and state)
    assert rows["note"].isna().all()
    assert not rows.duplicated(["model_id", "term"]).any()
    assert ((rows["conf_low"] < rows["estimate"]) & (rows["estimate"] < rows["conf_high"])).all()
    assert ((rows["estimate_min"] <= rows["estimate"]) & (rows["estimate"] <= rows["estimate_max"])).all()
    assert set(rows["n"]) == {cohort.n} and set(rows["events"]) == {cohort.events}


def test_one_model_is_what_its_parts_give(
    cohort: recidivism.OutcomeCohort, imputed: pd.DataFrame, estimates: pd.DataFrame
) -> None:
    """The unadjusted Trust model by hand: m fits, mean coefficient, within plus between variance, clustered by officer."""
    row = estimates.set_index("model_id").loc[f"{LANDMARK}.client.trust.unadjusted"]
    fits = [
        cox.fit_cox(one[["client_trust_t2"]].to_numpy(), cohort.duration, cohort.event, clusters=cohort.cluster)
        for _, one in imputed.groupby("imputation")
    ]
    estimates = np.array([fit.coefficients[0] for fit in fits])
    within = np.mean([fit.variance[0, 0] for fit in fits])
    assert row["estimate"] == pytest.approx(estimates.mean(), rel=1e-12)
    assert row["std_error"] == pytest.approx(np.sqrt(within + (1 + 1 / 4) * estimates.var(ddof=1)), rel=1e-12)
    assert all(fit.clusters == len(set(cohort.cluster)) for fit in fits)


def test_trait_and_state_are_the_scores_of_both_waves_told_apart(
    cohort: recidivism.OutcomeCohort, imputed: pd.DataFrame, estimates: pd.DataFrame
) -> None:
    """With T1 held, a point of change is a point at T2; with change held, a point at T1 is one at both waves."""
    rows = estimates.set_index(["model_id", "term"])["estimate"]
    found = rows[f"{LANDMARK}.officer.trust.trait_and_state.unadjusted"]
    columns = ["officer_trust_t1", "officer_trust_t2"]
    both = [
        cox.fit_cox(one[columns].to_numpy(), cohort.duration, cohort.event).coefficients
        for _, one in imputed.groupby("imputation")
    ]
    first, later = np.mean(both, axis=0)
    assert found["trust_state"] == pytest.approx(later, rel=1e-8)
    assert found["trust_trait"] == pytest.approx(first + later, rel=1e-8)


def test_every_row_says_how_many_events_there_are_for_each_parameter(
    cohort: recidivism.OutcomeCohort, estimates: pd.DataFrame
) -> None:
    rows = estimates
    terms = rows.groupby("model_id")["term"].transform("size")
    assert np.allclose(rows["events_per_parameter"], cohort.events / terms)


def test_true_effects_are_found_in_a_large_cohort(spec: Specification) -> None:
    """4,000 clients: Trust -.5, addiction .5, within three standard errors, which are small."""
    large = recidivism.outcome_cohort(synthetic_inputs(4000, seed=5).analysis_cohort, LANDMARK, spec)
    rules = replace(spec.recidivism, raters=("client",), scales=("trust",), exposures={"score": {"score": "t2"}})
    few = replace(spec, recidivism=rules, imputer=replace(spec.imputer, m=3, iterations=3))
    rows = recidivism.estimates_of(large, recidivism.impute_cohort(large, few, 2), few)
    full = rows[rows["model_id"] == f"{LANDMARK}.client.trust.full"].set_index("term")
    for term, truth in (("trust", TRUE_TRUST), ("addiction", TRUE_ADDICTION)):
        assert full.loc[term, "std_error"] < 0.09
        assert abs(full.loc[term, "estimate"] - truth) < 3 * full.loc[term, "std_error"]


def test_too_few_events_are_said_and_nothing_is_invented(spec: Specification) -> None:
    cohort = recidivism.outcome_cohort(synthetic_inputs(60, seed=8).analysis_cohort, LANDMARK, spec)
    few = replace(cohort, event=cohort.event & (np.cumsum(cohort.event) <= 5))
    imputed = recidivism.impute_cohort(few, spec, 1)
    rows = recidivism.estimates_of(few, imputed, spec)
    assert rows["estimate"].isna().all()
    assert set(rows["note"]) == {"not estimable: 5 events, fewer than 10"}
    assert recidivism.second_engine(few, imputed, spec)["agrees"].isna().all()


def test_a_covariate_that_is_the_same_for_all_is_left_out_and_named(
    cohort: recidivism.OutcomeCohort, spec: Specification
) -> None:
    flat = replace(cohort, covariates=cohort.covariates.assign(is_male=1.0))
    small = brief(spec)
    rows = recidivism.estimates_of(flat, recidivism.impute_cohort(flat, small, 1), small)
    full = rows[rows["model_id"] == f"{LANDMARK}.client.trust.full"].set_index("term")
    assert "the same for everybody" in full.loc["is_male", "note"]
    assert np.isnan(full.loc["is_male", "estimate"]) and np.isfinite(full.loc["trust", "estimate"])


def test_separation_is_reported_with_its_term_and_has_an_estimate_where_events_are_few(
    cohort: recidivism.OutcomeCohort, spec: Specification
) -> None:
    """Without a penalty the full model has no maximum; with fewer than ten events for each term it is penalised, and has one."""
    perfect = replace(cohort, covariates=cohort.covariates.assign(partner=cohort.event.astype(float)))
    rules = replace(spec.recidivism, raters=("client",), scales=("trust",))
    penalised = replace(spec, recidivism=rules)
    bare = replace(spec, recidivism=replace(rules, min_events_per_parameter=0.0))
    imputed = recidivism.impute_cohort(perfect, spec, 1)
    rows = recidivism.estimates_of(perfect, imputed, bare)
    full = rows[rows["adjustment"] == "full"]
    assert full["estimate"].isna().all()
    assert full["note"].str.contains("quasi-separation").all() and full["note"].str.contains("partner").all()
    assert rows.loc[rows["adjustment"] == "unadjusted", "estimate"].notna().all()
    rows = recidivism.estimates_of(perfect, imputed, penalised)
    full = rows[rows["adjustment"] == "full"]
    assert full["estimate"].notna().all() and set(full["method"]) == {"Firth"}
    assert full.loc[full["term"] == "partner", "estimate"].gt(3).all()
    assert set(rows.loc[rows["adjustment"] == "unadjusted", "method"]) == {"partial likelihood"}


def test_the_second_engine_agrees_and_a_wrong_coefficient_would_be_seen(
    cohort: recidivism.OutcomeCohort, imputed: pd.DataFrame, spec: Specification, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = recidivism.second_engine(cohort, imputed, spec)
    assert rows["agrees"].all()
    assert rows[["largest_coefficient_difference", "largest_error_difference"]].max(axis=None) < 1e-8
    honest = cox.fit_on

    def slightly_off(*args: object, **kwargs: object) -> cox.CoxFit:
        fit = honest(*args, **kwargs)  # type: ignore[arg-type]
        return replace(fit, coefficients=fit.coefficients * (1 + 1e-6))

    monkeypatch.setattr(cox, "fit_on", slightly_off)
    off = recidivism.second_engine(cohort, imputed, brief(spec))
    assert len(off) and not off["agrees"].any()
