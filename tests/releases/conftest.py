"""The fit of the analysis tests, judged once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest

from orchestration.analysis.fit import read_fit
from orchestration.releases.disclosure import Judged, ReleaseRules, judge_fit
from tests.analysis.conftest import fit_folder, inputs, result, spec

__all__ = ["fit_folder", "inputs", "result", "spec"]


@pytest.fixture(scope="session")
def fit_tables(fit_folder: Path) -> Mapping[str, pd.DataFrame]:
    return read_fit(fit_folder)[0]


@pytest.fixture(scope="session")
def judged(fit_tables: Mapping[str, pd.DataFrame]) -> Judged:
    return judge_fit(fit_tables, ReleaseRules(), "2026.1.0")
