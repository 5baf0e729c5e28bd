"""What would be given to an archive with a release: metadata, and the list of files with their checksums and who may see them. A dry
run: no row of data is copied, and nothing is sent. DANS Data Station takes DDI and DataCite, Yoda takes `yoda-metadata.json`.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestration.files import folder_by_rename, write_atomically
from orchestration.hashing import is_as_marked
from orchestration.releases import metadata
from orchestration.releases.metadata import About
from orchestration.releases.writing import SUMS
from orchestration.trouble import Mendable

YODA_SCHEMA = "https://yoda.uu.nl/schemas/default-3/metadata.json"
YODA_ACCESS = {"restricted": "Restricted - available upon request", "open": "Open - freely retrievable"}
YODA_CLASS = {"restricted": "Critical", "open": "Public"}
LICENCE = "Custom"  # what Yoda calls terms of one's own


class NotAsReleased(Mendable):
    """Files of a release are missing, or not as its checksums say; names them."""


@dataclass(frozen=True)
class Deposit:
    """What would be deposited at one archive: its metadata, name -> bytes, and the files of the release, path -> SHA-256."""

    archive: str
    metadata: Mapping[str, bytes]
    files: Mapping[str, str]


def yoda_metadata(about: About) -> dict[str, Any]:
    """`yoda-metadata.json` by the default schema (3). Yoda asks for persons: an organisation stands as a family name until people are named."""
    study = about.study
    return {
        "links": [{"rel": "describedby", "href": YODA_SCHEMA}],
        "Title": about.title, "Description": " ".join(part for part in (about.warning, study.abstract["en"]) if part),
        "Discipline": [study.discipline], "Version": about.tag, "Language": "en - English",
        "Keyword": list(study.keywords), "Data_Type": "Dataset", "Data_Classification": YODA_CLASS[study.access_level],
        "Retention_Period": study.retention_years,
        "Creator": [
            {
                "Name": {"Given_Name": "(organisation)", "Family_Name": name},
                "Affiliation": [{"Affiliation_Name": study.publisher}],
            }
            for name in study.creators
        ],
        "Data_Access_Restriction": YODA_ACCESS[study.access_level], "License": LICENCE,
        "Remarks": study.access["en"],
    }  # fmt: skip


def deposits(about: About, folder: Path) -> list[Deposit]:
    """One for each archive, of a written folder. Raises NotAsReleased when a file is not as its checksums say."""
    sums = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    files = {name: mark for mark, _, name in (line.partition("  ") for line in sums)}
    spoiled = [name for name, mark in files.items() if not is_as_marked(folder / name, mark)]
    if spoiled:
        raise NotAsReleased(
            f"{len(spoiled)} of {len(files)} files are missing or not as released: {', '.join(spoiled[:10])}; release again"
        )
    cited = {
        "ddi.xml": metadata.ddi(about),
        "datacite.xml": metadata.data_cite_xml(about),
        "datacite.json": _json(metadata.data_cite(about)),
    }
    return [Deposit("dans", cited, files), Deposit("yoda", {"yoda-metadata.json": _json(yoda_metadata(about))}, files)]


def write_deposits(about: About, folder: Path, out: Path) -> list[Path]:
    """Write a folder for each archive below `out`, which is not there yet: metadata, and `files.csv` with path, checksum and access.

    Returns those folders. Nothing is sent anywhere. Raises NotAsReleased.
    """
    found = deposits(about, folder)
    with folder_by_rename(out) as aside:
        for one in found:
            for name, content in one.metadata.items():
                write_atomically(aside / one.archive / name, content)
            write_atomically(aside / one.archive / "files.csv", _files(one, about.study.access_level))
    return [out / one.archive for one in found]


def _files(deposit: Deposit, access: str) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "sha256", "access"])
    writer.writerows([name, mark, access] for name, mark in sorted(deposit.files.items()))
    return text.getvalue().encode("utf-8")


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode("utf-8")
