"""Whether the next DuckDB, dbt and Dagster would do: `python -m tests.upkeep.upgrades`, or `make upgrades`.

For each of them an environment of its own gets what the lock pins, then the newest release of that one tool. In it the platform
opens a home that the pinned tools made: `status`, `versions`, `reproduce` (builds the published version again, and compares every
table), a new delivery through `refresh`, and for DuckDB the databases of the builds. Takes minutes; prints one row for each tool.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.upkeep.audit import CHECKOUT, LOCK, TOOLS

TOOLS_TO_TRY: Mapping[str, tuple[str, ...]] = {
    "duckdb": ("duckdb",),
    "dbt": ("dbt-core", "dbt-duckdb", "dbt-adapters", "dbt-common"),
    "dagster": ("dagster", "dagster-dbt", "dagster-webserver", "dagster-postgres", "dagster-celery"),
}
OPEN_BUILDS = """
import duckdb, sys
for path in sys.argv[1:]:
    with duckdb.connect(path, read_only=True) as opened:
        tables = opened.execute("select schema_name, table_name from duckdb_tables()").fetchall()
        assert tables, path
        for schema, name in tables:
            opened.execute(f'select count(*) from "{schema}"."{name}"').fetchone()
"""


@dataclass(frozen=True)
class Tried:
    """What came of one tool: the releases before and after, the steps that went wrong, and how long it took."""

    tool: str
    before: str
    after: str
    wrong: tuple[str, ...]
    seconds: float

    @property
    def said(self) -> str:
        if self.wrong:
            return f"NOT YET: {', '.join(self.wrong)}"
        return "is the newest" if self.before == self.after else "would do"


def run(words: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> bool:
    """Run a command; says whether it succeeded. What it prints is shown when it did not."""
    ran = subprocess.run(
        words, env={**os.environ, **(environment or {})}, cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    if ran.returncode:
        print(
            f"  {Path(str(words[0])).name} {' '.join(map(str, words[1:4]))}: {ran.stdout[-400:]}{ran.stderr[-400:]}",
            file=sys.stderr,
        )
    return ran.returncode == 0


def environment_with(folder: Path, packages: Sequence[str]) -> tuple[Path, bool]:
    """An environment of what the lock pins and then the newest of `packages`; its Python, and whether that could be installed."""
    python, uv = folder / "bin" / "python", TOOLS / "uv"
    rest = "".join(f"{name}\n" for name in packages)
    newest = folder.with_suffix(".txt")
    newest.write_text(rest)
    made = run([uv, "venv", "--quiet", "--python", sys.executable, folder]) and run(
        [uv, "pip", "install", "--quiet", "--python", python, "--no-deps", "--require-hashes", "-r", LOCK]
    )
    return python, made and run([uv, "pip", "install", "--quiet", "--python", python, "--upgrade", "-r", newest])


def release_of(python: Path, package: str) -> str:
    """The release of a package in an environment."""
    asked = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"
    return subprocess.run([python, "-c", asked, package], capture_output=True, text=True, check=False).stdout.strip()


def home_of(folder: Path) -> dict[str, str]:
    """The variables of a home in a folder, of simulated deliveries."""
    return {
        "DELICTVRIJ_HOME": str(folder / "home"), "DELICTVRIJ_KEY_FILE": str(folder / "home.key"),
        "DELICTVRIJ_INBOX": str(folder / "inbox"), "DELICTVRIJ_ADMIT_TEST_NUMBERS": "1", "DELICTVRIJ_IMPUTATIONS": "2",
        "PYTHONPATH": str(CHECKOUT),
    }  # fmt: skip


def make_home(folder: Path, clients: int) -> None:
    """A home that the pinned tools made, with a version and a fit; and deliveries of other clients that wait to be sent."""
    own, cli = home_of(folder), [sys.executable, "-m", "orchestration.cli"]
    made = run([*cli, "init"], own) and run(
        [*cli, "simulate", folder / "inbox", "--clients", str(clients), "--seed", "1", "--periods", "last"], own
    )
    assert made, "no home could be made"
    assert run([*cli, "refresh"], own), "nothing could be published"


def steps_over(python: Path, folder: Path) -> tuple[str, ...]:
    """The steps that went wrong over a copied home with the Python of an environment; nothing where all went well."""
    own, cli = home_of(folder), [python, "-m", "orchestration.cli"]
    steps: dict[str, Sequence[str | Path]] = {
        "status": [*cli, "status"],
        "versions": [*cli, "versions"],
        "databases of builds": [
            python,
            "-c",
            OPEN_BUILDS,
            *sorted((folder / "home" / "builds").glob("*/warehouse.duckdb")),
        ],
        "the same version": [*cli, "reproduce", "current"],
        "instance of Dagster": [python.parent / "dagster", "instance", "migrate"],
        "refresh": [*cli, "refresh"],
        "the same version after it": [*cli, "reproduce", "current"],
    }
    own["DAGSTER_HOME"] = str(folder / "home" / "dagster")
    return tuple(name for name, words in steps.items() if not run(words, own))


def tried(tool: str, home: Path, folder: Path) -> Tried:
    """Try one tool over a copy of a home."""
    began, packages = time.monotonic(), TOOLS_TO_TRY[tool]
    before = release_of(Path(sys.executable), packages[0])
    python, is_installed = environment_with(folder / tool, packages)
    if not is_installed:
        return Tried(tool, before, "?", ("the newest cannot be installed with the rest",), time.monotonic() - began)
    shutil.copytree(home, folder / f"{tool}-home", symlinks=True)
    wrong = steps_over(python, folder / f"{tool}-home")
    return Tried(tool, before, release_of(python, packages[0]), wrong, time.monotonic() - began)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.upkeep.upgrades", description=__doc__)
    parser.add_argument("--tool", choices=sorted(TOOLS_TO_TRY), action="append", help="One of them; else all.")
    parser.add_argument("--clients", type=int, default=60)
    asked = parser.parse_args(words)
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        home = folder / "pinned"
        home.mkdir()
        make_home(home, asked.clients)
        for tool in asked.tool or TOOLS_TO_TRY:
            found.append(tried(tool, home, folder))
    print(
        f"{'tool':10}{'pinned':12}{'newest':12}{'seconds':>8}  over a home of SIMULATED deliveries that the pinned tools made"
    )
    for one in found:
        print(f"{one.tool:10}{one.before:12}{one.after:12}{one.seconds:8.0f}  {one.said}")
    return int(any(one.wrong for one in found))


if __name__ == "__main__":
    sys.exit(main())
