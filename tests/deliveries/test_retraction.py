"""A delivery that is taken back counts for nothing, stays on record, and the one before it counts again."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from orchestration.deliveries.contracts import Organisation
from orchestration.deliveries.ingest import ingest
from orchestration.deliveries.retraction import CannotRetract, retract, signed_on
from orchestration.status import lines
from orchestration.warehouse.build import DeliveriesMissing, effective, require_all
from tests.conftest import Platform
from tests.deliveries.making import change_rows, deliver, delivery_in


def test_the_delivery_before_counts_again_and_the_same_bytes_stay_out(
    settled: Platform, contracts: dict[str, Organisation]
) -> None:
    ledger = settled.ledger
    first = effective(require_all(contracts, ledger)["rn"])[-1]
    inbox = settled.settings.inbox_path
    second = deliver(delivery_in(inbox, "rn"), inbox, "rn-corrected", sequence=2)
    change_rows(second, "covariates", lambda rows: rows[:-1])
    assert ingest(second, settled.settings, ledger).status == "accepted"
    assert effective(require_all(contracts, ledger)["rn"])[-1].delivery_id == "rn-corrected"

    record = retract(ledger, "rn-corrected", " sent by mistake ")

    assert effective(require_all(contracts, ledger)["rn"])[-1] == first
    (entry,) = ledger.retractions()
    assert (entry["manifest_sha256"], entry["reason"]) == (record.manifest_sha256, "sent by mistake")
    assert entry["retracted_by"] == signed_on()
    assert ingest(second, settled.settings, ledger).status == "retracted"
    assert retract(ledger, f"rn/{record.period}/rn-corrected", "again").manifest_sha256 == record.manifest_sha256
    assert len(ledger.retractions()) == 1


def test_an_organisation_whose_only_delivery_is_taken_back_stops_the_build_and_is_shown(
    settled: Platform, contracts: dict[str, Organisation]
) -> None:
    ledger = settled.ledger
    only = delivery_in(settled.settings.inbox_path, "svg").name
    retract(ledger, only, "of another study")
    with pytest.raises(DeliveriesMissing, match="no accepted delivery of svg"):
        require_all(contracts, ledger)
    shown = lines(settled.settings, ledger, contracts, date(2026, 1, 1))
    (line,) = [line for line in shown if line.delivery_id == only]
    assert (line.state, line.rows) == ("retracted", 0)


def test_what_cannot_be_taken_back_is_said_plainly(settled: Platform, tmp_path: Path) -> None:
    ledger, inbox = settled.ledger, settled.settings.inbox_path
    with pytest.raises(CannotRetract, match="knows no delivery"):
        retract(ledger, "nobody", "why")
    with pytest.raises(CannotRetract, match="a reason is needed"):
        retract(ledger, delivery_in(inbox, "rn").name, "  ")
    bad = deliver(delivery_in(inbox, "rn"), inbox, "bad", sequence=2)
    (bad / "clients.csv").write_bytes(b"")
    assert ingest(bad, settled.settings, ledger).status == "rejected"
    with pytest.raises(CannotRetract, match="this one is rejected"):
        retract(ledger, "bad", "why")
