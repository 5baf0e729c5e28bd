"""What a delivery would change is what it then changes, and asking changes nothing."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import yaml

from orchestration.analysis.inputs import MODEL_TABLES
from orchestration.deliveries.contracts import read_contracts
from orchestration.deliveries.ingest import ingest, known_key
from orchestration.settings import Settings
from orchestration.warehouse import build, dbt, versions
from orchestration.warehouse.preview import preview
from tests.conftest import Platform
from tests.deliveries.making import Row, change_rows, deliver, delivery_in, digests


def published(platform: Platform) -> versions.Version:
    """Build and publish what is accepted, as a run does."""
    settings, ledger = platform.settings, platform.ledger
    inputs = build.prepare(settings, ledger, read_contracts(settings.expectations), known_key(settings, ledger))
    assert all(node.is_good for node in dbt.build(settings, inputs.folder))
    tables = versions.published_tables(json.loads(dbt.manifest_path(settings).read_text()))
    version, _ = versions.publish(settings, versions.read_marts(inputs.warehouse, tables), tables, inputs.record)
    return version


def acquitted(rows: list[Row]) -> list[Row]:
    """Every conviction becomes an acquittal."""
    return [{**row, "afdoening": "VRI"} if row["afdoening"] == "VER" else row for row in rows]


WAIVED = {
    "rule": "history.recoded", "organisation": "registry", "period": "2025", "delivery": "corrected",
    "reason": "a retrial", "by": ["ann", "bob"], "until": date(2099, 12, 31),
}  # fmt: skip


def test_what_would_change_is_what_changes_and_asking_changes_nothing(settled: Platform, tmp_path: Path) -> None:
    (tmp_path / "waivers.yml").write_text(yaml.safe_dump([WAIVED]))
    settings = Settings(**{**settled.settings.model_dump(), "waivers": tmp_path / "waivers.yml"})
    settled = Platform(settings, settled.ledger)
    before = published(settled)
    gone = deliver(delivery_in(settings.inbox_path, "registry"), tmp_path / "outside", "corrected", sequence=2)
    change_rows(gone, "disposals", acquitted)
    kept = digests(settings.home)

    asked = preview(gone, settings, settled.ledger, MODEL_TABLES)

    assert digests(settings.home) == kept
    assert ingest(gone, settings, settled.ledger).status == "accepted"
    after = published(settled)
    assert asked.is_new_version == (after.version_id != before.version_id)
    assert asked.would_refit
    assert (asked.clients_gained, asked.clients_lost, asked.events_gained) == (0, 0, 0)
    assert asked.events_lost > 0
