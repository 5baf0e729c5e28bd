"""Chromium, headless, over a site on the loopback address: what a page fetches, opens, and how axe-core judges it."""

from __future__ import annotations

import functools
import shutil
import statistics
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

CHROMIUM = shutil.which("chromium")
_PAINTED = """() => new Promise((done) => {
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (entry.name === "first-contentful-paint") done(entry.startTime);
  }).observe({ type: "paint", buffered: true });
})"""
Scheme = Literal["light", "dark"]
IMPACTS = ("critical", "serious", "moderate", "minor")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing is said of a request."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder on the loopback address, as long as it lasts."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def chromium(is_scripted: bool = True, scheme: Scheme = "light") -> Iterator[BrowserContext]:
    """A browser that has been nowhere, and asks for light or dark pages. Without `is_scripted` it runs no script."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(
            viewport={"width": 1280, "height": 800}, java_script_enabled=is_scripted, color_scheme=scheme
        )
        try:
            yield context
        finally:
            browser.close()


@dataclass
class Look:
    """What happened on one page: requests to elsewhere, dialogs, errors (a blocked style or script is one), and by impact the findings
    of axe, with their rules."""

    path: str
    elsewhere: list[str] = field(default_factory=list)
    dialogs: int = 0
    errors: list[str] = field(default_factory=list)
    findings: Counter[str] = field(default_factory=Counter)
    rules: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        grave = self.findings["critical"] + self.findings["serious"]
        return not (self.elsewhere or self.dialogs or self.errors or grave)


def look(page: Page, address: str, path: str, with_axe: bool = True) -> Look:
    """Open a page, with everything on it unfolded, and see."""
    from axe_playwright_python.sync_playwright import Axe

    seen = Look(path)

    def on_request(request: object) -> None:
        url = str(getattr(request, "url", ""))
        if not url.startswith(f"{address}/"):
            seen.elsewhere.append(url)

    def on_dialog(dialog: object) -> None:
        seen.dialogs += 1
        dialog.dismiss()  # type: ignore[attr-defined]

    def on_console(message: object) -> None:
        place = getattr(message, "location", {}).get("url", "")
        if getattr(message, "type", "") == "error" and not place.endswith(
            "/favicon.ico"
        ):  # which every browser asks for
            seen.errors.append(str(getattr(message, "text", "")))

    page.on("request", on_request)
    page.on("dialog", on_dialog)
    page.on("console", on_console)
    page.goto(f"{address}/{path}")
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    if with_axe:
        for violation in Axe().run(page).response["violations"]:
            seen.findings[violation["impact"]] += len(violation["nodes"])
            seen.rules.append(violation["id"])
    for event, handler in (("request", on_request), ("dialog", on_dialog), ("console", on_console)):
        page.remove_listener(event, handler)  # type: ignore[arg-type]
    return seen


def looks(folder: Path, paths: Sequence[str], with_axe: bool = True, scheme: Scheme = "light") -> list[Look]:
    """Every page in turn."""
    with served(folder) as address, chromium(scheme=scheme) as context:
        page = context.new_page()
        return [look(page, address, path, with_axe) for path in paths]


def first_view(folder: Path, path: str, loads: int = 5) -> float:
    """Seconds until something can be seen (first contentful paint), the median of some loads, each with a new cache."""
    found = []
    with served(folder) as address, chromium() as context:
        for _ in range(loads):
            page = context.new_page()
            page.goto(f"{address}/{path}")
            found.append(page.evaluate(_PAINTED) / 1000)
            page.close()
    return statistics.median(found)
