"""Somebody who has every released table, knows how rounding and hiding work, and solves for what is hidden. Shares no step with the
suppression: people are counted by their whole class in each release, and move in and out between releases by what the notes say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

import numpy as np
import pandas as pd
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array, lil_array, vstack

from orchestration.releases.disclosure_counts import TOTAL, CountTable, Release

MOST_PEOPLE = 5_000  # in one class: more than anybody thinks of
Labels = tuple[str, ...]


class Impossible(Exception):
    """No people can be as the tables say."""


@dataclass(frozen=True)
class Found:
    """What the attacker finds of one hidden cell: the least and the most people that can be in it."""

    tag: str
    table: str
    labels: Labels
    least: int
    most: int

    @property
    def is_recovered(self) -> bool:
        return self.least == self.most

    @property
    def width(self) -> int:
        return self.most - self.least


class Attacker:
    """Knows the releases of one population, oldest first; a missing count is hidden, any other is true to within `rounding`."""

    def __init__(self, releases: Sequence[Release], rounding: int = 0) -> None:
        self.releases = releases
        self.classes = self._classes()
        self.whole = [dict(zip(self.classes, labels, strict=True)) for labels in product(*self.classes.values())]
        self.width = len(self.whole)
        steps = len(releases) - 1
        self.size = self.width * (
            1 + 2 * steps
        )  # those of the first release, then who enters and who leaves at each next one
        rows, low, high = [], [], []
        for number, release in enumerate(releases):
            for table in release.tables:
                for labels, count in cells_of(table):
                    if not pd.isna(count):
                        rows.append(self.row(number, table, labels))
                        low.append(float(count) - rounding)
                        high.append(float(count) + rounding)
            if number:
                entered, left = self._moves(number)
                for who, bands in ((entered, release.entered), (left, release.left)):
                    for band in bands.values():
                        rows.append(csr_array(np.ones((1, self.width)) @ who))
                        low.append(band[0])
                        high.append(band[1])
                stay = self.people(number - 1) - left  # nobody leaves who was not there
                rows += [csr_array(stay[[i]]) for i in range(self.width)]
                low += [0.0] * self.width
                high += [np.inf] * self.width
        self.knows = LinearConstraint(vstack(rows).tocsc(), low, high)

    def _classes(self) -> dict[str, list[str]]:
        found: dict[str, set[str]] = {}
        for table in (table for release in self.releases for table in release.tables):
            for dimension in table.dimensions:
                named = table.subtotals.get(dimension, {})
                found.setdefault(dimension, set()).update(set(table.cells[dimension]) - {TOTAL} - set(named))
                found[dimension] |= {leaf for parts in named.values() for leaf in parts}
            for dimension, label in table.where.items():
                found.setdefault(dimension, set()).update({label, "somewhere else"})
        return {name: sorted(labels) for name, labels in sorted(found.items())}

    def _moves(self, number: int) -> tuple[csr_array, csr_array]:
        start = self.width * (1 + 2 * (number - 1))
        return self._pick(start), self._pick(start + self.width)

    def _pick(self, start: int) -> csr_array:
        pick = lil_array((self.width, self.size))
        for i in range(self.width):
            pick[i, start + i] = 1
        return csr_array(pick)

    def people(self, number: int) -> csr_array:
        """How many of each whole class there are in a release, as sums of the unknowns."""
        now = self._pick(0)
        for step in range(1, number + 1):
            entered, left = self._moves(step)
            now = now + entered - left
        return csr_array(now)

    def row(self, number: int, table: CountTable, labels: Labels) -> csr_array:
        """A cell of a release as a sum of the unknowns."""
        inside = np.array([[self._holds(table, labels, one) for one in self.whole]], dtype=float)
        return csr_array(inside @ self.people(number))

    @staticmethod
    def _holds(table: CountTable, labels: Labels, one: Mapping[str, str]) -> bool:
        for dimension, label in zip(table.dimensions, labels, strict=True):
            if label != TOTAL and one[dimension] not in table.subtotals.get(dimension, {}).get(label, (label,)):
                return False
        return all(one[dimension] == label for dimension, label in table.where.items())

    def least(self, objective: csr_array) -> float:
        """The least that a sum of the unknowns can be. Raises Impossible."""
        # With presolve HiGHS (of SciPy 1.17) cuts possible people off, and the attacker believes too much. What it finds is held
        # against everything that is known, so that no width is made up either.
        solution = milp(
            objective.toarray().ravel(),
            integrality=np.ones(self.size),
            bounds=Bounds(0, MOST_PEOPLE),
            constraints=self.knows,
            options={"presolve": False},
        )
        if solution.x is None:
            raise Impossible
        people = np.round(solution.x)
        sums = self.knows.A @ people
        assert (people >= 0).all() and (sums >= self.knows.lb).all() and (sums <= self.knows.ub).all()
        return float((objective @ people).item())

    def attack(self) -> list[Found]:
        """Every hidden cell of every release."""
        found, seen = [], set()
        for number, release in enumerate(self.releases):
            for table in release.tables:
                for labels, count in cells_of(table):
                    row = self.row(number, table, labels)
                    mark = row.toarray().tobytes()
                    if pd.isna(count) and mark not in seen:
                        seen.add(mark)
                        found.append(
                            Found(release.tag, table.name, labels, int(self.least(row)), int(-self.least(-row)))
                        )
        return found

    def is_class_certain(self, number: int, table: CountTable, labels: Labels, group: Labels, share: float) -> bool:
        """Whether the class of a cell is at least `share` of a group whatever the hidden counts are."""
        part = Fraction(str(share))
        sums = part.denominator * self.row(number, table, labels) - part.numerator * self.row(number, table, group)
        return self.least(csr_array(sums)) >= 0


def cells_of(table: CountTable) -> list[tuple[Labels, object]]:
    """The cells of a table, each with its count (missing where hidden)."""
    rows = table.cells[[*table.dimensions, "count"]].itertuples(index=False, name=None)
    return [(tuple(row[:-1]), row[-1]) for row in rows]
