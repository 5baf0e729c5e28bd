"""Detention as a state of its own: at liberty, detained, reoffended, departed. Which share is where by when, and what the alliance
has to do with each way from one to another.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from orchestration.analysis import curves, processes
from orchestration.analysis.grouping import NOT_RATED, Grouping
from orchestration.analysis.inputs import DAYS_PER_MONTH
from orchestration.analysis.pooled_cox import DataSets
from orchestration.analysis.processes import Estimated, Rows
from orchestration.analysis.recidivism import OutcomeCohort
from orchestration.analysis.specification import Specification

STATES = ("at_risk", "detained", "event", "departed")
AT_RISK, DETAINED, EVENT, DEPARTED = range(4)
TRANSITIONS = ((AT_RISK, DETAINED), (DETAINED, AT_RISK), (AT_RISK, EVENT), (DETAINED, EVENT))
OCCUPATION_COLUMNS = (
    "outcome_id", "rater", "scale", "grouping", "group", "state", "month", "n", "probability", "std_error", "conf_low",
    "conf_high", "days_in_state", "days_std_error",
)  # fmt: skip


def moves_of(cohort: OutcomeCohort, intervals: pd.DataFrame) -> curves.Moves:
    """Intervals of the cohort as moves between `STATES`; one who stays in a state from one interval to the next does not move."""
    state = np.where(intervals["is_detained"], DETAINED, AT_RISK)
    who = intervals["who"].to_numpy(dtype=np.int64)
    is_last = np.append(who[1:] != who[:-1], True)
    following = np.append(state[1:], curves.STAYS)
    has_departed = np.isin(cohort.exit_reason[who], ("death", "emigration"))
    at_end = np.where(intervals["event"], EVENT, np.where(has_departed, DEPARTED, curves.STAYS))
    target = np.where(is_last, at_end, np.where(following == state, curves.STAYS, following))
    start, stop = (intervals[name].to_numpy(dtype=np.float64) for name in ("start", "stop"))
    return curves.Moves(start, stop, state.astype(np.int64), target.astype(np.int64), who, len(STATES))


def state_occupation(
    cohort: OutcomeCohort, intervals: pd.DataFrame, groupings: Sequence[Grouping], spec: Specification
) -> pd.DataFrame:
    """Aalen-Johansen: the probability of each state at the months of the models, by group, with errors by officer that need no
    Markov assumption, and the mean days in it up to the last of them that somebody is followed for."""
    moves = moves_of(cohort, intervals)
    rows = []
    for grouping in groupings:
        for group in grouping.groups:
            is_in = grouping.label == group
            mask = is_in[moves.subject]
            if not mask.any() or group == NOT_RATED:
                continue
            own = curves.Moves(
                moves.start[mask], moves.stop[mask], moves.origin[mask], moves.target[mask],
                np.unique(moves.subject[mask], return_inverse=True)[1].astype(np.int64), moves.states,
            )  # fmt: skip
            months = [month for month in spec.recidivism.risk_months if month * DAYS_PER_MONTH <= own.stop.max()]
            if not months:
                continue
            days = np.array(months) * DAYS_PER_MONTH
            clusters = cohort.cluster[is_in]
            for i, month in enumerate(months):
                found = curves.occupation(own, days[i : i + 1], clusters, horizon=float(days[i]))
                error_of_time = curves.root_sum_of_squares(found.influence_on_time, clusters)
                low, high = curves.log_log_interval(found.probability[0], found.std_error[0])
                rows += [
                    {
                        "outcome_id": cohort.outcome_id, **grouping.named, "group": group, "state": name, "month": month,
                        "n": int(is_in.sum()), "probability": found.probability[0, k], "std_error": found.std_error[0, k],
                        "conf_low": low[k], "conf_high": high[k], "days_in_state": found.time_in_state[k],
                        "days_std_error": error_of_time[k],
                    }
                    for k, name in enumerate(STATES)
                ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(OCCUPATION_COLUMNS))


def transitions(
    cohort: OutcomeCohort, intervals: pd.DataFrame, data_sets: DataSets, spec: Specification
) -> list[Estimated]:
    """A Cox model of each way from one state to another, on the calendar since the origin: at risk are those in the state that is
    left, whoever leaves it by another way is censored (Putter, Fiocco & Geskus 2007)."""
    moves = moves_of(cohort, intervals)
    found = []
    for origin, target in TRANSITIONS:
        mask = moves.origin == origin
        rows = Rows(moves.subject[mask], moves.start[mask], moves.stop[mask], moves.target[mask] == target)
        found.append(processes.estimated(f"{STATES[origin]}_to_{STATES[target]}", cohort, rows, data_sets, spec))
    return found
