"""A delivery's way: from the moment its manifest appears until its version is published and refitted, with Dagster's daemon over the home.

`python -m tests.bench --only way`: the last registry extract of a study that has all else, which the first refresh asked for, so that a
release is drafted at the end; then the same content once more, which is a delivery and changes nothing. Settings as in a new home.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from dagster._core.scheduler.instigation import TickStatus

from orchestration.home import initialise, opened
from orchestration.readings import Readings
from orchestration.settings import Settings
from orchestration.simulation import simulate
from tests.bench.floor import DELICTVRIJ
from tests.bench.measuring import Row, cost_of
from tests.deliveries.making import change_manifest
from tests.faults.daemon import Machine, environment, over

CHANGED, UNCHANGED = 60.0, 10.0
LONGEST = 600.0


def appear(delivery: Path, inbox: Path) -> float:
    """Put a delivery into the inbox, its manifest last; gives the moment of that."""
    target = inbox / delivery.parent.parent.name / delivery.parent.name / delivery.name
    shutil.copytree(delivery, target, ignore=shutil.ignore_patterns("manifest.json"))
    shutil.copy(delivery / "manifest.json", target / "manifest.tmp")
    (target / "manifest.tmp").rename(target / "manifest.json")
    return time.monotonic()


def ticks(made: Machine, since: float) -> int:
    """How often the daemon has looked at the conditions since a moment (seconds since 1970)."""
    with made.instance() as instance:
        states = [state for state in instance.all_instigator_state() if state.instigator_name == "refresh"]
        found = [tick for state in states for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id)]
    done = (TickStatus.SUCCESS, TickStatus.SKIPPED)
    return sum(tick.timestamp >= since and tick.status in done for tick in found)


def asset_runs(made: Machine) -> int:
    return sum(run.job_name == "__ASSET_JOB" for run in made.runs())


def steps(made: Machine, since: float) -> Iterator[Row]:
    """When each run since a moment (seconds since 1970) was asked for, begun and ended."""
    with made.instance() as instance:
        records = sorted(instance.get_run_records(), key=lambda record: record.create_timestamp)
    for record in records:
        asked = record.create_timestamp.timestamp() - since
        if asked >= 0 and record.start_time and record.end_time:
            assets = len(record.dagster_run.asset_selection or ())
            said = f"asked for at {asked:.1f}, begun at {record.start_time - since:.1f}, ended at {record.end_time - since:.1f} s"
            name = record.dagster_run.job_name if not assets else f"{assets} assets"
            yield Row("way", f"  run: {name}", record.end_time - record.start_time, "s", note=said)


def until(made: Machine, began: float, is_there: Callable[[Readings], bool], what: str) -> float:
    """Seconds from a moment until the ledger says so."""
    ledger = opened(made.settings)
    made.wait_for(lambda: is_there(ledger), what, LONGEST)
    ledger.close()
    return time.monotonic() - began


def rows(clients: int) -> Iterator[Row]:
    """The stations of an extract that brings follow-up, and a delivery that brings nothing."""
    section = "way"
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        simulate(folder / "delivered", clients=clients)
        last = max((folder / "delivered" / "registry").iterdir())
        (extract,) = last.iterdir()
        settings = Settings(home=folder / "home", inbox=folder / "inbox", admit_test_numbers=True)
        initialise(settings)
        shutil.copytree(folder / "delivered", settings.inbox_path, dirs_exist_ok=True)
        shutil.rmtree(settings.inbox_path / "registry" / last.name)
        cost_of([*DELICTVRIJ, "refresh"], environment(settings))
        ledger = opened(settings)
        fits, versions = len(ledger.fits()) + len(ledger.held_fits()), len(ledger.builds())
        with over(settings, folder) as made:
            made.wait_for(lambda: ticks(made, 0) >= 2, "the daemon", LONGEST)
            at, began = time.time(), appear(extract, settings.inbox_path)
            yield Row(
                section,
                "manifest appears → taken in",
                until(
                    made,
                    began,
                    lambda now: any(one.delivery_id == extract.name for one in now.deliveries(status="accepted")),
                    "the delivery",
                ),
                "s",
            )
            yield Row(
                section,
                "manifest appears → published",
                until(made, began, lambda now: len(now.builds()) > versions, "the version"),
                "s",
            )
            refitted = until(made, began, lambda now: len(now.fits()) + len(now.held_fits()) > fits, "the refit")
            yield Row(section, "manifest appears → published and refitted", refitted, "s", CHANGED)
            drafted = until(made, began, lambda now: len(now.releases()) > 0, "the draft of a release")
            yield Row(section, "manifest appears → the year's release is drafted", drafted, "s")
            made.wait_for(lambda: all(run.is_finished for run in made.runs()), "quiet", LONGEST)
            yield from steps(made, at)
            runs = asset_runs(made)
            again = shutil.copytree(extract, folder / "again" / "registry" / last.name / f"{extract.name}-again")
            change_manifest(again, delivery_id=again.name, sequence=2)
            appeared = time.time()
            began = appear(again, settings.inbox_path)
            known = until(
                made,
                began,
                lambda now: any(one.delivery_id == again.name and one.decided_at for one in now.deliveries()),
                "the delivery again",
            )
            yield Row(section, "the same content once more → decided", known, "s", UNCHANGED)
            made.wait_for(lambda: ticks(made, appeared + known) >= 2, "two looks at the conditions", LONGEST)
            yield Row(section, "  runs downstream of it", asset_runs(made) - runs, "", 0)
