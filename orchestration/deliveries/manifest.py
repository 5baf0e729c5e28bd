"""The manifest of a delivery: what it must say, and whether the files are what it says."""

from __future__ import annotations

import hashlib
import json
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from orchestration.deliveries.contracts import Organisation
from orchestration.deliveries.judgement import Judgement, Refused, failed
from orchestration.deliveries.periods import is_period
from orchestration.hashing import sha256_file

MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 1_000_000


class NotADelivery(ValueError):
    """The folder is not a delivery: it has no manifest, or nobody known sent it."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class ManifestFile(_Model):
    name: str
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    encoding: str | None = None
    delimiter: str | None = None
    decimal: str | None = None
    date_format: str | None = None


class ManifestTable(_Model):
    table: str
    file: str
    sheet: str | None = None
    rows: int = Field(ge=0)


class ManifestDeletion(_Model):
    table: str
    keys: tuple[dict[str, str], ...]


class Manifest(_Model):
    """The manifest's content; `sha256` of its bytes is the delivery's identity."""

    organisation: str
    period: str
    delivery_id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")
    sequence: int = Field(ge=0, le=999_999)
    supersedes: str | None = None
    created_at: str
    schema_version: str
    contact: str
    cutoff_on: date | None = None
    files: tuple[ManifestFile, ...]
    tables: tuple[ManifestTable, ...]
    deletions: tuple[ManifestDeletion, ...] = ()

    def file(self, name: str) -> ManifestFile:
        return next(file for file in self.files if file.name == name)

    def table(self, name: str) -> ManifestTable:
        return next(table for table in self.tables if table.table == name)


def manifest_hash(delivery: Path) -> str:
    """The identity of a delivery: SHA-256 of its manifest. Raises NotADelivery when there is none."""
    path = delivery / MANIFEST
    if not path.is_file() or path.is_symlink():
        raise NotADelivery(f"{delivery.name}: there is no {MANIFEST} here; a delivery is a folder with its manifest")
    with path.open("rb") as stream:
        return hashlib.sha256(stream.read(MAX_MANIFEST_BYTES + 1)).hexdigest()


def read_manifest(delivery: Path) -> Manifest:
    """Read a delivery's manifest. Raises Refused (`manifest.unreadable`) without repeating what it holds."""
    with (delivery / MANIFEST).open("rb") as stream:
        return parse_manifest(stream.read(MAX_MANIFEST_BYTES + 1))


def parse_manifest(content: bytes) -> Manifest:
    """The manifest that these bytes are. Raises Refused (`manifest.unreadable`) without repeating what they hold."""
    if len(content) > MAX_MANIFEST_BYTES:
        raise Refused(failed("manifest.unreadable", place=MANIFEST, expected=f"at most {MAX_MANIFEST_BYTES} bytes"))
    try:
        said = json.loads(content.decode("utf-8"), object_pairs_hook=_each_once, parse_constant=_no_number)
        return Manifest.model_validate(said)
    except ValidationError as error:
        fields = sorted({_field(item["loc"]) for item in error.errors()})
        raise Refused(failed("manifest.unreadable", place=MANIFEST, expected=", ".join(fields[:5]))) from None
    except (UnicodeDecodeError, ValueError, RecursionError):
        raise Refused(failed("manifest.unreadable", place=MANIFEST, expected="JSON in UTF-8")) from None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose names are each given once: of two, readers take different ones."""
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a name is given twice")
    return content


def _no_number(_: str) -> None:
    raise ValueError("NaN and Infinity are not JSON")


def _field(location: tuple[int | str, ...]) -> str:
    """Where in a manifest something is wrong; a name that we did not give is partner-made text and is not repeated."""
    ours = {name for model in (Manifest, ManifestFile, ManifestTable, ManifestDeletion) for name in model.model_fields}
    return ".".join(str(part) if isinstance(part, int) or part in ours else "(unknown field)" for part in location)


def agreed_names(organisation: Organisation) -> set[str]:
    """The names that files of an organisation may have: one for each table, or the agreed workbook."""
    names = set()
    for form, terms in organisation.forms.items():
        names |= (
            {terms["workbook"]} if "workbook" in terms else {f"{table.name}.{form}" for table in organisation.tables}
        )
    return names


def verify(delivery: Path, manifest: Manifest, organisation: Organisation) -> None:
    """Hold manifest and files against each other and the contract, before anything is read. Raises Refused."""
    found = [*_promises(manifest, organisation), *_files(delivery, manifest, organisation)]
    if found:
        raise Refused(*found)


def _promises(manifest: Manifest, organisation: Organisation) -> list[Judgement]:
    found = []
    if manifest.organisation != organisation.name or not is_period(manifest.period, organisation.cadence):
        found.append(failed("manifest.place", place=MANIFEST))
    if manifest.schema_version not in (organisation.schema_version, *organisation.earlier_versions):
        found.append(failed("manifest.schema_version", place=MANIFEST, expected=organisation.schema_version))
    promised = sorted(table.name for table in organisation.tables)
    if sorted(table.table for table in manifest.tables) != promised:
        found.append(failed("manifest.tables", place=MANIFEST, expected=", ".join(promised)))
    if {table.file for table in manifest.tables} - {file.name for file in manifest.files}:
        found.append(failed("manifest.tables", place=MANIFEST, expected="each table in a declared file"))
    if organisation.kind == "registry" and (
        manifest.cutoff_on is None or str(manifest.cutoff_on.year) != manifest.period
    ):
        found.append(failed("manifest.cutoff", place=MANIFEST))
    if organisation.kind != "registry" and manifest.cutoff_on is not None:
        found.append(failed("manifest.cutoff", place=MANIFEST, expected="none"))
    if any(table.rows > organisation.limits.rows for table in manifest.tables):
        found.append(failed("file.too_large", place=MANIFEST, expected=f"at most {organisation.limits.rows} rows"))
    found.extend(_deletions(manifest, organisation))
    agreed = agreed_names(organisation)
    for file in manifest.files:
        if file.name not in agreed:
            continue
        form = organisation.forms.get(file.name.rpartition(".")[2].lower())
        declared = {
            key: form.get(key) for key in ("encoding", "delimiter", "decimal", "date_format")
        } if form is not None else None  # fmt: skip
        actual = {key: getattr(file, key) for key in ("encoding", "delimiter", "decimal", "date_format")}
        if declared != actual:
            found.append(failed("manifest.form", place=file.name, expected=", ".join(organisation.forms)))
    return found


def _deletions(manifest: Manifest, organisation: Organisation) -> list[Judgement]:
    tables = {table.name: table for table in organisation.as_of(manifest.schema_version).tables}
    wrong = 0
    for entry in manifest.deletions:
        table = tables.get(entry.table)
        if table is None:
            wrong += 1
            continue
        columns = [table.column(name) for name in table.key]
        wrong += sum(
            len(given) != len(columns) or any(not {column.source, column.name} & set(given) for column in columns)
            for given in entry.keys
        )
    return [failed("manifest.deletions", place=MANIFEST, failed=wrong)] if wrong else []


def _files(delivery: Path, manifest: Manifest, organisation: Organisation) -> list[Judgement]:
    found = []
    agreed = agreed_names(organisation)
    names = [file.name for file in manifest.files]
    if len(set(names)) != len(names):
        found.append(failed("file.name", place=MANIFEST, expected="each file once"))
    for file in manifest.files:
        if file.name not in agreed:
            found.append(failed("file.name", place=MANIFEST, expected="a file for each table, named as agreed"))
            continue
        path = delivery / file.name
        if path.is_symlink() or (path.exists() and not path.is_file()):
            found.append(failed("file.name", place=file.name))
        elif not path.is_file():
            found.append(failed("file.missing", place=file.name))
        elif path.stat().st_size > organisation.limits.file_bytes:
            found.append(
                failed("file.too_large", place=file.name, expected=f"at most {organisation.limits.file_bytes} bytes")
            )
        elif path.stat().st_size != file.bytes:
            found.append(failed("file.size", place=file.name, expected=f"{file.bytes} bytes"))
        elif sha256_file(path) != file.sha256:
            found.append(failed("file.hash", place=file.name))
    extra = sorted(path.name for path in delivery.iterdir() if path.name not in {*names, MANIFEST})
    if extra:
        found.append(failed("file.undeclared", place=MANIFEST, failed=len(extra)))
    return found
