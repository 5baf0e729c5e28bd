"""The dbt side of the contracts: the source definitions and the list of who delivers what, both generated files.

`python -m orchestration.warehouse.sources` writes them, with `--check` it fails when they are not what the contracts
say. No other module knows how dbt is told about a delivered column.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from orchestration.deliveries.contracts import Column, Organisation, Table, read_contracts
from orchestration.files import write_atomically

SOURCES = Path("models/staging/sources.yml")
DELIVERIES = Path("macros/organisations_delivering.sql")
_BUILD_COLUMNS = {
    "registry_cutoff_on": "Cut-off day of the registry extract",
    "enrolment_from": "First day of the enrolment window",
    "enrolment_to": "Last day of the enrolment window",
    "landmark_months": "Months from index start to the landmark",
}
_STOPPED_COLUMNS = {
    "client_id": "Somebody of whom nothing new is taken in any more",
    "known_until": "Cut-off day of the registry extract that counted when that was asked",
}
_HEADER = "Generated from expectations/ by `python -m orchestration.warehouse.sources`. Do not edit."


def _column(column: Column) -> dict[str, Any]:
    meta: dict[str, Any] = {"name": column.staged_name, "type": column.staged_type}
    if column.codes:
        meta["codes"] = {code.source: code.term for code in column.codes}
    if column.missing:
        meta["missing"] = list(column.missing)
    return {
        "name": column.raw_name,
        "description": column.label["en"],
        "quote": True,
        "config": {"meta": meta},
    }


def _table(table: Table) -> dict[str, Any]:
    return {
        "name": table.name,
        "description": table.description["en"],
        "columns": [_column(column) for column in table.kept],
    }


def _organisation(organisation: Organisation) -> dict[str, Any]:
    location = "sources/{schema}__{name}.parquet"
    return {
        "name": organisation.name,
        "description": organisation.title["en"],
        "config": {"meta": {"kind": organisation.kind, "external_location": location}},
        "tables": [_table(table) for table in organisation.tables],
    }


def _platform() -> dict[str, Any]:
    def columns(described: Mapping[str, str]) -> list[dict[str, str]]:
        return [{"name": name, "description": description} for name, description in described.items()]

    return {
        "name": "platform",
        "description": "What the platform itself says about this build.",
        "config": {"meta": {"kind": "platform", "external_location": "sources/_{name}.parquet"}},
        "tables": [
            {
                "name": "build",
                "description": "One row: the settings of this build.",
                "columns": columns(_BUILD_COLUMNS),
            },
            {
                "name": "stopped",
                "description": "One row per person whose data stopped.",
                "columns": columns(_STOPPED_COLUMNS),
            },
        ],
    }


def render_sources(contracts: Mapping[str, Organisation]) -> str:
    """The dbt source definitions as YAML: one source per organisation, its tables and the columns that leave landing.

    The `meta` of a column says all that staging needs: its name and type here, the term of each code, the codes that
    stand for "not recorded".
    """
    content = {"version": 2, "sources": [*map(_organisation, contracts.values()), _platform()]}
    body = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000, default_flow_style=False)
    return f"# {_HEADER}\n{body}"


def render_deliveries(contracts: Mapping[str, Organisation]) -> str:
    """A dbt macro that lists, when dbt parses the project, the organisations of one kind that deliver a table."""
    listed: dict[str, dict[str, list[str]]] = {}
    for organisation in contracts.values():
        for table in organisation.tables:
            listed.setdefault(organisation.kind, {}).setdefault(table.name, []).append(organisation.name)
    lines = ",\n".join(f"        {json.dumps(kind)}: {json.dumps(tables)}" for kind, tables in sorted(listed.items()))
    return (
        f"{{# {_HEADER} #}}\n"
        "{% macro organisations_delivering(kind, table) %}\n"
        f"    {{{{ return({{\n{lines}\n    }}[kind][table]) }}}}\n"
        "{% endmacro %}\n"
    )


def rendered(contracts: Mapping[str, Organisation]) -> dict[Path, str]:
    """The generated files, by their path in the dbt project."""
    return {SOURCES: render_sources(contracts), DELIVERIES: render_deliveries(contracts)}


def write_sources(contracts: Mapping[str, Organisation], project: Path) -> None:
    """Write the generated files into the dbt project at `project`."""
    for path, text in rendered(contracts).items():
        write_atomically(project / path, text.encode())


def outdated_sources(contracts: Mapping[str, Organisation], project: Path) -> list[Path]:
    """The generated files that are missing from the project or not what the contracts say."""
    return [
        path
        for path, text in rendered(contracts).items()
        if not (project / path).is_file() or (project / path).read_text(encoding="utf-8") != text
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the generated files, or with `--check` say which are out of date. Gives the exit code."""
    checkout = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(prog="python -m orchestration.warehouse.sources", description=main.__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file is out of date")
    parser.add_argument("--expectations", type=Path, default=checkout / "expectations")
    parser.add_argument("--project", type=Path, default=checkout / "dbt_project")
    given = parser.parse_args(arguments)
    contracts = read_contracts(given.expectations)
    if not given.check:
        write_sources(contracts, given.project)
        return 0
    outdated = outdated_sources(contracts, given.project)
    for path in outdated:
        print(f"{path} is out of date; run `{parser.prog}`", file=sys.stderr)
    return 1 if outdated else 0


if __name__ == "__main__":
    sys.exit(main())
