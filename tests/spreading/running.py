"""Redis and Celery workers as real processes on the loopback address, and what can be seen of a run that they worked at."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from orchestration.settings import CHECKOUT, Settings
from orchestration.spreading.assets import over_workers, worker_app
from orchestration.spreading.batches import GRID

WITHIN = 120  # seconds after which a process that does not come up, or a batch that nobody begins, is a failure


def wait_for(is_there: Callable[[], bool], what: str, seconds: float = WITHIN) -> float:
    """Ask until it is there; gives the seconds that took. Raises TimeoutError."""
    began = time.monotonic()
    while not is_there():
        if time.monotonic() - began > seconds:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(0.02)
    return time.monotonic() - began


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """A Redis on a free port that keeps nothing on disk and asks for a password; gives its URL."""
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("redis-server is not installed (Debian: redis-server)")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
    password = secrets.token_hex(16)
    configuration = folder / "redis.conf"
    configuration.write_text(
        f'bind 127.0.0.1\nport {port}\nsave ""\nappendonly no\nrequirepass {password}\ndir {folder}\n'
    )
    with _ended(subprocess.Popen([binary, str(configuration)], stdout=subprocess.DEVNULL, start_new_session=True)):
        wait_for(lambda: _listens(port), "redis-server")
        yield f"redis://:{password}@127.0.0.1:{port}/0"


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        yield process
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):  # the group: a worker has children
            try:
                os.killpg(process.pid, number)
                process.wait(5)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue


def environment_of(settings: Settings) -> dict[str, str]:
    """The settings as a process finds them in its environment."""
    said = settings.model_dump(exclude_defaults=True, mode="json")
    broker = {} if settings.broker is None else {"broker": settings.broker.get_secret_value()}
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("DELICTVRIJ_")},
        **{f"DELICTVRIJ_{name.upper()}": str(value) for name, value in {**said, **broker}.items()},
        "PYTHONPATH": str(CHECKOUT),
    }


@contextmanager
def celery_workers(
    settings: Settings, names: tuple[str, ...], app: str = "orchestration.spreading.worker"
) -> Iterator[Mapping[str, subprocess.Popen[bytes]]]:
    """Workers of one process each, as `docs/spreading.md` starts them; their logs lie beside the home."""
    with ExitStack() as stack:
        started = {}
        for name in names:
            command = [
                sys.executable, "-m", "celery", "-A", app, "worker", "-n", f"{name}@%h", "--concurrency", "1", "--without-mingle",
                "--without-gossip", "--loglevel", "INFO",
            ]  # fmt: skip
            log = stack.enter_context((settings.home_path.parent / f"{name}.log").open("ab"))
            started[name] = stack.enter_context(
                _ended(
                    subprocess.Popen(
                        command, cwd=CHECKOUT, env=environment_of(settings), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                    )
                )
            )  # fmt: skip
        control = worker_app(settings).control
        wait_for(lambda: len(control.ping(timeout=0.5)) >= len(names), "celery workers")
        yield started


@dataclass(frozen=True)
class Begun:
    """A batch that somebody is working at: its name, and the process."""

    batch: str
    process: int


def being_fitted(settings: Settings) -> list[Begun]:
    """The batches that somebody is working at, from the marks that workers leave in the home."""
    marks = sorted((settings.fits / GRID).glob("*/*.begun"))
    lines = {mark.name.removesuffix(".begun"): _lines(mark) for mark in marks}
    return [Begun(batch, int(seen[-1].split()[1])) for batch, seen in lines.items() if seen]


def _lines(mark: Path) -> list[str]:
    try:
        return [line for line in mark.read_text().splitlines() if len(line.split()) == 2]
    except FileNotFoundError:  # it is fitted
        return []


def steps_begun(instance: dg.DagsterInstance, run_id: str) -> Counter[str]:
    """How often each batch of a run was begun, by its name."""
    records = instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_START)
    keys = [str(record.step_key) for record in records]
    return Counter(key.partition("[")[2].rstrip("]") for key in keys if "[" in key)


class Run:
    """A run of the grid in a thread of this process, as the daemon's run worker has it; the workers are processes of their own."""

    def __init__(self, job: Callable[[], dg.JobDefinition], instance: dg.DagsterInstance) -> None:
        self._job, self._instance = dg.reconstructable(job), instance
        self._thread = threading.Thread(target=self._execute)
        self.is_success, self.run_id, self.seconds = False, "", 0.0

    def _execute(self) -> None:
        began = time.monotonic()
        self.run_id, self.is_success = over_workers(self._job, self._instance)
        self.seconds = time.monotonic() - began

    def __enter__(self) -> Run:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()
