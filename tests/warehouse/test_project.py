"""The rules of the dbt project that can be read off its files: layers, keys, joins that are tested, who reads what."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from dbt.contracts.graph.manifest import Manifest

from orchestration.analysis.inputs import MODEL_TABLES
from orchestration.settings import Settings
from orchestration.warehouse import dbt
from tests.warehouse.marts_world import PROJECT

MODELS = sorted((PROJECT / "models").rglob("*.sql"))
# What a layer may read: those before it and itself; staging reads what was delivered and nothing else.
BEFORE = {
    "staging": set(), "intermediate": {"staging", "intermediate", "seeds"},
    "marts": {"staging", "intermediate", "marts", "seeds"},
}  # fmt: skip
LAYER = {path.stem: path.parent.name for path in MODELS} | {path.stem: "seeds" for path in PROJECT.glob("seeds/*.csv")}


def described(path: Path) -> dict[str, Any]:
    (model,) = yaml.safe_load(path.with_suffix(".yml").read_text(encoding="utf-8"))["models"]
    return dict(model)


def _tests_of(model: dict[str, Any]) -> list[str]:
    """Names of the tests of a model and of its columns."""
    declared = [
        *model.get("data_tests", []),
        *(test for column in model.get("columns", []) for test in column.get("data_tests", [])),
    ]
    return [test if isinstance(test, str) else next(iter(test)) for test in declared]


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_a_model_reads_only_from_its_own_layer_and_those_before_it(path: Path) -> None:
    read = set(re.findall(r"ref\([\"'](\w+)[\"']\)", path.read_text(encoding="utf-8")))
    assert {LAYER[name] for name in read} <= BEFORE[path.parent.name]


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_a_model_says_what_one_row_is_and_names_its_columns(path: Path) -> None:
    assert described(path)["description"].startswith("One row")
    if path.parent.name == "marts":
        text = re.sub(r"--.*", "", path.read_text(encoding="utf-8"))
        assert not re.search(r"select\s+(\w+\.)?\*", text)


# A view is tested where its rows are first written down.
JOINED = [
    path
    for path in MODELS
    if " join " in path.read_text(encoding="utf-8") and 'materialized="view"' not in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("path", JOINED, ids=lambda path: path.stem)
def test_a_model_with_a_join_tests_that_it_made_no_rows(path: Path) -> None:
    assert {"unique", "unique_combination", "same_row_count_as"} & set(_tests_of(described(path)))


@pytest.mark.parametrize("path", [path for path in MODELS if path.parent.name == "marts"], ids=lambda path: path.stem)
def test_a_published_table_has_a_key(path: Path) -> None:
    assert {"unique", "unique_combination"} & set(_tests_of(described(path)))


def test_the_exposures_name_what_is_read() -> None:
    exposures = yaml.safe_load((PROJECT / "models" / "exposures.yml").read_text(encoding="utf-8"))["exposures"]
    read = {item["name"]: {re.findall(r"'(\w+)'", ref)[0] for ref in item["depends_on"]} for item in exposures}
    assert read["fit"] == set(MODEL_TABLES)
    assert read["release"] == {path.stem for path in MODELS if path.parent.name == "marts"}


def test_a_project_is_parsed_once_in_a_process_and_again_when_a_file_of_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("dbt_project.yml", "profiles.yml", "seeds/outcome.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("as it was")
    asked: list[tuple[list[str], Path]] = []

    def run(command: list[str], project: Path, target: Path) -> SimpleNamespace:
        asked.append((command, target))
        for name in ("manifest.json", "partial_parse.msgpack"):
            (target / name).write_text("parsed")
        return SimpleNamespace(success=True, result=len(asked))

    monkeypatch.setattr(dbt, "_run", run)
    settings = Settings(dbt_project=tmp_path)
    assert [dbt.parsed(settings), dbt.parsed(settings)] == [1, 1]
    (tmp_path / "seeds" / "outcome.csv").write_text("another outcome")
    assert [dbt.parsed(settings), dbt.parsed(settings)] == [2, 2]
    assert [command for command, _ in asked] == [["parse"], ["parse"]] and len({target for _, target in asked}) == 2
    dbt._parse.cache_clear()  # another process reads what lies there, and writes none of it anew
    assert dbt.parsed(settings) == 3 and asked[-1] == (["parse", "--no-write-json"], dbt.target_folder(settings))
    assert sorted(path.name for path in asked[-1][1].iterdir()) == ["manifest.json", "partial_parse.msgpack"]


def test_what_dbt_has_parsed_it_can_read_again() -> None:
    """A key that is no text in any yml makes dbt parse everything anew in each process: seconds, at each start of a run."""
    kept = dbt.manifest_path(Settings()).with_name("partial_parse.msgpack").read_bytes()
    assert Manifest.from_msgpack(kept).nodes


def test_what_dbt_has_parsed_is_there_in_the_forks_of_a_process_that_has_loaded_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from orchestration import loaded

    dbt.manifest_path(Settings())
    dbt._parse.cache_clear()
    loaded.read_what_dbt_has_parsed()
    monkeypatch.setattr(dbt, "_run", lambda *_: pytest.fail("it is parsed again"))
    assert dbt.parsed(Settings()).nodes


@pytest.mark.parametrize(("size", "threads"), [(10, []), (11, ["--threads", "1"])])
def test_of_large_sources_one_node_is_built_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, threads: list[str]
) -> None:
    """Two that sort or count a hundred million rows at once would share the memory, and one of them fail for want of it."""
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "one.parquet").write_bytes(b"x" * size)
    asked: list[list[str]] = []
    monkeypatch.setattr(dbt, "LARGE", 10)
    monkeypatch.setattr(dbt, "_nodes", lambda _, command: asked.append(command) or [])
    dbt.build(Settings(), tmp_path)
    assert [command[2:-2] for command in asked] == [threads]
