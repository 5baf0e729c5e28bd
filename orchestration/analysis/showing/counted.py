"""Q3, counted otherwise: detention in three ways side by side, scores as last rated, and all offences instead of the first."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from orchestration.analysis.showing.hazards import may_show_model
from orchestration.analysis.showing.labels import PROCESS_LABELS, adjustment_name, scale_name
from orchestration.analysis.showing.source import (
    NOT_SHOWN,
    Source,
    Table,
    is_missing,
    named,
    p_text,
    ratio,
    records,
    sizes_of,
    without_small_counts,
)
from orchestration.analysis.specification import Specification

RECURRENT = ("andersen_gill", "pwp_total_time", "pwp_gap_time")
DETENTION = {
    "counting_process": "taken out of the time at risk",
    "detention_ignored": "ignored",
    "at_risk_to_event": "a state of its own",
}
STATES = ("at_risk_to_event", "at_risk_to_detained", "detained_to_at_risk")


def process_table(
    estimates: pd.DataFrame, processes: tuple[str, ...], caption: str, outcomes: Mapping[str, str],
    spec: Specification, source: Source, note: str = "",
) -> Table:  # fmt: skip
    """The scales of the first rater by some ways of counting; what has no single hazard ratio says why."""
    rows = []
    own = _own(estimates, spec)
    own = own[own["process"].isin(processes)]
    for row in records(own):
        outcome = outcomes.get(row["outcome_id"], named(str(row["outcome_id"])))
        name = f"{outcome}: {scale_name(row['scale'])}, {PROCESS_LABELS[row['process']]}, {adjustment_name(row['adjustment'])}"
        sizes = [source.about(int(row["n"])), source.about(int(row["events"]))]
        if may_show_model(row, estimates, source):
            rows.append([name, *sizes, ratio(row), p_text(row["p_value"])])
        else:
            why = NOT_SHOWN if is_missing(row["note"]) else without_small_counts(str(row["note"]), source.threshold)
            rows.append([name, *sizes, why, ""])
    return source.table(
        caption, ["Outcome: scale, way of counting, model", "n, to 5", "events, to 5", "hazard ratio [95 % interval]", "p"], rows,
        sizes_of(own, outcomes, source), note,
    )  # fmt: skip


def detention_table(estimates: pd.DataFrame, outcomes: Mapping[str, str], spec: Specification, source: Source) -> Table:
    """Detention taken out, ignored, and as a state: one row per scale and model, one column per way."""
    own = _own(estimates, spec)
    own = own[own["process"].isin(DETENTION)]
    known = {str(outcome) for outcome in own.loc[own["process"] == "detention_ignored", "outcome_id"]}
    rows = []
    for (scale, adjustment), part in own.groupby(["scale", "adjustment"], sort=False):
        cells = []
        for process in DETENTION:
            found = part[part["process"] == process]
            if process == "counting_process":  # of the definitions that the others are variants of
                found = found[[any(name.startswith(str(one)) for name in known) for one in found["outcome_id"]]]
            one = records(found)[:1]
            cells.append(ratio(one[0]) if one and may_show_model(one[0], estimates, source) else NOT_SHOWN)
        rows.append([f"{scale_name(str(scale))}, {adjustment_name(str(adjustment))}", *cells])
    return source.table(
        "Detention in three ways: hazard ratio [95 % interval] for one point more", ["Scale, model", *DETENTION.values()], rows,
        sizes_of(own, outcomes, source),
        "Nobody reoffends outside while detained: ignored, that time looks like staying free; as a state, leaving for detention is a transition of its own.",
    )  # fmt: skip


def count_table(counts: pd.DataFrame, outcomes: Mapping[str, str], source: Source) -> Table:
    """How many had a first, second … offence after the origin; small numbers are one row."""
    rows = []
    for outcome, part in counts.groupby("outcome_id", sort=False):
        for row in records(part.sort_values("number")):
            if int(row["events"]) < source.threshold:
                rows.append([f"{outcomes.get(str(outcome), str(outcome))}: number {int(row['number'])} and later", "", source.less()])  # fmt: skip
                break
            rows.append([f"{outcomes.get(str(outcome), str(outcome))}: number {int(row['number'])}", source.about(int(row["people"])), source.about(int(row["events"]))])  # fmt: skip
    first = counts[counts["number"] == 1].rename(columns={"people": "n"})
    return source.table(
        "Offences by number", ["Outcome: offence", "at risk of it, to 5", "committed it, to 5"], rows,
        sizes_of(first, outcomes, source),
    )  # fmt: skip


def _own(estimates: pd.DataFrame, spec: Specification) -> pd.DataFrame:
    return estimates[(estimates["term"] == estimates["scale"]) & (estimates["rater"] == spec.recidivism.rater)]
