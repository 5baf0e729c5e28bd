"""Start-stop models on a synthetic cohort: what is known when, who is at risk where, and the same numbers from R."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from orchestration.analysis import curves, multistate, processes, recidivism
from orchestration.analysis.grouping import everybody
from orchestration.analysis.inputs import Inputs
from orchestration.analysis.intervals import of_cohort
from orchestration.analysis.pooled_cox import DataSets
from orchestration.analysis.specification import Specification
from tests.analysis.reference_r import ask_r, needs_r

OUTCOME = "general_landmark"
MODEL = f"{OUTCOME}.client.trust.unadjusted"


@pytest.fixture(scope="module")
def small(spec: Specification) -> Specification:
    """Trust as the client rated it; no test of proportional hazards takes a number away."""
    rules = replace(spec.recidivism, raters=("client",), scales=("trust",), proportional_level=0.0)
    return replace(spec, recidivism=rules)


@pytest.fixture(scope="module")
def cohort(inputs: Inputs, small: Specification) -> recidivism.OutcomeCohort:
    return recidivism.outcome_cohort(inputs.analysis_cohort, OUTCOME, small)


@pytest.fixture(scope="module")
def intervals(inputs: Inputs, cohort: recidivism.OutcomeCohort) -> pd.DataFrame:
    return of_cohort(inputs.followup_interval, cohort)


@pytest.fixture(scope="module")
def one_data_set(cohort: recidivism.OutcomeCohort, small: Specification) -> DataSets:
    """The first imputed data set: with one, pooling is the fit itself."""
    return DataSets.of(recidivism.impute_cohort(cohort, small, 1)).first()


def trust_row(found: processes.Estimated, adjustment: str = "unadjusted") -> pd.Series:
    rows = found.estimates
    return rows[(rows["adjustment"] == adjustment) & (rows["term"] == "trust")].iloc[0]


@needs_r
def test_start_stop_models_are_those_of_r(
    cohort: recidivism.OutcomeCohort,
    intervals: pd.DataFrame,
    one_data_set: DataSets,
    small: Specification,
    tmp_path: Path,
) -> None:
    imputed = (
        pd.DataFrame(one_data_set.values[0], columns=one_data_set.columns).iloc[intervals["who"]].reset_index(drop=True)
    )
    moves = multistate.moves_of(cohort, intervals)
    frame = intervals[["who", "start", "stop"]].assign(
        event=intervals["event"].astype(int), detained=intervals["is_detained"].astype(int), fixed=imputed["client_trust_t2"],
        now=intervals["trust"].fillna(imputed["client_trust_t2"]), officer=cohort.cluster[intervals["who"]], target=moves.target,
        addiction=imputed["addiction"], age=imputed["age_decades"],
    )  # fmt: skip
    answers = ask_r(
        tmp_path,
        """
        library(survival); d <- frame("rows"); free <- subset(d, detained == 0)
        add <- function(name, fit) { say(name, coef(fit)[1]); say(paste0(name, "_error"), sqrt(vcov(fit)[1, 1])) }
        add("counting", coxph(Surv(start, stop, event) ~ fixed, data = free, cluster = officer))
        add("varying", coxph(Surv(start, stop, event) ~ now, data = free, cluster = officer))
        add("detained", coxph(Surv(start, stop, target == 1) ~ fixed, data = free, cluster = officer))
        """,
        rows=frame,
    )
    found = {
        "counting": processes.counting_process(cohort, intervals, one_data_set, small),
        "varying": processes.time_varying(cohort, intervals, one_data_set, small),
        "detained": multistate.transitions(cohort, intervals, one_data_set, small)[0],
    }
    clusters = len(set(cohort.cluster))
    for name, one in found.items():
        row = trust_row(one)
        assert row["estimate"] == pytest.approx(answers[name][0], rel=1e-8), name
        assert row["std_error"] * np.sqrt((clusters - 1) / clusters) == pytest.approx(
            answers[f"{name}_error"][0], rel=1e-8
        )
    assert found["varying"].estimates["estimate"].iloc[0] != found["counting"].estimates["estimate"].iloc[0]


def test_a_score_counts_from_the_day_it_is_known_and_an_unrated_person_has_the_imputed_one(
    cohort: recidivism.OutcomeCohort, intervals: pd.DataFrame, one_data_set: DataSets, small: Specification
) -> None:
    """A value after somebody's last interval changes nothing; one at its start does; without any, the imputed score stands."""
    whole = trust_row(processes.time_varying(cohort, intervals, one_data_set, small))["estimate"]
    rated = intervals.assign(trust=intervals["trust"] + np.where(intervals["start"] >= 250, 0.5, 0.0))
    assert trust_row(processes.time_varying(cohort, rated, one_data_set, small))["estimate"] != whole
    unrated = intervals.assign(trust=np.nan)
    fixed = trust_row(processes.counting_process(cohort, intervals, one_data_set, small))["estimate"]
    assert trust_row(processes.time_varying(cohort, unrated, one_data_set, small))["estimate"] == fixed


def test_days_in_detention_are_not_at_risk_and_an_event_there_is_none(
    cohort: recidivism.OutcomeCohort, intervals: pd.DataFrame
) -> None:
    rows = processes.at_liberty(intervals)
    in_detention = (intervals["stop"] - intervals["start"])[intervals["is_detained"]].sum()
    assert (rows.stop - rows.start).sum() == pytest.approx(cohort.duration.sum())
    assert in_detention > 0
    inside = intervals.assign(event=intervals["event"] | intervals["is_detained"])
    assert processes.at_liberty(inside).event.sum() == intervals["event"].sum()


def test_moves_between_states_by_hand(cohort: recidivism.OutcomeCohort) -> None:
    """Rated on day 30, detained from 60 to 90, reoffends on 120; the second dies in detention."""
    two = replace(cohort, client=cohort.client[:2], exit_reason=np.array(["event", "death"], dtype=object))
    rows = pd.DataFrame(
        [(0, 0, 30, False, False), (0, 30, 60, False, False), (0, 60, 90, False, True), (0, 90, 120, True, False),
         (1, 0, 10, False, False), (1, 10, 50, False, True)],
        columns=["who", "start", "stop", "event", "is_detained"],
    )  # fmt: skip
    moves = multistate.moves_of(two, rows)
    assert moves.origin.tolist() == [0, 0, 1, 0, 0, 1]
    assert moves.target.tolist() == [curves.STAYS, 1, 0, 2, 1, 3]
    found = curves.occupation(moves, [20.0, 55.0, 100.0, 130.0])
    np.testing.assert_allclose(
        found.probability, [[0.5, 0.5, 0, 0], [0.5, 0, 0, 0.5], [0.5, 0, 0, 0.5], [0, 0, 0.5, 0.5]]
    )


def test_states_share_out_everybody_and_every_day(
    cohort: recidivism.OutcomeCohort, intervals: pd.DataFrame, small: Specification
) -> None:
    found = multistate.state_occupation(cohort, intervals, [everybody(cohort)], small)
    assert found.groupby("month")["probability"].sum().to_numpy() == pytest.approx(1)
    months = found.groupby("month")["days_in_state"].sum()
    assert months.to_numpy() == pytest.approx(months.index.to_numpy() * 30.4375)
    reoffended = found[found["state"] == "event"].set_index("month")["probability"]
    assert reoffended.is_monotonic_increasing and (found["std_error"] >= 0).all()


def test_a_way_that_hardly_anybody_goes_is_refused_with_its_count(
    cohort: recidivism.OutcomeCohort, intervals: pd.DataFrame, one_data_set: DataSets, small: Specification
) -> None:
    by_name = {
        one.estimates["process"].iloc[0]: one for one in multistate.transitions(cohort, intervals, one_data_set, small)
    }
    assert list(by_name) == ["at_risk_to_detained", "detained_to_at_risk", "at_risk_to_event", "detained_to_event"]
    assert trust_row(by_name["detained_to_event"])["note"] == "not estimable: 0 events, fewer than 10"
    assert trust_row(by_name["at_risk_to_event"])["events"] == cohort.events


def test_definitions_that_differ_in_detention_alone_are_a_family() -> None:
    definitions = pd.DataFrame(
        [("a", 1, "primary", "general", 6, "subtracted"), ("b", 1, "sensitivity", "general", 6, "ignored"),
         ("c", 2, "sensitivity", "general", 6, "state"), ("d", 1, "sensitivity", "general", 12, "ignored")],
        columns=["outcome_id", "version", "role", "level", "lag_months", "detention"],
    )  # fmt: skip
    assert processes.in_detention_family(definitions, "a") == {"subtracted": "a", "ignored": "b", "state": "c"}
    assert processes.in_detention_family(definitions, "d") == {"ignored": "d"}
