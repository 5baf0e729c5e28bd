"""Recurrent events: the rows by hand, and the models against R on its bladder tumours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from orchestration.analysis import cox, recidivism, recurrent
from orchestration.analysis.inputs import InputError, Inputs
from orchestration.analysis.pooled_cox import DataSets
from orchestration.analysis.processes import Rows
from orchestration.analysis.specification import Specification
from tests.analysis.reference_r import ask_r, needs_r

BLADDER = """
library(survival)
d <- bladder2
for (name in c("id", "enum", "start", "stop", "event", "rx", "size", "number")) say(name, d[[name]])
report <- function(name, fit) { say(paste0(name, "_estimate"), coef(fit)); say(paste0(name, "_error"), sqrt(diag(vcov(fit)))) }
d$stratum <- pmin(d$enum, 3)
report("andersen_gill", coxph(Surv(start, stop, event) ~ rx + size + number, data = d, cluster = id))
report("pwp_total_time", coxph(Surv(start, stop, event) ~ rx + size + number + strata(stratum), data = d, cluster = id))
report("pwp_gap_time", coxph(Surv(stop - start, event) ~ rx + size + number + strata(stratum), data = d, cluster = id))
"""


@needs_r
def test_the_three_models_of_bladder_tumours_are_those_of_r(tmp_path: Path) -> None:
    answers = ask_r(tmp_path, BLADDER)
    stretched = pd.DataFrame(
        {"who": answers["id"], "number": answers["enum"], "start": answers["start"], "stop": answers["stop"], "event": answers["event"] == 1}
    )  # fmt: skip
    covariates = np.column_stack([answers[name] for name in ("rx", "size", "number")])
    people = len(np.unique(answers["id"]))
    for process in (recurrent.ANDERSEN_GILL, recurrent.PWP_TOTAL, recurrent.PWP_GAP):
        rows: Rows = recurrent.rows_of(stretched, process, 3)
        fit = cox.fit_cox(
            covariates,
            rows.stop,
            rows.event,
            start=rows.start,
            strata=rows.stratum,
            clusters=rows.who,
            small_cluster=False,
        )
        np.testing.assert_allclose(fit.coefficients, answers[f"{process}_estimate"], rtol=1e-9, err_msg=process)
        np.testing.assert_allclose(fit.std_errors, answers[f"{process}_error"], rtol=1e-9, err_msg=process)
    assert people == 85


@pytest.fixture(scope="module")
def cohort(inputs: Inputs, spec: Specification) -> recidivism.OutcomeCohort:
    return recidivism.outcome_cohort(inputs.analysis_cohort, "general_landmark", spec)


def published(client: str, *stretches: tuple[bool, int]) -> list[dict[str, object]]:
    return [
        {"client_id": client, "outcome_id": "general_landmark", "number": i, "event": event, "days_at_risk": days}
        for i, (event, days) in enumerate(stretches, start=1)
    ]


def test_stretches_by_hand(cohort: recidivism.OutcomeCohort) -> None:
    """The first reoffends on day 10, again in detention, and on day 30; the second enters on day 5 and is never seen to."""
    two = replace(cohort, client=cohort.client[:2], entry=np.array([0.0, 5.0]))
    table = pd.DataFrame(
        published(two.client[0], (True, 10), (True, 0), (True, 20), (False, 40)) + published(two.client[1], (False, 50))
    )
    found = recurrent.stretches(table, two)
    assert found[["who", "number", "start", "stop", "event"]].to_numpy().tolist() == [
        [0, 1, 0, 10, True], [0, 3, 10, 30, True], [0, 4, 30, 70, False], [1, 1, 5, 55, False],
    ]  # fmt: skip
    gap = recurrent.rows_of(found, recurrent.PWP_GAP, 3)
    assert gap.start.tolist() == [0, 0, 0, 5] and gap.stop.tolist() == [10, 20, 40, 55]
    assert gap.stratum is not None and gap.stratum.tolist() == [1, 3, 3, 1]
    assert recurrent.rows_of(found, recurrent.ANDERSEN_GILL, 3).stratum is None
    counts = recurrent.event_counts(table, two).set_index("number")
    assert counts["people"].tolist() == [2, 0, 1, 1] and counts["events"].tolist() == [1, 0, 1, 0]
    assert counts["in_detention"].tolist() == [0, 1, 0, 0]


def test_the_first_events_are_those_of_the_cohort(cohort: recidivism.OutcomeCohort, inputs: Inputs) -> None:
    found = recurrent.stretches(inputs.followup_event, cohort)
    first = found[found["number"] == 1]
    assert first["event"].to_numpy().tolist() == cohort.event.tolist()
    assert first["stop"].to_numpy() == pytest.approx(cohort.duration)


def test_all_events_are_in_the_models_and_more_events_mean_smaller_errors(
    cohort: recidivism.OutcomeCohort, inputs: Inputs, spec: Specification
) -> None:
    small = replace(
        spec, recidivism=replace(spec.recidivism, raters=("client",), scales=("trust",), proportional_level=0.0)
    )
    imputed = recidivism.impute_cohort(cohort, small, 1)
    found = recurrent.recurrent_models(cohort, inputs.followup_event, DataSets.of(imputed), small)
    rows = pd.concat([one.estimates for one in found])
    own = rows[(rows["term"] == "trust") & (rows["adjustment"] == "unadjusted")].set_index("process")
    assert own.index.tolist() == ["andersen_gill", "pwp_total_time", "pwp_gap_time"]
    assert (own["events"] > cohort.events).all() and (own["n"] == cohort.n).all()
    first = recidivism.estimates_of(cohort, imputed, small).set_index(["model_id", "term"])
    alone = first.loc[("general_landmark.client.trust.unadjusted", "trust"), "std_error"]
    assert own.loc["andersen_gill", "std_error"] < 1.1 * alone


def test_people_without_stretches_are_counted_not_dropped(cohort: recidivism.OutcomeCohort, inputs: Inputs) -> None:
    rows = inputs.followup_event
    with pytest.raises(InputError, match=f"has rows of {cohort.n - 1} of the {cohort.n} people"):
        recurrent.stretches(rows[rows["client_id"] != cohort.client[0]], cohort)
