"""Metadata against schemas: DDI and DataCite as XML, deposits for archives; and the codebook to print."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from lxml import etree

from orchestration.releases import metadata
from orchestration.releases.catalogue import VariableType, labelled
from orchestration.releases.codebook_pdf import CannotBePrinted, codebook_pdf
from orchestration.releases.deposit import YODA_SCHEMA, NotAsReleased, write_deposits, yoda_metadata
from orchestration.releases.disclosure_scan import Allowed, may_leave, scan_folder
from tests.releases.making import DAY, SmallRelease, about, catalogue

SCHEMAS = Path(__file__).parent / "schemas"
SPACE = "{ddi:codebook:2_5}"


def ddi_grammar() -> Any:
    return etree.RelaxNG(etree.parse(str(SCHEMAS / "ddi-codebook-2.5-own.rng")))


def datacite_schema() -> Any:
    return etree.XMLSchema(etree.parse(str(SCHEMAS / "datacite-4.6" / "metadata.xsd")))


def ddi_document(one: metadata.About) -> Any:
    return etree.fromstring(metadata.ddi(one))


def few_tables(*types: VariableType) -> metadata.About:
    """Two tables; a column of each type at the end of the first."""
    whole = about()
    first, second = whole.tables[:2]
    plain = replace(first.variables[0], measure="scale", values={}, missing=())
    added = tuple(replace(plain, name=f"a_{type_}", type=type_) for type_ in types)
    return replace(whole, tables=(replace(first, variables=(*first.variables, *added)), second))


def test_the_ddi_of_a_release_follows_the_grammar(release: SmallRelease) -> None:
    grammar = ddi_grammar()
    assert grammar.validate(etree.parse(str(release.folder / "ddi.xml"))), grammar.error_log


# What the official schema refuses, and what it says in words or leaves to programs.
SPOILED: dict[str, Callable[[Any, Any, Any], None]] = {
    "the variables before the study": lambda root, var, file: root.insert(0, root.find(f"{SPACE}dataDscr")),
    "a second title": lambda root, var, file: _again(root.find(f".//{SPACE}titl")),
    "text between elements": lambda root, var, file: setattr(var, "tail", "x"),
    "a version with spaces": lambda root, var, file: root.set("version", " 2.5 "),
    "another version": lambda root, var, file: root.set("version", "2.6"),
    "two variables with one id": lambda root, var, file: _again(var),
    "a file with the id of another": lambda root, var, file: file.set("ID", "F2"),
    "a variable of a file that is not there": lambda root, var, file: var.set("files", "F9999"),
    "a variable of no file": lambda root, var, file: var.set("files", ""),
    "a variable of a variable": lambda root, var, file: var.set("files", "F1V2"),
    "a variable without a name": lambda root, var, file: var.attrib.pop("name"),
    "a nature that is not in the list": lambda root, var, file: var.set("nature", "scale"),
    "a nominal variable that is continuous": lambda root, var, file: var.attrib.update({"nature": "nominal", "intrvl": "contin"}),
    "a format by a vocabulary that is not named": lambda root, var, file: var.find(f"{SPACE}varFormat").set("schema", "other"),
    "a format of a kind that is not in the list": lambda root, var, file: var.find(f"{SPACE}varFormat").set("type", "date"),
}  # fmt: skip


def _again(element: Any) -> None:
    element.addnext(deepcopy(element))


@pytest.mark.parametrize("what", SPOILED)
def test_a_ddi_that_is_spoiled_does_not_follow_the_grammar(what: str) -> None:
    grammar = ddi_grammar()
    root = ddi_document(few_tables())
    assert grammar.validate(root), grammar.error_log
    SPOILED[what](root, root.find(f"{SPACE}dataDscr/{SPACE}var"), root.find(f"{SPACE}fileDscr"))
    # Read again: ids that were moved are known anew.
    assert not grammar.validate(etree.fromstring(etree.tostring(root)))


def test_the_ddi_says_which_columns_are_continuous_and_which_are_days() -> None:
    one = few_tables("text", "integer", "decimal", "boolean", "date")
    root = ddi_document(one)
    grammar = ddi_grammar()
    assert grammar.validate(root), grammar.error_log
    of = {var.get("name"): dict(var.find(f"{SPACE}varFormat").attrib) for var in root.iter(f"{SPACE}var")}
    assert of["a_date"] == {"type": "character", "schema": "ISO", "category": "date"}
    assert of["a_text"] == {"type": "character"}
    assert of["a_integer"] == of["a_decimal"] == of["a_boolean"] == {"type": "numeric"}
    said = [var.get("intrvl") for var in root.iter(f"{SPACE}var")]
    measured = [column.measure for table in one.tables for column in table.variables]
    assert said == ["contin" if measure == "scale" else "discrete" for measure in measured]
    assert {"contin", "discrete"} == set(said)


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


YODA_REFUSES: dict[str, dict[str, Any]] = {
    "a licence that is not in the list": {"License": "CC0"},
    "closed data with a licence of others": {"Data_Access_Restriction": "Closed", "License": "Creative Commons Zero v1.0 Universal"},
    "a discipline that is not in the list": {"Discipline": ["Law"]},
    "a language that is not in the list": {"Language": "en - Englisch"},
    "a class that is not in the list": {"Data_Classification": "Secret"},
    "data kept for ten thousand years": {"Retention_Period": 10_000},
    "half a year of keeping": {"Retention_Period": 0.5},
    "a title of 256 characters": {"Title": "x" * 256},
    "a description of 2701 characters": {"Description": "x" * 2701},
    "a key word of 256 characters": {"Keyword": ["x" * 256]},
    "no key word": {"Keyword": []},
    "no creator": {"Creator": []},
    "a field that Yoda does not know": {"Publisher": "x"},
    "a link with more than it may say": {"links": [{"rel": "describedby", "href": YODA_SCHEMA, "title": "x"}]},
    "another schema": {"links": [{"rel": "describedby", "href": "https://yoda.uu.nl/schemas/core-2/metadata.json"}]},
}  # fmt: skip


@pytest.mark.parametrize("what", YODA_REFUSES)
def test_what_yoda_would_refuse_does_not_follow_its_schema(what: str) -> None:
    schema = json.loads((SCHEMAS / "yoda-default-3-own.json").read_text(encoding="utf-8"))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yoda_metadata(about()) | YODA_REFUSES[what], schema)


@pytest.mark.parametrize(
    "changed",
    [
        {"Name": {"Family_Name": "x"}},
        {"Name": {"Given_Name": "x", "Family_Name": "x" * 256}},
        {"Name": {"Given_Name": "x", "Family_Name": "x", "Initials": "x"}},
        {"Affiliation": []},
        {"Affiliation": [{"Affiliation_Name": "x" * 256}]},
        {"Affiliation": [{"Affiliation_Name": "x", "City": "x"}]},
        {"Person_Identifier": [{"Name_Identifier": "x"}]},
        {"Role": "x"},
    ],
    ids=lambda changed: " ".join(changed),
)
def test_a_creator_that_yoda_would_refuse_does_not_follow_its_schema(changed: dict[str, Any]) -> None:
    schema = json.loads((SCHEMAS / "yoda-default-3-own.json").read_text(encoding="utf-8"))
    told = yoda_metadata(about())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(told | {"Creator": [told["Creator"][0] | changed]}, schema)


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


def test_the_printed_codebook_is_broken_into_lines_as_the_library_would_break_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = codebook_pdf(about(), catalogue())
    monkeypatch.setattr("orchestration.releases.codebook_pdf._lines", lambda *_: None)
    assert made == codebook_pdf(about(), catalogue())
    monkeypatch.undo()
    table = catalogue().tables[-1]
    long = labelled(table.variables[0], "x" * 200, {"nl": "two\nlines", "en": "x"})
    other = replace(about(), tables=(replace(table, variables=(long,)),))
    assert b"x" * 100 in codebook_pdf(other, catalogue())


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
