"""The multiverse, on demand: every outcome definition x scale x rater x adjustment in one table, with how many tests
that is and what is left of each after a correction (Steegen, Tuerlinckx, Gelman & Vanpaemel 2016; Simonsohn, Simmons & Nelson 2020).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from orchestration.analysis import recidivism
from orchestration.analysis.imputation import ImputationError
from orchestration.analysis.imputed_cohort import imputed_cohort
from orchestration.analysis.inputs import Inputs
from orchestration.analysis.outcome import judged_estimates, stream
from orchestration.analysis.recidivism import ESTIMATE_COLUMNS
from orchestration.analysis.specification import Specification
from orchestration.progress import Progress, nobody

COLUMNS = ("role", *ESTIMATE_COLUMNS, "p_holm", "p_benjamini_hochberg")
LEVEL = 0.05


@dataclass(frozen=True)
class Multiverse:
    """One row for each model (`COLUMNS`): the estimate of the scale itself, its p-value and both corrected ones."""

    table: pd.DataFrame

    def summary(self) -> dict[str, int]:
        """Counts: models, tests made, and how many stay below 5 % as they are and corrected."""
        tested = self.table.dropna(subset="p_value")
        return {
            "models": len(self.table),
            "tests": len(tested),
            "refused": len(self.table) - len(tested),
            "below_5_percent": int((tested["p_value"] < LEVEL).sum()),
            "below_5_percent_holm": int((tested["p_holm"] < LEVEL).sum()),
            "below_5_percent_benjamini_hochberg": int((tested["p_benjamini_hochberg"] < LEVEL).sum()),
        }


def multiverse(
    inputs: Inputs,
    spec: Specification,
    seed: int | None = None,
    progress: Progress = nobody,
) -> Multiverse:
    """Fit the grid of single scores for every outcome definition, primary or not.

    An outcome of the fit has the same numbers here: its random stream is the same. A model that is refused (too few events,
    no proportional hazards, nothing to impute from) keeps its row, without numbers and with the reason; it is no test.
    """
    root = spec.seed if seed is None else seed
    one = {name: parts for name, parts in spec.recidivism.exposures.items() if "score" in parts}
    spec = replace(spec, recidivism=replace(spec.recidivism, exposures=one))
    inputs = inputs.in_order()
    definitions = inputs.outcome_definition
    parts = []
    for number, (outcome_id, role) in enumerate(
        zip(definitions["outcome_id"], definitions["role"], strict=True), start=1
    ):
        cohort = recidivism.outcome_cohort(inputs.analysis_cohort, str(outcome_id), spec)
        if cohort.n:
            parts.append(_of_outcome(cohort, inputs.alliance_item, spec, root).assign(role=str(role)))
        progress(f"outcome {outcome_id}", number, len(definitions))
    rows = (
        pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(ESTIMATE_COLUMNS)).assign(role="")
    )
    p = rows["p_value"].to_numpy(dtype=float)
    rows = rows.assign(p_holm=holm(p), p_benjamini_hochberg=benjamini_hochberg(p))
    return Multiverse(rows[list(COLUMNS)])


def _of_outcome(
    cohort: recidivism.OutcomeCohort, alliance_item: pd.DataFrame, spec: Specification, root: int
) -> pd.DataFrame:
    try:
        imputed = imputed_cohort(cohort, alliance_item, spec, stream(root, cohort.outcome_id)).data
    except ImputationError as error:
        shared = [recidivism.shared_by(cohort, model, spec, 0) for model in recidivism.models(spec)]
        return recidivism.tidy([{**one, "term": one["scale"], "note": f"not estimable: {error}"} for one in shared])
    judged, _ = judged_estimates(cohort, imputed, spec)
    return judged[(judged["term"] == judged["scale"]) & ~judged["model_id"].str.endswith(".split")]


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """p-values corrected so that the chance of any false one stays (Holm 1979); NaN stays, and is no test."""
    return _corrected(p, lambda ordered, m: np.maximum.accumulate(ordered * (m - np.arange(m))))


def benjamini_hochberg(p: ArrayLike) -> NDArray[np.float64]:
    """p-values corrected so that the expected share of false ones stays (Benjamini & Hochberg 1995); NaN stays."""
    return _corrected(p, lambda ordered, m: np.minimum.accumulate((ordered * m / np.arange(1, m + 1))[::-1])[::-1])


def _corrected(p: ArrayLike, adjust: Callable[[NDArray[np.float64], int], NDArray[np.float64]]) -> NDArray[np.float64]:
    values = np.asarray(p, dtype=np.float64)
    out = np.full_like(values, np.nan)
    tested = np.flatnonzero(~np.isnan(values))
    order = tested[np.argsort(values[tested], kind="stable")]
    out[order] = np.minimum(adjust(values[order], len(order)), 1.0)
    return out
