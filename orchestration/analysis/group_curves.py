"""Q3 as curves: what share reoffends by when, by group, with and without competing events. Frames in, tidy frames out.

The estimators are those of `curves.py`, the groups those of `grouping.py`. Errors are by officer at the origin.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestration.analysis import curves
from orchestration.analysis.cox import CoxInputError
from orchestration.analysis.grouping import ALL, NOT_RATED, TERTILE, Grouping
from orchestration.analysis.inputs import DAYS_PER_MONTH
from orchestration.analysis.recidivism import OutcomeCohort
from orchestration.analysis.specification import Specification

WHERE = ("outcome_id", "rater", "scale", "grouping")
CURVE_COLUMNS = (*WHERE, "group", "month", "n", "at_risk", "events", "survival", "conf_low", "conf_high")
LOG_RANK_COLUMNS = (*WHERE, "n", "events", "groups", "statistic", "p_value", "note")
RISK_COLUMNS = (*WHERE, "group", "months", "n", "events", "at_risk", "risk", "conf_low", "conf_high", "note")
INCIDENCE_COLUMNS = (*WHERE, "group", "cause", "month", "n", "at_risk", "events", "risk", "conf_low", "conf_high")
MEAN_COLUMNS = (
    *WHERE, "group", "compared_with", "months", "n", "events", "days", "std_error", "conf_low", "conf_high", "p_value", "note",
)  # fmt: skip
EVENT, DETENTION = "event", "detention"
INCIDENCE_STEP_MONTHS = 3


def survival_curves(cohort: OutcomeCohort, groupings: list[Grouping]) -> pd.DataFrame:
    """Kaplan-Meier at whole months on the clock at risk, of everybody and by group.

    One row per grouping x group x month while somebody is at risk: n, at_risk and events (both so far), survival,
    conf_low, conf_high (95 %, log-log). Months, not event times: a curve with a step for each person names persons.
    """
    rows = []
    for grouping, group, mask in _parts(groupings):
        months = np.arange(int(cohort.duration[mask].max() // DAYS_PER_MONTH) + 1)
        for month, point in zip(
            months, _kaplan_meier(cohort, mask, DAYS_PER_MONTH * months.astype(np.float64)), strict=True
        ):
            rows.append(
                {"outcome_id": cohort.outcome_id, **grouping.named, "group": group, "month": int(month), **point}
            )
    return pd.DataFrame(rows, columns=list(CURVE_COLUMNS))


def absolute_risks(cohort: OutcomeCohort, groupings: list[Grouping], spec: Specification) -> pd.DataFrame:
    """Kaplan-Meier risk (share with an event) at the months asked for, of everybody and by tertile, with n, events so far,
    at_risk and a 95 % interval.

    Where nobody is followed that long there is no number, but a note.
    """
    rows = []
    for grouping, group, mask in _parts(groupings):
        if grouping.name not in (ALL, TERTILE) or group == NOT_RATED:
            continue
        days = np.array([float(round(months * DAYS_PER_MONTH)) for months in spec.recidivism.risk_months])
        for months, point in zip(spec.recidivism.risk_months, _kaplan_meier(cohort, mask, days), strict=True):
            is_known = point["at_risk"] > 0
            rows.append(
                {
                    "outcome_id": cohort.outcome_id, **grouping.named, "group": group, "months": months, "n": point["n"],
                    "events": point["events"], "at_risk": point["at_risk"],
                    "risk": 1 - point["survival"] if is_known else np.nan,
                    "conf_low": 1 - point["conf_high"] if is_known else np.nan,
                    "conf_high": 1 - point["conf_low"] if is_known else np.nan,
                    "note": None if is_known else "not estimable: nobody is followed that long",
                }
            )  # fmt: skip
    return pd.DataFrame(rows, columns=list(RISK_COLUMNS)).astype({"note": object})


def log_rank(cohort: OutcomeCohort, groupings: list[Grouping]) -> pd.DataFrame:
    """Log-rank test over the groups, those not rated left out: statistic on groups - 1 degrees of freedom, p_value."""
    rows = []
    for grouping in groupings:
        if grouping.name == ALL:
            continue
        rated = grouping.label != NOT_RATED
        row: dict[str, object] = {
            "outcome_id": cohort.outcome_id, **grouping.named, "n": int(rated.sum()),
            "events": int(cohort.event[rated].sum()), "groups": len(np.unique(grouping.label[rated])),
            "statistic": np.nan, "p_value": np.nan, "note": None,
        }  # fmt: skip
        try:
            test = curves.log_rank(
                cohort.entry[rated], cohort.duration[rated], cohort.event[rated], grouping.label[rated].astype(str)
            )
            row |= {"statistic": test.statistic, "p_value": test.p_value}
        except CoxInputError as error:
            row["note"] = f"not estimable: {error}"
        rows.append(row)
    return pd.DataFrame(rows, columns=list(LOG_RANK_COLUMNS)).astype({"note": object})


def competing_exits(
    cohort: OutcomeCohort, intervals: pd.DataFrame, spec: Specification
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Start and stop of each of n (days since the origin) until whatever comes first, and what that was: 0 nothing, 1 the
    event, 2 ... the competing events in the order of the models.

    `intervals`: those of the cohort (`intervals.of_cohort`). The first day in detention ends the time outside; who is detained
    when observation begins has a stop that is not after the start, and is to be left out.
    """
    causes = (EVENT, *spec.recidivism.competing_events)
    by_client = intervals.groupby("who", sort=True)
    start, stop = by_client["start"].min(), by_client["stop"].max()
    reason = (
        pd.Series(cohort.exit_reason).map({name: i + 1 for i, name in enumerate(causes)}).fillna(0).astype(np.int64)
    )
    cause = reason.to_numpy()
    if DETENTION in causes:
        first = intervals[intervals["is_detained"]].groupby("who")["start"].min().reindex(stop.index)
        is_first = first.notna().to_numpy()
        stop = first.where(is_first, stop)
        cause = np.where(is_first, causes.index(DETENTION) + 1, cause)
    return start.to_numpy(dtype=np.float64), stop.to_numpy(dtype=np.float64), cause.astype(np.int64)


def cumulative_incidence(
    cohort: OutcomeCohort, intervals: pd.DataFrame, groupings: list[Grouping], spec: Specification
) -> pd.DataFrame:
    """Aalen-Johansen: the share that has left by each cause first, every third month since the origin, by group.

    Rows as in `survival_curves`, by `cause`: `event` and the competing ones. `n` leaves out who was detained at the start.
    """
    start, stop, cause = competing_exits(cohort, intervals, spec)
    causes = (EVENT, *spec.recidivism.competing_events)
    rows = []
    for grouping, group, mask in _parts(groupings):
        mask = mask & (stop > start)
        if not mask.any():
            continue
        months = np.arange(0, int(stop[mask].max() // DAYS_PER_MONTH) + 1, INCIDENCE_STEP_MONTHS)
        days = DAYS_PER_MONTH * months.astype(np.float64)
        moves = curves.moves_of(start[mask], stop[mask], cause[mask], len(causes))
        found = curves.occupation(moves, days, cohort.cluster[mask])
        for k, name in enumerate(causes, start=1):
            survival_low, survival_high = curves.log_log_interval(1 - found.probability[:, k], found.std_error[:, k])
            for i, month in enumerate(months):
                rows.append(
                    {
                        "outcome_id": cohort.outcome_id, **grouping.named, "group": group, "cause": name, "month": int(month),
                        "n": int(mask.sum()), "at_risk": int(((stop >= days[i]) & (start <= days[i]))[mask].sum()),
                        "events": int(((stop <= days[i]) & (cause == k))[mask].sum()),
                        "risk": found.probability[i, k], "conf_low": 1 - survival_high[i], "conf_high": 1 - survival_low[i],
                    }
                )  # fmt: skip
    return pd.DataFrame(rows, columns=list(INCIDENCE_COLUMNS))


def restricted_means(cohort: OutcomeCohort, groupings: list[Grouping], spec: Specification) -> pd.DataFrame:
    """Mean days without the event up to a horizon (the area under Kaplan-Meier; Royston & Parmar 2013) by group, and its
    difference from the first group, with errors by officer: an officer with clients in both groups is one cluster.

    A group in which nobody is followed up to the horizon has a note instead.
    """
    from scipy import stats

    months = spec.recidivism.restricted_mean_months
    horizon = months * DAYS_PER_MONTH
    z, rows = stats.norm.ppf(0.975), []
    clusters = np.unique(cohort.cluster, return_inverse=True)[1]
    for grouping in groupings:
        reference: tuple[float, NDArray[np.float64]] | None = None
        for group in grouping.groups:
            mask = grouping.label == group
            sizes = {"n": int(mask.sum()), "events": int(cohort.event[mask].sum())}
            named = {"outcome_id": cohort.outcome_id, **grouping.named, "group": group, "months": months, **sizes}
            if not mask.any() or cohort.duration[mask].max() < horizon:
                rows.append({**named, "note": "not estimable: nobody is followed that long"})
                continue
            moves = curves.moves_of(cohort.entry[mask], cohort.duration[mask], cohort.event[mask], 1)
            found = curves.occupation(moves, [0.0], horizon=horizon)
            mean, influence = found.time_in_state[0], np.zeros((cohort.n, 1))
            influence[mask, 0] = found.influence_on_time[:, 0]
            values = [("", mean, influence)]
            if reference is None:
                reference = (mean, influence)
            else:
                values.append((grouping.groups[0], mean - reference[0], influence - reference[1]))
            for compared_with, days, moved in values:
                error = curves.root_sum_of_squares(moved, clusters)[0]
                rows.append(
                    {
                        **named, "compared_with": compared_with, "days": days, "std_error": error,
                        "conf_low": days - z * error, "conf_high": days + z * error,
                        "p_value": 2 * stats.norm.sf(abs(days) / error) if compared_with and error > 0 else np.nan,
                    }
                )  # fmt: skip
    frame = pd.DataFrame(rows).reindex(columns=list(MEAN_COLUMNS))
    return frame.astype({"note": object, "compared_with": object, "p_value": float})


def _parts(groupings: list[Grouping]) -> Iterator[tuple[Grouping, str, NDArray[np.bool_]]]:
    for grouping in groupings:
        for group in (*grouping.groups, NOT_RATED):
            mask = grouping.label == group
            if mask.any():
                yield grouping, group, mask


def _kaplan_meier(cohort: OutcomeCohort, mask: NDArray[np.bool_], days: NDArray[np.float64]) -> list[dict[str, float]]:
    duration, event, entry = cohort.duration[mask], cohort.event[mask], cohort.entry[mask]
    found = curves.occupation(curves.moves_of(entry, duration, event, 1), days, cohort.cluster[mask])
    survival = found.probability[:, 0]
    low, high = curves.log_log_interval(survival, found.std_error[:, 0])
    return [
        {
            "n": int(mask.sum()),
            "at_risk": int(((duration >= day) & (entry <= day)).sum()),
            "events": int((event & (duration <= day)).sum()),
            "survival": float(survival[i]), "conf_low": float(low[i]), "conf_high": float(high[i]),
        }
        for i, day in enumerate(days)
    ]  # fmt: skip
