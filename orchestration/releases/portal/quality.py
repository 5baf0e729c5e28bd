"""Data quality by organisation and quarter, as it may leave: deliveries and their verdicts, and how many of the planned ratings were done.

Deliveries are no people, so their counts are exact; ratings are people's, so their shares are coarse and small ones stay.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

import pandas as pd

from orchestration.analysis.showing.small_cells import rounded
from orchestration.readings import DeliveryRecord
from orchestration.releases.disclosure import ReleaseRules

DELIVERIES = ("organisation", "received", "accepted", "rejected", "retracted", "last_period")
PERIODS = ("period", "organisation", "status", "deliveries")
RATINGS = ("organisation", "rater", "wave", "n", "done")
BY_QUARTER = ("organisation", "rater", "start_quarter", "n", "done")
STEP = 0.05  # to which shares of people are rounded


@dataclass(frozen=True)
class Quality:
    """`deliveries`: a row per organisation (`DELIVERIES`). `ratings`: a row per organisation, rater and wave (`RATINGS`): planned
    ratings, rounded, and the share that was done, to `STEP`; both missing where few were or were not. `periods`: deliveries of an
    organisation by period and verdict (`PERIODS`). `by_quarter`: the ratings of one wave, `wave`, by the quarter in which supervision
    started (`BY_QUARTER`)."""

    deliveries: pd.DataFrame
    ratings: pd.DataFrame
    periods: pd.DataFrame
    by_quarter: pd.DataFrame
    wave: str


def quality_of(
    records: Iterable[DeliveryRecord], wave: pd.DataFrame, client: pd.DataFrame, rules: ReleaseRules, measured: str
) -> Quality:
    """Of the ledger's deliveries and two published tables, `wave` and `client`. `measured`: the wave that is told by quarter."""
    known = list(records)
    ratings = judged_ratings(wave, client, rules)
    by_quarter = judged_by_quarter(wave, client, ratings, measured, rules)
    return Quality(delivery_counts(known), ratings, period_counts(known), by_quarter, measured)


def period_counts(records: Iterable[DeliveryRecord]) -> pd.DataFrame:
    """How many deliveries of an organisation and period have which verdict (`PERIODS`)."""
    rows = pd.DataFrame(
        [(one.period, one.organisation, one.status) for one in records], columns=["period", "organisation", "status"]
    )
    return rows.groupby(list(rows.columns), sort=True).size().rename("deliveries").reset_index()[list(PERIODS)]


def delivery_counts(records: Iterable[DeliveryRecord]) -> pd.DataFrame:
    """Deliveries by organisation and verdict (`DELIVERIES`); a duplicate is received and nothing else."""
    rows = pd.DataFrame(
        [(one.organisation, one.period, one.status) for one in records], columns=["organisation", "period", "status"]
    )
    lines = [
        {
            "organisation": str(organisation), "received": len(own),
            **{verdict: int((own["status"] == verdict).sum()) for verdict in ("accepted", "rejected", "retracted")},
            "last_period": max(own.loc[own["status"] == "accepted", "period"], default=""),
        }
        for organisation, own in rows.groupby("organisation", sort=True)
    ]  # fmt: skip
    return pd.DataFrame(lines, columns=list(DELIVERIES))


def judged_ratings(wave: pd.DataFrame, client: pd.DataFrame, rules: ReleaseRules) -> pd.DataFrame:
    """Planned ratings and the share done, by organisation, rater and wave (`RATINGS`).

    A cell needs the threshold of ratings done and of ratings not done; where one organisation of a wave and rater is hidden,
    so is the smallest other, so that a total gives neither away.
    """
    keys = ["rater", "wave", "organisation"]
    counted = _counted(wave, client, keys)
    return _shown(counted, keys, _few(counted, ["rater", "wave"], rules), rules)[list(RATINGS)]


def judged_by_quarter(
    wave: pd.DataFrame, client: pd.DataFrame, ratings: pd.DataFrame, measured: str, rules: ReleaseRules
) -> pd.DataFrame:
    """The ratings of the wave `measured` by organisation, rater and quarter of start (`BY_QUARTER`), by the same rule.

    The total of an organisation is in `ratings`, as that left: where one quarter is hidden so is the smallest other, and where the
    total is hidden, all of them.
    """
    keys = ["organisation", "rater", "start_quarter"]
    counted = _counted(wave[wave["wave"] == measured], client, keys)
    is_few = _few(counted, ["organisation", "rater"], rules)
    known = ratings[(ratings["wave"] == measured) & ratings["done"].notna()]
    totals = set(known[["organisation", "rater"]].itertuples(index=False, name=None))
    has_total = [pair in totals for pair in counted[["organisation", "rater"]].itertuples(index=False, name=None)]
    return _shown(counted, keys, is_few | ~pd.Series(has_total, index=counted.index, dtype=bool), rules)[
        list(BY_QUARTER)
    ]


def quarters_between(first: date, last: date) -> tuple[str, ...]:
    """Every quarter from that of one day to that of another, as 2022-Q1."""
    low, high = (4 * day.year + (day.month - 1) // 3 for day in (first, last))
    return tuple(f"{number // 4}-Q{number % 4 + 1}" for number in range(low, high + 1))


def _counted(wave: pd.DataFrame, client: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Planned ratings (`size`) and those done (`sum`) by `keys`."""
    of_client = [name for name in ("organisation", "start_quarter") if name in keys]
    rows = wave.merge(client[["client_id", *of_client]], on="client_id", validate="many_to_one")
    counted = rows.assign(is_done=rows["status"] == "done").groupby(keys, sort=True)["is_done"].agg(["size", "sum"])
    return counted.reset_index()


def _few(counted: pd.DataFrame, family: list[str], rules: ReleaseRules) -> pd.Series:
    """Where few ratings were done or were not done, and the smallest other of a family of which one is hidden."""
    is_few = counted[["sum"]].assign(rest=counted["size"] - counted["sum"]).min(axis=1) < rules.threshold
    for _, own in counted.groupby(family):
        if is_few[own.index].sum() == 1 and len(own) > 1:
            is_few[own.loc[~is_few[own.index], "size"].idxmin()] = True
    return is_few


def _shown(counted: pd.DataFrame, keys: list[str], is_hidden: pd.Series, rules: ReleaseRules) -> pd.DataFrame:
    share = (counted["sum"] / counted["size"] / STEP).round() * STEP
    n = counted["size"].map(lambda size: rounded(int(size), rules.base)).astype(float)
    return counted[keys].assign(n=n.mask(is_hidden), done=share.mask(is_hidden))
