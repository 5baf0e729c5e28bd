"""How far long work is, said no oftener than somebody wants to read it. What is said with is the caller's: a log, a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable

Progress = Callable[[str, int, int], None]

TENTHS = 10
SECONDS = 15.0


def throttled(
    say: Callable[[str], None], clock: Callable[[], float] = time.monotonic, seconds: float = SECONDS
) -> Progress:
    """A `progress(what, done, total)` that says a line when another tenth is done, or when `seconds` have gone by since the last.

    A line has the step's name and two counts: "survival curves general_landmark: 40 of 203 steps".
    """
    last = {"tenth": 0, "at": clock()}

    def progress(what: str, done: int, total: int) -> None:
        tenth, now = TENTHS * done // max(total, 1), clock()
        if tenth > last["tenth"] or now - last["at"] >= seconds:
            last.update(tenth=max(tenth, int(last["tenth"])), at=now)
            say(f"{what}: {done} of {total} steps")

    return progress


def both(one: Progress, other: Progress) -> Progress:
    """Tells two listeners."""

    def progress(what: str, done: int, total: int) -> None:
        one(what, done, total)
        other(what, done, total)

    return progress


def named(stage: str, progress: Progress) -> Progress:
    """Tells a listener of several stages which one this is."""
    return lambda what, done, total: progress(f"{stage} {what}", done, total)


def nobody(what: str, done: int, total: int) -> None:
    """Tells nobody."""
