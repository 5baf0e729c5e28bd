"""What each published column is made of, read off the queries of the project and the columns of a built database."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestration.warehouse.build import candidate_folder
from orchestration.warehouse.dbt import Node, compiled_models
from orchestration.warehouse.lineage import column_sources, relations
from tests.conftest import Platform
from tests.warehouse.histories import Compiled

# Columns that are counted or numbered here, and so are made of none.
COUNTED = {
    ("alliance_change", "rule"), ("alliance_pattern_agreement", "n"), ("cohort_flow", "step"), ("cohort_flow", "step_name"),
    ("followup_event", "number"), ("followup_event", "event"), ("followup_interval", "interval"), ("landmark_missing", "rater"),
    ("landmark_missing", "n"),
}  # fmt: skip


@pytest.fixture
def queries(compiled: Compiled) -> list[Node]:
    """The models of the project as dbt ran them."""
    found = []
    for model in compiled_models(compiled.folder / "target"):
        name = model.relation.split(".")[1].strip('"')
        found.append(Node(f"model.delictvrij.{name}", "success", None, model.statement))
    return found


def test_every_published_column_is_made_of_columns_that_are_there_and_is_worked_out_once(
    published: Platform, queries: list[Node], tmp_path: Path
) -> None:
    known = relations(candidate_folder(published.settings) / "warehouse.duckdb")
    found = column_sources(tmp_path, queries, known)
    marts = {name: relation for name, relation in known.items() if relation.schema == "marts"}
    bare = {(name, column) for name, mart in marts.items() for column in mart.columns if not found[name].get(column)}
    assert bare == COUNTED
    assert {
        (one, column)
        for columns in found.values()
        for sources in columns.values()
        for one, column in sources
        if column not in known[one].columns
    } == set()
    parents = [("stg_partner__clients", f"birth_country{of}") for of in ("", "_father", "_mother")]
    assert found["client"]["ethnicity"] == parents
    assert known["client"].rows
    assert known["stg_partner__item_responses"].rows is None, "a view is not counted"
    assert column_sources(tmp_path, [], known) == found, "kept beside the project"


def test_a_query_that_the_parser_does_not_know_has_no_sources_and_stops_nothing(
    published: Platform, queries: list[Node], tmp_path: Path
) -> None:
    known = relations(candidate_folder(published.settings) / "warehouse.duckdb")
    (client,) = [node for node in queries if node.name == "client"]
    assert column_sources(tmp_path, [replace(client, statement="select from where (")], known) == {"client": {}}


def test_without_a_database_nothing_is_known(tmp_path: Path) -> None:
    assert relations(tmp_path / "warehouse.duckdb") == {}
