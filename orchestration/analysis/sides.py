"""Reads a fit and its version from the store as one side of an explanation (`explanation.Side`)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from orchestration.analysis.explanation import Side
from orchestration.analysis.fit import read_fit
from orchestration.analysis.inputs import MODEL_TABLES, read_inputs
from orchestration.warehouse.versions import Version, read_version


def side_of(versions: Path, fit: Path) -> Side | None:
    """The side of the fit in a folder, its version being below `versions`; None where that version is not kept whole."""
    tables, manifest = read_fit(fit)
    folder = versions / str(manifest["version_id"])
    if not (folder / "manifest.json").is_file() or not all((folder / f"{name}.parquet").is_file() for name in MODEL_TABLES):  # fmt: skip
        return None
    version = read_version(folder)
    return Side(read_inputs(version), tables["estimates"], manifest, version.manifest["build"], intervals_of(version))


def intervals_of(version: Version) -> pd.DataFrame | None:
    """The intervals of a version as an explanation reads them; None where it has none."""
    path = version.folder / "followup_interval.parquet"
    columns = ["client_id", "outcome_id", "start_day", "stop_day", "event", "state"]
    return pd.read_parquet(path, columns=columns) if path.is_file() else None
