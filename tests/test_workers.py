"""Processes of their own give what they are asked for, say when they die, and end with who asked."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestration import workers
from orchestration.home import NoHome
from orchestration.workers import WorkerDied, apart, at_hand, forked

WITHIN = 60  # seconds that a process may take to end before the test says that it does not


@pytest.fixture(autouse=True)
def nothing_preloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested here needs none of the libraries that take seconds to load."""
    monkeypatch.setattr(workers, "PRELOADED", [])


def refuse() -> None:
    raise NoHome("there is no home here")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def square_in_fork(number: int) -> tuple[int, int]:
    with forked(2) as pool:
        return os.getpid(), sum(pool.map(pow, [number, number], [2, 2]))


def fork_and_wait(pids: Path) -> None:
    with forked(2) as pool:
        waiting = [pool.submit(signal.pause) for _ in range(2)]
        pids.write_text(" ".join(str(pid) for pid in (os.getpid(), *pool._processes)))
        print("ready", flush=True)
        for future in waiting:
            future.result()


def test_a_process_apart_gives_what_the_function_gives_from_forks_of_its_own() -> None:
    pid, found = apart(square_in_fork, 3)
    assert pid != os.getpid()
    assert found == 18


def test_a_process_apart_raises_what_the_function_raises() -> None:
    with pytest.raises(NoHome, match="no home here"):
        apart(refuse)


def test_a_process_that_is_killed_is_one_clear_line() -> None:
    with pytest.raises(WorkerDied, match="still waits in the inbox: run `delictvrij refresh` again"):
        apart(die)


def test_every_process_ends_with_the_one_that_asked_even_when_that_is_killed(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path; from orchestration import workers; workers.PRELOADED = []; "
        f"from tests.test_workers import fork_and_wait; workers.apart(fork_and_wait, Path({str(tmp_path / 'pids')!r}))"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as asked:
        assert asked.stdout is not None
        assert asked.stdout.readline() == b"ready\n"
        working = [os.pidfd_open(int(pid)) for pid in (tmp_path / "pids").read_text().split()]
        asked.kill()
    assert len(working) == 3
    for process in working:
        assert select.select([process], [], [], WITHIN)[0], "a process outlived the one that asked for it"
        os.close(process)


def test_forks_that_were_made_in_time_are_given_again_while_they_last_and_are_enough() -> None:
    with forked(2) as forks:
        with at_hand(2) as pool:
            assert pool is forks
        with at_hand(1) as pool:
            assert pool is forks
        with at_hand(3) as others:
            assert others is not forks
        assert forks.submit(os.getppid).result() == os.getpid()
    with at_hand(1) as pool:
        assert pool is not forks


def test_a_fork_that_dies_while_it_works_is_told_to_whoever_waits_for_it() -> None:
    with forked(1) as forks:
        with pytest.raises(WorkerDied), at_hand(1) as pool:
            pool.submit(os._exit, 3).result()
        assert pool is forks
