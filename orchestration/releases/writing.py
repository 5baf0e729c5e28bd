"""The one writer of a folder of tables: every format, codebook, metadata, scripts, checksums. A release, its synthetic twin and what is
handed over of it all go through it. Which tables they are, and of whom, is decided by `zone`, `twin` and `handover`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from orchestration.files import folder_by_rename, write_atomically, write_json
from orchestration.hashing import content_hash, is_as_marked, sha256_file
from orchestration.pages import rendered
from orchestration.releases import metadata
from orchestration.releases.catalogue import Catalogue
from orchestration.releases.codebook_pdf import codebook_pdf
from orchestration.releases.formats import (
    EXCEL_LINES,
    FOR_DUTCH_EXCEL,
    FOR_PROGRAMS,
    Language,
    Mark,
    write_csv,
    write_parquet,
    write_sav,
)
from orchestration.releases.scripts import TEMPLATES, ReproducedModel, scripts, text_of
from orchestration.releases.tables import ReleasedTable, StoredTable
from orchestration.trouble import Mendable

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


@dataclass(frozen=True)
class Content:
    """What is to be written; a table that is stored is read when its turn comes. `beside`: further files, path -> bytes; `has_filter`: the codebook may have a script that filters it."""

    about: metadata.About
    catalogue: Catalogue
    tables: Sequence[ReleasedTable | StoredTable]
    model: ReproducedModel | None
    spelling: Spelling
    beside: Mapping[str, bytes] = field(default_factory=dict)
    has_filter: bool = True


def write_folder(content: Content, out: Path) -> Inventory:
    """Write everything into `out`, which is not there yet, whole or not at all. Raises CannotBeWritten, and FileExistsError where there is something."""
    if out.exists():
        raise FileExistsError(f"{out.name} is there already: a release is written once")
    client = next(table for table in content.tables if table.name == "client")
    client = client.read() if isinstance(client, StoredTable) else client
    with folder_by_rename(out) as aside:
        for name, said in content.beside.items():
            write_atomically(aside / name, said)
        written = [write_table(table, aside, content.spelling, mark=content.about.mark) for table in content.tables]
        return write_about(
            aside, content.about, written, client, content.model, content.spelling, content.catalogue, has_filter=content.has_filter
        )  # fmt: skip


def write_table(table: ReleasedTable | StoredTable, folder: Path, spelling: Spelling, *, mark: Mark) -> TableInventory:
    """Write one table in every format that holds it into the folder of a release. Raises CannotBeWritten."""
    paths = {form: folder / path for form, path in table_files(table.name, table.n_rows).items()}
    write_sav(table, paths["sav"], spelling.language, mark=mark)
    if isinstance(table, StoredTable):
        table = table.read(has_dictionaries=True)
    write_parquet(table, paths["parquet"], mark=mark)
    if "csv-nl" in paths:
        write_csv(table, paths["csv-nl"], FOR_DUTCH_EXCEL, makes_inert=spelling.makes_inert)
    changed = write_csv(table, paths["csv"], FOR_PROGRAMS, makes_inert=spelling.makes_inert)
    return TableInventory(table.name, table.rows.num_rows, table.rows.num_columns, content_hash(table.rows), changed)


def table_files(name: str, rows: int) -> dict[str, str]:
    """The files of a table of so many rows in the folder of a release, by format; none for Excel where no sheet holds the rows."""
    return {
        form: f"{form}/{name}.{ending}" for form, ending in FORMATS.items() if form != "csv-nl" or rows < EXCEL_LINES
    }


def files_of(name: str, sums: Mapping[str, str]) -> list[str]:
    """The files of a table in a folder that was written, by its checksums."""
    return [path for path in table_files(name, 0).values() if path in sums]


def write_about(
    folder: Path,
    about: metadata.About,
    written: Sequence[TableInventory],
    client: ReleasedTable | None,
    model: ReproducedModel | None,
    spelling: Spelling,
    catalogue: Catalogue,
    *,
    has_filter: bool = True,
) -> Inventory:
    """Write everything that is said of the tables that lie in a folder: codebook, metadata, scripts, and checksums last.

    `client` is what Table 1 counts and `model` what the scripts fit again, None where the folder does not hold it.
    """
    heading = (
        f"{about.mark + '. ' if about.mark else ''}Release {about.tag}, version {about.version_id}, fit {about.fit_id}."
    )
    texts = {f"scripts/{name}": text for name, text in scripts(client, model, heading).items()}
    changed = sum(one.made_inert for one in written)
    beyond_excel = [one.name for one in written if not (folder / table_files(one.name, 0)["csv-nl"]).is_file()]
    texts["README.md"] = text_of(
        "README.md", about=about, spelling=spelling, changed=changed, has_scripts=bool(texts), beyond_excel=beyond_excel
    )
    for name, text in (texts | _metadata(about, catalogue, has_filter)).items():
        write_atomically(folder / name, text.encode("utf-8"))
    write_atomically(folder / "codebook.pdf", codebook_pdf(about, catalogue))
    write_json(
        folder / INVENTORY,
        {
            "tag": about.tag, "version_id": about.version_id, "fit_id": about.fit_id, "simulated": about.is_simulated,
            "synthetic": about.is_synthetic, "released_on": about.released_on.isoformat(), "registry_cutoff_on": about.registry_cutoff_on,
            "tables": [asdict(one) for one in written], "made_inert": changed,
            "model_id": model.model_id if model else None, "model": _said(model),
            "spelling": asdict(spelling),
        },
    )  # fmt: skip
    sizes = {name: (folder / name).stat().st_size for name in _files(folder)}
    write_json(folder / CRATE, metadata.ro_crate(about, sizes))
    _require_all(folder, written)
    files = {name: sha256_file(folder / name) for name in _files(folder)}
    write_atomically(folder / SUMS, "".join(f"{mark}  {name}\n" for name, mark in files.items()).encode())
    return Inventory(tuple(written), files, changed, model.model_id if model else None)


def _require_all(folder: Path, written: Sequence[TableInventory]) -> None:
    """Whoever clears a folder while it is filled leaves what is written afterwards: its checksums would hold."""
    gone = [
        one.name
        for one in written
        if not all((folder / path).is_file() for path in table_files(one.name, one.rows).values())
    ]
    if gone:
        raise FolderDamaged(
            f"{len(gone)} of {len(written)} table(s) went while the folder was written, and nothing is kept of it: "
            f"{', '.join(gone[:5])}; write it again when nobody else writes to the home"
        )


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


def _metadata(about: metadata.About, catalogue: Catalogue, has_filter: bool) -> dict[str, str]:
    def as_json(said: object) -> str:
        return json.dumps(said, indent=1, ensure_ascii=False) + "\n"

    return {
        "codebook.html": rendered(
            TEMPLATES / "codebook.html.j2", about=about, policy=catalogue.policy, instrument=catalogue.instrument,
            has_filter=has_filter,
        ),
        "codebook.csv": metadata.codebook_csv(metadata.codebook_rows(about, catalogue)),
        "datapackage.json": as_json(metadata.data_package(about)),
        "CITATION.cff": metadata.citation(about),
        "datacite.json": as_json(metadata.data_cite(about)),
        "datacite.xml": metadata.data_cite_xml(about).decode("utf-8"),
        "ddi.xml": metadata.ddi(about).decode("utf-8"),
    }  # fmt: skip


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
