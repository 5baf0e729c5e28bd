"""A candidate that is wrong in one way, through a run of the asset that would publish it: the run fails, what is published stays."""

from __future__ import annotations

import json
import shutil
from datetime import date
from pathlib import Path

import dagster as dg
import duckdb
import pandas as pd
import pyarrow as pa
import pytest

from orchestration.automation import chain_condition
from orchestration.deliveries.contracts import Table
from orchestration.deliveries.gate import Limits, judge_table, referred_to, relations, suite_of
from orchestration.deliveries.gate import prepare as prepare_table
from orchestration.deliveries.judgement import Status
from orchestration.warehouse import build, dbt, gate, versions
from orchestration.warehouse.assets import VERSION, version_asset
from orchestration.warehouse.gate import judge_marts, looked_at, mart_contracts
from orchestration.warehouse.versions import current_id, current_version, published_tables, read_marts
from tests.conftest import settings_in
from tests.deliveries.making import digests

# What is done to candidates, and what the gate must say of each: as much in one candidate as does not hide the rest.
BAD: dict[str, list[tuple[str, str]]] = {
    "a client is lost": [
        ("delete from marts.client where client_id = (select min(client_id) from marts.client)", "rows.conserved: followup"),
    ],
    "a fifth of the clients is lost": [
        ("delete from marts.client where rowid % 5 = 0", "drift.clients: client"),
    ],
    "events and officers are lost": [
        ("update marts.followup set event = false where event", "drift.events: followup"),
        ("delete from marts.officer where officer_id = (select min(officer_id) from marts.dyad)", "relation.unknown: dyad"),
        ("update marts.supervision set is_index = true", "rows.conserved: supervision is_index"),
        ("delete from marts.followup_interval where rowid = 0", "rows.conserved: followup_interval"),
    ],
    "rows are lost on the way": [
        ("delete from marts.followup", "table.empty: followup"),
        ("update marts.alliance_score set score = null", "rule.missing_share: alliance_score"),
        ("delete from marts.dyad where rowid = 0", "rows.conserved: dyad"),
        ("delete from marts.wave where rowid = 0", "rows.conserved: wave"),
        ("delete from marts.alliance_item where rowid = 0", "rows.conserved: alliance_item"),
        ("delete from staging.stg_partner__covariates where rowid = 0", "rows.conserved: stg_partner__covariates"),
        ("alter table marts.dyad drop column gap_days", "column.missing: dyad gap_days"),
    ],
    "values that cannot be": [
        ("update marts.followup set client_id = 'nobody' where rowid = 0", "relation.unknown: followup"),
        ("update marts.followup set days = -1 where rowid = 1", "value.range: followup"),
        ("update marts.followup set days_at_risk = days + 1", "rule.order: followup"),
        ("update marts.followup set event = true", "rule.flag_share: followup"),
        ("insert into marts.followup from marts.followup limit 1", "key.unique: followup"),
        ("update marts.client set age_at_start = 7 where rowid = 0", "value.range: client"),
        ("update marts.client set prior_cases = null where rowid % 5 > 0", "rule.missing_share: client"),
        ("update marts.alliance_item set value = 6 where rowid = 0", "value.range: alliance_item"),
        ("update marts.alliance_score set score = 5.5 where rowid = 0", "value.range: alliance_score"),
        ("update marts.followup_interval set stop_day = start_day - 1 where start_day > 1", "rule.order: followup_interval"),
        ("update marts.cohort_flow set n_remaining = n_in + 1", "rule.order: cohort_flow"),
        ("update marts.scale_reliability set alpha = 1.2", "value.range: scale_reliability"),
    ],
}  # fmt: skip


class Bench:
    """A home with a published version, and the candidate that it was published from."""

    def __init__(self, folder: Path) -> None:
        self.settings = settings_in(folder)
        version = current_version(self.settings)
        assert version is not None
        candidate = build.candidate_folder(self.settings)
        (candidate / "build.json").write_text(json.dumps({"build_id": "0123456789abcdef", **version.manifest["build"]}))
        self.kept = folder / "kept"
        shutil.copytree(candidate, self.kept)
        self.asset = version_asset(self.settings, dbt.manifest_path(self.settings), chain_condition())
        assert self.publish().success
        assert current_id(self.settings) == version.version_id
        self.before = digests(self.settings.versions)

    def publish(self, *spoiled: str) -> dg.ExecuteInProcessResult:
        """Run the asset on the kept candidate, after statements that spoil it."""
        candidate = build.candidate_folder(self.settings)
        shutil.rmtree(candidate, ignore_errors=True)
        shutil.copytree(self.kept, candidate)
        with duckdb.connect(str(candidate / "warehouse.duckdb")) as connection:
            for statement in spoiled:
                connection.execute(statement)
        return dg.materialize([self.asset], selection=[VERSION], raise_on_error=False)


@pytest.fixture(scope="module")
def bench(_published_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("bench")
    shutil.copytree(_published_once, folder, dirs_exist_ok=True, symlinks=True)
    return Bench(folder)


@pytest.mark.parametrize("way", BAD)
def test_a_bad_candidate_fails_its_run_says_why_and_leaves_what_is_published(bench: Bench, way: str) -> None:
    done = bench.publish(*(statement for statement, _ in BAD[way]))
    assert not done.success
    (check,) = done.get_asset_check_evaluations()
    assert not check.passed and check.blocking
    said = f"{check.description} ".replace("\n", " \n")
    assert [expected for _, expected in BAD[way] if f"{expected} " not in said] == []
    assert digests(bench.settings.versions) == bench.before


def test_the_candidate_as_it_was_is_published_and_is_the_same_version(bench: Bench) -> None:
    done = bench.publish()
    assert done.success
    (check,) = done.get_asset_check_evaluations()
    assert check.passed
    assert digests(bench.settings.versions) == bench.before


def test_what_is_odd_about_dyads_is_told_and_holds_nothing_back(bench: Bench) -> None:
    done = bench.publish("update marts.dyad set overlaps_earlier = true")
    assert done.success
    (check,) = done.get_asset_check_evaluations()
    assert check.description is not None and check.description.startswith("rule.flag_share: dyad overlaps_earlier (")
    assert check.metadata["warnings"].value == 1


def _broken(table: Table, frame: pd.DataFrame) -> tuple[pd.DataFrame, set[tuple[str, str]]]:
    """The frame with one row more for each rule of its suite, which breaks it; and the rules that must fail."""
    bad, due = [frame.astype(object)], set()
    for rule, headers, _, _ in suite_of(table, Limits(date.max, {}), len(frame)):
        row = frame.astype(object).head(1).copy()
        for name in table.key:  # a row of its own
            row[table.column(name).source] = row[table.column(name).source].map(lambda value: _other(value, len(due)))
        first = headers[0] if headers else ""
        if rule == "table.empty":
            continue
        if rule == "key.unique":
            row = frame.astype(object).head(1)
        elif rule == "value.range":
            column = next(column for column in table.columns if column.source == first)
            row[first] = 10**6 if column.maximum is not None else -(10**6)
        elif rule == "relation.unknown":
            row[first] = "nobody"
        elif rule == "rule.order":
            row[headers[0]], row[headers[1]] = 10**5, 1
        elif rule == "rule.flag_share":
            row[first] = True
        else:
            assert rule == "rule.missing_share", rule
            row[first] = None
        times = len(frame) * 20 if rule in ("rule.flag_share", "rule.missing_share") else 1
        bad += [row] * times
        due.add((rule, ", ".join(headers)))
    return pd.concat(bad, ignore_index=True).astype(frame.dtypes.to_dict(), errors="ignore"), due


def _referring(table: Table) -> list[str]:
    return [column.source for column in table.columns if column.references]


def _other(value: object, number: int) -> object:
    return f"{value} {number}" if isinstance(value, str) else value


def test_every_rule_of_every_suite_fails_where_a_row_breaks_it(bench: Bench) -> None:
    tables = dbt.read_manifest(bench.settings)
    marts = read_marts(bench.kept / "warehouse.duckdb", published_tables(tables))
    frames = {name: mart.to_pandas() for name, mart in marts.items()}
    contracts = {table.name: table for table in mart_contracts(bench.settings.expectations)}
    assert set(contracts) == set(marts)
    for name, table in contracts.items():
        frame, due = _broken(table, frames[name])
        content = pa.table({header: pa.array(frame[header], from_pandas=True) for header in _referring(table)})
        prepared = prepare_table(table, frame, relations(table, content, referred_to(contracts, marts)))
        found = judge_table(table, prepared, Limits(date.max, {}))
        failed = {(item.rule, item.column) for item in found if item.status is Status.FAILED}
        assert due <= failed, (name, due - failed)


def test_a_mart_that_is_judged_in_parts_is_judged_as_it_is_as_a_whole(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse = tmp_path / "warehouse.duckdb"
    shutil.copy(bench.kept / warehouse.name, warehouse)
    with duckdb.connect(str(warehouse)) as connection:
        for statement, _ in BAD["values that cannot be"]:
            connection.execute(statement)
        connection.execute(
            "create or replace table marts.followup_interval as from marts.followup_interval"
        )  # may miss all
        connection.execute("update marts.followup_interval set stop_day = null")
        nothing = "client_id = null, outcome_id = null, interval = null"
        connection.execute(f"update marts.followup_interval set {nothing} where rowid % 7 = 0")
        connection.execute("insert into marts.alliance_item from marts.alliance_item where rowid % 50 = 0")
        connection.execute("update marts.alliance_score set score = null")
    tables = published_tables(dbt.read_manifest(bench.settings))
    whole = judge_marts(bench.settings, read_marts(warehouse, tables))
    monkeypatch.setattr(gate, "LARGE", 500)
    monkeypatch.setattr(versions, "PART", 700)
    stored = versions.StoredMarts(warehouse, tables, looked_at(bench.settings))
    large = {name for name in stored if stored.rows(name) > 500}
    read: set[str] = set()
    as_a_whole = versions.StoredMarts.__getitem__
    monkeypatch.setattr(
        versions.StoredMarts, "__getitem__", lambda self, name: read.add(name) or as_a_whole(self, name)
    )
    assert judge_marts(bench.settings, stored) == whole == judge_marts(bench.settings, read_marts(warehouse, tables))
    assert large >= {"alliance_item", "followup_interval", "followup"} and read.isdisjoint(large)
    assert {item.rule for item in whole if item.table in large and item.status is Status.FAILED} >= {
        "key.unique", "relation.unknown", "value.range", "value.missing", "rule.missing_share", "table.evaluated",
    }  # fmt: skip
