"""How well the models predict: calibration, discrimination, risks by level; of every scale in short, of the grouped one in full. Nothing here is to be used for a person."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from orchestration.analysis.showing import figures
from orchestration.analysis.showing.labels import MEASURE_LABELS, adjustment_name, scale_name
from orchestration.analysis.showing.small_cells import suppress
from orchestration.analysis.showing.source import (
    NOT_SHOWN,
    Picture,
    Record,
    Source,
    Table,
    is_missing,
    percent,
    records,
    sizes_of,
)
from orchestration.analysis.specification import Specification

NO_DECISIONS = "Prediction is no aim of the study: nothing here may be used to decide about a person."


def model_name(row: Record, outcomes: Mapping[str, str]) -> str:
    """Outcome and adjustment of a model."""
    return f"{outcomes.get(row['outcome_id'], row['outcome_id'])}, {adjustment_name(str(row['model_id']).rsplit('.', 1)[-1])}"  # fmt: skip


def has_enough(rows: pd.DataFrame, source: Source) -> pd.Series:
    """Whether enough had the event, and enough had not."""
    return (rows["events"] >= source.threshold) & (rows["n"] - rows["events"] >= source.threshold)


def of_grouped(rows: pd.DataFrame, spec: Specification) -> pd.DataFrame:
    """Rows of the models of the scale and rater that stand first."""
    return rows[(rows["rater"] == spec.recidivism.rater) & (rows["scale"] == spec.recidivism.grouped_scale)]


def score_of(row: Record) -> str:
    """Rater and scale of a model: `Client, Trust`."""
    return f"{str(row['rater']).capitalize()}, {scale_name(row['scale'])}"


def short_performance_table(
    rows: pd.DataFrame, spec: Specification, outcomes: Mapping[str, str], source: Source
) -> Table:
    """What is left of each model's performance after optimism: a line for each, at the middle of the months where there is one."""
    month = spec.recidivism.restricted_mean_months
    wanted: list[tuple[str, float | None]] = [("concordance", None), ("calibration_slope", None), ("auc", month), ("brier", month)]  # fmt: skip
    heads = [MEASURE_LABELS[measure] + (f", {months} months" if months else "") for measure, months in wanted]
    lines = []
    for _, part in rows.groupby("model_id", sort=False):
        first = records(part)[0]
        cells: dict[tuple[str, float | None], Record] = {(row["measure"], None if is_missing(row["months"]) else int(row["months"])): row for row in records(part[has_enough(part, source)])}  # fmt: skip
        found = [cells.get(one) for one in wanted]
        numbers = [NOT_SHOWN if row is None or is_missing(row["corrected"]) else f"{row['corrected']:.2f} ({row['apparent']:.2f})" for row in found]  # fmt: skip
        lines.append([outcomes.get(first["outcome_id"], first["outcome_id"]), score_of(first), adjustment_name(first["adjustment"]), *numbers])  # fmt: skip
    return source.table(
        "How well the models predict, corrected for optimism (apparent)", ["Outcome", "score", "model", *heads], lines,
        sizes_of(rows, outcomes, source), f"{spec.recidivism.bootstraps} samples of officers (Harrell, Lee & Mark 1996). {NO_DECISIONS}",
    )  # fmt: skip


def short_level_table(rows: pd.DataFrame, spec: Specification, outcomes: Mapping[str, str], source: Source) -> Table:
    """Risk at one time if everybody had a level of the score: a line for each model."""
    month, levels = spec.recidivism.restricted_mean_months, spec.recidivism.risk_levels
    part = rows[(rows["months"] == month) | rows["months"].isna()]
    lines = []
    for _, model in part.groupby("model_id", sort=False):
        first, enough = records(model)[0], has_enough(model, source).all()
        cells = {float(row["level"]): f"{percent(row['risk'])} [{percent(row['conf_low'])}, {percent(row['conf_high'])}]" for row in records(model) if enough and not is_missing(row["risk"])}  # fmt: skip
        lines.append([outcomes.get(first["outcome_id"], first["outcome_id"]), score_of(first), adjustment_name(first["adjustment"]), *[cells.get(level, NOT_SHOWN) for level in levels]])  # fmt: skip
    return source.table(
        f"Risk at {month} months, if everybody had a level of the score", ["Outcome", "score", "model", *[f"{level:g}" for level in levels]],
        lines, sizes_of(rows, outcomes, source), f"Standardised over the cohort, pooled over imputations. {NO_DECISIONS}",
    )  # fmt: skip


def performance_table(
    rows: pd.DataFrame, spec: Specification, outcomes: Mapping[str, str], source: Source, confidence: float = 1.96
) -> Table:
    """How well the models predict, as they look and after what is optimism; only where events are not few."""
    shown = rows[has_enough(rows, source) & rows["apparent"].notna()]
    lines = []
    for row in records(shown):
        error = row["std_error"]
        spread = "" if is_missing(error) else f" [{row['apparent'] - confidence * error:.2f}, {row['apparent'] + confidence * error:.2f}]"  # fmt: skip
        measure = MEASURE_LABELS[row["measure"]] + (
            "" if is_missing(row["months"]) else f", {int(row['months'])} months"
        )
        lines.append([model_name(row, outcomes), measure, f"{row['apparent']:.2f}{spread}", f"{row['optimism']:+.2f}", f"{row['corrected']:.2f}"])  # fmt: skip
    return source.table(
        f"How well the {scale_name(spec.recidivism.grouped_scale)} models predict: apparent [95 % interval], and corrected for optimism",
        ["Outcome, model", "measure", "apparent", "optimism", "corrected"], lines, sizes_of(rows, outcomes, source),
        f"{spec.recidivism.bootstraps} samples of officers (Harrell, Lee & Mark 1996). {NO_DECISIONS}",
    )  # fmt: skip


def shown_calibration(rows: pd.DataFrame, source: Source) -> pd.DataFrame:
    """The fifths that may be shown, at the last month at which any may: enough with the event and without, and none to be worked out."""
    kept = []
    for _, model in rows.groupby("model_id", sort=False):
        for month in sorted(model["months"].unique(), reverse=True):
            part = model[model["months"] == month]
            with_event = suppress([int(count) for count in part["events"]], source.threshold)
            without = suppress([int(count) for count in part["n"] - part["events"]], source.threshold)
            visible = [one is not None and other is not None for one, other in zip(with_event, without, strict=True)]
            if any(visible):
                kept.append(part[visible])
                break
    return pd.concat(kept) if kept else rows.iloc[:0]


def calibration_picture(rows: pd.DataFrame, performance: pd.DataFrame, spec: Specification, outcomes: Mapping[str, str],
                        source: Source) -> Picture | None:  # fmt: skip
    """Predicted against observed risk by fifths of the predicted."""
    shown = shown_calibration(rows, source)
    if not len(shown):
        return None
    titles = {row["model_id"]: f"{model_name(row, outcomes)}".replace(", ", "\n", 1) + f"\n{int(row['months'])} months" for row in records(shown.drop_duplicates("model_id"))}  # fmt: skip
    sizes = sizes_of(performance, outcomes, source)
    return source.picture(
        figures.calibration(shown, titles, source.stamp(sizes)),
        "Mean predicted risk against the observed one with 95 % intervals, by fifths of the predicted risk, one panel per model; on the "
        "diagonal both are the same.",
        "Predicted against observed risk (Kaplan–Meier), by fifths of the predicted. Fifths of few events, and those from which such a one "
        "could be worked out, are not drawn; the calibration slope is in the table.",
        sizes,
    )


def level_table(rows: pd.DataFrame, spec: Specification, outcomes: Mapping[str, str], source: Source) -> Table:
    """Risk that a model predicts if everybody had a level of the score."""
    lines = []
    for (_, level), part in rows.groupby(["model_id", "level"], sort=False):
        first = records(part)[0]
        cells = {
            int(row["months"]): f"{percent(row['risk'])} [{percent(row['conf_low'])}, {percent(row['conf_high'])}]"
            for row in records(part)
            if not is_missing(row["months"]) and not is_missing(row["risk"]) and has_enough(part, source).all()
        }
        months = list(spec.recidivism.risk_months)
        if cells or not is_missing(level):
            lines.append([f"{model_name(first, outcomes)}: {scale_name(first['scale'])} {level:g}", *[cells.get(month, NOT_SHOWN) for month in months]])  # fmt: skip
    return source.table(
        "Risk by level of the score, if everybody had it", ["Outcome, model: level", *[f"{month} months" for month in spec.recidivism.risk_months]],
        lines, sizes_of(rows, outcomes, source), f"Standardised over the cohort, pooled over imputations. Months that nobody is followed for are not shown. {NO_DECISIONS}",
    )  # fmt: skip
