"""Carries out the withdrawals of a home in processes of which one is killed at each step: `python -m tests.releases.dying HOME COMPILED`.

COMPILED is the folder of the dbt project as it was compiled, from which versions are built. A process of its own, since it forks: it
does nothing itself but load the libraries, so that no thread is lost in a fork.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import botocore.client  # noqa: F401
import s3fs  # noqa: F401
import scipy.stats  # noqa: F401
import sqlalchemy.dialects.sqlite  # noqa: F401

from orchestration.home import opened
from orchestration.ledger import Ledger
from orchestration.releases import withdrawal
from orchestration.settings import Settings
from orchestration.warehouse import dbt
from tests.conftest import settings_in
from tests.releases.leaving import refitting
from tests.releases.making import small_spec
from tests.warehouse.histories import Compiled


def settings_of(folder: Path) -> Settings:
    return settings_in(folder).model_copy(update={"corrections": folder / "corrections.yml"})


def finish(folder: Path, dies_after: str | None = None) -> None:
    """Finish what is on record; killed when a step is done and not yet noted, where one is named."""
    noted = withdrawal.on_record

    def killed(ledger: Ledger, entry: object, name: str, counts: dict[str, object]) -> None:
        if name == dies_after:
            os.kill(os.getpid(), signal.SIGKILL)
        noted(ledger, entry, name, counts)  # type: ignore[arg-type]

    withdrawal.on_record = killed
    settings = settings_of(folder)
    withdrawal.finish(settings, opened(settings), refitting(settings, small_spec()))


def main(folder: Path, compiled: Path) -> int:
    dbt.build = Compiled.of(compiled).build
    for step in (*withdrawal.STEPS, None):
        child = os.fork()
        if child == 0:
            try:
                finish(folder, step)
            except BaseException:
                sys.excepthook(*sys.exc_info())
                os._exit(1)
            os._exit(0)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert ended == (0 if step is None else -signal.SIGKILL), (step, ended)
        print(step or "finished", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
