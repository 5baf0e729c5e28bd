"""The yearly follow-up: for which year the registry is asked, that it was, and how far the answer has come.

When that is looked at is the business of `automation.py`; who is told, of `stewards/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING

from orchestration.deliveries.contracts import Organisation
from orchestration.readings import Readings
from orchestration.releases.approval import APPROVED, REJECTED, releases
from orchestration.releases.tags import follow_up_year, parsed

if TYPE_CHECKING:
    from orchestration.ledger import Ledger

ASKED_ON = (3, 1)  # month and day from which the extract of the year before is asked for


@dataclass(frozen=True)
class FollowUp:
    """One year's follow-up: since when its extract is asked for, and how far it has come.

    `state` is asked, rejected (an extract came and was not accepted), accepted, fitted, drafted or approved; `release` the tag of
    what was drafted of it.
    """

    year: str
    asked_at: datetime
    asked_by: str
    state: str
    release: str | None = None

    @property
    def waits(self) -> bool:
        """Whether the registry has not delivered what it was asked for."""
        return self.state in ("asked", "rejected")


def year_asked_on(day: date) -> str:
    """The year whose extract is the last one that should be asked for on a day: from 1 March that of the year before."""
    return str(day.year - 1 if (day.month, day.day) >= ASKED_ON else day.year - 2)


def is_accepted(ledger: Readings, contracts: Mapping[str, Organisation], year: str) -> bool:
    """Whether the registry's extract of a year has been accepted and not taken back."""
    return "accepted" in _verdicts(ledger, contracts, year)


def is_to_be_asked(ledger: Readings, contracts: Mapping[str, Organisation], day: date) -> bool:
    """Whether the year that should be asked for on a day is neither on record as asked for nor accepted."""
    year = year_asked_on(day)
    asked = {row["year"] for row in ledger.follow_ups()}
    return year not in asked and not is_accepted(ledger, contracts, year)


def ask(ledger: Ledger, year: str, by: str) -> bool:
    """Put on record that the extract of a year is asked for, once; False where it was already."""
    return ledger.ask_follow_up(year, by)


def follow_ups(ledger: Readings, contracts: Mapping[str, Organisation]) -> list[FollowUp]:
    """Every year that was asked for, oldest first, and how far it has come."""
    asked = ledger.follow_ups()
    if not asked:
        return []
    cutoffs = {build["version_id"]: build["record"].get("registry_cutoff_on") for build in ledger.builds()}
    fitted = {follow_up_year(cutoffs[fit["version_id"]]) for fit in ledger.fits() if cutoffs.get(fit["version_id"])}
    found = []
    for row in asked:
        released = int(row["year"]) + 1
        mine = [one for one in releases(ledger) if parsed(one.tag).year == released and one.state != REJECTED]
        verdicts = _verdicts(ledger, contracts, row["year"])
        if mine:
            state = "drafted" if all(one.state == "draft" for one in mine) else APPROVED
        elif "accepted" in verdicts:
            state = "fitted" if released in fitted else "accepted"
        else:
            state = "rejected" if "rejected" in verdicts else "asked"
        tag = mine[-1].tag if mine else None
        found.append(FollowUp(row["year"], row["asked_at"], row["asked_by"], state, tag))
    return found


def _verdicts(ledger: Readings, contracts: Mapping[str, Organisation], year: str) -> set[str]:
    """The verdicts on a year's extracts; a duplicate of what was accepted is accepted."""
    registries = {organisation.name for organisation in contracts.values() if organisation.kind == "registry"}
    found = {
        record.status for record in ledger.deliveries() if record.organisation in registries and record.period == year
    }
    return {"accepted" if status == "duplicate" else status for status in found}
