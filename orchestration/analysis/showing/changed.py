"""What changed since the fit before: how many clients by kind of change, and how the scales' estimates moved for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from orchestration.analysis.explanation import CODE, KINDS
from orchestration.analysis.showing.hazards import may_show_model
from orchestration.analysis.showing.labels import KIND_LABELS, adjustment_name, scale_name
from orchestration.analysis.showing.small_cells import suppress
from orchestration.analysis.showing.source import Record, Source, Table, records, sizes_of


@dataclass(frozen=True)
class Changes:
    """What the page says of a refit: whether there is a fit before, who changed, how the scales' estimates moved, caveats."""

    old_fit: str | None
    tables: list[Table]
    caveats: list[str]


def changes(fit_dir: Path, estimates: pd.DataFrame, outcomes: Mapping[str, str], source: Source) -> Changes:
    """Read from `<fit>.changes.json` beside the fit; empty for a first fit."""
    path = fit_dir.with_name(f"{fit_dir.name}.changes.json")
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    explained = found.get("explanation", {})
    if not found.get("old_fit") or not explained.get("parts"):
        return Changes(found.get("old_fit"), [], explained.get("caveats", []))
    people = {(row["outcome_id"], row["kind"]): int(row["clients"]) for row in explained["people"]}
    tables = [changed_people_table(people, estimates, outcomes, source), moves_table(explained["parts"], people, estimates, outcomes, source)]  # fmt: skip
    return Changes(found["old_fit"], tables, explained["caveats"])


def changed_people_table(
    people: Mapping[tuple[str, str], int], estimates: pd.DataFrame, outcomes: Mapping[str, str], source: Source
) -> Table:
    """Clients by outcome and kind of change, small counts hidden."""
    rows = []
    for outcome, label in outcomes.items():
        shown = suppress([people.get((outcome, kind), 0) for kind in KINDS[1:]], source.threshold, is_zero_shown=True)
        rows.append([label, *["few" if count is None else f"{count:,}" for count in shown]])
    return source.table(
        "Clients whose rows changed since the fit before, by kind of change",
        ["Outcome", *[KIND_LABELS[kind] for kind in KINDS[1:]]],
        rows,
        sizes_of(estimates, outcomes, source),
        f"A client whose follow-up grew and whose record was corrected counts under both. “few”: below {source.threshold}, "
        "or a count from which such a one could be worked out.",
    )


def moves_table(
    parts: list[Record],
    people: Mapping[tuple[str, str], int],
    estimates: pd.DataFrame,
    outcomes: Mapping[str, str],
    source: Source,
) -> Table:
    """The scale's estimate in the model with most covariates: before, now, and the parts of its move.

    The part of a kind that few clients have is not shown by itself: such kinds are one part together, if together they are
    enough, and otherwise no part of that outcome is shown.
    """
    adjustment = list(dict.fromkeys(estimates["adjustment"]))[-1]
    own = estimates[(estimates["term"] == estimates["scale"]) & (estimates["adjustment"] == adjustment)]
    by_model = {(part["model_id"], part["term"]): part for part in parts}
    rows = []
    for row in records(own):
        part = by_model.get((row["model_id"], row["term"]))
        if part is None or part["move"] is None or not may_show_model(row, estimates, source):
            continue
        outcome = row["outcome_id"]
        few = [kind for kind in KINDS if kind != CODE and 0 < people.get((outcome, kind), 0) < source.threshold]
        is_shown = not few or sum(people[outcome, kind] for kind in few) >= source.threshold
        cells = ["·" if kind in few or not is_shown else f"{part[kind]:+.3f}" for kind in KINDS]
        together = f"{sum(part[kind] for kind in few):+.3f}" if few and is_shown else "" if is_shown else "·"
        before, now = (f"{np.exp(part[name]):.2f}" for name in ("estimate_old", "estimate_new"))
        name = f"{scale_name(row['scale'])}, {outcomes[outcome]}"
        rows.append([name, before, now, f"{part['move']:+.3f}", *cells, together, f"{part['chance_std_error']:.3f}"])
    return source.table(
        f"How the hazard ratio of each scale moved ({adjustment_name(adjustment)}), and why",
        ["Scale, outcome", "ratio before", "ratio now", "move, log", *[KIND_LABELS[kind] for kind in KINDS], "kinds of few clients", "by chance"],
        rows,
        sizes_of(own, outcomes, source),
        "Parts of the move on the log scale, in the order in which the kinds were applied to the old rows (left to right); they add up to "
        "the move. “by chance”: how far drawing the imputations again moves an estimate, as a standard error. "
        "All models and terms are in the fit’s changes.json.",
    )  # fmt: skip
