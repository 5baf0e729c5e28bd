"""What models predict and how well: against R, scikit-survival and hand counts, and on models that know nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from orchestration.analysis import cox, prediction, recidivism
from orchestration.analysis.cox_survival import concordance, predicted_survival
from orchestration.analysis.inputs import DAYS_PER_MONTH, Inputs
from orchestration.analysis.prediction import Censoring, Sample
from orchestration.analysis.specification import Specification
from tests.analysis.reference_r import ask_r, needs_r


@pytest.fixture(scope="module")
def small(spec: Specification) -> Specification:
    """Few samples of officers; the adjustments are none and two terms, so that no penalty is needed."""
    rules = replace(
        spec.recidivism, bootstraps=30, adjustments={"unadjusted": (), "full": ("log_prior_cases", "age_decades", "addiction")},
        raters=("client",), min_events_per_parameter=0.0,
    )  # fmt: skip
    return replace(spec, recidivism=rules)


@pytest.fixture(scope="module")
def cohort(inputs: Inputs, small: Specification) -> recidivism.OutcomeCohort:
    return recidivism.outcome_cohort(inputs.analysis_cohort, "general_landmark", small)


@pytest.fixture(scope="module")
def imputed(cohort: recidivism.OutcomeCohort, small: Specification) -> pd.DataFrame:
    return recidivism.impute_cohort(cohort, small, 1)


def drawn(n: int = 160, seed: int = 2) -> Sample:
    """Two covariates of known effect; times without ties."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    time, censored = rng.exponential(1 / np.exp(x @ [0.7, -0.4])) * 300, rng.uniform(50, 900, n)
    return Sample(np.minimum(time, censored), time <= censored, x, np.arange(n) // 2)


DAYS = np.array([120.0, 365.0])


def test_the_standardised_risk_of_one_profile_is_its_predicted_curve(small: Specification) -> None:
    """Value and error are those of the Cox core, which R has confirmed."""
    sample = drawn()
    (predictor,) = prediction.fitted([sample], ("a", "b"), DAYS, small)
    sets = cox.risk_sets(sample.duration, sample.event)
    fit = cox.fit_on(sets, sample.x, terms=("a", "b"), clusters=sample.cluster)
    theirs = predicted_survival(sets, sample.x, fit, sample.x[:1], DAYS, clustered=True)
    risk, error = prediction.standardised_risk(predictor, sample.x[:1])
    np.testing.assert_allclose(risk, 1 - theirs.survival[0], rtol=1e-12)
    np.testing.assert_allclose(error, theirs.std_error[0], rtol=1e-10)


def test_the_error_of_a_standardised_risk_is_that_of_leaving_people_out_when_the_people_are_given(
    small: Specification,
) -> None:
    """The delta method against the jackknife over clusters, the people that are averaged over staying the same: within 6 %."""
    sample = drawn(600)
    _, error = prediction.standardised_risk(prediction.fitted([sample], ("a", "b"), DAYS, small)[0], sample.x)
    left_out = []
    for cluster in np.unique(sample.cluster):
        rows = np.flatnonzero(sample.cluster != cluster)
        (one,) = prediction.fitted([sample.at(rows, sample.cluster[rows])], ("a", "b"), DAYS, small)
        left_out.append(prediction.standardised_risk(one, sample.x)[0])
    clusters = len(left_out)
    jackknife = np.sqrt((clusters - 1) / clusters * ((np.array(left_out) - np.mean(left_out, axis=0)) ** 2).sum(axis=0))
    np.testing.assert_allclose(error, jackknife, rtol=0.06)


@needs_r
def test_concordance_and_calibration_slope_on_other_people_are_those_of_r(small: Specification, tmp_path: Path) -> None:
    sample, other = drawn(), drawn(seed=5)
    frames = {
        name: pd.DataFrame({"time": one.duration, "event": one.event.astype(int), "a": one.x[:, 0], "b": one.x[:, 1]})
        for name, one in (("sample", sample), ("other", other))
    }
    answers = ask_r(
        tmp_path,
        """
        library(survival); d <- frame("sample"); o <- frame("other")
        fit <- coxph(Surv(time, event) ~ a + b, data = d, x = TRUE)
        o$lp <- predict(fit, newdata = o); say("slope", coef(coxph(Surv(time, event) ~ lp, data = o)))
        say("c", concordance(Surv(time, event) ~ lp, data = o, reverse = TRUE)$concordance)
        """,
        **frames,
    )
    (predictor,) = prediction.fitted([sample], ("a", "b"), DAYS, small)
    elsewhere = prediction.measures(predictor, other, DAYS)
    assert elsewhere[0] == pytest.approx(answers["c"][0], rel=1e-9)
    assert elsewhere[1] == pytest.approx(answers["slope"][0], rel=1e-8)


def test_area_under_the_curve_and_brier_score_are_those_of_scikit_survival(small: Specification) -> None:
    metrics = pytest.importorskip("sksurv.metrics", reason="scikit-survival is a development dependency")
    from sksurv.util import Surv

    sample = drawn()
    (predictor,) = prediction.fitted([sample], ("a", "b"), DAYS, small)
    censoring, linear, risk = Censoring.of(sample), predictor.linear(sample.x), predictor.risk(sample.x)
    outcome = Surv.from_arrays(sample.event, sample.duration)
    theirs, _ = metrics.cumulative_dynamic_auc(outcome, outcome, linear, DAYS)
    ours = [prediction.area_under_curve(linear, sample, day, censoring) for day in DAYS]
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    _, briers = metrics.brier_score(outcome, outcome, 1 - risk, DAYS)
    np.testing.assert_allclose(
        [prediction.brier_score(risk[:, j], sample, day, censoring) for j, day in enumerate(DAYS)], briers, rtol=1e-9
    )


def test_both_ways_to_count_concordant_pairs_agree_under_ties() -> None:
    rng = np.random.default_rng(1)
    sample = Sample(np.ceil(rng.uniform(0, 12, 80)), rng.uniform(size=80) < 0.6, np.zeros((80, 1)), np.arange(80))
    score = np.round(rng.normal(size=80), 1)
    assert prediction.harrell(score, sample) == pytest.approx(
        concordance(prediction._sets(sample), score).value, rel=1e-12
    )


def test_a_score_raised_lowers_the_risk_when_trust_protects(
    cohort: recidivism.OutcomeCohort, imputed: pd.DataFrame, small: Specification
) -> None:
    rows = prediction.risk_by_level(cohort, imputed, small)
    assert rows["note"].isna().all() and set(rows["months"]) <= set(small.recidivism.risk_months)
    for _, one in rows.groupby(["model_id", "months"]):
        assert one.sort_values("level")["risk"].is_monotonic_decreasing
    assert ((rows["conf_low"] < rows["risk"]) & (rows["risk"] < rows["conf_high"])).all()


def test_fifths_hold_everybody_once_and_their_risks_rise(
    cohort: recidivism.OutcomeCohort, imputed: pd.DataFrame, small: Specification
) -> None:
    rows = prediction.calibration(cohort, imputed, small)
    for _, one in rows.groupby(["model_id", "months"]):
        assert one["n"].sum() == cohort.n and one["fifth"].tolist() == [1, 2, 3, 4, 5]
        assert one["predicted"].is_monotonic_increasing


def test_what_is_left_after_optimism_is_less_and_a_model_of_noise_keeps_nothing(
    cohort: recidivism.OutcomeCohort, inputs: Inputs, small: Specification
) -> None:
    """Twenty columns of noise: apparent concordance well above a half, corrected less than half as far above it; the slope falls short of 1."""
    rng = np.random.default_rng(8)
    names = tuple(f"noise_{j}" for j in range(20))
    rules = replace(small.recidivism, adjustments={"full": names}, process_adjustments=("full",))
    noise = pd.DataFrame(rng.normal(size=(cohort.n, 20)), columns=names).assign(
        client_trust_t2=rng.normal(size=cohort.n), imputation=1
    )
    rows = prediction.performance(cohort, noise, replace(small, recidivism=rules), np.random.SeedSequence(1)).set_index(
        "measure"
    )
    found = rows.loc["concordance"]
    assert found["apparent"] > 0.6 and found["bootstraps"] == 30
    assert found["corrected"] - 0.5 < (found["apparent"] - 0.5) / 2
    assert rows.loc["calibration_slope", "apparent"] == pytest.approx(1)
    assert rows.loc["calibration_slope", "corrected"] < 0.75
    assert (rows.loc["brier", "corrected"] > rows.loc["brier", "apparent"]).all()


def test_officers_are_drawn_with_all_of_their_clients() -> None:
    cluster = np.array(["b", "a", "b", "c"], dtype=object)
    for rows, code in prediction._samples_of_clusters(cluster, 20, np.random.SeedSequence(3)):
        assert len(rows) == len(code)
        for one in np.unique(code):
            officers = cluster[rows[code == one]]
            assert len(set(officers)) == 1 and len(officers) == (cluster == officers[0]).sum()


def test_every_model_that_optimism_is_measured_by_is_fitted_on_whole_officers(
    cohort: recidivism.OutcomeCohort, imputed: pd.DataFrame, small: Specification, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No client stands in a sample without all others of the officer, and no officer is split over two of its clusters."""
    rules = replace(small.recidivism, bootstraps=4, process_adjustments=("unadjusted",))
    pairs = replace(cohort, cluster=np.array([f"o{number // 3}" for number in range(cohort.n)], dtype=object))
    taken: list[tuple[np.ndarray, np.ndarray]] = []
    at = Sample.at
    monkeypatch.setattr(
        Sample, "at", lambda self, rows, cluster: (taken.append((rows, cluster)), at(self, rows, cluster))[1]
    )
    found = prediction.performance(pairs, imputed, replace(small, recidivism=rules), np.random.SeedSequence(5))
    assert len(taken) == 4 and set(found["bootstraps"]) == {4}
    clients_of = {name: set(np.flatnonzero(pairs.cluster == name)) for name in np.unique(pairs.cluster)}
    for rows, cluster in taken:
        for drawn in np.unique(cluster):
            chosen = rows[cluster == drawn]
            assert set(chosen) == clients_of[pairs.cluster[chosen[0]]] and len(set(chosen)) == len(chosen)


def test_the_same_seed_gives_the_same_numbers(
    cohort: recidivism.OutcomeCohort, imputed: pd.DataFrame, small: Specification
) -> None:
    few = replace(small, recidivism=replace(small.recidivism, bootstraps=3, process_adjustments=("unadjusted",)))
    one, again, other = (
        prediction.performance(cohort, imputed, few, np.random.SeedSequence(seed)) for seed in (1, 1, 2)
    )
    assert one.equals(again) and not one.equals(other)


def test_late_entry_and_too_few_events_are_refused(
    cohort: recidivism.OutcomeCohort, imputed: pd.DataFrame, small: Specification
) -> None:
    late = replace(cohort, entry=np.where(np.arange(cohort.n) == 0, 1.0, 0.0))
    rows = prediction.performance(late, imputed, small, np.random.SeedSequence(1))
    assert rows["apparent"].isna().all() and rows["note"].str.contains(f"1 of {cohort.n} people enter late").all()
    few = replace(cohort, event=cohort.event & (np.cumsum(cohort.event) <= 5))
    assert prediction.risk_by_level(few, imputed, small)["note"].str.contains("5 events, fewer than 10").all()
    assert DAYS_PER_MONTH > 30
