"""How estimates moved since the release before, as it may leave: parts of a move that few people have are not shown by themselves.

The parts are those of `analysis.explanation`; nothing is fitted here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from orchestration.analysis.explanation import CODE, DEFINITIONS, KINDS
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
    The part of a kind that few clients have (or none: that is as telling) is put together with those of the smallest others until
    they are enough; where all are too few, no part of that outcome is shown.
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
    bands = [
        (outcome, kind, *said(counts.get((outcome, kind), 0), rules.threshold))
        for outcome in sorted({outcome for outcome, _ in counts})
        for kind in KINDS
        if kind != CODE
    ]
    return Moves(
        pd.DataFrame(rows, columns=list(COLUMNS)),
        pd.DataFrame(bands, columns=["outcome_id", "kind", "low", "high"]),
        len(explanation["caveats"]),
    )


def _part(row: Mapping[str, Any], counts: Mapping[tuple[str, str], int], threshold: int) -> dict[str, Any]:
    merged = _put_together(
        {kind: counts.get((row["outcome_id"], kind), 0) for kind in KINDS if kind != CODE}, threshold
    )
    is_shown = merged is not None
    shown = {kind: row[kind] if is_shown and kind not in (merged or ()) else None for kind in KINDS}
    together = sum(float(row[kind]) for kind in merged) if merged else None
    return {**{name: row[name] for name in COLUMNS if name in row}, **shown, TOGETHER: together}


def _put_together(counts: Mapping[str, int], threshold: int) -> tuple[str, ...] | None:
    """The kinds whose parts are one: those of few clients, nobody among them, and the smallest others until they are enough. None where
    all are too few. That no definition changed is public, so that such a part may stand as nought."""
    few = [kind for kind, count in counts.items() if count < threshold and not (kind == DEFINITIONS and count == 0)]
    others = sorted((kind for kind, count in counts.items() if count >= threshold), key=lambda kind: counts[kind])
    while few and others and sum(counts[kind] for kind in few) < threshold:
        few.append(others.pop(0))
    return tuple(few) if not few or sum(counts[kind] for kind in few) >= threshold else None
