"""Waivers: a failed rule that people accept for one delivery, with a reason, their names and an end date.

They stand in `waivers.yml`. A rule that keeps a delivery out needs two people. What cannot be read, identified or joined
cannot be waived: it has to be delivered again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from orchestration.deliveries.contracts import Organisation
from orchestration.deliveries.judgement import Judgement, Status
from orchestration.files import write_atomically
from orchestration.readings import DeliveryRecord
from orchestration.trouble import Mendable

if TYPE_CHECKING:
    from orchestration.ledger import Ledger

WAIVED = "waived"
WAIVABLE = frozenset(
    {
        "rows.shrunk", "table.empty", "value.range", "relation.unknown", "rule.unique", "rule.order",
        "rule.required_when", "rule.missing_share", "history.recoded", "history.dates", "value.dummy",
    }
)  # fmt: skip
PEOPLE = 2
MISSING = "deliveries.missing"
DRIFT = "marts.drift"


class CannotWaive(Mendable):
    """The waiver is not one that can be given; says why."""


@dataclass(frozen=True)
class Waiver:
    """A rule that is waived for one delivery; without `table` or `column`, wherever it failed in that delivery."""

    rule: str
    organisation: str
    period: str
    delivery: str
    reason: str
    by: tuple[str, ...]
    until: date
    table: str = ""
    column: str = ""

    def holds(self, today: date) -> bool:
        """Whether enough people have signed and its time is not over."""
        return len(set(self.by)) >= PEOPLE and today <= self.until

    @property
    def place(self) -> tuple[str, str, str, str]:
        """The rule, and the delivery for which it is waived."""
        return self.rule, self.organisation, self.period, self.delivery

    def covers(self, judgement: Judgement) -> bool:
        return (
            judgement.rule == self.rule
            and self.table in ("", judgement.table)
            and self.column in ("", judgement.column)
        )

    def said(self) -> str:
        """By whom, until when and why, for a letter."""
        return f"{', '.join(self.by)}; {self.until.isoformat()}; {self.reason}"


def read_waivers(path: Path) -> tuple[Waiver, ...]:
    """The waivers in a file; none where there is no file. Raises CannotWaive when an entry lacks or adds something."""
    if not path.is_file():
        return ()
    entries = yaml.safe_load(path.read_text(encoding="utf-8")) or []
    return tuple(_waiver(entry, f"{path.name}, entry {number}") for number, entry in enumerate(entries, start=1))


def _waiver(entry: Any, where: str) -> Waiver:
    try:
        waiver = Waiver(**{**entry, "by": tuple(entry["by"])})
    except (TypeError, KeyError):
        raise CannotWaive(
            f"{where}: it says rule, organisation, period, delivery, reason, by, until, and no more"
        ) from None
    if waiver.rule not in WAIVABLE | {MISSING, DRIFT}:
        raise CannotWaive(f"{where}: {waiver.rule} cannot be waived")
    if not isinstance(waiver.until, date) or not str(waiver.reason).strip():
        raise CannotWaive(f"{where}: it needs a reason and a day on which it ends (yyyy-mm-dd)")
    return waiver


def apply(
    judgements: Iterable[Judgement], waivers: Sequence[Waiver], place: tuple[str, str, str], today: date
) -> tuple[Judgement, ...]:
    """The judgements of the delivery at `place` (organisation, period, id), those that are waived marked as such."""
    own = [item for item in waivers if (item.organisation, item.period, item.delivery) == place and item.holds(today)]

    def judged(judgement: Judgement) -> Judgement:
        # An error is a rule that could not be evaluated: nobody knows what would be waived.
        waiver = next((item for item in own if item.covers(judgement)), None)
        if waiver is None or judgement.status is not Status.FAILED or not judgement.blocks:
            return judgement
        return replace(judgement, severity=WAIVED, waived=waiver.said())

    return tuple(judged(judgement) for judgement in judgements)


def missing(waivers: Sequence[Waiver], today: date) -> dict[str, Waiver]:
    """The organisations without which a build may be made today, with the waiver that says so."""
    return {item.organisation: item for item in waivers if item.rule == MISSING and item.holds(today)}


def waive_missing(
    path: Path, ledger: Ledger, organisation: Organisation, reason: str, until: date, by: str, today: date
) -> Waiver:
    """Sign that builds are made without an organisation that never delivered; a second person signs by asking the same.

    Raises CannotWaive: for a registry there is no doing without, nor for one of which something is accepted.
    """
    if organisation.kind != "partner":
        raise CannotWaive(f"nothing can be built without {organisation.name}")
    if any(record.status in ("accepted", "duplicate") for record in ledger.deliveries(organisation=organisation.name)):
        raise CannotWaive(f"a delivery of {organisation.name} is accepted; it is not missing")
    return _sign(path, Waiver(MISSING, organisation.name, "", "", reason=reason.strip(), by=(by,), until=until), today)


def apply_drift(
    judgements: Iterable[Judgement], waivers: Sequence[Waiver], version_id: str | None, today: date
) -> list[Judgement]:
    """What the gate found against the published version, marked as waived where two people accepted the loss."""
    waiver = next(
        (item for item in waivers if item.rule == DRIFT and item.delivery == version_id and item.holds(today)), None
    )
    return [
        replace(item, severity=WAIVED, waived=waiver.said()) if waiver is not None and item.blocks else item
        for item in judgements
    ]


def waive_drift(path: Path, version_id: str, reason: str, until: date, by: str, today: date) -> Waiver:
    """Sign that the next version may have far fewer clients or events than the published one, `version_id`.

    A second person signs by asking the same. Raises CannotWaive.
    """
    return _sign(path, Waiver(DRIFT, "", "", version_id, reason=reason.strip(), by=(by,), until=until), today)


def _sign(path: Path, waiver: Waiver, today: date) -> Waiver:
    """Write a waiver, or add its name to the one that is there; gives what then stands."""
    if not waiver.reason or waiver.until < today:
        raise CannotWaive("a waiver needs a reason and a day on which it ends, not before today")
    known = read_waivers(path)
    others = [item for item in known if item.place != waiver.place]
    signed = next((item for item in known if item.place == waiver.place), None)
    if signed is not None:
        by = tuple(dict.fromkeys((*signed.by, *waiver.by)))
        waiver = replace(signed, by=by, until=min(signed.until, waiver.until))
    write_atomically(path, _as_yaml([*others, waiver]).encode())
    return waiver


def waive(
    path: Path, ledger: Ledger, delivery: str, rule: str, reason: str, until: date, by: str, today: date
) -> tuple[Waiver, DeliveryRecord]:
    """Sign a waiver of `rule` for a rejected delivery, in the name of `by`; a second person signs by asking the same.

    Once two people have signed, the delivery waits to be judged again. Raises CannotWaive.
    """
    if rule not in WAIVABLE:
        raise CannotWaive(f"{rule} cannot be waived: what cannot be read, identified or joined is delivered again")
    named = [
        record
        for record in ledger.deliveries(status="rejected")
        if delivery in (record.delivery_id, f"{record.organisation}/{record.period}/{record.delivery_id}")
    ]
    if len(named) != 1:
        raise CannotWaive(f"{len(named)} rejected deliveries have that name; say it as ORGANISATION/PERIOD/ID")
    (record,) = named
    failed = {item["rule"] for item in ledger.judgements(record.manifest_sha256) if item["status"] == "failed"}
    if rule not in failed:
        raise CannotWaive(f"{rule} did not fail there; what failed: {', '.join(sorted(failed))}")
    place = (record.organisation, record.period, record.delivery_id)
    waiver = _sign(path, Waiver(rule, *place, reason=reason.strip(), by=(by,), until=until), today)
    if waiver.holds(today):
        ledger.reopen(record.manifest_sha256)
    return waiver, record


def _as_yaml(waivers: Sequence[Waiver]) -> str:
    entries = [
        {
            "rule": item.rule, "organisation": item.organisation, "period": item.period, "delivery": item.delivery,
            **({"table": item.table} if item.table else {}), **({"column": item.column} if item.column else {}),
            "reason": item.reason, "by": list(item.by), "until": item.until,
        }
        for item in waivers
    ]  # fmt: skip
    head = "# Failed rules that people accept for one delivery: why, who, until when. A rule that blocks needs two people.\n"
    return head + yaml.safe_dump(entries, sort_keys=False, allow_unicode=True)
