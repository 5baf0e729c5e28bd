"""Commands run one after the other, each a process of its own: wall time, and the memory of its whole tree; and the row that a bench prints.

What the commands do is not known here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestration.settings import CHECKOUT

LOOK_EVERY = 0.2  # seconds


class CommandFailed(RuntimeError):
    """A command left with another code than 0; says which code, and where what it wrote stands."""

    def __init__(self, code: int, said: Path) -> None:
        super().__init__(f"left with {code}; why stands in {said}")
        self.code, self.said = code, said


@dataclass(frozen=True)
class Cost:
    """Wall time in seconds, and peak memory in MB: the largest sum over the process and all that it started at one moment, or that
    of one of them alone, where that is more."""

    seconds: float
    peak_mb: float


@dataclass(frozen=True)
class Row:
    """One figure: its section, what was measured, the value with its unit, and the most that it may be (None where it is for comparison)."""

    section: str
    what: str
    value: float
    unit: str
    bar: float | None = None
    note: str = ""

    @property
    def is_met(self) -> bool:
        return self.bar is None or self.value <= self.bar

    def __str__(self) -> str:
        bar = "" if self.bar is None else f"{'met' if self.is_met else 'MISSED':>7} (at most {self.bar:,g})"
        value = f"{self.value:,.0f}" if abs(self.value) >= 1_000 else f"{self.value:.3g}"
        return f"{self.section:18}{self.what:66}{value:>8} {self.unit:4}{bar:28}{self.note}".rstrip()


def environment_of(home: Path, inbox: Path) -> dict[str, str]:
    """The variables of every command: those of the platform say where it lives, and nothing of the person who measures."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("DELICTVRIJ_")},
        "PYTHONPATH": str(CHECKOUT),
        "DELICTVRIJ_HOME": str(home),
        "DELICTVRIJ_INBOX": str(inbox),
        "DELICTVRIJ_ADMIT_TEST_NUMBERS": "true",
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "GX_ANALYTICS_ENABLED": "false",
    }


def measured(commands: Sequence[Sequence[str]], environment: Mapping[str, str], folder: Path) -> Cost:
    """The cost of `commands` together, started in `folder`; what they write stands in its `said.txt`. Raises `CommandFailed`."""
    costs = [_measured(command, environment, folder) for command in commands]
    return Cost(sum(cost.seconds for cost in costs), max(cost.peak_mb for cost in costs))


def cost_of(command: Sequence[str | Path], environment: Mapping[str, str], folder: Path | None = None) -> Cost:
    """The cost of one command, started in `folder` or in one that is gone afterwards. Raises `CommandFailed` with what it wrote last."""
    with tempfile.TemporaryDirectory() as name:
        place = folder or Path(name)
        try:
            return measured([[str(word) for word in command]], environment, place)
        except CommandFailed as failed:
            words = " ".join(str(word) for word in command)
            failed.add_note(f"{words}: {failed.said.read_text(errors='replace').strip()[-800:]}")
            raise


# A process begins with the memory mark of the one that starts it, so a small one starts the command, and takes the time.
START = """
import json, resource, subprocess, sys, time
began = time.perf_counter()
try:
    code = subprocess.run(sys.argv[2:]).returncode
except FileNotFoundError:
    code = 2
    print(sys.argv[2], "is not installed")
seconds, usage = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
with open(sys.argv[1], "w") as report:
    json.dump({"code": code, "seconds": seconds, "peak_mb": usage.ru_maxrss / 1024}, report)
"""


def _measured(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> Cost:
    said, report = folder / "said.txt", folder / "cost.json"
    ended, seen = threading.Event(), [0.0]
    with said.open("ab") as log:
        starting = [sys.executable, "-S", "-c", START, str(report), *command]
        process = subprocess.Popen(starting, env=dict(environment), cwd=folder, stdout=log, stderr=subprocess.STDOUT)

        def look() -> None:
            while not ended.wait(LOOK_EVERY):
                seen[0] = max(seen[0], below_mb(process.pid))

        watching = threading.Thread(target=look)
        watching.start()
        process.wait()
    ended.set()
    watching.join()
    found = json.loads(report.read_text(encoding="utf-8"))
    if found["code"]:
        raise CommandFailed(found["code"], said)
    return Cost(found["seconds"], max(seen[0], found["peak_mb"]))


def below_mb(pid: int) -> float:
    """What all processes below one hold now, shared pages by share (PSS): 0 where the system does not tell (Linux tells)."""
    children = defaultdict(list)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):  # it has ended meanwhile
            continue
        children[parent].append(int(stat.parent.name))
    below, found = list(children[pid]), 0.0
    while below:
        one = below.pop()
        below += children[one]
        found += _pss_mb(one)
    return found


def _pss_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
