"""The answers first: the few numbers at the top of the page, and a sentence or two for each question. Evidence stands in the sections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from orchestration.analysis.development import ALL_PAIRS, PATTERNS
from orchestration.analysis.showing.change import as_imputed, odds_cell
from orchestration.analysis.showing.hazards import may_show_model, own_rows, single_score
from orchestration.analysis.showing.in_time import is_small_risk
from orchestration.analysis.showing.labels import adjustment_name, scale_name
from orchestration.analysis.showing.small_cells import suppress
from orchestration.analysis.showing.source import Record, Source, is_missing, percent, ratio, ratio_interval, records
from orchestration.analysis.specification import Specification

Tables = Mapping[str, pd.DataFrame]


@dataclass(frozen=True)
class Answer:
    """A question, what the fit says of it, and where the evidence is."""

    question: str
    said: str
    anchor: str


def headlines(tables: Tables, spec: Specification, source: Source) -> list[dict[str, str]]:
    """The few numbers at the top of the page."""
    cards = []
    estimates = tables["estimates"]
    if len(estimates):
        first = records(estimates)[0]
        cards.append({"value": source.count(int(first["n"])), "label": "clients followed up",
                      "detail": f"{source.count(int(first['events']))} with recidivism; {first['outcome_id'].replace('_', ' ')}"})  # fmt: skip
        row = _first(single_score(estimates, spec.recidivism.rater, spec.recidivism.grouped_scale, _widest(spec)), spec.recidivism.grouped_scale)  # fmt: skip
        if row is not None and may_show_model(row, estimates, source):
            cards.append({"value": f"{np.exp(row['estimate']):.2f}", "label": f"hazard ratio of {scale_name(row['scale'])}, {adjustment_name(row['adjustment']).removeprefix('+ ')}",
                          "detail": f"95 % interval {ratio_interval(row)}, for one point more"})  # fmt: skip
    risks = tables["absolute_risk"]
    risks = risks[(risks["months"] == 12) & risks["risk"].notna()]
    row = records(risks)[0] if len(risks) else None
    if row is not None and not is_small_risk(row, source):
        cards.append({"value": percent(row["risk"]), "label": "recidivism within a year at risk",
                      "detail": f"95 % interval {percent(row['conf_low'])} to {percent(row['conf_high'])}"})  # fmt: skip
    benchmark = tables["benchmark"]
    if len(benchmark):
        cards.append({"value": f"{int(benchmark['agrees'].sum())} of {len(benchmark)}", "label": "published numbers found again",
                      "detail": "on real data, to every printed digit"})  # fmt: skip
    return cards


def answers(tables: Tables, spec: Specification, outcomes: Mapping[str, str], source: Source) -> list[Answer]:
    """A sentence or two for each of the three questions, worked out from the tables; what may not be shown is not said."""
    return [
        Answer("How does the working alliance develop?", development_said(tables, spec, source), "alliance"),
        Answer("What goes with that?", determinants_said(tables["determinants"], spec, source), "change"),
        Answer("Is it related to recidivism?", recidivism_said(tables["estimates"], spec, outcomes, source), "recidivism"),
    ]  # fmt: skip


def development_said(tables: Tables, spec: Specification, source: Source) -> str:
    """Q1: how many stayed, improved, deteriorated; and the slope of the growth model."""
    scale, rater, span = spec.recidivism.grouped_scale, spec.determinants.rater, spec.determinants.span
    rows = tables["change_patterns"]
    rule = spec.determinants.rules[0]
    own = rows[(rows["rater"] == rater) & (rows["span"] == span) & (rows["pairs"] == ALL_PAIRS) & (rows["scale"] == scale) & (rows["rule"] == rule)]  # fmt: skip
    said = []
    if len(own):
        counts = [int(count) for count in own.set_index("pattern")["count"].loc[list(PATTERNS)]]
        shown = suppress(counts, source.threshold)
        if sum(counts) >= source.threshold and None not in shown:
            parts = ", ".join(f"{percent(count / sum(counts))} {pattern}" for pattern, count in zip(PATTERNS, counts, strict=True))  # fmt: skip
            said.append(f"{scale_name(scale)}, rated by the {rater}, {span}: {parts}.")
    growth = tables["growth"]
    slope = growth[(growth["rater"] == rater) & (growth["scale"] == scale) & (growth["term"] == "months") & growth["estimate"].notna()]  # fmt: skip
    if len(slope) and int(slope["clients"].iloc[0]) >= source.threshold:
        row = records(slope)[0]
        said.append(f"On average it changes by {12 * row['estimate']:+.2f} points in a year (95 % interval {12 * row['conf_low']:+.2f}, {12 * row['conf_high']:+.2f}).")  # fmt: skip
    return " ".join(said) or "Too few were rated to say."


def determinants_said(rows: pd.DataFrame, spec: Specification, source: Source) -> str:
    """Q2: which predictors go with a deteriorating grouped scale, by interval; and how many were looked at."""
    scale, rater = spec.recidivism.grouped_scale, spec.determinants.rater
    part = as_imputed(rows, rater, spec.determinants.rules[0])
    part = part[(part["scale"] == scale) & (part["pattern"] == "deteriorating") & (part["term"] != "constant")]
    shown = [row for row in records(part) if odds_cell(row, source) != "–"]
    if not shown:
        return "Too few changed to say."
    clear = [row for row in shown if row["conf_low"] > 0 or row["conf_high"] < 0]
    found = "; ".join(f"{spec.label(row['term'])} (odds ratio {ratio(row)})" for row in clear)
    begin = f"With deteriorating {scale_name(scale)}, rated by the {rater}, "
    return begin + (f"go {found}" if found else "none goes clearly") + f", of {len(shown)} predictors looked at."


def recidivism_said(estimates: pd.DataFrame, spec: Specification, outcomes: Mapping[str, str], source: Source) -> str:
    """Q3: the grouped scale with all covariates in the first outcome, and how many of the scales' ratios exclude 1."""
    own = own_rows(estimates, spec.recidivism.rater)
    shown = [row for row in records(own) if may_show_model(row, estimates, source)]
    if not shown:
        return "Too few reoffended to say."
    widest = _widest(spec)
    first = [row for row in shown if row["scale"] == spec.recidivism.grouped_scale and row["adjustment"] == widest]
    said = [f"{outcomes.get(row['outcome_id'], row['outcome_id'])}: hazard ratio {ratio(row)} for one point more {scale_name(row['scale'])}, {adjustment_name(widest).removeprefix('+ ')}." for row in first[:1]]  # fmt: skip
    clear = sum(row["conf_low"] > 0 or row["conf_high"] < 0 for row in shown)
    said.append(
        f"Of {len(shown)} hazard ratios rated by the {spec.recidivism.rater}, {clear} have an interval without 1."
    )
    return " ".join(said)


def _widest(spec: Specification) -> str:
    return max(spec.recidivism.adjustments, key=lambda name: len(spec.recidivism.adjustments[name]))


def _first(rows: pd.DataFrame, term: str) -> Record | None:
    own = rows[rows["term"] == term]
    return records(own)[0] if len(own) and not is_missing(own["estimate"].iloc[0]) else None
