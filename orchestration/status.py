"""What is expected, late, blocked, accepted and published, by organisation and period, and the versions that came of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import count, takewhile
from typing import Any

from orchestration.analysis.signoff import waiting_fit
from orchestration.deliveries.contracts import Organisation
from orchestration.deliveries.inbox import waiting
from orchestration.deliveries.periods import first_day, is_period, last_day
from orchestration.deliveries.waivers import MISSING, PEOPLE, Waiver, missing, read_waivers
from orchestration.readings import DeliveryRecord, Readings
from orchestration.settings import Settings
from orchestration.warehouse.versions import all_versions, current_id

# Problems stand first, the oldest first; then what is on its way, then what is well.
PROBLEMS = ("late", "blocked", "retracted", "incomplete")
ON_THE_WAY = ("received", "validating", "expected")
WELL = ("accepted", "published")
STATES = (*PROBLEMS, *ON_THE_WAY, *WELL)


@dataclass(frozen=True)
class Line:
    """One organisation and period: its state, why in one line, and the last day on which its delivery is in time.

    `rules` are the codes of those that block it, `waived` of those that people accepted; `corrections` counts the values that were mended.
    """

    organisation: str
    period: str
    state: str
    reason: str
    delivery_id: str
    rows: int
    due_on: date
    rules: tuple[str, ...] = ()
    waived: tuple[str, ...] = ()
    corrections: int = 0

    @property
    def is_problem(self) -> bool:
        return self.state in PROBLEMS

    def days_late(self, today: date) -> int:
        """How many days after its due day a problem is; nothing is late that is on its way or well."""
        return max((today - self.due_on).days, 0) if self.is_problem else 0


def periods_of(organisation: Organisation, first: str) -> Iterator[str]:
    """The periods of an organisation from the first that is expected, without end; none of one that delivers once."""
    if organisation.cadence == "once":
        return
    for year in count(int(first[:4])):
        names = (
            [f"{year}-Q{quarter}" for quarter in range(1, 5)] if organisation.cadence == "quarterly" else [str(year)]
        )
        yield from (name for name in names if name >= first)


def periods_due(organisation: Organisation, first: str, today: date) -> Iterator[str]:
    """The periods of an organisation that have ended, from the first that is expected."""
    return takewhile(lambda period: last_day(period) < today, periods_of(organisation, first))


def periods_begun(organisation: Organisation, first: str, today: date) -> Iterator[str]:
    """The periods that have ended, and the one that runs."""
    return takewhile(lambda period: first_day(period) <= today, periods_of(organisation, first))


def lines(settings: Settings, ledger: Readings, contracts: Mapping[str, Organisation], today: date) -> list[Line]:
    """The state of each organisation and period: problems with the oldest first, then what is on its way, then what is well.

    A period that runs, or has ended and is within its grace, is `expected`; a delivery without a verdict is `received`, one on which the
    gate is at work (or was interrupted) `validating`.
    """
    built = ledger.builds()
    published = {
        (delivery["organisation"], delivery["period"], delivery["content_hash"])
        for delivery in (built[-1]["record"]["deliveries"] if built else [])
    }
    waits = {(item.organisation, item.period): item for item in waiting(settings, ledger, contracts)}
    waived, corrected = ledger.waived(), ledger.corrected()
    without = missing(read_waivers(settings.waivers_file), today)
    incomplete = {
        (seen.organisation, seen.period): seen.state for seen in ledger.sightings() if seen.state != "fetched"
    }
    newest: dict[str, dict[str, DeliveryRecord]] = {}
    for record in ledger.deliveries():
        known = newest.setdefault(record.organisation, {}).get(record.period)
        # A delivery that was taken back is shown where nothing else was delivered for the period.
        if known is None or (record.status != "retracted", record.received_at) >= (
            known.status != "retracted",
            known.received_at,
        ):
            newest[record.organisation][record.period] = record
    found = []
    for organisation in contracts.values():
        records = newest.get(organisation.name, {})
        first = settings.first_quarter if organisation.cadence == "quarterly" else str(settings.first_registry_year)
        periods = set(records) | {period for name, period in (*waits, *incomplete) if name == organisation.name}
        for period in sorted(periods | set(periods_begun(organisation, first, today))):
            if period not in records:
                place = (organisation.name, period)
                found.append(_nothing(organisation, period, place in waits, incomplete.get(place), without, today))
                continue
            record = records[period]
            sha = record.manifest_sha256
            accepted = (tuple(waived.get(sha, ())), corrected.get(sha, 0))
            found.append(_line(ledger, organisation, period, record, published, accepted, today))
    return sorted(found, key=_urgency)


def _urgency(line: Line) -> tuple[int, date, int, str]:
    """Problems by the day on which they were due, whatever they are; everything else by its state, then by that day."""
    order = STATES.index(line.state)
    return (0 if line.is_problem else order, line.due_on, order, line.organisation)


def due_on(organisation: Organisation, period: str) -> date:
    """The last day on which the delivery of a period is in time: the end of the period and the grace of its contract.

    Raises ValueError for what is no period of the organisation; nothing is due of one that delivers once.
    """
    if organisation.cadence == "once" or not is_period(period, organisation.cadence):
        raise ValueError(f"{period!r} is no period for which {organisation.name} delivers {organisation.cadence}")
    return last_day(period) + timedelta(days=organisation.grace_days)


def _due_on(organisation: Organisation, period: str, today: date) -> date:
    try:
        return due_on(organisation, period)
    except ValueError:
        return today


def _nothing(
    organisation: Organisation,
    period: str,
    waits: bool,
    at_source: str | None,
    without: Mapping[str, Waiver],
    today: date,
) -> Line:
    """The line of a period of which the ledger knows no delivery: it waits, is still at its source, is expected, or is late."""
    due = _due_on(organisation, period, today)
    if waits:
        return Line(organisation.name, period, "received", "", "", 0, due)
    if at_source:
        return Line(organisation.name, period, "incomplete", f"{at_source} at the source", "", 0, due)
    if today <= due:
        return Line(organisation.name, period, "expected", "", "", 0, due)
    if organisation.name in without:
        reason = f"not received; waived: {MISSING} until {without[organisation.name].until}"
        return Line(organisation.name, period, "late", reason, "", 0, due, waived=(MISSING,))
    return Line(organisation.name, period, "late", "not received", "", 0, due)


def _line(
    ledger: Readings,
    organisation: Organisation,
    period: str,
    record: DeliveryRecord,
    published: set[tuple[str, str, str]],
    accepted: tuple[tuple[str, ...], int],
    today: date,
) -> Line:
    due = _due_on(organisation, period, today)
    if record.status == "rejected":
        rules = sorted(
            {
                item["rule"]
                for item in ledger.judgements(record.manifest_sha256)
                if item["status"] in ("failed", "error")
            }
        )
        return Line(organisation.name, period, "blocked", ", ".join(rules), record.delivery_id, 0, due, tuple(rules))
    if record.status == "retracted":
        return Line(organisation.name, period, "retracted", "taken back", record.delivery_id, 0, due)
    waived, corrections = accepted
    notes = [f"waived: {', '.join(waived)}"] if waived else []
    notes += [f"corrections: {corrections}"] if corrections else []
    is_published = (organisation.name, period, record.content_hash) in published
    state = "validating" if record.status == "received" else "published" if is_published else "accepted"
    return Line(
        organisation.name, period, state, "; ".join(notes), record.delivery_id, sum(record.row_counts.values()), due,
        waived=waived, corrections=corrections,
    )  # fmt: skip


def held_back(ledger: Readings) -> str | None:
    """In one line, that the latest refit was held back, why, and which fit stays; None when the latest refit was good."""
    held, fits = waiting_fit(ledger), ledger.fits()
    if held is None:
        return None
    stays = f"fit {fits[-1]['fit_id']} of version {fits[-1]['version_id']} stays" if fits else "there is no fit yet"
    said = f"the refit of version {held.version_id} was held back ({held.reason}); {stays}"
    if not held.can_be_signed:
        return said
    return f"{said}; it waits for signatures, {len(held.by)} of {PEOPLE} given: `delictvrij sign-off {held.fit_id}`"


def listed_versions(settings: Settings, ledger: Readings) -> list[dict[str, Any]]:
    """The published versions, newest first, with when each was first built and how many fits it has."""
    builds, fits, current = ledger.builds(), ledger.fits(), current_id(settings)
    found = []
    for version in all_versions(settings):
        own = [build["built_at"] for build in builds if build["version_id"] == version.version_id]
        found.append(
            {
                "version_id": version.version_id,
                "is_current": version.version_id == current,
                "simulated": version.manifest["simulated"],
                "registry_cutoff_on": version.manifest["registry_cutoff_on"],
                "rows": sum(table["rows"] for table in version.manifest["tables"].values()),
                "first_built_at": min(own).isoformat(timespec="seconds") if own else "",
                "builds": len(own),
                "fits": sum(fit["version_id"] == version.version_id for fit in fits),
            }
        )
    return sorted(found, key=lambda entry: (entry["first_built_at"], entry["version_id"]), reverse=True)
