"""A sample of `tests.faults.matrix` that is quick: a disk that may only be read, what is said of it, and which runs are taken for dead."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import dagster as dg
import pytest
import yaml
from click.testing import CliRunner
from dagster._core.events import EngineEventData
from dagster._core.launcher import LaunchRunContext, WorkerStatus

from orchestration import cli
from orchestration.automation import Launcher, NearLauncher, end_dead_runs, instance_of, is_the_process
from orchestration.definitions import launch
from orchestration.settings import CHECKOUT
from orchestration.warehouse.build import one_writer
from tests.conftest import Platform
from tests.deliveries.making import deliver, delivery_in
from tests.faults import disk, jobs
from tests.spreading.running import wait_for

if (
    disk.can_mount()
):  # a container may not: what is said is tried below, and `tests.faults.matrix` needs a machine that may

    def test_on_a_disk_that_may_only_be_read_nothing_changes_and_one_line_says_so(
        _settled_once: Path, simulated: Path, tmp_path: Path
    ) -> None:
        delivery = deliver(delivery_in(simulated, "rn"), tmp_path / "made", "next", "2026-Q1", 2)
        came = disk.with_disk(_settled_once, delivery, tmp_path / "own", disk.READ_ONLY, "--once")
        assert came.first_exit == 1
        assert "Traceback" not in came.said
        assert came.said.startswith("delictvrij: ")
        assert (came.is_unchanged, came.accepted, came.damaged) == (True, 0, 0)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full: make room"),
        (OSError(errno.EROFS, "Read-only file system"), "the disk cannot be written to"),
    ],
)
def test_what_is_wrong_around_the_platform_is_said_with_what_to_do(error: OSError, said: str) -> None:
    @click.command()
    @cli._plainly
    def broken() -> None:
        raise error

    shown = CliRunner().invoke(broken)
    assert (shown.exit_code, shown.stdout) == (1, "")
    assert said in shown.stderr
    assert "what was published is as it was" in shown.stderr


def test_what_is_a_fault_of_the_platform_is_not_hidden() -> None:
    @click.command()
    @cli._plainly
    def broken() -> None:
        raise OSError(errno.ENOENT, "no such file")

    assert isinstance(CliRunner().invoke(broken).exception, OSError)


def begun(instance: dg.DagsterInstance, process: int | None) -> dg.DagsterRun:
    """A run that is started, by a process of that number where one has said so."""
    run = instance.add_run(
        dg.DagsterRun(
            job_name="a_job", run_id=f"00000000-0000-0000-0000-{process or 0:012}", status=dg.DagsterRunStatus.STARTED
        )
    )
    if process is not None:
        instance.report_engine_event("began", run, EngineEventData.in_process(process))
    return run


def test_a_run_whose_process_is_gone_is_found_and_one_that_works_is_not(platform: Platform) -> None:
    works = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    ended = subprocess.Popen([sys.executable, "-c", "pass"])
    ended.wait()
    try:
        with instance_of(platform.settings) as instance:
            launcher = instance.run_launcher
            assert isinstance(launcher, Launcher)
            assert launcher.supports_check_run_worker_health

            def health(process: int | None) -> WorkerStatus:
                return launcher.check_run_worker_health(begun(instance, process)).status

            assert health(works.pid) == WorkerStatus.RUNNING
            assert health(ended.pid) == WorkerStatus.NOT_FOUND
            assert health(None) == WorkerStatus.NOT_FOUND
            launch(platform.settings, instance=instance)  # whoever may write ends what nobody works on
            statuses = [run.status for run in reversed(instance.get_runs())][:3]
            assert statuses == [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.FAILURE]
            own = begun(instance, os.getpid())  # what this process worked on before, it does not work on now
            assert end_dead_runs(instance) == 1
            assert found(instance, own.run_id).status == dg.DagsterRunStatus.FAILURE
        assert is_the_process(works.pid, time.time())
        assert not is_the_process(works.pid, time.time() - 3600)  # a number that was somebody else's an hour ago
    finally:
        works.communicate(b"\n")


def launched(instance: dg.DagsterInstance, job: dg.JobDefinition) -> str:
    """Have a run begun as the daemon does; gives its id."""
    origin = dg.reconstructable(job).get_python_origin()
    run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTING, job_code_origin=origin)
    instance.run_launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))
    return run.run_id


def came_to(instance: dg.DagsterInstance, run_id: str, *statuses: dg.DagsterRunStatus) -> bool:
    return found(instance, run_id).status in statuses


def found(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRun:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run


def begun_to_wait(instance: dg.DagsterInstance, run_id: str) -> bool:
    return bool(instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_START))


def test_a_run_is_a_fork_that_has_everything_loaded_and_its_end_is_noticed_however_it_comes(platform: Platform) -> None:
    status = dg.DagsterRunStatus
    with instance_of(platform.settings) as instance:
        launcher = instance.run_launcher
        assert isinstance(launcher, NearLauncher)
        one = launched(instance, jobs.ends)
        wait_for(lambda: came_to(instance, one, status.SUCCESS, status.FAILURE), "its end")
        assert came_to(instance, one, status.SUCCESS)

        killed = launched(instance, jobs.waits)
        wait_for(lambda: begun_to_wait(instance, killed), "its step")
        assert launcher.check_run_worker_health(found(instance, killed)).status == WorkerStatus.RUNNING
        os.kill(launcher.process_of(killed) or 0, signal.SIGKILL)
        wait_for(lambda: came_to(instance, killed, status.FAILURE), "that it is gone")
        assert launcher.check_run_worker_health(found(instance, killed)).status == WorkerStatus.NOT_FOUND
        assert not launcher.terminate(killed)

        ended = launched(instance, jobs.waits)
        wait_for(lambda: begun_to_wait(instance, ended), "its step")
        assert launcher.terminate(ended)
        wait_for(lambda: came_to(instance, ended, status.CANCELED), "that it has ended")


def test_a_run_of_the_daemon_begins_when_whoever_writes_to_the_home_has_ended(platform: Platform) -> None:
    with instance_of(platform.settings) as instance:
        with one_writer(platform.settings):
            waiting = launched(instance, jobs.ends)
            wait_for(lambda: is_locked_out(platform.settings.home_path), "its process")
            assert not came_to(instance, waiting, dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.STARTED)
        wait_for(lambda: came_to(instance, waiting, dg.DagsterRunStatus.SUCCESS), "its end")


def is_locked_out(home: Path) -> bool:
    """Whether some process waits for the lock of a home."""
    file = (home / "writer.lock").stat()
    waits = [line.split() for line in Path("/proc/locks").read_text().splitlines() if "->" in line]
    return any(words[-3].rpartition(":")[2] == str(file.st_ino) for words in waits)


@pytest.mark.parametrize(("name", "launcher"), [("dagster.yaml", "NearLauncher"), ("dagster.server.yaml", "Launcher")])
def test_a_dead_run_is_looked_for_often_enough_and_only_that_is_tried_again(name: str, launcher: str) -> None:
    said = yaml.safe_load((CHECKOUT / "deploy" / name).read_text())
    assert said["run_monitoring"]["enabled"]
    assert said["run_monitoring"]["poll_interval_seconds"] <= 150  # noticed within five minutes
    assert said["run_launcher"] == {"module": "orchestration.automation", "class": launcher}
    assert said["run_retries"]["retry_on_asset_or_op_failure"] is False
    assert said["run_retries"]["max_retries"] <= 3
    assert os.environ["DAGSTER_DISABLE_TELEMETRY"] == "yes"
