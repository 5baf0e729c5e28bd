"""What each organisation promises to deliver, read from `expectations/`.

A contract is data: one `_organisation.yml` and one `<table>.yml` for each table. Readers, gate suites, dbt sources,
labels and simulated deliveries are all derived from it. Nothing here touches a delivery.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from orchestration.trouble import Mendable

ColumnType = Literal["text", "code", "integer", "decimal", "date"]
PersonalClass = Literal["identifier", "quasi_identifier", "free_text", "none"]
Language = Literal["nl", "en"]
Label = Mapping[str, str]

COLUMN_TYPES = ("text", "code", "integer", "decimal", "date")
PERSONAL_CLASSES = ("identifier", "quasi_identifier", "free_text", "none")
RULE_KINDS = ("unique", "order", "required_when", "missing_share", "flag_share")
SHARES = ("required_when", "missing_share", "flag_share")  # rules that a share of the rows may break
_IDENTIFIER = re.compile(r"^[a-z][a-z0-9_]{0,62}$")


# The safe loader in C, where PyYAML was built with it: ten times as fast on three dozen contracts.
_Loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class ContractError(Mendable):
    """A contract file says something that cannot be true; names the file and the column."""


@dataclass(frozen=True)
class Code:
    """A code as the source spells it, the term that it stands for here, and its labels."""

    source: str
    term: str
    label: Label


@dataclass(frozen=True)
class Column:
    """One delivered column.

    `name` is ours, `source` the partner's header: that of the first schema version that has the column, under which the raw
    store keeps it; `sources` says what other versions call it. `minimum` and `maximum` hold in the unit of the column; for dates they
    are ISO days, `period_end` or `cutoff`. A column with `pseudonym` is replaced by a keyed pseudonym of that purpose;
    one with `keep=False` never leaves landing; one with `reduce="year"` is kept as `published_as`, a year.
    """

    name: str
    source: str
    type: ColumnType
    personal: PersonalClass
    label: Label
    is_required: bool = True
    unit: str | None = None
    pattern: str | None = None
    check: str | None = None
    minimum: float | str | None = None
    maximum: float | str | None = None
    seed: str | None = None
    references: str | None = None
    reduce: str | None = None
    published_as: str | None = None
    pseudonym: str | None = None
    keep: bool = True
    codes: tuple[Code, ...] = ()
    missing: Mapping[str, Label] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def raw_name(self) -> str:
        """The column's name in the raw store: the partner's header."""
        return self.source

    @property
    def staged_name(self) -> str:
        """The column's name from staging onwards."""
        return self.published_as or self.name

    @property
    def staged_type(self) -> ColumnType:
        return "integer" if self.reduce == "year" else self.type


@dataclass(frozen=True)
class Rule:
    """A rule over one or more columns that no single column can state, with the reason for it."""

    kind: str
    columns: tuple[str, ...]
    severity: Literal["error", "warning"]
    why: str
    when: Mapping[str, str] = field(default_factory=dict)
    threshold: float = 0.0

    @property
    def tolerated(self) -> float:
        """The share of failures that does not count: keys and orders hold for every row."""
        return self.threshold if self.kind in SHARES else 0.0


@dataclass(frozen=True)
class Table:
    """One delivered table: its columns in the order of delivery, its key and its rules."""

    organisation: str
    name: str
    description: Label
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    rules: tuple[Rule, ...]
    may_be_empty: bool

    def column(self, name: str) -> Column:
        """The column called `name` (our name). Raises KeyError."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    @property
    def kept(self) -> tuple[Column, ...]:
        """The columns that leave landing."""
        return tuple(column for column in self.columns if column.keep)


@dataclass(frozen=True)
class FileLimits:
    """How large what an organisation delivers may be: sizes in bytes, `ratio` of unpacked to packed.

    `line_bytes` is of CSV; `members`, `unpacked_bytes` and `ratio` of a workbook, and of whatever else is packed.
    """

    file_bytes: int = 4 * 2**30
    line_bytes: int = 65_536
    members: int = 200
    unpacked_bytes: int = 150_000_000
    ratio: int = 100
    rows: int = 100_000_000


ORDINARY = FileLimits()
GRACE_DAYS = 45


@dataclass(frozen=True)
class Organisation:
    """Who delivers, how often, in which forms, and which tables; `grace_days` after its period a delivery is due."""

    name: str
    kind: Literal["partner", "registry", "benchmark"]
    title: Label
    cadence: Literal["quarterly", "yearly", "once"]
    schema_version: str
    forms: Mapping[str, Mapping[str, Any]]
    tables: tuple[Table, ...]
    shrink_tolerance: float
    change_tolerance: float = 0.1
    limits: FileLimits = ORDINARY
    earlier_versions: tuple[str, ...] = ()
    grace_days: int = GRACE_DAYS

    def table(self, name: str) -> Table:
        """The table called `name`. Raises KeyError."""
        for table in self.tables:
            if table.name == name:
                return table
        raise KeyError(name)

    def as_of(self, version: str) -> Organisation:
        """The same in the words of a schema version: its headers, and only the columns that it has."""
        if not any(column.sources for table in self.tables for column in table.columns):
            return self
        return replace(self, tables=tuple(_as_of(table, version) for table in self.tables))


def _as_of(table: Table, version: str) -> Table:
    columns = tuple(
        replace(column, source=column.sources.get(version, column.source))
        for column in table.columns
        if not column.sources or version in column.sources
    )
    known = {column.name for column in columns}
    return replace(
        table, columns=columns, rules=tuple(rule for rule in table.rules if {*rule.columns, *rule.when} <= known)
    )


def _read_yaml(path: Path) -> Any:
    return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - a safe loader


def _column(raw: dict[str, Any], where: str) -> Column:
    name = raw.get("name", "")
    if not _IDENTIFIER.match(name):
        raise ContractError(f"{where}: column name {name!r} is not a lower-case identifier")
    where = f"{where}: {name}"
    if raw.get("type") not in COLUMN_TYPES:
        raise ContractError(f"{where}: type must be one of {', '.join(COLUMN_TYPES)}")
    if raw.get("personal") not in PERSONAL_CLASSES:
        raise ContractError(f"{where}: personal must be one of {', '.join(PERSONAL_CLASSES)}")
    if raw["type"] == "code" and not raw.get("codes"):
        raise ContractError(f"{where}: a code column lists its codes")
    if raw["personal"] == "identifier" and raw.get("keep", True) and not raw.get("pseudonym"):
        raise ContractError(f"{where}: an identifier is either given a pseudonym or not kept")
    codes = tuple(
        Code(str(source), str(entry["as"]), {"en": entry["en"], "nl": entry["nl"]})
        for source, entry in raw.get("codes", {}).items()
    )
    said = raw.get("source", name)
    sources = {str(version): str(header) for version, header in said.items()} if isinstance(said, dict) else {}
    return Column(
        name=name,
        source=next(iter(sources.values())) if sources else str(said),
        sources=sources,
        type=raw["type"],
        personal=raw["personal"],
        label=raw["label"],
        is_required=raw.get("required", True),
        unit=raw.get("unit"),
        pattern=raw.get("pattern"),
        check=raw.get("check"),
        minimum=raw.get("minimum"),
        maximum=raw.get("maximum"),
        seed=raw.get("seed"),
        references=raw.get("references"),
        reduce=raw.get("reduce"),
        published_as=raw.get("published_as"),
        pseudonym=raw.get("pseudonym"),
        keep=raw.get("keep", True),
        codes=codes,
        missing={str(code): label for code, label in raw.get("missing", {}).items()},
    )


def _rule(raw: dict[str, Any], where: str) -> Rule:
    if raw.get("rule") not in RULE_KINDS:
        raise ContractError(f"{where}: rule must be one of {', '.join(RULE_KINDS)}")
    if not raw.get("why"):
        raise ContractError(f"{where}: rule {raw['rule']} does not say why")
    return Rule(
        kind=raw["rule"],
        columns=tuple(raw["columns"]),
        severity=raw.get("severity", "error"),
        why=raw["why"],
        when=raw.get("when", {}),
        threshold=float(raw.get("threshold", 0.0)),
    )


def read_table(path: Path, organisation: str) -> Table:
    """Read one table's contract. Raises ContractError when it contradicts itself."""
    raw = _read_yaml(path)
    where = f"{organisation}/{path.name}"
    columns = tuple(_column(entry, where) for entry in raw["columns"])
    names = [column.name for column in columns]
    sources = [column.source for column in columns]
    if len(set(names)) != len(names) or len(set(sources)) != len(sources):
        raise ContractError(f"{where}: a column is declared twice")
    rules = tuple(_rule(entry, where) for entry in raw.get("rules", []))
    unknown = {name for rule in rules for name in (*rule.columns, *rule.when)} | set(raw["key"])
    if not unknown <= set(names):
        raise ContractError(f"{where}: key or rule names undeclared columns {sorted(unknown - set(names))}")
    return Table(
        organisation=organisation,
        name=raw["table"],
        description=raw["description"],
        key=tuple(raw["key"]),
        columns=columns,
        rules=rules,
        may_be_empty=raw.get("may_be_empty", False),
    )


def read_organisation(folder: Path, *, with_tables: bool = True) -> Organisation:
    """Read one organisation's folder of contracts. Raises ContractError when a file contradicts itself."""
    raw = _read_yaml(folder / "_organisation.yml")
    name = raw["organisation"]
    if name != folder.name or not _IDENTIFIER.match(name):
        raise ContractError(f"{folder.name}/_organisation.yml: organisation must be the folder's name")
    version, earlier = str(raw["schema_version"]), tuple(map(str, raw.get("earlier_versions", ())))
    tables = tuple(read_table(folder / f"{table}.yml", name) for table in raw["tables"] if with_tables)
    for table in tables:
        for column in table.columns:
            if column.sources and (set(column.sources) - {version, *earlier} or version not in column.sources):
                raise ContractError(
                    f"{name}/{table.name}.yml: {column.name}: source by version names {version} and earlier ones"
                )
            if (
                column.sources
                and set(column.sources) != {version, *earlier}
                and (column.is_required or column.name in table.key)
            ):
                raise ContractError(
                    f"{name}/{table.name}.yml: {column.name}: what an accepted version lacks is not required"
                )
    return Organisation(
        name=name,
        kind=raw["kind"],
        title=raw["title"],
        cadence=raw["cadence"],
        schema_version=version,
        earlier_versions=earlier,
        forms=raw["forms"],
        tables=tables,
        shrink_tolerance=float(raw.get("shrink_tolerance", 0.0)),
        change_tolerance=float(raw.get("change_tolerance", 0.1)),
        limits=_limits(raw.get("limits", {}), f"{name}/_organisation.yml"),
        grace_days=_grace_days(raw, f"{name}/_organisation.yml"),
    )


def _grace_days(raw: Mapping[str, Any], where: str) -> int:
    """How long after the last day of a period its delivery may take; nothing is due of who delivers once."""
    days = raw.get("grace_days", GRACE_DAYS)
    if raw["cadence"] == "once" and "grace_days" in raw:
        raise ContractError(f"{where}: grace_days is for those who deliver again, and this one delivers once")
    if not isinstance(days, int) or isinstance(days, bool) or not 0 <= days <= 365:
        raise ContractError(f"{where}: grace_days is a whole number of days after the period, 0 to 365")
    return days


def _limits(raw: dict[str, Any], where: str) -> FileLimits:
    if set(raw) - {item.name for item in fields(FileLimits)} or any(
        not isinstance(value, int) or value <= 0 for value in raw.values()
    ):
        raise ContractError(
            f"{where}: limits are whole numbers of {', '.join(item.name for item in fields(FileLimits))}"
        )
    return FileLimits(**raw)


@cache
def read_contracts(expectations: Path) -> dict[str, Organisation]:
    """Every organisation below `expectations`, by name, in alphabetical order."""
    return {folder.name: read_organisation(folder) for folder in _folders(expectations)}


def spoken_today(expectations: Path) -> dict[str, Organisation]:
    """As `read_contracts`, in the words of the schema version that each organisation delivers now."""
    return {name: item.as_of(item.schema_version) for name, item in read_contracts(expectations).items()}


def read_organisations(expectations: Path) -> dict[str, Organisation]:
    """As `read_contracts`, without the tables: who delivers and how often, for those who must answer at once."""
    return {folder.name: read_organisation(folder, with_tables=False) for folder in _folders(expectations)}


def _folders(expectations: Path) -> list[Path]:
    return sorted(path.parent for path in expectations.glob("*/_organisation.yml"))


def tables_of(contracts: Mapping[str, Organisation]) -> Iterator[Table]:
    """Every table of every organisation."""
    for organisation in contracts.values():
        yield from organisation.tables
