"""What Dagster shows stewards: every asset described, owned, grouped and checked, its columns and what they are made of."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
import yaml

from orchestration.analysis.assets import without_mark
from orchestration.analysis.inputs import MODEL_TABLES
from orchestration.analysis.showing.measures import measured
from orchestration.analysis.specification import read_specification
from orchestration.definitions import build_defs
from orchestration.deliveries.assets import partition_of
from orchestration.deliveries.contracts import Organisation
from orchestration.settings import Settings
from tests.snapshot_definitions import COMMAND, FILE, snapshot, written

SCHEMA, LINEAGE = "dagster/column_schema", "dagster/column_lineage"


@pytest.fixture(scope="module")
def defs(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    place = tmp_path_factory.mktemp("definitions")
    return build_defs(Settings(home=place / "home", key_file=place / "home.key"))


@pytest.fixture(scope="module")
def specs(defs: dg.Definitions) -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}


def test_the_definitions_are_those_that_were_agreed(defs: dg.Definitions) -> None:
    now, agreed = snapshot(defs), yaml.safe_load(FILE.read_text(encoding="utf-8"))
    differing = [
        f"{part}/{name}"
        for part in ("assets", "sensors", "schedules")
        for name in sorted({*now[part], *agreed[part]})
        if now[part].get(name) != agreed[part].get(name)
    ]
    assert (differing, now["jobs"]) == ([], agreed["jobs"]), f"if this is meant: {COMMAND}"
    assert FILE.read_text(encoding="utf-8") == written(now), f"the file was edited by hand: {COMMAND}"


def test_every_asset_is_described_owned_grouped_and_checked(defs: dg.Definitions) -> None:
    assets = snapshot(defs)["assets"]
    lacking = {
        name: [what for what in ("description", "owners", "group", "kinds", "checks") if not asset.get(what)]
        for name, asset in assets.items()
    }
    assert {name: what for name, what in lacking.items() if what} == {}
    assert {asset["group"] for asset in assets.values()} == {
        "deliveries", "warehouse", "staging", "intermediate", "marts", "versions", "analysis", "releases",
    }  # fmt: skip
    assert [name for name, asset in assets.items() if re.search("select |```", asset["description"])] == []


def test_the_columns_of_what_is_delivered_and_published_are_described(specs: dict[str, dg.AssetSpec]) -> None:
    published = [name for name, spec in specs.items() if spec.group_name == "marts"]
    for name in [*published, "deliveries/rn", "deliveries/registry", "warehouse/build_inputs", "versions/version"]:
        columns = specs[name].metadata[SCHEMA].columns
        assert columns, name
        assert [column.name for column in columns if not column.description or not column.type] == [], name
    shown = {column.name for column in specs["deliveries/rn"].metadata[SCHEMA].columns}
    assert "clients.birth_year" in shown
    assert {name for name in shown if re.search("birth_on|postcode|surname", name)} == set()


def test_a_delivered_column_can_be_followed_to_what_is_built_of_it(specs: dict[str, dg.AssetSpec]) -> None:
    def parts(name: str, column: str) -> set[tuple[str, str]]:
        found = specs[name].metadata[LINEAGE].deps_by_column[column]
        return {(part.asset_key.to_user_string(), part.column_name) for part in found}

    assert parts("versions/version", "client.sex") == {("warehouse/client", "sex")}
    assert parts("warehouse/stg_partner__clients", "sex") == {
        ("warehouse/build_inputs", f"{name}.clients.sex") for name in ("ljr", "rn", "svg")
    }
    assert parts("warehouse/build_inputs", "rn.clients.sex") == {("deliveries/rn", "clients.sex")}
    named = {column.name for column in specs["deliveries/rn"].metadata[SCHEMA].columns}
    assert {column for _, column in parts("warehouse/build_inputs", "rn.clients.sex")} <= named


def test_a_delivery_that_did_not_come_is_a_gap_among_the_partitions(
    defs: dg.Definitions, contracts: dict[str, Organisation]
) -> None:
    rn, registry = contracts["rn"], contracts["registry"]
    graph = defs.resolve_asset_graph()
    with dg.DagsterInstance.ephemeral() as instance:
        for organisation, periods in ((rn, ("2022-Q1", "2022-Q2", "2022-Q4")), (registry, ("2022", "2024"))):
            for period in periods:
                key = dg.AssetKey(["deliveries", organisation.name])
                instance.report_runless_asset_event(
                    dg.AssetMaterialization(key, partition=partition_of(organisation, period))
                )
        gaps = {}
        for organisation in (rn, registry):
            key = dg.AssetKey(["deliveries", organisation.name])
            partitions = graph.get(key).partitions_def
            assert partitions is not None
            expected = partitions.get_partition_keys(current_time=datetime(2025, 2, 1))
            there = instance.get_materialized_partitions(key)
            gaps[organisation.name] = [name for name in expected if name not in there]
    assert gaps["rn"][0] == "2022-07"
    assert gaps["rn"][-1] == "2025-01", "the quarter that runs can be seen before it is due"
    assert gaps["registry"] == ["2023", "2025"]


def test_a_table_that_no_part_of_the_fingerprint_reads_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    spec = read_specification()
    inputs = SimpleNamespace(
        tables=dict.fromkeys(MODEL_TABLES),
        outcome_definition=pd.DataFrame(
            {"outcome_id": ["one", "two", "other"], "role": ["primary", "primary", "sensitivity"]}
        ),
    )
    from orchestration.analysis import reuse

    marks = dict.fromkeys([*reuse.WHOLE, "outcome one", "outcome two"], "mark")
    assert without_mark(inputs, spec, marks) == []  # type: ignore[arg-type]
    del marks["benchmark"], marks["outcome two"]
    assert without_mark(inputs, spec, marks) == ["benchmark_recid", "outcome two"]  # type: ignore[arg-type]


def _fit(events: int, complete: int) -> dict[str, pd.DataFrame]:
    row = {"outcome_id": "o", "rater": "client", "exposure": "score", "adjustment": "full", "n": 100, "estimate": -0.5}
    estimates = pd.DataFrame(
        [{**row, "term": "trust", "events": events}, {**row, "term": "age_decades", "events": events}]
    )
    reliability = pd.DataFrame(
        [
            {"rater": "client", "scale": "trust", "wave": wave, "alpha": alpha, "n_complete": people}
            for wave, alpha, people in (("T2", 0.8, complete), ("T2", 0.5, complete - 1), ("T1", 0.9, 90))
        ]
    )
    return {"estimates": estimates, "reliability": reliability}


def test_a_fit_gives_numbers_that_plot_and_nothing_of_few_people() -> None:
    spec = read_specification()
    assert measured(_fit(40, 60), spec, 10) == {
        "events_o": 40, "alpha_client_trust": 0.8, "hazard_ratio_o_client_full": 0.6065,
    }  # fmt: skip
    assert measured(_fit(9, 9), spec, 10) == {}
    assert measured(_fit(95, 10), spec, 10) == {"alpha_client_trust": 0.8}, "5 of 100 without an event are few"


def test_the_numbers_of_a_candidate_leave_out_what_few_people_are(tmp_path: Path) -> None:
    import duckdb

    from orchestration.warehouse.measures import measured as measured_in

    database = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(database)) as connection:
        connection.execute("""
            create schema marts;
            create table marts.client as
                select if(i < 30, 'found', if(i < 48, 'not_found', null)) as linkage_status from range(50) as t (i);
            create table marts.wave as
                select wave, 'client' as rater, if(i < 12, 'missed', if(i < 40, 'done', 'supervision_ended')) as status
                from range(50) as t (i), (values ('T1'), ('T2')) as w (wave)
                union all
                select 'T3', 'client', if(i < 4, 'refused', 'done') from range(50) as t (i);
            create table marts.outcome_definition as
                select * from (values ('main', 'primary'), ('rare', 'primary'), ('other', 'sensitivity')) as t (outcome_id, role);
            create table marts.followup as
                select 'main' as outcome_id, i < 20 as event from range(50) as t (i)
                union all select 'rare', i < 3 from range(50) as t (i)
                union all select 'other', i < 20 from range(50) as t (i);
            create table marts.scale_reliability as
                select * from (values ('T1', 'client', 'trust', 0.81234, 40), ('T1', 'client', 'bond', 0.7, 9),
                               ('T2', 'client', 'bond', null, 40)) as t (wave, rater, scale, alpha, n_complete);
        """)
    assert measured_in(database, 10) == {
        "client": {"linkage_rate": 0.625},
        "wave": {"missing_T2_client": 0.3},
        "followup": {"events_main": 20},
        "scale_reliability": {"alpha_T1_client_trust": 0.812},
    }
