"""Outcome definitions beside each other: of how many people any two say something else (counts only; no row of a person leaves this
module), and which of them may leave together. Whether a model may leave is judged in `disclosure`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

import pandas as pd

from orchestration.analysis.recidivism import OutcomeCohort, outcome_cohort
from orchestration.analysis.specification import Specification

COLUMNS = ("outcome_id", "other", "people", "events", "records", "is_same_event")
# What decides who is followed up and who has the event: the horizon is a date, so that days in detention only move the clock.
DECIDES = (
    "level", "origin", "entry", "horizon_months", "lag_months", "pending_counts", "policy_dismissal_counts", "date_basis",
    "early_offenders",
)  # fmt: skip


def differing(analysis_cohort: pd.DataFrame, definitions: pd.DataFrame, spec: Specification) -> pd.DataFrame:
    """Every two outcome definitions that have people (`COLUMNS`): how many are followed up for one only, have the event by one only, and
    have other days or another event by them (`records`: those and the first together); and whether both count the same events by
    what they say (`DECIDES`)."""
    cohorts = [outcome_cohort(analysis_cohort, str(name), spec) for name in definitions["outcome_id"]]
    known = {cohort.outcome_id: _people(cohort) for cohort in cohorts if cohort.n}
    said = {str(row["outcome_id"]): [str(row.get(name, "")) for name in DECIDES] for row in definitions.to_dict("records")}  # fmt: skip
    says_all = set(DECIDES) <= set(definitions.columns)
    rows = []
    for (one, people), (other, others) in combinations(known.items(), 2):
        everybody = people.keys() | others.keys()
        rows.append(
            (
                one, other, len(people.keys() ^ others.keys()), len(_with_event(people) ^ _with_event(others)),
                sum(people.get(who) != others.get(who) for who in everybody), says_all and said[one] == said[other],
            )
        )  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _people(cohort: OutcomeCohort) -> dict[str, tuple[float, float, bool]]:
    times = zip(cohort.entry.tolist(), cohort.duration.tolist(), cohort.event.tolist(), strict=True)
    return dict(zip(map(str, cohort.client), times, strict=True))


def _with_event(people: dict[str, tuple[float, float, bool]]) -> set[str]:
    return {who for who, (_, _, event) in people.items() if event}


def that_leave(wanted: Iterable[str], first: Sequence[str], differences: pd.DataFrame, threshold: int) -> set[str]:
    """The definitions that may leave together: `first`, which leave anyhow, then each of `wanted` in turn that is apart from all before it.

    Two are apart where more than `threshold` people have another record by them, the same people or more than `threshold` others are
    followed up, and more than `threshold` have the event by one only; where both count the same events by what they say, none
    may, since anybody knows that. Who is missing is then known only to lie between 0 and `threshold`.
    """
    found = list(dict.fromkeys(first))
    pairs = {frozenset((row["outcome_id"], row["other"])): row for row in differences.to_dict("records")}

    def is_apart(one: str, other: str) -> bool:
        row = pairs.get(frozenset((one, other)))
        return (
            row is not None
            and row["records"] > threshold
            and (row["people"] == 0 or row["people"] > threshold)
            and (row["events"] > threshold or (bool(row["is_same_event"]) and row["events"] == 0))
        )

    for name in wanted:
        if name not in found and all(is_apart(name, other) for other in found):
            found.append(name)
    return set(found)
