"""Puts together what researchers with a permission get: the tables in every format, the codebook, metadata, scripts, checksums.

Microdata: everything that is written here stays inside the zone. What may leave it is not made here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestration.files import folder_by_rename, write_atomically, write_json
from orchestration.hashing import content_hash, is_as_marked, sha256_file
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
from orchestration.releases.scripts import TEMPLATES, ReproducedModel, reproduced_model, scripts, text_of
from orchestration.releases.tables import ReleasedTable, imputed_sets, published, wide
from orchestration.trouble import Mendable
from orchestration.warehouse.versions import Version, verify

if TYPE_CHECKING:
    from orchestration.analysis.specification import Specification
    from orchestration.warehouse.diff import Difference

FORMATS = {"parquet": "parquet", "csv": "csv", "csv-nl": "csv", "sav": "sav"}
SUMS, INVENTORY, CHANGES, CRATE = "SHA256SUMS", "inventory.json", "CHANGELOG.md", "ro-crate-metadata.json"


class FolderDamaged(Mendable):
    """The files of a written folder are not those that its checksums say; names them."""


@dataclass(frozen=True)
class TableInventory:
    """One table of a release: rows, columns, the hash of its rows, which is the same whatever the format, and how many cells of it
    were made inert for spreadsheets."""

    name: str
    rows: int
    columns: int
    content_hash: str
    made_inert: int


@dataclass(frozen=True)
class Inventory:
    """What a release holds: its tables, its files (path -> SHA-256), and how many cells were made inert for spreadsheets."""

    tables: tuple[TableInventory, ...]
    files: Mapping[str, str]
    made_inert: int
    model_id: str | None


@dataclass(frozen=True)
class Spelling:
    """How a folder is spelled: `makes_inert` as in `formats.write_csv`; `language` is that of the labels in SPSS files."""

    makes_inert: bool
    language: Language = "nl"


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

    `fit` is the folder of a fit; `makes_inert` and `language` as in `Spelling`; `difference` is from the version of the
    release before. Raises VersionDamaged, NotDescribed, FitOfOtherRows, CannotBeWritten, and FileExistsError where there is
    something in `out` already.
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
    spelling = Spelling(makes_inert, language)
    with folder_by_rename(out) as aside:
        changes = text_of("CHANGELOG.md", about=about, difference=difference)
        write_atomically(aside / CHANGES, changes.encode("utf-8"))
        written = [write_table(table, aside, spelling, is_simulated=about.is_simulated) for table in released]
        return write_about(aside, about, written, by_name["client"], model, spelling, catalogue)


def write_table(table: ReleasedTable, folder: Path, spelling: Spelling, *, is_simulated: bool) -> TableInventory:
    """Write one table in every format into the folder of a release. Raises CannotBeWritten."""
    paths = {form: folder / path for form, path in table_files(table.name).items()}
    write_parquet(table, paths["parquet"], is_simulated=is_simulated)
    write_sav(table, paths["sav"], spelling.language, is_simulated=is_simulated)
    write_csv(table, paths["csv-nl"], FOR_DUTCH_EXCEL, makes_inert=spelling.makes_inert)
    changed = write_csv(table, paths["csv"], FOR_PROGRAMS, makes_inert=spelling.makes_inert)
    return TableInventory(table.name, table.rows.num_rows, table.rows.num_columns, content_hash(table.rows), changed)


def table_files(name: str) -> dict[str, str]:
    """Where the files of a table lie in the folder of a release, by format."""
    return {form: f"{form}/{name}.{ending}" for form, ending in FORMATS.items()}


def write_about(
    folder: Path,
    about: metadata.About,
    written: Sequence[TableInventory],
    client: ReleasedTable | None,
    model: ReproducedModel | None,
    spelling: Spelling,
    catalogue: Catalogue,
) -> Inventory:
    """Write everything that is said of the tables that lie in a folder: codebook, metadata, scripts, and checksums last.

    `client` is what Table 1 counts and `model` what the scripts fit again, None where the folder does not hold it.
    """
    heading = f"{SIMULATED + '. ' if about.is_simulated else ''}Release {about.tag}, version {about.version_id}, fit {about.fit_id}."
    texts = {f"scripts/{name}": text for name, text in scripts(client, model, heading).items()}
    changed = sum(one.made_inert for one in written)
    texts["README.md"] = text_of("README.md", about=about, spelling=spelling, changed=changed, has_scripts=bool(texts))
    for name, text in (texts | _metadata(about, catalogue)).items():
        write_atomically(folder / name, text.encode("utf-8"))
    write_json(
        folder / INVENTORY,
        {
            "tag": about.tag, "version_id": about.version_id, "fit_id": about.fit_id, "simulated": about.is_simulated,
            "released_on": about.released_on.isoformat(), "registry_cutoff_on": about.registry_cutoff_on,
            "tables": [asdict(one) for one in written], "made_inert": changed,
            "model_id": model.model_id if model else None, "model": _said(model),
            "spelling": asdict(spelling),
        },
    )  # fmt: skip
    sizes = {name: (folder / name).stat().st_size for name in _files(folder)}
    write_json(folder / CRATE, metadata.ro_crate(about, sizes))
    files = {name: sha256_file(folder / name) for name in _files(folder)}
    write_atomically(folder / SUMS, "".join(f"{mark}  {name}\n" for name, mark in files.items()).encode())
    return Inventory(tuple(written), files, changed, model.model_id if model else None)


def _said(model: ReproducedModel | None) -> dict[str, Any] | None:
    # Pairs, since the keys of JSON are put in order.
    return {**asdict(model), "columns": list(model.columns.items())} if model else None


def read_sums(folder: Path) -> dict[str, str]:
    """The checksums that a written folder says (path -> SHA-256). Raises FolderDamaged where it says none."""
    path = folder / SUMS
    if not path.is_file():
        raise FolderDamaged(f"{folder.name} has no {SUMS}: it is no folder of a release, or not a whole one")
    pairs = (line.split("  ", 1) for line in path.read_text(encoding="utf-8").splitlines())
    return {name: mark for mark, name in pairs}


def verify_written(folder: Path) -> dict[str, str]:
    """Hold every file of a written folder against its checksums, and give these. Raises FolderDamaged: a file that differs, is
    gone, or was put there."""
    said = read_sums(folder)
    there = {name for name in _files(folder) if name != SUMS}
    differs = sorted(name for name, mark in said.items() if not is_as_marked(folder / name, mark))
    added = sorted(there - set(said))
    if differs or added:
        raise FolderDamaged(
            f"{folder.name}: {len(differs)} file(s) are not as they were written, {len(added)} were put there: "
            f"{', '.join([*differs, *added][:5])}; hand nothing over from it"
        )  # fmt: skip
    return said


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
