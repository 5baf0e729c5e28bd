"""What was received, blocked, accepted and published, by organisation and period, and the versions that came of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from orchestration.analysis.signoff import waiting_fit
from orchestration.deliveries.contracts import Organisation
from orchestration.deliveries.inbox import waiting
from orchestration.deliveries.periods import is_period, last_day
from orchestration.deliveries.waivers import MISSING, PEOPLE, Waiver, missing, read_waivers
from orchestration.readings import DeliveryRecord, Readings
from orchestration.settings import Settings
from orchestration.warehouse.versions import all_versions, current_id

_ORDER = {
    "blocked": 0, "retracted": 1, "late": 2, "incomplete": 3, "received": 4, "accepted": 5, "published": 6,
}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One organisation and period: its state, the rules that block it, and since when it is due."""

    organisation: str
    period: str
    state: str
    reason: str
    delivery_id: str
    rows: int
    due_on: date


def periods_due(organisation: Organisation, first: str, today: date) -> Iterator[str]:
    """The periods of an organisation that have ended, from the first that is expected."""
    if organisation.cadence == "once":
        return
    year = int(first[:4])
    while True:
        names = (
            [f"{year}-Q{quarter}" for quarter in range(1, 5)] if organisation.cadence == "quarterly" else [str(year)]
        )
        for name in names:
            if last_day(name) >= today:
                return
            if name >= first:
                yield name
        year += 1


def lines(settings: Settings, ledger: Readings, contracts: Mapping[str, Organisation], today: date) -> list[Line]:
    """The state of each organisation and period, oldest problem first, then the rest."""
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
        for period in sorted(periods | set(periods_due(organisation, first, today))):
            if period not in records:
                place = (organisation.name, period)
                found.append(_nothing(organisation, period, place in waits, incomplete.get(place), without, today))
                continue
            record = records[period]
            notes = [f"waived: {', '.join(waived[sha])}" for sha in (record.manifest_sha256,) if sha in waived]
            notes += [f"corrections: {corrected[sha]}" for sha in (record.manifest_sha256,) if sha in corrected]
            found.append(_line(ledger, organisation, period, record, published, "; ".join(notes), today))
    return sorted(
        (line for line in found if line is not None),
        key=lambda line: (_ORDER[line.state], line.due_on, line.organisation),
    )


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
) -> Line | None:
    """The line of a period of which the ledger knows no delivery: it waits, is still at its source, or is late."""
    due_on = _due_on(organisation, period, today)
    if waits:
        return Line(organisation.name, period, "received", "", "", 0, due_on)
    if at_source:
        return Line(organisation.name, period, "incomplete", f"{at_source} at the source", "", 0, due_on)
    if today <= due_on:
        return None
    reason = "not received"
    if organisation.name in without:
        reason += f"; waived: {MISSING} until {without[organisation.name].until}"
    return Line(organisation.name, period, "late", reason, "", 0, due_on)


def _line(
    ledger: Readings,
    organisation: Organisation,
    period: str,
    record: DeliveryRecord,
    published: set[tuple[str, str, str]],
    notes: str,
    today: date,
) -> Line:
    due_on = _due_on(organisation, period, today)
    if record.status == "rejected":
        rules = sorted(
            {
                item["rule"]
                for item in ledger.judgements(record.manifest_sha256)
                if item["status"] in ("failed", "error")
            }
        )
        return Line(organisation.name, period, "blocked", ", ".join(rules), record.delivery_id, 0, due_on)
    if record.status == "retracted":
        return Line(organisation.name, period, "retracted", "taken back", record.delivery_id, 0, due_on)
    is_published = (organisation.name, period, record.content_hash) in published
    state = "received" if record.status == "received" else "published" if is_published else "accepted"
    return Line(organisation.name, period, state, notes, record.delivery_id, sum(record.row_counts.values()), due_on)


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
