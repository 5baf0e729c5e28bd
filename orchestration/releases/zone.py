"""Puts together what researchers with a permission get: the tables in every format, the codebook, metadata, scripts, checksums.

Microdata: everything that is written here stays inside the zone. What may leave it is not made here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration.files import folder_by_rename, write_atomically, write_json
from orchestration.hashing import content_hash, sha256_file
from orchestration.pages import rendered
from orchestration.releases import metadata
from orchestration.releases.catalogue import Catalogue
from orchestration.releases.formats import (
    FOR_DUTCH_EXCEL,
    FOR_PROGRAMS,
    SIMULATED,
    Language,
    write_csv,
    write_parquet,
    write_sav,
)
from orchestration.releases.scripts import TEMPLATES, reproduced_model, scripts, text_of
from orchestration.releases.tables import ReleasedTable, imputed_sets, published, wide
from orchestration.warehouse.versions import Version, verify

if TYPE_CHECKING:
    from orchestration.analysis.specification import Specification
    from orchestration.warehouse.diff import Difference

SUMS, INVENTORY = "SHA256SUMS", "inventory.json"


@dataclass(frozen=True)
class TableInventory:
    """One table of a release: rows, columns, and the hash of its rows, which is the same whatever the format."""

    name: str
    rows: int
    columns: int
    content_hash: str


@dataclass(frozen=True)
class Inventory:
    """What a release holds: its tables, its files (path -> SHA-256), and how many cells were made inert for spreadsheets."""

    tables: tuple[TableInventory, ...]
    files: Mapping[str, str]
    made_inert: int
    model_id: str | None


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
) -> Inventory:
    """Write a version and its fit into `out`, a folder that is not there yet, whole or not at all.

    `fit` is the folder of a fit; `makes_inert` as in `formats.write_csv`; `language` is that of the labels in SPSS files;
    `difference` is from the version of the release before. Raises VersionDamaged, NotDescribed, FitOfOtherRows, CannotBeWritten,
    and FileExistsError where there is something in `out` already.
    """
    from orchestration.analysis.fit import read_fit

    if out.exists():
        raise FileExistsError(f"{out.name} is there already: a release is written once")
    verify(version)
    fitted, fit_manifest = read_fit(fit)
    marts = published(version, catalogue)
    by_name = {table.name: table for table in marts}
    cohort = by_name["analysis_cohort"].rows.to_pandas()
    released = [*marts, wide(by_name, catalogue), *imputed_sets(cohort, fitted["imputed"], spec, catalogue)]
    about = metadata.About(
        tag=tag, released_on=released_on, version_id=version.version_id, fit_id=str(fit_manifest["fit_id"]),
        is_simulated=bool(version.manifest["simulated"]), registry_cutoff_on=str(version.manifest["registry_cutoff_on"]),
        study=metadata.read_study(), tables=tuple(table.described for table in released),
        rows={table.name: table.rows.num_rows for table in released},
    )  # fmt: skip
    model = reproduced_model(fitted["estimates"], fitted["imputed"], spec)
    heading = f"{SIMULATED + '. ' if about.is_simulated else ''}Release {tag}, version {version.version_id}, fit {about.fit_id}."
    with folder_by_rename(out) as aside:
        changed = sum(_write_table(table, aside, about.is_simulated, makes_inert, language) for table in released)
        texts = {f"scripts/{name}": text for name, text in scripts(by_name["client"], model, heading).items()}
        texts |= _metadata(about, catalogue)
        texts["README.md"] = text_of(
            "README.md", about=about, language=language, makes_inert=makes_inert, changed=changed
        )
        texts["CHANGELOG.md"] = text_of("CHANGELOG.md", about=about, difference=difference)
        for name, text in texts.items():
            write_atomically(aside / name, text.encode("utf-8"))
        tables = tuple(
            TableInventory(table.name, table.rows.num_rows, table.rows.num_columns, content_hash(table.rows)) for table in released
        )  # fmt: skip
        write_json(
            aside / INVENTORY,
            {
                "tag": tag, "version_id": about.version_id, "fit_id": about.fit_id, "simulated": about.is_simulated,
                "tables": [one.__dict__ for one in tables], "made_inert": changed, "model_id": model.model_id if model else None,
            },
        )  # fmt: skip
        sizes = {name: (aside / name).stat().st_size for name in _files(aside)}
        write_json(aside / "ro-crate-metadata.json", metadata.ro_crate(about, sizes))
        files = {name: sha256_file(aside / name) for name in _files(aside)}
        write_atomically(aside / SUMS, "".join(f"{mark}  {name}\n" for name, mark in files.items()).encode())
    return Inventory(tables, files, changed, model.model_id if model else None)


def _write_table(table: ReleasedTable, folder: Path, is_simulated: bool, makes_inert: bool, language: Language) -> int:
    """One table in every format; gives the number of cells that were made inert."""
    write_parquet(table, folder / "parquet" / f"{table.name}.parquet", is_simulated=is_simulated)
    write_sav(table, folder / "sav" / f"{table.name}.sav", language, is_simulated=is_simulated)
    write_csv(table, folder / "csv-nl" / f"{table.name}.csv", FOR_DUTCH_EXCEL, makes_inert=makes_inert)
    return write_csv(table, folder / "csv" / f"{table.name}.csv", FOR_PROGRAMS, makes_inert=makes_inert)


def _metadata(about: metadata.About, catalogue: Catalogue) -> dict[str, str]:
    def as_json(content: object) -> str:
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"

    return {
        "codebook.html": rendered(
            TEMPLATES / "codebook.html.j2", about=about, policy=catalogue.policy, instrument=catalogue.instrument
        ),
        "codebook.csv": metadata.codebook_csv(metadata.codebook_rows(about, catalogue)),
        "datapackage.json": as_json(metadata.data_package(about)),
        "CITATION.cff": metadata.citation(about),
        "datacite.json": as_json(metadata.data_cite(about)),
        "ddi.xml": metadata.ddi(about).decode("utf-8"),
    }


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
