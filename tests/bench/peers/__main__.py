"""The same work by the platform and by scripts, side by side on the same SIMULATED deliveries: time, memory, lines, results.

`python -m tests.bench.peers [--clients N] [--repeats K] [--json FILE] [--keep FOLDER]` prints one table, and what each does not do. The
repeats are interleaved, since the speed of a machine varies: a ratio is that of one round, the median is over rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from orchestration.analysis.specification import read_specification
from orchestration.simulation import simulate
from tests.bench import measuring
from tests.bench.measuring import CommandFailed, Cost, environment_of, measured
from tests.bench.peers.described import (
    CORE,
    EVERY_SCRIPT,
    MODELS,
    OUTCOME,
    PEERS,
    PLATFORM,
    RATER,
    SCALE,
    Peer,
)

SEED = 7
NOT_INSTALLED = 2  # with which a peer leaves that lacks a package


@dataclass(frozen=True)
class Estimate:
    """Hazard ratio of one point of the alliance, with its 95% interval."""

    hazard_ratio: float
    low: float
    high: float

    @property
    def std_error(self) -> float:
        """Of the logarithm, as if the interval were of a normal distribution."""
        return float(np.log(self.high / self.low) / (2 * 1.959964))


@dataclass(frozen=True)
class Result:
    """What came out: people, events, and the estimate of each of `MODELS`."""

    n: int
    events: int
    estimates: Mapping[str, Estimate]

    def agrees(self, other: Result) -> bool:
        """Whether the same number of people had the same number of events."""
        return (self.n, self.events) == (other.n, other.events)

    def apart(self, other: Result) -> float:
        """How far the unadjusted hazard ratios are apart, in standard errors of the other."""
        ours, theirs = self.estimates[MODELS[0]], other.estimates[MODELS[0]]
        return abs(float(np.log(ours.hazard_ratio / theirs.hazard_ratio))) / theirs.std_error


@dataclass(frozen=True)
class Row:
    """One line of the table. Medians over rounds; a ratio is to the platform in the same round. `note`: why there is nothing."""

    name: str
    lines: int
    lacks: tuple[str, ...]
    seconds: float | None = None
    times: float | None = None
    times_range: tuple[float, float] | None = None
    peak_mb: float | None = None
    times_memory: float | None = None
    result: Result | None = None
    agrees: bool | None = None
    apart: float | None = None
    note: str | None = None


def result_of(estimates: pd.DataFrame) -> Result:
    """From the small file of a peer: model, term, n, events, hazard_ratio, conf_low, conf_high."""
    rows = estimates[estimates["term"] == SCALE].set_index("model").loc[list(MODELS)]
    (n,), (events,) = rows["n"].unique(), rows["events"].unique()
    found = {
        str(model): Estimate(row["hazard_ratio"], row["conf_low"], row["conf_high"]) for model, row in rows.iterrows()
    }
    return Result(int(n), int(events), found)


def platform_result(home: Path) -> Result:
    """From the estimates of the current fit of a home."""
    found = pd.read_parquet(home / "fits" / "current" / "estimates.parquet")
    named = {f"{OUTCOME}.{RATER}.{SCALE}.{model}": model for model in MODELS}
    found = found[found["model_id"].isin(named)].assign(model=lambda rows: rows["model_id"].map(named))
    found["hazard_ratio"] = np.exp(found["estimate"])
    found[["conf_low", "conf_high"]] = np.exp(found[["conf_low", "conf_high"]])
    return result_of(found)


def run(peer: Peer, delivered: Path, out: Path, imputations: int) -> tuple[Cost, Result]:
    """One run in an empty folder. Raises `CommandFailed`."""
    out.mkdir(parents=True)
    cost = measured(peer.commands(delivered, out, imputations), environment_of(out / "home", delivered), out)
    found = platform_result(out / "home") if peer is PLATFORM else result_of(pd.read_csv(out / "estimates.csv"))
    return cost, found


def rounds(peers: Sequence[Peer], delivered: Path, folder: Path, repeats: int, imputations: int) -> list[Row]:
    """Every peer once a round, the platform first; who fails is not asked again."""
    costs: dict[str, list[Cost]] = {peer.name: [] for peer in peers}
    results: dict[str, Result] = {}
    notes: dict[str, str] = {}
    for number in range(repeats):
        for place, peer in enumerate(peers):
            if peer.name in notes:
                continue
            print(f"round {number + 1} of {repeats}: {peer.name}", file=sys.stderr, flush=True)
            try:
                cost, results[peer.name] = run(peer, delivered, folder / f"{number + 1}-{place + 1}", imputations)
            except CommandFailed as error:
                if peer is PLATFORM:
                    raise
                notes[peer.name] = _why(error)
            else:
                costs[peer.name].append(cost)
    return [row_of(peer, costs, results, notes.get(peer.name)) for peer in peers]


def _why(error: CommandFailed) -> str:
    if error.code != NOT_INSTALLED:
        return f"left with {error.code}; what it wrote stays with --keep, in said.txt"
    return error.said.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1]


def row_of(peer: Peer, costs: Mapping[str, list[Cost]], results: Mapping[str, Result], note: str | None) -> Row:
    """The line of one peer, against the platform's of the same rounds."""
    if note is not None:
        return Row(peer.name, peer.lines, peer.lacks, note=note)
    own, result = costs[peer.name], results[peer.name]
    pairs = list(zip(own, costs[PLATFORM.name], strict=True))
    times = [cost.seconds / platform.seconds for cost, platform in pairs]
    return Row(
        peer.name, peer.lines, peer.lacks,
        seconds=statistics.median(cost.seconds for cost in own),
        times=statistics.median(times),
        times_range=(min(times), max(times)),
        peak_mb=statistics.median(cost.peak_mb for cost in own),
        times_memory=statistics.median(cost.peak_mb / platform.peak_mb for cost, platform in pairs),
        result=result,
        agrees=result.agrees(results[PLATFORM.name]),
        apart=result.apart(results[PLATFORM.name]),
    )  # fmt: skip


def table(rows: Sequence[Row]) -> list[str]:
    """The lines of the table."""
    found = [
        f"{'':<40}{'seconds':>9}{'×':>7}{'of rounds':>12}{'MB':>7}{'×':>7}{'lines':>8}{'n':>6}{'events':>8}  {'the same':<10}"
        f"{'hazard ratio':<22}{'SE apart':>8}"
    ]
    for row in rows:
        if row.result is None:
            found.append(f"{row.name:<40}{'not run:':>9} {row.note}")
            continue
        ratio = row.result.estimates[MODELS[0]]
        found.append(
            f"{row.name:<40}{row.seconds:>9.1f}{row.times:>7.2f}"
            f"{_span(row.times_range):>12}{row.peak_mb:>7.0f}{row.times_memory:>7.2f}{row.lines:>8,}"
            f"{row.result.n:>6}{row.result.events:>8}  {'yes' if row.agrees else 'NO':<10}"
            f"{f'{ratio.hazard_ratio:.2f} ({ratio.low:.2f}–{ratio.high:.2f})':<22}{row.apart:>8.2f}"
        )
    return found


def in_one_table(clients: int, repeats: int) -> Iterator[measuring.Row]:
    """Time and memory of each against the platform's whole refresh; a peer that is not installed is not there."""
    with tempfile.TemporaryDirectory(prefix="peers-") as name:
        delivered = Path(name) / "delivered"
        simulate(delivered, clients, SEED, "csv", "last")
        found = rounds((PLATFORM, CORE, *PEERS), delivered, Path(name), repeats, read_specification().imputer.m)
    for row in found:
        if row.times is None or row.times_memory is None or row.result is None:
            continue
        note = f"{row.seconds:.0f} s, {row.lines:,} lines; n {row.result.n}, {row.result.events} events"
        yield measuring.Row("peers", f"{row.name}: time against a whole refresh", row.times, "×", note=note)
        yield measuring.Row("peers", f"{row.name}: memory", row.times_memory, "×")
        yield measuring.Row("peers", f"{row.name}: other n or events than the platform", float(not row.agrees), "", 0)


def _span(ends: tuple[float, float] | None) -> str:
    return "" if ends is None else f"{ends[0]:.2f}–{ends[1]:.2f}"


def lacking(rows: Sequence[Row]) -> list[str]:
    """What each does not do, as lines."""
    blocks = [("every script", EVERY_SCRIPT), *((row.name, row.lacks) for row in rows)]
    return [line for name, lacks in blocks for line in (f"{name}:", *(f"  - {item}" for item in lacks))]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 where n or events of one that ran differ from the platform's."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.peers", description=__doc__)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3, help="rounds; every peer once in each")
    parser.add_argument("--json", type=Path, help="a file that gets the same as JSON")
    parser.add_argument("--keep", type=Path, help="a folder, not there yet, in which what each wrote stays")
    given = parser.parse_args(arguments)
    imputations = read_specification().imputer.m
    with tempfile.TemporaryDirectory(prefix="peers-") as temporary:
        folder = given.keep.absolute() if given.keep else Path(temporary)
        delivered = folder / "delivered"
        simulate(delivered, given.clients, SEED, "csv", "last")
        rows = rounds((PLATFORM, CORE, *PEERS), delivered, folder, given.repeats, imputations)
    print(
        f"SIMULATED: {given.clients} clients, {imputations} imputations, {given.repeats} rounds, {os.cpu_count()} cores"
    )
    print("\n".join([*table(rows), "", "What each does not do", *lacking(rows)]))
    if given.json:
        said = {"simulated": True, "clients": given.clients, "seed": SEED, "imputations": imputations,
                "rounds": given.repeats, "cores": os.cpu_count(), "rows": [asdict(row) for row in rows]}  # fmt: skip
        given.json.write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return int(any(row.agrees is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
