"""One small release, and one small fit that is judged, for every test that only looks at them."""

from __future__ import annotations

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
from tests.analysis.synthetic import synthetic_inputs
from tests.conftest import settings_in
from tests.releases.making import SmallRelease, small_release


@pytest.fixture(scope="session")
def release(_settled_once: Path, tmp_path_factory: pytest.TempPathFactory) -> SmallRelease:
    folder = tmp_path_factory.mktemp("releases")
    shutil.copytree(_settled_once, folder / "home")
    return small_release(settings_in(folder / "home"), folder)


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
def fit_tables() -> Mapping[str, pd.DataFrame]:
    inputs = synthetic_inputs(200, seed=1)
    one = inputs.outcome_definition["outcome_id"].iloc[0]
    cohort = inputs.analysis_cohort[inputs.analysis_cohort["outcome_id"] == one]
    return run_fit(replace(inputs, analysis_cohort=cohort), small_specification()).tables


@pytest.fixture(scope="session")
def judged(fit_tables: Mapping[str, pd.DataFrame]) -> Judged:
    return judge_fit(fit_tables, ReleaseRules(), "2026.1.0")
