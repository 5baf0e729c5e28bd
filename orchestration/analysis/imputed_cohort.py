"""The imputed data sets of one outcome of Q3, with the answers that help to impute and the record of how the chains went."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from orchestration.analysis.imputation import DIAGNOSTIC_COLUMNS, TRACE_COLUMNS, imputation_diagnostics, item_hints
from orchestration.analysis.recidivism import OutcomeCohort, impute_cohort
from orchestration.analysis.specification import Specification

RECORD_COLUMNS = {
    "imputation_diagnostics": ("outcome_id", *DIAGNOSTIC_COLUMNS),
    "imputation_trace": ("outcome_id", *TRACE_COLUMNS),
}


@dataclass(frozen=True)
class ImputedCohort:
    """`data`: as `recidivism.impute_cohort` gives them. `records`: the tables of `RECORD_COLUMNS`, without a row of a person."""

    data: pd.DataFrame
    records: dict[str, pd.DataFrame]

    def first(self, few: int) -> pd.DataFrame:
        """The first few data sets."""
        return self.data[self.data["imputation"] <= few]


def imputed_cohort(
    cohort: OutcomeCohort, alliance_item: pd.DataFrame, spec: Specification, seed: int | np.random.SeedSequence
) -> ImputedCohort:
    """Impute a cohort with the hints of its items, and say what was imputed."""
    hints = item_hints(alliance_item, cohort.client, cohort.covariates[list(spec.score_columns)])
    traces: list[pd.DataFrame] = []
    data = impute_cohort(cohort, spec, seed, hints, traces.append)
    (trace,) = traces
    seen = imputation_diagnostics(cohort.covariates, data, trace, spec.imputer, spec.largest_rhat, hints)
    found = {"imputation_diagnostics": seen, "imputation_trace": trace}
    return ImputedCohort(
        data,
        {
            name: found[name].assign(outcome_id=cohort.outcome_id)[list(columns)]
            for name, columns in RECORD_COLUMNS.items()
        },
    )
