"""What every released table and column is: names, types, labels, codes, units and what it is of a person, put together from
where each is said. Nothing is said here that is said elsewhere, and nothing is written here: that is `formats.py` and after it.

A column says it in the yml of its mart (`config: meta:`) or, label and unit, in `expectations/marts/`; `like` names a column,
of a mart or of a contract, from which the rest is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from orchestration.deliveries.contracts import Column, Organisation, read_contracts, read_table
from orchestration.settings import Settings
from orchestration.trouble import Mendable

Label = Mapping[str, str]
VariableType = Literal["text", "integer", "decimal", "boolean", "date"]
Measure = Literal["nominal", "ordinal", "scale"]

LANGUAGES = ("nl", "en")
TYPES: Mapping[str, VariableType] = {
    "varchar": "text", "integer": "integer", "bigint": "integer", "double": "decimal", "boolean": "boolean", "date": "date",
}  # fmt: skip
MEASURES = ("nominal", "ordinal", "scale")
SAID = ("label", "values", "missing", "unit", "measure", "personal", "purpose")
# What others say of a column in the same place: what a model may read, and what k-anonymity is counted by.
SAID_ELSEWHERE = ("models_read_as", "quasi_identifier")
YES_NO: Mapping[str | int, Label] = {1: {"nl": "ja", "en": "yes"}, 0: {"nl": "nee", "en": "no"}}
POLICY = Path(__file__).with_name("policy.yml")


class NotDescribed(Mendable):
    """A released column is not described, or says something that is not known; names tables and columns."""


@dataclass(frozen=True)
class Missing:
    """A code that stands for a reason why a number is missing: the reason as the data name it, and its labels."""

    code: int
    term: str
    label: Label


@dataclass(frozen=True)
class Variable:
    """One released column. `values`: code -> label, all that may occur, empty where it is no code list; `missing`: reasons that
    SPSS files hold as user-missing codes, everything else as an empty cell; `csv_name` where a CSV calls it otherwise."""

    name: str
    type: VariableType
    label: Label
    description: str
    personal: str
    purpose: str
    measure: Measure
    unit: str | None = None
    values: Mapping[str | int, Label] = field(default_factory=dict)
    missing: tuple[Missing, ...] = ()
    is_required: bool = False
    csv_name: str = ""

    @property
    def header(self) -> str:
        """What a CSV calls it."""
        return self.csv_name or self.name


@dataclass(frozen=True)
class TableDescription:
    """One released table: what a row is (`description`, by language), what names a row, and its columns in order."""

    name: str
    description: Label
    key: tuple[str, ...]
    variables: tuple[Variable, ...]

    def variable(self, name: str) -> Variable:
        """The column of that name. Raises KeyError."""
        for variable in self.variables:
            if variable.name == name:
                return variable
        raise KeyError(name)


@dataclass(frozen=True)
class Item:
    """One item of an instrument, as the seed has it."""

    version: str
    rater: str
    scale: str
    item: str
    is_reversed: bool
    lowest: int
    highest: int


@dataclass(frozen=True)
class Policy:
    """The classes of personal data, the purposes and how long what serves each is kept, what clients consent to and what
    permissions rest on, in words.

    `free` are the classes that no permission need name; `basis_for`: class -> the bases of which a permission for it names
    one; `consent_for`: class or purpose -> the consent that it takes.
    """

    classes: Mapping[str, Label]
    purposes: Mapping[str, Label]
    retention: Mapping[str, Label]
    consents: Mapping[str, Label] = field(default_factory=dict)
    legal_bases: Mapping[str, Label] = field(default_factory=dict)
    free: frozenset[str] = frozenset()
    basis_for: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    consent_for: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Catalogue:
    """Every published table, in alphabetical order, with the policy and the instrument."""

    tables: tuple[TableDescription, ...]
    policy: Policy
    instrument: tuple[Item, ...]

    def table(self, name: str) -> TableDescription:
        """The table of that name. Raises KeyError."""
        for table in self.tables:
            if table.name == name:
                return table
        raise KeyError(name)

    def holds(self, columns: Mapping[str, Sequence[str]]) -> None:
        """Raise NotDescribed for every column, by table, that is not in the catalogue."""
        known = {table.name: {variable.name for variable in table.variables} for table in self.tables}
        unknown = [
            f"{table}.{name}" for table, names in columns.items() for name in names if name not in known.get(table, ())
        ]
        if unknown:
            raise NotDescribed(
                f"{len(unknown)} column(s) are not described, so nothing is released: {', '.join(unknown)}; "
                "say what they are in the yml of the mart"
            )  # fmt: skip


def read_policy(path: Path = POLICY) -> Policy:
    """The policy that is in force."""
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    classes, purposes, retention = raw["classes"], raw["purposes"], raw["retention"]
    return Policy(
        classes=_in_words(classes),
        purposes=_in_words(purposes),
        retention={name: retention[said["retention"]] for name, said in purposes.items()},
        consents=raw["consents"],
        legal_bases=raw["legal_bases"],
        free=frozenset(name for name, said in classes.items() if said.get("is_free")),
        basis_for={name: tuple(said["basis"]) for name, said in classes.items() if "basis" in said},
        consent_for={
            name: said["consent"] for name, said in [*classes.items(), *purposes.items()] if "consent" in said
        },
    )


def _in_words(said: Mapping[str, Mapping[str, Any]]) -> dict[str, Label]:
    return {name: {language: one[language] for language in LANGUAGES} for name, one in said.items()}


def read_catalogue(dbt_manifest: Mapping[str, Any], expectations: Path, seeds: Path) -> Catalogue:
    """The catalogue of the marts of a dbt manifest. Raises NotDescribed, naming every column that is not wholly described."""
    from orchestration.warehouse.versions import published_tables

    told = _Told(dbt_manifest, expectations)
    policy = read_policy()
    troubles: list[str] = []
    tables = []
    for table in published_tables(dbt_manifest):
        variables = []
        for name in table.columns:
            variable, lacking = told.variable(table.name, name, policy)
            troubles += [f"{table.name}.{name} ({what})" for what in lacking]
            if variable is not None:
                variables.append(variable)
        tables.append(
            TableDescription(table.name, told.table(table.name, table.description), table.key, tuple(variables))
        )
    if troubles:
        raise NotDescribed(f"{len(troubles)} thing(s) are missing or not known: {', '.join(troubles)}")
    return Catalogue(tuple(tables), policy, _instrument(seeds / "instrument_item.csv"))


class _Told:
    """What is said of columns, in the three places where it may be."""

    def __init__(self, dbt_manifest: Mapping[str, Any], expectations: Path) -> None:
        self.contracts = read_contracts(expectations)
        self.marts = {path.stem: read_table(path, "marts") for path in sorted((expectations / "marts").glob("*.yml"))}
        self.columns = {
            node["name"]: node["columns"]
            for node in dbt_manifest["nodes"].values()
            if node["resource_type"] == "model" and node["original_file_path"].startswith("models/marts/")
        }

    def table(self, name: str, description: str) -> Label:
        known = self.marts.get(name)
        return {"en": description, "nl": known.description["nl"] if known else description}

    def of(self, place: str, seen: tuple[str, ...] = ()) -> dict[str, Any]:
        """Everything that is said of `table.column`, or of `organisation.table.column`. Raises NotDescribed."""
        parts = place.split(".")
        if place in seen:
            raise NotDescribed(f"{place} is like itself, by way of {', '.join(seen)}")
        if len(parts) == 3:
            return _of_contract(self.contracts, parts, place)
        if len(parts) != 2 or parts[1] not in self.columns.get(parts[0], {}):
            raise NotDescribed(f"{place}: no such column; {seen[-1] if seen else 'somebody'} says that it is like it")
        everything = self.columns[parts[0]][parts[1]]["config"].get("meta", {})
        meta = {key: said for key, said in everything.items() if key not in SAID_ELSEWHERE}
        unknown = sorted(set(meta) - {*SAID, "like"})
        if unknown:
            raise NotDescribed(f"{place}: {', '.join(unknown)} is not known; known are {', '.join(SAID)}, like")
        own = _of_mart_contract(self.marts, parts)
        twice = sorted(set(own) & set(meta))
        if twice:
            raise NotDescribed(
                f"{place}: {', '.join(twice)} stands in the mart's yml and in expectations/marts; once is enough"
            )
        base = self.of(meta.pop("like"), (*seen, place)) if "like" in meta else {}
        return {**base, **own, **meta}

    def variable(self, table: str, name: str, policy: Policy) -> tuple[Variable | None, list[str]]:
        """A column, or None with what it lacks."""
        try:
            said = self.of(f"{table}.{name}")
        except NotDescribed as error:
            return None, [str(error)]
        node = self.columns[table][name]
        type_ = TYPES.get(str(node["data_type"]).lower())
        values = self._values(said.get("values"), type_)
        measure: Any = said.get("measure") or (
            "scale" if type_ in ("integer", "decimal", "date") and not values else "nominal"
        )
        lacking = [f"label {language}" for language in LANGUAGES if not said.get("label", {}).get(language)]
        lacking += [
            f"value label {language}" for language in LANGUAGES if any(not label.get(language) for label in values.values())
        ]  # fmt: skip
        lacking += [] if said.get("personal") in policy.classes else ["personal"]
        lacking += [] if said.get("purpose") in policy.purposes else ["purpose"]
        lacking += [] if measure in MEASURES else ["measure"]
        if lacking or type_ is None:
            return None, lacking or ["type"]
        return Variable(
            name=name, type=type_, label=said["label"], description=str(node["description"]).strip(),
            personal=said["personal"], purpose=said["purpose"], measure=measure, unit=said.get("unit"), values=values,
            missing=tuple(
                Missing(int(code), one["is"], {language: one[language] for language in LANGUAGES})
                for code, one in said.get("missing", {}).items()
            ),
            is_required=any(one["type"] == "not_null" for one in node.get("constraints", [])),
        ), []  # fmt: skip

    def _values(self, said: Any, type_: str | None) -> Mapping[str | int, Label]:
        if type_ == "boolean" or said == "yes_no":
            return YES_NO
        if said == "organisations":
            return {name: one.title for name, one in self.contracts.items() if one.kind == "partner"}
        return {int(code) if type_ == "integer" else str(code): label for code, label in (said or {}).items()}


def _of_contract(contracts: Mapping[str, Organisation], parts: list[str], place: str) -> dict[str, Any]:
    organisation, table, name = parts
    try:
        column = contracts[organisation].table(table).column(name)
    except KeyError:
        raise NotDescribed(f"{place}: no contract has such a column") from None
    return _of_column(column) | ({"values": {code.term: code.label for code in column.codes}} if column.codes else {})


def _of_mart_contract(marts: Mapping[str, Any], parts: list[str]) -> dict[str, Any]:
    try:
        return _of_column(marts[parts[0]].column(parts[1]))
    except KeyError:
        return {}


def _of_column(column: Column) -> dict[str, Any]:
    return {"label": column.label} | ({"unit": column.unit} if column.unit else {})


def _instrument(path: Path) -> tuple[Item, ...]:
    import csv

    with path.open(newline="", encoding="utf-8") as stream:
        return tuple(
            Item(
                row["version"],
                row["rater"],
                row["scale"],
                row["item"],
                row["is_reversed"] == "true",
                int(row["response_min"]),
                int(row["response_max"]),
            )
            for row in csv.DictReader(stream)
        )


def labelled(variable: Variable, name: str, label: Label, **changes: Any) -> Variable:
    """The same kind of column under another name and label."""
    return replace(variable, name=name, label=label, **changes)


@cache
def catalogue_of(dbt_manifest: Path, expectations: Path, seeds: Path) -> Catalogue:
    """As `read_catalogue`, from a manifest in a file; read once for each."""
    import json

    return read_catalogue(json.loads(dbt_manifest.read_text(encoding="utf-8")), expectations, seeds)


def catalogue_in(settings: Settings) -> Catalogue:
    """The catalogue of the project as it is now."""
    from orchestration.warehouse.dbt import manifest_path

    return catalogue_of(manifest_path(settings), settings.expectations, settings.dbt_project / "seeds")
