"""Whether a fit that has become current is drafted as a release by itself, and what becomes of an older draft that nobody decided.

How a release is drafted is in `drafting.py`; what starts this, in `assets.py` and `automation.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestration.analysis.signoff import waiting_fit
from orchestration.readings import Readings
from orchestration.releases import approval
from orchestration.releases.approval import DRAFT, LEFT, Released
from orchestration.releases.tags import follow_up_year, parsed

if TYPE_CHECKING:
    from orchestration.ledger import Ledger
    from orchestration.settings import Settings

BY_ITSELF = "release.proposed"  # on the audit trail: this draft was asked for by nobody


@dataclass(frozen=True)
class Proposal:
    """Whether the current fit is to be drafted, and why or why not."""

    is_due: bool
    why: str


@dataclass(frozen=True)
class Proposed:
    """What was drafted; the tags of older drafts that it took the place of, and of those that somebody else has to decide."""

    release: Released
    replaced: tuple[str, ...]
    left: tuple[str, ...]


def proposal(settings: Settings, ledger: Readings) -> Proposal:
    """Whether a release of the current fit is drafted by itself, by the setting `draft_releases`.

    Never of a fit that is held back, nor of one that a release holds in whatever state: what a person rejected is not proposed
    again. Under `yearly` the fit must bring another year of follow-up than what was approved; where nothing was, one whose
    extract was asked for: the first release is a person's, or the yearly refresh's.
    """
    if settings.draft_releases == "never":
        return Proposal(False, "releases are not drafted by themselves (setting draft_releases)")
    if waiting_fit(ledger) is not None:
        return Proposal(False, "the latest refit is held back")
    fits = {row["fit_id"]: row["version_id"] for row in ledger.fits()}
    fit = _current_fit(settings)
    if fit not in fits:
        return Proposal(False, "no fit is current")
    known = approval.releases(ledger)
    holding = [one.tag for one in known if one.fit_id == fit]
    if holding:
        return Proposal(False, f"release {holding[-1]} holds fit {fit}")
    if settings.draft_releases == "always":
        return Proposal(True, f"fit {fit} has become current")
    return _yearly(ledger, known, fit, fits[fit])


def _yearly(ledger: Readings, known: list[Released], fit: str, version: str) -> Proposal:
    cutoffs = [build["record"]["registry_cutoff_on"] for build in ledger.builds() if build["version_id"] == version]
    if not cutoffs:
        return Proposal(False, f"no build of version {version} is on record")
    year = follow_up_year(cutoffs[-1])
    approved = [parsed(one.tag).year for one in known if one.state in LEFT]
    if approved:
        is_due = year > max(approved)
        return Proposal(
            is_due, f"fit {fit} brings {'another' if is_due else 'no other'} year of follow-up than was approved"
        )
    is_asked = str(year - 1) in {row["year"] for row in ledger.follow_ups()}
    said = "was asked for" if is_asked else "was not asked for, and there is no release yet: the first is a person's"
    return Proposal(is_asked, f"the follow-up of {year - 1} {said}")


def _current_fit(settings: Settings) -> str:
    """The id of the fit that counts; empty where none does."""
    current = settings.fits / "current"
    return current.readlink().name if current.is_symlink() else ""


def _proposed(ledger: Readings) -> set[str]:
    """The drafts that were asked for by nobody, as the audit trail names them."""
    return {entry["about"] for entry in ledger.audit() if entry["what"] == BY_ITSELF}


def waiting_for_a_person(settings: Settings, ledger: Readings) -> tuple[str, ...]:
    """The tags of drafts that a person asked for and nobody has decided, of a fit that is no longer current."""
    fit, by_itself = _current_fit(settings), _proposed(ledger)
    return tuple(
        one.tag
        for one in approval.releases(ledger)
        if one.state == DRAFT and one.fit_id != fit and f"release {one.tag}" not in by_itself
    )


def propose(ledger: Ledger, by: str, why: str, write: Callable[[], Released]) -> Proposed:
    """Have a release drafted (`write`) in the name of `by`, and let it take the place of older drafts that were drafted by themselves.

    Such a draft is of a fit that is no longer current, nothing of it has left, and an approver should find one: it is rejected,
    on record, once the new one is there. A draft that a person asked for is left to be decided by a person.
    """
    older = [one for one in approval.releases(ledger) if one.state == DRAFT]
    by_itself = _proposed(ledger)
    made = write()
    ledger.act(BY_ITSELF, f"release {made.tag}", why, by)
    replaced = tuple(one.tag for one in older if f"release {one.tag}" in by_itself and one.fit_id != made.fit_id)
    for tag in replaced:
        approval.reject(ledger, tag, by, f"fit {made.fit_id} has become current: {made.tag} takes its place")
    return Proposed(made, replaced, tuple(one.tag for one in older if one.tag not in replaced))
