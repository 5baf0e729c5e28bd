"""All offences that count, not the first alone: Andersen-Gill and the two models of Prentice, Williams and Peterson. The clock is that
of days at risk; clustered errors carry that one person has several rows.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from orchestration.analysis import processes
from orchestration.analysis.inputs import InputError
from orchestration.analysis.pooled_cox import DataSets
from orchestration.analysis.processes import Estimated, Rows
from orchestration.analysis.recidivism import OutcomeCohort
from orchestration.analysis.specification import Specification

ANDERSEN_GILL, PWP_TOTAL, PWP_GAP = "andersen_gill", "pwp_total_time", "pwp_gap_time"
COUNT_COLUMNS = ("outcome_id", "number", "people", "events", "in_detention")


def stretches(followup_event: pd.DataFrame, cohort: OutcomeCohort) -> pd.DataFrame:
    """Stretches between events of the people of the cohort: `who`, `number`, (`start`, `stop`] on the clock at risk, `event`.

    A stretch with no day at risk is left out (an event in detention, straight after another one: the clock of days at risk
    cannot tell them apart); the numbers of the others stay. Raises `InputError` when somebody of the cohort has none.
    """
    place = pd.Series(np.arange(cohort.n), index=cohort.client)
    rows = followup_event[followup_event["outcome_id"] == cohort.outcome_id]
    rows = rows.assign(who=rows["client_id"].map(place)).dropna(subset="who")
    rows = rows.assign(who=rows["who"].astype(np.int64)).sort_values(
        ["who", "number"], kind="stable", ignore_index=True
    )
    found = rows["who"].nunique()
    if found != cohort.n:
        raise InputError(
            f"followup_event has rows of {found} of the {cohort.n} people of {cohort.outcome_id}; expected all of them"
        )
    stop = rows.groupby("who")["days_at_risk"].cumsum().to_numpy(dtype=np.float64) + cohort.entry[rows["who"]]
    days = rows["days_at_risk"].to_numpy(dtype=np.float64)
    out = pd.DataFrame(
        {
            "who": rows["who"], "number": rows["number"].astype(np.int64), "start": stop - days, "stop": stop,
            "event": rows["event"].astype(bool),
        }
    )  # fmt: skip
    return out[days > 0].reset_index(drop=True)


def event_counts(followup_event: pd.DataFrame, cohort: OutcomeCohort) -> pd.DataFrame:
    """How many people wait for their first, second ... event, and how many have it; `in_detention`: stretches left out."""
    kept = stretches(followup_event, cohort)
    everything = followup_event[
        (followup_event["outcome_id"] == cohort.outcome_id) & followup_event["client_id"].isin(cohort.client)
    ]
    by_number = kept.groupby("number").agg(people=("who", "size"), events=("event", "sum"))
    all_of_them = everything.groupby("number").size()
    out = by_number.reindex(all_of_them.index, fill_value=0).assign(outcome_id=cohort.outcome_id)
    out = out.assign(in_detention=all_of_them - out["people"]).reset_index()
    return out[list(COUNT_COLUMNS)]


def rows_of(stretched: pd.DataFrame, process: str, last_stratum: int) -> Rows:
    """The rows of one model.

    Andersen & Gill (1982): one baseline for all events, time since the origin. Prentice, Williams & Peterson (1981): one
    for each number (those from `last_stratum` on share one), time since the origin (`pwp_total_time`) or since the event
    before (`pwp_gap_time`); somebody is at risk of the second event only after the first.
    """
    start, stop = (stretched[name].to_numpy(dtype=np.float64) for name in ("start", "stop"))
    stratum = np.minimum(stretched["number"].to_numpy(dtype=np.int64), last_stratum)
    if process == PWP_GAP:
        # The first gap begins where observation does; the clock of an early entry is not reset.
        since = np.where(stretched["number"] == 1, 0.0, start)
        start, stop = start - since, stop - since
    return Rows(
        stretched["who"].to_numpy(dtype=np.int64), start, stop, stretched["event"].to_numpy(dtype=bool),
        None if process == ANDERSEN_GILL else stratum,
    )  # fmt: skip


def recurrent_models(
    cohort: OutcomeCohort, followup_event: pd.DataFrame, data_sets: DataSets, spec: Specification
) -> list[Estimated]:
    """Every model of the processes under each of the three ways to count."""
    stretched = stretches(followup_event, cohort)
    return [
        processes.estimated(process, cohort, rows_of(stretched, process, spec.recidivism.last_stratum), data_sets, spec)
        for process in (ANDERSEN_GILL, PWP_TOTAL, PWP_GAP)
    ]
