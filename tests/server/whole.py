"""A small delivery through the whole server profile, and the same through the embedded one: do they publish the same version?

`python -m tests.server.whole` prints both hashes. The daemon takes the delivery in; a steward who has signed on asks for the build.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx

from orchestration.deliveries.ingest import ingest
from orchestration.home import initialise, opened
from orchestration.ledger import Ledger
from orchestration.settings import Settings
from orchestration.simulation import simulate
from orchestration.store import damaged, pull_all
from orchestration.warehouse.build import one_writer
from orchestration.warehouse.versions import current_id
from tests.conftest import same_key_each_time, settings_in
from tests.server.stack import Stack, running, wait_for
from tests.warehouse.again import publish_now

LAST = "north_carolina"  # waits in the inbox for the daemon; the others were taken in before
LAUNCH = "mutation ($given: ExecutionParams!) { launchRun(executionParams: $given) { __typename } }"


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


def launch_build(steward: httpx.Client) -> None:
    """Ask for a build and its publication, as the button in the UI does."""
    asked = steward.post("/operate/graphql", json={"query": "{ assetNodes { groupName assetKey { path } } }"}).json()
    keys = [
        node["assetKey"]
        for node in asked["data"]["assetNodes"]
        if node["groupName"] == "warehouse" or node["assetKey"]["path"] == ["versions", "version"]
    ]
    selector = {
        "repositoryLocationName": "delictvrij", "repositoryName": "__repository__", "jobName": "__ASSET_JOB", "assetSelection": keys,
    }  # fmt: skip
    answer = steward.post(
        "/operate/graphql",
        json={"query": LAUNCH, "variables": {"given": {"selector": selector, "mode": "default"}}},
    ).json()
    assert answer["data"]["launchRun"]["__typename"] == "LaunchRunSuccess", answer


def is_waited_for(lock: Path) -> bool:
    """Whether a process waits for somebody else to let go of a lock file, as the system says."""
    inode, held = lock.stat().st_ino, Path("/proc/locks").read_text(encoding="ascii").splitlines()
    return any(line.split()[1] == "->" and line.split()[-3].endswith(f":{inode}") for line in held)


@dataclass(frozen=True)
class Through:
    """What came of it: the version that the server profile published, that which its store says counts on another machine, and how long."""

    version: str
    elsewhere: str | None
    seconds: float


def prepare(settings: Settings, simulated: Path) -> None:
    """All deliveries but the last are taken in, and the last waits in the inbox."""
    deliver(simulated, settings, without=LAST)
    take_in(settings)
    deliver(simulated, settings, only=LAST)


def through(stack: Stack) -> Through:
    """What a running server makes of the delivery that waits in its inbox."""
    began = time.monotonic()
    ledger = Ledger.of(stack.settings)
    wait_for(lambda: bool(ledger.deliveries(status="accepted", organisation=LAST)), "daemon", stack.folder)
    with closing(stack.signed_on("sanne")) as steward, one_writer(stack.settings):
        launch_build(steward)
        wait_for(lambda: is_waited_for(stack.settings.home_path / "writer.lock"), "code", stack.folder)
        assert not ledger.builds()  # a run of the server does nothing while a command writes to the home
    wait_for(lambda: bool(ledger.builds()), "daemon", stack.folder)
    seconds = time.monotonic() - began
    stack.stop("daemon", "code")  # what would come now, the fit, is not asked for here
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
    same_key_each_time(settings)
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

        with running(folder / "server", settings.key_path, lambda made: prepare(made, folder / "simulated")) as stack:
            started = time.monotonic() - began
            done = through(stack)
        print(
            f"server    {done.version}  {started:6.1f} s until all of it runs, {done.seconds:.1f} s from delivery to version"
        )
        print(f"pulled    {done.elsewhere}  by another machine from the store")
    is_same = version == done.version == done.elsewhere
    print("the same version" if is_same else "DIFFERENT VERSIONS")
    return 0 if is_same else 1


if __name__ == "__main__":
    sys.exit(main())
