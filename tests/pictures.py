"""Pictures for `docs/steward.md`, of the running UI: `python -m tests.pictures [HOME]` starts `delictvrij ui` and writes `docs/pictures/steward-*.png`.

Without a home it makes one, of simulated people: three years are taken in and fitted, then the fourth, which refits, and one delivery is spoiled.
A home that is given should hold all of that; it is used as it is. Needs Chromium.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration.settings import CHECKOUT
from orchestration.simulation import simulate
from orchestration.simulation.mutations import mutate
from tests.deliveries.making import deliver, delivery_in
from tests.releases.browser import CHROMIUM

if TYPE_CHECKING:
    from playwright.sync_api import Page

OUT = CHECKOUT / "docs" / "pictures"
LATER = "2025"  # periods from here on come after the first fit
PATIENCE, SETTLES = 300.0, 8  # seconds


@dataclass(frozen=True)
class Picture:
    """One picture: its name, where it is taken and how large, and a text that stands there once the page is whole.

    `clicks` are clicked first, after which the page is loaded again where `is_loaded_again`; `is_beside` says that the page is beside Dagster.
    """

    name: str
    path: str
    waits_for: str
    size: tuple[int, int] = (1440, 900)
    clicks: tuple[str, ...] = ()
    is_loaded_again: bool = False
    is_beside: bool = False


PICTURES = (
    Picture("graph", "/asset-groups", "intermediate", (2000, 520), ("Hide navigation",), is_loaded_again=True),
    Picture("deliveries", "/locations/delictvrij/asset-groups/deliveries", "build_inputs"),
    Picture("partitions", "/assets/deliveries/svg?view=partitions", "Missing (", (1440, 640)),
    Picture("blocked", "/assets/deliveries/rn?view=checks", "Evaluation result", (1440, 740)),
    Picture(
        "refit", "/assets/analysis/fit?view=overview", "hazard_ratio_general_landmark_client_full", clicks=("Plots",)
    ),
    Picture("status", "/status.nl.html", "Stand van de leveringen", (1280, 800), is_beside=True),
)


def command(environment: Mapping[str, str], *words: str) -> list[str]:
    """A `delictvrij` command as it is run here."""
    return [sys.executable, "-c", "from orchestration.cli import main; main()", *words]


def made_home(folder: Path) -> dict[str, str]:
    """A home with two fits and a blocked delivery in it; gives the variables by which commands find it."""
    inbox, everything = folder / "inbox", folder / "everything"
    environment = {
        "DELICTVRIJ_HOME": str(folder / "home"), "DELICTVRIJ_INBOX": str(inbox), "DELICTVRIJ_ADMIT_TEST_NUMBERS": "1",
        "DELICTVRIJ_IMPUTATIONS": "5",
    }  # fmt: skip

    def run(*words: str, is_well: bool = True) -> None:
        done = subprocess.run(
            command(environment, *words), env={**os.environ, **environment}, cwd=CHECKOUT, check=False
        )
        if is_well and done.returncode:
            raise SystemExit(f"`delictvrij {' '.join(words)}` left with {done.returncode}")

    simulate(everything, clients=200, seed=20260101)
    run("init")
    for is_later in (False, True):
        for delivery in sorted(path.parent for path in everything.glob("*/*/*/manifest.json")):
            if (delivery.parts[-2] >= LATER) == is_later:
                shutil.copytree(delivery, inbox / delivery.relative_to(everything))
        run("refresh")
    spoiled = deliver(delivery_in(everything, "rn"), inbox, "rn-2026-Q1", "2026-Q1")
    mutate(spoiled, "unknown_code")
    run("refresh", is_well=False)
    return environment


def free_ports() -> int:
    """A port that is free, and so is the next."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


@contextmanager
def running(environment: Mapping[str, str]) -> Iterator[int]:
    """`delictvrij ui` as long as it lasts; gives its port."""
    port = free_ports()
    process = subprocess.Popen(
        command(environment, "ui", "--port", str(port)), env={**os.environ, **environment}, cwd=CHECKOUT,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        for address in (f"http://127.0.0.1:{port}/server_info", f"http://127.0.0.1:{port + 1}/status.nl.html"):
            _wait_for(address)
        yield port
    finally:
        os.killpg(process.pid, 15)
        process.wait(timeout=60)


def _wait_for(address: str) -> None:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(address, timeout=10):  # noqa: S310 - our own server
                return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)


def take(picture: Picture, page: Page, port: int) -> Path:
    """Take a picture and write it."""
    page.goto(f"http://127.0.0.1:{port + picture.is_beside}{picture.path}")
    for text in picture.clicks:
        page.get_by_text(text, exact=True).first.click(timeout=120_000)
    if picture.is_loaded_again:
        page.reload()
    awaited = page.get_by_text(picture.waits_for).last
    awaited.wait_for(timeout=120_000)
    awaited.scroll_into_view_if_needed()
    until = time.monotonic() + PATIENCE
    while "Loading" in page.inner_text("body") and time.monotonic() < until:
        page.wait_for_timeout(500)
    page.wait_for_timeout(SETTLES * 1000)  # what is drawn moves into place
    target = OUT / f"steward-{picture.name}.png"
    page.screenshot(path=target)
    return target


def main() -> None:
    """Take every picture."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder:
        given = sys.argv[1:2]
        environment = {"DELICTVRIJ_HOME": given[0]} if given else made_home(Path(folder))
        with running(environment) as port, sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
            for picture in PICTURES:
                page = browser.new_page(viewport={"width": picture.size[0], "height": picture.size[1]})
                try:
                    written = take(picture, page, port)
                    print(f"{written.name}: {written.stat().st_size // 1000} kB", file=sys.stderr)
                finally:
                    page.close()


if __name__ == "__main__":
    main()
