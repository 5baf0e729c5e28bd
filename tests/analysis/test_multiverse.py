"""The multiverse: every definition is there, corrections are those of statsmodels, and the picture says what it shows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from matplotlib.figure import Figure
from matplotlib.text import Text

from orchestration.analysis.fit import FitResult
from orchestration.analysis.inputs import Inputs
from orchestration.analysis.multiverse import (
    Multiverse,
    benjamini_hochberg,
    holm,
    multiverse,
)
from orchestration.analysis.showing import multiverse as showing
from orchestration.analysis.showing.multiverse import drawable, write_multiverse
from orchestration.analysis.specification import Specification
from orchestration.cli import main
from orchestration.home import initialise, opened
from orchestration.settings import Settings
from orchestration.warehouse.versions import Version
from tests.analysis.synthetic import without_outcome
from tests.analysis.test_refit import published


@pytest.fixture(scope="module")
def everything(inputs: Inputs) -> Inputs:
    """The second definition is a sensitivity one, and there is a third that nobody is eligible for."""
    definition = pd.DataFrame(
        {
            "outcome_id": ["general_landmark", "general_supervision_end", "nobody"],
            "role": ["primary", "sensitivity", "sensitivity"],
        }
    )
    return replace(inputs, outcome_definition=definition)


@pytest.fixture(scope="module")
def found(everything: Inputs, spec: Specification) -> Multiverse:
    return multiverse(everything, spec)


def test_corrections_are_those_of_statsmodels_and_what_was_not_tested_is_no_test() -> None:
    from statsmodels.stats.multitest import multipletests

    p = np.random.default_rng(1).uniform(size=40) ** 3
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1], rtol=1e-12)
    np.testing.assert_allclose(benjamini_hochberg(p), multipletests(p, method="fdr_bh")[1], rtol=1e-12)
    with_gaps = np.insert(p, [0, 7, 40], np.nan)
    for corrected in (holm, benjamini_hochberg):
        out = corrected(with_gaps)
        assert np.isnan(out[np.isnan(with_gaps)]).all()
        np.testing.assert_array_equal(out[~np.isnan(with_gaps)], corrected(p))


def test_every_definition_that_has_people_is_there_also_those_of_sensitivity(found: Multiverse) -> None:
    table = found.table
    assert table.groupby(["outcome_id", "role"]).size().to_dict() == {
        ("general_landmark", "primary"): 2 * 4 * 4, ("general_supervision_end", "sensitivity"): 2 * 4 * 4,
    }  # fmt: skip
    assert (table["term"] == table["scale"]).all() and not table.duplicated("model_id").any()
    summary = found.summary()
    assert summary["tests"] + summary["refused"] == summary["models"] == 64
    assert (
        summary["below_5_percent_holm"] <= summary["below_5_percent_benjamini_hochberg"] <= summary["below_5_percent"]
    )


def test_an_outcome_of_the_fit_has_the_same_numbers_in_the_multiverse(found: Multiverse, result: FitResult) -> None:
    both = found.table.merge(result.estimates, on=["model_id", "term"], suffixes=("", "_fit"), validate="1:1")
    assert len(both) == len(found.table)
    pd.testing.assert_series_equal(both["estimate"], both["estimate_fit"], check_names=False)


def test_few_events_are_not_drawn(found: Multiverse, spec: Specification) -> None:
    few = found.table.assign(events=np.where(found.table["adjustment"] == "full", 19, 60))
    shown = drawable(few, spec, 10)
    assert "full" not in set(shown["adjustment"]) and len(shown) > 20


def test_what_is_written_says_how_many_tests_there_were(found: Multiverse, spec: Specification, tmp_path: Path) -> None:
    said = {"version_id": "cafe", "simulated": True}
    whole = write_multiverse(found, spec, tmp_path / "one", said)
    write_multiverse(found, spec, tmp_path / "again", said)
    assert (
        json.loads((tmp_path / "one" / "manifest.json").read_text())["tests"]
        == whole["tests"]
        == found.summary()["tests"]
    )
    assert len(pd.read_parquet(tmp_path / "one" / "multiverse.parquet")) == 64
    picture = (tmp_path / "one" / "multiverse.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and picture == (tmp_path / "again" / "multiverse.png").read_bytes()


def test_a_kept_multiverse_is_taken_as_it_is_and_a_damaged_one_is_made_again(
    found: Multiverse, spec: Specification, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def make(*_: object) -> Multiverse:
        made.append(1)
        return found

    version = Version("cafe", tmp_path, {"simulated": True})
    for name, stand_in in (("multiverse", make), ("read_inputs", lambda _: None), ("require_present", lambda _: None), ("folder_of", lambda *_: tmp_path / "kept")):  # fmt: skip
        monkeypatch.setattr(showing, name, stand_in)
    settings = Settings(home=tmp_path)
    for times in (1, 1):
        kept = showing.kept_multiverse(settings, version, spec, 1)
        assert len(kept) == len(found.table) and len(made) == times
    table = tmp_path / "kept" / showing.TABLE
    table.write_bytes(table.read_bytes()[:-1])
    assert len(showing.kept_multiverse(settings, version, spec, 1)) == len(found.table)
    assert len(made) == 2


def test_the_command_says_how_many_tests_there_were_what_a_correction_leaves_and_that_it_is_simulated(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a published SYNTHETIC version of one outcome."""
    settings = Settings(home=tmp_path / "home")
    initialise(settings)
    version = published(settings, without_outcome(inputs, "general_supervision_end"))
    environment = {"DELICTVRIJ_HOME": str(settings.home), "DELICTVRIJ_IMPUTATIONS": "2"}
    said: set[str] = set()
    save = Figure.savefig

    def overheard(figure: Figure, *given: Any, **options: Any) -> None:
        said.update(text.get_text() for text in figure.findobj(Text))
        save(figure, *given, **options)

    monkeypatch.setattr(Figure, "savefig", overheard)
    done = CliRunner().invoke(main, ["multiverse"], env=environment)
    assert done.exit_code == 0, done.output

    picture = Path(done.stdout.splitlines()[-1])
    written = json.loads((picture.parent / "manifest.json").read_text())
    table = pd.read_parquet(picture.parent / "multiverse.parquet")
    tests, holm_, bh = (
        written[name] for name in ("tests", "below_5_percent_holm", "below_5_percent_benjamini_hochberg")
    )
    assert tests == table["p_value"].notna().sum() > 10 and written["models"] == len(table) == 32
    assert (written["seed"], written["imputations"]) == (settings.seed, 2)
    assert f"32 models of version {version}: {tests} tests, {32 - tests} refused  SIMULATED" in done.stdout
    assert f"by Holm {holm_}, by Benjamini-Hochberg {bh}" in done.stdout
    assert "outcome general_landmark: 1 of 1 steps" in done.stderr

    drawn = written["drawn"]
    source = f"{tests} tests, {holm_} below .05 by Holm, {bh} by Benjamini-Hochberg · {drawn} models drawn · version {version}"
    assert {source, "SIMULATED DATA", "not below .05 by Holm", "hazard ratio for one point more"} <= said
    assert picture.read_bytes().startswith(b"\x89PNG")

    again = CliRunner().invoke(main, ["multiverse", "--json"], env=environment)
    assert json.loads(again.stdout) == {**written, "folder": str(picture.parent)} and again.stderr == ""
    assert opened(settings).fits() == [] and not (settings.fits / "current").exists()
