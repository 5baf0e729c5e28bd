"""What models predict and how well: against R, scikit-survival and hand counts, and on models that know nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from orchestration.analysis import cox, discrimination, prediction, recidivism
from orchestration.analysis.cox_survival import predicted_survival
from orchestration.analysis.discrimination import Censoring, People
from orchestration.analysis.inputs import DAYS_PER_MONTH, Inputs
from orchestration.analysis.prediction import Predictor
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


@dataclass(frozen=True)
class Sample:
    """n people with their covariates (n, p) and clusters."""

    duration: np.ndarray
    event: np.ndarray
    x: np.ndarray
    cluster: np.ndarray

    @property
    def people(self) -> People:
        return People(self.duration, self.event)

    @property
    def once(self) -> np.ndarray:
        """Everybody counts once."""
        return np.ones((1, len(self.duration)), dtype=np.int64)

    def without(self, cluster: int) -> Sample:
        rows = self.cluster != cluster
        return Sample(self.duration[rows], self.event[rows], self.x[rows], self.cluster[rows])

    def predictor(self, spec: Specification) -> Predictor:
        sets = cox.risk_sets(self.duration, self.event)
        return prediction.fitted(sets, self.cluster, self.x[None], ("a", "b"), DAYS, spec)


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
    predictor = sample.predictor(small)
    sets = cox.risk_sets(sample.duration, sample.event)
    fit = cox.fit_on(sets, sample.x, terms=("a", "b"), clusters=sample.cluster)
    theirs = predicted_survival(sets, sample.x, fit, sample.x[:1], DAYS, clustered=True)
    risk, error = prediction.standardised_risk(predictor, sample.x[:1])
    np.testing.assert_allclose(risk[0], 1 - theirs.survival[0], rtol=1e-12)
    np.testing.assert_allclose(error[0], theirs.std_error[0], rtol=1e-10)


def test_the_error_of_a_standardised_risk_is_that_of_leaving_people_out_when_the_people_are_given(
    small: Specification,
) -> None:
    """The delta method against the jackknife over clusters, the people that are averaged over staying the same: within 6 %."""
    sample = drawn(600)
    error = prediction.standardised_risk(sample.predictor(small), sample.x)[1][0]
    left_out = []
    for cluster in np.unique(sample.cluster):
        left_out.append(prediction.standardised_risk(sample.without(cluster).predictor(small), sample.x)[0][0])
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
    predictor = sample.predictor(small)
    (elsewhere,) = discrimination.measures(predictor.linear(other.x), predictor.risk(other.x), other.people, DAYS)
    assert elsewhere[0] == pytest.approx(answers["c"][0], rel=1e-9)
    assert elsewhere[1] == pytest.approx(answers["slope"][0], rel=1e-8)


def test_area_under_the_curve_and_brier_score_are_those_of_scikit_survival(small: Specification) -> None:
    metrics = pytest.importorskip("sksurv.metrics", reason="scikit-survival is a development dependency")
    from sksurv.util import Surv

    sample = drawn()
    people, once, predictor = sample.people, sample.once, sample.predictor(small)
    censoring, linear, risk = Censoring.of(people, once), predictor.linear(sample.x), predictor.risk(sample.x)
    outcome = Surv.from_arrays(sample.event, sample.duration)
    theirs, _ = metrics.cumulative_dynamic_auc(outcome, outcome, linear[0], DAYS)
    ours = [discrimination.area_under_curve(linear, people, day, censoring, once)[0] for day in DAYS]
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    _, theirs = metrics.brier_score(outcome, outcome, 1 - risk[0], DAYS)
    ours = [discrimination.brier_score(risk[:, :, j], people, day, censoring, once)[0] for j, day in enumerate(DAYS)]
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def test_who_counts_twice_is_two_people() -> None:
    """Every measure of samples with frequencies, two at once, against the people themselves; ties and scores that tie among them."""
    rng = np.random.default_rng(4)
    n = 90
    people = People(np.ceil(rng.exponential(300, n) / 20) * 20, rng.uniform(size=n) < 0.5)
    linear, counts = np.round(rng.normal(size=(2, n)), 1), rng.integers(0, 4, (2, n))
    risk = rng.uniform(0.1, 0.9, (2, n, 2))
    found = discrimination.measures(linear, risk, people, DAYS, counts)
    for i in range(2):
        rows = np.repeat(np.arange(n), counts[i])
        alone = People(people.duration[rows], people.event[rows])
        (theirs,) = discrimination.measures(linear[i : i + 1, rows], risk[i : i + 1, rows], alone, DAYS)
        np.testing.assert_allclose(found[i], theirs, rtol=1e-9)


def test_both_ways_to_count_concordant_pairs_agree_under_ties(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    people = People(np.ceil(rng.uniform(0, 12, 80)), rng.uniform(size=80) < 0.6)
    score, counts = np.round(rng.normal(size=(3, 80)), 1), rng.integers(0, 3, (3, 80))
    by_pairs = discrimination.harrell(score, people, counts)
    monkeypatch.setattr(discrimination, "_MANY_PAIRS", 0)
    np.testing.assert_allclose(discrimination.harrell(score, people, counts), by_pairs, rtol=1e-12)


def test_a_score_raised_lowers_the_risk_when_trust_protects(
    cohort: recidivism.OutcomeCohort, imputed: pd.DataFrame, small: Specification
) -> None:
    rows = prediction.risk_by_level(cohort, imputed, small)
    assert rows["note"].isna().all() and set(rows["months"]) <= set(small.recidivism.risk_months)
    for _, one in rows[rows["scale"] == "trust"].groupby(["model_id", "months"]):
        assert one.sort_values("level")["risk"].is_monotonic_decreasing
    assert set(rows["scale"]) == set(small.recidivism.scales)
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
    rules = replace(small.recidivism, scales=("trust",), adjustments={"full": names}, process_adjustments=("full",))
    noise = pd.DataFrame(rng.normal(size=(cohort.n, 20)), columns=names).assign(
        client_trust_t2=rng.normal(size=cohort.n), imputation=1
    )
    rows = discrimination.performance(
        cohort, noise, replace(small, recidivism=rules), np.random.SeedSequence(1)
    ).set_index("measure")
    found = rows.loc["concordance"]
    assert found["apparent"] > 0.6 and found["bootstraps"] == 30
    assert found["corrected"] - 0.5 < (found["apparent"] - 0.5) / 2
    assert rows.loc["calibration_slope", "apparent"] == pytest.approx(1)
    assert rows.loc["calibration_slope", "corrected"] < 0.75
    assert (rows.loc["brier", "corrected"] > rows.loc["brier", "apparent"]).all()


def test_every_model_that_optimism_is_measured_by_is_fitted_on_whole_officers(
    cohort: recidivism.OutcomeCohort, imputed: pd.DataFrame, small: Specification, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clients of an officer count as often as the officer was drawn, and as many officers are drawn as there are."""
    rules = replace(small.recidivism, bootstraps=4, process_adjustments=("unadjusted",), scales=("trust",))
    threes = replace(cohort, cluster=np.array([f"o{number // 3}" for number in range(cohort.n)], dtype=object))
    taken: list[np.ndarray] = []
    fit_many = cox.fit_many

    def watched(*given: Any, **named: Any) -> cox.CoxFits:
        if named.get("terms") and named.get("frequencies") is not None:
            taken.append(named["frequencies"])
        return fit_many(*given, **named)

    monkeypatch.setattr(cox, "fit_many", watched)
    found = discrimination.performance(threes, imputed, replace(small, recidivism=rules), np.random.SeedSequence(5))
    (often,) = taken
    assert often.shape == (4, cohort.n) and set(found["bootstraps"]) == {4} and (often > 1).any()
    by_officer = pd.DataFrame(often.T).groupby(threes.cluster)
    assert (by_officer.nunique() == 1).all(axis=None)
    assert (by_officer.first().sum() == by_officer.ngroups).all()


def test_the_same_seed_gives_the_same_numbers(
    cohort: recidivism.OutcomeCohort, imputed: pd.DataFrame, small: Specification
) -> None:
    few = replace(small, recidivism=replace(small.recidivism, bootstraps=3, process_adjustments=("unadjusted",)))
    one, again, other = (
        discrimination.performance(cohort, imputed, few, np.random.SeedSequence(seed)) for seed in (1, 1, 2)
    )
    assert one.equals(again) and not one.equals(other)


def test_late_entry_and_too_few_events_are_refused(
    cohort: recidivism.OutcomeCohort, imputed: pd.DataFrame, small: Specification
) -> None:
    late = replace(cohort, entry=np.where(np.arange(cohort.n) == 0, 1.0, 0.0))
    rows = discrimination.performance(late, imputed, small, np.random.SeedSequence(1))
    assert rows["apparent"].isna().all() and rows["note"].str.contains(f"1 of {cohort.n} people enter late").all()
    few = replace(cohort, event=cohort.event & (np.cumsum(cohort.event) <= 5))
    assert prediction.risk_by_level(few, imputed, small)["note"].str.contains("5 events, fewer than 10").all()
    assert DAYS_PER_MONTH > 30
