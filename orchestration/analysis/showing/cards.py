"""A card for each model of Q3: what it is for and not for, what it rests on, how well it does, and where it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from orchestration.analysis.showing.facts import NO_PERSON, PURPOSE, outcome_said
from orchestration.analysis.showing.hazards import may_show_model
from orchestration.analysis.showing.labels import (
    EXPOSURE_LABELS,
    MEASURE_LABELS,
    SCALE_LABELS,
    adjustment_name,
    scale_name,
)
from orchestration.analysis.showing.source import (
    Record,
    Source,
    is_missing,
    named,
    p_text,
    percent,
    ratio,
    records,
    without_small_counts,
)
from orchestration.analysis.specification import Specification

Tables = Mapping[str, pd.DataFrame]


@dataclass(frozen=True)
class Card:
    """A model: its id, a title, and what is said of it, as label and text."""

    model_id: str
    title: str
    said: list[tuple[str, str]]


def cards(tables: Tables, manifest: Mapping[str, Any], spec: Specification, outcomes: Mapping[str, str], badge: Mapping[str, Any], source: Source) -> list[Card]:  # fmt: skip
    """One card for each Cox model of the grid, in the order of the fit; a split model is said on the card of what it splits."""
    estimates = tables["estimates"]
    shared = _Shared(
        definitions={row["outcome_id"]: outcome_said(row) for row in records(tables["outcome_definition"])},
        performance={str(name): part for name, part in tables["performance"].groupby("model_id")},
        tests={(row["model_id"], row["term"]): row for row in records(tables["proportional_hazards"])},
        engines={row["model_id"]: row for row in records(tables["engine_agreement"])},
        e_values={row["model_id"]: row for row in records(tables["e_values"])},
        reliability=tables["reliability"],
        split={str(name).removesuffix(".split") for name in estimates["model_id"] if str(name).endswith(".split")},
    )
    models = estimates[~estimates["model_id"].str.endswith(".split")].groupby("model_id", sort=False)
    return [_card(str(name), rows, estimates, shared, manifest, spec, outcomes, badge, source) for name, rows in models]


@dataclass(frozen=True)
class _Shared:
    definitions: Mapping[str, str]
    performance: Mapping[str, pd.DataFrame]
    tests: Mapping[tuple[str, str], Record]
    engines: Mapping[str, Record]
    e_values: Mapping[str, Record]
    reliability: pd.DataFrame
    split: set[str]


def _card(name: str, rows: pd.DataFrame, estimates: pd.DataFrame, shared: _Shared, manifest: Mapping[str, Any], spec: Specification,
          outcomes: Mapping[str, str], badge: Mapping[str, Any], source: Source) -> Card:  # fmt: skip
    first = records(rows)[0]
    of_alliance = [row for row in records(rows) if str(row["term"]).startswith(str(first["scale"]))]
    found = "; ".join(f"{SCALE_LABELS.get(row['term'], str(row['term']).replace('_', ' '))} {ratio(row)}, p {p_text(row['p_value'])}" if may_show_model(row, estimates, source) else "not shown" for row in of_alliance)  # fmt: skip
    terms = ", ".join(SCALE_LABELS.get(term, spec.label(str(term))) for term in rows["term"])
    per = first["events_per_parameter"]
    is_enough = int(first["events"]) >= source.threshold and not is_missing(per)
    said = [
        ("For", PURPOSE),
        ("Not for", NO_PERSON),
        ("Data", f"{'SIMULATED. ' if source.is_simulated else ''}Version {source.version_id}; register to {source.follow_up_end}"),
        ("Outcome", shared.definitions.get(first["outcome_id"], named(str(first["outcome_id"])))),
        ("Terms", terms),
        ("n, events", f"{source.count(int(first['n']))} clients of {source.count(int(first['clusters'])) if not is_missing(first['clusters']) else 'unknown'} officers, {source.count(int(first['events']))} events"),
        ("Events for each parameter", f"{per:.1f}, fitted by {first['method']}" if is_enough else "too few to say"),
        ("Missing data", f"{manifest['imputations']} imputations by chained equations; missing information {_share(of_alliance)}"),
        ("Found", f"{found} (hazard ratio [95 % interval] for one point more)"),
        ("Performance", _measured(shared.performance.get(name), ("concordance", "auc", "brier"), source)),
        ("Calibration", _measured(shared.performance.get(name), ("calibration_slope",), source)),
        ("Proportional hazards", _tested(name, shared, spec)),
        ("Unmeasured", _e_value(shared.e_values.get(name))),
        ("Limits", _limits(first, of_alliance, shared, spec, source)),
        ("Checked", f"Second engine: {_engine(shared.engines.get(name), source)}. Known effects: {badge['said']}"),
        ("Version", f"fit {source.fit_id}, code {str(manifest['code_hash'])[:16]}, models {str(manifest['models_hash'])[:16]}"),
    ]  # fmt: skip
    title = f"{outcomes.get(first['outcome_id'], first['outcome_id'])}: {scale_name(first['scale'])}, rated by the {first['rater']}; {EXPOSURE_LABELS.get(first['exposure'], first['exposure'])}; {adjustment_name(first['adjustment'])}"  # fmt: skip
    return Card(name, title, said)


def _share(rows: list[Record]) -> str:
    shares = [row["fraction_missing"] for row in rows if not is_missing(row["fraction_missing"])]
    return " and ".join(percent(share) for share in shares) or "not known"


def _measured(rows: pd.DataFrame | None, measures: tuple[str, ...], source: Source) -> str:
    if rows is None:
        return "not measured for this model: only for those of the grouped scale"
    said = [
        f"{MEASURE_LABELS[row['measure']]}{_at(row)} {row['apparent']:.2f}, corrected {row['corrected']:.2f}"
        for row in records(rows)
        if row["measure"] in measures and not is_missing(row["apparent"]) and int(row["events"]) >= source.threshold
    ]  # fmt: skip
    return "; ".join(said) or "too few events to say"


def _at(row: Record) -> str:
    return "" if is_missing(row["months"]) else f" at {int(row['months'])} months"


def _tested(name: str, shared: _Shared, spec: Specification) -> str:
    whole = shared.tests.get((name, "GLOBAL"))
    if whole is None or is_missing(whole["p_value"]):
        return "not tested"
    split = f"; split at month {spec.recidivism.split_months:g}" if name in shared.split else ""
    return f"whole model p {p_text(whole['p_value'])}{split}"


def _e_value(row: Record | None) -> str:
    return (
        "no E-value"
        if row is None
        else f"E-value {row['e_value']:.2f}, of the interval's limit {row['e_value_limit']:.2f}"
    )


def _engine(row: Record | None, source: Source) -> str:
    if row is None or is_missing(row["agrees"]):
        note = None if row is None else row["note"]
        return "not compared" if is_missing(note) else without_small_counts(str(note), source.threshold)
    return "agrees" if bool(row["agrees"]) else "DOES NOT AGREE"


def _limits(first: Record, rows: list[Record], shared: _Shared, spec: Specification, source: Source) -> str:
    said = []
    per = first["events_per_parameter"]
    if is_missing(per) or per < spec.recidivism.min_events_per_parameter:
        said.append(f"fewer than {spec.recidivism.min_events_per_parameter:g} events for each parameter")
    if any(not is_missing(row["fraction_missing"]) and row["fraction_missing"] > 0.5 for row in rows):
        said.append("more than half of the information is missing")
    of_scale = shared.reliability[(shared.reliability["scale"] == first["scale"]) & (shared.reliability["rater"] == first["rater"])]  # fmt: skip
    if of_scale["is_low"].astype(bool).any():
        said.append("the scale is of low reliability: the ratio is nearer to 1 than it would be without errors of measurement")  # fmt: skip
    said += [without_small_counts(str(row["note"]), source.threshold) for row in rows if not is_missing(row["note"])]
    return "; ".join([*said, "observed, not randomised: a ratio is no effect of raising the alliance"])
