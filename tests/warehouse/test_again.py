"""A version made again is the same, one of an earlier day leaves `current` alone, and outcomes of one's own leave both alone."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from orchestration.ledger import now
from orchestration.warehouse import aside
from orchestration.warehouse.versions import current_id
from tests.conftest import Platform
from tests.deliveries.making import digests
from tests.warehouse.again import publish_now


def test_what_is_built_aside_moves_nothing(settled: Platform, tmp_path: Path) -> None:
    settings, ledger = settled.settings, settled.ledger
    version = publish_now(settings, ledger)
    before = digests(settings.versions)

    made = aside.reproduce(settings, ledger, version)
    assert made.is_same and made.changed_since == ()

    known, is_new = aside.known_on(settings, ledger, now().date() + timedelta(days=1))
    assert (known.version_id, is_new) == (version.version_id, False)
    with pytest.raises(aside.CannotBuildAside, match="had been received"):
        aside.known_on(settings, ledger, date(2020, 1, 1))

    file = tmp_path / "mine.csv"
    file.write_text(
        "outcome_id,level,origin,horizon_months,lag_months,pending_counts,policy_dismissal_counts,date_basis,detention\n"
        "one_year,general,landmark,12,6,true,false,offence,ignored\n"
    )
    folder, rows = aside.own_outcomes(settings, ledger, version, file)
    clients = version.manifest["tables"]["client"]["rows"]
    assert rows["followup"] == clients
    assert pq.read_table(folder / "outcome_definition.parquet")["outcome_id"].to_pylist() == ["one_year"]

    assert digests(settings.versions) == before
    assert current_id(settings) == version.version_id
    assert not list(settings.builds.glob(".aside*"))

    (content,) = {
        entry["content_hash"] for entry in version.manifest["build"]["deliveries"] if entry["organisation"] == "rn"
    }
    (settings.raw / "rn" / content).rename(tmp_path / "gone")
    with pytest.raises(aside.CannotBuildAside, match="1 of the 5 deliveries"):
        aside.reproduce(settings, ledger, version)
