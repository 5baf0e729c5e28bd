"""Q2, what goes with change: the multinomial models as odds ratios, and as differences in probability."""

from __future__ import annotations

import numpy as np
import pandas as pd

from orchestration.analysis.showing.labels import RULE_LABELS, SCALE_LABELS, scale_name
from orchestration.analysis.showing.source import (
    NOT_SHOWN,
    Record,
    Source,
    Table,
    interval,
    is_missing,
    p_text,
    ratings_sizes,
    ratio_interval,
    records,
    without_small_counts,
)
from orchestration.analysis.specification import Specification

PATTERNS = ("improving", "deteriorating")


def as_imputed(rows: pd.DataFrame, rater: str, rule: str) -> pd.DataFrame:
    """The rows of all pairs by one rater and rule, of the most imputations."""
    part = rows[(rows["rule"] == rule) & (rows["pairs"] == "all") & (rows["rater"] == rater) & (rows["missing"] == "imputed")]  # fmt: skip
    return part[part["imputations"] == part["imputations"].max()]


def determinant_table(rows: pd.DataFrame, spec: Specification, source: Source, rater: str, rule: str) -> Table:
    """Odds ratios of one rater and rule, all pairs: one row per scale and pattern, one column per predictor."""
    part = as_imputed(rows, rater, rule)
    terms = [predictor.name for predictor in spec.determinants.predictors]
    lines = []
    for scale in [name for name in SCALE_LABELS if name in set(part["scale"])]:
        for pattern in PATTERNS:
            model = {row["term"]: row for row in records(part[(part["scale"] == scale) & (part["pattern"] == pattern)])}
            if not model:
                continue
            first = next(iter(model.values()))
            cells = [odds_cell(model.get(term), source) for term in terms]
            note = str(first["note"]) if all(cell == "–" for cell in cells) else ""
            sizes = [source.about(int(first["n"])), source.about(int(first["class_count"]))]
            lines.append([f"{SCALE_LABELS[scale]}, {pattern}", *sizes, *cells, without_small_counts(note, source.threshold)])  # fmt: skip
    return source.table(
        f"Odds ratios [95 % interval] against stable: {spec.determinants.span}, rated by the {rater}, rule: {RULE_LABELS.get(rule, rule)}",
        ["Scale, pattern", "n, to 5", "in pattern, to 5", *[spec.label(term) for term in terms], "remark"],
        lines,
        sizes_of_pairs(part, source),
        "Multinomial logit, errors clustered by officer at T1, predictors as known in the first months. All models, also "
        "without pairs rated with different officers, are in determinants.parquet of the fit.",
    )


def odds_cell(row: Record | None, source: Source) -> str:
    """An odds ratio and its interval, a dash where there is none or the class is small."""
    if row is None or is_missing(row["estimate"]) or int(row["class_count"]) < source.threshold:
        return "–"
    return f"{np.exp(row['estimate']):.2f}\n[{ratio_interval(row)}]"


def effect_table(
    rows: pd.DataFrame, counts: pd.DataFrame, spec: Specification, source: Source, rater: str, rule: str
) -> Table:
    """Average marginal effects: how much more probable a pattern is, in percentage points; only of models whose patterns hold enough."""
    part = as_imputed(rows, rater, rule)
    smallest = as_imputed(counts, rater, rule).groupby("scale")[["class_count", "reference_count"]].min().min(axis=1)
    lines = []
    for scale in [name for name in SCALE_LABELS if name in set(part["scale"])]:
        own = part[part["scale"] == scale]
        for predictor in spec.determinants.predictors:
            cells = []
            for pattern in ("stable", *PATTERNS):
                found = records(own[(own["term"] == predictor.name) & (own["pattern"] == pattern)])
                is_shown = found and not is_missing(found[0]["estimate"]) and smallest.get(scale, 0) >= source.threshold
                cells.append(_points(found[0]) if is_shown else "–")
            if any(cell != "–" for cell in cells):
                lines.append([f"{scale_name(scale)}: {predictor.label}", *cells])
        if not any(line[0].startswith(f"{scale_name(scale)}: ") for line in lines):
            lines.append([scale_name(scale), NOT_SHOWN, "", ""])
    return source.table(
        f"Average marginal effects, percentage points [95 % interval]: rated by the {rater}, rule: {RULE_LABELS.get(rule, rule)}",
        ["Scale: predictor", "stable", *PATTERNS],
        lines,
        sizes_of_pairs(part, source),
        "The mean difference of the predicted probability of a pattern between yes and no, or for one unit more (delta method). "
        "The three of a row add up to zero.",
    )


def test_table(rows: pd.DataFrame, spec: Specification, source: Source) -> Table:
    """Whether a predictor goes with any pattern, tested over all at once."""
    part = as_imputed(rows, spec.determinants.rater, spec.determinants.rules[0])
    scales = [name for name in SCALE_LABELS if name in set(part["scale"])]
    lines = []
    for term in [*(predictor.name for predictor in spec.determinants.predictors), "all"]:
        cells = []
        for scale in scales:
            found = records(part[(part["scale"] == scale) & (part["term"] == term)])
            is_shown = found and not is_missing(found[0]["p_value"]) and int(found[0]["n"]) >= source.threshold
            cells.append(
                f"F({found[0]['df_numerator']:.0f}, {found[0]['df_denominator']:.0f}) = {found[0]['statistic']:.2f}, p {_p(found[0]['p_value'])}"
                if is_shown
                else "–"
            )
        lines.append(["All predictors" if term == "all" else spec.label(term), *cells])
    return source.table(
        f"Joint tests of each predictor over the patterns (rated by the {spec.determinants.rater}, rule: {RULE_LABELS.get(spec.determinants.rules[0], '')})",
        ["Predictor", *[SCALE_LABELS[scale] for scale in scales]],
        lines,
        sizes_of_pairs(part, source),
        "Wald tests over imputations, pooled.",
    )


def _p(p: float) -> str:
    said = p_text(p)
    return said if said.startswith("<") else f"= {said}"


def _points(row: Record) -> str:
    points = {name: 100 * row[name] for name in ("conf_low", "conf_high")}
    return f"{100 * row['estimate']:+.0f} {interval(points, 0)}"


def sizes_of_pairs(rows: pd.DataFrame, source: Source) -> str:
    """The sizes of models of pairs of ratings."""
    return (
        ratings_sizes(int(rows["n"].min()), int(rows["n"].max()), source) if len(rows) else "n = 0, no events counted"
    )
