"""What orchestration costs: `refresh` of the study against its floor, the same dbt build and the same fits run bare.

`python -m tests.bench --only orchestration`. The floor is `dbt build` on the same tables and the fit on the same version, a process each.
A refresh takes in deliveries, judges them and the candidate, publishes, refits, explains what moved and writes the report; drafting a
release is left out of it. It fits in as many processes as there are processors, the bare fits are one after the other.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from orchestration.settings import Settings
from orchestration.simulation import simulate
from tests.bench.measuring import Row, cost_of, environment_of

BAR = 1.5
DELICTVRIJ = (sys.executable, "-m", "orchestration.cli")
DBT = Path(sys.executable).with_name("dbt")


def environment(folder: Path) -> dict[str, str]:
    """The variables under which commands work on the home in `folder`."""
    return environment_of(folder / "home", folder / "inbox") | {"DELICTVRIJ_DRAFT_RELEASES": "never"}


def with_home(folder: Path, delivered: Path, *, without: str = "") -> dict[str, str]:
    """A new home in `folder` with the deliveries below `delivered` in its inbox, but for one (organisation/period)."""
    made = environment(folder)
    cost_of([*DELICTVRIJ, "init"], made)
    for period in delivered.glob("*/*/"):
        if f"{period.parent.name}/{period.name}" != without:
            shutil.copytree(period, folder / "inbox" / period.parent.name / period.name)
    return made


def bare(folder: Path, made: Mapping[str, str]) -> tuple[float, float]:
    """Seconds of `dbt build` on the tables of the last build of a home, and of the fits on its published version."""
    kept = max((folder / "home" / "builds").glob("*/sources"), key=lambda path: path.stat().st_mtime)
    place = folder / "bare"
    shutil.copytree(kept, place / "sources")
    project = Settings().dbt_project
    target = ["--target-path", folder / "target", "--log-path", folder / "target"]
    given = ["--project-dir", project, "--profiles-dir", project, *target]
    cost_of([DBT, "--quiet", "parse", *given], made, folder=place)  # what is parsed is there, as for a refresh
    built = cost_of([DBT, "--quiet", "build", "--exclude-resource-types", "unit_test", *given], made, folder=place)
    fitted = cost_of([sys.executable, "-m", "tests.bench.floor"], made)
    return built.seconds, fitted.seconds


def rows(clients: int) -> Iterator[Row]:
    """The refresh of the whole study from an empty home, and that of a last registry extract, each against the floor of the same run."""
    section = "orchestration"
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        simulate(folder / "delivered", clients=clients)
        last = max((folder / "delivered" / "registry").iterdir()).name
        for what, without, bar in (
            ("the study, four years of deliveries at once", "", BAR),
            (f"the yearly extract ({last})", f"registry/{last}", None),
        ):
            place = folder / f"home-{without.replace('/', '-')}"
            place.mkdir()
            made = with_home(place, folder / "delivered", without=without)
            if without:
                cost_of([*DELICTVRIJ, "refresh"], made)
                shutil.copytree(folder / "delivered" / without, place / "inbox" / without)
            taken = cost_of([*DELICTVRIJ, "refresh"], made)
            built, fitted = bare(place, made)
            yield Row(section, f"{what}: refresh", taken.seconds, "s")
            yield Row(section, "  dbt build bare", built, "s")
            yield Row(section, "  the fits bare", fitted, "s")
            yield Row(section, "  refresh against its floor", taken.seconds / (built + fitted), "×", bar)


def fit_bare() -> None:
    """Fit the published version of the home of this environment; nothing is written."""
    from orchestration.analysis.assets import published, specification
    from orchestration.analysis.fit import run_fit
    from orchestration.analysis.inputs import read_inputs

    settings = Settings()
    run_fit(read_inputs(published(settings)), specification(settings), settings.seed)


if __name__ == "__main__":
    fit_bare()
