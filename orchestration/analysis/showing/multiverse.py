"""The multiverse as people look at it: its table, one picture, and how many tests that is; and where a home keeps it. Nothing is
estimated here that `analysis.multiverse` does not.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from orchestration.analysis.fit import fit_id
from orchestration.analysis.inputs import MODEL_TABLES, read_inputs
from orchestration.analysis.multiverse import Multiverse, multiverse
from orchestration.analysis.showing import figures
from orchestration.analysis.showing.drawing import Stamp
from orchestration.analysis.specification import Specification
from orchestration.files import folder_by_rename, write_json
from orchestration.hashing import sha256_file
from orchestration.progress import Progress, nobody
from orchestration.settings import Settings
from orchestration.warehouse.versions import Version, fingerprint, require_present

TABLE, MANIFEST = "multiverse.parquet", "manifest.json"


def drawable(table: pd.DataFrame, spec: Specification, threshold: int) -> pd.DataFrame:
    """The rows that a picture may show: estimated, with `threshold` events more than the model has terms."""
    terms = 1 + table["adjustment"].map(lambda name: len(spec.recidivism.adjustments[name])).to_numpy()
    return table[table["estimate"].notna() & (table["events"] - terms >= threshold)]


def write_multiverse(
    found: Multiverse, spec: Specification, folder: Path, manifest: Mapping[str, Any], threshold: int = 10
) -> dict[str, Any]:
    """Write `multiverse.parquet`, `multiverse.png` and, last, `manifest.json` into `folder`; returns the manifest.

    `manifest` needs `version_id` and `simulated`. The picture leaves out models of few events.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found.table.to_parquet(folder / TABLE, index=False)
    drawn = drawable(found.table, spec, threshold)
    summary = found.summary()
    said = f"{summary['tests']} tests, {summary['below_5_percent_holm']} below .05 by Holm, {summary['below_5_percent_benjamini_hochberg']} by Benjamini-Hochberg"
    stamp = Stamp(f"{said} · {len(drawn)} models drawn · version {manifest['version_id']}", bool(manifest["simulated"]))
    (folder / "multiverse.png").write_bytes(figures.specification_curve(drawn, stamp))
    whole = {**manifest, **summary, "drawn": len(drawn), "sha256": sha256_file(folder / TABLE)}
    write_json(folder / MANIFEST, whole)
    return whole


def folder_of(settings: Settings, version: Version, spec: Specification, seed: int) -> Path:
    """Where a home keeps the multiverse of a version: named by its rows, models, seed, imputations, code and packages."""
    return settings.multiverse / fit_id(fingerprint(version, MODEL_TABLES), spec, seed)


def make_multiverse(
    settings: Settings, version: Version, spec: Specification, seed: int, progress: Progress = nobody
) -> dict[str, Any]:
    """Fit the multiverse of a version and keep it in the home; returns what its manifest says. Raises what `require_present` does."""
    found = multiverse(read_inputs(version), spec, seed, progress)
    said = {
        "version_id": version.version_id, "simulated": version.manifest["simulated"], "seed": seed, "imputations": spec.imputer.m,
    }  # fmt: skip
    require_present(version)
    with folder_by_rename(folder_of(settings, version, spec, seed)) as aside:
        return write_multiverse(found, spec, aside, said)


def kept_multiverse(
    settings: Settings, version: Version, spec: Specification, seed: int, progress: Progress = nobody
) -> pd.DataFrame:
    """The multiverse of a version (`multiverse.COLUMNS`): the one that the home keeps where it is whole, else it is made."""
    folder = folder_of(settings, version, spec, seed)
    if folder.is_dir() and not _is_whole(folder):
        shutil.rmtree(folder)
    if not folder.is_dir():
        make_multiverse(settings, version, spec, seed, progress)
    return pd.read_parquet(folder / TABLE)


def _is_whole(folder: Path) -> bool:
    manifest, table = folder / MANIFEST, folder / TABLE
    if not (manifest.is_file() and table.is_file()):
        return False
    return bool(json.loads(manifest.read_text(encoding="utf-8")).get("sha256") == sha256_file(table))
