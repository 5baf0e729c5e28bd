"""A fit whose numbers mean something else: the coding that it keeps, the reference people, and who may sign what moved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from orchestration.analysis import coding, cox, prediction, recidivism
from orchestration.analysis.cox_survival import predicted_survival
from orchestration.analysis.explanation import Side, risks_without_growth
from orchestration.analysis.gate import FitCheck, WithoutGrowth, judge_fit, signed_off
from orchestration.analysis.inputs import DAYS_PER_MONTH, Inputs
from orchestration.analysis.models_file import SpecificationError
from orchestration.analysis.signoff import REFERENCE, CannotSignOff, sign_off, waiting_fit
from orchestration.analysis.specification import MODELS, Specification, read_specification
from orchestration.ledger import Ledger
from tests.analysis.synthetic import synthetic_inputs

LANDMARK = "general_landmark"
Tables = Mapping[str, pd.DataFrame]


@pytest.fixture(scope="module")
def many() -> Inputs:
    return synthetic_inputs(400, seed=1)


@pytest.fixture(scope="module")
def few_draws() -> Specification:
    return read_specification().with_imputations(2)


@pytest.fixture(scope="module")
def as_it_was(many: Inputs, few_draws: Specification) -> Tables:
    return fitted(many.analysis_cohort, few_draws)


def fitted(analysis_cohort: pd.DataFrame, spec: Specification) -> Tables:
    """What a fit keeps of the meaning of one outcome, with every other table as good as can be."""
    cohort = recidivism.outcome_cohort(analysis_cohort, LANDMARK, spec)
    imputed = recidivism.impute_cohort(cohort, spec, 1)
    return {
        "reference_risk": prediction.reference_risk(cohort, imputed, spec),
        "coding": coding.coding_of(cohort, imputed, spec),
        **spotless(cohort.events),
    }


def spotless(events: int = 100) -> Tables:
    return {
        "benchmark": pd.DataFrame({"agrees": [True]}),
        "engine_agreement": pd.DataFrame({"agrees": [True]}),
        "estimates": pd.DataFrame({"outcome_id": [LANDMARK], "events": [events]}),
    }


def judged(now: Tables, before: Tables | None, without_growth: WithoutGrowth = lambda: None) -> FitCheck:
    (check,) = [check for check in judge_fit(now, before, 10, 0.10, without_growth) if check.name == REFERENCE]
    return check


# what the check sees -------------------------------------------------------------------------------------------------
RECODINGS: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "a level relabelled": lambda rows: rows.assign(addiction=1 - rows["addiction"]),
    "a level dropped": lambda rows: rows.assign(addiction=rows["addiction"].where(rows["addiction"].isna(), 0.0)),
    "a covariate centred": lambda rows: rows.assign(age_at_origin=rows["age_at_origin"] - rows["age_at_origin"].mean()),
    "a score centred": lambda rows: rows.assign(client_trust_t2=rows["client_trust_t2"] - rows["client_trust_t2"].mean()),
}  # fmt: skip


@pytest.mark.parametrize("recoding", RECODINGS)
def test_a_recoding_under_an_unchanged_name_holds_the_fit(
    recoding: str, many: Inputs, few_draws: Specification, as_it_was: Tables
) -> None:
    now = fitted(RECODINGS[recoding](many.analysis_cohort), few_draws)
    found = judged(now, as_it_was)
    assert not found.is_passed and found.counts["largest_change"] > 0.10
    assert ("addiction" in found.reason.partition("coded otherwise")[2]) == (recoding == "a level dropped")
    assert judged(now, now).is_passed


def test_another_unit_that_the_people_have_too_moves_no_risk_and_is_counted(
    many: Inputs, few_draws: Specification, as_it_was: Tables
) -> None:
    years = replace(few_draws.covariates["age_decades"], transform="identity", argument=None)
    spec = replace(few_draws, covariates={**few_draws.covariates, "age_decades": years})
    now = fitted(many.analysis_cohort, spec)
    found = judged(now, as_it_was)
    assert found.is_passed and found.counts["largest_change"] < 1e-9
    assert coding.changed_meaning(now["coding"], as_it_was["coding"]) == ["age_decades"]
    assert found.counts["terms_coded_otherwise"] == 1


def risks(
    risk: float, low: float = 0.0, high: float = 1.0, person: str = "somebody", described: str = "trust 3"
) -> Tables:
    row = {
        "outcome_id": LANDMARK, "model_id": "m", "person": person, "described": described, "months": 12, "risk": risk,
        "conf_low": low, "conf_high": high,
    }  # fmt: skip
    return {**spotless(), "reference_risk": pd.DataFrame([row])}


@pytest.mark.parametrize(
    ("risk", "interval", "without_growth", "is_passed"),
    [
        (0.40, (0.0, 1.0), None, True),  # not more than 0.10
        (0.45, (0.0, 1.0), None, False),  # the version of the last good fit is not kept
        (0.45, (0.2, 0.5), 0.31, True),  # new people and new follow-up did it
        (0.45, (0.2, 0.5), 0.45, False),  # something else did it
        (0.45, (0.2, 0.4), 0.31, False),  # new people did it, beyond what the interval of the last good fit allows
        (0.45, (0.2, 0.5), np.nan, False),  # on the rows of the last good fit nothing can be estimated any more
    ],
)
def test_a_risk_that_moved_far_is_let_through_only_when_growth_accounts_for_it(
    risk: float, interval: tuple[float, float], without_growth: float | None, is_passed: bool
) -> None:
    same_rows = None if without_growth is None else risks(without_growth)["reference_risk"]
    found = judged(risks(risk), risks(0.301, *interval), lambda: same_rows)
    assert found.is_passed == is_passed
    assert found.counts["largest_change"] == pytest.approx(risk - 0.301)
    assert bool(found.reason) != is_passed


def test_what_cannot_be_compared_is_counted_and_holds_nothing() -> None:
    def counted(now: Tables, before: Tables | None) -> dict[str, int | float]:
        found = judged(now, before)
        assert found.is_passed
        return {name: count for name, count in found.counts.items() if count}

    assert counted(risks(0.3), None) == counted(risks(0.3), spotless()) == {"new": 1}
    assert counted(risks(0.3), risks(0.9, person="another")) == {"new": 1, "gone": 1}
    assert counted(risks(0.3), risks(0.9, described="trust 4")) == {"new": 1, "gone": 1}
    assert counted(risks(np.nan), risks(0.9)) == {"not_estimable_now": 1}
    assert counted(risks(0.9), risks(np.nan)) == {"not_estimable_before": 1}
    assert counted(risks(np.nan), risks(np.nan)) == {"not_estimable_in_either": 1}


def test_growth_alone_keeps_the_risks_that_there_were_and_a_recoding_on_the_way_does_not(
    many: Inputs, few_draws: Specification, as_it_was: Tables
) -> None:
    cohort = many.analysis_cohort
    fewer = cohort[cohort["client_id"] >= "c000040"]
    said = {"seed": 1, "imputations": 2}
    one_outcome = many.outcome_definition[many.outcome_definition["outcome_id"] == LANDMARK]
    inputs = replace(many, outcome_definition=one_outcome)
    old = Side(replace(inputs, analysis_cohort=fewer), pd.DataFrame(), said, {})
    before = fitted(fewer, few_draws)["reference_risk"]
    grown = risks_without_growth(old, Side(inputs, pd.DataFrame(), said, {}), before, few_draws)
    assert grown.equals(before)
    recoded = replace(inputs, analysis_cohort=RECODINGS["a level relabelled"](cohort))
    moved = risks_without_growth(old, Side(recoded, pd.DataFrame(), said, {}), before, few_draws)
    assert (moved["risk"] - before["risk"]).abs().max() > 0.10
    assert moved["n"].max() == before["n"].max() < as_it_was["reference_risk"]["n"].max()


# the people and the coding -------------------------------------------------------------------------------------------
def test_the_risk_of_a_reference_person_is_the_predicted_curve_of_the_model(
    many: Inputs, few_draws: Specification
) -> None:
    """On one data set, without a penalty, by the Cox core that R has confirmed."""
    rules = replace(few_draws.recidivism, min_events_per_parameter=0.0, scales=("trust",))
    spec = replace(few_draws, recidivism=rules)
    cohort = recidivism.outcome_cohort(many.analysis_cohort, LANDMARK, spec)
    imputed = recidivism.impute_cohort(cohort, spec, 1)
    first = imputed[imputed["imputation"] == 1]
    rows = prediction.reference_risk(cohort, first, spec)
    (model,) = prediction.reference_models(spec)
    person = np.array([[5.0, np.log1p(3), 0.0, 3.5, 1.0, 0.0, 0.0, 0.0, 0.0, 3.0]])
    sets = cohort.risk_sets(rules.ties)
    x = first[list(model.columns.values())].to_numpy()
    fit = cox.fit_on(sets, x, terms=tuple(model.columns), clusters=np.unique(cohort.cluster, return_inverse=True)[1])
    theirs = predicted_survival(sets, x, fit, person, np.array([12.0, 24.0]) * DAYS_PER_MONTH, clustered=True)
    found = rows[(rows["person"] == "good alliance") & rows["risk"].notna()]
    assert found["months"].tolist() == [12, 24]
    np.testing.assert_allclose(found["risk"], 1 - theirs.survival[0], rtol=1e-9)
    assert ((found["conf_low"] < found["risk"]) & (found["risk"] < found["conf_high"])).all()
    assert rows.loc[rows["months"] == 48, "note"].str.contains("nobody is followed for so long").all()


def test_the_reference_people_move_every_term_that_a_model_has(spec: Specification) -> None:
    for model in prediction.reference_models(spec):
        assert (prediction.reference_terms(model, spec).nunique() > 1).all()


def test_a_reference_person_of_whom_too_little_is_said_is_refused(tmp_path: Path) -> None:
    content = yaml.safe_load(MODELS.read_text(encoding="utf-8"))
    del content["recidivism"]["reference"]["everybody"]["motivation"]
    file = tmp_path / "models.yml"
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    with pytest.raises(SpecificationError, match="like everybody: lacks motivation"):
        read_specification(file)


def test_every_term_of_the_grid_has_its_coding_once_and_no_value_of_a_person(
    as_it_was: Tables, few_draws: Specification
) -> None:
    kept = as_it_was["coding"]
    assert not kept.duplicated(["part", "name", "rater", "term"]).any()
    for model in recidivism.models(few_draws):
        exposure = kept[(kept["rater"] == model.rater) & (kept["name"] == model.exposure)]
        assert set(model.exposed) <= set(exposure["term"])
        assert set(model.columns) - set(model.exposed) == set(kept.loc[kept["name"] == model.adjustment, "term"])
    assert set(kept["levels"].dropna()) == {"0, 1"}
    full = kept[kept["name"] == "full"].set_index("term")
    row, custody = full.loc["age_decades"], full.loc["has_prior_custody"]
    assert (row["column"], row["unit"], row["imputed_by"]) == ("age_at_origin", "10 of age_at_origin", "never")
    assert (custody["unit"], custody["reference"]) == ("prior_custodial_cases above 0", "prior_custodial_cases is 0")


def test_terms_of_q2_have_their_coding_too(many: Inputs, few_draws: Specification) -> None:
    kept = coding.determinant_coding(many, few_draws).set_index("term")
    assert set(kept.index) == {predictor.name for predictor in few_draws.determinants.known}
    assert kept.loc["is_svg", ["unit", "reference", "levels"]].tolist() == [
        "organisation is svg",
        "organisation is another",
        "0, 1",
    ]
    assert kept["known"].max() <= len(many.client)


# signatures ----------------------------------------------------------------------------------------------------------
def test_two_people_pass_the_check_on_reference_people_and_no_other() -> None:
    held = [FitCheck("benchmark", True), FitCheck(REFERENCE, False, "moved")]
    assert signed_off(held, ["ann"]) == signed_off(held, ["ann", "ann"]) == held
    _, passed = signed_off(held, ["ann", "bob"])
    assert passed.is_passed and passed.counts["signatures"] == 2 and "ann, bob" in passed.reason
    twice = [FitCheck("benchmark", False, "missed"), held[1]]
    assert signed_off(twice, ["ann", "bob"]) == twice


def test_only_the_fit_that_waits_can_be_signed_and_only_against_the_fit_that_stays(ledger: Ledger) -> None:
    with pytest.raises(CannotSignOff, match="no fit waits"):
        sign_off(ledger, "f2", "seen", "ann")
    ledger.record_fit("f1", "v1", "mark")
    ledger.record_held_fit("f2", "v2", "moved", [REFERENCE])
    for fit, reason, said in (("f2", " ", "a reason is needed"), ("f3", "seen", "the one that does is f2")):
        with pytest.raises(CannotSignOff, match=said):
            sign_off(ledger, fit, reason, "ann")
    assert sign_off(ledger, "f2", "seen", "ann").by == sign_off(ledger, "f2", "again", "ann").by == ("ann",)
    assert sign_off(ledger, "f2", "seen", "bob").is_signed
    ledger.record_fit("f0", "v0", "mark")
    assert waiting_fit(ledger) is None
    ledger.record_held_fit("f2", "v2", "moved", [REFERENCE])
    waits = waiting_fit(ledger)
    assert waits is not None and waits.by == () and waits.stays == "f0"
    assert sign_off(ledger, "f2", "seen again", "ann").by == ("ann",)
    ledger.record_held_fit("f2", "v2", "missed; moved", ["benchmark", REFERENCE])
    with pytest.raises(CannotSignOff, match="held by benchmark, which nobody can sign away"):
        sign_off(ledger, "f2", "seen", "ann")
