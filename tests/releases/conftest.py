"""One small fit, judged once: one scale and one rater, as many people as the study has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd
import pytest

from orchestration.analysis.fit import run_fit
from orchestration.analysis.specification import Specification, read_specification
from orchestration.releases.disclosure import Judged, ReleaseRules, judge_fit
from tests.analysis.synthetic import synthetic_inputs


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
