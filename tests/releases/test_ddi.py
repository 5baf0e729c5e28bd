"""The command that holds documents of releases against a schema (XSD) that somebody has: here small ones, written by the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.releases.ddi import main

# Two elements of DDI; the language comes from a schema of its own, which is imported as the official one imports others.
SCHEMA = """<?xml version="1.0"?>
<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="ddi:codebook:2_5" elementFormDefault="qualified">
  <xs:import namespace="http://www.w3.org/XML/1998/namespace" schemaLocation="{at}"/>
  <xs:element name="codeBook">
    <xs:complexType>
      <xs:sequence>{content}</xs:sequence>
      <xs:attribute name="version" type="xs:string" fixed="2.5"/>
      <xs:attribute ref="xml:lang" use="required"/>
    </xs:complexType>
  </xs:element>
</xs:schema>
"""
LANGUAGE = """<?xml version="1.0"?>
<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="http://www.w3.org/XML/1998/namespace">
  <xs:attribute name="lang" type="xs:language"/>
</xs:schema>
"""
TITLES = '<xs:element name="titl" type="xs:int" maxOccurs="unbounded"/>'
ANYTHING = '<xs:any processContents="skip" maxOccurs="unbounded"/>'


def write_schema(folder: Path, content: str = TITLES, at: str = "xml.xsd") -> Path:
    (folder / "xml.xsd").write_text(LANGUAGE, encoding="utf-8")
    path = folder / "codebook.xsd"
    path.write_text(SCHEMA.format(content=content, at=at), encoding="utf-8")
    return path


def write_document(folder: Path, *titles: str, lang: str = "en") -> Path:
    path = folder / "ddi.xml"
    lines = "\n".join(f"<titl>{title}</titl>" for title in titles)
    path.write_text(
        f'<codeBook xmlns="ddi:codebook:2_5" version="2.5" xml:lang="{lang}">\n{lines}\n</codeBook>', encoding="utf-8"
    )
    return path


def run(*arguments: Path | str) -> int:
    return main([str(one) for one in ("--schema", *arguments)])


def test_a_document_that_follows_the_schema_has_no_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(write_schema(tmp_path), write_document(tmp_path, "1", "2")) == 0
    assert capsys.readouterr().out == "ddi.xml: no errors\n"


def test_errors_are_counted_by_line_and_what_stands_there_is_not_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(write_schema(tmp_path), write_document(tmp_path, "1", "Jansen", "3", lang="e n")) == 1
    assert capsys.readouterr().out == "ddi.xml: 2 error(s) on 2 line(s)\n  line 1: 1\n  line 3: 1\n"


def test_of_many_lines_the_first_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(write_schema(tmp_path), write_document(tmp_path, *["x"] * 25)) == 1
    out = capsys.readouterr().out
    assert out.startswith("ddi.xml: 25 error(s) on 25 line(s)\n")
    assert out.endswith("  and 5 more line(s)\n")


def test_what_is_no_xml_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = tmp_path / "ddi.xml"
    document.write_text("<codeBook>\n<titl></codeBook>", encoding="utf-8")
    assert run(write_schema(tmp_path), document) == 1
    assert capsys.readouterr().out == "ddi.xml: 1 error(s) on 1 line(s)\n  line 2: 1\n"


def test_without_a_document_a_release_and_its_twin_are_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(write_schema(tmp_path, ANYTHING)) == 0
    assert capsys.readouterr().out == "release.xml: no errors\ntwin.xml: no errors\n"
    assert run(write_schema(tmp_path)) == 1


def test_what_the_schema_imports_from_the_web_is_taken_from_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    schema = write_schema(tmp_path, at="http://127.0.0.1:9/2001/xml.xsd")
    document = write_document(tmp_path, "1")
    assert run(schema, document) == 0
    (tmp_path / "xml.xsd").unlink()
    assert run(schema, document) == 1
    assert "lacks 1 file(s) beside it: xml.xsd" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, "<xs:schema", LANGUAGE.replace("xs:schema", "xs:other")])
def test_a_schema_that_is_none_is_refused(
    content: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    schema = tmp_path / "codebook.xsd"
    if content is not None:
        schema.write_text(content, encoding="utf-8")
    assert run(schema, write_document(tmp_path, "1")) == 1
    assert "give codebook.xsd of DDI-Codebook 2.5" in capsys.readouterr().err


def test_a_document_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(write_schema(tmp_path), tmp_path / "other.xml", write_document(tmp_path, "1")) == 1
    assert capsys.readouterr().err == "1 of 2 documents are not there: other.xml\n"
