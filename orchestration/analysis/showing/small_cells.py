"""What a page may show of small counts. Tables of a fit keep theirs; whatever people look at goes through here."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

STEP_EVENTS = 6  # the least that a step of a survival curve may hold


def suppress(counts: Sequence[int], threshold: int, is_zero_shown: bool = False) -> list[int | None]:
    """Counts of one total, with those below `threshold` hidden (None), and enough others that none can be worked out.

    The total is taken to be known. What is hidden adds up to `threshold` at least and is more than one count, so that
    subtraction gives nobody away; where that cannot be reached, everything is hidden. `is_zero_shown`: a zero that gives
    nothing away (nobody was excluded) stays.
    """
    small = {i for i, count in enumerate(counts) if count < threshold and not (is_zero_shown and count == 0)}
    if not small:
        return list(counts)
    rest = sorted((i for i in range(len(counts)) if i not in small and counts[i] > 0), key=lambda i: counts[i])
    while (len(small) < 2 or sum(counts[i] for i in small) < threshold) and rest:
        small.add(rest.pop(0))
    return [None if i in small else count for i, count in enumerate(counts)]


def rounded(count: int, base: int = 5) -> int:
    """To the nearest multiple of `base`."""
    return base * round(count / base)


def coarse_curve(curve: pd.DataFrame, threshold: int, step_events: int = STEP_EVENTS) -> pd.DataFrame:
    """The points of a survival curve (rows by month) that may be shown: at least `step_events` events between one and the
    next, and at least `threshold` people still at risk.

    The first point is month 0. A curve of fewer than `threshold` people has no point.
    """
    rows = curve.sort_values("month")
    if not len(rows) or int(rows["n"].iloc[0]) < threshold:
        return rows.iloc[:0]
    keep, events = [rows.index[0]], int(rows["events"].iloc[0])
    for index, row in rows.iloc[1:].iterrows():
        if row["events"] - events >= step_events and row["at_risk"] >= threshold:
            keep.append(index)
            events = int(row["events"])
    return rows.loc[keep]
