"""What is seen in Dagster: runs and checks that failed, each told once, and what the sensors and a refresh make of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from orchestration.automation import alert_sensors, look_everywhere
from orchestration.deliveries.contracts import Organisation
from orchestration.ledger import now
from orchestration.stewards.assets import FRESHNESS, freshness_checks, seen_checks, seen_runs
from orchestration.stewards.incidents import Problem
from tests.conftest import Platform
from tests.stewards.servers import alerts_file, webhook_server

MART, VERSION, RN = (
    dg.AssetKey(["warehouse", "client"]),
    dg.AssetKey(["versions", "version"]),
    dg.AssetKey(["deliveries", "rn"]),
)
SECRET = "Kannarie 987651237"  # noqa: S105 - a name and a number that must be told nowhere


class House:
    """Assets that do what the test says, by the names of real ones: `checks` fail as told, `breaks` names an asset that raises."""

    def __init__(self) -> None:
        self.checks: dict[str, tuple[bool, dg.AssetCheckSeverity]] = {}
        self.breaks: dg.AssetKey | None = None
        self.warnings = 0
        self.defs = dg.Definitions([self._asset(key) for key in (MART, VERSION, RN)], executor=dg.in_process_executor)

    def _asset(self, key: dg.AssetKey) -> dg.AssetsDefinition:
        @dg.asset(key=key, check_specs=[dg.AssetCheckSpec("gate", asset=key)])
        def made() -> Iterator[Any]:
            if self.breaks == key:
                raise RuntimeError(SECRET)
            yield dg.MaterializeResult(asset_key=key)
            is_passed, severity = self.checks.get(key.path[0], (True, dg.AssetCheckSeverity.ERROR))
            yield dg.AssetCheckResult(
                check_name="gate",
                passed=is_passed,
                severity=severity,
                description=SECRET,
                metadata={"warnings": self.warnings},
            )

        return made

    def run(self, instance: dg.DagsterInstance, *keys: dg.AssetKey) -> None:
        job = self.defs.resolve_implicit_global_asset_job_def()
        job.execute_in_process(instance=instance, asset_selection=list(keys), raise_on_error=False)

    def seen(self, instance: dg.DagsterInstance) -> list[tuple[str, str]]:
        return told(seen_checks(instance, self.defs.resolve_asset_graph().asset_check_keys).problems)


def told(problems: tuple[Problem, ...]) -> list[tuple[str, str]]:
    return [(one.event, one.about) for one in problems]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def test_a_failed_run_is_the_matter_until_some_of_its_assets_have_been_made(
    platform: Platform, instance: dg.DagsterInstance
) -> None:
    house = House()

    def seen() -> list[tuple[str, str]]:
        return told(seen_runs(instance, platform.ledger, now()).problems)

    house.breaks = MART
    house.run(instance, MART, VERSION)
    house.run(instance, RN)
    assert seen() == [("run_failed", "versions, warehouse")]
    house.breaks = None
    house.run(instance, RN)
    assert seen() == [("run_failed", "versions, warehouse")]  # another run's success mends nothing
    house.run(instance, MART)
    assert seen() == []


def test_a_run_that_a_failed_check_explains_is_told_of_by_its_check_alone(
    platform: Platform, instance: dg.DagsterInstance
) -> None:
    house = House()
    house.checks = {"warehouse": (False, dg.AssetCheckSeverity.ERROR)}
    house.breaks = VERSION
    house.run(instance, MART, VERSION)
    assert seen_runs(instance, platform.ledger, now()).problems == ()
    assert house.seen(instance) == [("candidate_failed", "warehouse")]


def test_a_check_that_warns_fails_no_run_and_is_told_until_it_passes(
    platform: Platform, instance: dg.DagsterInstance
) -> None:
    house = House()
    house.checks = {"warehouse": (False, dg.AssetCheckSeverity.WARN), "deliveries": (False, dg.AssetCheckSeverity.WARN)}
    house.run(instance, MART, RN)
    assert seen_runs(instance, platform.ledger, now()).problems == ()
    assert house.seen(instance) == [("check_warning", "warehouse/client gate")]  # of a delivery the ledger tells
    house.checks = {}
    house.warnings = 2
    house.run(instance, MART, VERSION)
    assert house.seen(instance) == [("check_warning", "versions/version gate")]  # passed, and with warnings
    house.warnings = 0
    house.run(instance, VERSION)
    assert house.seen(instance) == []


def test_what_a_check_said_last_holds_while_a_run_is_about_to_look_again(instance: dg.DagsterInstance) -> None:
    house = House()
    house.checks = {"warehouse": (False, dg.AssetCheckSeverity.WARN)}
    house.run(instance, MART)
    house.checks, house.breaks = {}, MART  # planned, and never evaluated
    house.run(instance, MART)
    assert house.seen(instance) == [("check_warning", "warehouse/client gate")]


def test_sensors_and_a_refresh_tell_the_same_once_and_never_what_an_exception_says(
    platform: Platform, contracts: Mapping[str, Organisation], instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    house = House()
    with webhook_server(tmp_path) as hook:
        file = alerts_file(tmp_path, webhook=hook.webhook, quiet=["overdue", "digest"])
        settings = platform.settings.model_copy(update={"alerts": file})
        house.breaks = RN
        house.run(instance, RN)
        house.checks = {"warehouse": (False, dg.AssetCheckSeverity.WARN)}
        house.run(instance, MART)
        for _ in range(2):
            for sensor in alert_sensors(settings, contracts):
                said = sensor(dg.build_sensor_context(instance=instance, definitions=house.defs))
                assert isinstance(said, dg.SkipReason)
        keys = house.defs.resolve_asset_graph().asset_check_keys
        look_everywhere(settings, platform.ledger, contracts, instance, keys)
    assert sorted(content["incident"] for content in hook.contents) == ["check_warning", "run_failed"]
    kept = [*platform.ledger.incidents(), *platform.ledger.messages(), *hook.contents]
    assert SECRET not in str(kept) and "987651237" not in str(kept)


def test_the_freshness_of_a_delivery_fails_without_failing_its_run(
    platform: Platform, contracts: Mapping[str, Organisation], instance: dg.DagsterInstance
) -> None:
    settings = platform.settings
    checks = freshness_checks(settings, contracts)
    assert {key.asset_key.path[-1] for check in checks for key in check.check_keys} == {"rn", "svg", "ljr", "registry", "follow_up"}  # fmt: skip
    defs = dg.Definitions(
        assets=[dg.AssetSpec(key.asset_key) for check in checks for key in check.check_keys], asset_checks=checks
    )
    job = defs.resolve_implicit_global_asset_job_def()
    done = job.execute_in_process(instance=instance)
    assert done.success
    found = {one.asset_key.path[-1]: one for one in done.get_asset_check_evaluations()}
    late = found["rn"]
    assert (late.passed, late.severity, late.check_name) == (False, dg.AssetCheckSeverity.WARN, FRESHNESS)
    assert late.description is not None and "days late, late" in late.description
    assert found["follow_up"].passed  # nothing was asked for
