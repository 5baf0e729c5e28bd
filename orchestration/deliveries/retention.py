"""Landing is a corridor: what lies there is deleted some time after its verdict, and that is on record.

The landing folder is the one place with direct identifiers. Everything after it works from the raw store and the ledger.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from orchestration.deliveries.ingest import PREVIEW
from orchestration.deliveries.manifest import NotADelivery
from orchestration.deliveries.sealing import delivery_hash
from orchestration.ledger import Ledger
from orchestration.readings import DeliveryRecord
from orchestration.settings import Settings


@dataclass(frozen=True)
class Cleared:
    """How much was deleted: deliveries of which something still lay there, files, bytes."""

    deliveries: int
    files: int
    bytes: int


def clear_landing(settings: Settings, ledger: Ledger, now: datetime) -> Cleared:
    """Delete what lies in landing and inbox of deliveries decided longer ago than `landing_retention_days`, and at once
    what is left of those that hold people who have withdrawn.

    `now` is UTC without a zone, as the ledger writes times. What was deleted is on record before it is: killed in
    between, the next call deletes the rest and adds nothing to the count of what is gone already.
    """
    before = now - timedelta(days=settings.landing_retention_days)
    withheld = ledger.withheld()
    cleared = clear(
        settings,
        ledger,
        [
            record
            for record in ledger.deliveries()
            if record.decided_at is not None and (record.decided_at <= before or record.manifest_sha256 in withheld)
        ],
        now,
    )
    # What a process that was killed left behind: of a dry run, and of a copy that was still growing.
    for left in left_behind(settings):
        if datetime.fromtimestamp(left.stat().st_mtime) < datetime.now() - timedelta(days=1):  # noqa: DTZ005, DTZ006
            shutil.rmtree(left, ignore_errors=True)
    return cleared


def left_behind(settings: Settings) -> list[Path]:
    """Folders in landing of processes that are at work, or were killed: of a dry run, and of a copy that is growing."""
    return [*settings.landing.glob(f"{PREVIEW}*"), *settings.landing.glob("*/*/.*")]


def clear(settings: Settings, ledger: Ledger, records: Iterable[DeliveryRecord], now: datetime) -> Cleared:
    """Delete what lies in landing and inbox of these deliveries, on record."""
    deliveries = files = size = 0
    for record in records:
        folders = list(_folders_of(record, settings))
        if not folders:
            continue
        held = [path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
        bytes_held = sum(path.stat().st_size for path in held)
        ledger.record_clearing(record.manifest_sha256, now, len(held), bytes_held)
        for folder in folders:
            shutil.rmtree(folder)
            _remove_empty_parents(folder, settings)
        deliveries, files, size = deliveries + 1, files + len(held), size + bytes_held
    return Cleared(deliveries, files, size)


def _folders_of(record: DeliveryRecord, settings: Settings) -> Iterator[Path]:
    """Where something of a delivery still lies: its copy, its quarantine, and the inbox if it is still the same there."""
    name = f"{record.delivery_id}-{record.manifest_sha256[:8]}"
    for root in (settings.landing, settings.quarantine):
        folder = root / record.organisation / record.period / name
        if folder.is_dir():
            yield folder
    waiting = settings.inbox_path / record.organisation / record.period / record.delivery_id
    try:
        if waiting.is_dir() and delivery_hash(waiting) == record.manifest_sha256:
            yield waiting
    except NotADelivery:
        return


def _remove_empty_parents(folder: Path, settings: Settings) -> None:
    for parent in (folder.parent, folder.parent.parent):
        if parent in (settings.landing, settings.quarantine, settings.inbox_path) or any(parent.iterdir()):
            return
        parent.rmdir()
