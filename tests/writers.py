"""What processes do that write to one ledger at once; it loads the ledger and nothing else, since each of them begins anew."""

from __future__ import annotations

from pathlib import Path

from orchestration.audit import record
from orchestration.ledger import Ledger
from orchestration.settings import Settings


def create(url: str, home: Path) -> None:
    """Make the tables of a ledger."""
    home.mkdir(parents=True, exist_ok=True)
    Ledger(url).create()


def write(settings: Settings, name: str, acts: int) -> None:
    """Put so many acts of one person on record."""
    ledger = Ledger.of(settings)
    for number in range(acts):
        record(ledger, "rule.waived", f"rule {number}", who=name)
    ledger.close()
