"""How long a person waits who types a command: each one a process of its own over a home with deliveries and a version.

`python -m tests.bench --only startup`. Great Expectations is measured beside `check`, which cannot be quicker than that.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from orchestration.simulation import simulate
from tests.bench.floor import environment, with_home
from tests.bench.measuring import Row, cost_of

COMMAND = Path(sys.executable).with_name("delictvrij")
AT_ONCE, BESIDE_GX = 1.0, 2.0
REPEATS = 5


def waited(command: Sequence[str | Path], made: Mapping[str, str], repeats: int = REPEATS) -> float:
    """The median of so many runs, in seconds."""
    return statistics.median(cost_of(command, made).seconds for _ in range(repeats))


def rows(clients: int) -> Iterator[Row]:
    """What a person waits for, and `check` on a small delivery without what importing Great Expectations takes."""
    section = "start-up"
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        simulate(folder / "delivered", clients=clients, periods="last")
        made = with_home(folder, folder / "delivered")
        cost_of([COMMAND, "refresh"], made)
        for words in (["--help"], ["status"], ["versions"]):
            yield Row(section, " ".join(words), waited([COMMAND, *words], made), "s", AT_ONCE)
        yield Row(section, "refresh, nothing new", waited([COMMAND, "refresh"], made, 3), "s", 15.0)
        (delivery,) = (folder / "delivered" / "rn").glob("*/*/")
        (folder / "new").mkdir()
        made = with_home(folder / "new", folder / "nothing")  # where none was taken in that it would be compared with
        imported = waited([sys.executable, "-c", "import great_expectations"], made, 3)
        checked = waited([COMMAND, "check", delivery], made, 3)
        yield Row(section, "import great_expectations", imported, "s")
        yield Row(section, "check of a delivery", checked, "s")
        yield Row(section, "  check beyond that import", checked - imported, "s", BESIDE_GX)


def simulating(many: int) -> Iterator[Row]:
    """A large cohort written as its partners would deliver it."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        place = Path(name) / "many"
        command = [COMMAND, "simulate", place, f"--clients={many}", "--form=csv"]
        yield Row(
            "simulation",
            f"simulate {many:,} clients as CSV",
            cost_of(command, environment(Path(name))).seconds,
            "s",
            60.0,
        )
