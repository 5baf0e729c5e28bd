"""What comes when in `tests.faults.under_load`: faults and deliveries at moments drawn from a seed, and how each delivery is made.

Nothing here breaks anything or waits for anything.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from tests.bench.way import appear
from tests.deliveries.making import Row, change_rows, deliver

DELIVERY, KILL_RUN, KILL_ALL, KILL_REFRESH, REFRESH, FILL = (
    "delivery", "run killed", "daemon and all killed", "refresh killed", "refresh", "disk full"
)  # fmt: skip
EVERY = {DELIVERY: 45.0, KILL_RUN: 70.0, KILL_ALL: 200.0, KILL_REFRESH: 170.0, REFRESH: 300.0, FILL: 130.0}  # seconds
NOT_AT_THE_END = (
    KILL_ALL,
    KILL_REFRESH,
    REFRESH,
)  # the last third is one life of the daemon, so that its memory can be judged
CHANGED, SAME, BAD = "changed", "the same once more", "to be rejected"
DECIDED = {CHANGED: "accepted", SAME: "duplicate", BAD: "rejected"}
# The table of each organisation that changes, its column, two values that both may stand there, and one that may not.
WHERE = {
    "rn": ("clients", "Geslacht", ("M", "V"), "Q"),
    "svg": ("clients", "GESL", ("1", "2"), "7"),
    "ljr": ("clients", "gesl", ("1", "2"), "7"),
    "registry": ("offences", "artikel", ("Sr 310", "Sr 285"), "Sr 0"),
}
PERIODS = {"registry": ("2025",)}
QUARTERS = ("2025-Q4", "2026-Q1", "2026-Q2", "2026-Q3")


@dataclass(frozen=True, order=True)
class Event:
    """What happens, how many seconds after the start, and numbers between 0 and 1 for what is left to chance in it."""

    at: float
    what: str
    draws: tuple[float, ...] = ()


def plan(seed: int, seconds: float) -> list[Event]:
    """All that happens within `seconds`, in order: each kind at least once, each time at any moment of its share of the time."""
    chance = random.Random(seed)
    events = []
    for what, every in EVERY.items():
        window = seconds * 2 / 3 if what in NOT_AT_THE_END else seconds
        times = max(1, round(window / every))
        for number in range(times):
            at = (number + chance.random()) * window / times
            events.append(Event(at, what, tuple(chance.random() for _ in range(4))))
    return sorted(events)


@dataclass(frozen=True)
class Sent:
    """A delivery that appeared: where, under which id, and what must be decided about it."""

    organisation: str
    period: str
    delivery_id: str
    kind: str


@dataclass
class Partners:
    """The partners: what each has sent, and what it sends next. `base` holds the first delivery of each, as CSV."""

    base: Path
    folder: Path
    inbox: Path
    sent: list[Sent] = field(default_factory=list)
    _newest: dict[tuple[str, str], Path] = field(default_factory=dict)
    _numbers: Counter[str] = field(default_factory=Counter)

    def first(self) -> None:
        """Every organisation sends its first delivery."""
        for manifest in sorted(self.base.glob("*/*/*/manifest.json")):
            organisation, period, delivery_id = manifest.parent.parts[-3:]
            self._newest[organisation, period] = manifest.parent
            appear(manifest.parent, self.inbox)
            self.sent.append(Sent(organisation, period, delivery_id, CHANGED))

    def next(self, draws: tuple[float, ...], through: float) -> Sent:
        """One more delivery appears, manifest last. `draws` say of whom, for which period and of what kind; `through` is the share of
        the time that has passed: later periods come later."""
        organisation = list(WHERE)[int(draws[0] * len(WHERE))]
        periods = PERIODS.get(organisation, QUARTERS)
        newest = int(through * len(periods) * 0.999)
        period = periods[newest if draws[1] < 0.8 else int(draws[1] * 1000) % (newest + 1)]
        kind = CHANGED if draws[2] < 0.7 else SAME if draws[2] < 0.85 else BAD
        if (organisation, period) not in self._newest:
            kind = CHANGED if kind == SAME else kind
        self._numbers[organisation] += 1
        number = self._numbers[organisation]
        name = f"{organisation}-load-{number:04}"
        source = self._newest.get((organisation, period)) if kind == SAME else self._base_of(organisation)
        assert source is not None
        made = deliver(source, self.folder, name, period, number + 1)
        if kind != SAME:
            _change(made, organisation, number, is_bad=kind == BAD)
        if kind != BAD:
            self._newest[organisation, period] = made
        appear(made, self.inbox)
        found = Sent(organisation, period, name, kind)
        self.sent.append(found)
        return found

    def all_again(self, inbox: Path) -> None:
        """Everything that was sent lies in another inbox."""
        shutil.copytree(self.inbox, inbox, dirs_exist_ok=True)

    def _base_of(self, organisation: str) -> Path:
        return next(self.base.glob(f"{organisation}/*/*/manifest.json")).parent


def _change(delivery: Path, organisation: str, number: int, *, is_bad: bool) -> None:
    """Make the content one that this organisation never sent: another pair of rows each time. Few enough to be corrections."""
    table, column, values, wrong = WHERE[organisation]

    def edit(rows: list[Row]) -> None:
        pairs = list(combinations(range(min(len(rows), 40)), 2))
        for place in pairs[number % len(pairs)]:
            rows[place][column] = values[rows[place][column] == values[0]]
        if is_bad:
            rows[0][column] = wrong

    change_rows(delivery, table, edit)
