"""The multiverse as people look at it: its table, one picture, and how many tests that is. Nothing is estimated here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from orchestration.analysis.multiverse import Multiverse
from orchestration.analysis.showing import figures
from orchestration.analysis.showing.drawing import Stamp
from orchestration.analysis.specification import Specification
from orchestration.files import write_json


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
    found.table.to_parquet(folder / "multiverse.parquet", index=False)
    drawn = drawable(found.table, spec, threshold)
    summary = found.summary()
    said = f"{summary['tests']} tests, {summary['below_5_percent_holm']} below .05 by Holm, {summary['below_5_percent_benjamini_hochberg']} by Benjamini-Hochberg"
    stamp = Stamp(f"{said} · {len(drawn)} models drawn · version {manifest['version_id']}", bool(manifest["simulated"]))
    (folder / "multiverse.png").write_bytes(figures.specification_curve(drawn, stamp))
    whole = {**manifest, **summary, "drawn": len(drawn)}
    write_json(folder / "manifest.json", whole)
    return whole
