"""The one writer of a folder of tables: every format, codebook, metadata, scripts, checksums; whole or not at all. The release and its
synthetic twin both go through it. Which tables they are, and of whom, is decided by `zone` and `twin`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestration.files import folder_by_rename, write_atomically, write_json
from orchestration.hashing import content_hash, sha256_file
from orchestration.pages import rendered
from orchestration.releases import metadata
from orchestration.releases.catalogue import Catalogue
from orchestration.releases.codebook_pdf import codebook_pdf
from orchestration.releases.formats import (
    FOR_DUTCH_EXCEL,
    FOR_PROGRAMS,
    Language,
    Mark,
    write_csv,
    write_parquet,
    write_sav,
)
from orchestration.releases.scripts import TEMPLATES, ReproducedModel, scripts, text_of
from orchestration.releases.tables import ReleasedTable

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


@dataclass(frozen=True)
class Content:
    """What is to be written. `beside`: further files, path -> bytes; `has_filter`: the codebook may have a script that filters it."""

    about: metadata.About
    catalogue: Catalogue
    tables: Sequence[ReleasedTable]
    model: ReproducedModel | None
    makes_inert: bool
    language: Language
    beside: Mapping[str, bytes] = field(default_factory=dict)
    has_filter: bool = True


def write_folder(content: Content, out: Path) -> Inventory:
    """Write everything into `out`, which is not there yet. Raises CannotBeWritten, and FileExistsError where there is something."""
    if out.exists():
        raise FileExistsError(f"{out.name} is there already: a release is written once")
    about, tables = content.about, content.tables
    client = next(table for table in tables if table.name == "client")
    heading = (
        f"{about.mark + '. ' if about.mark else ''}Release {about.tag}, version {about.version_id}, fit {about.fit_id}."
    )
    with folder_by_rename(out) as aside:
        changed = sum(_write_table(table, aside, about.mark, content.makes_inert, content.language) for table in tables)
        texts = {f"scripts/{name}": text for name, text in scripts(client, content.model, heading).items()}
        texts |= _metadata(content)
        texts["README.md"] = text_of(
            "README.md", about=about, language=content.language, makes_inert=content.makes_inert, changed=changed
        )
        files = {name: text.encode("utf-8") for name, text in texts.items()} | dict(content.beside)
        files["codebook.pdf"] = codebook_pdf(about, content.catalogue)
        for name, text in files.items():
            write_atomically(aside / name, text)
        listed = tuple(
            TableInventory(table.name, table.rows.num_rows, table.rows.num_columns, content_hash(table.rows)) for table in tables
        )  # fmt: skip
        model_id = content.model.model_id if content.model else None
        write_json(
            aside / INVENTORY,
            {
                "tag": about.tag, "version_id": about.version_id, "fit_id": about.fit_id, "simulated": about.is_simulated,
                "synthetic": about.is_synthetic, "tables": [one.__dict__ for one in listed], "made_inert": changed,
                "model_id": model_id,
            },
        )  # fmt: skip
        sizes = {name: (aside / name).stat().st_size for name in _files(aside)}
        write_json(aside / "ro-crate-metadata.json", metadata.ro_crate(about, sizes))
        sums = {name: sha256_file(aside / name) for name in _files(aside)}
        write_atomically(aside / SUMS, "".join(f"{mark}  {name}\n" for name, mark in sums.items()).encode())
    return Inventory(listed, sums, changed, model_id)


def _write_table(table: ReleasedTable, folder: Path, mark: Mark, makes_inert: bool, language: Language) -> int:
    """One table in every format; gives the number of cells that were made inert."""
    write_parquet(table, folder / "parquet" / f"{table.name}.parquet", mark=mark)
    write_sav(table, folder / "sav" / f"{table.name}.sav", language, mark=mark)
    write_csv(table, folder / "csv-nl" / f"{table.name}.csv", FOR_DUTCH_EXCEL, makes_inert=makes_inert)
    return write_csv(table, folder / "csv" / f"{table.name}.csv", FOR_PROGRAMS, makes_inert=makes_inert)


def _metadata(content: Content) -> dict[str, str]:
    def as_json(said: object) -> str:
        return json.dumps(said, indent=1, ensure_ascii=False) + "\n"

    about, catalogue = content.about, content.catalogue
    return {
        "codebook.html": rendered(
            TEMPLATES / "codebook.html.j2", about=about, policy=catalogue.policy, instrument=catalogue.instrument,
            has_filter=content.has_filter,
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
