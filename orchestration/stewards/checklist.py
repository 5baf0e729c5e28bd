"""The checklist of a yearly refresh, as far as the platform can fill it in: what it has seen of each item, from the ledger and the home.

The items and what is said of them are data (`yearly.yml`, nl and en). Nothing is done here; how each is done stands in
docs/yearly-refresh.md. Holds names of organisations, accounts, releases and days, no value of a client.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from orchestration.analysis.signoff import waiting_fit
from orchestration.audit import Sealing, entry_of, findings
from orchestration.deliveries.contracts import Organisation
from orchestration.deliveries.waivers import read_waivers
from orchestration.readings import DeliveryRecord, Readings
from orchestration.releases.approval import LEFT, REJECTED, releases
from orchestration.releases.follow_up import year_asked_on
from orchestration.releases.handover import downloads
from orchestration.releases.registers import permissions
from orchestration.releases.tags import parsed
from orchestration.settings import Settings
from orchestration.status import due_on, lines

ITEMS = Path(__file__).with_name("yearly.yml")
DONE, OPEN, PERSON = "done", "open", "person"
BACKUP_DAYS, SOON_DAYS = 31, 60


@dataclass(frozen=True)
class Seen:
    """What the platform has seen of an item: whether it is done, what it says of it, and what fills that."""

    is_done: bool
    said: str
    values: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Item:
    """One line of the checklist: its name, stage, state (`done`, `open`, `person`), and what was seen, None where a person ticks it."""

    name: str
    stage: str
    state: str
    seen: Seen | None


@dataclass(frozen=True)
class _Place:
    """Where is looked, for which year and on which day."""

    settings: Settings
    ledger: Readings
    contracts: Mapping[str, Organisation]
    year: str
    today: date

    @property
    def registry(self) -> Organisation:
        return next(one for one in self.contracts.values() if one.kind == "registry")

    @property
    def extracts(self) -> list[DeliveryRecord]:
        """What came of the registry for that year and was not taken back, oldest first."""
        records = self.ledger.deliveries(organisation=self.registry.name)
        return [one for one in records if one.period == self.year and one.status != "retracted"]


def checklist(
    settings: Settings, ledger: Readings, contracts: Mapping[str, Organisation], today: date, year: str | None = None
) -> list[Item]:
    """Every item in its order, for the follow-up of `year`: by default the last one that is asked for on that day."""
    place = _Place(settings, ledger, contracts, year or year_asked_on(today), today)
    found = []
    for name, said in wording()["items"].items():
        if said.get("by") == PERSON:
            found.append(Item(name, said["stage"], PERSON, None))
            continue
        seen = _SEEN[name](place)
        found.append(Item(name, said["stage"], DONE if seen.is_done else OPEN, seen))
    return found


@cache
def wording() -> Mapping[str, Any]:
    """What the checklist says, as `yearly.yml` has it."""
    words: Mapping[str, Any] = yaml.safe_load(ITEMS.read_text(encoding="utf-8"))
    return words


def markdown(items: Iterable[Item], year: str, language: str, *, is_simulated: bool) -> str:
    """The checklist as Markdown, which a steward can print, or tick further by hand."""
    words = wording()
    title = {"nl": f"Jaarlijkse verversing: uittreksel {year}", "en": f"Yearly refresh: extract of {year}"}[language]
    out, stage = [f"# {title}{'  (SIMULATED)' if is_simulated else ''}"], ""
    for item in items:
        if item.stage != stage:
            stage = item.stage
            out.append(f"\n## {words['stages'][stage][language]}\n")
        mark = "x" if item.state == DONE else " "
        seen = (
            words["states"][PERSON][language]
            if item.seen is None
            else words["said"][item.seen.said][language].format(**item.seen.values)
        )
        out.append(f"- [{mark}] {words['items'][item.name][language]} ({seen})")
    return "\n".join(out) + "\n"


# what is seen of each ---------------------------------------------------------------------------------------------------
def _audit_trail(place: _Place) -> Seen:
    entries = [entry_of(row) for row in place.ledger.audit()]
    wrong = findings(entries, Sealing.of(place.settings))
    return Seen(False, "findings", {"count": len(wrong)}) if wrong else Seen(True, "entries", {"count": len(entries)})


def _backup(place: _Place) -> Seen:
    made = [date.fromisoformat(str(row["at"])[:10]) for row in place.ledger.audit() if row["what"] == "backup.made"]
    last = max(made, default=None)
    if last is not None and place.today - last <= timedelta(days=BACKUP_DAYS):
        return Seen(True, "made_on", {"day": last})
    return Seen(False, "no_backup", {"day": last or "—"})


def _partners(place: _Place) -> Seen:
    known = lines(place.settings, place.ledger, place.contracts, place.today)
    partners = [one for one in place.contracts.values() if one.cadence == "quarterly"]
    late = sorted(
        {line.organisation for line in known if line.is_problem and line.organisation in {one.name for one in partners}}
    )
    return (
        Seen(False, "late", {"names": ", ".join(late)}) if late else Seen(True, "all_there", {"count": len(partners)})
    )


def _ending(days: Iterable[date], today: date) -> Seen:
    soon = sorted(day for day in days if today <= day <= today + timedelta(days=SOON_DAYS))
    return Seen(False, "ending", {"count": len(soon), "day": soon[0]}) if soon else Seen(True, "none_ending")


def _waivers(place: _Place) -> Seen:
    return _ending(
        (one.until for one in read_waivers(place.settings.waivers_file) if one.holds(place.today)), place.today
    )


def _permissions(place: _Place) -> Seen:
    in_force = (one for one in permissions(place.ledger) if one.state(place.today) == "in_force")
    return _ending((one.terms.ends_on for one in in_force), place.today)


def _asked(place: _Place) -> Seen:
    for row in place.ledger.follow_ups():
        if row["year"] == place.year:
            return Seen(True, "asked", {"day": row["asked_at"].date(), "who": row["asked_by"]})
    return Seen(True, "unasked") if place.extracts else Seen(False, "not_asked")


def _received(place: _Place) -> Seen:
    if place.extracts:
        last = place.extracts[-1]
        return Seen(True, "received", {"delivery": last.delivery_id, "day": last.received_at.date()})
    return Seen(False, "not_here", {"day": due_on(place.registry, place.year)})


def _accepted_ones(place: _Place) -> list[DeliveryRecord]:
    return [one for one in place.extracts if one.status in ("accepted", "duplicate")]


def _accepted(place: _Place) -> Seen:
    good = _accepted_ones(place)
    if good:
        return Seen(True, "received", {"delivery": good[-1].delivery_id, "day": good[-1].received_at.date()})
    if not place.extracts:
        return Seen(False, "not_yet")
    judged = place.ledger.judgements(place.extracts[-1].manifest_sha256)
    rules = sorted({one["rule"] for one in judged if one["status"] in ("failed", "error")})
    return Seen(False, "rejected", {"rules": ", ".join(rules)}) if rules else Seen(False, "not_yet")


def _builds(place: _Place) -> list[Mapping[str, Any]]:
    """The builds in which that year's extract counts, oldest first."""
    accepted = {one.content_hash for one in _accepted_ones(place)}
    return [
        build
        for build in place.ledger.builds()
        if any(
            delivery["organisation"] == place.registry.name and delivery["content_hash"] in accepted
            for delivery in build["record"].get("deliveries", ())
        )
    ]


def _published(place: _Place) -> Seen:
    builds = _builds(place)
    if not builds:
        return Seen(False, "not_yet")
    last = builds[-1]
    return Seen(True, "version", {"name": last["version_id"], "day": last["record"]["registry_cutoff_on"]})


def _fitted(place: _Place) -> Seen:
    held = waiting_fit(place.ledger)
    versions = {build["version_id"] for build in _builds(place)}
    if held is not None and held.version_id in versions:
        return Seen(False, "held", {"why": held.reason})
    fits = [fit for fit in place.ledger.fits() if fit["version_id"] in versions]
    return Seen(True, "fit", {"name": fits[-1]["fit_id"]}) if fits else Seen(False, "not_yet")


def _proven(place: _Place) -> Seen:
    from orchestration.analysis.fit import recovery_badge  # heavy: not before somebody asks

    badge = recovery_badge()
    return Seen(bool(badge["is_proven"]), "proof", {"said": badge["said"]})


def _drafted(place: _Place) -> Seen:
    mine = [
        one for one in releases(place.ledger) if parsed(one.tag).year == int(place.year) + 1 and one.state != REJECTED
    ]
    return Seen(True, "release", {"name": mine[-1].tag, "who": mine[-1].drafted_by}) if mine else Seen(False, "not_yet")


def _approved(place: _Place) -> Seen:
    left = [one for one in releases(place.ledger) if parsed(one.tag).year == int(place.year) + 1 and one.state in LEFT]
    return Seen(True, "release", {"name": left[-1].tag, "who": left[-1].decided_by}) if left else Seen(False, "not_yet")


def _told(place: _Place) -> Seen:
    stale = sorted({one.person for one in downloads(place.settings, place.ledger, place.today) if one.is_stale})
    return Seen(False, "to_tell", {"names": ", ".join(stale)}) if stale else Seen(True, "nobody")


_SEEN: Mapping[str, Callable[[_Place], Seen]] = {
    "audit_trail": _audit_trail, "backup": _backup, "partners": _partners, "waivers": _waivers, "permissions": _permissions,
    "asked": _asked, "received": _received, "accepted": _accepted, "published": _published, "fitted": _fitted, "proven": _proven,
    "drafted": _drafted, "approved": _approved, "told": _told,
}  # fmt: skip
