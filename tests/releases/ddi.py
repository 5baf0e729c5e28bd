"""`python -m tests.releases.ddi --schema FILE [DOCUMENT …]`: the `ddi.xml` of releases, or of one that it makes, against a schema (XSD)
that whoever runs it has. Prints how many errors stand on which line, never what stands there. What the schema imports is looked for
beside it; nothing is fetched.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lxml import etree

from orchestration.releases.metadata import ddi
from tests.releases.making import about

LINES_SHOWN = 20


class SchemaUnusable(Exception):
    """The schema, or what it imports, is not there or is no schema; says which file, and what to do."""


class Beside(etree.Resolver):
    """Finds a file by its path, and by its name in a folder where it is named by an address on the web or is not at its path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lacking: set[str] = set()

    def resolve(self, system_url: str, public_id: str, context: Any) -> Any:
        url = urlsplit(system_url)
        named = Path(url.path)
        found = named if url.scheme in ("", "file") and named.is_file() else self.folder / named.name
        if found.is_file():
            return self.resolve_filename(str(found), context)
        self.lacking.add(named.name)
        return self.resolve_empty(context)


def read_schema(path: Path) -> Any:
    """The schema in a file as lxml has it, with what it imports from its folder. Raises SchemaUnusable."""
    if not path.is_file():
        raise SchemaUnusable(f"{path.name} is not there; give codebook.xsd of DDI-Codebook 2.5")
    beside = Beside(path.parent)
    parser = _parser()
    parser.resolvers.add(beside)
    try:
        schema = etree.XMLSchema(etree.parse(str(path), parser))
    except (etree.XMLSyntaxError, etree.XMLSchemaParseError) as error:
        raise SchemaUnusable(_unusable(path, beside.lacking)) from error
    if beside.lacking:
        raise SchemaUnusable(_unusable(path, beside.lacking))
    return schema


def _unusable(path: Path, lacking: set[str]) -> str:
    if lacking:
        return f"{path.name} lacks {len(lacking)} file(s) beside it: {', '.join(sorted(lacking))}; put them there"
    return f"{path.name} is no XML schema; give codebook.xsd of DDI-Codebook 2.5"


def _parser() -> Any:
    return etree.XMLParser(no_network=True, resolve_entities=False)


def errors_by_line(schema: Any, document: Path) -> Mapping[int, int]:
    """Line -> how many errors it has by the schema; of what is no XML, the line where reading ended."""
    try:
        tree = etree.parse(str(document), _parser())
    except etree.XMLSyntaxError as error:
        return {error.lineno or 1: 1}
    schema.validate(tree)
    return Counter(error.line for error in schema.error_log)


def said(name: str, errors: Mapping[int, int]) -> str:
    """What is printed of a document."""
    if not errors:
        return f"{name}: no errors\n"
    lines = sorted(errors)
    shown = "".join(f"  line {line}: {errors[line]}\n" for line in lines[:LINES_SHOWN])
    more = f"  and {len(lines) - LINES_SHOWN} more line(s)\n" if len(lines) > LINES_SHOWN else ""
    return f"{name}: {sum(errors.values())} error(s) on {len(lines)} line(s)\n{shown}{more}"


def made(folder: Path) -> list[Path]:
    """The documents of a release of every published table and of its twin, written to a folder."""
    documents = {"release.xml": about(), "twin.xml": about(is_synthetic=True)}
    for name, one in documents.items():
        (folder / name).write_bytes(ddi(one))
    return [folder / name for name in documents]


def main(arguments: Sequence[str] | None = None) -> int:
    """Hold each document against the schema; 1 where one has an error or cannot be held against it."""
    parser = argparse.ArgumentParser(prog="python -m tests.releases.ddi", description=__doc__)
    parser.add_argument("--schema", type=Path, required=True, help="codebook.xsd, with what it imports beside it")
    parser.add_argument("documents", type=Path, nargs="*", metavar="DOCUMENT", help="ddi.xml of a release")
    chosen = parser.parse_args(arguments)
    absent = [path.name for path in chosen.documents if not path.is_file()]
    if absent:
        sys.stderr.write(f"{len(absent)} of {len(chosen.documents)} documents are not there: {', '.join(absent)}\n")
        return 1
    try:
        schema = read_schema(chosen.schema)
    except SchemaUnusable as error:
        sys.stderr.write(f"{error}\n")
        return 1
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for document in chosen.documents or made(Path(folder)):
            errors = errors_by_line(schema, document)
            sys.stdout.write(said(document.name, errors))
            failed += bool(errors)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
