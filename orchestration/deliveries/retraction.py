"""Taking back a delivery that was sent or accepted by mistake: on record, by whoever is signed on."""

from __future__ import annotations

from orchestration.audit import signed_on as signed_on  # who acts is said here, too
from orchestration.ledger import Ledger
from orchestration.readings import DeliveryRecord
from orchestration.trouble import Mendable


class CannotRetract(Mendable):
    """The delivery is not one that can be taken back; says why."""


def retract(ledger: Ledger, delivery: str, reason: str) -> DeliveryRecord:
    """Take back an accepted delivery, named by its id or as organisation/period/id. Raises CannotRetract.

    One that is taken back already stays as it is on record.
    """
    if not reason.strip():
        raise CannotRetract("a reason is needed: it stays on record")
    named = [
        record
        for record in ledger.deliveries()
        if delivery in (record.delivery_id, f"{record.organisation}/{record.period}/{record.delivery_id}")
    ]
    if not named:
        raise CannotRetract("the ledger knows no delivery of that name; `delictvrij status` lists them")
    found = [record for record in named if record.status in ("accepted", "duplicate")]
    again = [record for record in named if record.status == "retracted"]
    if not found and len(again) == 1:
        return again[0]
    if not found:
        states = ", ".join(sorted({record.status for record in named}))
        raise CannotRetract(f"only an accepted delivery can be taken back; this one is {states}")
    if len(found) > 1:
        places = ", ".join(f"{record.organisation}/{record.period}/{record.delivery_id}" for record in found)
        raise CannotRetract(f"{len(found)} accepted deliveries have that id; say which: {places}")
    (record,) = found
    ledger.retract(record.manifest_sha256, signed_on(), reason.strip())
    return record
