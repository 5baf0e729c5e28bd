"""Cox models on start-stop rows of one outcome: what every such process shares, and the two that need nothing else - the score as
it was known at each time, and time in detention taken out of the calendar.

Every row is (start, stop] in days since the origin. Detention as a state is in `multistate.py`, recurrent events in `recurrent.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestration.analysis import cox, proportional_hazards
from orchestration.analysis.pooled_cox import DataSets, Sample, pooled_cox
from orchestration.analysis.recidivism import ESTIMATE_COLUMNS, Model, OutcomeCohort, models, rules_of, shared_by, tidy
from orchestration.analysis.specification import Specification

COLUMNS = ("process", *ESTIMATE_COLUMNS)
COUNTING, TIME_VARYING = "counting_process", "time_varying"


@dataclass(frozen=True)
class Rows:
    """n rows of a process: `who` (row of the cohort), (start, stop], event, and a stratum for each (None: one for all)."""

    who: NDArray[np.int64]
    start: NDArray[np.float64]
    stop: NDArray[np.float64]
    event: NDArray[np.bool_]
    stratum: NDArray[np.int64] | None = None

    def sample(self, cohort: OutcomeCohort, spec: Specification) -> Sample:
        """Risk sets (None where there are too few events) and clusters. Raises `CoxIntervalError` for rows that cannot be."""
        events = int(self.event.sum())
        sets = None
        if events >= spec.recidivism.min_events:
            sets = cox.risk_sets(
                self.stop, self.event, start=self.start, strata=self.stratum, ties=spec.recidivism.ties
            )
        return Sample(sets, events, np.unique(cohort.cluster[self.who], return_inverse=True)[1].astype(np.int64))


@dataclass(frozen=True)
class Estimated:
    """Tidy rows of the models of one process (`COLUMNS`), and their tests of proportional hazards."""

    estimates: pd.DataFrame
    tests: pd.DataFrame


def process_models(spec: Specification) -> list[Model]:
    """The models of the grid that processes have: the single score, with the adjustments named for them."""
    chosen = [model for model in models(spec) if model.adjustment in spec.recidivism.process_adjustments]
    return [model for model in chosen if set(model.exposed) == {model.scale}]


def estimated(
    process: str,
    cohort: OutcomeCohort,
    rows: Rows,
    data_sets: DataSets,
    spec: Specification,
    known: pd.DataFrame | None = None,
) -> Estimated:
    """Fit every model of a process. `data_sets`: imputed, a row for each person; `known` (rows of the process): scores as
    known at each time, by the column that they stand for, which go before what is imputed."""
    sample = rows.sample(cohort, spec)
    long = data_sets.rows(rows.who)
    if known is not None:
        score = {str(name): known[name].to_numpy(dtype=np.float64)[None, :] for name in known}
        long = long.with_columns({name: np.where(np.isnan(one), long.column(name), one) for name, one in score.items()})
    found: list[dict[str, object]] = []
    tests: list[dict[str, object]] = []
    for model in process_models(spec):
        model_id = f"{model.named(cohort.outcome_id)}.{process}"
        shared = shared_by(cohort, model, spec, long.m) | {
            "model_id": model_id, "n": len(np.unique(rows.who)), "events": sample.events,
            "clusters": len(np.unique(sample.clusters)),
        }  # fmt: skip
        found += [
            {**shared, "term": term, **numbers}
            for term, numbers in pooled_cox(sample, long, model.columns, rules_of(spec)).items()
        ]
        tests += proportional_hazards.tested(sample, long.first(), model, cohort.outcome_id, model_id)
    tested = proportional_hazards.table(tests)
    estimates = proportional_hazards.judged(tidy(found), tested, spec)
    estimates.insert(0, "process", process)
    return Estimated(estimates, tested)


def at_liberty(intervals: pd.DataFrame) -> Rows:
    """The counting process: rows at risk in the community on the calendar since the origin; days in detention are not there,
    nor is an event in detention (Andersen & Gill 1982)."""
    rows = intervals[~intervals["is_detained"]]
    return rows_of(rows)


def rows_of(rows: pd.DataFrame) -> Rows:
    """Columns who, start, stop and event as arrays."""
    return Rows(
        rows["who"].to_numpy(dtype=np.int64), rows["start"].to_numpy(dtype=np.float64),
        rows["stop"].to_numpy(dtype=np.float64), rows["event"].to_numpy(dtype=bool),
    )  # fmt: skip


def counting_process(
    cohort: OutcomeCohort, intervals: pd.DataFrame, data_sets: DataSets, spec: Specification
) -> Estimated:
    """The score at the origin, time in detention subtracted on the calendar."""
    return estimated(COUNTING, cohort, at_liberty(intervals), data_sets, spec)


def time_varying(cohort: OutcomeCohort, intervals: pd.DataFrame, data_sets: DataSets, spec: Specification) -> Estimated:
    """The score as last known at the start of each interval (last value carried forward); somebody who was never rated by
    then has the imputed score of the origin. Time in detention is subtracted."""
    rows = intervals[~intervals["is_detained"]].reset_index(drop=True)
    known = pd.DataFrame(
        {
            spec.recidivism.score(rater, scale): pd.to_numeric(rows[known_score(rater, scale)]).astype(float)
            for rater in spec.recidivism.raters
            for scale in spec.recidivism.scales
        }
    )
    return estimated(TIME_VARYING, cohort, rows_of(rows), data_sets, spec, known)


def known_score(rater: str, scale: str) -> str:
    """The column of `followup_interval` that holds the latest score."""
    return scale if rater == "client" else f"{rater}_{scale}"


def in_detention_family(definitions: pd.DataFrame, outcome_id: str) -> dict[str, str]:
    """Treatment of detention -> outcome id, of the definitions that differ from this one in nothing else, itself included."""
    alike = definitions.drop(columns=["outcome_id", "version", "role", "detention"], errors="ignore").astype(str)
    own = alike[definitions["outcome_id"] == outcome_id].iloc[0]
    family = definitions[(alike == own).all(axis=1)]
    return (
        dict(zip(family["detention"].astype(str), family["outcome_id"].astype(str), strict=True))
        if "detention" in family
        else {}
    )


def detention_ignored(cohort: OutcomeCohort, data_sets: DataSets, spec: Specification) -> Estimated:
    """The score at the origin in a cohort whose outcome counts days in detention as days at risk."""
    rows = Rows(np.arange(cohort.n), cohort.entry, cohort.duration, cohort.event)
    return estimated("detention_ignored", cohort, rows, data_sets, spec)
