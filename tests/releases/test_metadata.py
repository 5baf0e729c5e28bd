"""Metadata against schemas: DDI and DataCite as XML, deposits for archives; and the codebook to print."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from lxml import etree

from orchestration.releases import metadata
from orchestration.releases.catalogue import labelled
from orchestration.releases.codebook_pdf import CannotBePrinted, codebook_pdf
from orchestration.releases.deposit import NotAsReleased, write_deposits, yoda_metadata
from orchestration.releases.disclosure_scan import Allowed, may_leave, scan_folder
from tests.releases.making import DAY, SmallRelease, catalogue

SCHEMAS = Path(__file__).parent / "schemas"


def about(*, is_synthetic: bool = False) -> metadata.About:
    """A release of every published table, a row in each."""
    tables = catalogue().tables
    return metadata.About(
        tag="2026.1.0", released_on=DAY, version_id="0f", fit_id="0e", is_simulated=True, registry_cutoff_on="2025-12-31",
        study=metadata.read_study(of_twin=is_synthetic), tables=tables, rows={table.name: 1 for table in tables},
        is_synthetic=is_synthetic,
    )  # fmt: skip


def ddi_grammar() -> Any:
    return etree.RelaxNG(etree.parse(str(SCHEMAS / "ddi-codebook-2.5-own.rng")))


def datacite_schema() -> Any:
    return etree.XMLSchema(etree.parse(str(SCHEMAS / "datacite-4.6" / "metadata.xsd")))


def test_the_ddi_of_a_release_follows_the_grammar_and_what_breaks_it_does_not(release: SmallRelease) -> None:
    grammar = ddi_grammar()
    document = etree.parse(str(release.folder / "ddi.xml"))
    assert grammar.validate(document), grammar.error_log
    space = "{ddi:codebook:2_5}"
    root = document.getroot()
    root.insert(0, root.find(f"{space}dataDscr"))
    assert not grammar.validate(document)
    again = etree.parse(str(release.folder / "ddi.xml"))
    again.getroot().find(f"{space}dataDscr/{space}var").set("files", "F9999")
    assert not grammar.validate(again)


def test_the_datacite_xml_follows_the_schema_of_datacite_and_says_what_the_json_says(release: SmallRelease) -> None:
    schema = datacite_schema()
    document = etree.parse(str(release.folder / "datacite.xml"))
    assert schema.validate(document), schema.error_log
    space = {"d": metadata.DATACITE}
    told = json.loads((release.folder / "datacite.json").read_text(encoding="utf-8"))
    assert document.findtext("d:version", namespaces=space) == told["version"]
    assert [one.text for one in document.findall("d:titles/d:title", space)] == [one["title"] for one in told["titles"]]
    assert document.find("d:rightsList/d:rights", space).get("rightsURI") == f"{metadata.ACCESS}restrictedAccess"
    document.getroot().remove(document.find("d:publisher", space))
    assert not schema.validate(document)


@pytest.mark.parametrize("is_synthetic", [False, True])
def test_what_yoda_is_told_follows_its_schema_and_says_who_may_see_it(is_synthetic: bool) -> None:
    told = yoda_metadata(about(is_synthetic=is_synthetic))
    schema = json.loads((SCHEMAS / "yoda-default-3-own.json").read_text(encoding="utf-8"))
    jsonschema.validate(told, schema)
    assert told["Data_Access_Restriction"].startswith("Open" if is_synthetic else "Restricted")
    assert told["Title"].startswith("SYNTHETIC" if is_synthetic else "SIMULATED")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(told | {"Data_Access_Restriction": "Closed", "License": "CC0"}, schema)


def test_a_deposit_lists_every_file_as_released_and_holds_no_row(release: SmallRelease, tmp_path: Path) -> None:
    dans, yoda = write_deposits(about(), release.folder, tmp_path / "deposits")
    assert {path.name for path in dans.iterdir()} == {"ddi.xml", "datacite.xml", "datacite.json", "files.csv"}
    assert {path.name for path in yoda.iterdir()} == {"yoda-metadata.json", "files.csv"}
    assert ddi_grammar().validate(etree.parse(str(dans / "ddi.xml")))
    assert datacite_schema().validate(etree.parse(str(dans / "datacite.xml")))
    with (dans / "files.csv").open(encoding="utf-8", newline="") as stream:
        listed = list(csv.DictReader(stream))
    assert {one["path"]: one["sha256"] for one in listed} == dict(release.inventory.files)
    assert {one["access"] for one in listed} == {"restricted"}


def test_files_that_are_not_as_released_are_not_deposited(release: SmallRelease, tmp_path: Path) -> None:
    folder = tmp_path / "release"
    shutil.copytree(release.folder, folder)
    (folder / "README.md").write_text("x", encoding="utf-8")
    (folder / "csv" / "client.csv").unlink()
    with pytest.raises(NotAsReleased, match="2 of"):
        write_deposits(about(), folder, tmp_path / "deposits")
    assert not (tmp_path / "deposits").exists()


def test_the_printed_codebook_names_every_column_of_the_release_and_can_be_read_whole(
    release: SmallRelease, tmp_path: Path
) -> None:
    content = (release.folder / "codebook.pdf").read_bytes()
    text = content.decode("cp1252", "replace")
    for path in (release.folder / "csv").iterdir():
        assert f"({path.stem})" in text
    with (release.folder / "codebook.csv").open(encoding="utf-8", newline="") as stream:
        assert all(row["column"] in text for row in csv.DictReader(stream))
    assert text.count("SIMULATED. Codebook of 2026.1.0, page") > 10
    (tmp_path / "codebook.pdf").write_bytes(content)
    assert may_leave(scan_folder(tmp_path, Allowed(dates=frozenset({DAY.isoformat(), "2025-12-31"}))))


def test_the_printed_codebook_has_the_same_bytes_again_and_refuses_what_it_cannot_print() -> None:
    small = replace(about(), tables=catalogue().tables[-1:])
    assert codebook_pdf(small, catalogue()) == codebook_pdf(small, catalogue())
    table = small.tables[0]
    other = labelled(table.variables[0], "x", {"nl": "\u0442\u0430\u0439", "en": "x"})
    with pytest.raises(CannotBePrinted, match="3 character"):
        codebook_pdf(replace(small, tables=(replace(table, variables=(other,)),)), catalogue())


HIDING = {
    "a packed stream": b"<</Filter /FlateDecode>>",
    "an attachment": b"<</Type /EmbeddedFile>>",
    "a script": b"<</S /JavaScript /JS (app.alert(1))>>",
    "a link": b"<</S /URI /URI (x)>>",
    "a pseudonym": b"(0123456789abcdef0123456789abcdef) Tj",
    "a date": b"(17-03-1984) Tj",
}


@pytest.mark.parametrize("what", HIDING)
def test_a_pdf_that_hides_something_does_not_leave(what: str, tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.4\n1 0 obj\n" + HIDING[what] + b"\nendobj\n%%EOF\n")
    assert not may_leave(scan_folder(tmp_path))
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.4\n1 0 obj\n(plain) Tj\nendobj\n%%EOF\n")
    assert may_leave(scan_folder(tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        '<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" />',
        '<?xml version="1.0"?>\n<other xmlns="ddi:codebook:2_5" />',
        '<?xml version="1.0"?>\n<codeBook xmlns="ddi:codebook:2_5"><svg /></codeBook>',
        '<?xml version="1.0"?>\n<!DOCTYPE codeBook [<!ENTITY a "b">]>\n<codeBook xmlns="ddi:codebook:2_5" />',
        '<?xml version="1.0"?>\n<codeBook xmlns="ddi:codebook:2_5"><!-- hidden --></codeBook>',
    ],
    ids=["drawing", "unknown root", "drawing within", "entities", "comment"],
)
def test_xml_that_is_no_description_does_not_leave(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(text, encoding="utf-8")
    assert not may_leave(scan_folder(tmp_path))
    (tmp_path / "a.xml").write_bytes(metadata.ddi(about()))
    assert may_leave(scan_folder(tmp_path, Allowed(dates=frozenset({DAY.isoformat()}))))


def test_an_spss_file_leaves_only_where_its_rows_are_of_nobody(release: SmallRelease, tmp_path: Path) -> None:
    shutil.copy(release.folder / "sav" / "outcome_definition.sav", tmp_path / "a.sav")
    assert not may_leave(scan_folder(tmp_path))
    assert may_leave(scan_folder(tmp_path, Allowed(synthetic=frozenset({"a.sav"}))))
    shutil.copy(release.folder / "sav" / "client.sav", tmp_path / "a.sav")
    assert not may_leave(scan_folder(tmp_path, Allowed(synthetic=frozenset({"a.sav"}))))
