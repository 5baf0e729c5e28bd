"""Runs that find nothing to do succeed and say so: one that is made anew after its process died, a draft that is not due."""

from __future__ import annotations

import dagster as dg
from dagster._core.definitions.data_version import DATA_VERSION_TAG

from orchestration.automation import announce, untold
from orchestration.definitions import build_defs
from orchestration.deliveries.assets import GATE, delivery_asset
from orchestration.deliveries.contracts import Organisation
from orchestration.deliveries.ingest import ingest
from orchestration.deliveries.retraction import retract
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


def test_what_was_taken_in_by_a_process_that_died_before_dagster_heard_of_it_is_told_at_the_next_look(
    settled: Platform, contracts: dict[str, Organisation]
) -> None:
    settings, ledger = settled.settings, settled.ledger
    defs = build_defs(settings)
    with dg.DagsterInstance.ephemeral() as instance:
        looked = defs.resolve_sensor_def("inbox")(dg.build_sensor_context(instance=instance, definitions=defs))
        events = untold(ledger, contracts, instance)
        assert looked.run_requests == []  # type: ignore[union-attr]
        assert looked.asset_events == events  # type: ignore[union-attr]
        accepted = {(one.organisation, one.period): one.content_hash for one in ledger.deliveries()}
        said = {(event.asset_key.path[-1], event.metadata["period"].value): (event.tags or {})[DATA_VERSION_TAG] for event in events}  # fmt: skip
        assert said == accepted and len(said) == len(contracts)
        assert announce(settings, contracts, instance) == len(contracts)
        assert untold(ledger, contracts, instance) == []

        (delivered,) = ledger.deliveries(organisation="rn")
        retract(ledger, delivered.delivery_id, "not theirs to send")
        (gone,) = untold(ledger, contracts, instance)
        assert (gone.asset_key.path[-1], gone.partition) == ("rn", "2025-10")
        assert (gone.tags or {})[DATA_VERSION_TAG] == "retracted"


def test_a_draft_that_is_not_due_is_no_failure(platform: Platform) -> None:
    done = dg.materialize([draft_asset(platform.settings, None)])
    assert done.success
    assert checked(done, ONE_DRAFT)
