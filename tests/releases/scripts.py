"""`python -m tests.releases.scripts`: the scripts that a release brings along, run by R, Python and PSPP, on a whole release and on
what was handed over of it with fewer tables and columns; and haven and mice over its files. Prints the exit code of each.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

HAVEN = """
for (file in list.files("sav", full.names = TRUE)) {
  frame <- haven::read_sav(file, user_na = TRUE)
  stopifnot(all(vapply(frame, function(x) !is.null(attr(x, "label")), TRUE)))
  invisible(haven::as_factor(frame))
}
"""
MICE = """
for (file in list.files("csv", "^imputed_", full.names = TRUE)) {
  data <- mice::as.mids(read.csv(file, na.strings = "", encoding = "UTF-8"))
  complete <- mice::complete(data, 1)
  stopifnot(data$m > 1, nrow(complete) == nrow(data$data))
}
"""
COMMANDS = {
    "R": ["Rscript", "--vanilla", "scripts/start.R"],
    "Python": [sys.executable, "scripts/start.py"],
    "PSPP": ["pspp", "-O", "format=csv", "scripts/start.sps"],
    "haven": ["Rscript", "--vanilla", "-e", HAVEN],
    "mice": ["Rscript", "--vanilla", "-e", MICE],
}


@dataclass(frozen=True)
class Ran:
    """How a program ended in the folder of a release, and how many counts of Table 1 and terms of the model it printed."""

    name: str
    exit_code: int
    counts: int
    terms: int


def run(folder: Path, only: tuple[str, ...] = tuple(COMMANDS)) -> Iterator[Ran]:
    """Run each program in the folder of a release."""
    for name in only:
        done = subprocess.run(COMMANDS[name], cwd=folder, capture_output=True, text=True, timeout=300, check=False)
        lines = done.stdout.splitlines()
        # PSPP ends with 0 where it met an error and went on.
        code = done.returncode or int(name == "PSPP" and "error:" in done.stdout.lower())
        counted = (sum(line.startswith(f"{mark},") for line in lines) for mark in ("count", "cox"))
        yield Ran(name, code, *counted)


def main() -> int:
    """Make a small release, hand parts of it over, and run everything in each folder; 1 where something failed."""
    from orchestration.deliveries.ingest import ingest
    from orchestration.home import initialise, opened
    from orchestration.simulation import simulate
    from tests.conftest import settings_in
    from tests.releases.handing import EVERYTHING, NO_CRIMINAL, Desk
    from tests.releases.making import OUTCOME, small_release

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = settings_in(folder / "of")
        simulate(settings.inbox_path, clients=40, seed=20260101, periods="last")
        initialise(settings)
        ledger = opened(settings)
        for manifest in sorted(settings.inbox_path.glob("*/*/*/manifest.json")):
            ingest(manifest.parent, settings, ledger)
        release = small_release(settings, folder)
        desk = Desk(settings, ledger, release, folder / "clients")
        desk.consent()
        desk.permit()
        desk.hand(tables=("client", "officer"))
        models = replace(desk, out=folder / "models")
        models.hand(tables=(f"imputed_{OUTCOME}",))
        few = replace(desk, out=folder / "few", person="another")
        few.permit(replace(EVERYTHING, person="another", classes=NO_CRIMINAL, tables=("client", "imputed", "wide")))
        few.hand()
        failed = 0
        for title, where in {
            "the whole release": release.folder, "handed over: client, officer": desk.out, "handed over: imputed": models.out,
            "handed over: no criminal data": few.out,
        }.items():  # fmt: skip
            for ran in run(where):
                found = f"  {ran.counts} counts, {ran.terms} terms" if ran.name in ("R", "Python") else ""
                sys.stdout.write(f"{title:32} {ran.name:8} exit {ran.exit_code}{found}\n")
                failed += ran.exit_code != 0
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
