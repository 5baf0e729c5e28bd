"""Publishing: the same rows are the same version, and whatever happens `current` points at a whole one."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestration.hashing import content_hash, is_in_order
from orchestration.settings import CHECKOUT, Settings
from orchestration.warehouse import build, dbt, versions
from orchestration.warehouse.versions import (
    PublishedTable,
    VersionDamaged,
    all_versions,
    current_id,
    current_version,
    fingerprint,
    publish,
    published_tables,
    read_marts,
    read_version,
    verify,
)
from tests.conftest import Platform
from tests.deliveries.making import RECORD, digests, publish_marts

CLIENT = pa.table({"client_id": ["a", "b"], "age_at_start": [30, 41]})
FOLLOWUP = pa.table({"client_id": ["a", "b"], "event": [True, None]})


def _id(settings: Settings, **marts: pa.Table) -> str:
    return publish_marts(settings, **marts)[0].version_id


def test_the_same_rows_are_the_same_version_whatever_their_order(settings: Settings) -> None:
    first, is_new = publish_marts(settings, client=CLIENT, followup=FOLLOWUP)
    assert is_new
    before = digests(settings.versions)
    again, is_new_again = publish_marts(settings, followup=FOLLOWUP.take([1, 0]), client=CLIENT.take([1, 0]))
    assert not is_new_again
    assert again.version_id == first.version_id == current_id(settings)
    assert digests(settings.versions) == before


@pytest.mark.parametrize(
    "other",
    [
        CLIENT.set_column(1, "age_at_start", pa.array([30, 42])),
        CLIENT.set_column(1, "age_at_start", pa.array([30, None])),
        CLIENT.set_column(1, "age_at_start", pa.array([30, 41], pa.int32())),
        CLIENT.rename_columns(["client_id", "age"]),
        CLIENT.slice(0, 1),
        CLIENT.select(["client_id"]),
    ],
    ids=["value", "missing", "type", "name", "row", "column"],
)
def test_what_differs_is_another_version_and_the_old_one_stays(settings: Settings, other: pa.Table) -> None:
    old, _ = publish_marts(settings, client=CLIENT)
    kept = digests(old.folder)
    new, is_new = publish_marts(settings, client=other)
    assert is_new
    assert new.version_id != old.version_id
    assert current_id(settings) == new.version_id
    assert digests(old.folder) == kept
    assert {version.version_id for version in all_versions(settings)} == {old.version_id, new.version_id}


def test_another_name_of_a_table_is_another_version(settings: Settings) -> None:
    assert _id(settings, client=CLIENT) != _id(settings, customer=CLIENT)


def test_going_back_to_an_old_version_only_moves_the_pointer(settings: Settings) -> None:
    old = _id(settings, client=CLIENT)
    _id(settings, client=CLIENT.slice(0, 1))
    version, is_new = publish_marts(settings, client=CLIENT)
    assert (version.version_id, is_new, current_id(settings)) == (old, False, old)


def test_a_manifest_says_what_each_table_holds(settings: Settings) -> None:
    version, _ = publish_marts(settings, client=CLIENT)
    entry = version.manifest["tables"]["client"]
    assert entry["rows"] == 2
    assert [(column["name"], column["type"]) for column in entry["columns"]] == [
        ("client_id", "string"),
        ("age_at_start", "int64"),
    ]
    assert version.manifest["simulated"] is True
    assert version.manifest["registry_cutoff_on"] == "2025-12-31"
    verify(version)


@pytest.mark.parametrize("damage", ["one bit", "shorter", "gone", "another table"])
def test_a_damaged_table_is_named(settings: Settings, damage: str) -> None:
    version, _ = publish_marts(settings, client=CLIENT, followup=FOLLOWUP)
    path = version.folder / "followup.parquet"
    data = bytearray(path.read_bytes())
    if damage == "one bit":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif damage == "shorter":
        path.write_bytes(data[:-1])
    elif damage == "gone":
        path.unlink()
    else:
        path.write_bytes((version.folder / "client.parquet").read_bytes())
    with pytest.raises(VersionDamaged, match=r": followup differ"):
        verify(version)


def test_a_fingerprint_sees_only_the_tables_that_a_reader_uses(settings: Settings) -> None:
    one, _ = publish_marts(settings, client=CLIENT, followup=FOLLOWUP)
    two, _ = publish_marts(settings, client=CLIENT, followup=FOLLOWUP.slice(0, 1))
    assert fingerprint(one, ["client"]) == fingerprint(two, ["client"])
    assert fingerprint(one, ["followup"]) != fingerprint(two, ["followup"])


def test_nothing_published_is_no_version(settings: Settings) -> None:
    assert current_id(settings) is None
    assert current_version(settings) is None
    assert all_versions(settings) == []


def test_only_marts_are_published_by_name_with_their_descriptions() -> None:
    def node(name: str, folder: str, kind: str = "model") -> dict[str, object]:
        return {
            "name": name, "resource_type": kind, "original_file_path": f"models/{folder}/{name}.sql", "schema": "marts",
            "alias": name, "description": f"One row per {name}. ", "columns": {"id": {"name": "id", "description": "Which."}},
        }  # fmt: skip

    nodes = [node("followup", "marts"), node("client", "marts"), node("stg", "staging"), node("t", "marts", "test")]
    found = published_tables({"nodes": {str(index): item for index, item in enumerate(nodes)}})
    assert [(table.name, table.relation) for table in found] == [
        ("client", '"marts"."client"'),
        ("followup", '"marts"."followup"'),
    ]
    assert found[0].description == "One row per client."
    assert found[0].columns == {"id": "Which."}


# from the warehouse ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "order", [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [0, 1, 3, 2, 4]], ids=["in order", "backwards", "one pair"]
)
def test_a_warehouse_is_published_in_canonical_order_however_its_rows_stand(
    settings: Settings, order: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "SLICE", 3)
    rows = pa.table({"client_id": ["a", "a", "b", None, None], "value": [0.5, None, math.nan, 1.5, None]})
    given = rows.take(order)
    warehouse = settings.home_path.parent / "warehouse.duckdb"
    with duckdb.connect(str(warehouse)) as connection:
        connection.register("given", given)
        connection.execute("create table client as from given; create table nobody as from given limit 0")
    tables = [PublishedTable(name, name, "", {}) for name in ("client", "nobody")]
    published, _ = publish(settings, warehouse, tables, RECORD)
    written = pq.read_table(published.folder / "client.parquet")
    assert written.to_pylist()[:2] + written.to_pylist()[3:] == rows.to_pylist()[:2] + rows.to_pylist()[3:]
    assert published.table_hashes == {"client": content_hash(rows), "nobody": content_hash(rows[:0])}
    assert {name: table["rows"] for name, table in published.manifest["tables"].items()} == {"client": 5, "nobody": 0}
    verify(published)
    in_hand, is_new = publish(settings, read_marts(warehouse, tables), tables, RECORD)
    assert (in_hand.version_id, is_new) == (published.version_id, False)


def test_marts_are_stored_in_canonical_order_so_that_publication_need_not_sort(published: Platform) -> None:
    tables = published_tables(dbt.read_manifest(published.settings))
    warehouse = build.candidate_folder(published.settings) / "warehouse.duckdb"
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        rows = {table.name: connection.sql(f"from {table.relation}").to_arrow_table() for table in tables}
    assert sum(mart.num_rows > 100 for mart in rows.values()) > 5
    assert [name for name, mart in rows.items() if not is_in_order(mart)] == []


# killed while publishing ---------------------------------------------------------------------------------------------
# One process forks a publisher for each death, so that what a death costs is not the start of a Python.
NURSERY = """
import json, os, signal, sys, time
from pathlib import Path
import pyarrow as pa
import pyarrow.parquet as pq
from orchestration import files
from orchestration.settings import Settings
from tests.deliveries.making import publish_marts
from tests.warehouse.test_versions import STEPS, reached, whole

def dying(original, when):
    def run(*args, **options):
        if when == "before":
            os._exit(9)
        original(*args, **options)
        os._exit(9)
    return run

def arm(step, when):
    if step == "write_batch":
        pq.ParquetWriter.write_batch = dying(pq.ParquetWriter.write_batch, when)
    elif step == "sync":
        files._sync = dying(files._sync, when)
    else:
        original = getattr(Path, step)
        wanted = ".current" if step in ("replace", "symlink_to") else "."
        def only_ours(self, *args, **options):
            act = dying(original, when) if self.name.startswith(wanted) else original
            return act(self, *args, **options)
        setattr(Path, step, only_ours)

def publish_number(home, number):
    marts = {"client": pa.table({"n": list(range(number, number + 50))}), "followup": pa.table({"m": [number]})}
    publish_marts(Settings(home=home), **marts)

root = Path(sys.argv[1])
for step, when in STEPS:
    child = os.fork()
    if child == 0:
        arm(step, when)
        publish_number(root / f"{when} {step}", 1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9, (step, when)

moments = int(sys.argv[2])
where = {}
inside = moment = 0
while inside < moments:  # a death between two publications proves nothing, and does not count
    moment += 1
    before = set(Settings(home=root / "any moment").versions.iterdir())
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        for number in range(10**6):
            publish_number(root / "any moment", 1000 * moment + number)
            os.write(writing, b".")
    os.read(reading, 1)
    end = time.monotonic() + 0.0017 * (moment % 100)
    while time.monotonic() < end:
        pass
    os.kill(child, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    os.close(reading), os.close(writing)
    whole(Settings(home=root / "any moment"))
    step = reached(Settings(home=root / "any moment"), before)
    where[step] = where.get(step, 0) + 1
    inside += step != "between two publications"
print(json.dumps({"killed": inside, "where": where}))
"""
MOMENTS = 20
STEPS = [
    ("mkdir", "after"),
    ("write_batch", "before"),
    ("write_batch", "after"),
    ("sync", "before"),
    ("rename", "before"),
    ("rename", "after"),
    ("symlink_to", "after"),
    ("replace", "before"),
    ("replace", "after"),
]


def whole(settings: Settings) -> None:
    """`current` points at a version that verifies, and so does every other version that a reader sees."""
    version = current_version(settings)
    assert version is not None
    for seen in (version, *all_versions(settings)):
        assert set(seen.manifest["tables"]) == {"client", "followup"}
        verify(seen)


def reached(settings: Settings, before: set[Path]) -> str:
    """How far the publication had come that was killed: by what it left which was not there before."""
    left = [path for path in settings.versions.iterdir() if path not in before and path.name.startswith(".")]
    if any(path.name.startswith(".current") for path in left):
        return "pointer made, not swapped"
    if left:
        return (
            "manifest written"
            if (left[0] / "manifest.json").is_file()
            else f"{len(list(left[0].iterdir()))} files written"
        )
    newest = max((version.folder for version in all_versions(settings)), key=lambda folder: folder.stat().st_mtime_ns)
    return "between two publications" if newest.name == current_id(settings) else "renamed, pointer not swapped"


def kill_publications(root: Path, moments: int) -> dict[str, Any]:
    """Let a publication die at each step and at so many moments of it, in homes below `root`; how many, and how far they had come.

    After each death every version that a reader sees is verified; the first that is torn ends it with an error.
    """
    for name in [*(f"{when} {step}" for step, when in STEPS), "any moment"]:
        publish_marts(Settings(home=root / name), client=CLIENT, followup=FOLLOWUP)
    done = subprocess.run(
        [sys.executable, "-c", NURSERY, str(root), str(moments)], cwd=CHECKOUT, stdout=subprocess.PIPE, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def deaths(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Homes in which a publication died: one for each step, and one in which many did at some moment."""
    root = tmp_path_factory.mktemp("deaths")
    assert kill_publications(root, MOMENTS)["killed"] == MOMENTS
    return root


@pytest.mark.parametrize(("step", "when"), STEPS, ids=[f"{when} {step}" for step, when in STEPS])
def test_a_publication_that_dies_at_a_step_leaves_a_whole_version(
    settings: Settings, deaths: Path, step: str, when: str
) -> None:
    before, _ = publish_marts(settings, client=CLIENT, followup=FOLLOWUP)
    died = Settings(home=deaths / f"{when} {step}")
    whole(died)
    assert (current_id(died) != before.version_id) == ((step, when) == ("replace", "after"))
    after, _ = publish_marts(died, client=CLIENT.slice(0, 1), followup=FOLLOWUP)
    whole(died)
    assert current_id(died) == after.version_id


def test_a_publication_that_is_killed_at_any_moment_leaves_a_whole_version(deaths: Path) -> None:
    settings = Settings(home=deaths / "any moment")
    whole(settings)
    assert len(all_versions(settings)) > MOMENTS


def test_what_a_reader_opens_never_changes_under_it(settings: Settings) -> None:
    version, _ = publish_marts(settings, client=CLIENT)
    content = json.loads((version.folder / "manifest.json").read_text())
    publish_marts(settings, client=CLIENT.slice(0, 1))
    assert json.loads((version.folder / "manifest.json").read_text()) == content
    assert read_version(version.folder).version_id == version.version_id
    assert str((settings.versions / "current").readlink()) == current_id(settings)


def test_rows_that_may_be_alike_are_those_that_are_so_in_a_frame(tmp_path: Path) -> None:
    warehouse = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(warehouse)) as connection:
        connection.execute("create table mart (id varchar, number double)")
        connection.execute("""
            insert into mart values
                ('a', 'nan'), ('a', null), ('b', 0.0), ('b', -0.0), (null, 'nan'), ('c', 1.0), ('nan', 1.0), (null, 1.0)
        """)
    stored = versions.StoredMarts(warehouse, [PublishedTable("mart", "mart", "", {})], {})
    assert stored.alike("mart", ["id", "number"])["id"].to_pylist() == ["a", "a", "b", "b", None]
    assert stored.alike("mart", ["number"]).num_rows == 8


def test_a_mart_without_rows_comes_in_one_part_wherever_it_is(tmp_path: Path) -> None:
    warehouse, tables = tmp_path / "warehouse.duckdb", [PublishedTable("mart", "mart", "", {})]
    with duckdb.connect(str(warehouse)) as connection:
        connection.execute("create table mart (id varchar)")
    for marts in (read_marts(warehouse, tables), versions.StoredMarts(warehouse, tables, {})):
        assert [(part.num_rows, part.schema.names) for part in marts.parts("mart")] == [(0, ["id"])]
        assert (marts.rows("mart"), marts.columns("mart"), len(marts), list(marts)) == (0, ["id"], 1, ["mart"])
