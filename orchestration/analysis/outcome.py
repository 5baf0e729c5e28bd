"""Everything that is estimated for one outcome definition, put together: which step reads what, and the names of the tables.

How each number comes about is in the module of its step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from orchestration.analysis import (
    baseline,
    coding,
    discrimination,
    group_curves,
    multistate,
    prediction,
    processes,
    proportional_hazards,
    recidivism,
    recurrent,
    unmeasured,
)
from orchestration.analysis.grouping import ALL, TERTILE, groupings
from orchestration.analysis.imputed_cohort import RECORD_COLUMNS, imputed_cohort
from orchestration.analysis.inputs import Inputs
from orchestration.analysis.intervals import of_cohort
from orchestration.analysis.pooled_cox import DataSets
from orchestration.analysis.recidivism import OutcomeCohort
from orchestration.analysis.specification import Specification

IMPUTED = "imputed"
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "baseline": baseline.COLUMNS,
    "estimates": recidivism.ESTIMATE_COLUMNS,
    "estimates_few": recidivism.ESTIMATE_COLUMNS,
    "process_estimates": processes.COLUMNS,
    "proportional_hazards": proportional_hazards.COLUMNS,
    "engine_agreement": recidivism.AGREEMENT_COLUMNS,
    "survival_curves": group_curves.CURVE_COLUMNS,
    "log_rank": group_curves.LOG_RANK_COLUMNS,
    "absolute_risk": group_curves.RISK_COLUMNS,
    "cumulative_incidence": group_curves.INCIDENCE_COLUMNS,
    "restricted_mean": group_curves.MEAN_COLUMNS,
    "state_occupation": multistate.OCCUPATION_COLUMNS,
    "event_counts": recurrent.COUNT_COLUMNS,
    "coding": coding.COLUMNS,
    "risk_by_level": prediction.RISK_COLUMNS,
    "reference_risk": prediction.REFERENCE_COLUMNS,
    "calibration": prediction.CALIBRATION_COLUMNS,
    "performance": discrimination.PERFORMANCE_COLUMNS,
    "e_values": unmeasured.COLUMNS,
    **RECORD_COLUMNS,
    IMPUTED: ("outcome_id", "imputation", "client_id"),
}
STEPS_BESIDE_MODELS = 5

Tables = dict[str, pd.DataFrame]
Tell = Callable[[str], None]


def stream(root: int, outcome_id: str) -> np.random.SeedSequence:
    """The random stream of an outcome, which does not depend on which others there are."""
    return np.random.SeedSequence([root, *outcome_id.encode()])


def tables_of(cohort: OutcomeCohort, inputs: Inputs, spec: Specification, root: int, tell: Tell) -> Tables:
    """One frame for each name of `COLUMNS`. `tell` is called after each model and each of `STEPS_BESIDE_MODELS` steps."""
    name = cohort.outcome_id
    filled = imputed_cohort(cohort, inputs.alliance_item, spec, stream(root, name))
    imputed = filled.data
    tell(f"imputation {name}")
    kept, tests = judged_estimates(cohort, imputed, spec, lambda: tell("Cox models"))
    few = [recidivism.estimates_of(cohort, filled.first(spec.few_imputations), spec)]
    agreement = recidivism.second_engine(cohort, imputed, spec)
    tell(f"second engine {name}")
    groups = groupings(cohort, inputs.alliance_change, spec)
    intervals = of_cohort(inputs.followup_interval, cohort)
    curves = {
        "survival_curves": group_curves.survival_curves(cohort, groups),
        "log_rank": group_curves.log_rank(cohort, groups),
        "absolute_risk": group_curves.absolute_risks(cohort, groups, spec),
        "cumulative_incidence": group_curves.cumulative_incidence(cohort, intervals, groups, spec),
        "restricted_mean": group_curves.restricted_means(cohort, groups, spec),
    }
    tell(f"survival curves {name}")
    found = _processes(cohort, imputed, intervals, inputs, spec, root)
    tell(f"processes {name}")
    predicted = {
        "risk_by_level": prediction.risk_by_level(cohort, imputed, spec),
        "reference_risk": prediction.reference_risk(cohort, imputed, spec),
        "calibration": prediction.calibration(cohort, imputed, spec),
        "performance": discrimination.performance(cohort, imputed, spec, stream(root, f"{name} performance")),
        "e_values": unmeasured.e_values(kept[~kept["model_id"].str.endswith(".split")]),
    }
    tell(f"predictions {name}")
    shown = stacked([one.estimates for one in found.estimated], "process_estimates")
    all_tests = stacked([tests, *(one.tests for one in found.estimated)], "proportional_hazards")
    with_numbers = stacked([part[["model_id", "term", "estimate"]] for part in (kept, shown)], "estimates")
    return {
        "baseline": baseline.baseline(cohort, groups, spec),
        "estimates": kept,
        "coding": coding.coding_of(cohort, imputed, spec),
        "estimates_few": stacked(few if spec.few_imputations < spec.imputer.m else [], "estimates_few"),
        **filled.records,
        "process_estimates": shown,
        "proportional_hazards": proportional_hazards.honoured(all_tests, with_numbers, spec),
        "engine_agreement": agreement,
        **curves,
        **predicted,
        "state_occupation": found.occupation,
        "event_counts": recurrent.event_counts(inputs.followup_event, cohort),
        IMPUTED: _kept(cohort, imputed),
    }


def judged_estimates(
    cohort: OutcomeCohort, imputed: pd.DataFrame, spec: Specification, each: Callable[[], None] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The grid of Cox models as a fit shows it, terms that fail proportional hazards without a number and split in time; and the tests."""
    estimates = recidivism.estimates_of(cohort, imputed, spec, each)
    tests = proportional_hazards.tests_of(cohort, imputed, spec)
    split = proportional_hazards.split_estimates(cohort, imputed, tests, spec)
    return stacked([proportional_hazards.judged(estimates, tests, spec), split], "estimates"), tests


class _Found:
    def __init__(self) -> None:
        self.estimated: list[processes.Estimated] = []
        self.occupation: pd.DataFrame = pd.DataFrame(columns=list(multistate.OCCUPATION_COLUMNS))


def _processes(
    cohort: OutcomeCohort,
    imputed: pd.DataFrame,
    intervals: pd.DataFrame,
    inputs: Inputs,
    spec: Specification,
    root: int,
) -> _Found:
    """Start-stop models of the outcome itself, and detention by the definitions that treat it otherwise."""
    found = _Found()
    data_sets = DataSets.of(imputed)
    found.estimated.append(processes.counting_process(cohort, intervals, data_sets, spec))
    found.estimated.append(processes.time_varying(cohort, intervals, data_sets, spec))
    found.estimated += recurrent.recurrent_models(cohort, inputs.followup_event, data_sets, spec)
    family = processes.in_detention_family(inputs.outcome_definition, cohort.outcome_id)
    for treatment, outcome_id in sorted(family.items()):
        if treatment == "subtracted" or outcome_id == cohort.outcome_id:
            continue
        sibling = recidivism.outcome_cohort(inputs.analysis_cohort, outcome_id, spec)
        if not sibling.n:
            continue
        own = DataSets.of(imputed_cohort(sibling, inputs.alliance_item, spec, stream(root, outcome_id)).data)
        if treatment == "ignored":
            found.estimated.append(processes.detention_ignored(sibling, own, spec))
        else:
            spells = of_cohort(inputs.followup_interval, sibling)
            found.estimated += multistate.transitions(sibling, spells, own, spec)
            groups = groupings(sibling, inputs.alliance_change, spec)
            drawn = [one for one in groups if one.name in (ALL, TERTILE)]
            found.occupation = multistate.state_occupation(sibling, spells, drawn, spec)
    return found


def stacked(parts: list[pd.DataFrame], table: str) -> pd.DataFrame:
    """Frames of one table below each other; without any, an empty one with its columns."""
    rows = [part for part in parts if len(part)]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=list(COLUMNS[table]))


def _kept(cohort: OutcomeCohort, imputed: pd.DataFrame) -> pd.DataFrame:
    """What is needed to do a fit again elsewhere: client, times, event, cluster and the imputed covariates."""
    rows = imputed.index.to_numpy()
    person = pd.DataFrame(
        {
            "outcome_id": cohort.outcome_id, "imputation": imputed["imputation"].to_numpy(), "client_id": cohort.client[rows],
            "cluster": cohort.cluster[rows], "entry_days": cohort.entry[rows], "duration_days": cohort.duration[rows],
            "event": cohort.event[rows],
        }
    )  # fmt: skip
    return pd.concat([person, imputed.drop(columns="imputation").reset_index(drop=True)], axis=1)
