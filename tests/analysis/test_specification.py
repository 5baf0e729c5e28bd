"""The models are data: what a model file may say, what it may not, and that a model reads nothing that came after the origin."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from orchestration.analysis.models_file import SpecificationError
from orchestration.analysis.readable import COVARIATE, SCORE, readable
from orchestration.analysis.specification import MODELS, Covariate, read_specification
from orchestration.trouble import Mendable

Change = Callable[[dict[str, Any]], Any]
DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


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


def test_a_column_that_the_cohort_lacks_is_named() -> None:
    with pytest.raises(SpecificationError, match="covariate shoe: analysis_cohort has no column size"):
        Covariate("shoe", "size", "").of(pd.DataFrame({"x": [1]}))


# what cannot be ------------------------------------------------------------------------------------------------------
def changed(tmp_path: Path, *changes: Change) -> Path:
    """The repository's model file after some changes."""
    content = yaml.safe_load(MODELS.read_text(encoding="utf-8"))
    for change in changes:
        change(content)
    path = tmp_path / "mine.yml"
    path.write_text(yaml.dump(content, Dumper=DUMPER), encoding="utf-8")
    return path


def covariate(column: str, **entry: Any) -> Change:
    """A covariate of a column that every model is adjusted for."""

    def change(content: dict[str, Any]) -> None:
        content["covariates"]["added"] = {"column": column, "impute": "pmm", "label": "added", **entry}
        content["recidivism"]["adjustments"]["full"].append("added")
        content["recidivism"].pop("reference", None)

    return change


def put(*keys: Any, value: Any) -> Change:
    """Set the entry at a place in the file."""

    def change(content: Any) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


UNHEARD = "names shoe_size, which is no covariate"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["recidivism"]["adjustments"]["full"].append("shoe_size"), f"recidivism.adjustments.full: {UNHEARD}"),
        (lambda c: c["recidivism"]["adjustments"]["full"].append("partner"), "recidivism.adjustments.full: partner stands there more than once"),
        (lambda c: c["imputation"]["auxiliary"].append("shoe_size"), f"imputation.auxiliary: {UNHEARD}"),
        (lambda c: c["imputation"].pop("m"), "imputation.m: is missing"),
        (put("imputation", "m", value="many"), "imputation.m: input should be a valid integer"),
        (put("imputation", "m", value=1), "imputation.m: input should be greater than or equal to 2"),
        (put("imputation", "rounds", value=3), "imputation.rounds: is no key of a model file"),
        (put("imputation", "scores", value=[{"rater": "client", "wave": "t1"}]), "recidivism.exposures.score: t2 of client, officer stands in a model, but not among the imputed scores"),
        (put("covariates", "partner", "impute", value="mean"), "covariates.partner.impute: input should be 'never', 'normal', 'logistic' or 'pmm'"),
        (put("covariates", "partner", "transform", value="square"), "covariates.partner.transform: input should be 'identity', 'log1p' or 'positive'"),
        (put("covariates", "age_decades", "transform", value={"divide": 0}), "covariates.age_decades.transform.divide: input should be greater than 0"),
        (put("covariates", "is_svg", "transform", value="identity"), "covariates.is_svg: organisation is text, so its transform is equals"),
        (put("covariates", "is_svg", "transform", value={"equals": 3}), "covariates.is_svg: organisation is varchar, and equals has a value of another type"),
        (put("covariates", "is_male", "transform", value="log1p"), "covariates.is_male: is_male is yes or no"),
        (put("covariates", "is_male", "impute", value="normal"), "covariates.is_male: normal imputes numbers"),
        (put("covariates", "log_prior_cases", "impute", value="logistic"), "covariates.log_prior_cases: logistic imputes what is 0 or 1"),
        (put("covariates", "trust", value={"column": "partner", "impute": "logistic", "label": "x"}), "covariates.trust: the name is taken"),
        (put("covariates", "Big.Name", value={"column": "partner", "impute": "logistic", "label": "x"}), "covariates: a name begins with a letter"),
        (put("recidivism", "scales", value=["trust", "friendship"]), "recidivism.scales: names friendship, which is no scale: bond, trust"),
        (put("recidivism", "raters", value=["client", "judge"]), "recidivism.raters: names judge, which is no rater: client, officer"),
        (put("recidivism", "outcome_roles", value=["main"]), "recidivism.outcome_roles.0: input should be 'primary' or 'sensitivity'"),
        (put("recidivism", "raters", value=[]), "recidivism.raters: is empty, so that there would be no model"),
        (put("recidivism", "adjustments", value={}), "recidivism.adjustments: is empty, so that there would be no model"),
        (put("recidivism", "exposures", "score", value={}), "recidivism.exposures.score: is empty"),
        (put("recidivism", "cluster", value="client_id"), "recidivism.cluster: names client_id, which is no cluster: officer_id"),
        (put("recidivism", "grouped_scale", value="bonds"), "recidivism.grouped_scale: names bonds, which is no scale"),
        (put("recidivism", "processes", "adjustments", value=["all"]), "recidivism.processes.adjustments: names all, which is no adjustment"),
        (put("recidivism", "prediction", "raters", value=["partner"]), "recidivism.prediction.raters: names partner, which is none of recidivism.raters"),
        (put("recidivism", "adjustments", "split", value=[]), "recidivism.adjustments.split: the name is taken"),
        (put("development", "growth", "structures", "own", value="(1 | client_id)"), "development.growth.structures.own: expected (1 | client)"),
        (put("determinants", "predictors", "size", value={"from": "shop", "impute": "pmm", "label": "x"}), "determinants.predictors.size.from: input should be 'alliance_change', 'client', 'covariate' or 'officer'"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_named_with_its_key_and_what_may_stand_there(
    tmp_path: Path, change: Change, message: str
) -> None:
    with pytest.raises(SpecificationError) as refused:
        read_specification(changed(tmp_path, change))
    assert message in str(refused.value) and "mine.yml" in str(refused.value)
    assert isinstance(refused.value, Mendable)


def test_every_trouble_of_a_file_is_said_at_once(tmp_path: Path) -> None:
    path = changed(
        tmp_path, covariate("shoe_size"), put("recidivism", "wave", value="t3"), put("recidivism", "raters", value=["judge"]),
        lambda c: c["imputation"]["auxiliary"].append("height"),
    )  # fmt: skip
    with pytest.raises(SpecificationError) as refused:
        read_specification(path)
    said = str(refused.value)
    assert all(part in said for part in ("shoe_size", "recidivism.wave: names t3", "judge", "height"))
    assert int(said.split(", ")[1].split(" ")[0]) == len(said.splitlines()) - 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"seed: [", "is no YAML at line"),
        (b"seed: 1\ncovariates: {}\nseed: 2\n", "at line 3: the key seed stands twice"),
        (b"\xff\xfe", "cannot be read as UTF-8"),
        (b"", "the file: input should be a valid dictionary"),
        (b"seed: !!python/object/apply:os.system [true]\n", "is no YAML at line 1"),
    ],
)
def test_what_is_no_model_file_is_said_so(tmp_path: Path, text: bytes, message: str) -> None:
    path = tmp_path / "mine.yml"
    path.write_bytes(text)
    with pytest.raises(SpecificationError, match=message):
        read_specification(path)


# what was not known at the origin -------------------------------------------------------------------------------------
@pytest.mark.parametrize("column", ["event", "duration_days", "exit_reason", "entry_days"])
def test_the_outcome_is_no_covariate(tmp_path: Path, column: str) -> None:
    path = changed(tmp_path, covariate(column))
    with pytest.raises(SpecificationError, match=f"covariates.added: {column} is the outcome, or known only after the origin"):  # fmt: skip
        read_specification(path)


@pytest.mark.parametrize(
    ("column", "table"),
    [("days_at_risk", "followup"), ("detention_days", "followup"), ("exit_day", "followup"), ("stop_day", "followup_interval"),
     ("difference", "alliance_change"), ("person_mean", "alliance_change"), ("last", "alliance_change"), ("linkage_status", "client")],
)  # fmt: skip
def test_what_other_tables_know_of_later_is_no_covariate(tmp_path: Path, column: str, table: str) -> None:
    path = changed(tmp_path, covariate(column))
    with pytest.raises(SpecificationError, match=rf"covariates.added: {column} stands in .*{table}.*not among what"):
        read_specification(path)


@pytest.mark.parametrize("column", ["client_trust_t3", "officer_bond_t4", "followup_days", "client_id", "is_eligible", "ineligible_reason", "officer_id"])  # fmt: skip
def test_later_scores_names_and_who_is_in_the_cohort_are_no_covariates(tmp_path: Path, column: str) -> None:
    with pytest.raises(SpecificationError, match=f"covariates.added: .*{column}"):
        read_specification(changed(tmp_path, covariate(column, transform={"equals": "x"}, impute="never")))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("recidivism", "wave", value="t3"), "recidivism.wave: names t3; waves whose scores are known at the origin are t1, t2"),
        (put("recidivism", "exposures", "later", value={"score": "t4"}), "recidivism.exposures.later: names t4"),
        (put("imputation", "scores", 0, "wave", value="t3"), "imputation.scores.0: names t3"),
        (put("recidivism", "patterns", "span", value="T1-last"), "recidivism.patterns: span T1-last is known only after the score of t2; expected T1-T2"),
        (put("recidivism", "wave", value="t1"), "recidivism.patterns: span T1-T2 is known only after the score of t1"),
        (put("determinants", "predictors", "officer_changed", "column", value="difference"), "determinants.predictors.officer_changed: alliance_change has no column difference that was known at baseline"),
        (put("determinants", "predictors", "log_prior_cases", "column", value="linkage_status"), "client has no column linkage_status that was known at baseline"),
        (covariate("client_trust_state"), "covariates.added: client_trust_state is of a rater and a scale whose scores are imputed"),
    ],
)  # fmt: skip
def test_scores_and_patterns_of_later_waves_stand_in_no_model(tmp_path: Path, change: Change, message: str) -> None:
    with pytest.raises(SpecificationError) as refused:
        read_specification(changed(tmp_path, change))
    assert message in str(refused.value)


@pytest.mark.parametrize("column", [name for name in readable().named(COVARIATE) if readable().cohort[name].data_type != "varchar"])  # fmt: skip
def test_what_was_known_at_the_origin_may_be_a_covariate(tmp_path: Path, column: str) -> None:
    assert read_specification(changed(tmp_path, covariate(column))).covariates["added"].column == column


def test_a_score_of_a_scale_that_is_not_imputed_may_be_a_covariate(tmp_path: Path) -> None:
    alone = {"scales": ["trust"], "grouped_scale": "trust"}
    path = changed(tmp_path, lambda c: c["recidivism"].update(alone), covariate("officer_bond_t1"))
    assert "added" in read_specification(path).imputed_covariates


def test_every_column_of_the_cohort_says_what_models_read_it_as(inputs: Any) -> None:
    known = readable()
    assert [name for name, column in known.cohort.items() if column.read_as is None] == []
    assert (known.raters, known.waves) == (("client", "officer"), ("t1", "t2"))
    assert known.scales == tuple(read_specification().recidivism.scales)
    assert {*known.named(SCORE)} >= {name for name in inputs.analysis_cohort if name.endswith(("_t1", "_t2"))}
