"""How long it takes from what fails to the mail about it, with Dagster's real daemon over a home: `python -m tests.stewards.alert_delay`.

A spoiled delivery is put into the inbox, the daemon takes it in, its gate fails, and a mail server in this process waits for the
mail. The second case is a run that breaks: the pseudonym key is put aside while a good delivery comes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from orchestration.automation import instance_of
from orchestration.home import initialise
from orchestration.ledger import Ledger
from orchestration.settings import CHECKOUT, Settings
from orchestration.simulation import simulate
from orchestration.simulation.mutations import mutate
from tests.conftest import settings_in
from tests.deliveries.making import deliver, delivery_in
from tests.stewards.servers import Post, alerts_file, mail_server

LIMIT_SECONDS = 300


@contextmanager
def daemon(settings: Settings, alerts: Path, log: Path) -> Iterator[None]:
    """Dagster's daemon over a home, in processes of its own, until the end."""
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(settings.dagster_home),
        "DELICTVRIJ_HOME": str(settings.home),
        "DELICTVRIJ_KEY_FILE": str(settings.key_file),
        "DELICTVRIJ_INBOX": str(settings.inbox),
        "DELICTVRIJ_ADMIT_TEST_NUMBERS": "1",
        "DELICTVRIJ_ALERTS": str(alerts),
    }
    command = [str(Path(sys.executable).with_name("dagster-daemon")), "run", "-w", str(CHECKOUT / "workspace.yaml")]
    with log.open("wb") as said:
        process = subprocess.Popen(command, cwd=CHECKOUT, env=environment, stdout=said, stderr=said)
        try:
            yield
        finally:
            process.terminate()
            process.wait(60)


def until(found: Callable[[], datetime | None], what: str, patience: float) -> datetime:
    """When something was found, looked for four times a second. Raises TimeoutError."""
    ends = time.monotonic() + patience
    while time.monotonic() < ends:
        if (moment := found()) is not None:
            return moment
        time.sleep(0.25)
    raise TimeoutError(f"{what}: not within {patience:.0f} s")


def received(post: Post, about: str) -> Callable[[], datetime | None]:
    """Whether a mail with this in its subject is here; now, where it is."""
    return lambda: datetime.now(UTC) if any(about in str(one["Subject"]) for one in post.messages) else None


def gate_failed(settings: Settings) -> datetime | None:
    """When the last rejection was decided."""
    rejected = Ledger.of(settings).deliveries(status="rejected")
    return max((one.decided_at.replace(tzinfo=UTC) for one in rejected if one.decided_at), default=None)


def run_failed(settings: Settings, job: str) -> datetime | None:
    """When a run of a job ended in failure."""
    with instance_of(settings) as instance:
        failed = dg.RunsFilter(job_name=job, statuses=[dg.DagsterRunStatus.FAILURE])
        ended = [record.end_time for record in instance.get_run_records(failed) if record.end_time]
    return datetime.fromtimestamp(max(ended), UTC) if ended else None


def measure(folder: Path, patience: float) -> dict[str, float]:
    """Seconds from each failing event to its mail, by event."""
    settings = settings_in(folder)
    initialise(settings)
    simulate(folder / "simulated", clients=40, seed=20260101, periods="last")
    delays = {}
    with mail_server(folder) as post:
        alerts = alerts_file(folder, post.mail, language="en", quiet=["overdue", "extract_asked", "digest"])
        with daemon(settings, alerts, folder / "daemon.log"):
            spoiled = deliver(delivery_in(folder / "simulated", "rn"), settings.inbox_path)
            mutate(spoiled, "wrong_hash")
            arrived = until(received(post, "delivery blocked: rn"), "the mail about the gate", patience)
            failed = gate_failed(settings)
            assert failed is not None
            delays["failed gate"] = (arrived - failed).total_seconds()

            settings.key_path.rename(settings.key_path.with_suffix(".aside"))
            deliver(delivery_in(folder / "simulated", "svg"), settings.inbox_path)
            arrived = until(received(post, "run failed: deliver_svg"), "the mail about the run", patience)
            failed = run_failed(settings, "deliver_svg")
            assert failed is not None
            delays["failed run"] = (arrived - failed).total_seconds()
    return delays


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patience", type=float, default=600, help="Seconds to wait for a mail.")
    patience = parser.parse_args().patience
    with tempfile.TemporaryDirectory() as folder:
        delays = measure(Path(folder), patience)
    for event, seconds in delays.items():
        print(
            f"{event}: mail received {seconds:.1f} s after it ({'in' if seconds <= LIMIT_SECONDS else 'OUT OF'} time: {LIMIT_SECONDS} s)"
        )
    return 0 if max(delays.values()) <= LIMIT_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
