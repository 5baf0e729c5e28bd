"""What failed for want of room, or was taken for known, is made by the next refresh: a condition that asked is not one that was answered."""

from __future__ import annotations

import dagster as dg
import pytest
from dagster._core.definitions.data_version import DATA_VERSION_TAG

from orchestration.analysis.assets import FINGERPRINT, FIT, REPORT, specification
from orchestration.analysis.fit import fit_id
from orchestration.automation import Launched, instance_of
from orchestration.definitions import ALL_ASSETS, Ticker, build_defs, launch, left_over
from orchestration.deliveries.contracts import Organisation
from orchestration.warehouse import build
from orchestration.warehouse.versions import current_id, current_version
from tests.conftest import Platform


def recorded(published: Platform) -> str:
    """The id of the published version, whose build is on record."""
    version = current_version(published.settings)
    assert version is not None
    published.ledger.record_build("of the fixture", version.version_id, version.manifest["build"])
    return version.version_id


def test_what_hangs_on_a_version_is_left_over_until_it_is_on_record_and_shown(
    published: Platform, contracts: dict[str, Organisation]
) -> None:
    settings, ledger = published.settings, published.ledger
    defs = build_defs(settings)
    with dg.DagsterInstance.ephemeral() as instance:

        def left() -> list[dg.AssetKey]:
            return left_over(settings, ledger, contracts, defs, instance)

        def read(version: str) -> None:
            instance.report_runless_asset_event(
                dg.AssetMaterialization(
                    FINGERPRINT, metadata={"version": version}, tags={DATA_VERSION_TAG: "of these rows"}
                )
            )

        current = recorded(published)
        assert left() == [FINGERPRINT]
        read("another")
        assert left() == [FINGERPRINT]
        read(current)
        assert left() == [FIT, REPORT]
        name = fit_id("of these rows", specification(settings), settings.seed)
        ledger.record_held_fit(name, current, "risks moved", ["risks"])
        assert left() == []  # a person is to sign; nothing is to be shown yet
        (settings.fits / "current").symlink_to(name)
        assert left() == [REPORT]
        settings.report.write_text(f"fit {name}")
        assert left() == []
    with dg.DagsterInstance.ephemeral() as instance:
        assert left() == []  # a home that was restored: its fits are there, and Dagster has heard of nothing


def test_a_build_is_behind_until_it_is_of_what_counts_and_not_while_a_person_is_to_decide(
    published: Platform, contracts: dict[str, Organisation]
) -> None:
    ledger = published.ledger
    assert build.is_behind(ledger, contracts, current_id(published.settings))  # it died before the ledger had it
    current = recorded(published)
    assert not build.is_behind(ledger, contracts, current)
    assert build.is_behind(ledger, contracts, None)
    ledger.act("version.held", "build 0", "drift.clients")
    assert not build.is_behind(ledger, contracts, None)
    (last,) = ledger.deliveries(organisation="rn")
    ledger.retract(last.manifest_sha256, "steward", "sent by mistake")
    assert not build.is_behind(ledger, contracts, None)  # nothing is built of a part of the sources
    assert build.is_behind(ledger, contracts, current, without=["rn"])


def test_a_build_that_failed_is_asked_for_again_by_the_next_refresh_though_its_condition_was_answered(
    settled: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def fail(*given: object) -> Launched:
        asked.append(given[3])
        return Launched(ALL_ASSETS, None, "", is_success=False)

    monkeypatch.setattr("orchestration.definitions.run_job", fail)
    settings = settled.settings
    with instance_of(settings) as instance:
        launch(settings, instance=instance)
        ticker = Ticker(build_defs(settings), instance, settings.dagster_home / "automation.json")
        assert ticker.tick() == []  # it was asked for, says the memory
        asked.clear()
        done = launch(settings, instance=instance)
    assert {"warehouse/build_inputs", "warehouse/client", "versions/version"} <= set(done.requested)
    assert not [name for name in done.requested if name.startswith("analysis")]
    assert len(asked) == 1
