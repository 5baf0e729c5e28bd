"""Which organisation's delivery is overdue, and for how long: pure, from the lines of `status.py`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from orchestration.deliveries.contracts import Organisation
from orchestration.settings import Settings
from orchestration.status import Line, due_on, periods_due

REMINDERS = (1, 7, 14)  # days after the last day on which a delivery is in time
_IS_HERE = ("received", "validating", "accepted", "published")


@dataclass(frozen=True)
class Overdue:
    """The newest period of an organisation that should be here and is not; `state` as the status page has it."""

    organisation: str
    period: str
    due_on: date
    days: int
    state: str

    @property
    def stage(self) -> int:
        """The last reminder that is due: 1, 7 or 14 days after the due date."""
        return max(stage for stage in REMINDERS if stage <= self.days)


def overdue(
    lines: Iterable[Line],
    contracts: Mapping[str, Organisation],
    settings: Settings,
    today: date,
    without: Collection[str] = (),
) -> list[Overdue]:
    """The organisations whose newest period past its due date is neither accepted nor waiting here, by name.

    Deliveries are cumulative, so an older period that never came is no gap once a newer one is here. `without` names those that a
    waiver lets be missing.
    """
    by_place = {(line.organisation, line.period): line.state for line in lines}
    found = []
    for organisation in contracts.values():
        period = newest_past_due(organisation, settings, today)
        if period is None or organisation.name in without:
            continue
        mine = {when: state for (name, when), state in by_place.items() if name == organisation.name}
        if any(when >= period and state in _IS_HERE for when, state in mine.items()):
            continue
        due = due_on(organisation, period)
        found.append(Overdue(organisation.name, period, due, (today - due).days, mine.get(period, "late")))
    return sorted(found, key=lambda one: one.organisation)


def newest_past_due(organisation: Organisation, settings: Settings, today: date) -> str | None:
    """The last period of an organisation whose due date is over; None before the first, and for one that delivers once."""
    first = settings.first_quarter if organisation.cadence == "quarterly" else str(settings.first_registry_year)
    past = [period for period in periods_due(organisation, first, today) if due_on(organisation, period) < today]
    return past[-1] if past else None
