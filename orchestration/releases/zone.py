"""Puts together what researchers with a permission get: the tables of a version and its fit, which `writing` puts into a folder.

Microdata: everything that is written here stays inside the zone. What may leave it is not made here.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration.files import folder_aside
from orchestration.releases import metadata
from orchestration.releases.cards import zone_pages
from orchestration.releases.catalogue import Catalogue
from orchestration.releases.formats import Language
from orchestration.releases.scripts import reproduced_model, text_of
from orchestration.releases.tables import ReleasedTable, StoredTable, imputed_sets, laid_aside, stored, wide_of
from orchestration.releases.writing import CHANGES, Content, Inventory, Spelling, write_folder
from orchestration.warehouse.versions import Version, verify

if TYPE_CHECKING:
    from orchestration.analysis.specification import Specification
    from orchestration.warehouse.diff import Difference


def write_release_tables(
    version: Version,
    fit: Path,
    out: Path,
    catalogue: Catalogue,
    spec: Specification,
    *,
    tag: str,
    released_on: date,
    makes_inert: bool,
    language: Language = "nl",
    difference: Difference | None = None,
    small_cell: int = 10,
) -> Inventory:
    """Write a version and its fit into `out`, a folder that is not there yet, whole or not at all.

    `fit` is the folder of a fit; `makes_inert` and `language` as in `Spelling`; `difference` is from the version of the
    release before; `small_cell` as in the settings, for model cards. Raises VersionDamaged, NotDescribed, FitOfOtherRows,
    CannotBeWritten, and FileExistsError where there is something in `out` already.
    """
    from orchestration.analysis.fit import read_fit

    if out.exists():
        raise FileExistsError(f"{out.name} is there already: a release is written once")
    verify(version)
    fitted, fit_manifest = read_fit(fit)
    marts = stored(version, catalogue)
    cohort = next(table for table in marts if table.name == "analysis_cohort").read().rows.to_pandas()
    imputed = imputed_sets(cohort, fitted["imputed"], spec, catalogue)
    del cohort
    with folder_aside(out.parent, out.name) as aside:
        released: list[ReleasedTable | StoredTable] = [*marts, laid_aside(wide_of(marts, catalogue), aside), *imputed]
        about = metadata.About(
            tag=tag, released_on=released_on, version_id=version.version_id, fit_id=str(fit_manifest["fit_id"]),
            is_simulated=bool(version.manifest["simulated"]), registry_cutoff_on=str(version.manifest["registry_cutoff_on"]),
            study=metadata.read_study(), tables=tuple(table.described for table in released),
            rows={table.name: table.n_rows for table in released},
        )  # fmt: skip
        model = reproduced_model(fitted["estimates"], fitted["imputed"], spec)
        beside = {CHANGES: text_of("CHANGELOG.md", about=about, difference=difference).encode("utf-8")}
        beside |= zone_pages(fitted, fit_manifest, version.manifest, spec, small_cell)
        return write_folder(Content(about, catalogue, released, model, Spelling(makes_inert, language), beside), out)
