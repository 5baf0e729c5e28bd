"""Landing is a corridor: what had its verdict is deleted after its time, on record, and nothing needs it any more."""

from __future__ import annotations

import os
from datetime import datetime, timedelta

from orchestration.deliveries.contracts import Organisation
from orchestration.deliveries.inbox import waiting
from orchestration.deliveries.ingest import check_delivery, ingest, known_key
from orchestration.deliveries.retention import Cleared, clear_landing
from orchestration.warehouse import build
from tests.conftest import Platform
from tests.deliveries.making import deliver, delivery_in


def held(platform: Platform) -> list[str]:
    """The data files that lie in landing and inbox."""
    settings = platform.settings
    roots = (settings.landing, settings.inbox_path)
    return sorted(
        path.name
        for root in roots
        for path in root.rglob("*")
        if path.is_file() and path.name not in ("truth.json", "consents.csv")
    )


def later(platform: Platform, **by: float) -> datetime:
    latest = max(record.decided_at for record in platform.ledger.deliveries() if record.decided_at)
    return latest + timedelta(**by)


def test_nothing_goes_before_its_time_and_everything_after_it(
    settled: Platform, contracts: dict[str, Organisation]
) -> None:
    settings, ledger = settled.settings, settled.ledger
    bad = deliver(delivery_in(settings.inbox_path, "rn"), settings.inbox_path, "bad", sequence=2)
    (bad / "clients.csv").write_bytes(b"")
    assert ingest(bad, settings, ledger).status == "rejected"
    kept = deliver(
        delivery_in(settings.inbox_path, "svg"), settings.landing.parent.parent / "aside", "again", sequence=2
    )
    before = held(settled)

    early = clear_landing(settings, ledger, later(settled, days=settings.landing_retention_days, seconds=-3600))
    assert early == Cleared(0, 0, 0)
    assert held(settled) == before

    cleared = clear_landing(settings, ledger, later(settled, days=settings.landing_retention_days, seconds=1))
    assert cleared.deliveries == len(ledger.deliveries()) == 6
    assert cleared.files == len(before)
    assert cleared.bytes > 0
    assert held(settled) == []
    assert sum(entry["files"] for entry in ledger.clearings()) == cleared.files

    # nothing needs it: nothing waits, the next delivery is held against the snapshot before, a build has its inputs
    assert waiting(settings, ledger, contracts) == []
    assert check_delivery(kept, settings, ledger).status == "duplicate"
    inputs = build.prepare(settings, ledger, contracts, known_key(settings, ledger))
    assert sum(inputs.rows.values()) > 0
    assert clear_landing(settings, ledger, later(settled, days=3650)) == Cleared(0, 0, 0)


def test_what_waits_without_a_verdict_stays_however_old(settled: Platform) -> None:
    settings = settled.settings
    new = deliver(delivery_in(settings.inbox_path, "rn"), settings.inbox_path, "new", sequence=2)
    unfinished = deliver(delivery_in(settings.inbox_path, "svg"), settings.inbox_path, "unfinished", sequence=2)
    (unfinished / "manifest.json").unlink()
    clear_landing(settings, settled.ledger, later(settled, days=3650))
    assert (new / "manifest.json").is_file()
    assert (unfinished / "svg.xlsx").is_file()


def test_a_dry_run_that_was_killed_does_not_leave_its_copy(settled: Platform) -> None:
    left = settled.settings.landing / "preview-abc"
    (left / "landing").mkdir(parents=True)
    clear_landing(settled.settings, settled.ledger, later(settled, days=0))
    assert left.is_dir()  # it may be at work
    os.utime(left, (0, 0))
    clear_landing(settled.settings, settled.ledger, later(settled, days=0))
    assert not left.exists()
