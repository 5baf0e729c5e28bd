"""Every released column says what it is, in both languages; one that does not is not released."""

from __future__ import annotations

from typing import Any

import pytest

from orchestration.releases.catalogue import LANGUAGES, MEASURES, NotDescribed, read_catalogue
from orchestration.settings import Settings
from orchestration.warehouse.dbt import read_manifest
from tests.releases.making import catalogue


@pytest.fixture
def manifest() -> Any:
    return read_manifest(Settings())


def _read(manifest: Any) -> None:
    settings = Settings()
    read_catalogue(manifest, settings.expectations, settings.dbt_project / "seeds")


def _meta(manifest: Any, table: str, column: str) -> Any:
    return manifest["nodes"][f"model.delictvrij.{table}"]["columns"][column]["config"]["meta"]


def test_every_column_of_every_published_table_is_described(manifest: Any) -> None:
    marts = {
        node["name"]: list(node["columns"])
        for node in manifest["nodes"].values()
        if node["resource_type"] == "model" and node["original_file_path"].startswith("models/marts/")
    }
    found = catalogue()
    assert {table.name: [one.name for one in table.variables] for table in found.tables} == marts
    for table in found.tables:
        assert table.key, table.name
        for one in table.variables:
            assert all(one.label[language] for language in LANGUAGES), (table.name, one.name)
            assert all(label[language] for label in one.values.values() for language in LANGUAGES)
            assert one.personal in found.policy.classes
            assert one.purpose in found.policy.retention
            assert one.measure in MEASURES


@pytest.mark.parametrize(
    ("said", "lacking"),
    [
        ({"personal": "secret"}, "personal"),
        ({"purpose": "curiosity"}, "purpose"),
        ({"label": {"nl": "Geslacht"}}, "label en"),
        ({"values": {"male": {"en": "male"}}}, "value label nl"),
        ({"measure": "ratio"}, "measure"),
        ({"colour": "red"}, "colour is not known"),
        ({"like": "client.gone"}, "no such column"),
        ({"like": "rn.clients.gone"}, "no contract has such a column"),
        ({"like": "client.sex"}, "like itself"),
    ],
)
def test_a_column_that_is_not_wholly_described_is_named(manifest: Any, said: dict[str, Any], lacking: str) -> None:
    _meta(manifest, "client", "sex").update(said)
    with pytest.raises(NotDescribed, match=rf"client\.sex.*{lacking}"):
        _read(manifest)


def test_a_label_has_one_home(manifest: Any) -> None:
    _meta(manifest, "client", "client_id")["label"] = {"nl": "Cliënt", "en": "Client"}
    with pytest.raises(NotDescribed, match="label stands in the mart's yml and in expectations/marts"):
        _read(manifest)


def test_a_column_that_nobody_described_blocks_the_release() -> None:
    catalogue().holds({"client": ["client_id", "sex"]})
    with pytest.raises(NotDescribed, match=r"2 column\(s\).*client\.shoe_size, hobby\.name"):
        catalogue().holds({"client": ["client_id", "shoe_size"], "hobby": ["name"]})
