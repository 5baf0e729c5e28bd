"""Table 1: what those who are followed up for an outcome were like at its origin, all and by pattern of change, missing values counted.

Described is what the models are given, before anything is imputed. What a page may show of it is decided by `showing/`.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestration.analysis.grouping import ALL, NOT_RATED, Grouping, everybody
from orchestration.analysis.recidivism import OutcomeCohort
from orchestration.analysis.specification import Covariate, Specification

COLUMNS = (
    "outcome_id", "rater", "scale", "grouping", "group", "term", "kind", "n", "observed", "missing", "count", "share",
    "mean", "sd", "q1", "median", "q3",
)  # fmt: skip
YES_NO, NUMBER = "yes_no", "number"


def baseline(cohort: OutcomeCohort, groups: list[Grouping], spec: Specification) -> pd.DataFrame:
    """One row (`COLUMNS`) for each group and covariate or score.

    Groups: everybody, and the patterns of the drawn scale by the first rule and rater, with `not_rated` for those of whom no pattern
    was known at the origin. `term` is a name of `models.yml` or a score's column; a logarithm or a division is undone, so that prior
    cases are cases and age is years. `yes_no` has count and share of those observed; `number` mean, SD and quartiles.
    """
    rules = spec.recidivism
    of_scale = [one for one in groups if (one.rater, one.scale) == (rules.rater, rules.grouped_scale)]
    by_pattern = [one for one in of_scale if one.name in [f"pattern_{rule}" for rule in rules.pattern_rules[:1]]]
    rows = []
    for grouping in (everybody(cohort), *by_pattern):
        names = grouping.groups if grouping.name == ALL else (*grouping.groups, NOT_RATED)
        for group in names:
            of_group = cohort.covariates[grouping.label == group]
            for term in (*spec.imputed_covariates, *spec.score_columns):
                values, kind = _as_measured(of_group[term].to_numpy(dtype=float), spec.covariates.get(term))
                rows.append({"outcome_id": cohort.outcome_id, **grouping.named, "group": group, "term": term, **_described(values, kind)})  # fmt: skip
    # a float where some are missing, as it comes back from Parquet: what is taken over has the same bits
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"count": float})


def _as_measured(values: NDArray[np.float64], covariate: Covariate | None) -> tuple[NDArray[np.float64], str]:
    if covariate is None:
        return values, NUMBER
    if covariate.is_binary:
        return values, YES_NO
    if covariate.transform == "log1p":
        return np.expm1(values), NUMBER
    return values * float(covariate.argument) if covariate.transform == "divide" else values, NUMBER


def _described(values: NDArray[np.float64], kind: str) -> dict[str, object]:
    known = values[~np.isnan(values)]
    found: dict[str, object] = {"kind": kind, "n": len(values), "observed": len(known), "missing": len(values) - len(known)}  # fmt: skip
    if kind == YES_NO:
        return {**found, "count": int(known.sum()), "share": float(known.mean()) if len(known) else np.nan}
    quartiles = np.quantile(known, [0.25, 0.5, 0.75]) if len(known) else np.full(3, np.nan)
    return {
        **found, "mean": float(known.mean()) if len(known) else np.nan,
        "sd": float(known.std(ddof=1)) if len(known) > 1 else np.nan, **dict(zip(("q1", "median", "q3"), map(float, quartiles), strict=True)),
    }  # fmt: skip
