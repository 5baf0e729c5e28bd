"""What a release says of what changed since the one before it: by rule of disclosure control, so that it may leave.

Rows are told in bands of the threshold, never exactly (what somebody could make of exact ones is in docs/disclosure.md), results only
where they left both times. Exact counts are in the CHANGELOG of the zone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from orchestration.releases.disclosure_counts import said

if TYPE_CHECKING:
    from orchestration.analysis.specification import Specification
    from orchestration.warehouse.diff import Difference, TableChange

_KEY = ["model_id", "term"]


@dataclass(frozen=True)
class TableBands:
    """One table: rows that came, went and changed, and rows changed by column, as bands; columns that are new or gone."""

    name: str
    added: str
    removed: str
    changed: str
    columns: Mapping[str, str]
    columns_added: tuple[str, ...]
    columns_removed: tuple[str, ...]


@dataclass(frozen=True)
class Headline:
    """A headline result: the hazard ratio of one point of a score with its interval, of the release before and of this one; None
    where it did not leave."""

    model_id: str
    outcome_id: str
    term: str
    old: tuple[float, float, float] | None
    new: tuple[float, float, float] | None

    @property
    def has_moved(self) -> bool:
        return self.old != self.new


@dataclass(frozen=True)
class Changes:
    """Since release `after`: which step the tag makes, tables in bands, definitions (what happened to each), code lists, and results."""

    after: str
    step: str
    tables: tuple[TableBands, ...]
    definitions: Mapping[str, str]
    code_lists: tuple[str, ...]
    headlines: tuple[Headline, ...]


def changes(difference: Difference, after: str, step: str, results: tuple[Headline, ...], threshold: int) -> Changes:
    """What may be said of a difference of two versions and of results that left."""
    tables = tuple(_in_bands(name, one, threshold) for name, one in difference.tables.items() if not one.is_same)
    definitions = {name: str(one["change"]) for name, one in difference.definitions.items()}
    return Changes(after, step, tables, definitions, tuple(difference.code_lists), results)


def _in_bands(name: str, change: TableChange, threshold: int) -> TableBands:
    added, removed, changed = (band(count, threshold) for count in (change.added, change.removed, change.changed))
    columns = {column: band(count, threshold) for column, count in change.columns.items()}
    return TableBands(name, added, removed, changed, columns, change.columns_added, change.columns_removed)


def band(count: int, threshold: int) -> str:
    """The band in which a number of rows lies: 0–9, 10–19 …, zero not told apart."""
    low, high = said(count, threshold)
    return f"{low}–{high}"


def headlines(now: pd.DataFrame, before: pd.DataFrame | None, spec: Specification) -> tuple[Headline, ...]:
    """The score of every scale, by the rater of the main analysis and with the widest adjustment, of each outcome.

    `now` and `before` are the table `estimates` as it left; a result is there when it left at least once.
    """
    new, old = _ratios(now, spec), _ratios(before, spec) if before is not None else {}
    return tuple(
        Headline(model, outcome, term, old.get((model, outcome, term)), new.get((model, outcome, term)))
        for model, outcome, term in sorted({*new, *old})
    )


def _ratios(frame: pd.DataFrame, spec: Specification) -> dict[tuple[str, str, str], tuple[float, float, float]]:
    if not len(frame):
        return {}
    widest = list(spec.recidivism.adjustments)[-1]
    is_head = (frame["rater"] == spec.recidivism.rater) & (frame["adjustment"] == widest) & (frame["exposure"] == "score") & (frame["term"] == frame["scale"])  # fmt: skip
    rows = frame[is_head & frame["estimate"].notna()].drop_duplicates(_KEY)
    ratios = np.exp(rows[["estimate", "conf_low", "conf_high"]].to_numpy(dtype=float)).round(2)
    named = rows[["model_id", "outcome_id", "term"]].itertuples(index=False, name=None)
    return {name: tuple(values) for name, values in zip(named, ratios.tolist(), strict=True)}
