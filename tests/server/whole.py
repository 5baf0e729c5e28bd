"""A small delivery through the whole server profile, and the same through the embedded one: do they publish the same version?

`python -m tests.server.whole` prints both hashes.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from orchestration.deliveries.ingest import ingest
from orchestration.home import initialise, opened
from orchestration.ledger import Ledger
from orchestration.settings import Settings
from orchestration.simulation import simulate
from orchestration.store import damaged, pull_all
from orchestration.warehouse.versions import current_id
from tests.conftest import settings_in
from tests.server.stack import Stack, running, wait_for
from tests.warehouse.again import publish_now

LAST = "north_carolina"  # comes by the inbox, the daemon and a run of its own; the others are there already


def deliver(simulated: Path, settings: Settings, *, only: str | None = None, without: str | None = None) -> None:
    """Put the simulated deliveries into the inbox: of one organisation, or of all but one."""
    for source in simulated.glob("*/*/*/"):
        organisation = source.parent.parent.name
        if organisation != without and only in (None, organisation):
            target = settings.inbox_path / organisation / source.parent.name
            aside = target / f".{source.name}"
            shutil.copytree(source, aside)
            aside.rename(target / source.name)


def take_in(settings: Settings) -> None:
    """Take in what lies in the inbox, in this process."""
    ledger = opened(settings)
    for manifest in sorted(settings.inbox_path.glob("*/*/*/manifest.json")):
        assert ingest(manifest.parent, settings, ledger).status == "accepted"
    ledger.close()


@dataclass(frozen=True)
class Through:
    """What came of it: the version that the server profile published, that which its store says counts on another machine, and how long."""

    version: str
    elsewhere: str | None
    seconds: float


def through(stack: Stack, simulated: Path) -> Through:
    """Deliver to a running server; its daemon takes it in, builds and publishes."""
    began = time.monotonic()
    deliver(simulated, stack.settings, only=LAST)
    ledger = Ledger.of(stack.settings)
    wait_for(lambda: bool(ledger.builds()), "daemon", stack.folder)
    seconds = time.monotonic() - began
    version = str(ledger.builds()[-1]["version_id"])
    assert damaged(stack.settings) == {}
    elsewhere = stack.settings.model_copy(update={"home": stack.folder / "elsewhere"})
    other = Settings(**{**elsewhere.model_dump(), "home": stack.folder / "elsewhere"})
    pull_all(other)
    ledger.close()
    return Through(version, current_id(other), seconds)


def embedded(folder: Path, simulated: Path) -> tuple[Settings, str]:
    """The same deliveries through the embedded profile, in this process; the settings and the version."""
    settings = settings_in(folder)
    initialise(settings)
    deliver(simulated, settings)
    take_in(settings)
    publish_now(settings, opened(settings))
    return settings, str(current_id(settings))


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simulate(folder / "simulated", clients=40, seed=20260101, periods="last")
        began = time.monotonic()
        settings, version = embedded(folder, folder / "simulated")
        print(f"embedded  {version}  {time.monotonic() - began:6.1f} s", flush=True)
        began = time.monotonic()
        (folder / "server").mkdir()

        def prepare(made: Settings) -> None:
            deliver(folder / "simulated", made, without=LAST)
            take_in(made)

        with running(folder / "server", settings.key_path, prepare) as stack:
            started = time.monotonic() - began
            done = through(stack, folder / "simulated")
        print(
            f"server    {done.version}  {started:6.1f} s until all of it runs, {done.seconds:.1f} s from delivery to version"
        )
        print(f"pulled    {done.elsewhere}  by another machine from the store")
    is_same = version == done.version == done.elsewhere
    print("the same version" if is_same else "DIFFERENT VERSIONS")
    return 0 if is_same else 1


if __name__ == "__main__":
    sys.exit(main())
