"""Fits without people who were erased: what was fitted on a version that is gone is removed, what it said is put aside.

How a fit is made again is the business of `assets.py`; which versions are gone, of the warehouse.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from orchestration.analysis.fit import MANIFEST
from orchestration.analysis.showing import pages
from orchestration.settings import Settings

ESTIMATES = "estimates.parquet"
OWN_FILES = ("models.yml", "outcomes.csv")
KEY = ["model_id", "term"]


def affected_fits(root: Path, versions: Collection[str]) -> Iterator[Path]:
    """The folders below `root` of fits that were not made on one of these versions, and those that cannot say on which."""
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        if folder.is_symlink() or not folder.is_dir():
            continue
        if _version_of(folder) not in versions:
            yield folder


def _version_of(folder: Path) -> str | None:
    """The version that a fit, or a multiverse, was made on, as the manifest in its folder says."""
    for path in (folder / MANIFEST, *sorted(folder.glob("*.json"))):
        if path.is_file():
            version = json.loads(path.read_text(encoding="utf-8")).get("version_id")
            return None if version is None else str(version)
    return None


def keep_estimates(settings: Settings, target: Path) -> bool:
    """Copy what the current fit estimates to `target`, inside the zone; False where nothing is fitted."""
    source = settings.fits / "current" / ESTIMATES
    if not source.is_file():
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    return True


def remove_fits(settings: Settings, versions: Collection[str], kept: Path) -> None:
    """Remove every fit, fit of one's own and multiverse that was not made on one of these versions.

    With the current fit go the pages that show it. A researcher's own model files, which are about nobody, go to `kept`.
    """
    current = settings.fits / "current"
    fits = list(affected_fits(settings.fits, versions))
    if (current.is_symlink() and current.resolve() in [folder.resolve() for folder in fits]) or not current.exists():
        for name in (settings.report.name, *pages.BESIDE):
            (settings.home_path / name).unlink(missing_ok=True)
        current.unlink(missing_ok=True)
    for folder in fits:
        (settings.fits / f"{folder.name}.changes.json").unlink(missing_ok=True)
        shutil.rmtree(folder)
    for path in settings.fits.glob("*.changes.json"):
        if not (settings.fits / path.name.removesuffix(".changes.json")).is_dir() or any(
            folder.name in path.read_text(encoding="utf-8") for folder in fits
        ):
            path.unlink()
    for folder in list(affected_fits(settings.own, versions)):
        for name in OWN_FILES:
            if (folder / name).is_file():
                (kept / folder.name).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / name, kept / folder.name / name)
        shutil.rmtree(folder)
    for folder in list(affected_fits(settings.multiverse, versions)):
        shutil.rmtree(folder)


def compare_estimates(before: Path, after: Path, target: Path) -> int:
    """Write what each estimate was and is now to `target` (CSV); for the zone only. Gives how many differ."""
    import pandas as pd

    columns = [*KEY, "estimate", "std_error", "n", "events"]
    was, is_now = (pd.read_parquet(path)[columns] for path in (before, after))
    both = was.merge(is_now, on=KEY, how="outer", suffixes=("_before", "_after"))
    both.to_csv(target, index=False)
    moved = both["estimate_before"].ne(both["estimate_after"]) & ~(
        both["estimate_before"].isna() & both["estimate_after"].isna()
    )
    return int(moved.sum())
