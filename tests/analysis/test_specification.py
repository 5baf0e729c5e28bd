"""The models are data: what models.yml may say, and what it may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from orchestration.analysis.specification import MODELS, Covariate, SpecificationError, read_specification


def test_the_repository_models_can_be_read_and_m_changed() -> None:
    spec = read_specification()
    assert spec.imputer.m == 20
    assert spec.with_imputations(5).imputer.m == 5
    assert spec.recidivism.score("officer", "trust") in spec.score_columns
    assert set(spec.recidivism.adjustments["full"]) <= set(spec.imputed_covariates)


@pytest.mark.parametrize(
    ("covariate", "values"),
    [
        (Covariate("x", "x", ""), [0.0, 3.0, np.nan]),
        (Covariate("x", "x", "", "log1p"), [0.0, np.log(4), np.nan]),
        (Covariate("x", "x", "", "positive"), [0.0, 1.0, np.nan]),
        (Covariate("x", "x", "", "divide", 10), [0.0, 0.3, np.nan]),
    ],
)
def test_a_transform_keeps_what_is_missing_missing(covariate: Covariate, values: list[float]) -> None:
    frame = pd.DataFrame({"x": pd.array([0, 3, None], dtype="Int64")})
    np.testing.assert_allclose(covariate.of(frame), values)


def test_equals_and_booleans_become_numbers() -> None:
    frame = pd.DataFrame({"org": ["svg", "rn", None], "flag": pd.array([True, None, False], dtype="boolean")})
    np.testing.assert_allclose(Covariate("s", "org", "", "equals", "svg").of(frame), [1, 0, np.nan])
    np.testing.assert_allclose(Covariate("f", "flag", "").of(frame), [1, np.nan, 0])


def changed(tmp_path: Path, change: Any) -> Path:
    content = yaml.safe_load(MODELS.read_text(encoding="utf-8"))
    change(content)
    path = tmp_path / "models.yml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["recidivism"]["adjustments"]["full"].append("shoe_size"), "adjustment full names shoe_size"),
        (lambda c: c["imputation"]["auxiliary"].append("shoe_size"), "auxiliary names shoe_size"),
        (
            lambda c: c["covariates"]["partner"].update(impute="mean"),
            "covariate partner: transform identity or method mean",
        ),
        (
            lambda c: c["development"]["growth"]["structures"].update(own="(1 | client_id)"),
            r"growth structure own: expected \(1 \| client\)",
        ),
        (lambda c: c["imputation"].update(scores=[{"rater": "client", "wave": "t1"}]), "not among the imputed scores"),
    ],
)
def test_what_cannot_be_is_named(tmp_path: Path, change: Any, message: str) -> None:
    with pytest.raises(SpecificationError, match=message):
        read_specification(changed(tmp_path, change))


def test_a_column_that_the_cohort_lacks_is_named() -> None:
    with pytest.raises(SpecificationError, match="covariate shoe: analysis_cohort has no column size"):
        Covariate("shoe", "size", "").of(pd.DataFrame({"x": [1]}))
