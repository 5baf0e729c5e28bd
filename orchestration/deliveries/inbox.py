"""The inbox: which complete deliveries wait there without a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestration.deliveries.contracts import Organisation
from orchestration.deliveries.manifest import MANIFEST
from orchestration.deliveries.sealing import SEAL, delivery_hash, is_sealed
from orchestration.hashing import combined_hash
from orchestration.readings import Readings
from orchestration.settings import Settings

BACKLOG, BACKLOG_BYTES = 12, 4 * 2**20  # from here on it is worth while to take deliveries in side by side


@dataclass(frozen=True)
class Waiting:
    """A delivery in the inbox without a verdict."""

    path: Path
    sha256: str
    organisation: str
    period: str


def signature(delivery: Path) -> str:
    """What a delivery's files look like from outside: names, sizes and times of change, as a hash."""
    seen = {path.name: path.lstat() for path in delivery.iterdir()}
    return combined_hash({name: f"{stat.st_size} {stat.st_mtime_ns}" for name, stat in seen.items()})


def is_backlog(items: Sequence[Waiting]) -> bool:
    """Whether so much waits that it is worth while to take it in side by side: many deliveries, or large ones of several organisations."""
    if len(items) >= BACKLOG:
        return True
    return len({item.organisation for item in items}) > 1 and sum(map(bytes_of, items)) >= BACKLOG_BYTES


def bytes_of(item: Waiting) -> int:
    """The size of what lies in a delivery's folder."""
    return sum(path.lstat().st_size for path in item.path.iterdir())


def waiting(settings: Settings, ledger: Readings, contracts: Mapping[str, Organisation]) -> list[Waiting]:
    """Complete deliveries (manifest or seal present) in the inbox that have no verdict yet, oldest period first."""
    decided = ledger.decided()
    found = []
    covers = [path for name in (MANIFEST, SEAL) for path in settings.inbox_path.glob(f"*/*/*/{name}")]
    for path in sorted(covers):
        delivery = path.parent
        organisation, period = delivery.parts[-3:-1]
        if organisation not in contracts or not path.is_file() or path.is_symlink():
            continue
        if path.name == SEAL and not is_sealed(delivery):
            continue
        digest = delivery_hash(delivery)
        if digest not in decided or decided[digest] not in (None, signature(delivery)):
            found.append(Waiting(delivery, digest, organisation, period))
    return sorted(found, key=lambda item: (item.period, item.organisation, item.path.name))
