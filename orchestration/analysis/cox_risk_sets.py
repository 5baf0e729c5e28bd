"""Who is at risk when: intervals checked, rows and event times sorted once, for any number of Cox fits. Fitting is `cox.py`'s.

Times are compared exactly: round them before, if they come from a subtraction of floating-point numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ties = Literal["efron", "breslow"]
Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


class CoxError(ValueError):
    """A Cox model that cannot be fitted; the message says why, in counts and names of terms."""


class CoxIntervalError(CoxError):
    """Rows whose interval is not (start, stop] with stop > start, or that overlap within a subject; carries the counts."""

    def __init__(self, counts: dict[str, int], rows: int):
        self.counts = counts
        self.rows = rows
        found = ", ".join(f"{count} with {problem}" for problem, count in counts.items())
        super().__init__(
            f"of {rows} rows, {found}; expected finite (start, stop] with stop > start, no overlap within a subject "
            "and at most one event, its last row. Mend the rows where they are made."
        )


class CoxInputError(CoxError):
    """Covariates, weights or labels that do not fit the rows: wrong length, missing or infinite values, no event."""


class CoxSingularError(CoxError):
    """Terms that cannot be told apart (constant or linearly dependent)."""

    def __init__(self, terms: tuple[str, ...]):
        self.terms = terms
        super().__init__(f"information matrix is singular: {', '.join(terms)} constant or linearly dependent")


class CoxSeparationError(CoxError):
    """A coefficient runs away: some term (or combination) orders the events perfectly (quasi-separation)."""

    def __init__(self, terms: tuple[str, ...]):
        self.terms = terms
        super().__init__(f"the likelihood has no maximum (quasi-separation) in {', '.join(terms)}")


class CoxConvergenceError(CoxError):
    """Newton-Raphson did not settle within its iterations, without a sign of separation."""


@dataclass(frozen=True)
class RiskSets:
    """Who is at risk when: everything of a fit that does not depend on the covariates, so that imputed data sets share it.

    Shapes: n rows, K distinct (stratum, event time), J terms of the likelihood (events for Efron, K for Breslow).
    Rows that are at risk at no event time are left out of `order`; they have no part in the likelihood.
    """

    n: int
    events: int
    ties: Ties
    weights: Array  # (n,)
    event: NDArray[np.bool_]  # (n,)
    first: IntArray  # (n,) first event time at which the row is at risk
    last: IntArray  # (n,) one past the last
    order: IntArray  # (n',) rows at risk at some time, by last
    blocks: IntArray  # (K,) where each tie block begins in `order`
    late: IntArray  # rows entering after the first event time of their stratum, by first
    late_blocks: IntArray
    late_at: IntArray  # event time just before they enter
    deaths: IntArray  # (events,) rows that fail, by time
    death_blocks: IntArray  # (K,)
    death_time: IntArray  # (events,)
    strata_bounds: IntArray  # (strata + 1,) of the K event times
    term_time: IntArray  # (J,) event time of each term of the likelihood
    term_fraction: Array  # (J,) f_kl
    term_weight: Array  # (J,) v_k
    tied: IntArray  # (K,) deaths at each time
    time: Array  # (K,) the event times, in the unit of `stop`
    start: Array | None  # (n,)
    stop: Array  # (n,)
    stratum: IntArray  # (n,) code, a place in `strata`
    strata: NDArray[np.generic]  # labels, sorted

    @property
    def times(self) -> int:
        return len(self.blocks)

    @cached_property
    def place(self) -> IntArray:
        """(n,) where each row stands in `order`; one past its end for rows that are never at risk."""
        out = np.full(self.n, len(self.order))
        out[self.order] = np.arange(len(self.order))
        return out

    @cached_property
    def deaths_place(self) -> IntArray:
        """(events,) where the rows that fail stand in `order`."""
        return self.place[self.deaths]

    @cached_property
    def late_place(self) -> IntArray:
        """Where the rows that enter late stand in `order`."""
        return self.place[self.late]

    @cached_property
    def final(self) -> IntArray:
        """(n',) last event time at which each row of `order` is at risk."""
        return self.last[self.order] - 1

    @cached_property
    def mass_of_time(self) -> Array:
        """(K,) weight of the deaths at each time."""
        return np.add.reduceat(self.weights[self.deaths], self.death_blocks)

    @cached_property
    def terms_of_time(self) -> IntArray:
        """(K,) number of terms of each event time."""
        return np.diff(np.append(self.term_blocks, len(self.term_time)))

    @cached_property
    def term_blocks(self) -> IntArray:
        """(K,) where the terms of each event time begin."""
        return np.searchsorted(self.term_time, np.arange(self.times)).astype(np.int64)


def check_intervals(
    start: Array | None, stop: Array, event: NDArray[np.bool_], subjects: ArrayLike | None = None
) -> None:
    """Raise `CoxIntervalError` unless every row is (start, stop], finite, stop > start, and within a subject nothing
    overlaps and no row follows the event."""
    counts: dict[str, int] = {}
    lower = np.zeros_like(stop) if start is None else start
    unknown = ~(np.isfinite(lower) & np.isfinite(stop))
    counts["a time that is missing or infinite"] = int(unknown.sum())
    counts["a negative time"] = int(((lower < 0) | (stop < 0)).sum())
    counts["stop not after start"] = int((stop <= lower).sum())
    if subjects is not None:
        _, code = np.unique(np.asarray(subjects), return_inverse=True)
        order = np.lexsort((lower, code))
        same = code[order][1:] == code[order][:-1]
        counts["an overlap with the row before of the same subject"] = int(
            (same & (lower[order][1:] < stop[order][:-1])).sum()
        )
        counts["an event that is not the subject's last row"] = int((same & event[order][:-1]).sum())
    counts = {problem: count for problem, count in counts.items() if count}
    if counts:
        raise CoxIntervalError(counts, len(stop))


def risk_sets(
    stop: ArrayLike,
    event: ArrayLike,
    *,
    start: ArrayLike | None = None,
    strata: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    subjects: ArrayLike | None = None,
    ties: Ties = "efron",
) -> RiskSets:
    """Sort rows and event times once.

    `stop`, `start` in one unit of time; `event` true where the row ends in the event; `subjects` (optional) names the
    person of each row, so that overlaps are refused. Raises `CoxIntervalError`, `CoxInputError`.
    """
    stop = np.asarray(stop, dtype=np.float64)
    n = len(stop)
    died = _as_event(event, n)
    entry = None if start is None else np.asarray(start, dtype=np.float64)
    weight = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    if (entry is not None and len(entry) != n) or len(weight) != n:
        raise CoxInputError(f"{n} stop times, but start or weights have another length")
    if not np.all(np.isfinite(weight) & (weight > 0)):
        raise CoxInputError(
            f"{int((~(np.isfinite(weight) & (weight > 0))).sum())} of {n} weights are not finite and positive"
        )
    check_intervals(entry, stop, died, subjects)
    if not died.any():
        raise CoxInputError(f"no event in {n} rows")

    labels, stratum = labels_of(strata, n)
    n_strata = len(labels)
    death_order = np.flatnonzero(died)[np.lexsort((stop[died], stratum[died]))]
    death_stop, death_stratum = stop[death_order], stratum[death_order]
    is_new = np.ones(len(death_order), dtype=bool)
    is_new[1:] = (death_stop[1:] != death_stop[:-1]) | (death_stratum[1:] != death_stratum[:-1])
    death_blocks = np.flatnonzero(is_new)
    death_time = np.cumsum(is_new) - 1
    times, time_stratum = death_stop[death_blocks], death_stratum[death_blocks]
    bounds = np.searchsorted(time_stratum, np.arange(n_strata + 1))

    last = _position(times, bounds, stratum, stop)
    first = bounds[stratum] if entry is None else _position(times, bounds, stratum, entry)
    at_risk = np.flatnonzero(last > first)
    narrow = last[at_risk].astype(np.uint16 if len(times) < 65_535 else np.int64)  # numpy sorts short integers by radix
    order = at_risk[np.argsort(narrow, kind="stable")]
    blocks = np.searchsorted(last[order], np.arange(1, len(times) + 1))  # a death stands in every block: none is empty
    late = at_risk[first[at_risk] > bounds[stratum[at_risk]]]
    late = late[np.argsort(first[late], kind="stable")]
    late_at, late_blocks = np.unique(first[late] - 1, return_index=True)

    tied = np.diff(np.append(death_blocks, len(death_order)))
    weight_of_deaths = np.add.reduceat(weight[death_order], death_blocks)
    if ties == "efron":
        term_time = death_time
        fraction = (np.arange(len(death_order)) - death_blocks[death_time]) / tied[death_time]
        term_weight = (weight_of_deaths / tied)[death_time]
    elif ties == "breslow":
        term_time, fraction, term_weight = np.arange(len(times)), np.zeros(len(times)), weight_of_deaths
    else:
        raise CoxInputError(f"ties must be efron or breslow, not {ties}")
    return RiskSets(
        n=n, events=int(died.sum()), ties=ties, weights=weight, event=died, first=first, last=last, order=order,
        blocks=blocks, late=late, late_blocks=late_blocks, late_at=late_at, deaths=death_order, death_blocks=death_blocks,
        death_time=death_time, strata_bounds=bounds, term_time=term_time, term_fraction=fraction, term_weight=term_weight,
        tied=tied, time=times, start=entry, stop=stop, stratum=stratum, strata=labels,
    )  # fmt: skip


def _position(times: Array, bounds: IntArray, stratum: IntArray, value: Array) -> IntArray:
    """Number of event times at or before `value` in the row's stratum, counted from the first of all strata."""
    if len(bounds) == 2:
        return np.searchsorted(times, value, side="right").astype(np.int64)
    out = np.empty(len(value), dtype=np.int64)
    order = np.argsort(stratum, kind="stable")
    edges = np.searchsorted(stratum[order], np.arange(len(bounds)))
    for s in range(len(bounds) - 1):
        rows = order[edges[s] : edges[s + 1]]
        out[rows] = bounds[s] + np.searchsorted(times[bounds[s] : bounds[s + 1]], value[rows], side="right")
    return out


def _as_event(event: ArrayLike, n: int) -> NDArray[np.bool_]:
    values = np.asarray(event)
    if values.shape != (n,):
        raise CoxInputError(f"{n} stop times, but events have shape {values.shape}")
    if values.dtype != np.bool_:
        numbers = values.astype(np.float64)
        if not np.isin(numbers, (0.0, 1.0)).all():
            raise CoxInputError(f"{int((~np.isin(numbers, (0.0, 1.0))).sum())} of {n} events are neither 0 nor 1")
        values = numbers == 1.0
    return values


def labels_of(values: ArrayLike | None, n: int) -> tuple[NDArray[np.generic], IntArray]:
    """Sorted labels, and for each row its place among them; one label where there are none."""
    if values is None:
        return np.zeros(1, dtype=np.int64), np.zeros(n, dtype=np.int64)
    given = np.asarray(values)
    if given.shape != (n,):
        raise CoxInputError(f"{n} rows, but strata or clusters have shape {given.shape}")
    labels, codes = np.unique(given, return_inverse=True)
    return labels, codes.astype(np.int64)
