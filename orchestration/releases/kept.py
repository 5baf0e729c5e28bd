"""The releases of a home as the ledger knows them: by tag, with their state and the folder that researchers get their tables from.

How a release comes to be, and who approves it, is not here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestration.readings import Readings
from orchestration.releases.zone import verify_written
from orchestration.settings import Settings
from orchestration.trouble import Mendable

ZONE = "zone"


class NoSuchRelease(Mendable):
    """No release has the tag that was given."""


@dataclass(frozen=True)
class KeptRelease:
    """A release: its tag, its state (draft, approved, rejected, superseded, withdrawn), and its folder in the zone."""

    tag: str
    state: str
    folder: Path

    def verify(self) -> None:
        """Hold every file against the checksums. Raises ReleaseDamaged."""
        verify_written(self.folder)


def named_release(settings: Settings, ledger: Readings, tag: str) -> KeptRelease:
    """The release with a tag. Raises NoSuchRelease."""
    states = release_states(ledger)
    if tag not in states:
        raise NoSuchRelease(
            f"{len(states)} releases are known, none with that tag; `delictvrij release list` lists them"
        )
    return KeptRelease(tag, states[tag], settings.releases / tag / ZONE)


def release_states(ledger: Readings) -> dict[str, str]:
    """What has become of each release, by its tag, oldest first."""
    return {str(row["tag"]): str(row["state"]) for row in ledger.releases()}
