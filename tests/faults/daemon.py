"""A home with Dagster's real daemon and code server over it, which can be killed as a machine is, and what is asked of its instance."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import yaml

from orchestration.home import initialise
from orchestration.settings import CHECKOUT, Settings
from tests.conftest import same_key_each_time

WAIT_SECONDS = 240
POLL_SECONDS = 5  # how often a dead run is looked for here; `deploy/dagster.yaml` says 120


class NeverCame(AssertionError):
    """What was waited for did not come in time; says what, with the end of the daemon's log."""


@dataclass
class Machine:
    """A home and the processes over it: one group for the daemon, which has the code server and the runs as its children."""

    settings: Settings
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    logs: list[Path] = field(default_factory=list)

    def start(self) -> None:
        """Start the daemon, with a code server of its own."""
        log = self.folder / f"daemon-{len(self.logs)}.log"
        self.logs.append(log)
        with log.open("wb") as stream:
            self.process = subprocess.Popen(
                [Path(sys.executable).with_name("dagster-daemon"), "run", "-m", "orchestration.definitions"],
                cwd=CHECKOUT, env=environment(self.settings), stdout=stream, stderr=stream, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip

    def kill(self) -> None:
        """The machine loses power: every process of the group is gone at once, runs among them."""
        if self.process is None:
            return
        for number in self.processes():
            _kill(number)
        self.process.wait()
        self.process = None

    def kill_daemon(self) -> None:
        """The daemon alone is gone; its code server and the runs are left to themselves."""
        assert self.process is not None
        _kill(self.process.pid)
        self.process.wait()

    def processes(self) -> list[int]:
        """Every process of this machine: whatever works for its home."""
        mark = f"DAGSTER_HOME={self.settings.dagster_home}\0".encode()
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (place / "environ").read_bytes():
                    found.append(int(place.name))
            except OSError:
                continue
        return found

    def runs(self) -> list[dg.DagsterRun]:
        """The runs of the home, oldest first."""
        with self.instance() as instance:
            return list(reversed(instance.get_runs()))

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        with dg.DagsterInstance.from_config(str(self.settings.dagster_home)) as instance:
            yield instance

    def wait_for(self, is_there: Callable[[], bool], what: str, seconds: float = WAIT_SECONDS) -> float:
        """Ask until it is there; gives the seconds. Raises NeverCame."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            if is_there():
                return time.monotonic() - began
            time.sleep(0.25)
        log = self.logs[-1].read_text(errors="replace")[-2000:] if self.logs else ""
        raise NeverCame(f"{what} did not come within {seconds:.0f} s\n{log}")

    def pid_of(self, run_id: str) -> int | None:
        """The process that works on a run, once it has said so."""
        with self.instance() as instance:
            for event in instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
                data = event.dagster_event.engine_event_data if event.dagster_event else None
                for label, entry in (data.metadata if data else {}).items():
                    if label == "pid":
                        return int(str(entry.value))
        return None


def prepare(settings: Settings) -> None:
    """Make the home; dead runs are looked for more often than in a real one, as there is less time."""
    same_key_each_time(settings)
    initialise(settings)
    configuration = settings.dagster_home / "dagster.yaml"
    said = yaml.safe_load(configuration.read_text())
    said["run_monitoring"]["poll_interval_seconds"] = POLL_SECONDS
    configuration.write_text(yaml.safe_dump(said))


@contextmanager
def machine(folder: Path) -> Iterator[Machine]:
    """A new home in a folder with its daemon, which looks often; all of it is gone afterwards."""
    settings = Settings(
        home=folder / "home",
        key_file=folder / "home.key",
        inbox=folder / "inbox",
        admit_test_numbers=True,
        imputations=2,
        look_seconds=5,
    )
    prepare(settings)
    with over(settings, folder) as made:
        yield made


@contextmanager
def over(settings: Settings, folder: Path) -> Iterator[Machine]:
    """The daemon over a home that is there, with its log in a folder; its processes are gone afterwards."""
    made = Machine(settings, folder)
    try:
        made.start()
        yield made
    finally:
        made.kill()
        for number in made.processes():
            _kill(number)


def environment(settings: Settings) -> dict[str, str]:
    """The variables under which a process works on a home."""
    own = {
        "DELICTVRIJ_HOME": str(settings.home_path), "DELICTVRIJ_KEY_FILE": str(settings.key_path),
        "DELICTVRIJ_INBOX": str(settings.inbox_path), "DELICTVRIJ_ADMIT_TEST_NUMBERS": "1",
        "DELICTVRIJ_IMPUTATIONS": str(settings.imputations), "DELICTVRIJ_LOOK_SECONDS": str(settings.look_seconds), "DAGSTER_HOME": str(settings.dagster_home),
        "PYTHONPATH": str(CHECKOUT),
    }  # fmt: skip
    return {**os.environ, **own}


def _kill(number: int) -> None:
    try:
        os.kill(number, signal.SIGKILL)
    except ProcessLookupError:
        return
