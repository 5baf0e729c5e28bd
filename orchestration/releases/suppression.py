"""Which cells of count tables may leave: primary rules, and the cheapest further cells that keep the hidden ones hidden from somebody
who has every table of this and all earlier releases. The tables themselves are described in `disclosure_counts`.

Complementary cell suppression with sliding protection (Fischetti & Salazar 2000; Hundepool et al. 2012, ch. 4): the whole numbers that
a hidden cell can still be span at least the threshold. What can still be is judged over people, not over cells: every table, margin and
release is a sum over the same unknown joint counts. The choice is a hitting set, solved exactly by HiGHS, whose sets come from the duals
of the attacks that succeed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestration.releases.disclosure_counts import COUNT, GUARD, TOTAL, CountTable, NotACountTable, Release
from orchestration.trouble import Mendable

if TYPE_CHECKING:
    from scipy.sparse import csr_array

OTHER = "(other)"
SPAN, CLASS = (
    "span",
    "class",
)  # what must stay unknown of a hidden cell: its number; also that its class is nearly everybody's
MOST_JOINT_COUNTS = 20_000
MOST_ROUNDS = 30
_NEARLY = 1e-6

Key = frozenset[tuple[str, frozenset[str]]]
Domains = Mapping[str, tuple[str, ...]]


class CannotProtect(Mendable):
    """No suppression protects a cell, because of what is public already; says of which population, and how many cells."""


class TooLarge(Mendable):
    """Linked tables have too many joint classes to be judged together; says how many, and of which population."""


@dataclass(frozen=True)
class Rules:
    """`threshold`: people that a shown cell has at least, and the numbers that a hidden one spans. `dominance`: the share of a
    group from which a class gives the group away. `difference`: a cell that moved by fewer people than this since an earlier
    release is not shown again."""

    threshold: int = 10
    dominance: float = 0.9
    difference: int = 10


@dataclass(frozen=True)
class Suppressed:
    """A release whose hidden counts are missing, and by rule how many cells of which table were hidden.

    `hidden` has the columns table, rule (small, zero, class, difference, secondary), cells. `is_least`: whether no cheaper
    choice exists; it is False only where the search was cut short, which costs information and no protection.
    """

    release: Release
    hidden: pd.DataFrame
    is_least: bool


def suppress(release: Release, earlier: Sequence[Release] = (), rules: Rules | None = None) -> Suppressed:
    """The release as it may leave after `earlier` ones (as they left, oldest first), with as few people hidden as can be.

    The loss that is least is the sum over hidden cells of their count plus one. Raises NotACountTable when tables contradict each other, TooLarge, and
    CannotProtect when what is public already bounds a hidden cell.
    """
    rules = rules or Rules()
    tables: dict[str, CountTable] = {}
    hidden: list[dict[str, Any]] = []
    is_least = True
    for population in dict.fromkeys(table.population for table in release.tables):
        found = _Population(population, [*earlier, release], rules)
        chosen, is_least_here = _least(found)
        is_least = is_least and is_least_here
        for table in release.tables:
            if table.population == population:
                tables[table.name], counted = found.shown(table, chosen)
                hidden += [{"table": table.name, "rule": rule, "cells": cells} for rule, cells in counted.items()]
    return Suppressed(
        replace(release, tables=tuple(tables[table.name] for table in release.tables)),
        pd.DataFrame(hidden, columns=["table", "rule", "cells"]),
        is_least,
    )


def primary(
    table: CountTable, rules: Rules, shown_before: Mapping[Key, list[int]] | None = None, domains: Domains | None = None
) -> pd.Series:
    """The rule by which each cell may not be shown, '' where it may; by row of the table.

    small: 1 to threshold - 1 people. zero: nobody. class: its class is at least `dominance` of a group. difference: it moved by 1
    to `difference` - 1 since it was shown. Where a class says nothing about a person, only small and difference are asked. `domains`: all
    categories of each dimension in the population that `shown_before` is of, by default those of the table.
    """
    domains = domains or {name: tuple(table.leaves(name)) for name in (*table.dimensions, *table.where)}
    counts = {tuple(row[:-1]): int(row[-1]) for row in _rows(table)}
    rule = []
    for labels, count in counts.items():
        groups = [counts[group] for group in _groups(table, labels) if group in counts]
        before = (shown_before or {}).get(_key(table, labels, domains), [])
        if 0 < count < rules.threshold:
            rule.append("small")
        elif count == 0 and table.is_sensitive:
            rule.append("zero")
        elif table.is_sensitive and any(count >= rules.dominance * group for group in groups):
            rule.append(CLASS)
        elif any(0 < abs(count - earlier) < rules.difference for earlier in before):
            rule.append("difference")
        else:
            rule.append("")
    found = pd.Series(rule, index=table.cells.index, dtype=object)
    return found.mask(_known(table), "")


def _rows(table: CountTable) -> Iterable[tuple[Any, ...]]:
    return table.cells[[*table.dimensions, COUNT]].itertuples(index=False, name=None)


def _known(table: CountTable) -> NDArray[np.bool_]:
    known = table.cells["known"] if "known" in table.cells else pd.Series(False, index=table.cells.index)
    return known.to_numpy(dtype=bool)


def _groups(table: CountTable, labels: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The cells that hold everybody of a cell and the other classes of one of its dimensions."""
    found = []
    for place, dimension in enumerate(table.dimensions):
        label = labels[place]
        wider = [TOTAL] if label != TOTAL and len(table.leaves(dimension)) > 1 else []
        wider += [
            name for name, parts in table.subtotals.get(dimension, {}).items() if label in parts and len(parts) > 1
        ]
        found += [(*labels[:place], name, *labels[place + 1 :]) for name in wider]
    return found


def _leaves_of(table: CountTable, labels: tuple[str, ...], domains: Domains) -> dict[str, frozenset[str]]:
    """For each dimension of a cell the categories that it holds."""
    held = {}
    for dimension, label in zip(table.dimensions, labels, strict=True):
        parts = table.subtotals.get(dimension, {}).get(label, (label,))
        held[dimension] = frozenset(domains[dimension] if label == TOTAL else parts)
    return held | {dimension: frozenset([label]) for dimension, label in table.where.items()}


def _key(table: CountTable, labels: tuple[str, ...], domains: Domains) -> Key:
    """The same for every cell that counts the same people, in whichever table it stands."""
    held = _leaves_of(table, labels, domains)
    return frozenset((name, leaves) for name, leaves in held.items() if leaves != frozenset(domains[name]))


def cliques(sets: Iterable[frozenset[str]]) -> tuple[list[frozenset[str]], list[tuple[int, int]]]:
    """Sets of dimensions over which joint counts are enough, and the pairs of them that must agree where they overlap.

    Tables whose dimensions form a tree (running intersection) extend to joint counts whenever they agree on what they share
    (Vorob'ev 1962), so the joint over all dimensions is not needed. Where they form none, sets are merged until they do.
    """
    kept = [one for one in dict.fromkeys(sets) if one]
    kept = sorted((one for one in kept if not any(one < other for other in kept)), key=sorted) or [frozenset()]
    while True:
        tree: list[tuple[int, int]] = []
        reached = [0]
        while len(reached) < len(kept):
            near, far = max(
                ((i, j) for i in reached for j in range(len(kept)) if j not in reached),
                key=lambda pair: (len(kept[pair[0]] & kept[pair[1]]), -pair[1], -pair[0]),
            )
            tree.append((near, far))
            reached.append(far)
        overlap = sum(len(kept[i] & kept[j]) for i, j in tree)
        if overlap == sum(map(len, kept)) - len(frozenset().union(*kept)):
            return kept, tree
        first, second = min(
            ((a, b) for a, b in combinations(kept, 2) if a & b),
            key=lambda pair: (len(pair[0] | pair[1]), sorted(pair[0])),
        )
        merged = first | second
        kept = sorted([one for one in kept if not one <= merged] + [merged], key=sorted)


@dataclass(frozen=True)
class _Cell:
    """A cell of one release: the joint counts that it sums, its count (None: hidden earlier), and what it must not give away."""

    release: int
    at: NDArray[np.int64]
    count: int | None
    rule: str
    guard: str
    is_known: bool
    groups: tuple[NDArray[np.int64], ...]


class _Population:
    """What can be known of one population: unknown joint counts by class and by the first and last release that people are in."""

    def __init__(self, name: str, releases: Sequence[Release], rules: Rules) -> None:
        self.name, self.rules, self.last = name, rules, len(releases) - 1
        self._tables = [[table for table in one.tables if table.population == name] for one in releases]
        self.presences = [(a, b) for a in range(len(releases)) for b in range(a, len(releases))]
        self.domains = self._domains()
        every = [frozenset((*table.dimensions, *table.where)) for tables in self._tables for table in tables]
        self.cliques, self._tree = cliques(every)
        self._shapes = [
            (*(len(self.domains[name]) for name in sorted(one)), len(self.presences)) for one in self.cliques
        ]
        sizes = [int(np.prod(shape)) for shape in self._shapes]
        self._starts = np.concatenate([[0], np.cumsum(sizes)])
        self.size = int(self._starts[-1])
        if self.size > MOST_JOINT_COUNTS:
            raise TooLarge(
                f"the linked tables of {name} have {self.size} joint classes, at most {MOST_JOINT_COUNTS} can be judged; split or coarsen them"
            )
        self.cells: dict[tuple[int, Key], _Cell] = {}
        for number, tables in enumerate(self._tables):
            for table in tables:
                self._add(number, table)
        self.keys = list(self.cells)
        self._public = self._equations(releases)

    def _domains(self) -> dict[str, tuple[str, ...]]:
        leaves: dict[str, set[str]] = {}
        counted = set()
        for table in (table for tables in self._tables for table in tables):
            counted |= set(table.dimensions)
            for dimension in (*table.dimensions, *table.where):
                leaves.setdefault(dimension, set()).update(table.leaves(dimension))
        return {
            name: tuple(sorted(found)) + (() if name in counted else (OTHER,)) for name, found in sorted(leaves.items())
        }

    def _add(self, number: int, table: CountTable) -> None:
        is_now = number == self.last
        rule = (
            primary(table, self.rules, self._shown_before(), self.domains)
            if is_now
            else pd.Series("", index=table.cells.index)
        )
        guards = table.cells[GUARD].tolist() if GUARD in table.cells else [SPAN] * len(table.cells)
        for row, why, guard, known in zip(_rows(table), rule, guards, _known(table), strict=True):
            labels, count = row[:-1], row[-1]
            key = (number, _key(table, labels, self.domains))
            is_hidden = bool(pd.isna(count))
            groups = [self._sum(number, _leaves_of(table, group, self.domains)) for group in _groups(table, labels)]
            cell = _Cell(
                number, self._sum(number, _leaves_of(table, labels, self.domains)), None if is_hidden else int(count), why,
                (CLASS if why == CLASS else SPAN) if is_now else str(guard), bool(known), tuple(groups),
            )  # fmt: skip
            there = self.cells.get(key)
            self.cells[key] = cell if there is None else _merged(there, cell, table.name)

    def _shown_before(self) -> dict[Key, list[int]]:
        found: dict[Key, list[int]] = {}
        for (number, key), cell in self.cells.items():
            if number < self.last and cell.count is not None and not cell.is_known:
                found.setdefault(key, []).append(cell.count)
        return found

    def _sum(self, number: int, held: Mapping[str, frozenset[str]]) -> NDArray[np.int64]:
        """Where the joint counts lie that a cell of a release sums."""
        place = next(i for i, one in enumerate(self.cliques) if set(held) <= one)
        return self._starts[place] + np.flatnonzero(
            self._mask(place, held, [a <= number <= b for a, b in self.presences])
        )

    def _mask(self, place: int, held: Mapping[str, frozenset[str]], presence: Sequence[bool]) -> NDArray[np.bool_]:
        mask = np.ones(self._shapes[place], dtype=bool)
        for axis, name in enumerate(sorted(self.cliques[place])):
            if name in held:
                inside = np.array([leaf in held[name] for leaf in self.domains[name]])
                mask &= inside.reshape([-1 if axis == i else 1 for i in range(mask.ndim)])
        return (mask & np.array(presence)).ravel()

    def _equations(
        self, releases: Sequence[Release]
    ) -> tuple[list[NDArray[np.int64]], NDArray[np.float64], csr_array, NDArray[np.float64]]:
        """What is public whatever is shown now: sums with lower and upper limits; and differences of cliques that are nil."""
        from scipy.sparse import csr_array, vstack

        sums, limits = [], []
        for cell in self.cells.values():
            if cell.count is not None and (cell.release < self.last or cell.is_known):
                sums.append(cell.at)
                limits.append((cell.count, cell.count))
        for number, one in enumerate(releases):
            for band, is_in in ((one.entered, [a == number for a, _ in self.presences]), (one.left, [b == number - 1 for _, b in self.presences])):  # fmt: skip
                if number and self.name in band:
                    sums.append(self._starts[0] + np.flatnonzero(self._mask(0, {}, is_in)))
                    limits.append(band[self.name])
        agree = []
        for near, far in self._tree:
            shared = sorted(self.cliques[near] & self.cliques[far])
            agree.append(self._margin(near, shared) - self._margin(far, shared))
        equal = csr_array(vstack(agree)) if agree else csr_array((0, self.size))
        return sums, np.array(limits, dtype=float).reshape(-1, 2), equal, np.zeros(equal.shape[0])

    def _margin(self, place: int, shared: Sequence[str]) -> csr_array:
        from scipy.sparse import csr_array

        axes = [sorted(self.cliques[place]).index(name) for name in shared] + [len(self._shapes[place]) - 1]
        shape = [self._shapes[place][axis] for axis in axes]
        where = np.indices(self._shapes[place]).reshape(len(self._shapes[place]), -1)
        row = np.ravel_multi_index([where[axis] for axis in axes], shape)
        column = self._starts[place] + np.arange(len(row))
        return csr_array((np.ones(len(row)), (row, column)), shape=(int(np.prod(shape)), self.size))

    def shown(self, table: CountTable, hidden: set[int]) -> tuple[CountTable, dict[str, int]]:
        """The table with its hidden counts missing, and how many were hidden by which rule."""
        gone = {self.keys[i] for i in hidden}
        keys = [(self.last, _key(table, row[:-1], self.domains)) for row in _rows(table)]
        is_gone = pd.Series([key in gone for key in keys], index=table.cells.index)
        guard = [self.cells[key].guard for key in keys]
        cells = table.cells.assign(count=table.cells[COUNT].astype("Int64").mask(is_gone), guard=guard)
        rules = pd.Series([self.cells[key].rule or "secondary" for key in keys], index=table.cells.index)[is_gone]
        return replace(table, cells=cells), {
            str(rule): int(cells) for rule, cells in rules.value_counts().sort_index().items()
        }


def _merged(there: _Cell, cell: _Cell, table: str) -> _Cell:
    """One cell out of two tables: hidden if either hides it, and guarded as the stricter asks."""
    if there.count != cell.count:
        raise NotACountTable(f"table {table} and one that it is linked with count the same people differently")
    return replace(
        there, rule=there.rule or cell.rule, guard=CLASS if CLASS in (there.guard, cell.guard) else SPAN,
        is_known=there.is_known or cell.is_known, groups=(*there.groups, *cell.groups),
    )  # fmt: skip


@dataclass(frozen=True)
class _Goal:
    """What must stay possible for a cell: `span` between the least and the most it can be, or (span None) a sum below nought."""

    cell: int
    objective: NDArray[np.float64]
    span: int | None


class _Attack:
    """Least and most of sums over the joint counts, given which cells of the release are shown; what was found once is kept."""

    def __init__(self, people: _Population) -> None:
        self.people = people
        self.now = [i for i, key in enumerate(people.keys) if key[0] == people.last and not people.cells[key].is_known]
        cells = [people.cells[people.keys[i]] for i in self.now]
        self.counts = np.array([cell.count for cell in cells], dtype=float)
        self.rows = _indicator([cell.at for cell in cells], people.size)
        sums, self.limits, equal, self.nil = people._public
        self.equal = equal
        self.public = _indicator(sums, people.size)
        self.most = 10.0 * float(max([people.rules.threshold, *self.counts, *self.limits[:, 1]]))
        self.known: NDArray[np.float64] = np.zeros(
            (0, people.size)
        )  # whole joint counts that agree with all that is public

    def goals(self, hidden: set[int]) -> list[_Goal]:
        """What is asked of every cell that is hidden now or was hidden earlier."""
        found = []
        share = Fraction(str(self.people.rules.dominance))
        for i, key in enumerate(self.people.keys):
            cell = self.people.cells[key]
            if not (i in hidden or (cell.release < self.people.last and cell.count is None)):
                continue
            objective = np.zeros(self.people.size)
            objective[cell.at] = 1
            found.append(_Goal(i, objective, self.people.rules.threshold))
            if cell.guard == CLASS:
                for group in cell.groups:
                    certain = share.denominator * objective
                    certain[group] -= share.numerator
                    found.append(_Goal(i, certain, None))
        return found

    def is_reached(self, goal: _Goal, shown: NDArray[np.bool_]) -> bool:
        """Whether joint counts already found show that the goal is reached."""
        if not len(self.known):
            return False
        agrees = (np.abs(self.known @ self.rows[shown].T - self.counts[shown]) < _NEARLY).all(axis=1)
        values = self.known[agrees] @ goal.objective
        return bool(len(values)) and _reached(goal, values.min(), values.max())

    def against(self, goal: _Goal, shown: NDArray[np.bool_]) -> set[int] | None:
        """None where the goal is reached; else cells of which at least one must be hidden as well (positions in the people's keys)."""
        if self.is_reached(goal, shown):
            return None
        ends, proof = [], np.zeros(int(shown.sum()))
        for sign in (1.0, -1.0) if goal.span is not None else (1.0,):
            solution = self._solve(sign * goal.objective, shown, whole=False)
            ends.append((sign, solution))
            proof = np.maximum(proof, np.abs(solution.eqlin.marginals[len(self.nil) :][: len(proof)]))
        values = [sign * solution.fun for sign, solution in ends]
        if not _reached(goal, min(values), max(values)):
            return {self.now[i] for i in np.flatnonzero(shown)[proof > _NEARLY]}
        for sign, solution in ends:
            whole = np.round(solution.x)
            if np.abs(whole - solution.x).max() > _NEARLY:
                whole = np.round(self._solve(sign * goal.objective, shown, whole=True).x)
            self.known = np.vstack([self.known, whole])
        if self.is_reached(goal, shown):
            return None
        return {self.now[i] for i in np.flatnonzero(shown)}

    def _solve(self, objective: NDArray[np.float64], shown: NDArray[np.bool_], whole: bool) -> Any:
        from scipy.optimize import linprog

        exact = self.limits[:, 0] == self.limits[:, 1]
        banded = self.public[~exact]
        # Presolving whole numbers can cut possible counts off (HiGHS of SciPy 1.17); a linear one is asked again before it refuses.
        for presolve in (False,) if whole else (True, False):
            solution = linprog(
                objective,
                A_eq=_stacked([self.equal, self.rows[shown], self.public[exact]]),
                b_eq=np.concatenate([self.nil, self.counts[shown], self.limits[exact, 0]]),
                A_ub=_stacked([banded, -banded]) if banded.shape[0] else None,
                b_ub=np.concatenate([self.limits[~exact, 1], -self.limits[~exact, 0]]) if banded.shape[0] else None,
                bounds=(0, self.most),
                integrality=np.ones(len(objective)) if whole else None,
                method="highs",
                options={"presolve": presolve},
            )
            if solution.x is not None:
                return solution
        raise NotACountTable(
            f"the tables of {self.people.name} contradict each other, earlier ones, or what is said of who entered and left"
        )


def _reached(goal: _Goal, least: float, most: float) -> bool:
    return most - least > goal.span - _NEARLY if goal.span is not None else least < -_NEARLY


def _stacked(parts: Sequence[csr_array]) -> csr_array:
    from scipy.sparse import csr_array, vstack

    return csr_array(vstack(parts))


def _indicator(places: Sequence[NDArray[np.int64]], size: int) -> csr_array:
    from scipy.sparse import csr_array

    row = np.repeat(np.arange(len(places)), [len(one) for one in places])
    column = np.concatenate(places) if places else np.zeros(0, dtype=np.int64)
    return csr_array((np.ones(len(row)), (row, column)), shape=(len(places), size))


@dataclass
class _Search:
    """What the search for the cheapest choice has found: `cuts` (a cell, and others of which one must be hidden with it) and
    `barred` cells, whose count is public anyway, so that hiding them protects nobody."""

    people: _Population
    cuts: list[tuple[int, frozenset[int]]]
    barred: set[int]

    @cached_property
    def attack(self) -> _Attack:
        return _Attack(self.people)

    @cached_property
    def loss(self) -> dict[int, float]:
        return dict(zip(self.attack.now, self.attack.counts + 1, strict=True))

    @cached_property
    def forced(self) -> set[int]:
        return {cell for cell in self.attack.now if self.people.cells[self.people.keys[cell]].rule}

    def price(self, hidden: set[int]) -> float:
        return sum(self.loss[cell] for cell in hidden)

    def cannot(self) -> CannotProtect:
        return CannotProtect(
            f"what is public already bounds a count or a class of {self.people.name} that must stay hidden: leave tables out, "
            "coarsen them, or wait for more people"
        )


def _least(people: _Population) -> tuple[set[int], bool]:
    """The cheapest cells of the release to hide (positions in the people's keys), and whether none cheaper exist.

    An implicit hitting set: the cheapest choice that hits every set found so far is attacked; each success gives a set more.
    """
    search = _Search(people, [], set())
    search.barred |= _public_anyway(search)
    best: set[int] | None = None
    for _ in range(MOST_ROUNDS):
        chosen = _hitting(search)
        grown = _defended(search, chosen)
        if grown is None:
            continue
        if best is None or search.price(grown) < search.price(best):
            best = grown
        if search.price(best) <= search.price(chosen) + _NEARLY:
            return best, True
    if best is None:
        raise search.cannot()
    return best, False


def _public_anyway(search: _Search) -> set[int]:
    """Cells that could be hidden and never be protected, since earlier releases bound them even when nothing is shown now."""
    attack = search.attack
    if not search.people.last:
        return set()
    nothing = np.zeros(len(attack.now), dtype=bool)
    goals = [goal for goal in attack.goals(set(attack.now) - search.forced) if goal.cell in search.loss]
    return {goal.cell for goal in goals if attack.against(goal, nothing) is not None}


def _defended(search: _Search, chosen: set[int]) -> set[int] | None:
    """`chosen` and more, until no attack succeeds: the cheapest of each set that a success gives. None where a cell turned out to
    be barred, so that the choice must be made again."""
    grown, attack = set(chosen), search.attack
    goals = attack.goals(grown)
    while goals:
        before = len(grown)
        for goal in goals:
            while (support := attack.against(goal, _shown(attack, grown))) is not None:
                search.cuts.append((goal.cell, frozenset(support)))
                helpful = support - search.barred
                if not helpful and goal.cell in grown and goal.cell not in search.forced:
                    search.barred.add(goal.cell)
                    return None
                if not helpful:
                    raise search.cannot()
                grown.add(min(helpful, key=lambda cell: (search.loss[cell], cell)))
        goals = attack.goals(grown) if len(grown) > before else []
    return grown


def _shown(attack: _Attack, hidden: set[int]) -> NDArray[np.bool_]:
    return np.array([cell not in hidden for cell in attack.now], dtype=bool)


def _hitting(search: _Search) -> set[int]:
    """The cheapest cells with all that are forced and, for each cut whose cell is among them, one of its set at least."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    now = search.attack.now
    if not now:
        return set()
    position = {cell: i for i, cell in enumerate(now)}
    matrix, least = np.zeros((len(search.cuts), len(now))), np.zeros(len(search.cuts))
    for row, (cell, support) in enumerate(search.cuts):
        matrix[row, [position[one] for one in support]] = 1
        if cell in position and cell not in search.forced:
            matrix[row, position[cell]] -= 1
        else:
            least[row] = 1
    solution = milp(
        [search.loss[cell] for cell in now],
        integrality=np.ones(len(now)),
        bounds=Bounds(
            [float(cell in search.forced) for cell in now], [float(cell not in search.barred) for cell in now]
        ),
        constraints=LinearConstraint(matrix, lb=least) if search.cuts else None,
        options={"mip_rel_gap": 0.0},
    )
    if solution.x is None:
        raise search.cannot()
    return {cell for cell, value in zip(now, solution.x, strict=True) if value > 0.5}
