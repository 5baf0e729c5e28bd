"""Running the dbt project in this process: parse it, build it into the candidate, and say how each node fared.

In this process because a dbt started anew costs more than the build itself at study size; what was parsed is kept for the
builds that follow in it. No row and no statement is logged: dbt's log keeps errors only. To write down that each of its nodes began and
ended costs dbt a fifth of a build, and Dagster keeps that already.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from orchestration.hashing import code_hash
from orchestration.settings import Settings

_KEPT = ("partial_parse.msgpack", "manifest.json")
LARGE = (
    100 * 2**20
)  # bytes of sources; of more one node is built at a time, on all cores and with all of DuckDB's memory
_QUIET = ("--log-level", "none", "--log-level-file", "error")


class DbtFailed(RuntimeError):
    """dbt could not parse or build; names the nodes, never their rows."""


@dataclass(frozen=True)
class Node:
    """One node of a build: its unique id, dbt's status (success, pass, fail, error, skipped, warn, no-op), failing rows if a test, and the
    query that was run."""

    unique_id: str
    status: str
    failures: int | None
    statement: str = ""

    @property
    def name(self) -> str:
        return self.unique_id.split(".")[2]

    @property
    def is_good(self) -> bool:
        return self.status in ("success", "pass", "warn", "no-op")


def project_hash(project: Path) -> str:
    """Hash of the dbt project as it is now."""
    kinds = ("models", "macros", "seeds", "tests")
    files = [path for kind in kinds for path in (project / kind).rglob("*.*") if path.is_file()]
    return code_hash(sorted([*files, project / "dbt_project.yml", project / "profiles.yml"]), project)


def target_folder(settings: Settings) -> Path:
    """Where dbt keeps what it parsed: one folder for each state of the project."""
    target = settings.dbt_target or settings.dbt_project / "target"
    return target / project_hash(settings.dbt_project)[:16]


def manifest_path(settings: Settings) -> Path:
    """The dbt manifest of the project as it is now; parsed once for each state of the project. Raises DbtFailed."""
    manifest = target_folder(settings) / "manifest.json"
    if not manifest.is_file():
        _parse(settings.dbt_project, manifest.parent)
    return manifest


def read_manifest(settings: Settings) -> dict[str, Any]:
    """The dbt manifest of the project as it is now, as data. Raises DbtFailed."""
    found: dict[str, Any] = json.loads(manifest_path(settings).read_text(encoding="utf-8"))
    return found


def parsed(settings: Settings) -> Any:
    """dbt's own manifest of the project as it is now, for its commands to start from. Raises DbtFailed."""
    return _parse(settings.dbt_project, target_folder(settings))


@lru_cache(maxsize=2)  # the project of the house, and one with outcome definitions of somebody's own
def _parse(project: Path, target: Path) -> Any:
    if (target / _KEPT[-1]).is_file():
        return _parsed(["parse", "--no-write-json"], project, target)
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".parse-", dir=target.parent) as name:
        manifest = _parsed(["parse"], project, Path(name))
        for kept in _KEPT:  # dbt writes them piece by piece, and others may be reading
            (Path(name) / kept).replace(target / kept)
    return manifest


def _parsed(command: Sequence[str], project: Path, target: Path) -> Any:
    result = _run(command, project, target)
    if not result.success:
        raise DbtFailed("dbt parse: the project has an error; `make check` shows it")
    return result.result


def build(settings: Settings, folder: Path, *, is_tested: bool = True) -> list[Node]:
    """Build seeds, models and tests into `folder`/warehouse.duckdb from `folder`/sources; how each node fared.

    `is_tested=False` leaves the tests out: for rows that are held against rows that passed them.
    """
    left_out = ["unit_test"] if is_tested else ["unit_test", "test"]
    is_large = sum(path.stat().st_size for path in (folder / "sources").iterdir()) > LARGE
    threads = ["--threads", "1"] if is_large else []
    with contextlib.chdir(folder):
        return _nodes(settings, ["build", "--no-write-json", *threads, "--exclude-resource-types", *left_out])


@dataclass(frozen=True)
class CompiledModel:
    """One model as dbt compiled it: its relation (schema and name), whether it is a view, and the query that makes it."""

    relation: str
    is_view: bool
    statement: str


def compiled_models(target: Path) -> list[CompiledModel]:
    """The models below a target folder, each after those that it reads. Needs what `dbt compile` writes there."""
    manifest = json.loads((target / "manifest.json").read_text(encoding="utf-8"))
    models = {name: node for name, node in manifest["nodes"].items() if node["resource_type"] == "model"}
    reads = {name: [other for other in node["depends_on"]["nodes"] if other in models] for name, node in models.items()}
    found = []
    for name in TopologicalSorter(reads).static_order():
        node = models[name]
        path = target / "compiled" / node["package_name"] / node["original_file_path"]
        found.append(
            CompiledModel(
                relation=f'"{node["schema"]}"."{node["alias"]}"',
                is_view=node["config"]["materialized"] == "view",
                statement=path.read_text(encoding="utf-8"),
            )
        )
    return found


def _nodes(settings: Settings, command: Sequence[str]) -> list[Node]:
    result = _run(command, settings.dbt_project, target_folder(settings), parsed(settings))
    nodes = [
        Node(item.node.unique_id, str(item.status), item.failures, getattr(item.node, "compiled_code", None) or "")
        for item in result.result.results
    ]
    if not nodes:
        raise DbtFailed(f"dbt {command[0]}: nothing was run")
    return nodes


def _run(command: Sequence[str], project: Path, target: Path, manifest: Any = None) -> Any:
    """One command of dbt in this process; what dbt says of it. Raises DbtFailed when it came to no result."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.cli.main import dbtRunner

    places = {"--project-dir": project, "--profiles-dir": project, "--target-path": target, "--log-path": target}
    options = [str(word) for place in places.items() for word in place]
    try:
        result = dbtRunner(manifest=manifest).invoke([*_QUIET, *command, *options])
    finally:
        # dbt keeps the database open for the life of the process; others must be able to read it, and to build anew.
        DuckDBConnectionManager.close_all_connections()
    if result.exception is not None:
        raise DbtFailed(f"dbt {command[0]}: {type(result.exception).__name__}")
    return result
