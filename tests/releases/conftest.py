"""One small release, and one small fit that is judged, for every test that only looks at them."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from orchestration.analysis.fit import run_fit
from orchestration.analysis.specification import Specification, read_specification
from orchestration.ledger import Ledger
from orchestration.releases.disclosure import Judged, ReleaseRules, judge_fit
from orchestration.warehouse import dbt
from orchestration.warehouse.versions import read_version
from tests.analysis.synthetic import synthetic_inputs
from tests.conftest import Shared, settings_in
from tests.releases.making import SmallRelease, catalogue, small_release, small_spec
from tests.warehouse.histories import Compiled


@pytest.fixture(scope="session")
def release(_settled_once: Path, compiled: Compiled, shared: Shared) -> SmallRelease:
    def fill(folder: Path) -> None:
        shutil.copytree(_settled_once, folder / "home")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(dbt, "build", compiled.build)
            made = small_release(settings_in(folder / "home"), folder)
        (folder / "made.pickle").write_bytes(pickle.dumps((made.version.version_id, made.inventory)))

    folder = shared("release", fill)
    version, inventory = pickle.loads((folder / "made.pickle").read_bytes())  # noqa: S301 - made by the lines above
    settings = settings_in(folder / "home")
    return SmallRelease(
        folder / "release",
        read_version(settings.versions / version),
        folder / "fit",
        small_spec(),
        catalogue(),
        inventory,
    )


@pytest.fixture(scope="session")
def _empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ledger") / "ledger.sqlite"
    ledger = Ledger(f"sqlite:///{path}")
    ledger.create()
    ledger.close()
    return path


@pytest.fixture
def empty(_empty_ledger: Path, tmp_path: Path) -> Ledger:
    """A ledger in which nothing stands, of no home."""
    shutil.copy(_empty_ledger, tmp_path / "ledger.sqlite")
    return Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")


def small_specification() -> Specification:
    spec = read_specification().with_imputations(2)
    return replace(
        spec,
        recidivism=replace(spec.recidivism, bootstraps=2, scales=("trust",), raters=("client",)),
        determinants=replace(spec.determinants, scales=("trust",), raters=("client",)),
    )


@pytest.fixture(scope="session")
def fit_tables(shared: Shared) -> Mapping[str, pd.DataFrame]:
    def fill(folder: Path) -> None:
        inputs = synthetic_inputs(200, seed=1)
        one = inputs.outcome_definition["outcome_id"].iloc[0]
        cohort = inputs.analysis_cohort[inputs.analysis_cohort["outcome_id"] == one]
        tables = run_fit(replace(inputs, analysis_cohort=cohort), small_specification()).tables
        (folder / "tables.pickle").write_bytes(pickle.dumps(dict(tables)))

    folder = shared("fit_tables", fill)
    found: Mapping[str, pd.DataFrame] = pickle.loads((folder / "tables.pickle").read_bytes())  # noqa: S301 - made above
    return found


@pytest.fixture(scope="session")
def judged(fit_tables: Mapping[str, pd.DataFrame], shared: Shared) -> Judged:
    def fill(folder: Path) -> None:
        (folder / "judged.pickle").write_bytes(pickle.dumps(judge_fit(fit_tables, ReleaseRules(), "2026.1.0")))

    folder = shared("judged", fill)
    found: Judged = pickle.loads((folder / "judged.pickle").read_bytes())  # noqa: S301 - made above
    return found
