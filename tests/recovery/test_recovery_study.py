"""A sample of `make recovery`: one study down the whole road, and the judging of many by numbers that are given."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from orchestration.analysis import recidivism
from orchestration.simulation import CohortConfig
from tests.recovery.recovery_study import (
    LAGGED,
    NAIVE_START,
    UNLAGGED,
    build_population,
    judge,
    recovered,
    recovery_specification,
    run_studies,
    table_of,
)

CONFIG = CohortConfig.recovery()


def given_studies(studies: int = 400, seed: int = 1, **shift: float) -> list[dict[str, object]]:
    """Studies that recover everything, but for `shift`: added to the estimates of that name, or to a risk."""
    rng = np.random.default_rng(seed)

    def interval(name: str, truth: float) -> tuple[float, ...]:
        estimate = truth + rng.normal(0, 0.25) + shift.get(name, 0.0)
        return estimate, 0.25, estimate - 1.99 * 0.25, estimate + 1.99 * 0.25

    truths = {"trust": CONFIG.effect_trust, "addiction": CONFIG.effect_addiction, "change": 0.0, "naive_change": -0.4}
    truths |= {"trust_full": CONFIG.effect_trust, "addiction_full": CONFIG.effect_addiction}
    return [
        {
            "study": study, "n": 188, "events": 60, "trust_missing": 0.26, "true_risk": 0.42,
            "risk_with_lag": 0.42 + shift.get("with_lag", 0.0), "risk_without_lag": 0.37 + shift.get("without_lag", 0.0),
            **{name: interval(name, truth) for name, truth in truths.items()},
        }
        for study in range(studies)
    ]  # fmt: skip


def test_studies_that_recover_everything_meet_every_bar() -> None:
    effects, bars = judge(given_studies(), CONFIG)
    assert all(bar.is_met for bar in bars), table_of(effects, bars, given_studies())


@pytest.mark.parametrize(
    ("shift", "missed"),
    [
        ({"trust": 0.12}, "Trust at T2: bias, coverage, SE ratio"),
        ({"addiction": -0.12}, "addiction: bias, coverage, SE ratio"),
        ({"with_lag": -0.04}, "one-year recidivism with the lag"),
        ({"without_lag": 0.045}, "one-year recidivism without the lag"),
        ({"change": -0.4}, "null covariate with the landmark covers 1"),
        ({"naive_change": 0.4}, "null covariate without it does not"),
    ],
)
def test_each_bar_is_missed_by_what_it_guards(shift: dict[str, float], missed: str) -> None:
    _, bars = judge(given_studies(**shift), CONFIG)
    assert [bar.name for bar in bars if not bar.is_met] == [missed]


def test_errors_that_are_too_small_are_seen_even_without_bias() -> None:
    rng = np.random.default_rng(2)
    rows = [(e, 0.15, e - 0.3, e + 0.3) for e in rng.normal(0, 0.25, 400)]
    assert not recovered("x", 0.0, rows).is_met


def test_studies_that_fail_are_counted() -> None:
    studies = given_studies()
    failed = [{**row, "failed": "separation"} if row["study"] < 20 else row for row in studies]  # type: ignore[operator]
    _, bars = judge(failed, CONFIG)
    assert [bar.name for bar in bars if not bar.is_met] == ["studies that could be fitted"]


def test_one_study_comes_down_the_whole_road_as_it_was_simulated(tmp_path: Path) -> None:
    """Delivered, read, built by dbt and fitted: history, covariates and first offences are those of the truth."""
    tables, truth = build_population(1, 7, tmp_path, lambda _: None)
    spec = recovery_specification(2)
    cohort = recidivism.outcome_cohort(tables["analysis_cohort"], LAGGED, spec)
    known = truth.loc[cohort.client]
    assert cohort.n > 150
    assert (
        np.expm1(cohort.covariates["log_prior_cases"]).round() == known["priors_at_landmark"].to_numpy()
    ).mean() > 0.98
    assert (cohort.covariates["addiction"] == known["addiction"].to_numpy()).mean() > 0.99
    seen = cohort.covariates["client_trust_t2"]
    assert np.nanmean(np.abs(seen - known["trust_t2"].to_numpy())) < 0.05 and 0.1 < seen.isna().mean() < 0.45
    events = cohort.event
    same = np.abs(cohort.duration - known["first_event_days_at_risk"].to_numpy()) <= 1.5
    assert same[events].mean() > 0.95  # an offence without a date counts from its registration
    assert same[~events].mean() < 0.03  # one on the last day, not yet registered
    lengths = {
        name: (tables["analysis_cohort"]["outcome_id"] == name).sum() for name in (LAGGED, UNLAGGED, NAIVE_START)
    }
    assert len(set(lengths.values())) == 1
    (found,) = run_studies(tables, truth, 7, spec, jobs=1, tell=lambda _: None)
    assert "failed" not in found and all(math.isfinite(number) for number in found["trust"])
