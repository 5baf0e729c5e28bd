"""The core tables a second time, in pandas and plain Python: slow, a person at a time and a day at a time, so that it can be read.

Written from the rules (docs/warehouse.md), not from the SQL. `tables(world)` gives a frame for each table that the two are
held against each other on, named and keyed as the published one.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from tests.warehouse.marts_world import CONTRACTS, PROJECT, World, pseudonym

Row = dict[str, Any]
FOREVER = date(9999, 12, 31)
DAY = timedelta(days=1)
SCALES = ("bond", "trust", "goals_restrictions", "reactance")
ENROLMENT = (date(2022, 1, 1), date(2022, 12, 31))
LANDMARK_MONTHS = 9


def seed(name: str) -> list[Row]:
    """The rows of a seed as text."""
    with (PROJECT / "seeds" / f"{name}.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def days_of(months: float) -> int:
    """Months of 30.4375 days, rounded half away from zero."""
    return math.floor(months * 30.4375 + 0.5)


def is_true(text: str) -> bool:
    return text == "true"


@dataclass(frozen=True)
class Told:
    """What was delivered, by table, over all organisations: identifiers as pseudonyms, codes for "not recorded" as None."""

    rows: Mapping[str, list[Row]]

    def of(self, table: str) -> list[Row]:
        return self.rows.get(table, [])


def told(world: World) -> Told:
    """The rows of a world as they stand after staging."""
    found: dict[str, list[Row]] = {}
    for (organisation, name), rows in world.rows.items():
        contract = CONTRACTS[organisation].table(name)
        for row in rows:
            staged: Row = {"organisation": organisation}
            for column in contract.kept:
                value = row.get(column.staged_name)
                if value is not None and column.pseudonym:
                    value = pseudonym(str(value))
                if value is not None and str(value) in {str(code) for code in column.missing}:
                    value = None
                staged[column.staged_name] = value
            found.setdefault(name, []).append(staged)
    return Told(found)


@dataclass(frozen=True)
class Person:
    """Somebody in the study: the index supervision and everything that hangs on it."""

    client_id: str
    index: Row
    dyads: list[Row]
    waves: list[Row]
    offences: list[Row]
    detained: frozenset[date]  # nights: each day of a spell but that of release
    spells: list[tuple[date, date | None]]
    death_on: date | None
    emigrated_on: date | None
    is_linked: bool


def in_study(given: Told) -> dict[str, Row]:
    """The index supervision of each client: the first in the window that was rated at T1."""
    person_of = {row["client_number"]: row["national_number"] for row in given.of("clients")}
    rated = {row["supervision_number"] for row in given.of("waves") if row["wave"] == "T1" and row["status"] == "done"}
    found: dict[str, Row] = {}
    for row in sorted(given.of("supervisions"), key=lambda row: (row["start_on"], row["supervision_number"])):
        client = person_of.get(row["client_number"])
        is_in_window = ENROLMENT[0] <= row["start_on"] <= ENROLMENT[1]
        if client is not None and is_in_window and row["supervision_number"] in rated:
            found.setdefault(client, row)
    return found


def dyads_of(given: Told, index: Row) -> list[Row]:
    """The spells of an index supervision in order, with what is odd about each."""
    spells = sorted(
        (row for row in given.of("assignments") if row["supervision_number"] == index["supervision_number"]),
        key=lambda row: (row["start_on"], row["assignment_number"]),
    )
    found = []
    for number, row in enumerate(spells):
        ends = [other["end_on"] or FOREVER for other in spells[:number]]
        until = row["end_on"] or FOREVER
        last = max(ends) if ends else index["start_on"] - DAY
        after = index["end_on"] or FOREVER
        found.append(
            {
                **row,
                "sequence": number + 1,
                "overlaps_earlier": bool(ends) and row["start_on"] < max(ends),
                "gap_days": max(0, (row["start_on"] - last).days - 1),
                "is_outside_supervision": row["start_on"] < index["start_on"]
                or row["start_on"] > after
                or (row["end_on"] is not None and until > after),
            }
        )
    return found


def dyad_at(dyads: list[Row], day: date | None, named: str | None) -> Row | None:
    """The dyad valid on a day: the officer who is named first, then the one that began last, then the name of the dyad."""
    if day is None:
        return None
    valid = [dyad for dyad in dyads if dyad["start_on"] <= day <= (dyad["end_on"] or FOREVER)]
    return max(
        valid,
        key=lambda dyad: (dyad["officer_number"] == named, dyad["start_on"], dyad["assignment_number"]),
        default=None,
    )


def waves_of(given: Told, index: Row, dyads: list[Row]) -> list[Row]:
    """The ratings of an index supervision, each with its dyad and the officer whom it concerns."""
    found = []
    for row in given.of("waves"):
        if row["supervision_number"] != index["supervision_number"]:
            continue
        dyad = dyad_at(dyads, row["measured_on"], row["officer_number"])
        rated = row["officer_number"] or (dyad["officer_number"] if dyad else None)
        found.append({**row, "dyad_id": dyad["assignment_number"] if dyad else None, "rated_officer_id": rated})
    return found


def offences_of(given: Told, client: str, cutoff: date) -> list[Row]:
    """The offences of a person that the registry held, with their class and how their case was disposed of."""
    newest = max(int(row["version"]) for row in seed("offence_class"))
    classes = {row["article"]: row for row in seed("offence_class") if int(row["version"]) == newest}
    counting = {row["disposal"]: row for row in seed("disposal_class")}
    disposals = {row["case_number"]: row for row in given.of("disposals")}
    found = []
    for case in given.of("cases"):
        if case["national_number"] != client or case["registered_on"] > cutoff:
            continue
        own = [row for row in given.of("offences") if row["case_number"] == case["case_number"]]
        disposal = disposals.get(case["case_number"], {})
        rule = counting[disposal.get("disposal") or "pending"]
        for row in own or [{}]:
            kind = classes.get(row.get("article"), {})
            penalty = float(kind.get("max_penalty_years", 0))
            found.append(
                {
                    "case_number": case["case_number"],
                    "registered_on": case["registered_on"],
                    "offence_on": row.get("offence_on") or case["registered_on"],
                    "counts": rule["counts"],
                    "counted_when": rule["counted_when"],
                    "group": kind.get("offence_group"),
                    "is_serious": penalty >= 4 or is_true(kind.get("allows_pretrial_detention", "false")),
                    "is_very_serious": penalty >= 8,
                    "is_custodial": (disposal.get("custodial_days") or 0) > 0,
                }
            )
    return found


def people(given: Told, cutoff: date) -> list[Person]:
    found = []
    linked = {row["national_number"] for row in given.of("linkage") if row["status"] == "found"}
    for client, index in in_study(given).items():
        dyads = dyads_of(given, index)
        spells = [
            (row["start_on"], row["end_on"]) for row in given.of("detentions") if row["national_number"] == client
        ]
        nights = {
            start + number * DAY for start, end in spells for number in range(((end or date(2031, 1, 1)) - start).days)
        }
        left = {row["kind"]: row["departed_on"] for row in given.of("departures") if row["national_number"] == client}
        found.append(
            Person(
                client, index, dyads, waves_of(given, index, dyads), offences_of(given, client, cutoff), frozenset(nights),
                spells, left.get("death"), left.get("emigration"), client in linked,
            )
        )  # fmt: skip
    return found


# alliance ------------------------------------------------------------------------------------------------------------
def scores_of(given: Told, person: Person) -> list[Row]:
    """The scores of one person's ratings, by the seed of the instrument version that was used."""
    found = []
    for wave in person.waves:
        if wave["status"] != "done":
            continue
        answers = {
            row["item"]: row["response"]
            for row in given.of("item_responses")
            if (row["supervision_number"], row["wave"], row["rater"])
            == (wave["supervision_number"], wave["wave"], wave["rater"])
            and row["response"] is not None
        }
        for scale in SCALES:
            items = [
                row
                for row in seed("instrument_item")
                if (row["version"], row["rater"], row["scale"]) == (wave["instrument_version"], wave["rater"], scale)
            ]
            values = {}
            for item in items:
                if item["item"] in answers:
                    low, high = int(item["response_min"]), int(item["response_max"])
                    given_answer = answers[item["item"]]
                    values[item["item"]] = low + high - given_answer if is_true(item["is_reversed"]) else given_answer
            rules = [
                row
                for row in seed("instrument_scale")
                if (row["version"], row["rater"], row["scale"]) == (wave["instrument_version"], wave["rater"], scale)
            ]
            score = harmonised = None
            if rules and values and len(values) >= int(rules[0]["min_valid_items"]):
                low, high = int(items[0]["response_min"]), int(items[0]["response_max"])
                times = len(items) if rules[0]["scoring_rule"] == "sum" else 1
                score = float(np.mean(list(values.values()))) * times
                harmonised = times * (low + high) - score if is_true(rules[0]["is_high_bad"]) else score
            found.append(
                {
                    **wave,
                    "scale": scale,
                    "form": " ".join(sorted(item["item"] for item in items)),
                    "values": values,
                    "n_items": len(items) if items else None,
                    "n_valid_items": len(values),
                    "score": score,
                    "harmonised_score": harmonised,
                }
            )
    return found


def reliability(scores: Iterable[Row]) -> pd.DataFrame:
    """Alpha from variances of items and sums; omega from the triads of covariances, item by item."""
    groups: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in scores:
        if row["form"]:
            groups.setdefault((row["wave"], row["rater"], row["scale"], row["form"]), []).append(row)
    found = []
    for (wave, rater, scale, form), rows in groups.items():
        items = form.split(" ")
        complete = np.array(
            [[row["values"][item] for item in items] for row in rows if len(row["values"]) == len(items)]
        )
        n, k = len(complete), len(items)
        alpha = omega = None
        if n > 1 and k > 1 and complete.sum(axis=1).var() > 0:
            alpha = k / (k - 1) * (1 - complete.var(axis=0, ddof=1).sum() / complete.sum(axis=1).var(ddof=1))
        if n > 1 and k > 2:
            omega = _omega(np.cov(complete, rowvar=False))
        measured = [row["score"] for row in rows if row["score"] is not None]
        found.append(
            {
                "wave": wave, "rater": rater, "scale": scale, "form": form, "n_complete": n, "alpha": alpha, "omega": omega,
                "n_scores": len(measured), "score_sd": float(np.std(measured, ddof=1)) if len(measured) > 1 else None,
            }
        )  # fmt: skip
    return pd.DataFrame(found)


def _omega(covariance: np.ndarray) -> float | None:
    loadings, uniquenesses = [], []
    for i in range(len(covariance)):
        others = list(combinations([j for j in range(len(covariance)) if j != i], 2))
        below = sum(covariance[j, k] for j, k in others)
        if abs(below) < 1e-12:
            return None
        squared = sum(covariance[i, j] * covariance[i, k] for j, k in others) / below
        if squared < -1e-12 or squared > covariance[i, i] + 1e-12:
            return None
        together = covariance[i].sum() - covariance[i, i]
        loadings.append(math.copysign(math.sqrt(max(squared, 0)), together if abs(together) > 1e-12 else 1))
        uniquenesses.append(covariance[i, i] - squared)
    common = sum(loadings) ** 2
    return common / (common + sum(uniquenesses)) if common + sum(uniquenesses) > 0 else None


def changes_of(person: Person, scores: list[Row], known: pd.DataFrame) -> list[Row]:
    """Both spans of each rater and scale, judged by the three rules."""
    months = {row["wave"]: int(row["nominal_month"]) for row in seed("wave_plan")}
    found = []
    for rater in ("client", "officer"):
        for scale in SCALES:
            own = [row for row in scores if (row["rater"], row["scale"]) == (rater, scale) and row["score"] is not None]
            own.sort(key=lambda row: months[row["wave"]])
            for span in ("T1-T2", "T1-last"):
                inside = [row for row in own if span == "T1-last" or row["wave"] in ("T1", "T2")]
                first = next((row for row in inside if row["wave"] == "T1"), None)
                last = next((row for row in reversed(inside) if row["wave"] != "T1"), None)
                found += _judged(person, rater, scale, span, inside, first, last, known)
    return found


def _judged(
    person: Person, rater: str, scale: str, span: str, inside: list[Row], first: Row | None, last: Row | None,
    known: pd.DataFrame,
) -> list[Row]:  # fmt: skip
    row: Row = {
        "client_id": person.client_id, "supervision_id": person.index["supervision_number"], "rater": rater, "scale": scale,
        "span": span, "baseline": first["score"] if first else None, "last": last["score"] if last else None,
        "officer_changed": None, "officer_changed_day": None, "officer_change_reason": None, "instrument_changed": None,
        "person_mean": float(np.mean([item["score"] for item in inside])) if inside else None,
    }  # fmt: skip
    difference = slope = errors = None
    if first and last:
        difference = last["score"] - first["score"]
        row["instrument_changed"] = first["form"] != last["form"]
        row |= _takeover(person, first, last)
        dated = [item for item in inside if item["measured_on"] is not None]
        days = np.array([(item["measured_on"] - date(2000, 1, 1)).days for item in dated], dtype=float)
        if len(dated) and np.ptp(days) > 0 and first["measured_on"] and last["measured_on"]:
            length = (last["measured_on"] - first["measured_on"]).days
            around = days - days.mean()
            slope = float(around @ np.array([item["score"] for item in dated]) / (around @ around)) * length
            errors = length / math.sqrt(around @ around)
    row["difference"] = difference
    row["person_deviation"] = last["score"] - row["person_mean"] if last else None
    at = known[(known["wave"] == "T1") & (known["rater"] == rater) & (known["scale"] == scale)] if len(known) else known
    at = at[at["form"] == first["form"]] if first and len(at) else at.iloc[:0]
    alpha = at["alpha"].iloc[0] if len(at) else None
    spread = at["score_sd"].iloc[0] if len(at) else None
    alpha = None if alpha is None or pd.isna(alpha) else float(alpha)
    spread = None if spread is None or pd.isna(spread) else float(spread)
    measurement = None if alpha is None or spread is None else spread * math.sqrt(1 - alpha)
    bands = {
        "rci": (difference, None if measurement is None else 1.96 * measurement * math.sqrt(2)),
        "half_sd": (difference, None if spread is None else 0.5 * spread),
        "slope": (slope, None if measurement is None or errors is None else 1.96 * measurement * errors),
    }
    found = []
    for rule, (change, band) in bands.items():
        pattern = None
        if change is not None and band is not None:
            gain = -change if scale == "reactance" else change
            if abs(abs(gain) - band) < 1e-9:
                pattern = "on the band"
            else:
                pattern = "improving" if gain > band else "deteriorating" if gain < -band else "stable"
        found.append(
            {**row, "rule": rule, "judged_change": change, "band": band, "reliability": alpha, "pattern": pattern}
        )
    return found


def _takeover(person: Person, first: Row, last: Row) -> Row:
    """Whether another officer came between two ratings: the first day of the first one, and why the dyad before it ended."""
    before, after = first["rated_officer_id"], last["rated_officer_id"]
    came = []
    if before is not None and first["measured_on"] and last["measured_on"]:
        came = [
            dyad
            for dyad in person.dyads
            if first["measured_on"] < dyad["start_on"] <= last["measured_on"] and dyad["officer_number"] != before
        ]
    if not came:
        changed = None if before is None or after is None else before != after
        return {"officer_changed": changed}
    day = min(dyad["start_on"] for dyad in came)
    reason = None
    for earlier, later in zip(person.dyads, person.dyads[1:], strict=False):
        if later["start_on"] == day and later["officer_number"] != earlier["officer_number"]:
            reason = earlier["end_reason"]
            break
    return {
        "officer_changed": True,
        "officer_changed_day": (day - person.index["start_on"]).days,
        "officer_change_reason": reason,
    }


# follow-up -----------------------------------------------------------------------------------------------------------
def follow(person: Person, outcome: Row, cutoff: date) -> tuple[Row, list[date], Row]:
    """Follow one person for one outcome, a day at a time; gives the row, the days lived through, and the dates."""
    start = person.index["start_on"]
    landmark = start + timedelta(days=days_of(LANDMARK_MONTHS))
    origin = {"landmark": landmark, "supervision_start": start, "supervision_end": person.index["end_on"]}[
        outcome["origin"]
    ]
    entry = None if origin is None else max(origin, landmark) if outcome["entry"] == "landmark" else origin
    row: Row = {
        "client_id": person.client_id, "outcome_id": outcome["outcome_id"], "event": None, "exit_reason": None, "days": None,
        "days_at_risk": None, "detention_days": None, "censored_days": None, "entry_days": 0.0, "duration_days": None,
        "maturity": "provisional", "ineligible_reason": None,
        "origin_day": None if origin is None else (origin - start).days,
        "entry_day": None if entry is None else (entry - start).days, "exit_day": None,
    }  # fmt: skip
    dates: Row = {"origin": origin, "entry": entry}

    def lost(reason: str) -> tuple[Row, list[date], Row]:
        exit_reason = "not_linked" if reason == "not_linked" else None
        return {**row, "ineligible_reason": reason, "exit_reason": exit_reason}, [], dates

    if not person.is_linked:
        return lost("not_linked")
    if origin is None or entry is None:
        return lost("supervision_not_ended")
    horizon = origin + timedelta(days=days_of(int(outcome["horizon_months"])))
    last_seen = cutoff - timedelta(days=days_of(int(outcome["lag_months"])))
    ends = [
        (day, reason)
        for day, reason in (
            (person.death_on, "death"), (person.emigrated_on, "emigration"), (horizon, "horizon"), (last_seen, "cutoff"),
        )
        if day is not None
    ]  # fmt: skip
    if any(day <= entry for day, reason in ends if reason in ("death", "emigration")):
        return lost("departed_before_entry")
    if any(day <= entry for day, _ in ends):
        return lost("no_followup")
    until, reason = min(ends, key=lambda end: end[0])
    counted = [offence for offence in person.offences if counts(offence, outcome, person)]
    if outcome["early_offenders"] == "excluded" and any(start < item["offence_on"] <= origin for item in counted):
        return lost("offended_before_origin")
    basis = "offence_on" if outcome["date_basis"] == "offence" else "registered_on"
    events = {item[basis] for item in counted if item["offence_on"] > origin}
    happened = sorted(day for day in events if origin < day <= until)
    if happened and happened[0] <= entry:
        return lost("offended_before_entry")
    lived, day = [], entry  # each day from the entry up to, not including, the exit
    before = 0
    while day < (happened[0] if happened else until):
        lived.append(day)
        day += DAY
    dates |= {"until": until, "events": set(happened)}
    looks = outcome["detention"] != "ignored"
    inside = sum(looks and item in person.detained for item in lived)
    walk = origin
    while walk < entry:
        before += not (looks and walk in person.detained)
        walk += DAY
    row |= {
        "event": bool(happened), "exit_reason": "event" if happened else reason, "days": len(lived), "detention_days": inside,
        "days_at_risk": len(lived) - inside, "censored_days": (horizon - day).days, "exit_day": (day - start).days,
        "entry_days": float(before), "duration_days": float(before + len(lived) - inside),
        "maturity": "final" if happened or reason != "cutoff" else "provisional",
        "ineligible_reason": "detained_until_exit" if inside == len(lived) else None,
    }  # fmt: skip
    return row, lived, dates


def counts(offence: Row, outcome: Row, person: Person) -> bool:
    """Whether an offence is one that an outcome definition counts."""
    newest = max(int(row["version"]) for row in seed("offence_class"))
    group = {row["article"]: row["offence_group"] for row in seed("offence_class") if int(row["version"]) == newest}
    level = {
        "general": True,
        "serious": offence["is_serious"],
        "very_serious": offence["is_very_serious"],
        "specific": offence["group"] is not None and offence["group"] == group.get(person.index["index_article"]),
        "custodial": offence["is_custodial"],
    }[outcome["level"]]
    return level and disposal_counts(offence, outcome)


def disposal_counts(offence: Row, outcome: Row) -> bool:
    return offence["counts"] == "always" or (
        offence["counts"] == "setting" and is_true(outcome[offence["counted_when"]])
    )


def intervals_of(person: Person, outcome: Row, row: Row, lived: list[date], dates: Row, scores: list[Row]) -> list[Row]:
    """The days of a follow-up, cut where what holds on them changes hands: a spell begins or ends, somebody rates again."""
    if not lived:
        return []
    looks = outcome["detention"] != "ignored"
    cuts = {score["measured_on"] for score in scores if score["score"] is not None}
    for day in person.detained if looks else ():
        if day - DAY not in person.detained:
            cuts.add(day)
        if day + DAY not in person.detained:
            cuts.add(day + DAY)
    starts = [day for number, day in enumerate(lived) if number == 0 or day in cuts]
    found = []
    for number, begin in enumerate(starts):
        stop = starts[number + 1] if number + 1 < len(starts) else lived[-1] + DAY
        known: Row = {}
        for score in sorted(
            (
                item
                for item in scores
                if item["score"] is not None and item["measured_on"] and item["measured_on"] <= begin
            ),
            key=lambda item: (item["measured_on"], item["wave"]),
        ):
            prefix = "" if score["rater"] == "client" else "officer_"
            known[prefix + score["scale"]] = score["score"]
        found.append(
            {
                "client_id": person.client_id, "outcome_id": row["outcome_id"], "interval": number + 1,
                "start_day": (begin - dates["origin"]).days, "stop_day": (stop - dates["origin"]).days,
                "event": bool(row["event"]) and number + 1 == len(starts),
                "state": "detained" if looks and begin in person.detained else "at_risk",
                **{name: known.get(name) for name in (*SCALES, *(f"officer_{scale}" for scale in SCALES))},
            }
        )  # fmt: skip
    return found


def stretches_of(person: Person, outcome: Row, row: Row, dates: Row) -> list[Row]:
    """The whole observation of somebody who is followed, a night at a time: it goes on after an event, until nobody looks any more."""
    if row["exit_day"] is None:
        return []
    looks = outcome["detention"] != "ignored"
    start, night = person.index["start_on"], dates["entry"]
    found: list[Row] = []
    begin, at_risk = night, 0
    while night < dates["until"]:
        at_risk += not (looks and night in person.detained)
        night += DAY
        has_offended = night in dates["events"]
        if has_offended or night == dates["until"]:
            found.append(
                {
                    "client_id": person.client_id, "outcome_id": row["outcome_id"], "number": len(found) + 1,
                    "start_day": (begin - start).days, "stop_day": (night - start).days, "event": has_offended,
                    "days_at_risk": at_risk,
                }
            )  # fmt: skip
            begin, at_risk = night, 0
    return found


def history_of(person: Person, outcome: Row, origin: date | None) -> Row:
    """Criminal history up to the origin; nothing is known of somebody who was not found."""
    names = ("prior_cases", "prior_serious_cases", "prior_custodial_cases", "prior_cases_5_years")
    if not person.is_linked or origin is None:
        return dict.fromkeys(names)
    earlier = [item for item in person.offences if item["offence_on"] <= origin and disposal_counts(item, outcome)]
    recent = origin - timedelta(days=days_of(60))
    chosen = {
        "prior_cases": earlier,
        "prior_serious_cases": [item for item in earlier if item["is_serious"]],
        "prior_custodial_cases": [item for item in earlier if item["is_custodial"]],
        "prior_cases_5_years": [item for item in earlier if item["offence_on"] > recent],
    }
    return {name: len({item["case_number"] for item in rows}) for name, rows in chosen.items()}


def known_at(person: Person, scores: list[Row], entry: date | None) -> Row:
    """The scores of T1 and T2 that were measured by the entry, and the change between them."""
    found: Row = {}
    for rater in ("client", "officer"):
        for scale in SCALES:
            at = {
                score["wave"]: score["score"]
                for score in scores
                if (score["rater"], score["scale"]) == (rater, scale)
                and entry is not None
                and score["measured_on"] is not None
                and score["measured_on"] <= entry
            }
            one, two = at.get("T1"), at.get("T2")
            found |= {f"{rater}_{scale}_t1": one, f"{rater}_{scale}_t2": two}
            found[f"{rater}_{scale}_state"] = None if one is None or two is None else two - one
    return found


def tables(world: World, outcomes: list[Row]) -> dict[str, pd.DataFrame]:
    """The core tables of a world for these outcome definitions (rows of the seed, as text)."""
    given, cutoff = told(world), world.registry_cutoff_on
    found: dict[str, list[Row]] = {name: [] for name in KEYS}
    everybody = people(given, cutoff)
    scores = {person.client_id: scores_of(given, person) for person in everybody}
    known = reliability(row for rows in scores.values() for row in rows)
    found["scale_reliability"] = known.to_dict("records")
    for person in everybody:
        start = person.index["start_on"]

        def since(day: date | None, start: date = start) -> int | None:
            return None if day is None else (day - start).days

        for dyad in person.dyads:
            found["dyad"].append(
                {
                    "dyad_id": dyad["assignment_number"], "client_id": person.client_id, "officer_id": dyad["officer_number"],
                    "sequence": dyad["sequence"], "start_day": since(dyad["start_on"]), "end_day": since(dyad["end_on"]),
                    "overlaps_earlier": dyad["overlaps_earlier"], "gap_days": dyad["gap_days"],
                    "is_outside_supervision": dyad["is_outside_supervision"],
                }
            )  # fmt: skip
        for wave in person.waves:
            found["wave"].append(
                {
                    "supervision_id": wave["supervision_number"], "wave": wave["wave"], "rater": wave["rater"],
                    "status": wave["status"], "measured_day": since(wave["measured_on"]), "dyad_id": wave["dyad_id"],
                    "raters_share_officer": _shared(person.waves, wave["wave"]),
                }
            )  # fmt: skip
        for score in scores[person.client_id]:
            found["alliance_score"].append(
                {
                    "supervision_id": score["supervision_number"], "wave": score["wave"], "rater": score["rater"],
                    "scale": score["scale"], "dyad_id": score["dyad_id"], "score": score["score"],
                    "harmonised_score": score["harmonised_score"], "n_valid_items": score["n_valid_items"],
                }
            )  # fmt: skip
        found["alliance_change"] += changes_of(person, scores[person.client_id], known)
        for outcome in outcomes:
            row, lived, dates = follow(person, outcome, cutoff)
            found["followup"].append(row)
            found["followup_interval"] += intervals_of(person, outcome, row, lived, dates, scores[person.client_id])
            found["followup_event"] += stretches_of(person, outcome, row, dates)
            found["analysis_cohort"].append(
                {
                    "client_id": person.client_id, "outcome_id": outcome["outcome_id"], "event": row["event"],
                    "ineligible_reason": row["ineligible_reason"], "entry_days": row["entry_days"],
                    "duration_days": row["duration_days"], **history_of(person, outcome, dates["origin"]),
                    **known_at(person, scores[person.client_id], dates["entry"]),
                }
            )  # fmt: skip
    lost = Counter((row["outcome_id"], row["ineligible_reason"]) for row in found["followup"])
    found["lost"] = [
        {"outcome_id": outcome, "reason": reason, "n": number}
        for (outcome, reason), number in lost.items()
        if reason is not None
    ]
    return {name: pd.DataFrame(rows) for name, rows in found.items()}


def _shared(waves: list[Row], wave: str) -> bool | None:
    officers = [row["rated_officer_id"] for row in waves if row["wave"] == wave and row["status"] == "done"]
    officers = [officer for officer in officers if officer is not None]
    return len(set(officers)) == 1 if len(officers) == 2 else None


KEYS: Mapping[str, tuple[str, ...]] = {
    "scale_reliability": ("wave", "rater", "scale", "form"),
    "dyad": ("dyad_id",),
    "wave": ("supervision_id", "wave", "rater"),
    "alliance_score": ("supervision_id", "wave", "rater", "scale"),
    "alliance_change": ("supervision_id", "rater", "scale", "span", "rule"),
    "followup": ("client_id", "outcome_id"),
    "followup_event": ("client_id", "outcome_id", "number"),
    "followup_interval": ("client_id", "outcome_id", "interval"),
    "analysis_cohort": ("client_id", "outcome_id"),
}
