"""A refit over 1, 2 and 4 Celery workers, and over workers that are killed, by real processes: `python -m tests.spreading.workers`.

Prints for each how long the grid took, how often each batch was begun, and whether the fit is to the bit what one process
makes of the same rows; for a worker that is killed, how long until its batch was begun again. SYNTHETIC people.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from orchestration.analysis.assets import specification
from orchestration.analysis.fit import read_fit, run_fit, write_fit
from orchestration.analysis.inputs import Inputs, read_inputs
from orchestration.automation import instance_of, run_job
from orchestration.home import initialise
from orchestration.settings import Settings
from orchestration.spreading.batches import GRID
from orchestration.warehouse.versions import current_version
from tests.analysis.synthetic import OUTCOMES, synthetic_inputs
from tests.analysis.test_refit import published
from tests.spreading import house
from tests.spreading.running import (
    Begun,
    Run,
    being_fitted,
    celery_workers,
    environment_of,
    redis_server,
    steps_begun,
    wait_for,
)

LONGEST = 3600
PROCESS, MACHINE = "a process of a worker", "a worker whole"


@dataclass(frozen=True)
class Measured:
    """A grid over workers: its seconds, how often each batch was begun, whether it went well and gives the same fit, and after how
    many seconds the batch of a killed worker was begun again."""

    seconds: float
    begun: Counter[str]
    is_success: bool
    is_same: bool
    taken_up_after: float | None


def with_outcomes(inputs: Inputs, count: int) -> Inputs:
    """The rows with `count` primary outcomes, each like the landmark's."""
    first = OUTCOMES[0]

    def repeated(frame: pd.DataFrame) -> pd.DataFrame:
        own = frame[frame["outcome_id"] == first]
        return pd.concat([own.assign(outcome_id=f"{first}_{n}") for n in range(1, count + 1)], ignore_index=True)

    frames = {name: repeated(frame) for name, frame in inputs.tables.items() if "outcome_id" in frame}
    return replace(inputs, **frames)


def hashes(manifest: Mapping[str, object]) -> dict[str, str]:
    """The SHA-256 of each table's file."""
    tables = manifest["tables"]
    assert isinstance(tables, dict)
    return {name: entry["sha256"] for name, entry in tables.items()}


def there(settings: Settings) -> set[str]:
    """The batches that are fitted."""
    return {path.parent.name for path in (settings.fits / GRID).glob("*/[!.]*/manifest.json")}


def unfinished(settings: Settings) -> list[Begun]:
    """The batches that somebody works at and that are not there yet."""
    return [one for one in being_fitted(settings) if one.batch not in there(settings)]


def is_taken_up(settings: Settings, lost: Begun) -> bool:
    """Whether another process works, or has worked, at the batch of one that was killed."""
    now = {found.batch: found.process for found in being_fitted(settings)}
    return lost.batch in there(settings) or now.get(lost.batch, lost.process) != lost.process


def measured(
    settings: Settings, names: tuple[str, ...], plain: Mapping[str, str], batches: int, killed: str | None = None
) -> Measured:
    """Fit the grid of so many batches from nothing over as many workers as there are names, then the fit, and compare it."""
    shutil.rmtree(settings.fits)
    settings.fits.mkdir()
    after = None
    with instance_of(settings) as instance:
        with celery_workers(settings, names), Run(house.grid_job, instance) as run:
            if killed:
                # the last batch: it need not wait for others before it is begun again
                wait_for(
                    lambda: len(there(settings)) == batches - 1 and bool(unfinished(settings)), "the last", LONGEST
                )
                (one,) = unfinished(settings)
                if killed == PROCESS:
                    os.kill(one.process, signal.SIGKILL)
                else:
                    os.killpg(os.getpgid(one.process), signal.SIGKILL)
                after = wait_for(lambda: is_taken_up(settings, one), "the batch of the killed worker", LONGEST)
        begun = steps_begun(instance, run.run_id)
        fitted = run_job(house.of_home().resolve_job_def(house.FIT_JOB), instance)
    spread = hashes(read_fit(settings.fits / "current")[1]) if fitted.is_success else {}
    return Measured(run.seconds, begun, run.is_success, spread == plain, after)


def main() -> None:
    """Print the figures; leaves with 1 when a fit differs, a run fails, or more than the batch of a killed worker was begun twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--outcomes", type=int, default=4)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--imputations", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--longest-batch-seconds", type=int, default=120)
    asked = parser.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory() as place, redis_server(Path(place)) as url:
        settings = Settings(
            home=Path(place) / "home", imputations=asked.imputations, broker=url, longest_batch_seconds=asked.longest_batch_seconds,
        )  # type: ignore[arg-type]  # fmt: skip
        initialise(settings)
        published(settings, with_outcomes(synthetic_inputs(asked.clients), asked.outcomes))
        os.environ.update(
            {name: value for name, value in environment_of(settings).items() if name.startswith("DELICTVRIJ_")}
        )
        version = current_version(settings)
        assert version is not None
        print(
            f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}; SYNTHETIC: {asked.clients} clients, {asked.outcomes} outcomes, "
            f"m = {asked.imputations}, all models", flush=True,
        )  # fmt: skip
        began, busy = time.monotonic(), time.process_time()
        result = run_fit(read_inputs(version), specification(settings), settings.seed)
        alone = time.monotonic() - began
        plain = hashes(write_fit(result, Path(place) / "plain", {}))
        print(
            f"{'one process, no broker':34}{alone:8.1f} s, {time.process_time() - busy:.1f} of them on a processor",
            flush=True,
        )
        first = 0.0
        tries = [(count, None) for count in asked.workers] + [(1, PROCESS), (2, MACHINE)]
        for count, killed in tries:
            found = measured(
                settings, tuple(f"worker{n}" for n in range(1, count + 1)), plain, asked.outcomes + 1, killed
            )
            first = first or found.seconds
            twice = {batch for batch, times in found.begun.items() if times > 1}
            is_good = found.is_success and found.is_same and len(twice) == (killed is not None)
            bad += not is_good
            said = f"{count} workers" + (
                f", {killed} is killed" if killed else f", {first / found.seconds:.2f} times as fast as one"
            )
            print(
                f"{said:50}{found.seconds:8.1f} s  load {os.getloadavg()[0]:.1f}  run {'good' if found.is_success else 'FAILED'}, fit "
                f"{'the same to the bit' if found.is_same else 'DIFFERS'}; {len(found.begun)} batches, begun twice: {len(twice)}"
                + ("" if found.taken_up_after is None else f", again after {found.taken_up_after:.1f} s"),
                flush=True,
            )  # fmt: skip
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
