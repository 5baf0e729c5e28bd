"""When one hazard ratio will not do: the test, the refusal and the split, on cohorts whose hazards are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from orchestration.analysis import proportional_hazards as ph
from orchestration.analysis import recidivism
from orchestration.analysis.inputs import DAYS_PER_MONTH, Inputs
from orchestration.analysis.specification import Specification
from tests.analysis.reference_r import ask_r, needs_r

MODEL = "general_landmark.client.trust.unadjusted"


@pytest.fixture(scope="module")
def small(spec: Specification) -> Specification:
    """Trust as the client rated it, alone."""
    rules = replace(
        spec.recidivism, raters=("client",), scales=("trust",), exposures={"score": {"score": "t2"}},
        adjustments={"unadjusted": ()},
    )  # fmt: skip
    return replace(spec, recidivism=rules)


@pytest.fixture(scope="module")
def crossing(inputs: Inputs, small: Specification) -> tuple[recidivism.OutcomeCohort, pd.DataFrame]:
    """Low Trust fails within the first year; of who is left, high Trust fails first; nothing is missing."""
    cohort = recidivism.outcome_cohort(inputs.analysis_cohort, "general_landmark", small)
    rng = np.random.default_rng(6)
    trust = np.round(rng.normal(3.5, 0.7, cohort.n), 1)
    early = trust + rng.normal(0, 0.6, cohort.n) < 3.5
    days = np.ceil(np.where(early, rng.uniform(1, 365, cohort.n), 366 + rng.exponential(500 / trust**2, cohort.n)))
    cohort = replace(
        cohort, entry=np.zeros(cohort.n), duration=days, event=rng.uniform(size=cohort.n) < 0.8,
        covariates=cohort.covariates.assign(client_trust_t2=trust),
    )  # fmt: skip
    return cohort, recidivism.impute_cohort(cohort, small, 1)


def test_a_failed_test_takes_the_number_away_and_says_why(
    crossing: tuple[recidivism.OutcomeCohort, pd.DataFrame], small: Specification
) -> None:
    cohort, imputed = crossing
    tests = ph.tests_of(cohort, imputed, small)
    assert tests["term"].tolist() == ["trust", "GLOBAL"] and (tests["p_value"] < 0.01).all()
    estimates = recidivism.estimates_of(cohort, imputed, small)
    row = ph.judged(estimates, tests, small).iloc[0]
    assert np.isnan([row["estimate"], row["conf_low"], row["p_value"]]).all()
    assert "proportional hazards are rejected" in row["note"] and "level 0.01" in row["note"]
    assert row["n"] == cohort.n and row["events_per_parameter"] == cohort.events
    lenient = replace(small, recidivism=replace(small.recidivism, proportional_level=1e-300))
    assert ph.judged(estimates, tests, lenient).equals(estimates)


def test_the_split_finds_what_holds_before_and_after(
    crossing: tuple[recidivism.OutcomeCohort, pd.DataFrame], small: Specification
) -> None:
    """Before the month Trust protects; after it, among those who are left, it is the other way round."""
    cohort, imputed = crossing
    rows = ph.split_estimates(cohort, imputed, ph.tests_of(cohort, imputed, small), small)
    assert rows["model_id"].unique().tolist() == [f"{MODEL}.split"]
    found = rows.set_index("term")["estimate"]
    assert found.index.tolist() == ["trust_until_month_12", "trust_after_month_12"]
    assert found["trust_until_month_12"] < -1 and found["trust_after_month_12"] > 0.3


@needs_r
def test_the_split_is_that_of_r(
    crossing: tuple[recidivism.OutcomeCohort, pd.DataFrame], small: Specification, tmp_path: Path
) -> None:
    cohort, imputed = crossing
    frame = pd.DataFrame(
        {"days": cohort.duration, "event": cohort.event.astype(int), "trust": cohort.covariates["client_trust_t2"], "officer": cohort.cluster}
    )  # fmt: skip
    answers = ask_r(
        tmp_path,
        f"""
        library(survival); d <- frame("people"); d$id <- seq_len(nrow(d))
        fit <- coxph(Surv(days, event) ~ trust, data = d); say("p", cox.zph(fit)$table[1, 3])
        long <- survSplit(Surv(days, event) ~ ., data = d, cut = {12 * DAYS_PER_MONTH}, episode = "part")
        fit <- coxph(Surv(tstart, days, event) ~ I(trust * (part == 1)) + I(trust * (part == 2)), data = long, cluster = officer)
        say("estimate", coef(fit)); say("error", sqrt(diag(vcov(fit))))
        """,
        people=frame,
    )
    tests = ph.tests_of(cohort, imputed, small)
    assert tests["p_value"].iloc[0] == pytest.approx(answers["p"][0], rel=1e-9)
    rows = ph.split_estimates(cohort, imputed, tests, small)
    clusters = len(set(cohort.cluster))
    np.testing.assert_allclose(rows["estimate"], answers["estimate"], rtol=1e-8)
    np.testing.assert_allclose(rows["std_error"] * np.sqrt((clusters - 1) / clusters), answers["error"], rtol=1e-8)


def test_everybody_is_cut_once_and_nobody_gains_or_loses_a_day(
    crossing: tuple[recidivism.OutcomeCohort, pd.DataFrame],
) -> None:
    cohort, _ = crossing
    who, start, stop, event = ph.split_at(cohort, 365.0)
    assert (stop > start).all() and event.sum() == cohort.events
    assert np.bincount(who, weights=stop - start) == pytest.approx(cohort.duration)
    assert len(who) == cohort.n + (cohort.duration > 365).sum()


def test_models_that_hold_are_neither_refused_nor_split(inputs: Inputs, spec: Specification) -> None:
    cohort = recidivism.outcome_cohort(inputs.analysis_cohort, "general_landmark", spec)
    imputed = recidivism.impute_cohort(cohort, spec, 1)
    tests = ph.tests_of(cohort, imputed, spec)
    assert set(tests["model_id"]) == {model.named("general_landmark") for model in recidivism.models(spec)}
    hold = tests[tests["p_value"] >= spec.recidivism.proportional_level]
    estimates = recidivism.estimates_of(cohort, imputed, spec)
    kept = ph.judged(estimates, hold, spec)
    assert kept.equals(estimates) and not len(ph.split_estimates(cohort, imputed, hold, spec))
