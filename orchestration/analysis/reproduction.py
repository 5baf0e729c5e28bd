"""Making a fit again from its manifest and its version, and comparing: to the bit on one machine, to 1e-8 elsewhere."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from orchestration.analysis.fit import made_by, read_fit, run_fit, write_fit
from orchestration.analysis.inputs import read_inputs
from orchestration.analysis.specification import Specification, read_specification
from orchestration.hashing import combined_hash
from orchestration.progress import Progress, named, nobody
from orchestration.trouble import Mendable
from orchestration.warehouse.versions import Version

ACROSS_MACHINES = 1e-8  # relative to the larger of a number and one: other libraries and processors round otherwise


class FitNotReproducible(Mendable):
    """A fit that cannot be made again from here: its version's rows are other rows, or its models are not these."""


class NoSuchFit(Mendable):
    """No fit, or more than one, has the name that was given."""


@dataclass(frozen=True)
class Reproduced:
    """`differing`: tables whose content is not the same bit for bit. `largest_difference`: of any number in them, relative
    to the larger of it and one; infinite where rows, texts or gaps differ. `changed_since`: what it was made by that is
    not so here."""

    fit_id: str
    differing: tuple[str, ...]
    largest_difference: float
    changed_since: tuple[str, ...]

    @property
    def is_same(self) -> bool:
        """To the bit where nothing it was made by has changed; else within `ACROSS_MACHINES`."""
        return not self.differing or (bool(self.changed_since) and self.largest_difference <= ACROSS_MACHINES)


def named_fit(fits: Path, name: str) -> Path:
    """The folder of the fit that a person names: its id, the beginning of it, or `current`. Raises NoSuchFit."""
    if name == "current":
        if not (fits / "current").is_symlink():
            raise NoSuchFit("nothing is fitted yet")
        return (fits / "current").resolve()
    found = [path.parent for path in sorted(fits.glob("[!.]*/manifest.json")) if path.parent.name.startswith(name)]
    found = [path for path in found if not path.is_symlink()]
    if not name or len(found) != 1:
        raise NoSuchFit(f"{len(found)} fits have a name that begins so, in {fits}")
    return found[0]


def version_of(folder: Path) -> str:
    """The version that the fit in a folder was made from."""
    return str(read_fit(folder)[1]["version_id"])


def reproduce_fit(
    folder: Path, version: Version, spec: Specification | None = None, progress: Progress = nobody
) -> Reproduced:
    """Fit again what the manifest in `folder` names, on the rows of `version`, and compare every table.

    Everything is fitted, whatever the fit took over from the one before it. `spec` (default: the repository's) gets the
    manifest's number of imputations. Raises `FitNotReproducible`.
    """
    tables, manifest = read_fit(folder)
    models = (spec or read_specification()).with_imputations(int(manifest["imputations"]))
    here = made_by(models, int(manifest["seed"]))
    changed = tuple(name for name in sorted(here) if manifest.get(name) != here[name])
    if "models_hash" in changed and "code_hash" not in changed:
        raise FitNotReproducible(
            f"{manifest['fit_id']} was made by other models than these: give those that it was made by"
        )
    result = run_fit(read_inputs(version), models, int(manifest["seed"]), named("fit", progress))
    if "fingerprint" in manifest and not changed and combined_hash(result.rows_read) != manifest["fingerprint"]:
        raise FitNotReproducible(
            f"{manifest['fit_id']} read other rows than those of version {version.version_id}: give version {manifest['version_id']}"
        )
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".again-") as place:
        again = write_fit(result, Path(place) / "fit", {})
        made = read_fit(Path(place) / "fit")[0]
    differing = tuple(
        name
        for name, entry in manifest["tables"].items()
        if name not in again["tables"] or again["tables"][name]["content_hash"] != entry["content_hash"]
    )
    largest = max((_difference(tables[name], made.get(name)) for name in differing), default=0.0)
    return Reproduced(str(manifest["fit_id"]), differing, largest, changed)


def _difference(before: pd.DataFrame, after: pd.DataFrame | None) -> float:
    """The largest difference of two tables row by row; infinite where more than numbers differs."""
    if after is None or before.shape != after.shape or list(before) != list(after):
        return float("inf")
    largest = 0.0
    for name in before:
        was, is_now = before[name], after[name]
        if pd.api.types.is_float_dtype(was) and pd.api.types.is_float_dtype(is_now):
            one, other = was.to_numpy(dtype=float), is_now.to_numpy(dtype=float)
            if (np.isnan(one) != np.isnan(other)).any():
                return float("inf")
            apart = np.abs(one - other) / np.maximum(1.0, np.abs(one))
            largest = max(largest, float(np.nanmax(apart, initial=0.0)))
        elif ((was.isna() != is_now.isna()) | (was.notna() & (was != is_now))).any():
            return float("inf")
    return largest
