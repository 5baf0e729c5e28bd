"""From accepted deliveries to the inputs of a build: which rows count, whatever the order in which they arrived."""

from __future__ import annotations

import fcntl
import itertools
import shutil
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb
import hypothesis
import hypothesis.strategies as st
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestration.deliveries import raw
from orchestration.deliveries.contracts import Organisation
from orchestration.deliveries.ingest import ingest, known_key
from orchestration.hashing import content_hash
from orchestration.home import opened
from orchestration.readings import DeliveryRecord
from orchestration.settings import Settings
from orchestration.warehouse.build import (
    BuildInputs,
    DeliveriesMissing,
    candidate_folder,
    effective,
    empty_tables,
    first_of_each,
    keep,
    one_writer,
    prepare,
    snapshot,
)
from tests.conftest import Platform, settings_in
from tests.deliveries.making import Row, change_manifest, change_rows, column, deliver, delivery_in, table

PEOPLE = table(column("id"), column("day", "date"), column("value", "integer"), key=("id", "day"))
ORGANISATION = Organisation("rn", "partner", {}, "quarterly", "1", {}, (PEOPLE,), 0.02)
DAY = date(2024, 1, 5)

Rows = dict[str, int]


class Store:
    """A raw store with deliveries of one small table: id to value."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.number = itertools.count(1)

    def add(
        self, period: str, rows: Rows, sequence: int = 1, deleted: tuple[str, ...] = (), status: str = "accepted"
    ) -> DeliveryRecord:
        stored = pa.table(
            {
                "id": list(rows),
                "day": pa.array([DAY] * len(rows), pa.date32()),
                "value": pa.array(list(rows.values()), pa.int64()),
            },
            schema=raw.raw_schema(PEOPLE),
        )
        deletions = {"people": [(name, DAY.isoformat()) for name in deleted]} if deleted else {}
        digest = raw.store(self.root, ORGANISATION, {"people": stored}, deletions)
        number = next(self.number)
        return DeliveryRecord(
            manifest_sha256=f"{number:064d}", organisation="rn", period=period, delivery_id=f"d{number}", sequence=sequence,
            received_at=datetime(2026, 11, 23, 6, number), decided_at=None, status=status, signature=None,
            content_hash=digest, cutoff_on=None, is_simulated=True, row_counts={},
        )  # fmt: skip

    def build(self, *records: DeliveryRecord) -> tuple[Rows, int]:
        """The effective snapshot and how many of its rows were carried forward."""
        target = self.root / "snapshot.parquet"
        with duckdb.connect() as connection:
            rows, carried = snapshot(connection, self.root, effective(records), PEOPLE, target)
        found = pq.read_table(target)
        assert found.num_rows == rows
        return dict(zip(found["id"].to_pylist(), found["value"].to_pylist(), strict=True)), carried


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


# one table -----------------------------------------------------------------------------------------------------------
def test_the_newest_snapshot_counts_whole(store: Store) -> None:
    old, new = store.add("2024-Q1", {"a": 1, "b": 1}), store.add("2024-Q2", {"a": 2, "b": 2, "c": 2})
    assert store.build(old, new) == ({"a": 2, "b": 2, "c": 2}, 0)


def test_a_row_that_later_snapshots_lack_is_carried_forward_from_the_last_that_had_it(store: Store) -> None:
    one, two = store.add("2024-Q1", {"a": 1, "b": 1}), store.add("2024-Q2", {"a": 2, "b": 2})
    three, four = store.add("2024-Q3", {"a": 3}), store.add("2024-Q4", {"a": 4})
    assert store.build(one, two, three, four) == ({"a": 4, "b": 2}, 1)


def test_a_carried_row_names_the_delivery_that_last_had_it(store: Store) -> None:
    one, two = store.add("2024-Q1", {"a": 1, "b": 1}), store.add("2024-Q2", {"a": 2})
    store.build(one, two)
    found = pq.read_table(store.root / "snapshot.parquet").to_pylist()
    assert {row["id"]: row["_delivery"] for row in found} == {
        "a": two.manifest_sha256[:16],
        "b": one.manifest_sha256[:16],
    }
    assert {row["_received_on"] for row in found} == {date(2026, 11, 23)}


def test_a_declared_deletion_is_not_carried_forward(store: Store) -> None:
    one, two = store.add("2024-Q1", {"a": 1, "b": 1, "c": 1}), store.add("2024-Q2", {"a": 2}, deleted=("b",))
    assert store.build(one, two) == ({"a": 2, "c": 1}, 1)
    three = store.add("2024-Q3", {"a": 3})
    assert store.build(one, two, three) == ({"a": 3, "c": 1}, 1)


def test_a_deleted_row_that_a_later_snapshot_has_again_counts(store: Store) -> None:
    one, two = store.add("2024-Q1", {"a": 1}), store.add("2024-Q2", {"z": 2}, deleted=("a",))
    three = store.add("2024-Q3", {"a": 3, "z": 3})
    assert store.build(one, two, three) == ({"a": 3, "z": 3}, 0)


def test_a_correction_of_higher_sequence_replaces_the_delivery_of_its_period(store: Store) -> None:
    first, corrected = store.add("2024-Q1", {"a": 1, "b": 1}), store.add("2024-Q1", {"a": 7}, sequence=2)
    assert store.build(first, corrected) == ({"a": 7}, 0)
    assert store.build(corrected, first) == ({"a": 7}, 0)


def test_a_late_correction_of_an_older_period_leaves_the_newest_snapshot_alone(store: Store) -> None:
    one, two = store.add("2024-Q1", {"a": 1}), store.add("2024-Q2", {"a": 2})
    late = store.add("2024-Q1", {"a": 9}, sequence=2)
    assert store.build(one, two, late) == store.build(one, two) == ({"a": 2}, 0)


def test_a_delivery_that_goes_back_to_earlier_content_counts_even_when_it_was_called_a_duplicate(store: Store) -> None:
    one, two = store.add("2024-Q1", {"a": 1}), store.add("2024-Q1", {"a": 2}, sequence=2)
    back = store.add("2024-Q1", {"a": 1}, sequence=3, status="duplicate")
    assert store.build(one, two, back) == ({"a": 1}, 0)


def test_a_repeated_delivery_changes_nothing_about_the_build(store: Store) -> None:
    one = store.add("2024-Q1", {"a": 1})
    again = store.add("2024-Q1", {"a": 1}, sequence=2, status="duplicate")
    assert effective([one, again]) == effective([again, one]) == [one]


def test_deliveries_in_any_order_of_arrival_give_the_same_snapshot(store: Store) -> None:
    records = [
        store.add("2024-Q1", {"a": 1, "b": 1, "d": 1}),
        store.add("2024-Q1", {"a": 5, "b": 1, "d": 1}, sequence=2),
        store.add("2024-Q1", {"a": 1, "b": 1, "d": 1}, sequence=3, status="duplicate"),
        store.add("2024-Q2", {"a": 2, "c": 2}, deleted=("b",)),
        store.add("2024-Q3", {"a": 3, "c": 3}),
    ]
    counted = effective(records)
    assert all(effective(order) == counted for order in itertools.permutations(records))
    assert store.build(*records) == ({"a": 3, "c": 3, "d": 1}, 1)


CELLS = st.sampled_from(["a", "b", None])


@hypothesis.settings(max_examples=100, deadline=None, derandomize=True, database=None)
@hypothesis.given(rows=st.lists(st.tuples(CELLS, CELLS), max_size=9), size=st.integers(1, 4))
def test_of_rows_in_order_the_first_of_each_key_is_kept_wherever_a_part_begins(
    rows: list[tuple[str | None, str | None]], size: int
) -> None:
    frame = pd.DataFrame(rows, columns=["one", "two"], dtype=object).sort_values(["one", "two"], ignore_index=True)
    frame["row"] = range(len(frame))
    schema = pa.schema([("one", pa.string()), ("two", pa.string()), ("row", pa.int64())])
    table = pa.Table.from_pandas(frame, schema, preserve_index=False)
    parts = [part for start in range(0, len(frame), size) for part in table.slice(start, size).to_batches()]
    kept = [number for part in first_of_each(parts, ["one", "two"]) for number in part["row"].to_pylist()]
    assert kept == frame.drop_duplicates(["one", "two"])["row"].tolist()


# the whole -----------------------------------------------------------------------------------------------------------
def _prepare(platform: Platform, contracts: dict[str, Organisation]) -> BuildInputs:
    return prepare(platform.settings, platform.ledger, contracts, known_key(platform.settings, platform.ledger))


@pytest.fixture
def two(contracts: dict[str, Organisation]) -> dict[str, Organisation]:
    """A platform of one partner and the registry."""
    return {name: contracts[name] for name in ("rn", "registry")}


def _sources(inputs: BuildInputs) -> dict[str, str]:
    return {path.name: content_hash(pq.read_table(path)) for path in (inputs.folder / "sources").iterdir()}


def test_a_build_has_a_file_for_every_table_and_one_row_of_settings(
    settled: Platform, contracts: dict[str, Organisation]
) -> None:
    inputs = _prepare(settled, contracts)
    expected = {
        f"{name}__{item.name}.parquet" for name, organisation in contracts.items() for item in organisation.tables
    }
    assert set(_sources(inputs)) == expected | {"_build.parquet", "_stopped.parquet"}
    assert pq.read_table(inputs.folder / "sources" / "_build.parquet").to_pylist() == [
        {
            "registry_cutoff_on": date(2025, 12, 31),
            "enrolment_from": date(2022, 1, 1),
            "enrolment_to": date(2022, 12, 31),
            "landmark_months": 9,
        }
    ]
    for name, organisation in contracts.items():
        for item in organisation.tables:
            schema = pq.read_schema(inputs.folder / "sources" / f"{name}__{item.name}.parquet")
            assert schema.names == [*raw.raw_schema(item).names, "_delivery", "_received_on"]
    assert inputs.carried == {}
    assert inputs.registry_cutoff_on == date(2025, 12, 31)
    assert inputs.record["is_simulated"]


def test_a_table_without_rows_is_named_unless_it_may_be_empty_or_nobody_delivers_it(
    settled: Platform, two: dict[str, Organisation]
) -> None:
    inputs = _prepare(settled, two)
    assert empty_tables(two, inputs) == []
    emptied = replace(inputs, rows=dict.fromkeys(inputs.rows, 0))
    named = empty_tables(two, emptied)
    assert "rn.clients" in named
    may_be_empty = {f"{item.name}.{table.name}" for item in two.values() for table in item.tables if table.may_be_empty}
    assert set(named) == set(inputs.rows) - may_be_empty
    without = replace(emptied, deliveries=tuple(item for item in inputs.deliveries if item.organisation != "rn"))
    assert "rn.clients" not in empty_tables(two, without)


def test_the_same_deliveries_give_the_same_build(settled: Platform, two: dict[str, Organisation]) -> None:
    first = _prepare(settled, two)
    sources = _sources(first)
    (first.folder / "left.over").write_text("x")
    again = _prepare(settled, two)
    assert (again.build_id, _sources(again)) == (first.build_id, sources)
    assert not (again.folder / "left.over").exists()


@pytest.mark.parametrize("absent", ["rn", "registry", "north_carolina"])
def test_nothing_is_built_while_an_organisation_is_missing(
    settled: Platform, contracts: dict[str, Organisation], absent: str
) -> None:
    (record,) = settled.ledger.deliveries(organisation=absent)
    settled.ledger.decide(record.manifest_sha256, "rejected", [])
    with pytest.raises(DeliveriesMissing, match=f"no accepted delivery of {absent}:"):
        _prepare(settled, contracts)
    assert not candidate_folder(settled.settings).exists()


def _drop_last(rows: list[Row]) -> list[Row]:
    return rows[:-3]


def _corrected(rows: list[Row]) -> None:
    rows[0]["Geslacht"] = "V" if rows[0]["Geslacht"] == "M" else "M"


@pytest.fixture
def _open_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is judged on its values: what is asked here is which rows count."""
    monkeypatch.setattr("orchestration.deliveries.ingest._gate", lambda *_: iter(()))


@pytest.mark.usefixtures("_open_gate")
def test_real_deliveries_in_three_orders_of_arrival_give_the_same_sources(
    _settled_once: Path, tmp_path: Path, two: dict[str, Organisation]
) -> None:
    made = tmp_path / "made"
    source = delivery_in(_settled_once / "inbox", "rn")
    following = deliver(source, made, "following", "2026-Q1")
    change_rows(following, "item_responses", _drop_last)
    correction = deliver(source, made, "correction", "2026-Q1", sequence=2)
    change_rows(correction, "clients", _corrected)
    change_rows(correction, "item_responses", _drop_last)
    late = deliver(source, made, "late", "2025-Q4", sequence=2)
    change_rows(late, "clients", _corrected)
    found: list[Any] = []
    for number, order in enumerate(
        ([following, correction, late], [late, correction, following], [correction, late, following])
    ):
        folder = tmp_path / str(number)
        shutil.copytree(_settled_once, folder)
        platform = Platform(settings_in(folder), opened(settings_in(folder)))
        for delivery in order:
            assert ingest(delivery, platform.settings, platform.ledger).status == "accepted"
        inputs = _prepare(platform, two)
        assert inputs.carried == {"rn.item_responses": 3}
        found.append(
            (_sources(inputs), [record.delivery_id for record in inputs.deliveries if record.organisation == "rn"])
        )
    assert found[0] == found[1] == found[2]
    assert found[0][1] == ["late", "correction"]


@pytest.mark.usefixtures("_open_gate")
def test_a_declared_deletion_of_a_real_delivery_leaves_the_build(
    settled: Platform, two: dict[str, Organisation]
) -> None:
    before = _prepare(settled, two).rows["rn.item_responses"]
    fresh = deliver(delivery_in(settled.settings.inbox_path, "rn"), settled.settings.inbox_path, "next", "2026-Q1")
    gone: list[Row] = []

    def change(rows: list[Row]) -> list[Row]:
        gone.extend(rows[:3])
        return rows[5:]

    change_rows(fresh, "item_responses", change)
    keys = [{name: row[name] for name in ("Toezichtnummer", "Meting", "Beoordelaar", "Item")} for row in gone]
    change_manifest(fresh, deletions=[{"table": "item_responses", "keys": keys}])
    assert ingest(fresh, settled.settings, settled.ledger).status == "accepted"
    inputs = _prepare(settled, two)
    assert inputs.rows["rn.item_responses"] == before - 3
    assert inputs.carried == {"rn.item_responses": 2}


def test_builds_are_kept_under_their_id_and_only_the_newest_two(settings: Settings) -> None:
    for name in ("one", "two", "two", "three"):
        candidate_folder(settings).mkdir(parents=True)
        (candidate_folder(settings) / "warehouse.duckdb").write_text(name)
        assert (keep(settings, name) / "warehouse.duckdb").read_text() == name
    assert {path.name for path in settings.builds.iterdir()} == {"two", "three"}


def test_a_second_writer_waits_until_the_first_is_done(settings: Settings) -> None:
    lock = settings.home_path / "writer.lock"
    with one_writer(settings), lock.open() as second, pytest.raises(BlockingIOError):
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with (settings.home_path / "writer.lock").open() as second:
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
