"""What was received, blocked, accepted and published, by organisation and period, and the versions that came of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from orchestration.deliveries.contracts import Organisation
from orchestration.deliveries.inbox import waiting
from orchestration.deliveries.periods import is_period, last_day
from orchestration.readings import DeliveryRecord, Readings
from orchestration.settings import Settings
from orchestration.warehouse.versions import all_versions, current_id

GRACE_DAYS = 45
_ORDER = {"blocked": 0, "retracted": 1, "late": 2, "received": 3, "accepted": 4, "published": 5}


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
    waived = ledger.waived()
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
        periods = set(records) | {period for name, period in waits if name == organisation.name}
        for period in sorted(periods | set(periods_due(organisation, first, today))):
            found.append(
                _line(
                    ledger,
                    organisation,
                    period,
                    records.get(period),
                    (organisation.name, period) in waits,
                    published,
                    waived.get(records[period].manifest_sha256, []) if period in records else [],
                    today,
                )
            )
    return sorted(
        (line for line in found if line is not None),
        key=lambda line: (_ORDER[line.state], line.due_on, line.organisation),
    )


def _line(
    ledger: Readings,
    organisation: Organisation,
    period: str,
    record: DeliveryRecord | None,
    waits: bool,
    published: set[tuple[str, str, str]],
    waived: list[str],
    today: date,
) -> Line | None:
    due_on = last_day(period) + timedelta(days=GRACE_DAYS) if is_period(period, organisation.cadence) else today
    if record is None:
        if waits:
            return Line(organisation.name, period, "received", "", "", 0, due_on)
        return Line(organisation.name, period, "late", "not received", "", 0, due_on) if today > due_on else None
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
    reason = f"waived: {', '.join(waived)}" if waived else ""
    return Line(organisation.name, period, state, reason, record.delivery_id, sum(record.row_counts.values()), due_on)


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
