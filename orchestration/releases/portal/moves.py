"""How estimates moved since the release before, as it may leave: parts of a move that few people have are not shown by themselves.

The parts are those of `analysis.explanation`; nothing is fitted here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from orchestration.analysis.explanation import CODE, KINDS
from orchestration.releases.disclosure import ReleaseRules
from orchestration.releases.disclosure_counts import said

TOGETHER = "together"
COLUMNS = (
    "model_id",
    "outcome_id",
    "term",
    "estimate_old",
    "estimate_new",
    "move",
    *KINDS,
    TOGETHER,
    "chance_std_error",
)


@dataclass(frozen=True)
class Moves:
    """`parts`: a row per model and term (`COLUMNS`), a part missing where it may not be shown. `people`: outcome_id, kind, low and
    high, the band that holds the number of clients. `caveats`: how many things the tables cannot tell apart."""

    parts: pd.DataFrame
    people: pd.DataFrame
    caveats: int


def judged_moves(explanation: Mapping[str, Any], now: pd.DataFrame, before: pd.DataFrame, rules: ReleaseRules) -> Moves:
    """What may leave of an explanation (`Explanation.as_record`).

    `now` and `before`: the judged `estimates` of this release and the one before; a term that did not leave in both has no row.
    The part of a kind that few clients have is put together with the others of that sort; where they are too few together, no
    part of that outcome is shown.
    """
    counts = {(row["outcome_id"], row["kind"]): int(row["clients"]) for row in explanation["people"]}
    terms = ["model_id", "term"]
    left = [set(frame[terms].itertuples(index=False, name=None)) if len(frame) else set() for frame in (now, before)]
    public = left[0] & left[1]
    rows = [
        _part(row, counts, rules.threshold)
        for row in explanation["parts"]
        if (row["model_id"], row["term"]) in public and row["move"] is not None
    ]
    bands = [(outcome, kind, *said(count, rules.threshold)) for (outcome, kind), count in sorted(counts.items())]
    return Moves(
        pd.DataFrame(rows, columns=list(COLUMNS)),
        pd.DataFrame(bands, columns=["outcome_id", "kind", "low", "high"]),
        len(explanation["caveats"]),
    )


def _part(row: Mapping[str, Any], counts: Mapping[tuple[str, str], int], threshold: int) -> dict[str, Any]:
    outcome = row["outcome_id"]
    few = [kind for kind in KINDS if kind != CODE and 0 < counts.get((outcome, kind), 0) < threshold]
    is_shown = not few or sum(counts[outcome, kind] for kind in few) >= threshold
    shown = {kind: None if kind in few or not is_shown else row[kind] for kind in KINDS}
    together = sum(float(row[kind]) for kind in few) if few and is_shown else None
    return {**{name: row[name] for name in COLUMNS if name in row}, **shown, TOGETHER: together}
