"""A fit made again: the same bits from its manifest, a small difference named as such, another version refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from orchestration.analysis.fit import made_by, run_fit, write_fit
from orchestration.analysis.inputs import Inputs
from orchestration.analysis.reproduction import FitNotReproducible, reproduce_fit
from orchestration.analysis.reuse import Earlier, rows_read
from orchestration.analysis.specification import Specification
from orchestration.cli import main
from orchestration.hashing import combined_hash, content_hash
from orchestration.warehouse.versions import Version
from tests.analysis.synthetic import without_outcome
from tests.analysis.test_fit import quick


@pytest.fixture(scope="module")
def _kept_once(inputs: Inputs, spec: Specification, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, small = tmp_path_factory.mktemp("kept"), quick(spec)
    inputs = without_outcome(inputs, "general_supervision_end")
    version, fits = folder / "version", folder / "fits"
    version.mkdir()
    for name, frame in inputs.tables.items():
        frame.to_parquet(version / f"{name}.parquet")
    older = replace(inputs, analysis_cohort=inputs.analysis_cohort[inputs.analysis_cohort["client_id"] != "c000001"])
    write_fit(run_fit(older, small, 7), fits / "older", {"fit_id": "older"})
    result = run_fit(inputs, small, 7, earlier=Earlier.of(fits / "older", made_by(small, 7)))
    assert result.reused
    said = {"fit_id": "f00d", "version_id": "version", "fingerprint": combined_hash(rows_read(inputs, small))}
    write_fit(result, fits / "f00d", said)
    return folder


@pytest.fixture
def kept(_kept_once: Path, spec: Specification, tmp_path: Path) -> tuple[Path, Version, Specification]:
    """A fit of few models, its version and the models; part of it was taken over from a fit of other rows."""
    shutil.copytree(_kept_once, tmp_path, dirs_exist_ok=True)
    return tmp_path / "fits" / "f00d", Version("version", tmp_path / "version", {"tables": {}}), quick(spec)


def test_a_fit_is_made_again_to_the_bit(kept: tuple[Path, Version, Specification]) -> None:
    found = reproduce_fit(*kept)
    assert found.is_same and found.differing == () and found.changed_since == ()
    assert [path.name for path in kept[0].parent.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(("move", "is_elsewhere", "is_same"), [(1e-10, False, False), (1e-10, True, True), (1e-6, True, False)])  # fmt: skip
def test_other_bits_are_the_same_only_elsewhere_and_only_to_1e_8(
    kept: tuple[Path, Version, Specification], move: float, is_elsewhere: bool, is_same: bool
) -> None:
    import pyarrow as pa

    folder, version, small = kept
    estimates = pd.read_parquet(folder / "estimates.parquet")
    estimates["estimate"] += move
    estimates.to_parquet(folder / "estimates.parquet")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["tables"]["estimates"]["content_hash"] = content_hash(
        pa.Table.from_pandas(estimates, preserve_index=False)
    )
    if is_elsewhere:
        manifest["packages"]["numpy"] = "1.0"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    found = reproduce_fit(folder, version, small)
    assert found.differing == ("estimates",) and found.is_same is is_same
    assert found.largest_difference == pytest.approx(move, rel=1e-3)


def test_other_rows_and_other_models_are_refused(kept: tuple[Path, Version, Specification]) -> None:
    folder, version, small = kept
    with pytest.raises(FitNotReproducible, match="other models"):
        reproduce_fit(folder, version, replace(small, confidence=0.9))
    cohort = pd.read_parquet(version.folder / "analysis_cohort.parquet")
    cohort.iloc[2:].to_parquet(version.folder / "analysis_cohort.parquet")
    with pytest.raises(FitNotReproducible, match="give version version"):
        reproduce_fit(folder, version, small)


def test_the_command_needs_a_fit_that_is_there(tmp_path: Path) -> None:
    environment = {"DELICTVRIJ_HOME": str(tmp_path / "home")}
    assert CliRunner().invoke(main, ["init"], env=environment).exit_code == 0
    said = CliRunner().invoke(main, ["reproduce-fit", "current"], env=environment)
    assert said.exit_code == 1 and "nothing is fitted yet" in said.output
