"""What the status page knows: each organisation and period, what else waits for somebody, and what is published. In codes and counts, no words.

Read from the ledger and the home at once, without Dagster or Great Expectations; how it reads is in `page.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from orchestration.analysis.signoff import waiting_fit
from orchestration.deliveries.contracts import Organisation
from orchestration.deliveries.sources import read_sources
from orchestration.deliveries.waivers import PEOPLE, read_waivers
from orchestration.readings import Readings
from orchestration.settings import Settings
from orchestration.status import Line, lines
from orchestration.warehouse.versions import Version, current_version

ENDS_SOON_DAYS = 14
DRAFT = "draft"


@dataclass(frozen=True)
class Notice:
    """Something beside deliveries that waits for somebody: its kind (a text of the page), the codes in it, and what fills the text."""

    kind: str
    since: date | None = None
    codes: tuple[str, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Overview:
    """The page before it is words. `lines` are in the order of `status.lines`; `is_simulated` where any delivery is."""

    lines: tuple[Line, ...]
    titles: Mapping[str, Mapping[str, str]]
    delivers_once: frozenset[str]
    notices: tuple[Notice, ...]
    version_id: str | None
    cutoff_on: date | None
    fit_id: str | None
    is_simulated: bool
    written_at: datetime

    @property
    def today(self) -> date:
        return self.written_at.date()


def overview(
    settings: Settings, ledger: Readings, contracts: Mapping[str, Organisation], written_at: datetime
) -> Overview:
    """Everything that the page shows, as it is now. Raises CannotWaive and SourceError for files that cannot be read."""
    version, fits = current_version(settings), ledger.fits()
    return Overview(
        lines=tuple(lines(settings, ledger, contracts, written_at.date())),
        titles={name: dict(organisation.title) for name, organisation in contracts.items()},
        delivers_once=frozenset(name for name, organisation in contracts.items() if organisation.cadence == "once"),
        notices=tuple(_notices(settings, ledger, written_at.date())),
        version_id=version.version_id if version else None,
        cutoff_on=date.fromisoformat(version.manifest["registry_cutoff_on"]) if version else None,
        fit_id=fits[-1]["fit_id"] if fits else None,
        is_simulated=_is_simulated(ledger, version),
        written_at=written_at,
    )


def _is_simulated(ledger: Readings, version: Version | None) -> bool:
    return bool(version and version.manifest["simulated"]) or any(record.is_simulated for record in ledger.deliveries())


def _notices(settings: Settings, ledger: Readings, today: date) -> Iterator[Notice]:
    """The most pressing kind first."""
    yield from _withdrawals(ledger)
    yield from _held(ledger)
    yield from _fetches(settings, ledger)
    yield from _drafts(ledger)
    yield from _waivers(settings, today)


def _withdrawals(ledger: Readings) -> Iterator[Notice]:
    for item in ledger.withdrawals():
        if item.finished_at is None:
            yield Notice("withdrawal", item.requested_at.date(), values={"id": item.withdrawal_id})


def _held(ledger: Readings) -> Iterator[Notice]:
    held = waiting_fit(ledger)
    if held is None:
        return
    since = ledger.held_fits()[-1]["held_at"].date()
    values = {"fit": held.fit_id, "version": held.version_id, "given": len(held.by), "needed": PEOPLE}
    kind = "fit_signing" if held.can_be_signed else "fit_held"
    yield Notice(kind, since, held.checks, values)
    if held.stays:
        yield Notice("fit_stays", None, (), {"fit": held.stays})


def _fetches(settings: Settings, ledger: Readings) -> Iterator[Notice]:
    """The sources that could not be fetched from when they were last looked at, and since when they could not."""
    for name in read_sources(settings.sources_file):
        looks = ledger.fetchings(name)
        if not looks or not looks[-1]["trouble"]:
            continue
        failing = []
        for seen in reversed(looks):
            if not seen["trouble"]:
                break
            failing.append(seen)
        told = [seen["trouble"] for seen in failing if seen["trouble"] != "source.resting"]
        yield Notice(
            "fetch", failing[-1]["fetched_at"].date(), tuple(told[:1] or ["source.resting"]),
            {"organisation": name, "times": len(failing)},
        )  # fmt: skip


def _drafts(ledger: Readings) -> Iterator[Notice]:
    for release in ledger.releases():
        if release["state"] == DRAFT:
            yield Notice("release", release["drafted_at"].date(), values={"tag": release["tag"]})


def _waivers(settings: Settings, today: date) -> Iterator[Notice]:
    for item in read_waivers(settings.waivers_file):
        where = " ".join(part for part in (item.organisation, item.period, item.delivery) if part)
        values = {"rule": item.rule, "where": where, "until": item.until, "given": len(set(item.by)), "needed": PEOPLE}
        if today <= item.until and not item.holds(today):
            yield Notice("waiver_signing", None, (), values)
        elif item.holds(today) and (item.until - today).days <= ENDS_SOON_DAYS:
            yield Notice("waiver_ends", None, (), {**values, "days": (item.until - today).days})
