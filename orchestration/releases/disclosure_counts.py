"""Tables of counts as they go into disclosure control, and releases of them. What may be shown of them is decided in `suppression`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import pandas as pd

from orchestration.trouble import Mendable

TOTAL = "total"
COUNT = "count"
GUARD = "guard"
Band = tuple[int, int]


class NotACountTable(Mendable):
    """A table of counts contradicts itself, or lacks a column; says which table and what."""


@dataclass(frozen=True)
class CountTable:
    """Counts of people by `dimensions`, margins included.

    `cells`: one row per cell; a column of text for each dimension, in which `TOTAL` stands for everybody and a name of
    `subtotals` for the categories listed there, and `count`. In a released table a `count` that is hidden is missing, and
    `guard` says what must not be found out about it (zone only). `where`: what all people of the table have in common, as
    dimension: category. Tables of one `population` are linked: they count the same people. `is_sensitive`: being in a class
    says something about a person; where it does not (steps of a flow), zero and full cells may be shown. Cells where `known`
    is true are public anyway: they are shown and not judged.
    """

    name: str
    dimensions: tuple[str, ...]
    cells: pd.DataFrame
    population: str = "people"
    where: Mapping[str, str] = field(default_factory=dict)
    subtotals: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    is_sensitive: bool = True

    def __post_init__(self) -> None:
        missing = [name for name in (*self.dimensions, COUNT) if name not in self.cells.columns]
        if missing:
            raise NotACountTable(f"table {self.name} lacks the columns {', '.join(missing)}")
        if self.cells.duplicated(list(self.dimensions)).any() or len(self.cells) == 0:
            raise NotACountTable(f"table {self.name} needs one row for each cell, and has none or the same cell twice")
        counts = self.cells[COUNT].dropna()
        if (counts < 0).any() or (counts != np.floor(counts)).any():
            raise NotACountTable(f"table {self.name} has counts that are negative or no whole number")

    def leaves(self, dimension: str) -> list[str]:
        """The categories of a dimension that are no total of others, in order."""
        named = self.subtotals.get(dimension, {})
        found = set(self.cells[dimension]) if dimension in self.dimensions else {self.where[dimension]}
        below = {leaf for parts in named.values() for leaf in parts}
        return sorted((found | below) - {TOTAL} - set(named))


@dataclass(frozen=True)
class Release:
    """The tables that leave together. `entered` and `left`, by population: between which numbers, by the release notes, lie
    the people who came in and went out since the release before; someone whose class changed counts in both. Where a
    population is not named, nothing is said of it."""

    tag: str
    tables: tuple[CountTable, ...]
    entered: Mapping[str, Band] = field(default_factory=dict)
    left: Mapping[str, Band] = field(default_factory=dict)


def said(count: int, threshold: int) -> Band:
    """What release notes may say of a number of people: the band of `threshold` wide that holds it, 0 to `threshold` - 1 first."""
    start = threshold * (count // threshold)
    return start, start + threshold - 1


def movement(before: pd.DataFrame, after: pd.DataFrame, key: str, classes: Iterable[str]) -> tuple[int, int]:
    """How many entered and left from one set of people (a row each) to the next; whoever changed class did both."""
    columns = [key, *classes]
    first = set(before[columns].astype("string").fillna("").itertuples(index=False, name=None))
    last = set(after[columns].astype("string").fillna("").itertuples(index=False, name=None))
    return len(last - first), len(first - last)


def tabulate(
    people: pd.DataFrame,
    dimensions: tuple[str, ...],
    name: str,
    categories: Mapping[str, Iterable[str]] | None = None,
    subtotals: Mapping[str, Mapping[str, tuple[str, ...]]] | None = None,
    population: str = "people",
) -> CountTable:
    """Count `people` (a row each) by `dimensions` with all margins; categories that nobody is in count zero when they are named.

    A missing class is the category `unknown`.
    """
    named = subtotals or {}
    kept = people.loc[:, list(dimensions)].astype("string").fillna("unknown")
    levels = []
    for dimension in dimensions:
        leaves = sorted(set(kept[dimension]) | set((categories or {}).get(dimension, ())))
        below = named.get(dimension, {})
        levels.append([*((leaf, {leaf}) for leaf in leaves), *((sub, set(parts)) for sub, parts in below.items()), (TOTAL, set(leaves))])  # fmt: skip
    rows = []
    for cell in product(*levels):
        is_in = np.logical_and.reduce([kept[d].isin(leaves) for d, (_, leaves) in zip(dimensions, cell, strict=True)])
        rows.append({d: label for d, (label, _) in zip(dimensions, cell, strict=True)} | {COUNT: int(np.sum(is_in))})
    return CountTable(name, dimensions, pd.DataFrame(rows), population=population, subtotals=named)
