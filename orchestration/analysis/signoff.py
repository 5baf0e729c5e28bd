"""Signing off a fit that is held because the risks of its reference people moved too far: which fit waits, and who signed it.

The check itself is in `gate.py`; that a signed fit becomes current is the business of `assets.py`. Nothing heavy is imported, since
`status` asks here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestration.deliveries.waivers import PEOPLE
from orchestration.readings import Readings
from orchestration.trouble import Mendable

if TYPE_CHECKING:
    from orchestration.ledger import Ledger

REFERENCE = "reference_predictions"  # the one check that people may sign away


class CannotSignOff(Mendable):
    """The fit is not one that can be signed off; says why."""


@dataclass(frozen=True)
class Held:
    """A refit that waits: the checks that hold it and in which words, the fit that stays, and who has signed."""

    fit_id: str
    version_id: str
    reason: str
    checks: tuple[str, ...]
    stays: str | None
    by: tuple[str, ...]

    @property
    def can_be_signed(self) -> bool:
        return self.checks == (REFERENCE,)

    @property
    def is_signed(self) -> bool:
        return self.can_be_signed and is_enough(self.by)


def is_enough(by: Sequence[str]) -> bool:
    """Whether enough different people have signed."""
    return len(set(by)) >= PEOPLE


def waiting_fit(ledger: Readings) -> Held | None:
    """The latest refit when it was held; None when it was good, or when nothing was fitted.

    A signature is for a fit against the fit that it was compared with: against another one it has to be given again.
    """
    held, fits = ledger.held_fits(), ledger.fits()
    if not held or (fits and fits[-1]["fitted_at"] > held[-1]["held_at"]):
        return None
    last, stays = held[-1], fits[-1]["fit_id"] if fits else None
    by = ledger.signatures(last["fit_id"], stays or "")
    return Held(last["fit_id"], last["version_id"], last["reason"], ledger.held_by(last["fit_id"]), stays, by)


def sign_off(ledger: Ledger, fit: str, reason: str, by: str) -> Held:
    """Sign the fit that waits, named by its id or the beginning of it, in the name of `by`; a second person signs by asking the same.

    Raises CannotSignOff: without a reason, when it is not that fit that waits, and when another check holds it too.
    """
    held = waiting_fit(ledger)
    if not reason.strip():
        raise CannotSignOff("a reason is needed: it stays on record")
    if held is None:
        raise CannotSignOff("no fit waits: the latest refit was not held back")
    if not fit or not held.fit_id.startswith(fit):
        raise CannotSignOff(f"that fit does not wait; the one that does is {held.fit_id}")
    if not held.can_be_signed:
        others = ", ".join(check for check in held.checks if check != REFERENCE) or "checks that are not on record"
        raise CannotSignOff(f"fit {held.fit_id} is held by {others}, which nobody can sign away: {held.reason}")
    ledger.record_signature(held.fit_id, held.stays or "", by, reason.strip())
    signed = waiting_fit(ledger)
    assert signed is not None  # noqa: S101 - it has just been signed
    return signed
