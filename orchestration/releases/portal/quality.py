"""Data quality by organisation, as it may leave: deliveries and their verdicts, and how many of the planned ratings were done.

Deliveries are no people, so their counts are exact; ratings are people's, so their shares are coarse and small ones stay.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from orchestration.analysis.showing.small_cells import rounded
from orchestration.readings import DeliveryRecord
from orchestration.releases.disclosure import ReleaseRules

DELIVERIES = ("organisation", "received", "accepted", "rejected", "retracted", "last_period")
RATINGS = ("organisation", "rater", "wave", "n", "done")
STEP = 0.05  # to which shares of people are rounded


@dataclass(frozen=True)
class Quality:
    """`deliveries`: a row per organisation (`DELIVERIES`). `ratings`: a row per organisation, rater and wave (`RATINGS`): planned
    ratings, rounded, and the share that was done, to `STEP`; both missing where few were or were not."""

    deliveries: pd.DataFrame
    ratings: pd.DataFrame


def quality_of(
    records: Iterable[DeliveryRecord], wave: pd.DataFrame, client: pd.DataFrame, rules: ReleaseRules
) -> Quality:
    """Of the ledger's deliveries and two published tables, `wave` and `client`."""
    return Quality(delivery_counts(records), judged_ratings(wave, client, rules))


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
    rows = wave.merge(client[["client_id", "organisation"]], on="client_id", validate="many_to_one")
    keys = ["rater", "wave", "organisation"]
    counted = rows.assign(is_done=rows["status"] == "done").groupby(keys, sort=True)["is_done"].agg(["size", "sum"])
    counted = counted.reset_index()
    is_few = counted[["sum"]].assign(rest=counted["size"] - counted["sum"]).min(axis=1) < rules.threshold
    for _, own in counted.groupby(["rater", "wave"]):
        if is_few[own.index].sum() == 1 and len(own) > 1:
            is_few[own.loc[~is_few[own.index], "size"].idxmin()] = True
    share = (counted["sum"] / counted["size"] / STEP).round() * STEP
    n = counted["size"].map(lambda size: rounded(int(size), rules.base)).astype(float)
    return counted[keys].assign(n=n.mask(is_few), done=share.mask(is_few))[list(RATINGS)]
