"""A sample of `make recovery`: populations, a few studies, and the judging of many by numbers that are given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from orchestration.analysis import recidivism
from orchestration.analysis.fit import recovery_badge, room_hash
from orchestration.analysis.pooling import pool
from tests.recovery import recovery_study as study
from tests.recovery.population import LAGGED, Population, by_delivery, simulated_population
from tests.recovery.recovery_study import RIGHT, Task, badge, configs, judge, recovered, run_population, table_of
from tests.warehouse.histories import Compiled

CONFIG = configs()["main"]
TRUTHS = {"Trust": CONFIG.effect_trust, "addiction": CONFIG.effect_addiction, "Reactance before history": 0.12}


# --------------------------------------------------------------------------------------------------------- the verdict


def given_studies(studies: int = 2000, **shift: float) -> list[dict[str, Any]]:
    """Studies that find everything exactly as they should, mutants and naive methods failing as they should; `shift` is
    added to the estimates of that name (underscores for spaces), or to a risk."""
    places = stats.norm.ppf((np.arange(studies) + 0.5) / studies)
    shifts = {name.replace("_", " "): value for name, value in shift.items()}

    def rows(name: str, truth: float, spread: float = 0.25, error: float = 0.25) -> list[tuple[float, ...]]:
        found = truth + shifts.get(name, 0.0) + spread * places
        return [(value, error, value - 1.96 * error, value + 1.96 * error) for value in found]

    columns: dict[str, list[Any]] = {name: rows(name, TRUTHS.get(name, 0.0)) for name in RIGHT}
    columns |= {
        "late entry": rows("late entry", 0.5), "entry inclusive": rows("entry inclusive", 0.4),
        "Trust, attrition imputed": rows("attrition imputed", -0.5), "complete cases": rows("complete cases", -0.45, 0.3, 0.3),
        "imputed without the outcome": rows("imputed without the outcome", -0.42),
        "one imputation": rows("one imputation", -0.5, 0.25, 0.2),
        "within-imputation variance only": rows("within-imputation variance only", -0.5, 0.25, 0.2),
        "change from the start": rows("change from the start", -0.3),
    }  # fmt: skip
    risks = {"risk": 0.42, "risk without the lag": 0.37, "risk of complete cases": 0.38, "true_risk": 0.42}
    main = [
        {"kind": "main", "study": number, "n": 188, "events": 60, "trust_missing": 0.26,
         **{name: values[number] for name, values in columns.items()},
         **{name: value + shifts.get(name, 0.0) for name, value in risks.items()}}
        for number in range(studies)
    ]  # fmt: skip
    null = {name: rows(f"null {name}", 0.0) for name in study.NULL_TERMS["null"]}
    officers = {
        "rule orientation": rows("rule orientation", 0.0),
        "no clustering": rows("no clustering", 0.0, 0.25, 0.2),
    }
    large = {name: rows(f"large {name}", TRUTHS.get(name, 0.0), 0.1, 0.1) for name in RIGHT[:3]}
    every = [{"kind": kind, "study": number, **{name: values[number] for name, values in of.items()}}
             for kind, of in (("null", null), ("officers", officers), ("large", large)) for number in range(studies)]  # fmt: skip
    return [*main, *every, {"kind": "truth", "Reactance before history": 0.12, "events": 100}]


def missed(found: list[dict[str, Any]]) -> list[str]:
    return [bar.name for bar in judge(found, CONFIG)[1] if not bar.is_met]


def test_studies_that_find_everything_meet_every_bar() -> None:
    found = given_studies()
    effects, bars = judge(found, CONFIG)
    assert missed(found) == [], table_of(effects, bars, found)
    assert sum(bar.name.startswith(("mutant fails", "naive fails")) for bar in bars) == 9


@pytest.mark.parametrize(
    ("shift", "name"),
    [
        *[({name.replace(" ", "_"): 0.1}, name) for name in RIGHT],
        ({"rule_orientation": 0.1}, "officer's rule orientation, clustered"),
        ({"late_entry": 0.1}, "addiction, late entry"),
        ({"large_Trust": 0.03}, "Trust, 1,000 dyads"),
        ({"risk": 0.03}, "one-year recidivism with the lag"),
        ({"risk_without_the_lag": 0.05}, "naive fails: one-year recidivism without the lag"),
        ({"risk_of_complete_cases": 0.04}, "naive fails: one-year recidivism of complete cases"),
        ({"change_from_the_start": 0.3}, "naive fails: hazard ratio of an officer change without the landmark"),
        ({"imputed_without_the_outcome": -0.08}, "mutant fails: Trust, imputed without the outcome"),
        ({"entry_inclusive": 0.1}, "mutant fails: addiction, entry counted inclusively"),
    ],
)  # fmt: skip
def test_each_bar_is_missed_by_what_it_guards(shift: dict[str, float], name: str) -> None:
    assert name in missed(given_studies(**shift))


def test_errors_that_are_too_small_are_seen_even_without_bias() -> None:
    rows = np.random.default_rng(2).normal(0, 0.25, 2000)
    assert recovered("x", "right", 0.0, [(e, 0.2, e - 0.4, e + 0.4) for e in rows]).missed() == ["coverage", "SE ratio"]


def test_a_mutant_that_does_not_fail_is_seen() -> None:
    found = given_studies()
    for row in found:
        if row["kind"] == "officers":
            row["no clustering"] = row["rule orientation"]
    assert missed(found) == ["mutant fails: officer's rule orientation, not clustered"]


def test_null_terms_must_be_rejected_about_one_time_in_twenty_and_failures_are_counted() -> None:
    assert "terms without effect that are rejected" in missed(given_studies(null_Trust=0.3))
    found = given_studies()
    for row in found[:2000:7]:
        row["failed"] = "separation"
    assert missed(found) == ["studies that could be fitted"]


def test_with_few_studies_bars_allow_for_chance_and_say_nothing_of_mutants() -> None:
    found = given_studies(60, Trust=0.08)
    bars = judge(found, CONFIG)[1]
    assert all(bar.is_met for bar in bars) and not any("mutant" in bar.name for bar in bars)


def test_the_badge_says_for_which_code_it_stands(tmp_path: Path) -> None:
    effects, bars = judge(given_studies(), CONFIG)
    made = badge(effects, bars, 2000, 1)
    file = tmp_path / "recovery.json"
    assert made["code_hash"] == room_hash() and made["mean_coverage"] == pytest.approx(0.95, abs=0.001)
    assert {effect["role"] for effect in made["effects"]} >= {
        "right",
        "mutant",
        "naive",
    }  # beside each other on the page
    assert {bar["name"] for bar in made["bars"]} >= {"naive fails: one-year recidivism without the lag"}
    assert recovery_badge(file)["said"] == "not proven: no recovery study is on record"
    for change, is_proven, said in (
        ({}, True, "proven for this code: 2000 simulated studies"),
        ({"code_hash": "0" * 64}, False, "not proven for this code, other code was tried: 2000"),
        ({"missed": ["Trust"]}, False, "1 bars were missed"),
        ({"studies": 300}, False, "2000 studies are asked for proof: 300"),
    ):
        file.write_text(json.dumps({**made, **change}))
        found = recovery_badge(file)
        assert found["is_proven"] is is_proven and said in found["said"]
    assert study.keep_badge(made, file) and not study.keep_badge({**made, "studies": 10}, file)
    assert study.keep_badge({**made, "studies": 10, "code_hash": "other"}, file)


def test_the_variance_within_imputations_is_what_pooling_began_with() -> None:
    rng = np.random.default_rng(3)
    estimates, variances = rng.normal(0, 0.1, (20, 2)), rng.uniform(0.04, 0.06, (20, 2))
    pooled = pool(estimates, variances, complete_df=55)
    row = pd.Series(
        {name: getattr(pooled, name)[0] for name in ("estimate", "std_error", "fraction_missing", "degrees_of_freedom")}
    )
    assert study.within_only(row, 60, 5)[1] == pytest.approx(np.sqrt(variances[:, 0].mean()), rel=1e-12)  # fmt: skip


# --------------------------------------------------------------------------------------------------- the whole road


@pytest.fixture(scope="module")
def made(compiled: Compiled) -> Population:
    return simulated_population(200, 7, CONFIG, compiled)


def test_a_population_in_memory_is_what_deliveries_would_have_given(made: Population, compiled: Compiled) -> None:
    delivered = by_delivery(200, 7, CONFIG, compiled)
    pd.testing.assert_frame_equal(made.cohort, delivered.cohort)
    pd.testing.assert_series_equal(made.ever_changed, delivered.ever_changed)


def test_what_was_simulated_comes_down_the_road_as_it_was(made: Population) -> None:
    """History, covariates and first offences are those of the truth."""
    spec = study.recovery_specification(2)
    cohort = recidivism.outcome_cohort(made.cohort, LAGGED, spec)
    known = made.truth.loc[cohort.client]
    assert cohort.n > 150
    assert (np.expm1(cohort.covariates["log_prior_cases"]).round() == known["priors_at_landmark"].to_numpy()).mean() > 0.98  # fmt: skip
    assert (cohort.covariates["addiction"] == known["addiction"].to_numpy()).mean() > 0.99
    for scale in ("trust", "reactance"):
        seen = cohort.covariates[f"client_{scale}_t2"]
        assert np.nanmean(np.abs(seen - known[f"{scale}_t2"].to_numpy())) < 0.05 and 0.1 < seen.isna().mean() < 0.45
    events = cohort.event
    same = np.abs(cohort.duration - known["first_event_days_at_risk"].to_numpy()) <= 1.5
    assert same[events].mean() > 0.95  # an offence without a date counts from its registration
    assert same[~events].mean() < 0.03  # one on the last day, not yet registered


def test_a_few_studies_of_each_kind_are_fitted_and_their_mutants_err_as_they_must(compiled: Compiled) -> None:
    spec = study.recovery_specification(5)
    tasks = [Task(kind, 0, 5 if kind == "main" else 2, 11, spec, compiled.folder) for kind in configs()]
    found = [row for task in tasks for row in run_population(task)]
    assert not any("failed" in row for row in found)
    main = [row for row in found if row["kind"] == "main"]
    assert [row["study"] for row in main] == [0, 1, 2, 3, 4]
    assert [("risk" in row, "Trust, full model" in row) for row in main] == [
        (True, True),
        *[(False, False)] * 3,
        (True, False),
    ]
    assert all(row["within-imputation variance only"][1] < row["Trust"][1] for row in main)
    assert all(row["entry inclusive"][0] < row["late entry"][0] for row in main)
    assert all(row["risk without the lag"] < row["risk"] and row["risk of complete cases"] < row["risk"] for row in main if "risk" in row)  # fmt: skip
    assert {row["kind"]: len(row) for row in found if row["kind"] not in ("main", "truth")} == {"large": 5, "null": 4, "officers": 4}  # fmt: skip
    assert run_population(tasks[1]) == [row for row in found if row["kind"] == "null"]
    effects, bars = judge(found, CONFIG)
    assert "SIMULATED" in table_of(effects, bars, found)
