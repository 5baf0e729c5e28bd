"""Releases that hold people who were erased: the microdata go, a tombstone says so; what is public waits for a batch.

What left is aggregates that were checked. Replacing them for one person would tell of that person what the difference is, so
they stay until enough people have left together.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from orchestration.files import write_json
from orchestration.readings import Readings
from orchestration.releases.approval import PUBLIC, TOMBSTONE, ZONE
from orchestration.settings import Settings


@dataclass(frozen=True)
class Waiting:
    """How many people were erased since what is public was made, and how many must be before it is superseded."""

    people: int
    batch: int

    @property
    def is_due(self) -> bool:
        return self.people >= self.batch

    @property
    def may_be_public(self) -> bool:
        """Whether a release may be made public now: nobody was erased since the last, or enough people were together."""
        return self.people == 0 or self.is_due


def waiting_for_batch(settings: Settings, ledger: Readings, since: datetime | None = None) -> Waiting:
    """How far the batch is since a release was made public (`since`, UTC without a zone; None: ever)."""
    erased = [
        item for item in ledger.withdrawals() if item.mode == "erase" and (since is None or item.requested_at > since)
    ]
    return Waiting(sum(item.people for item in erased), settings.withdrawal_batch)


def affected_releases(settings: Settings, versions: Collection[str]) -> Iterator[Path]:
    """The folders of releases with microdata that were not made from one of these versions, and those that cannot say from
    which."""
    for folder in sorted(settings.releases.iterdir()) if settings.releases.is_dir() else ():
        if folder.is_dir() and (folder / ZONE).exists() and version_of(folder) not in versions:
            yield folder


def version_of(release: Path) -> str | None:
    """The version that a release was made from, as the JSON files at its top say."""
    for path in sorted(release.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content.get("version_id") or content.get("version") if isinstance(content, dict) else None
        if version:
            return str(version)
    return None


def supersede(release: Path, becomes: Mapping[str, str | None], on: date) -> int:
    """Remove the microdata of a release and leave a tombstone; gives how many files. What is public stays.

    `becomes` says which version takes the place of which. The tombstone is there before anything is removed.
    """
    zone, version = release / ZONE, version_of(release)
    files = sum(path.is_file() for path in zone.rglob("*"))
    write_json(
        release / TOMBSTONE,
        {
            "tag": release.name, "version_id": version, "reissued_as": becomes.get(version or ""), "on": on.isoformat(),
            "why": "people in it have withdrawn; the microdata were removed and the version issued again without them",
            "public": "stays until enough people have withdrawn together" if (release / PUBLIC).exists() else "none",
        },
    )  # fmt: skip
    gone = zone.with_name(f".gone-{ZONE}")
    shutil.rmtree(gone, ignore_errors=True)
    zone.rename(gone)
    shutil.rmtree(gone)
    return files
