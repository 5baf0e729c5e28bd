"""How long the commands take, measured as a person would: each one a process of its own, on a home of its own.

`python -m tests.bench` prints one table, with `--json` the same as JSON. Nothing is judged here; the bars stand in
`docs/bench.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

COMMAND = Path(sys.executable).with_name("delictvrij")
REPEATS = 5


@dataclass(frozen=True)
class Timing:
    """Wall time of one command in seconds: the median over `runs` runs."""

    what: str
    seconds: float
    runs: int


def run_seconds(arguments: Sequence[str], environment: Mapping[str, str]) -> float:
    """Wall time of one run of the command. Raises RuntimeError with what it wrote when it fails."""
    began = time.perf_counter()
    done = subprocess.run([str(COMMAND), *arguments], env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if done.returncode != 0:
        raise RuntimeError(
            f"delictvrij {' '.join(arguments)} left with {done.returncode}: {done.stderr.strip()[-500:]}"
        )
    return seconds


def timings(folder: Path, clients: int, many: int) -> Iterator[Timing]:
    """Each timing as it is known: a backlog of `clients` clients, a simulation of `many`, all below `folder`."""

    def home(name: str) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("DELICTVRIJ_")},
            "DELICTVRIJ_HOME": str(folder / name),
            "DELICTVRIJ_INBOX": str(folder / f"{name}-inbox"),
            "DELICTVRIJ_ADMIT_TEST_NUMBERS": "true",
        }

    def once(what: str, *arguments: str, environment: Mapping[str, str]) -> Timing:
        return Timing(what, run_seconds(arguments, environment), 1)

    def median(what: str, *arguments: str, environment: Mapping[str, str]) -> Timing:
        return Timing(what, statistics.median(run_seconds(arguments, environment) for _ in range(REPEATS)), REPEATS)

    snapshots, backlog = home("snapshots"), home("backlog")
    yield once(
        f"simulate {many:,} clients as CSV",
        "simulate", str(folder / "many"), f"--clients={many}", "--form=csv",
        environment=backlog,
    )  # fmt: skip
    for environment, periods in ((snapshots, "last"), (backlog, "all")):
        run_seconds(["init"], environment)
        run_seconds(
            ["simulate", environment["DELICTVRIJ_INBOX"], f"--clients={clients}", f"--periods={periods}"], environment
        )
    yield once(f"refresh, {clients:,} clients, last snapshots", "refresh", environment=snapshots)
    yield once(f"refresh, {clients:,} clients, the whole backlog", "refresh", environment=backlog)
    yield once("refresh, nothing new", "refresh", environment=backlog)
    yield median("--help", "--help", environment=backlog)
    yield median("status", "status", environment=backlog)
    yield median("versions", "versions", environment=backlog)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--clients", type=int, default=200, help="clients of the backlog")
    parser.add_argument("--many", type=int, default=200_000, help="clients of the large simulation")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    given = parser.parse_args(arguments)
    found = []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for timing in timings(Path(folder), given.clients, given.many):
            found.append(timing)
            if not given.json:
                print(
                    f"{timing.what:44}{timing.seconds:9.2f} s  ({timing.runs} run{'s' * (timing.runs > 1)})", flush=True
                )
    if given.json:
        print(json.dumps({"cores": os.cpu_count(), "timings": [asdict(timing) for timing in found]}, indent=1))


if __name__ == "__main__":
    main()
