"""What the terminal shows while a refresh runs, and how the Dagster UI and the status page are started over a home."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from orchestration.progress import Progress, nobody, throttled
from orchestration.settings import CHECKOUT, Settings


@contextmanager
def progress_on_terminal(is_quiet: bool) -> Iterator[Progress]:
    """A progress bar on a terminal; elsewhere a line for each stage and each tenth of it; nothing when quiet. On standard error."""
    if is_quiet:
        yield nobody
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if not console.is_terminal:
        stages: dict[str, Progress] = {}

        def say(what: str, done: int, total: int) -> None:
            stage = what.split(" ")[0]
            if stage not in stages:
                stages[stage] = throttled(lambda line: console.print(line, highlight=False, soft_wrap=True))
                console.print(f"{stage} …", highlight=False)
            stages[stage](what, done, total)

        yield say
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:32}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total or None)


STATUS_PAGE = "orchestration.stewards.status_page.serving"


def serve(settings: Settings, port: int) -> int:
    """Run Dagster's webserver and daemon on the home's instance, and the status page on the next port, until stopped; gives Dagster's exit code."""
    dagster = Path(sys.executable).with_name("dagster")
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(settings.dagster_home),
        "DELICTVRIJ_HOME": str(settings.home_path),
        "DELICTVRIJ_ADMIT_TEST_NUMBERS": str(settings.admit_test_numbers),
    }
    command = [str(dagster), "dev", "-w", str(CHECKOUT / "workspace.yaml"), "-h", settings.ui_host, "-p", str(port)]
    with status_page(port + 1, environment):
        print(f"Dagster on http://{settings.ui_host}:{port}", file=sys.stderr)
        try:
            return subprocess.run(command, cwd=CHECKOUT, env=environment, check=False).returncode
        except KeyboardInterrupt:
            return 0


@contextmanager
def status_page(port: int, environment: Mapping[str, str]) -> Iterator[None]:
    """The status page on the loopback address as long as it lasts, in a process that ends with this one."""
    command = [sys.executable, "-m", STATUS_PAGE, str(port)]
    with subprocess.Popen(command, cwd=CHECKOUT, env=dict(environment), stdin=subprocess.PIPE) as process:
        print(f"status page on http://127.0.0.1:{port}/ (status.nl.html, status.en.html)", file=sys.stderr)
        try:
            yield
        finally:
            process.terminate()
