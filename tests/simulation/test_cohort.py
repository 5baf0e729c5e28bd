"""The simulated cohort: its shape, and that its own truth can be found again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter

from orchestration.simulation import Cohort, CohortConfig, describe_truth, simulate_cohort
from orchestration.simulation.people import eleven_proof_numbers


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return simulate_cohort(200)


@pytest.fixture(scope="module")
def large() -> Cohort:
    return simulate_cohort(20_000, config=CohortConfig.recovery())


def _cox(frame: pd.DataFrame, horizon: float = 730.0) -> pd.Series:
    days = frame.pop("days")
    data = frame.assign(days=np.minimum(days, horizon), event=days <= horizon)
    return CoxPHFitter().fit(data, "days", "event").params_


def test_200_clients_have_137_officers_and_each_officer_has_a_first_client(cohort: Cohort) -> None:
    assert len(cohort.partners["officers"]) == 137
    started = cohort.partners["assignments"].merge(
        cohort.truth[["supervision_number", "start_on", "organisation"]],
        on=["supervision_number", "start_on", "organisation"],
    )
    assert len(started) == 200
    assert started.groupby("organisation", observed=True)["officer_number"].nunique().sum() == 137


@pytest.mark.parametrize("clients", [1, 7, 350])
def test_other_sizes_keep_every_client_with_an_officer_of_its_own_organisation(clients: int) -> None:
    cohort = simulate_cohort(clients)
    keys = ["organisation", "officer_number"]
    known = cohort.partners["officers"][keys].merge(cohort.partners["assignments"][keys].drop_duplicates(), on=keys)
    assert len(known) == len(cohort.partners["assignments"][keys].drop_duplicates())
    assert cohort.truth["replicate"].tolist() == [client // 200 for client in range(clients)]


def test_blocks_share_no_officer() -> None:
    cohort = simulate_cohort(600)
    on = ["organisation", "supervision_number"]
    spells = cohort.partners["assignments"].merge(cohort.truth[[*on, "replicate"]], on=on)
    assert (spells.groupby(["organisation", "officer_number"], observed=True)["replicate"].nunique() == 1).all()
    assert len(cohort.partners["officers"]) == 3 * 137


def test_a_cohort_of_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one client"):
        simulate_cohort(0)


def test_national_numbers_pass_the_eleven_test_and_are_unique() -> None:
    numbers = eleven_proof_numbers(5_000)
    digits = np.array([[int(digit) for digit in str(number)] for number in numbers])
    assert ((digits @ [9, 8, 7, 6, 5, 4, 3, 2, -1]) % 11 == 0).all()
    assert numbers.min() >= 900_000_000 and len(set(numbers.tolist())) == 5_000


def test_officer_spells_of_a_supervision_follow_each_other_without_gap_or_overlap(cohort: Cohort) -> None:
    spells = cohort.partners["assignments"].sort_values(["organisation", "supervision_number", "start_on"])
    following = spells.groupby(["organisation", "supervision_number"], observed=True)["start_on"].shift(-1)
    inner = following.notna()
    assert inner.any()
    assert ((following - spells["end_on"])[inner] == pd.Timedelta(days=1)).all()
    ends = spells[~inner].merge(cohort.partners["supervisions"], on=["organisation", "supervision_number"])
    assert (ends["end_on_x"] == ends["end_on_y"]).all()


def test_a_done_wave_names_the_officer_of_that_day_and_has_26_answers(cohort: Cohort) -> None:
    waves = cohort.partners["waves"].query("status == 'done'")
    spells = cohort.partners["assignments"]
    both = waves.merge(spells, on=["organisation", "supervision_number"])
    valid = both[(both["start_on"] <= both["measured_on"]) & (both["measured_on"] <= both["end_on"])]
    assert len(valid) == len(waves)
    assert (valid["officer_number_x"] == valid["officer_number_y"]).all()
    keys = ["organisation", "supervision_number", "wave", "rater"]
    assert (cohort.partners["item_responses"].groupby(keys, observed=True).size() == 26).all()


def test_t2_is_rated_before_the_landmark(cohort: Cohort) -> None:
    waves = cohort.partners["waves"].query("status == 'done' and wave == 'T2'")
    on = ["organisation", "supervision_number"]
    rated = waves.merge(cohort.truth[[*on, "start_on"]], on=on)
    assert (rated["measured_on"] - rated["start_on"]).dt.days.between(150, 274).all()


def test_the_risc_total_is_the_sum_of_the_scales_that_were_scored(large: Cohort) -> None:
    risc = large.partners["risc"]
    scales = risc[[f"scale_{scale:02d}" for scale in range(1, 13)]].to_numpy()
    assert (np.where(scales < 0, 0, scales).sum(axis=1) == risc["total"]).all()


def test_shares_are_what_the_study_expects(large: Cohort) -> None:
    assert 0.95 < large.truth["has_t1"].mean() < 0.99
    assert 0.20 < 1 - large.truth["is_t2_trust_seen"].mean() < 0.30
    assert 0.97 < large.truth["is_linked"].mean() < 0.99


def test_about_half_reoffend_within_four_years_of_the_start() -> None:
    truth = simulate_cohort(20_000).truth
    assert abs((truth["reoffended_day"] <= 1461).mean() - 0.51) < 0.015


def test_a_cox_model_on_complete_data_recovers_the_effects(large: Cohort) -> None:
    truth, config = large.truth, large.config
    estimates = _cox(
        pd.DataFrame(
            {
                "days": truth["first_event_days_at_risk"],
                "trust": truth["trust_t2"],
                "reactance": truth["reactance_t2"],
                "addiction": truth["addiction"],
                "priors": np.log1p(truth["priors_at_landmark"]),
                "age": truth["age_at_landmark"] / 10,
                "male": truth["is_male"].astype(float),
                "changed": truth["officer_changed"].astype(float),
            }
        )
    )
    true = [config.effect_trust, 0.0, config.effect_addiction, config.effect_log_priors, config.effect_age_per_10_years]
    assert np.allclose(estimates[:5], true, atol=0.06)
    assert abs(estimates["male"] - config.effect_male) < 0.12
    assert abs(estimates["changed"]) < 0.09


def test_reactance_is_explained_away_by_criminal_history(large: Cohort) -> None:
    truth = large.truth
    frame = pd.DataFrame({"days": truth["first_event_days_at_risk"], "reactance": truth["reactance_t2"]})
    alone = _cox(frame.copy())["reactance"]
    beside = _cox(frame.assign(priors=np.log1p(truth["priors_at_landmark"])))["reactance"]
    assert alone > 0.13 and beside < alone / 2


def test_the_true_risk_is_the_share_that_reoffends_in_that_time(large: Cohort) -> None:
    truth = large.truth
    for months, days in ((12, 365), (24, 730), (48, 1461)):
        assert abs(truth[f"risk_{months}"].mean() - (truth["first_event_days_at_risk"] <= days).mean()) < 0.011
        assert abs(truth[f"calendar_risk_{months}"].mean() - (truth["first_event_days"] <= days).mean()) < 0.011


def test_an_effect_of_officer_change_is_in_the_data_when_asked_for() -> None:
    truth = simulate_cohort(10_000, config=replace(CohortConfig.recovery(), effect_officer_changed=0.6)).truth
    estimates = _cox(
        pd.DataFrame(
            {
                "days": truth["first_event_days_at_risk"],
                "changed": truth["officer_changed"].astype(float),
                "trust": truth["trust_t2"],
                "priors": np.log1p(truth["priors_at_landmark"]),
                "addiction": truth["addiction"],
            }
        )
    )
    assert 0.45 < estimates["changed"] < 0.75


def test_ever_changed_officer_looks_protective_only_when_it_is_used_before_it_was_known() -> None:
    truth = simulate_cohort(12_000, config=CohortConfig.null_later_covariate()).truth
    too_early = pd.DataFrame({"days": truth["reoffended_day"], "changed": truth["officer_ever_changed"].astype(float)})
    at_landmark = pd.DataFrame({"days": truth["first_event_days"], "changed": truth["officer_changed"].astype(float)})
    assert _cox(too_early)["changed"] < -0.2
    assert abs(_cox(at_landmark)["changed"]) < 0.07


def test_the_registry_holds_each_true_first_offence_and_dismissals_add_none(large: Cohort) -> None:
    cases = large.registry["cases"].merge(large.registry["disposals"], on="case_number")
    offence_on = large.registry["offences"].groupby("case_number")["offence_on"].min()
    counted = cases[cases["disposal"].isin(["conviction", "prosecutor_penalty"])]
    counted = counted.merge(large.truth[["client", "national_number", "start_on"]], on="national_number")
    on = counted["case_number"].map(offence_on)
    dated = counted[on.notna()].assign(day=(on[on.notna()] - counted["start_on"][on.notna()]).dt.days - 274)
    first = dated[dated["day"] > 0].groupby("client")["day"].min()
    linked = large.truth[large.truth["is_linked"] & (large.truth["departed_day"] > 274 + 730)]
    seen = linked["client"].map(first).fillna(9999).clip(upper=731)
    assert (seen == linked["first_event_days"].clip(upper=731)).mean() > 0.97
    assert (
        cases["disposal"].isin(["acquittal", "technical_dismissal", "policy_dismissal", "other_technical"]).mean() > 0.1
    )


def test_nobody_who_was_not_found_has_a_row_in_the_registry(cohort: Cohort) -> None:
    lost = set(cohort.truth.loc[~cohort.truth["is_linked"], "national_number"])
    assert lost
    for table in ("cases", "detentions", "departures"):
        assert not lost & set(cohort.registry[table]["national_number"])


def test_nobody_reoffends_in_detention_or_after_departure(large: Cohort) -> None:
    spells = large.registry["detentions"]
    cases = large.registry["cases"].merge(large.registry["disposals"], on="case_number")
    counted = cases[cases["disposal"].isin(["conviction", "prosecutor_penalty"])]
    day = large.registry["offences"].groupby("case_number")["offence_on"].min()
    offences = counted.assign(day=counted["case_number"].map(day)).merge(large.truth[["national_number", "start_on"]])
    offences = offences[offences["day"] > offences["start_on"]]
    inside = offences.merge(spells, on="national_number", suffixes=("", "_spell"))
    assert not ((inside["day"] > inside["start_on_spell"]) & (inside["day"] <= inside["end_on"])).any()
    gone = offences.merge(large.registry["departures"], on="national_number")
    assert (gone["day"] <= gone["departed_on"]).all()


def test_the_described_truth_names_no_person(cohort: Cohort) -> None:
    described = describe_truth(cohort)
    assert described["simulated"] is True
    sections = {"coefficients", "alliance_effects", "risk_after_landmark", "config"}
    assert set(described) == {"simulated", "seed", "clients", "block_clients", *sections}
