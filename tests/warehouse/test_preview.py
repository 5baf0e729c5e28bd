"""What a delivery would change is what it then changes, and asking changes nothing."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
import yaml

from orchestration.analysis.inputs import MODEL_TABLES
from orchestration.deliveries.ingest import ingest
from orchestration.settings import Settings
from orchestration.warehouse import dbt
from orchestration.warehouse.preview import preview
from orchestration.warehouse.versions import current_id
from tests.conftest import Platform
from tests.deliveries.making import Row, change_rows, deliver, delivery_in, digests
from tests.warehouse.again import publish_now
from tests.warehouse.histories import Compiled


def acquitted(rows: list[Row]) -> list[Row]:
    """Every conviction becomes an acquittal."""
    return [{**row, "afdoening": "VRI"} if row["afdoening"] == "VER" else row for row in rows]


WAIVED = {
    "rule": "history.recoded", "organisation": "registry", "period": "2025", "delivery": "corrected",
    "reason": "a retrial", "by": ["ann", "bob"], "until": date(2099, 12, 31),
}  # fmt: skip


def test_what_would_change_is_what_changes_and_asking_changes_nothing(
    published: Platform, compiled: Compiled, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "waivers.yml").write_text(yaml.safe_dump([WAIVED]))
    settings = Settings(**{**published.settings.model_dump(), "waivers": tmp_path / "waivers.yml"})
    ledger, before = published.ledger, current_id(published.settings)
    assert before is not None
    gone = deliver(delivery_in(settings.inbox_path, "registry"), tmp_path / "outside", "corrected", sequence=2)
    change_rows(gone, "disposals", acquitted)
    kept = digests(settings.home)

    asked = preview(gone, settings, ledger, MODEL_TABLES)

    assert digests(settings.home) == kept
    assert ingest(gone, settings, ledger).status == "accepted"
    monkeypatch.setattr(dbt, "build", compiled.build)  # of the same rows dbt has just built and tested the preview
    after = publish_now(settings, ledger)
    assert asked.is_new_version == (after.version_id != before)
    assert asked.would_refit
    assert (asked.clients_gained, asked.clients_lost, asked.events_gained) == (0, 0, 0)
    assert asked.events_lost > 0
