"""The rules of the house that can be read off its files: who imports what, and what no committed file may name."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from orchestration.settings import Settings

HOUSE = Path(__file__).resolve().parents[1]
ROOMS = ("deliveries", "warehouse", "analysis", "simulation", "releases", "stewards")
TOP_LEVEL = {
    "CITATION.cff", "LICENSE", "Makefile", "README.md", "dbt_project", "deploy", "docs", "expectations", "orchestration",
    "pyproject.toml", "requirements.lock", "tests", "workspace.yaml",
}  # fmt: skip
# Spelled in two halves, so that this file does not name what it looks for.
HOSTS = re.compile("|".join(("py" r"pi\.org", "python" "hosted", "ana" r"conda\.org", "conda" "-forge", "git" r"hub\.com",
                             "git" r"lab\.com", "npm" r"js\.(org|com)")), re.IGNORECASE)  # fmt: skip
MACHINE_PATH = re.compile(r"(?<![\w.-])/(?:work|root|home|Users)/\w")


@cache
def committed() -> tuple[str, ...]:
    """Paths of the text files that git has or would take, relative to the top."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=HOUSE,
        capture_output=True,
        check=False,
    )
    if listed.returncode != 0:  # unpacked from an archive: everything but what tools and homes put there
        found = (path for path in HOUSE.rglob("*") if path.is_file())
        names = [str(path.relative_to(HOUSE)) for path in found]
        return tuple(
            name for name in names if not re.match(r"(\.(venv|git|delictvrij|\w+_cache|hypothesis)|.*/target/)", name)
        )
    return tuple(name for name in listed.stdout.decode().split("\0") if name and (HOUSE / name).is_file())


def lines_matching(pattern: re.Pattern[str]) -> Iterator[str]:
    for name in committed():
        content = (HOUSE / name).read_bytes()
        if b"\0" in content:
            continue
        for number, line in enumerate(content.decode("utf-8", errors="replace").splitlines(), start=1):
            if pattern.search(line):
                yield f"{name}:{number}"


def imports_of(module: Path) -> Iterator[str]:
    """Full names of the modules that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


MODULES = sorted((HOUSE / "orchestration").rglob("*.py"))


def test_no_committed_file_names_a_package_host() -> None:
    assert list(lines_matching(HOSTS)) == []


def test_no_committed_file_names_a_path_of_a_machine() -> None:
    assert list(lines_matching(MACHINE_PATH)) == []


def test_the_lock_pins_every_package_by_hash_and_names_no_address() -> None:
    lock = (HOUSE / "requirements.lock").read_text(encoding="utf-8")
    pinned = re.findall(r"^([a-z0-9][\w.\[\],-]*)==[^\n]*\\\n    --hash=sha256:[0-9a-f]{64}", lock, re.MULTILINE)
    named = [line for line in lock.splitlines() if line and line[0] not in " #"]
    assert "://" not in lock
    assert len(pinned) == len(named) > 100


def test_the_top_level_holds_what_was_agreed() -> None:
    assert {name.split("/")[0] for name in committed() if not name.startswith(".")} <= TOP_LEVEL


def test_what_lies_beside_a_home_is_never_committed() -> None:
    settings = Settings(home=HOUSE / ".delictvrij")
    beside = (settings.key_path, settings.opening_key_path, settings.audit_seal_path, settings.consents_file)
    for path in (settings.home_path, *beside):
        ignored = subprocess.run(["git", "check-ignore", "--quiet", str(path)], cwd=HOUSE, check=False)
        assert ignored.returncode != 1, path.name  # 128: unpacked from an archive, there is nothing to commit to


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(HOUSE)))
def test_a_module_imports_dagster_only_where_that_is_allowed_and_no_room_behind_it(module: Path) -> None:
    place = module.relative_to(HOUSE / "orchestration")
    imported = set(imports_of(module))
    if place.name != "assets.py" and str(place) not in ("automation.py", "definitions.py"):
        assert {name for name in imported if re.match(r"dagster(_\w+)?(\.|$)", name)} == set()
    if place.parts[0] in ROOMS:
        behind = ROOMS[ROOMS.index(place.parts[0]) + 1 :]
        assert {
            name for name in imported if name.startswith(tuple(f"orchestration.{room}" for room in behind))
        } == set()
