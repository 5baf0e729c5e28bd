"""What people are told of: problems as they are seen now, and which incidents they open, repeat, remind of and close.

What Dagster knows (failed runs, checks) is brought by `automation.py`; what the ledger knows is read here. A problem holds codes,
names of organisations, periods, ids and days: never a value of a person, and no count of people either.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from orchestration.analysis.signoff import waiting_fit
from orchestration.deliveries.contracts import Organisation
from orchestration.deliveries.waivers import missing, read_waivers
from orchestration.readings import DeliveryRecord, Readings
from orchestration.releases.approval import APPROVED, DRAFT, releases
from orchestration.releases.follow_up import follow_ups
from orchestration.settings import Settings
from orchestration.status import lines
from orchestration.stewards.freshness import Overdue, overdue

OF_LEDGER = frozenset(
    {"gate_failed", "warning_new", "overdue", "material_change", "fit_held", "release_waiting", "fetch_failed", "extract_asked"}
)  # fmt: skip
OF_RUNS = frozenset({"run_failed"})
OF_CHECKS = frozenset({"candidate_failed", "check_warning"})
EVENTS = OF_LEDGER | OF_RUNS | OF_CHECKS
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/, -]{0,250}")
NOT_SHOWN = "?"

Fact = str | int | float


@dataclass(frozen=True)
class Problem:
    """Something that is the matter now: which event, about what, what is said of it.

    `evidence` is what showed it (a delivery, a run): the same problem with other evidence is a repeat. `stage` is the reminder that
    is due, 0 where none ever is.
    """

    event: str
    about: str
    facts: Mapping[str, Fact] = field(default_factory=dict)
    evidence: str = ""
    stage: int = 0

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(json.dumps([self.event, self.about]).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Seen:
    """Everything that is the matter now of these events: what is not in it is over."""

    events: frozenset[str]
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Changes:
    """What a look makes of the incidents: new ones, those seen once more and those to be reminded of (each with its id), closed ids."""

    opened: tuple[Problem, ...]
    repeated: tuple[tuple[int, Problem], ...]
    reminded: tuple[tuple[int, Problem], ...]
    closed: tuple[int, ...]


def changes(are_open: Iterable[Mapping[str, Any]], seen: Seen) -> Changes:
    """How the open incidents (rows of the ledger) change by a look. Pure."""
    known = {row["fingerprint"]: row for row in are_open if row["event"] in seen.events}
    now = {problem.fingerprint: problem for problem in seen.problems}
    again = [(known[mark], problem) for mark, problem in now.items() if mark in known]
    return Changes(
        opened=tuple(problem for mark, problem in now.items() if mark not in known),
        repeated=tuple(
            (row["id"], problem)
            for row, problem in again
            if problem.stage <= row["stage"] and problem.evidence != row["evidence"]
        ),
        reminded=tuple((row["id"], problem) for row, problem in again if problem.stage > row["stage"]),
        closed=tuple(row["id"] for mark, row in known.items() if mark not in now),
    )


def plain(text: str) -> str:
    """A name as it may be told; one with other characters than codes have is not shown."""
    return text if _PLAIN.fullmatch(text) else NOT_SHOWN


def seen_in_ledger(
    settings: Settings, ledger: Readings, contracts: Mapping[str, Organisation], today: date, material_move: float
) -> Seen:
    """What the ledger, the store of fits and the calendar say is the matter. `material_move` is in standard errors of the fit before."""
    records = [record for record in ledger.deliveries() if record.organisation in contracts]
    problems = [
        *_blocked(records, ledger),
        *_warnings(records, ledger),
        *_overdue(settings, ledger, contracts, today),
        *_fits(settings, ledger, material_move),
        *_releases(ledger),
        *_fetches(ledger, contracts),
        *_extract(ledger, contracts),
    ]
    return Seen(OF_LEDGER, tuple(problems))


def _blocked(records: Collection[DeliveryRecord], ledger: Readings) -> Iterator[Problem]:
    """The last word on a period is a rejection, and nothing was accepted since that holds it."""
    newest: dict[tuple[str, str], DeliveryRecord] = {}
    for record in sorted(records, key=lambda one: one.received_at):
        newest[record.organisation, record.period] = record
    for (organisation, period), record in sorted(newest.items()):
        if record.status != "rejected" or any(_holds(other, record) for other in records):
            continue
        failed = [one for one in ledger.judgements(record.manifest_sha256) if one["status"] in ("failed", "error")]
        rules = sorted({str(one["rule"]) for one in failed if one["severity"] == "error"})
        facts = {"organisation": organisation, "period": plain(period), "delivery": plain(record.delivery_id), "rules": ", ".join(rules)}  # fmt: skip
        evidence = f"{record.manifest_sha256} {record.signature or ''}"[:128]
        yield Problem("gate_failed", f"{organisation} {plain(period)}", facts, evidence)


def _holds(other: DeliveryRecord, rejected: DeliveryRecord) -> bool:
    """Whether a delivery that came later is accepted and, being cumulative, holds the period of the rejected one."""
    return (
        other.organisation == rejected.organisation
        and other.period >= rejected.period
        and other.status in ("accepted", "duplicate")
        and other.received_at > rejected.received_at
    )


def _warnings(records: Collection[DeliveryRecord], ledger: Readings) -> Iterator[Problem]:
    """Rules that failed in the newest accepted delivery of an organisation and do not block."""
    newest: dict[str, DeliveryRecord] = {}
    for record in sorted(records, key=lambda one: (one.period, one.sequence)):
        if record.status == "accepted":
            newest[record.organisation] = record
    for organisation, record in sorted(newest.items()):
        failed = [one for one in ledger.judgements(record.manifest_sha256) if one["status"] == "failed" and one["severity"] == "warning"]  # fmt: skip
        for rule in sorted({str(one["rule"]) for one in failed}):
            facts = {"organisation": organisation, "period": plain(record.period), "delivery": plain(record.delivery_id), "rules": rule}  # fmt: skip
            yield Problem("warning_new", f"{organisation} {rule}", facts, record.manifest_sha256)


def _overdue(
    settings: Settings, ledger: Readings, contracts: Mapping[str, Organisation], today: date
) -> Iterator[Problem]:
    for one in late_now(settings, ledger, contracts, today):
        facts: dict[str, Fact] = {
            "organisation": one.organisation, "period": one.period, "due_on": one.due_on.isoformat(), "days": one.days,
            "state": one.state,
        }  # fmt: skip
        yield Problem("overdue", f"{one.organisation} {one.period}", facts, stage=one.stage)


def late_now(settings: Settings, ledger: Readings, contracts: Mapping[str, Organisation], today: date) -> list[Overdue]:
    """Which deliveries are overdue on a day, but for organisations that a waiver lets be missing."""
    without = missing(read_waivers(settings.waivers_file), today)
    return overdue(lines(settings, ledger, contracts, today), contracts, settings, today, without)


def _fits(settings: Settings, ledger: Readings, material_move: float) -> Iterator[Problem]:
    held = waiting_fit(ledger)
    if held is not None:
        facts: dict[str, Fact] = {"fit": held.fit_id, "version": held.version_id, "checks": ", ".join(held.checks)}
        facts["can_be_signed"] = "yes" if held.can_be_signed else "no"
        yield Problem("fit_held", f"fit {held.fit_id}", facts, held.fit_id)
    current = settings.fits / "current"
    fit = current.readlink().name if current.is_symlink() else ""
    path = settings.fits / f"{fit}.changes.json"
    is_approved = any(one.fit_id == fit and one.state == APPROVED for one in releases(ledger))
    if not fit or is_approved or not path.is_file():
        return
    changed = json.loads(path.read_text(encoding="utf-8"))
    move = float(changed.get("largest_move_in_std_errors") or 0.0)
    if changed.get("old_fit") and move >= material_move:
        facts = {"fit": fit, "old_fit": str(changed["old_fit"]), "largest_move_in_std_errors": round(move, 1)}
        yield Problem("material_change", f"fit {fit}", facts, fit)


def _releases(ledger: Readings) -> Iterator[Problem]:
    for one in releases(ledger):
        if one.state == DRAFT:
            facts = {"release": one.tag, "version": one.version_id, "fit": one.fit_id, "after": one.after or "none"}
            yield Problem("release_waiting", f"release {one.tag}", facts, one.manifest_sha256)


def _fetches(ledger: Readings, contracts: Mapping[str, Organisation]) -> Iterator[Problem]:
    for row in ledger.last_fetchings():
        if row["organisation"] in contracts and row["trouble"] not in (None, "", "source.resting"):
            facts = {"organisation": row["organisation"], "trouble": row["trouble"]}
            yield Problem("fetch_failed", row["organisation"], facts, str(row["id"]))


def _extract(ledger: Readings, contracts: Mapping[str, Organisation]) -> Iterator[Problem]:
    """The newest year that was asked for, while it is not here: an older one is in a newer extract."""
    for one in follow_ups(ledger, contracts)[-1:]:
        if one.waits:
            facts: dict[str, Fact] = {"year": one.year, "asked_on": one.asked_at.date().isoformat()}
            yield Problem("extract_asked", f"registry {one.year}", facts, one.year)
