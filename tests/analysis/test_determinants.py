"""Q2: the multinomial logit and its marginal effects against R, imputed predictors, small and separated classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from orchestration.analysis.determinants import (
    COLUMNS,
    EFFECT_COLUMNS,
    TEST_COLUMNS,
    determinants,
    predictor_frame,
)
from orchestration.analysis.fit import FitResult
from orchestration.analysis.inputs import Inputs
from orchestration.analysis.marginal import average_marginal_effects, probabilities
from orchestration.analysis.specification import Specification
from tests.analysis.question_agreement import (
    TRUST,
    bar,
    drawn_patterns,
    multinomial_differences,
    only_trust,
    with_patterns,
)
from tests.analysis.reference_r import needs_r
from tests.analysis.synthetic import synthetic_inputs

IMPUTED = "T1-T2.client.trust.half_sd.all.imputed_4"


@needs_r
def test_coefficients_errors_and_marginal_effects_are_those_of_r(spec: Specification, tmp_path: Path) -> None:
    for name, difference in multinomial_differences(tmp_path, spec).items():
        assert difference < bar(name), name


def test_the_gradient_of_the_marginal_effects_is_their_derivative() -> None:
    """Central differences of the effects themselves, for two binary and two other terms and three classes."""
    rng = np.random.default_rng(3)
    x = np.column_stack([rng.integers(0, 2, (90, 2)), rng.normal(size=(90, 2))]).astype(float)
    beta = rng.normal(size=(2, 5))
    effects, gradient = average_marginal_effects(beta, x)
    numeric = np.empty_like(gradient)
    for j in range(beta.size):
        step = np.zeros(beta.size)
        step[j] = 1e-5
        above, below = (average_marginal_effects(beta + sign * step.reshape(beta.shape), x)[0] for sign in (1, -1))
        numeric[:, j] = (above - below) / 2e-5
    np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(effects.reshape(3, 4).sum(axis=0), 0, atol=1e-12)
    slope = [(probabilities(beta, x + s * np.array([0, 0, 0, 1e-5])) / 2e-5).mean(axis=0) * s for s in (1, -1)]
    np.testing.assert_allclose(effects.reshape(3, 4)[:, 3], slope[0] + slope[1], rtol=1e-6)


def test_imputing_brings_back_whom_complete_cases_lose_and_what_they_distort(spec: Specification) -> None:
    """Addiction is unknown for most who deteriorated after a change of officer: complete cases lose that effect (1.2)."""
    inputs = synthetic_inputs(2500, seed=6)
    patterns = drawn_patterns(inputs, spec)
    inputs = with_patterns(inputs, patterns)
    change = inputs.alliance_change
    trust = change[
        (change["rater"] == "client")
        & (change["scale"] == "trust")
        & (change["span"] == "T1-T2")
        & (change["rule"] == "rci")
    ]
    hit = trust["officer_changed"].astype(bool) & (trust["pattern"] == "deteriorating")
    gone = trust.loc[hit, "client_id"][np.random.default_rng(1).uniform(size=int(hit.sum())) < 0.8]
    covariate = inputs.covariate
    covariate = covariate[~((covariate["name"] == "addiction") & covariate["client_id"].isin(gone))]
    both = determinants(replace(inputs, covariate=covariate), only_trust(spec), 1)
    rows = both.estimates.set_index(["model_id", "pattern", "term"])
    at = ("deteriorating", "officer_changed")
    complete, imputed = rows.loc[(TRUST, *at)], rows.loc[(IMPUTED, *at)]
    assert complete["estimate"] < 0.4 and imputed["estimate"] == pytest.approx(1.2, abs=0.3)
    assert imputed["n"] > complete["n"] and imputed["incomplete"] < complete["incomplete"]
    assert imputed["estimate_min"] <= imputed["estimate"] <= imputed["estimate_max"]
    assert 0 < rows.loc[(IMPUTED, "deteriorating", "addiction"), "fraction_missing"] < 1
    seen = both.diagnostics.set_index("column").loc["addiction"]
    assert seen["missing"] + seen["observed"] == imputed["n"] and seen["scale"] == "trust"


def test_the_pattern_is_in_the_imputation_model(spec: Specification) -> None:
    """Half of the addictions hidden at random: the log odds ratio of 1.2 survives, which it would not without the outcome."""
    inputs = synthetic_inputs(2500, seed=3)
    frame = predictor_frame(inputs, spec.determinants)
    rng = np.random.default_rng(5)
    chance = 1 / (1 + np.exp(0.8 - 1.2 * frame["addiction"].fillna(0).to_numpy()))
    patterns = np.where(rng.uniform(size=len(frame)) < chance, "deteriorating", "stable").astype(object)
    hidden = frame.loc[rng.uniform(size=len(frame)) < 0.5, "client_id"]
    covariate = inputs.covariate
    covariate = covariate[~((covariate["name"] == "addiction") & covariate["client_id"].isin(hidden))]
    found = determinants(with_patterns(replace(inputs, covariate=covariate), patterns), only_trust(spec), 1).estimates
    row = found.set_index(["model_id", "pattern", "term"]).loc[(IMPUTED, "deteriorating", "addiction")]
    assert row["estimate"] == pytest.approx(1.2, abs=0.25)


def test_where_nothing_is_missing_imputed_and_complete_are_the_same(inputs: Inputs, spec: Specification) -> None:
    clients = inputs.client["client_id"]
    known = pd.DataFrame({"client_id": clients, "source": "officer", "measured_day": 10})
    rng = np.random.default_rng(2)
    covariate = pd.concat(
        [
            known.assign(name="addiction", value=rng.integers(0, 2, len(known)).astype(float)),
            known.assign(name="motivation", value=rng.integers(1, 6, len(known)).astype(float)),
            known.assign(name="risc_total", value=rng.integers(20, 90, len(known)).astype(float)),
        ]
    )
    whole = with_patterns(replace(inputs, covariate=covariate), drawn_patterns(inputs, spec))
    rows = determinants(whole, only_trust(spec), 1).estimates
    one, other = (rows[rows["model_id"] == name].reset_index(drop=True) for name in (TRUST, IMPUTED))
    np.testing.assert_allclose(one[["estimate", "std_error"]], other[["estimate", "std_error"]], rtol=1e-12)
    assert (other["fraction_missing"].dropna() == 0).all() and one["n"].equals(other["n"])


def test_the_first_five_are_pooled_beside_all_and_do_not_depend_on_how_many_there_are(
    inputs: Inputs, spec: Specification
) -> None:
    data = with_patterns(inputs, drawn_patterns(inputs, spec))
    seven = determinants(data, only_trust(spec).with_imputations(7), 1).estimates
    five = determinants(data, only_trust(spec).with_imputations(5), 1).estimates
    assert set(seven["imputations"]) == {7, 5, 1} and set(five["imputations"]) == {5, 1}
    pd.testing.assert_frame_equal(
        seven[seven["imputations"] == 5].reset_index(drop=True), five[five["imputations"] == 5].reset_index(drop=True)
    )


def test_a_predictor_that_nobody_has_is_a_reason_and_no_number(inputs: Inputs, spec: Specification) -> None:
    data = with_patterns(inputs, drawn_patterns(inputs, spec))
    without = replace(data, covariate=data.covariate[data.covariate["name"] != "motivation"])
    found = determinants(without, only_trust(spec), 1)
    rows = found.estimates[found.estimates["model_id"] == IMPUTED]
    assert rows["estimate"].isna().all() and rows["note"].str.contains("motivation: all").all()
    assert found.effects["estimate"].isna().all() and found.tests["note"].notna().all()


def test_true_directions_are_found(spec: Specification) -> None:
    inputs = synthetic_inputs(1500, seed=6)
    rows = determinants(with_patterns(inputs, drawn_patterns(inputs, spec)), only_trust(spec), 1).estimates
    rows = rows[rows["model_id"] == TRUST].set_index(["pattern", "term"])
    assert rows.loc[("deteriorating", "officer_changed"), "estimate"] == pytest.approx(1.2, abs=0.35)
    assert rows.loc[("improving", "motivation"), "estimate"] == pytest.approx(0.5, abs=0.2)


def test_a_small_class_is_kept_as_rows_with_its_count_and_the_reason(inputs: Inputs, spec: Specification) -> None:
    patterns = drawn_patterns(inputs, spec)
    patterns[patterns == "improving"] = "stable"
    patterns[:4] = "improving"
    rows = determinants(with_patterns(inputs, patterns), only_trust(spec), 1).estimates
    rows = rows[rows["model_id"] == TRUST]
    small = rows[rows["pattern"] == "improving"]
    assert small["estimate"].isna().all() and set(small["note"]) == {"not estimable: fewer than 10 clients"}
    assert small["class_count"].max() <= 4
    assert rows.loc[rows["pattern"] == "deteriorating", "estimate"].notna().all()


def test_a_separated_class_does_not_take_the_others_with_it(inputs: Inputs, spec: Specification) -> None:
    patterns = drawn_patterns(inputs, spec)
    frame = predictor_frame(inputs, spec.determinants)
    is_addicted = frame["addiction"].fillna(0).to_numpy() == 1
    patterns[is_addicted & (patterns == "improving")] = "stable"
    rows = determinants(with_patterns(inputs, patterns), only_trust(spec), 1).estimates
    rows = rows[rows["model_id"] == TRUST]
    assert set(rows.loc[rows["pattern"] == "improving", "note"]) == {
        "not estimable: the likelihood has no maximum (quasi-separation)"
    }
    assert rows.loc[rows["pattern"] == "deteriorating", "estimate"].notna().all()


@pytest.mark.parametrize("only", ["stable", "improving"])
def test_one_class_alone_gives_a_reason_and_no_number(inputs: Inputs, spec: Specification, only: str) -> None:
    patterns = np.full(inputs.analysis_cohort["client_id"].nunique(), only, dtype=object)
    rows = determinants(with_patterns(inputs, patterns), only_trust(spec), 1).estimates
    assert rows["estimate"].isna().all() and rows["note"].notna().all()


def test_a_predictor_measured_after_the_baseline_is_not_used(inputs: Inputs, spec: Specification) -> None:
    later = inputs.covariate.assign(measured_day=200, value=1 - inputs.covariate["value"].clip(0, 1))
    both = replace(inputs, covariate=pd.concat([inputs.covariate, later], ignore_index=True))
    assert predictor_frame(both, spec.determinants).equals(predictor_frame(inputs, spec.determinants))


def test_rows_are_tidy_and_pairs_of_one_officer_have_no_officer_change(result: FitResult) -> None:
    rows = result.determinants
    assert tuple(rows.columns) == COLUMNS
    assert not rows.duplicated(["model_id", "pattern", "term"]).any()
    same = rows[(rows["pairs"] == "same_officer") & (rows["term"] == "officer_changed")]
    assert len(same) and same["estimate"].isna().all()
    assert set(rows["rater"]) == {"client", "officer"} and set(rows["missing"]) == {"imputed", "complete_cases"}
    assert tuple(result.marginal_effects.columns) == EFFECT_COLUMNS
    assert tuple(result.determinant_tests.columns) == TEST_COLUMNS
    effects = result.marginal_effects.dropna(subset="estimate")
    sums = effects.groupby(["model_id", "term"])["estimate"].sum()
    assert len(sums) and sums.abs().max() < 1e-10
