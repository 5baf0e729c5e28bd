"""Runs that find nothing to do succeed and say so: one that is made anew after its process died, a draft that is not due."""

from __future__ import annotations

import dagster as dg

from orchestration.deliveries.assets import GATE, delivery_asset
from orchestration.deliveries.contracts import Organisation
from orchestration.deliveries.ingest import ingest
from orchestration.releases.assets import ONE_DRAFT, draft_asset
from orchestration.simulation.mutations import mutate
from tests.conftest import Platform
from tests.deliveries.making import deliver, delivery_in


def checked(done: dg.ExecuteInProcessResult, name: str) -> bool:
    (said,) = [one for one in done.get_asset_check_evaluations() if one.check_name == name]
    return said.passed


def test_a_delivery_that_was_taken_in_before_its_run_died_is_no_failure_of_the_next_run(
    settled: Platform, contracts: dict[str, Organisation]
) -> None:
    asset = delivery_asset(contracts["north_carolina"], settled.settings, contracts)
    done = dg.materialize([asset])
    assert done.success
    assert checked(done, GATE)


def test_a_delivery_that_was_rejected_stays_a_failure_when_nothing_else_waits(
    settled: Platform, contracts: dict[str, Organisation]
) -> None:
    settings = settled.settings
    bad = deliver(delivery_in(settings.inbox_path, "north_carolina"), settings.inbox_path, "bad", sequence=2)
    mutate(bad, "missing_column")
    assert ingest(bad, settings, settled.ledger).status == "rejected"
    asset = delivery_asset(contracts["north_carolina"], settings, contracts)
    done = dg.materialize([asset], raise_on_error=False)
    assert not checked(done, GATE)


def test_a_draft_that_is_not_due_is_no_failure(platform: Platform) -> None:
    done = dg.materialize([draft_asset(platform.settings, None)])
    assert done.success
    assert checked(done, ONE_DRAFT)
