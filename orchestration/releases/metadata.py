"""What a release says of itself in the forms that others read: Data Package, Citation File Format, DataCite, DDI-Codebook, RO-Crate,
and the codebook as CSV. All of it is derived from the catalogue and from `study.yml`; no row of data is read.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from orchestration.releases.catalogue import Catalogue, Label, Policy, TableDescription, Variable
from orchestration.releases.formats import SIMULATED, SYNTHETIC, Mark

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

STUDY = Path(__file__).with_name("study.yml")
DDI, DATACITE = "ddi:codebook:2_5", "http://datacite.org/schema/kernel-4"
ACCESS = "info:eu-repo/semantics/"  # the vocabulary of access levels that archives harvest by
_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_FRICTIONLESS = {"text": "string", "integer": "integer", "decimal": "number", "boolean": "boolean", "date": "date"}
_DDI_FORMATS: Mapping[str, Mapping[str, str]] = {
    "text": {"type": "character"}, "integer": {"type": "numeric"}, "decimal": {"type": "numeric"}, "boolean": {"type": "numeric"},
    "date": {"type": "character", "schema": "ISO", "category": "date"},
}  # fmt: skip
SPREADSHEET_CELLS = 32_767
MEDIA_TYPES: Mapping[str, str] = {
    ".csv": "text/csv", ".json": "application/json", ".html": "text/html", ".xml": "application/xml", ".pdf": "application/pdf",
    ".md": "text/markdown", ".parquet": "application/vnd.apache.parquet", ".sav": "application/x-spss-sav", ".cff": "application/yaml",
}  # fmt: skip


@dataclass(frozen=True)
class Study:
    """The study as a whole, in words."""

    title: Label
    abstract: Label
    creators: tuple[str, ...]
    publisher: str
    access: Label
    keywords: tuple[str, ...]
    resource: str
    access_level: str
    retention_years: int
    discipline: str


@dataclass(frozen=True)
class About:
    """One release: its tag and day, the version and fit that it holds, whether it is simulated, its tables and number of rows.

    `is_synthetic`: this is the twin of a release, of which no row is a person's; `is_simulated` is then said of the release.
    """

    tag: str
    released_on: date
    version_id: str
    fit_id: str
    is_simulated: bool
    registry_cutoff_on: str
    study: Study
    tables: tuple[TableDescription, ...]
    rows: Mapping[str, int]
    is_synthetic: bool = False

    @property
    def mark(self) -> Mark:
        """What must be said wherever rows are not those of people; nothing where they are."""
        return SYNTHETIC if self.is_synthetic else SIMULATED if self.is_simulated else ""

    @property
    def warning(self) -> str:
        """The mark and what it means, as a sentence."""
        if self.is_synthetic:
            of = " of a release of SIMULATED data" if self.is_simulated else ""
            return f"SYNTHETIC data: a made-up twin{of}. No row is that of a person, and no result of it is one of the study."
        return (
            "SIMULATED data: it says whether the platform works, nothing about probation." if self.is_simulated else ""
        )

    @property
    def title(self) -> str:
        simulated = f"{SIMULATED}: " if self.is_simulated else ""
        return (f"{SYNTHETIC} twin: " if self.is_synthetic else "") + simulated + self.study.title["en"]


def read_study(path: Path = STUDY, *, of_twin: bool = False) -> Study:
    """The study, from its file; `of_twin`: as its synthetic twin speaks of it."""
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    raw |= raw["twin"] if of_twin else {}
    return Study(
        title=raw["title"], abstract=raw["abstract"], creators=tuple(raw["creators"]), publisher=raw["publisher"],
        access=raw["access"], keywords=tuple(raw["keywords"]), resource=raw["resource"],
        access_level=raw["access_level"], retention_years=int(raw["retention_years"]), discipline=raw["discipline"],
    )  # fmt: skip


def codebook_rows(about: About, catalogue: Catalogue) -> list[dict[str, str]]:
    """One row per column of every table: labels, type, unit, codes, missing codes, class of personal data, purpose, retention."""
    return [row for table in about.tables for row in table_codebook(table, catalogue.policy)]


def table_codebook(table: TableDescription, policy: Policy) -> list[dict[str, str]]:
    """One row per column of a table, as in `codebook_rows`."""
    return [
        {
            "table": table.name, "column": one.name, "csv_column": one.header, "type": one.type, "measure": one.measure,
            "unit": one.unit or "", "label_nl": one.label["nl"], "label_en": one.label["en"],
            "description": one.description, "values_nl": _codes(one, "nl"), "values_en": _codes(one, "en"),
            "missing_nl": _missing(one, "nl"), "missing_en": _missing(one, "en"), "personal": one.personal,
            "personal_said": policy.classes[one.personal]["en"], "purpose": policy.purposes[one.purpose]["en"],
            "retention": policy.retention[one.purpose]["en"],
        }
        for one in table.variables
    ]  # fmt: skip


def _codes(variable: Variable, language: str) -> str:
    return "; ".join(f"{value} = {label[language]}" for value, label in variable.values.items())


def _missing(variable: Variable, language: str) -> str:
    return "; ".join(f"{one.code} = {one.label[language]}" for one in variable.missing)


def codebook_csv(rows: Sequence[Mapping[str, str]]) -> str:
    """The codebook as CSV."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def data_package(about: About) -> dict[str, Any]:
    """`datapackage.json` (Data Package v1) over the CSV files for programs."""
    return {
        "profile": "tabular-data-package", "name": f"delictvrij-{about.tag}", "title": about.title, "version": about.tag,
        "description": about.study.abstract["en"], "created": f"{about.released_on.isoformat()}T00:00:00Z",
        "keywords": list(about.study.keywords),
        "contributors": [{"title": name, "role": "author"} for name in about.study.creators],
        "resources": [_resource(table) for table in about.tables],
    }  # fmt: skip


def _resource(table: TableDescription) -> dict[str, Any]:
    return {
        "profile": "tabular-data-resource", "name": table.name, "path": f"csv/{table.name}.csv", "format": "csv",
        "mediatype": "text/csv", "encoding": "utf-8", "description": table.description["en"],
        "schema": {
            "fields": [_field(one) for one in table.variables],
            **({"primaryKey": [table.variable(name).header for name in table.key]} if table.key else {}),
            "missingValues": [""],
        },
    }  # fmt: skip


def _field(variable: Variable) -> dict[str, Any]:
    constraints: dict[str, Any] = {"required": True} if variable.is_required else {}
    if variable.values and variable.type in ("text", "integer"):
        constraints["enum"] = list(variable.values)
    said: dict[str, Any] = {
        "name": variable.header, "type": _FRICTIONLESS[variable.type], "title": variable.label["en"],
        "description": variable.description,
    }  # fmt: skip
    if variable.type == "boolean":
        said |= {"trueValues": ["1"], "falseValues": ["0"]}
    return {**said, **({"constraints": constraints} if constraints else {})}


def citation(about: About) -> str:
    """`CITATION.cff` (1.2.0) of the release as a data set."""
    content = {
        "cff-version": "1.2.0", "message": "Cite these data as below, with the version.", "title": about.title,
        "type": "dataset", "version": about.tag, "date-released": about.released_on.isoformat(),
        "abstract": about.study.abstract["en"], "authors": [{"name": name} for name in about.study.creators],
        "keywords": list(about.study.keywords),
    }  # fmt: skip
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def data_cite(about: About) -> dict[str, Any]:
    """DataCite 4.5 metadata; the DOI is added by the archive that mints it."""
    return {
        "schemaVersion": "http://datacite.org/schema/kernel-4",
        "creators": [{"name": name, "nameType": "Organizational"} for name in about.study.creators],
        "titles": [
            {"title": about.title, "lang": "en"},
            {"title": about.study.title["nl"], "titleType": "TranslatedTitle", "lang": "nl"},
        ],
        "publisher": {"name": about.study.publisher}, "publicationYear": str(about.released_on.year),
        "types": {"resourceTypeGeneral": "Dataset", "resourceType": about.study.resource}, "version": about.tag,
        "language": "en", "subjects": [{"subject": word} for word in about.study.keywords],
        "dates": [{"date": about.released_on.isoformat(), "dateType": "Issued"}],
        "descriptions": [{"description": about.study.abstract["en"], "descriptionType": "Abstract", "lang": "en"}],
        "rightsList": [
            {"rights": about.study.access["en"], "rightsUri": f"{ACCESS}{about.study.access_level}Access", "lang": "en"}
        ],
    }  # fmt: skip


def data_cite_xml(about: About) -> bytes:
    """The same as XML (DataCite 4.6); the identifier is `(:tba)`, to be announced, until an archive mints a DOI."""
    from xml.etree import ElementTree as Xml

    told = data_cite(about)
    Xml.register_namespace("", DATACITE)
    root = Xml.Element(f"{{{DATACITE}}}resource")

    def add(parent: Xml.Element, tag: str, text: str | None = None, lang: str = "", **attributes: str) -> Xml.Element:
        child = Xml.SubElement(parent, f"{{{DATACITE}}}{tag}", attributes | ({_LANG: lang} if lang else {}))
        child.text = text
        return child

    add(root, "identifier", "(:tba)", identifierType="DOI")
    creators = add(root, "creators")
    for one in told["creators"]:
        add(add(creators, "creator"), "creatorName", one["name"], nameType=one["nameType"])
    titles = add(root, "titles")
    for one in told["titles"]:
        kind = {"titleType": one["titleType"]} if "titleType" in one else {}
        add(titles, "title", one["title"], one["lang"], **kind)
    add(root, "publisher", told["publisher"]["name"])
    add(root, "publicationYear", told["publicationYear"])
    types = told["types"]
    add(root, "resourceType", types["resourceType"], resourceTypeGeneral=types["resourceTypeGeneral"])
    subjects = add(root, "subjects")
    for one in told["subjects"]:
        add(subjects, "subject", one["subject"])
    dates = add(root, "dates")
    for one in told["dates"]:
        add(dates, "date", one["date"], dateType=one["dateType"])
    add(root, "language", told["language"])
    add(root, "version", told["version"])
    rights = add(root, "rightsList")
    for one in told["rightsList"]:
        add(rights, "rights", one["rights"], one["lang"], rightsURI=one["rightsUri"])
    descriptions = add(root, "descriptions")
    for one in told["descriptions"]:
        add(descriptions, "description", one["description"], one["lang"], descriptionType=one["descriptionType"])
    return _as_xml(root)


def ddi(about: About) -> bytes:
    """DDI-Codebook 2.5 as XML: the study, a file for each table and a variable for each column, with labels and codes in English."""
    from xml.etree import ElementTree as Xml

    Xml.register_namespace("", f"{DDI}")

    def add(parent: Xml.Element, tag: str, text: str | None = None, **attributes: str) -> Xml.Element:
        child = Xml.SubElement(parent, f"{{{DDI}}}{tag}", attributes)
        child.text = text
        return child

    root = Xml.Element(f"{{{DDI}}}codeBook", {"version": "2.5", _LANG: "en"})
    study = add(root, "stdyDscr")
    cited = add(study, "citation")
    titles = add(cited, "titlStmt")
    add(titles, "titl", about.title)
    add(titles, "IDNo", about.tag, agency=about.study.publisher)
    responsible = add(cited, "rspStmt")
    for name in about.study.creators:
        add(responsible, "AuthEnty", name)
    produced = add(cited, "distStmt")
    add(produced, "distrbtr", about.study.publisher)
    add(produced, "distDate", about.released_on.isoformat(), date=about.released_on.isoformat())
    add(add(cited, "verStmt"), "version", about.version_id)
    said = add(study, "stdyInfo")
    subject = add(said, "subject")
    for word in about.study.keywords:
        add(subject, "keyword", word)
    add(said, "abstract", about.study.abstract["en"])
    add(add(add(study, "dataAccs"), "useStmt"), "restrctn", about.study.access["en"])
    for number, table in enumerate(about.tables, start=1):
        text = add(add(root, "fileDscr", ID=f"F{number}", URI=f"csv/{table.name}.csv"), "fileTxt")
        add(text, "fileName", table.name)
        add(text, "fileCont", table.description["en"])
        dimensions = add(text, "dimensns")
        add(dimensions, "caseQnty", str(about.rows[table.name]))
        add(dimensions, "varQnty", str(len(table.variables)))
    described = add(root, "dataDscr")
    for number, table in enumerate(about.tables, start=1):
        for position, one in enumerate(table.variables, start=1):
            said_of: dict[str, str] = {"nature": one.measure} if one.measure != "scale" else {}
            said_of |= {"measUnit": one.unit} if one.unit else {}
            variable = add(
                described, "var", ID=f"F{number}V{position}", name=one.name, files=f"F{number}",
                intrvl="contin" if one.measure == "scale" and not one.values else "discrete", **said_of,
            )  # fmt: skip
            add(variable, "labl", one.label["en"])
            add(variable, "txt", one.description)
            for value, label in one.values.items():
                category = add(variable, "catgry")
                add(category, "catValu", str(value))
                add(category, "labl", label["en"])
            for reason in one.missing:
                category = add(variable, "catgry", missing="Y")
                add(category, "catValu", str(reason.code))
                add(category, "labl", reason.label["en"])
            add(variable, "varFormat", **_DDI_FORMATS[one.type])
    return _as_xml(root)


def _as_xml(root: Element) -> bytes:
    from xml.etree import ElementTree as Xml

    Xml.indent(root)
    return Xml.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"


def ro_crate(about: About, files: Mapping[str, int]) -> dict[str, Any]:
    """RO-Crate 1.1: the release and its `files` (path below it -> bytes)."""
    parts = [{"@id": name} for name in sorted(files)]
    people = [
        {"@id": f"#creator-{i}", "@type": "Organization", "name": name} for i, name in enumerate(about.study.creators)
    ]
    return {
        "@context": "https://w3id.org/ro/crate/1.1/context",
        "@graph": [
            {
                "@id": "ro-crate-metadata.json", "@type": "CreativeWork", "about": {"@id": "./"},
                "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
            },
            {
                "@id": "./", "@type": "Dataset", "name": about.title, "version": about.tag,
                "description": about.study.abstract["en"], "datePublished": about.released_on.isoformat(),
                "license": {"@id": "#access"}, "author": [{"@id": one["@id"]} for one in people],
                "keywords": ", ".join(about.study.keywords), "hasPart": parts,
            },
            {"@id": "#access", "@type": "CreativeWork", "name": about.study.access["en"], "description": about.study.access["nl"]},
            *people,
            *(
                {
                    "@id": name, "@type": "File", "name": name, "contentSize": str(files[name]),
                    "encodingFormat": MEDIA_TYPES.get(Path(name).suffix, "text/plain"),
                }
                for name in sorted(files)
            ),
        ],
    }  # fmt: skip
