"""The platform measured as a whole, in one table: `python -m tests.bench`, `--only` a section of it, `--json FILE` the same for a machine.

Each row says what was measured, how much it was, and the most that it may be where it has a bar. Ratios are of the same run on the same
machine, whose speed they do not depend on. Leaves with 1 when a bar is missed. What the figures were when they were last taken, and what
stands behind them, is in `docs/performance.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from tests.bench import building, cox, floor, grid, startup, stations, way
from tests.bench.measuring import Row
from tests.bench.peers import __main__ as peers


def sections(clients: int, many: int, sizes: Sequence[int]) -> dict[str, Callable[[], Iterator[Row]]]:
    """What there is to measure, by its name, in the order in which it is."""
    return {
        "startup": lambda: startup.rows(clients),
        "simulation": lambda: startup.simulating(many),
        "orchestration": lambda: floor.rows(clients),
        "way": lambda: way.rows(clients),
        "stations": lambda: stations.rows(sizes),
        "building": building.rows,
        "cox": cox.rows,
        "grid": grid.rows,
        "peers": lambda: peers.in_one_table(clients, 1),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--clients", type=int, default=200, help="clients of the study")
    parser.add_argument("--many", type=int, default=200_000, help="clients of the large simulation")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000], help="clients of the stations")
    parser.add_argument("--only", nargs="+", choices=list(sections(0, 0, ())), help="these sections")
    parser.add_argument("--json", type=Path, help="write the rows into this file too")
    given = parser.parse_args(arguments)
    found: list[Row] = []
    print(f"{os.cpu_count()} processors; SIMULATED data")
    for name, rows in sections(given.clients, given.many, given.sizes).items():
        if given.only is None or name in given.only:
            for row in rows():
                print(row, flush=True)
                found.append(row)
    missed = [row for row in found if not row.is_met]
    if given.json:
        said = [{**asdict(row), "is_met": row.is_met} for row in found]
        given.json.write_text(json.dumps({"cores": os.cpu_count(), "rows": said}, indent=1), encoding="utf-8")
    print(f"{sum(row.bar is not None for row in found) - len(missed)} bars met, {len(missed)} missed")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
