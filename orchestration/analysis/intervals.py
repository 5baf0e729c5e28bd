"""The intervals of follow-up that belong to a cohort: when somebody was at liberty or detained, and what was known then."""

from __future__ import annotations

import numpy as np
import pandas as pd

from orchestration.analysis.inputs import InputError
from orchestration.analysis.recidivism import OutcomeCohort

DETAINED = "detained"


def of_cohort(followup_interval: pd.DataFrame, cohort: OutcomeCohort) -> pd.DataFrame:
    """Rows of `followup_interval` of one outcome and of the people of the cohort, ordered by person and start.

    Columns: `who` (row of the cohort), `start`, `stop` (days since the origin), `event`, `is_detained`, and the scores known
    at the start as they are published. Raises `InputError` when somebody of the cohort has no interval.
    """
    place = pd.Series(np.arange(cohort.n), index=cohort.client)
    rows = followup_interval[followup_interval["outcome_id"] == cohort.outcome_id]
    rows = rows.assign(who=rows["client_id"].map(place)).dropna(subset="who")
    rows = rows.assign(
        who=rows["who"].astype(np.int64), start=rows["start_day"].astype(float), stop=rows["stop_day"].astype(float),
        event=rows["event"].astype(bool), is_detained=rows["state"] == DETAINED,
    )  # fmt: skip
    found = rows["who"].nunique()
    if found != cohort.n:
        raise InputError(
            f"followup_interval has rows of {found} of the {cohort.n} people of {cohort.outcome_id}; expected all of them"
        )
    kept = rows.drop(columns=["client_id", "outcome_id", "interval", "start_day", "stop_day", "state"])
    return kept.sort_values(["who", "start"], kind="stable", ignore_index=True)
