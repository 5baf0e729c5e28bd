"""A fit of one's own: kept apart and named, checked before anything runs, and never taken for the platform's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner, Result

from orchestration.analysis import own
from orchestration.analysis.fit import read_fit
from orchestration.analysis.inputs import Inputs, read_inputs
from orchestration.analysis.models_file import SpecificationError
from orchestration.analysis.own import Asked, CannotFitOwn, NameTaken, few_events, fit_own, with_outcomes
from orchestration.analysis.specification import MODELS
from orchestration.cli import main
from orchestration.files import write_json
from orchestration.hashing import sha256_file
from orchestration.home import initialise, opened
from orchestration.progress import nobody
from orchestration.settings import Settings
from orchestration.warehouse.aside import OUTCOME_TABLES
from orchestration.warehouse.versions import Version, current_version
from tests.analysis.synthetic import synthetic_inputs
from tests.analysis.test_refit import published
from tests.deliveries.making import digests

HEADER = (
    "outcome_id,level,origin,horizon_months,lag_months,pending_counts,policy_dismissal_counts,date_basis,detention\n"
)
ONE_YEAR = "one_year,general,landmark,12,6,true,false,offence,ignored\n"


def small_models(path: Path, **recidivism: Any) -> Path:
    """A model file with two models of Trust, one of them adjusted for something that the platform's models do not read."""
    content = yaml.safe_load(MODELS.read_text(encoding="utf-8"))
    content["covariates"]["had_serious_cases"] = {
        "column": "prior_custodial_cases", "transform": "positive", "impute": "never", "label": "custody before",
    }  # fmt: skip
    del content["recidivism"]["reference"]  # made-up people are for the platform's fits
    content["recidivism"] |= {
        "raters": ["client"], "scales": ["trust"], "grouped_scale": "trust", "exposures": {"score": {"score": "t2"}},
        "adjustments": {"unadjusted": [], "mine": ["log_prior_cases", "had_serious_cases"]},
        "processes": {"adjustments": ["mine"], "last_stratum": 3}, "prediction": {"raters": ["client"], "levels": [2, 4], "bootstraps": 3},
        **recidivism,
    }  # fmt: skip
    content["imputation"] |= {"m": 2, "few": 2, "iterations": 2, "auxiliary": []}
    content["determinants"]["scales"] = []
    content["development"]["growth"]["structures"] = {}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home with a published SYNTHETIC version and no fit."""
    made = Settings(home=tmp_path_factory.mktemp("own") / "home", imputations=2)
    initialise(made)
    published(made, synthetic_inputs(150, seed=1))
    return made


def fit(home: Settings, *words: object) -> Result:
    return CliRunner().invoke(main, ["fit", *map(str, words)], env={"DELICTVRIJ_HOME": str(home.home)})


def asked(home: Settings, **given: Any) -> Asked:
    version = current_version(home)
    assert version is not None
    return Asked(version, **given)


def test_models_of_ones_own_are_fitted_apart_and_said_not_to_be_the_platforms(home: Settings, tmp_path: Path) -> None:
    models = small_models(tmp_path / "mine.yml")
    before = digests(home.versions) | digests(home.fits)
    done = fit(home, "--models", models, "--name", "custody")
    assert done.exit_code == 0, done.output
    folder = home.own / "custody"
    assert "not the platform's" in done.output and "SIMULATED" in done.output and str(folder) in done.output
    assert "not what was proven" in done.output

    tables, manifest = read_fit(folder)
    assert {*tables["estimates"]["adjustment"]} == {"unadjusted", "mine"}
    assert "had_serious_cases" in {*tables["estimates"]["term"]} and {*tables["imputed"]["imputation"]} == {1, 2}
    assert (manifest["fit_id"], manifest["is_platform_fit"], manifest["simulated"]) == ("own/custody", False, True)
    assert manifest["version_id"] == asked(home).version.version_id and manifest["seed"] == 20260101
    assert not manifest["recovery"]["is_proven"]
    assert manifest["own"]["files"] == {"models.yml": sha256_file(models)} == {"models.yml": sha256_file(folder / "models.yml")}  # fmt: skip
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "not the platform" in page and "SIMULATED" in page and "fit own/custody" in page
    assert "This is the first fit" not in page

    # nothing of the platform's has moved
    assert digests(home.versions) | digests(home.fits) == before
    assert opened(home).fits() == [] and not (home.fits / "current").exists()

    # the same again is what is there; under another name it is the same to the bit; the name is not given away
    again = fit(home, "--models", models, "--name", "custody", "--json")
    assert json.loads(again.stdout) == {**manifest, "is_new": False, "folder": str(folder)}
    other = fit(home, "--models", models)
    assert other.exit_code == 0, other.output
    (unnamed,) = [path for path in home.own.iterdir() if path.name != "custody" and not path.name.startswith(".")]
    assert read_fit(unnamed)[1]["tables"] == manifest["tables"]
    changed = small_models(tmp_path / "mine.yml", min_events=20)
    taken = fit(home, "--models", changed, "--name", "custody")
    assert taken.exit_code == 1 and "was made of other files, models hash" in taken.stderr
    assert read_fit(folder)[1] == manifest

    # and what is there is held against its manifest
    small_models(tmp_path / "mine.yml")
    (unnamed / "estimates.parquet").write_bytes(b"something else")
    damaged = fit(home, "--models", models, "--name", unnamed.name)
    assert damaged.exit_code == 1 and "1 files" in damaged.stderr and "estimates.parquet" in damaged.stderr


@pytest.mark.parametrize("name", ["", "..", "../fits", "a/b", "/tmp/a", ".hidden", "Big", "a b", "a\n", "x" * 64])  # noqa: S108
def test_a_name_is_the_name_of_one_folder(home: Settings, tmp_path: Path, name: str) -> None:
    with pytest.raises(CannotFitOwn, match="a name begins with"):
        fit_own(home, opened(home), asked(home, models=small_models(tmp_path / "m.yml"), name=name), nobody)


def test_a_folder_that_is_no_fit_keeps_its_name(home: Settings, tmp_path: Path) -> None:
    (home.own / "notes").mkdir(parents=True)
    with pytest.raises(NameTaken, match="is no fit of one's own"):
        fit_own(home, opened(home), asked(home, models=small_models(tmp_path / "m.yml"), name="notes"), nobody)


def test_both_files_are_checked_before_anything_runs_and_all_is_said(
    home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("something ran")

    monkeypatch.setattr(own, "run_fit", never)
    monkeypatch.setattr(own.aside, "own_outcomes", never)
    outcomes = tmp_path / "mine.csv"
    outcomes.write_text(HEADER + ONE_YEAR.replace("general", "petty"))
    models = small_models(tmp_path / "mine.yml", wave="t4")
    done = fit(home, "--models", models, "--outcomes", outcomes)
    assert done.exit_code == 1
    assert "recidivism.wave: names t4" in done.stderr and "row 1: level is one of general" in done.stderr
    assert "Traceback" not in done.output and "something ran" not in done.output

    outcomes.write_text(HEADER + ONE_YEAR.replace("one_year", "general_landmark"))
    done = fit(home, "--outcomes", outcomes)
    assert done.exit_code == 1 and "row 1: outcome_id general_landmark is one of the version's" in done.stderr
    outcomes.write_text(HEADER + ONE_YEAR.replace("landmark", "supervision_start"))
    done = fit(home, "--outcomes", outcomes)
    assert done.exit_code == 1 and "row 1: with origin supervision_start and entry origin no score of t2 is known" in done.stderr  # fmt: skip

    for words in ([], ["--models", tmp_path / "nowhere.yml"], ["--models", small_models(models, outcome_roles=[])]):
        done = fit(home, *words)
        assert done.exit_code == 1 and done.stderr.startswith("delictvrij: ")
    assert [path.name for path in home.own.iterdir() if path.name.startswith(".")] == []


def test_a_definition_that_the_version_has_under_another_name_is_refused() -> None:
    there = pd.DataFrame(
        {"outcome_id": ["known"], "horizon_months": [12], "pending_counts": [True], "role": ["primary"]}
    )
    row = {"outcome_id": "mine", "horizon_months": "12", "pending_counts": "true", "role": "sensitivity"}
    assert own._clashes([row], there) == ["row 1: mine says the same as known of the version, which is fitted as it is"]
    assert own._clashes([{**row, "horizon_months": "24"}], there) == []


def test_what_only_the_version_can_tell_is_said_too(home: Settings, tmp_path: Path) -> None:
    """SYNTHETIC versions lack some columns; rows of covariates are named by the version alone."""
    models = small_models(tmp_path / "m.yml")
    content = yaml.safe_load(models.read_text())
    content["covariates"]["level"] = {"column": "supervision_level", "impute": "pmm", "label": "level"}
    content["recidivism"]["adjustments"]["mine"] = ["level"]
    content["determinants"]["predictors"]["shoe_size"] = {"from": "covariate", "impute": "pmm", "label": "shoe size"}
    models.write_text(yaml.safe_dump(content))
    with pytest.raises(CannotFitOwn, match="no supervision_level; covariate of the version has no rows of shoe_size; it has addiction"):  # fmt: skip
        fit_own(home, opened(home), asked(home, models=models, name="level"), nobody)
    assert not (home.own / "level").exists()


def test_a_score_that_nobody_has_at_an_origin_is_said_with_its_outcome(
    home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when follow-up begins with supervision, weeks before the first rating."""

    def unrated(version: Version) -> Inputs:
        inputs = read_inputs(version)
        return replace(inputs, analysis_cohort=inputs.analysis_cohort.assign(client_trust_t2=float("nan")))

    monkeypatch.setattr(own, "read_inputs", unrated)
    with pytest.raises(
        CannotFitOwn, match=r"general_landmark: none of its \d+ clients has client_trust_t2 at the origin"
    ):
        fit_own(home, opened(home), asked(home, models=small_models(tmp_path / "m.yml"), name="unrated"), nobody)


def test_a_value_that_the_models_cannot_impute_is_one_line(home: Settings, tmp_path: Path) -> None:
    models = small_models(tmp_path / "m.yml")
    content = yaml.safe_load(models.read_text())
    content["covariates"]["addiction"]["impute"] = "never"
    content["recidivism"]["adjustments"]["mine"] = ["addiction"]
    models.write_text(yaml.safe_dump(content))
    done = fit(home, "--models", models, "--name", "never")
    assert done.exit_code == 1 and "addiction: " in done.stderr and "names no method for it" in done.stderr
    assert not (home.own / "never").exists()


def kept_beside(folder: Path, tables: dict[str, pd.DataFrame]) -> None:
    """Outcome tables as the warehouse keeps them beside a version."""
    for name, table in tables.items():
        table.to_parquet(folder / f"{name}.parquet")
    entries = {name: {"sha256": sha256_file(folder / f"{name}.parquet")} for name in tables}
    write_json(folder / "manifest.json", {"tables": entries})


def test_own_outcomes_stand_below_those_of_the_version_in_a_role_of_their_own(inputs: Inputs, tmp_path: Path) -> None:
    names = {*OUTCOME_TABLES} & {*inputs.tables}
    tables = {name: inputs.tables[name].replace({"general_landmark": "mine"}).iloc[:5] for name in sorted(names)}
    kept_beside(tmp_path, tables)
    found = with_outcomes(inputs, tmp_path)
    assert found.outcome_definition["role"].tolist() == ["primary", "primary", "own", "own"]
    assert len(found.analysis_cohort) == len(inputs.analysis_cohort) + 5
    pd.testing.assert_frame_equal(found.analysis_cohort.iloc[:-5], inputs.analysis_cohort)
    assert found.alliance_score is inputs.alliance_score

    kept_beside(tmp_path, {**tables, "cohort_flow": tables["cohort_flow"].assign(more=1)})
    with pytest.raises(CannotFitOwn, match="cohort_flow of the version has other columns"):
        with_outcomes(inputs, tmp_path)
    tables["cohort_flow"].to_parquet(tmp_path / "cohort_flow.parquet")
    with pytest.raises(CannotFitOwn, match=r"cohort_flow in .* are not what its manifest says"):
        with_outcomes(inputs, tmp_path)


def test_models_of_few_events_are_counted_and_those_without_a_penalty_apart() -> None:
    estimates = pd.DataFrame(
        [("a", 9.9, "Firth"), ("a", 9.9, "Firth"), ("b", 9.9, "partial likelihood"), ("c", 10.0, "partial likelihood"), ("d", None, None)],
        columns=["model_id", "events_per_parameter", "method"],
    )  # fmt: skip
    assert few_events(estimates) == {"models_with_few_events_per_parameter": 2, "models_with_few_events_and_no_penalty": 1}  # fmt: skip


def test_a_model_file_that_reads_the_outcome_never_reaches_the_data(home: Settings, tmp_path: Path) -> None:
    """The canary: a covariate that is the event itself."""
    models = small_models(tmp_path / "m.yml")
    content = yaml.safe_load(models.read_text())
    content["covariates"]["had_serious_cases"] |= {"column": "event", "transform": "identity"}
    models.write_text(yaml.safe_dump(content))
    with pytest.raises(SpecificationError, match="had_serious_cases: event is the outcome"):
        fit_own(home, opened(home), asked(home, models=models, name="canary"), nobody)
    assert not (home.own / "canary").exists()
