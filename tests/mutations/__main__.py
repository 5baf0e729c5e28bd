"""The figures of the catalogue: `python -m tests.mutations` spoils a good delivery of every organisation in every way.

Prints how many mutations there are, how many are named by their rule, whether the dry run and ingest say the same, and
how many clean deliveries were refused.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from orchestration.deliveries.ingest import check_delivery, ingest
from orchestration.deliveries.manifest import NotADelivery
from orchestration.home import initialise, opened
from orchestration.simulation import simulate
from orchestration.simulation.mutations import MUTATIONS
from tests.conftest import Platform, settings_in
from tests.mutations.trials import NEXT, judged, spoiled


def settled(folder: Path) -> tuple[Platform, Path]:
    """A home that accepted one simulated delivery of every organisation, and where those lie."""
    settings = settings_in(folder)
    initialise(settings)
    simulate(settings.inbox_path, clients=40, seed=20260101, periods="last")
    ledger = opened(settings)
    for manifest in sorted(settings.inbox_path.glob("*/*/*/manifest.json")):
        ingest(manifest.parent, settings, ledger)
    return Platform(settings, ledger), settings.inbox_path


def catalogue(folder: Path) -> bool:
    """Every mutation on every organisation, by dry run and by ingest; prints the figures and what was not named."""
    platform, source = settled(folder / "home")
    settings, ledger = platform.settings, platform.ledger
    tried = named = agreed = 0
    applied = set()
    for name in MUTATIONS:
        for organisation in NEXT:
            bad = spoiled(name, organisation, source, folder / "bad" / organisation)
            if bad is None:
                continue
            applied.add(name)
            try:
                dry = check_delivery(bad, settings, ledger)
                wet = ingest(bad, settings, ledger)
            except NotADelivery:
                print(f"not a delivery: {name} of {organisation}")
                tried += 1
                continue
            found = judged(name, wet)
            tried, named = tried + 1, named + found.is_named
            agreed += (dry.status, dry.judgements) == (wet.status, wet.judgements)
            if not found.is_named:
                print(f"not named: {name} of {organisation}: {wet.status}, {', '.join(sorted(found.found))}")
    print(f"mutations in the catalogue            {len(MUTATIONS)}, of which applied somewhere {len(applied)}")
    print(f"spoiled deliveries                    {tried}, named by their rule {named} ({named / tried:.1%})")
    print(f"dry run and ingest say the same       {agreed} of {tried} ({agreed / tried:.1%})")
    return named == agreed == tried and len(applied) == len(MUTATIONS)


def false_alarms(folder: Path, deliveries: int) -> bool:
    """Clean deliveries of many cohorts and sizes, each judged in a home of its own; prints how many were refused."""
    judged = refused = seed = 0
    while judged < deliveries:
        seed += 1
        settings = settings_in(folder / f"clean-{seed}")
        initialise(settings)
        simulate(settings.inbox_path, clients=20 + 7 * (seed % 12), seed=seed, periods="last")
        ledger = opened(settings)
        for manifest in sorted(settings.inbox_path.glob("*/*/*/manifest.json")):
            receipt = ingest(manifest.parent, settings, ledger)
            judged += 1
            if receipt.status != "accepted" or receipt.warnings:
                refused += 1
                odd = sorted({item.rule for item in (*receipt.reasons, *receipt.warnings)})
                print(f"false alarm: seed {seed}, {receipt.organisation} {receipt.period}: {odd}")
    print(f"false alarms on clean deliveries      {refused} of {judged}")
    return refused == 0


def main() -> None:
    """Run and print; leave with 1 where something was missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("--clean", type=int, default=200, help="clean deliveries to judge")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        is_good = catalogue(Path(folder))
        sys.exit(not (false_alarms(Path(folder), given.clean) and is_good))


if __name__ == "__main__":
    main()
