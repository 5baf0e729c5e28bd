"""What only shows against something else: the snapshot before, the other organisations, the answers among themselves.

A value can be perfectly formed and wrong: an item flipped, a code that means another thing, a day and a month swapped. Such
changes touch many rows at once that were delivered before; a correction touches few. Everything here works on pseudonymised
frames and gives counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import atanh, erf, sqrt
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from orchestration.deliveries.coding import by_category, codes_of, condensed, in_one, together
from orchestration.deliveries.contracts import Column, Table
from orchestration.deliveries.judgement import Judgement, Status
from orchestration.deliveries.readers import Reading, fully_match

SNAPSHOT_RULES = ("history.recoded", "history.dates", "history.identity", "history.units")
LEAST_CHANGED = 5  # rows; fewer are corrections, whatever their share
SENTINEL_SHARE, LEAST_SENTINELS, SENTINEL_GAP, LEAST_NUMBERS, LEAST_DISTINCT = 0.03, 5, 0.5, 30, 8
UNIT_RATIO, LEAST_MEASURED = 10.0, 5
DIRECTION, LEAST_ANSWERS, SUPPOSED_CORRELATION = -0.3, 30, 0.4
LEAST_DAYS = 20
DUMMY_NAMES = r"(?:test(?:er|persoon|client|cliënt|[ _-]?\d*)?|(?:jan|piet|de|mevr\.?|dhr\.?)? ?test|dummy\d*|x{3,}|z{3,}|asdf\w*|qwerty|n\.?v\.?t\.?|fictief)"


# against the snapshot before -----------------------------------------------------------------------------------------
def judge_changes(
    table: Table, frame: pd.DataFrame, before: pd.DataFrame | None, tolerance: float
) -> Iterator[Judgement]:
    """That what was delivered before still says what it said, but for a few corrections.

    For codes and numbers (`history.recoded`) the share of rows, of those in both snapshots, whose value changed is held
    against `tolerance`, over all rows and within each value of the codes in the key (an item, a rater, a wave). For dates
    (`history.dates`) over all rows. Identifiers that are not in the key (`history.identity`, a warning) ought not to change at all.
    """
    headers = [table.column(name).source for name in table.key]
    pairs = None if before is None else _pairs(frame, before, headers)
    for column in table.kept:
        if column.name in table.key:
            continue
        if column.pseudonym:
            yield _identity(table, column, frame, before, headers, pairs)
        elif column.staged_type != "text":
            yield _changed(table, column, frame, before, pairs, tolerance)


Pairs = tuple[np.ndarray, np.ndarray]


def _pairs(frame: pd.DataFrame, before: pd.DataFrame, headers: Sequence[str]) -> Pairs:
    """The positions, in both frames, of the rows with the same key; keys are unique in an accepted snapshot."""
    now, then = _keys(frame, headers), _keys(before, headers)
    if not now.is_unique:
        return np.array([], dtype=int), np.array([], dtype=int)  # said as key.unique
    positions = now.get_indexer(then)
    return positions[positions >= 0], np.flatnonzero(positions >= 0)


def _keys(frame: pd.DataFrame, headers: Sequence[str]) -> pd.Index:
    if len(headers) == 1:
        return pd.Index(frame[headers[0]].astype(str))
    return pd.MultiIndex.from_arrays([frame[name].astype(str) for name in headers])


def _changed(
    table: Table,
    column: Column,
    frame: pd.DataFrame,
    before: pd.DataFrame | None,
    pairs: Pairs | None,
    tolerance: float,
) -> Judgement:
    rule = "history.dates" if column.staged_type == "date" else "history.recoded"
    where: dict[str, Any] = {"table": table.name, "column": column.source, "threshold": tolerance}
    if before is None or pairs is None or not len(pairs[0]):
        return Judgement(rule, Status.NOT_APPLICABLE, evaluated=0, failed=0, **where)
    new = frame[column.source].to_numpy()[pairs[0]]
    old = before[column.source].to_numpy()[pairs[1]]
    both = ~(pd.isna(new) | pd.isna(old))
    if not both.any():
        return Judgement(rule, Status.NOT_APPLICABLE, evaluated=0, failed=0, **where)
    changed = np.zeros(len(new), dtype=bool)
    changed[both] = new[both] != old[both]
    worst = (int(both.sum()), int(changed.sum()), "")
    if rule == "history.recoded" and changed.sum() >= LEAST_CHANGED:
        # Of the groups that changed too much, the one with most rows: an item rather than an item in one wave.
        groups = [worst, *_by_code(table, frame, pairs, both, changed)]
        worst = max(groups, key=lambda found: (_excess(found[0], found[1], tolerance) > 0, found[1]))
    evaluated, failed, place = worst
    status = Status.FAILED if _excess(evaluated, failed, tolerance) > 0 else Status.PASSED
    expected = f"at most {tolerance:.0%} changed of what was delivered before"
    if status is Status.FAILED and rule == "history.dates":
        place = _how_days_changed(new[changed], old[changed])
    return Judgement(
        rule,
        status,
        evaluated=evaluated,
        failed=failed,
        expected=f"{expected}; {place}" if place else expected,
        **where,
    )


def _excess(evaluated: int, failed: int, tolerance: float) -> float:
    """By how much a share is above what is tolerated; below 0 for what can be corrections."""
    return failed / evaluated - tolerance if failed >= LEAST_CHANGED else -1.0


def _by_code(
    table: Table, frame: pd.DataFrame, pairs: Pairs, both: np.ndarray, changed: np.ndarray
) -> Iterator[tuple[int, int, str]]:
    """Rows in both, rows changed, and its name, for each value of each code in the key, and of all of them together."""
    codes = [table.column(name).source for name in table.key if table.column(name).type == "code"]
    for names in [[name] for name in codes] + ([codes] if len(codes) > 1 else []):
        groups = [frame[name].to_numpy()[pairs[0]] for name in names]
        counts = pd.DataFrame({"both": both, "changed": changed}).groupby(groups, sort=False).sum()
        for place, row in zip(counts.index, counts.to_numpy(), strict=True):
            values = place if isinstance(place, tuple) else (place,)
            if row[1]:
                yield (
                    int(row[0]),
                    int(row[1]),
                    ", ".join(f"{name} {value}" for name, value in zip(names, values, strict=True)),
                )


def _how_days_changed(new: np.ndarray, old: np.ndarray) -> str:
    """What changed days have in common: how many moved by the same number of days, how many swapped day and month."""
    now, then = pd.DatetimeIndex(new), pd.DatetimeIndex(old)
    moved = pd.Series((now - then).days).value_counts()
    swapped = int(((now.day == then.month) & (now.month == then.day) & (now.year == then.year)).sum())
    if swapped > moved.iloc[0]:
        return f"day and month are swapped in {swapped} rows"
    return f"{int(moved.iloc[0])} rows have moved by the same number of days"


def _identity(
    table: Table,
    column: Column,
    frame: pd.DataFrame,
    before: pd.DataFrame | None,
    headers: Sequence[str],
    pairs: Pairs | None,
) -> Judgement:
    """That a key still belongs to the same person, officer or dyad, and, where there is one to one, the reverse."""
    where: dict[str, Any] = {"table": table.name, "column": column.source, "severity": "warning", "threshold": 0.0}
    if before is None or pairs is None or not len(pairs[0]):
        return Judgement("history.identity", Status.NOT_APPLICABLE, evaluated=0, failed=0, **where)
    new, old = frame[column.source].to_numpy()[pairs[0]], before[column.source].to_numpy()[pairs[1]]
    both = ~(pd.isna(new) | pd.isna(old))
    other = int((new[both] != old[both]).sum())
    if any(rule.kind == "unique" and rule.columns == (column.name,) for rule in table.rules):
        # The same person under a key that is new, while the old one is gone or somebody else's.
        keys = pd.Series(_keys(before, headers), index=before[column.source].to_numpy())
        now = pd.Series(_keys(frame, headers), index=frame[column.source].to_numpy())
        now = now[~now.index.duplicated()]  # one twice is said as rule.unique
        shared = keys.index.intersection(now.index).dropna()
        moved = keys[shared].to_numpy() != now[shared].to_numpy()
        other = max(other, int(moved.sum()))
    status = Status.FAILED if other else Status.PASSED
    return Judgement("history.identity", status, evaluated=int(both.sum()), failed=other, **where)


# within the delivery ------------------------------------------------------------------------------------------------
def judge_values(table: Table, frame: pd.DataFrame) -> Iterator[Judgement]:
    """Warnings about values that are well formed and improbable: spikes at an extreme, days that are all months."""
    for column in table.kept:
        if column.staged_type in ("integer", "decimal") and column.reduce is None:
            yield _sentinel(table, column, frame[column.source])
        elif column.staged_type == "date":
            yield _days(table, column, frame[column.source])


def _measured(column: Column, values: pd.Series) -> np.ndarray:
    """The numbers of a column, without missing ones and the codes for those."""
    numbers = values.to_numpy(dtype=float, na_value=np.nan)
    numbers = numbers[~np.isnan(numbers)]
    return numbers[~np.isin(numbers, [float(code) for code in column.missing])]


def _sentinel(table: Table, column: Column, values: pd.Series) -> Judgement:
    """That no extreme value is both frequent and far from all others: a code for "unknown" that nobody declared."""
    where: dict[str, Any] = {
        "table": table.name,
        "column": column.source,
        "severity": "warning",
        "threshold": SENTINEL_SHARE,
    }
    numbers = _measured(column, values)
    distinct, counts = np.unique(numbers, return_counts=True)
    if len(numbers) < LEAST_NUMBERS or len(distinct) < LEAST_DISTINCT:  # a short scale has no far end
        return Judgement("value.sentinel", Status.NOT_APPLICABLE, evaluated=len(numbers), failed=0, **where)
    spikes = 0
    for extreme, gap, rest in (
        (0, distinct[1] - distinct[0], distinct[-1] - distinct[1]),
        (-1, distinct[-1] - distinct[-2], distinct[-2] - distinct[0]),
    ):
        count = int(counts[extreme])
        if count >= max(LEAST_SENTINELS, SENTINEL_SHARE * len(numbers)) and gap > SENTINEL_GAP * rest:
            spikes += count
    status = Status.FAILED if spikes else Status.PASSED
    return Judgement("value.sentinel", status, evaluated=len(numbers), failed=spikes, **where)


def _days(table: Table, column: Column, values: pd.Series) -> Judgement:
    """That some day of a column lies after the 12th: otherwise day and month may be swapped throughout."""
    where: dict[str, Any] = {"table": table.name, "column": column.source, "severity": "warning"}
    days = pd.DatetimeIndex(values.dropna())
    if len(days) < LEAST_DAYS or len(np.unique(days.day)) < 3:
        return Judgement("value.day_month", Status.NOT_APPLICABLE, evaluated=len(days), failed=0, **where)
    is_odd = bool((days.day <= 12).all())
    return Judgement(
        "value.day_month",
        Status.FAILED if is_odd else Status.PASSED,
        evaluated=len(days),
        failed=len(days) * is_odd,
        **where,
    )


def judge_dummies(reading: Reading) -> Iterator[Judgement]:
    """That no record is a made-up one, by the names that people give those. Looks at columns that never leave landing."""
    for column in reading.table.columns:
        if column.keep or column.type != "text":
            continue
        spelled = in_one(reading.rows[column.source])
        names = pc.utf8_lower(pc.utf8_trim_whitespace(spelled.dictionary))
        made_up = np.append(fully_match(names, DUMMY_NAMES), False)
        places = spelled.indices.fill_null(len(names)).to_numpy()
        found = made_up[places]
        yield Judgement(
            "value.dummy",
            Status.FAILED if found.any() else Status.PASSED,
            table=reading.table.name,
            column=column.source,
            evaluated=len(spelled) - spelled.null_count,
            failed=int(found.sum()),
            threshold=0.0,
            rows=tuple(int(row) + 1 for row in np.flatnonzero(found)[:10]),
        )


# answers among themselves -------------------------------------------------------------------------------------------
def judge_directions(table: Table, frame: pd.DataFrame, items: pd.DataFrame) -> Iterator[Judgement]:
    """A warning for each rater whose answers to an item run against the rest of its scale: is the item flipped?

    `items` has columns rater, scale, item and is_reversed (seed `instrument_item`). The corrected item-rest correlation of
    each item with at least 30 answers is held against -0.3. What that can see is stated: the chance that an item with a true
    correlation of .4 would show when flipped (Fisher 1915, normal approximation of atanh r).
    """
    wanted = {"item", "rater", "response"}
    if not wanted <= {column.name for column in table.columns} or frame.empty:
        return
    response = table.column("response")
    item, rater = (frame[table.column(name).source].astype("category") for name in ("item", "rater"))
    items_given, raters_given = (
        _terms(table.column(name), given.cat.categories) for name, given in (("item", item), ("rater", rater))
    )
    values = frame[response.source].to_numpy(dtype=float, na_value=np.nan).copy()
    values[np.isin(values, [float(code) for code in response.missing])] = np.nan
    answered = [codes_of(frame[table.column(name).source]) for name in table.key if name not in ("item", "rater")]
    sheets = condensed(together(answered, len(frame)))  # who answered when
    for asked_of, asked in items.groupby("rater"):
        low, answers = 0, []
        theirs = np.flatnonzero(by_category(rater, raters_given == asked_of, False))
        sheet_of, item_of, value_of = sheets[theirs], item.iloc[theirs], values[theirs]
        for _, scale in asked.groupby("scale"):
            asked_for = pd.Index(scale["item"].drop_duplicates())
            places = by_category(item_of, asked_for.get_indexer(items_given), -1)
            own = np.flatnonzero(places >= 0)
            sign = scale.drop_duplicates("item")["is_reversed"].map({True: -1.0, False: 1.0}).to_numpy()
            straight = np.full((len(sign), sheets.max() + 1), np.nan)
            straight[places[own], sheet_of[own]] = value_of[own] * sign[places[own]]
            for count, correlation in _item_rest(straight):
                answers.append(count)
                low += correlation < DIRECTION
        status = Status.NOT_APPLICABLE if not answers else Status.FAILED if low else Status.PASSED
        seen = (
            f"; with {min(answers)} answers a flipped item of .4 is seen in {_power(min(answers)):.0%}"
            if answers
            else ""
        )
        yield Judgement(
            "value.direction", status, table=table.name, column=response.source, severity="warning",
            evaluated=len(answers), failed=low, threshold=0.0, expected=f"rater {asked_of}{seen}",
        )  # fmt: skip


def _item_rest(answers: np.ndarray) -> Iterator[tuple[int, float]]:
    """For each item (row) that enough people answered: how many, and its correlation with the mean of the others."""
    present = ~np.isnan(answers)
    total, count = np.where(present, answers, 0).sum(axis=0), present.sum(axis=0)
    for given, is_given in zip(answers, present, strict=True):
        both = np.flatnonzero(is_given & (count > 1))
        if len(both) < LEAST_ANSWERS:
            continue
        own = given[both]
        rest = (total[both] - own) / (count[both] - 1)
        if own.std() and rest.std():
            yield len(both), float(np.corrcoef(own, rest)[0, 1])


def _terms(column: Column, spellings: pd.Index) -> np.ndarray:
    """Our terms for spellings of a code."""
    return spellings.map({code.source: code.term for code in column.codes}).to_numpy(dtype=object)


def _power(answers: int) -> float:
    """The chance that a true correlation of -.4 is observed below the bound, 0 to 1."""
    distance = (atanh(DIRECTION) - atanh(-SUPPOSED_CORRELATION)) * sqrt(answers - 3)
    return 0.5 * (1 + erf(distance / sqrt(2)))


# against the other organisations ------------------------------------------------------------------------------------
def middles(table: Table, frame: pd.DataFrame) -> dict[str, float]:
    """The median size of each number of a table, by our column name, where enough are there."""
    found = {}
    for column in table.kept:
        if column.staged_type in ("integer", "decimal") and column.reduce is None:
            numbers = np.abs(_measured(column, frame[column.source]))
            if len(numbers) >= LEAST_MEASURED:
                found[column.name] = float(np.median(numbers))
    return found


def judge_units(table: Table, frame: pd.DataFrame, others: Sequence[Mapping[str, float]]) -> Iterator[Judgement]:
    """A warning where the median of a number is more than ten times, or less than a tenth of, that of the others."""
    for name, own in middles(table, frame).items():
        elsewhere = [middle[name] for middle in others if middle.get(name)]
        where: dict[str, Any] = {"table": table.name, "column": table.column(name).source, "severity": "warning"}
        if not elsewhere or not own:
            yield Judgement("history.units", Status.NOT_APPLICABLE, evaluated=0, failed=0, **where)
            continue
        ratio = own / float(np.median(elsewhere))
        is_odd = not 1 / UNIT_RATIO <= ratio <= UNIT_RATIO
        yield Judgement(
            "history.units",
            Status.FAILED if is_odd else Status.PASSED,
            evaluated=len(elsewhere),
            failed=int(is_odd),
            **where,
        )
