"""What happens when something breaks, and what is there afterwards: `python -m tests.faults.matrix`, one row for each fault.

Real processes: Dagster's daemon with its code server and runs, `refresh` on a disk of its own, PostgreSQL, SFTP and S3 servers. For each
fault: after how long it was noticed or mended, how often the delivery counts (1), whether what was published before stayed as it was,
and whether the version in the end is that of an undisturbed home. SIMULATED deliveries.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import dagster as dg

from orchestration.home import initialise, opened
from orchestration.simulation import simulate
from orchestration.warehouse import versions
from tests.deliveries.making import change_rows, deliver, delivery_in
from tests.faults import connections, disk
from tests.faults.daemon import Machine, machine
from tests.server.whole import deliver as put

EARLIER = "2025-Q2"
FIRST = ("rn", "svg", "ljr", "north_carolina")


@dataclass(frozen=True)
class Row:
    """One fault and what came of it."""

    fault: str
    came: str
    seconds: float
    is_good: bool


def in_progress(made: Machine, name: str) -> dg.DagsterRun | None:
    """The run of that name that works now."""
    started = [run for run in made.runs() if run.job_name == name and run.status == dg.DagsterRunStatus.STARTED]
    return started[0] if started else None


def accepted(made: Machine) -> dict[str, int]:
    """How often each delivery counts."""
    ledger = opened(made.settings)
    counts: dict[str, int] = {}
    for record in ledger.deliveries(status="accepted"):
        counts[record.delivery_id] = counts.get(record.delivery_id, 0) + 1
    ledger.close()
    return counts


def is_whole(made: Machine) -> bool:
    """Whether every version of the home is what its manifest says."""
    for version in versions.all_versions(made.settings):
        versions.verify(version)
    return True


def locked(made: Machine) -> int:
    """How often a database was found locked, in everything that was said."""
    return sum(log.read_text(errors="replace").count("database is locked") for log in made.logs)


def earlier_too(simulated: Path, inbox: Path) -> None:
    """What two organisations delivered half a year before the last delivery that lies in `simulated`."""
    for organisation in ("rn", "svg"):
        shutil.copytree(simulated.with_name("backlog") / organisation / EARLIER, inbox / organisation / EARLIER)


def six_at_once(made: Machine, simulated: Path) -> Row:
    """Six deliveries of as many partitions appear at once: six runs, one at a time, all succeed."""
    for organisation in FIRST:
        put(simulated, made.settings, only=organisation)
    earlier_too(simulated, made.settings.inbox_path)
    took = made.wait_for(lambda: _finished(made, "deliver_") >= 6, "six runs", 900)
    runs = [run for run in made.runs() if run.job_name.startswith("deliver_")]
    good = [run for run in runs if run.status == dg.DagsterRunStatus.SUCCESS]
    counts = accepted(made)
    return Row(
        "six launches at once", f"{len(good)} of {len(runs)} succeeded, {locked(made)} locks met, {len(counts)} deliveries count once",
        took, len(good) == len(runs) == 6 and not locked(made) and set(counts.values()) == {1},
    )  # fmt: skip


def worker_killed(made: Machine, simulated: Path) -> Row:
    """The process of a run is killed while it takes a delivery in: its code server says so, and the run is started anew."""
    put(simulated, made.settings, only="registry")
    made.wait_for(lambda: in_progress(made, "deliver_registry") is not None, "the run", 600)
    run = in_progress(made, "deliver_registry")
    assert run is not None
    made.wait_for(lambda: made.pid_of(run.run_id) is not None, "its process")
    os.kill(int(made.pid_of(run.run_id) or 0), signal.SIGKILL)
    noticed = made.wait_for(
        lambda: _status(made, run.run_id) == dg.DagsterRunStatus.FAILURE, "that it was noticed", 300
    )
    made.wait_for(lambda: "registry" in {record.organisation for record in _records(made)}, "the retry", 600)
    made.wait_for(lambda: _status(made, _retry_of(made, run.run_id)) == dg.DagsterRunStatus.SUCCESS, "its success", 600)
    again = [other for other in made.runs() if other.parent_run_id == run.run_id]
    return Row(
        "a run's worker killed", f"noticed, its place free, {len(again)} retry succeeded by itself; the delivery counts {_times(made, 'registry')} time",
        noticed, _times(made, "registry") == 1,
    )  # fmt: skip


def machine_killed(made: Machine, expected: str) -> Row:
    """Everything is killed while a build runs; started again, the run that nobody works on is noticed and made anew."""
    made.wait_for(lambda: in_progress(made, "__ASSET_JOB") is not None, "the build", 900)
    run = in_progress(made, "__ASSET_JOB")
    assert run is not None
    made.wait_for(lambda: made.pid_of(run.run_id) is not None, "its process")
    made.kill()
    before = versions.current_id(made.settings)
    made.start()
    noticed = made.wait_for(
        lambda: _status(made, run.run_id) == dg.DagsterRunStatus.FAILURE, "that it was noticed", 300
    )
    made.wait_for(lambda: versions.current_id(made.settings) is not None, "the version", 900)
    return Row(
        "the machine killed in a build", f"before: {before or 'nothing published'}; the run is noticed and made anew, the version is that of an undisturbed home",
        noticed, versions.current_id(made.settings) == expected and is_whole(made),
    )  # fmt: skip


def daemon_killed(made: Machine, simulated: Path) -> Row:
    """The daemon is killed when a delivery lies in the inbox and no run has begun; the next one takes it in, once."""
    delivery = deliver(delivery_in(simulated, "rn"), made.settings.inbox_path, "later", "2026-Q1", 3)
    made.kill_daemon()
    made.kill()
    began = time.monotonic()
    made.start()
    made.wait_for(lambda: _times(made, "rn", "later") >= 1, "the delivery", 900)
    return Row(
        "daemon killed between arrival and load", f"the delivery counts {_times(made, 'rn', 'later')} time",
        time.monotonic() - began, _times(made, "rn", "later") == 1 and delivery.is_dir(),
    )  # fmt: skip


def _finished(made: Machine, begins: str) -> int:
    return sum(run.is_finished for run in made.runs() if run.job_name.startswith(begins))


def _status(made: Machine, run_id: str | None) -> dg.DagsterRunStatus | None:
    return next((run.status for run in made.runs() if run.run_id == run_id), None)


def _retry_of(made: Machine, run_id: str) -> str | None:
    return next((run.run_id for run in made.runs() if run.parent_run_id == run_id), None)


def _records(made: Machine):  # type: ignore[no-untyped-def]
    ledger = opened(made.settings)
    found = [record for record in ledger.deliveries() if record.status in ("accepted", "duplicate")]
    ledger.close()
    return found


def _times(made: Machine, organisation: str, delivery_id: str | None = None) -> int:
    return sum(
        record.organisation == organisation and delivery_id in (None, record.delivery_id) for record in _records(made)
    )


def with_daemon(folder: Path, simulated: Path, expected: str) -> list[Row]:
    """The faults of one home with Dagster's daemon over it, one after the other."""
    with machine(folder) as made:
        return [
            six_at_once(made, simulated),
            worker_killed(made, simulated),
            machine_killed(made, expected),
            daemon_killed(made, simulated),
        ]


def with_disks(folder: Path, simulated: Path) -> list[Row]:
    """A delivery comes in on a disk that is full at the first, a middle and the last write, and on one that may only be read."""
    base = folder / "base"
    base.mkdir()
    settings = disk.settings_on(base, folder / "inbox")
    initialise(settings)
    shutil.copytree(simulated, settings.inbox_path, dirs_exist_ok=True)
    disk.refresh(settings)
    delivery = deliver(delivery_in(simulated, "rn"), folder / "made", "next", "2026-Q1", 2)
    change_rows(delivery, "clients", _others)
    undisturbed = disk.with_disk(base, delivery, folder / "undisturbed", disk.UNDISTURBED)
    needed = undisturbed.needed / 2**20
    rows = []
    for name, room in (
        ("disk full at the first write", 0.0), ("disk full in the middle", needed / 2), ("disk full at the end", needed * 0.98),
        ("disk may only be read", disk.READ_ONLY),
    ):  # fmt: skip
        began = time.monotonic()
        came = disk.with_disk(base, delivery, folder / name.replace(" ", "-"), room)
        expected = {
            "the exit of the first refresh": came.first_exit == 1,
            "said in one line": "Traceback" not in came.said,
            "what was published stayed": came.is_unchanged,
            "with room the version of an undisturbed home": came.version == undisturbed.version,
            "and its refit": came.refit == undisturbed.refit != "nothing",
            "the delivery counts once": came.accepted == 1,
            "no file is damaged": came.damaged == 0,
        }
        wrong = [f"NOT {what}" for what, is_so in expected.items() if not is_so]
        said = "; ".join(wrong) + f" {replace(came, said=came.said[-300:])}" if wrong else "; ".join(expected)
        rows.append(Row(name, said, time.monotonic() - began, not wrong))
    return rows


def with_connections(folder: Path, simulated: Path) -> list[Row]:
    """The database restarted, and connections cut, at the first, a middle and the last answer."""
    broken = [
        *connections.database_restarted(simulated, folder / "database"),
        *connections.sources_cut("SFTP", simulated, folder / "sftp"),
        *connections.sources_cut("S3", simulated, folder / "s3"),
        *connections.store_cut(simulated, folder / "store"),
    ]
    return [
        Row(
            f"{one.what}, {one.moment}",
            f"{one.said}; {one.in_sight} half-done in sight; afterwards it counts {one.accepted} time",
            one.seconds,
            one.is_good,
        )
        for one in broken
    ]


def _others(rows: list[dict[str, str]]) -> None:
    for row in rows[:3]:
        row["Geslacht"] = "V" if row["Geslacht"] == "M" else "M"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["daemon", "disks", "connections"])
    given = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simulate(folder / "simulated", clients=40, seed=20260101, periods="last")
        simulate(folder / "backlog", clients=40, seed=20260101)
        parts: dict[str, Callable[[], list[Row]]] = {
            "daemon": lambda: with_daemon(_made(folder / "daemon"), folder / "simulated", _undisturbed(folder)),
            "disks": lambda: with_disks(_made(folder / "disks"), folder / "simulated"),
            "connections": lambda: with_connections(_made(folder / "connections"), folder / "simulated"),
        }
        for part, run in parts.items():
            if given.only in (None, part):
                for row in run():
                    print(
                        f"{'ok ' if row.is_good else 'BAD'} {row.fault:42}{row.seconds:7.1f} s  {row.came}", flush=True
                    )
                    rows.append(row)
    print(f"{sum(row.is_good for row in rows)} of {len(rows)} as they should be; deliveries are SIMULATED")
    return int(not all(row.is_good for row in rows))


def _undisturbed(folder: Path) -> str:
    """The version of the same deliveries where nothing broke."""
    from tests.server.whole import embedded

    place = _made(folder / "undisturbed")
    earlier_too(folder / "simulated", place / "inbox")
    return embedded(place, folder / "simulated")[1]


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


if __name__ == "__main__":
    sys.exit(main())
