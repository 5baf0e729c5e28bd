"""One synthetic cohort, fitted once, for every test that only looks at a result."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from orchestration.analysis.fit import FitResult, run_fit, write_fit
from orchestration.analysis.inputs import Inputs
from orchestration.analysis.specification import Specification, read_specification
from tests.analysis.synthetic import synthetic_inputs
from tests.conftest import Shared


@pytest.fixture(scope="session")
def inputs() -> Inputs:
    return synthetic_inputs(200, seed=1)


@pytest.fixture(scope="session")
def spec() -> Specification:
    """The repository's models with few imputations and few samples of officers."""
    spec = read_specification().with_imputations(4)
    return replace(spec, recidivism=replace(spec.recidivism, bootstraps=8))


@pytest.fixture(scope="session")
def result(inputs: Inputs, spec: Specification, shared: Shared) -> FitResult:
    folder = shared("fit", lambda out: (out / "result.pickle").write_bytes(pickle.dumps(run_fit(inputs, spec))))
    found: FitResult = pickle.loads((folder / "result.pickle").read_bytes())  # noqa: S301 - made by the line above
    return found


@pytest.fixture(scope="session")
def fit_folder(result: FitResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fits") / "f00d"
    write_fit(result, folder, {"fit_id": "f00d", "version_id": "cafe", "fingerprint": "beef", "simulated": True})
    return folder
