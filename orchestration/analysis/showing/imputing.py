"""What imputation did: whether its chains agree, how much information is missing, and few imputations beside all."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from orchestration.analysis.showing.hazards import may_show_model, own_rows
from orchestration.analysis.showing.labels import adjustment_name, scale_name, score_name
from orchestration.analysis.showing.source import (
    NOT_SHOWN,
    Source,
    Table,
    is_missing,
    percent,
    ratio,
    records,
    sizes_of,
)
from orchestration.analysis.specification import Specification


def diagnostics_table(
    rows: pd.DataFrame, estimates: pd.DataFrame, outcomes: Mapping[str, str], spec: Specification, source: Source
) -> Table:
    """One row per outcome and column: how many were missing, whether the chains agree, how far the imputed lie from the observed."""
    lines, flags = [], []
    for row in records(rows):
        column = str(row["column"])
        name = spec.label(column) if column in spec.covariates else score_name(column)
        is_few = int(row["missing"]) < source.threshold or int(row["observed"]) < source.threshold
        apart = NOT_SHOWN if is_few or is_missing(row["standardised_difference"]) else f"{row['standardised_difference']:+.2f}"  # fmt: skip
        chains = ["–" if is_missing(row[part]) else f"{row[part]:.2f}" for part in ("rhat_mean", "rhat_sd")]
        lines.append([f"{outcomes.get(row['outcome_id'], row['outcome_id'])}: {name}", source.about(int(row["missing"])), *chains, apart])  # fmt: skip
        flags.append("bad" if not is_missing(row["rhat_mean"]) and row["rhat_mean"] > spec.largest_rhat else "")
    worst = rows["rhat_mean"].max()
    return source.table(
        "Chains of the imputation", ["Outcome: column", "missing, to 5", "R-hat of means", "R-hat of SDs", "imputed less observed, in SD"],
        lines, sizes_of(estimates, outcomes, source),
        "Potential scale reduction (Gelman & Rubin 1992)"
        + ("" if is_missing(worst) else f"; largest {worst:.2f}")
        + f"; marked above {spec.largest_rhat:g}. Imputed and observed may well differ: the missing are other people.",
        flags,
    )  # fmt: skip


def few_table(
    estimates: pd.DataFrame, few: pd.DataFrame, outcomes: Mapping[str, str], spec: Specification, source: Source
) -> Table:
    """The first few imputations beside all: the hazard ratios, the missing information and the range over imputations."""
    own, other = own_rows(estimates, spec.recidivism.rater), own_rows(few, spec.recidivism.rater)
    by_model = {row["model_id"]: row for row in records(other)}
    rows = []
    for row in records(own):
        fewer = by_model.get(row["model_id"])
        name = f"{outcomes.get(row['outcome_id'], row['outcome_id'])}: {scale_name(row['scale'])}, {adjustment_name(row['adjustment'])}"  # fmt: skip
        if fewer is None or is_missing(fewer["estimate"]) or not may_show_model(row, estimates, source):
            rows.append([name, NOT_SHOWN, "", "", ""])
            continue
        spread = f"{np.exp(row['estimate_min']):.2f} to {np.exp(row['estimate_max']):.2f}"
        rows.append([name, ratio(fewer), ratio(row), percent(row["fraction_missing"]), spread])
    m = int(own["imputations"].max()) if len(own) else spec.imputer.m
    return source.table(
        f"Hazard ratios [95 % interval] by {spec.few_imputations} imputations, as the papers had, and by {m}",
        ["Outcome: scale, model", f"m = {spec.few_imputations}", f"m = {m}", "missing information", "range over imputations"], rows,
        sizes_of(own, outcomes, source), "Missing information: the fraction of what the data would say were nothing missing (Rubin 1987).",
    )  # fmt: skip
