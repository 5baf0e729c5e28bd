"""What a partner is asked for is what the gate asks for: page, template and example come from the contract."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestration.deliveries.contracts import Organisation
from orchestration.deliveries.manifest import read_manifest, verify
from orchestration.deliveries.offline import check_offline
from orchestration.deliveries.readers import read_delivery
from orchestration.settings import Settings
from orchestration.simulation.specification import write_specification

ORGANISATIONS = ("ljr", "north_carolina", "registry", "rn", "svg")


@pytest.fixture(scope="module", params=ORGANISATIONS)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    out = tmp_path_factory.mktemp(request.param)
    write_specification(out, request.param)
    return request.param, out


def test_the_page_names_every_column_and_code_and_asks_nobody(
    written: tuple[str, Path], contracts: dict[str, Organisation]
) -> None:
    name, out = written
    page = (out / "leveringsspecificatie.html").read_text(encoding="utf-8")
    for table in contracts[name].tables:
        for column in table.columns:
            assert f"<code>{column.source}</code>".replace("&", "&amp;") in page
            for code in column.codes:
                assert code.label["nl"].replace("&", "&amp;").replace("'", "&#39;") in page
    assert re.findall(r"(?:src|href|url)\s*[=(]", page) == []
    assert "<script" not in page


def test_the_template_has_the_agreed_files_and_headers_and_no_row(
    written: tuple[str, Path], contracts: dict[str, Organisation]
) -> None:
    name, out = written
    organisation = contracts[name]
    manifest = read_manifest(out / "sjabloon")
    verify(out / "sjabloon", manifest, organisation)
    readings = read_delivery(out / "sjabloon", manifest, organisation.tables, admit_test_numbers=True)
    assert [reading.table.name for reading in readings] == [table.name for table in organisation.tables]
    assert sum(reading.rows.num_rows for reading in readings) == 0


def test_the_example_would_be_accepted(written: tuple[str, Path], tmp_path: Path) -> None:
    name, out = written
    manifest = read_manifest(out / "voorbeeld")
    delivery = tmp_path / name / manifest.period / manifest.delivery_id
    delivery.parent.mkdir(parents=True)
    (out / "voorbeeld").rename(delivery)
    verdict = check_offline(delivery, Settings(home=tmp_path / "nowhere", admit_test_numbers=True), None)
    assert verdict.receipt.status == "accepted", [reason.rule for reason in verdict.receipt.reasons]
    delivery.rename(out / "voorbeeld")
