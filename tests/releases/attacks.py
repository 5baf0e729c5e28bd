"""Whether hidden cells stay hidden: `python -m tests.releases.attacks --sets N` makes N sets of tables and releases, suppresses each and
attacks what is left.

Prints how many cells were hidden, recovered (must be none) or narrower than promised, how far the same attacker comes against hiding
small cells only, and the times.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from orchestration.releases.disclosure_counts import TOTAL, CountTable, Release, movement, said, tabulate
from orchestration.releases.suppression import CannotProtect, Rules, primary, suppress
from tests.releases.attacker import Attacker, Found, cells_of

SHAPES = {
    "one way": (("a",),),
    "two way": (("a", "b"),),
    "three way": (("a", "b", "c"),),
    "linked by a margin": (("a", "b"), ("b", "c")),
    "linked in a ring": (("a", "b"), ("b", "c"), ("a", "c")),
    "subtotals": (("a", "b"),),
    "a margin by itself": (("a", "b"), ("a",)),
}
ALL_OF = "d"


@dataclass(frozen=True)
class TableSet:
    """Releases of the same tables over people who come and go, and the rules that they are suppressed by."""

    shape: str
    releases: tuple[Release, ...]
    rules: Rules


@dataclass
class Tally:
    sets: int = 0
    releases: int = 0
    refused: int = 0
    cells: int = 0
    hidden: int = 0
    secondary: int = 0
    recovered: int = 0
    narrow: int = 0
    certain: int = 0
    not_least: int = 0
    tables: int = 0
    shown_small: int = 0
    naive_broken: int = 0
    naive_tried: int = 0
    suppressing: list[float] = field(default_factory=list)
    attacking: list[float] = field(default_factory=list)


def table_set(number: int, seed: int = 0) -> TableSet:
    """The set of that number: the same number and seed give the same set."""
    chance = np.random.default_rng([seed, number])
    shape = list(SHAPES)[number % len(SHAPES)]
    threshold = int(chance.choice([5, 10, 10]))
    difference = int(chance.choice([1, threshold]))
    names = sorted({name for dimensions in SHAPES[shape] for name in dimensions})
    most = 3 if len(names) > 2 else 4
    levels = {
        name: [f"{name}{i}" for i in range(2 if name == "c" else int(chance.integers(2, most + 1)))] for name in names
    }
    if shape == "subtotals":
        levels["a"] = ["a0", "a1", "a2", "a3"]
    weights = {name: chance.dirichlet(np.full(len(found), 1.5)) for name, found in levels.items()}

    def people(count: int, first: int) -> pd.DataFrame:
        drawn = {name: chance.choice(found, count, p=weights[name]) for name, found in levels.items()}
        return pd.DataFrame({"id": np.arange(first, first + count), **drawn})

    now = people(int(chance.integers(40, 260)), 0)
    releases = [Release("1", tables_of(now, shape, levels))]
    for step in range(2, 2 + int(chance.integers(0, 3))):
        gone, come, other = (int(x) for x in chance.integers(0, 6, 3))
        after = pd.concat(
            [now.iloc[chance.permutation(len(now))[gone:]], people(come, step * 1_000)], ignore_index=True
        )
        changed = chance.choice(len(after), min(other, len(after)), replace=False)
        after.loc[changed, "a"] = chance.choice(levels["a"], len(changed))
        entered, left = movement(now, after, "id", names)
        releases.append(
            Release(
                str(step),
                tables_of(after, shape, levels),
                {"people": said(entered, threshold)},
                {"people": said(left, threshold)},
            )
        )
        now = after
    return TableSet(shape, tuple(releases), Rules(threshold, 0.9, difference))


def tables_of(people: pd.DataFrame, shape: str, levels: dict[str, list[str]]) -> tuple[CountTable, ...]:
    subtotals = {"a": {"a0 and a1": ("a0", "a1"), "a2 and a3": ("a2", "a3")}} if shape == "subtotals" else None
    return tuple(
        tabulate(people, dimensions, " by ".join(dimensions), categories=levels, subtotals=subtotals)
        for dimensions in SHAPES[shape]
    )


def naive(release: Release, rules: Rules) -> Release:
    """Hiding what the primary rules name, and nothing else."""
    tables = [
        replace(
            table,
            cells=table.cells.assign(count=table.cells["count"].astype("Int64").mask(primary(table, rules) != "")),
        )
        for table in release.tables
    ]
    return replace(release, tables=tuple(tables))


def certain_classes(attacker: Attacker, truth: tuple[Release, ...], rules: Rules) -> int:
    """Hidden cells that hold `dominance` of a group, where the attacker is sure of it."""
    certain = 0
    for number, release in enumerate(truth):
        for table in release.tables:
            if attacker_sees(attacker, number, table) is None:
                continue
            counts = dict(cells_of(table))
            for labels, count in counts.items():
                for place, dimension in enumerate(table.dimensions):
                    group = (*labels[:place], TOTAL, *labels[place + 1 :])
                    if labels[place] == TOTAL or len(table.leaves(dimension)) == 1 or not counts[group]:
                        continue
                    if int(count) >= max(rules.threshold, rules.dominance * int(counts[group])):  # type: ignore[call-overload]
                        certain += attacker.is_class_certain(number, table, labels, group, rules.dominance)
    return certain


def attacker_sees(attacker: Attacker, number: int, table: CountTable) -> CountTable | None:
    if number >= len(attacker.releases):
        return None
    return next((seen for seen in attacker.releases[number].tables if seen.name == table.name), None)


def tried(one: TableSet, tally: Tally, each: Callable[[list[Found]], None] | None = None) -> None:
    """Suppress the releases of a set one after the other, attack all of them together, and count."""
    left: list[Release] = []
    kept: list[Release] = []
    began = time.perf_counter()
    for release in one.releases:
        try:
            result = suppress(release, left, one.rules)
        except CannotProtect:
            tally.refused += 1
            break
        tally.not_least += not result.is_least
        tally.secondary += int(result.hidden.loc[result.hidden["rule"] == "secondary", "cells"].sum())
        left.append(result.release)
        kept.append(release)
    tally.suppressing.append(time.perf_counter() - began)
    tally.sets += 1
    tally.releases += len(left)
    tally.tables += sum(len(release.tables) for release in left)
    tally.shown_small += sum(
        int(table.cells["count"].between(1, one.rules.threshold - 1).sum())
        for release in left
        for table in release.tables
    )
    tally.cells += sum(len(table.cells) for release in left for table in release.tables)
    if left:
        began = time.perf_counter()
        attacker = Attacker(left)
        found = attacker.attack()
        tally.certain += certain_classes(attacker, tuple(kept), one.rules)
        tally.attacking.append(time.perf_counter() - began)
        tally.hidden += len(found)
        tally.recovered += sum(cell.is_recovered for cell in found)
        tally.narrow += sum(cell.width < one.rules.threshold for cell in found)
        if each:
            each(found)


def tried_naively(one: TableSet, tally: Tally) -> None:
    """The same attacker against hiding the primary cells only."""
    hidden = [naive(release, one.rules) for release in one.releases]
    found = Attacker(hidden).attack()
    if found:
        tally.naive_tried += 1
        tally.naive_broken += any(cell.is_recovered for cell in found)


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--sets", type=int, default=200)
    asked.add_argument("--seed", type=int, default=0)
    given = asked.parse_args()
    tally = Tally()
    for number in range(given.sets):
        one = table_set(number, given.seed)
        tried(one, tally)
        tried_naively(one, tally)
    both = [a + b for a, b in zip(tally.suppressing, tally.attacking, strict=False)]
    print(
        f"sets of tables                   {tally.sets}, releases {tally.releases}, refused as not to be protected {tally.refused}"
    )
    print(
        f"cells                            {tally.cells}, of which hidden {tally.hidden} (in one table or more), to protect others {tally.secondary}"
    )
    print(f"tables {tally.tables}, small counts shown   {tally.shown_small}")
    print(f"recovered                        {tally.recovered}")
    print(f"narrower than the threshold      {tally.narrow}")
    print(f"classes of a group made certain  {tally.certain}")
    print(f"choices not proven the cheapest  {tally.not_least}")
    print(
        f"the same attacker, small cells hidden only: broken {tally.naive_broken} of {tally.naive_tried} sets that hide any"
    )
    print(
        f"suppression, seconds             median {statistics.median(tally.suppressing):.2f}, longest {max(tally.suppressing):.2f}"
    )
    print(f"with the attack, seconds         median {statistics.median(both):.2f}, longest {max(both):.2f}")
    return int(bool(tally.recovered or tally.narrow or tally.certain or tally.shown_small))


if __name__ == "__main__":
    sys.exit(main())
