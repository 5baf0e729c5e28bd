"""Dagster's webserver over the home of a machine, for as long as it is asked something."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from orchestration.settings import CHECKOUT
from tests.server.postgres import free_port

if TYPE_CHECKING:
    from tests.faults.daemon import Machine


@contextmanager
def webserver(machine: Machine) -> Iterator[str]:
    """The address of a webserver, once it answers."""
    from tests.faults.daemon import environment

    port = free_port()
    command = [Path(sys.executable).with_name("dagster-webserver"), "-m", "orchestration.definitions", "-h", "127.0.0.1", "-p", str(port)]  # fmt: skip
    log = machine.folder / "webserver.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            cwd=CHECKOUT,
            env=environment(machine.settings),
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return httpx.get(f"{url}/server_info", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    try:
        machine.wait_for(answers, "the webserver")
        yield url
    finally:
        process.terminate()
        process.wait(30)
