"""Which rows of a delivery are about which person, and how a person who has withdrawn is known without being named.

A person who has withdrawn is a mark: a keyed hash of the pseudonym, of a purpose of its own. Rows are found by the contract:
a table holds the client's number, or refers to a table that does. What is done with them is elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from orchestration.deliveries.contracts import Column, Organisation, Table
from orchestration.deliveries.keys import PseudonymKey
from orchestration.readings import Readings

if TYPE_CHECKING:
    import pyarrow as pa

CLIENT = "client"  # the pseudonym that is the same in every source
CLIENT_NUMBER = "client_number"  # the number that an organisation itself gives a client
ERASE, STOP = "erase", "stop"
_PURPOSE = "withdrawn"

Tables = Mapping[str, "pa.Table"]
Deletions = Mapping[str, Sequence[tuple[str, ...]]]


@dataclass(frozen=True)
class Marks:
    """Who has withdrawn: the marks of those who are erased and of those whose data stopped, under one key."""

    key: PseudonymKey
    erased: frozenset[str] = frozenset()
    stopped: frozenset[str] = frozenset()

    @property
    def is_empty(self) -> bool:
        return not (self.erased or self.stopped)

    def named(self, pseudonyms: Iterable[str], mode: str) -> frozenset[str]:
        """Those of these pseudonyms whose mark is known for a mode."""
        known = self.erased if mode == ERASE else self.stopped
        if not known:
            return frozenset()
        return frozenset(pseudonym for pseudonym in set(pseudonyms) if mark(self.key, pseudonym) in known)


@dataclass(frozen=True)
class Owned:
    """Everything in a source that is about some people: their pseudonyms of every purpose, and how many people they are."""

    pseudonyms: frozenset[str]
    people: int

    @property
    def is_nobody(self) -> bool:
        return not self.pseudonyms


NOBODY = Owned(frozenset(), 0)


def stopped_on(ledger: Readings) -> dict[str, date]:
    """The day on which each person who stopped did so, by mark: the first one, where they are named in more than one withdrawal."""
    days = {item.withdrawal_id: item.requested_at.date() for item in ledger.withdrawals()}
    found: dict[str, date] = {}
    for row in ledger.withdrawn():
        if row["mode"] == STOP:
            day = days[row["withdrawal_id"]]
            found[row["mark"]] = min(day, found.get(row["mark"], day))
    return found


def mark(key: PseudonymKey, pseudonym: str) -> str:
    """The keyed hash by which a person who has withdrawn stays known: it leads back to nobody without the key."""
    return key.pseudonym(_PURPOSE, pseudonym)


def owner_column(table: Table) -> Column | None:
    """The column that says whose a row is: the client's number, or the first reference to another table; None where nobody's."""
    for purpose in (CLIENT, CLIENT_NUMBER):
        own = next((column for column in table.kept if column.pseudonym == purpose), None)
        if own is not None:
            return own
    return next((column for column in table.kept if column.references and column.pseudonym), None)


def in_order(organisation: Organisation) -> list[Table]:
    """The tables of an organisation that hold rows about clients, each after the one that it refers to."""
    found: list[Table] = []
    left = [table for table in organisation.tables if owner_column(table) is not None]
    reached = {CLIENT, CLIENT_NUMBER}
    while left:
        ready = [table for table in left if (owner := owner_column(table)) is not None and owner.pseudonym in reached]
        if not ready:
            break
        for table in ready:
            reached |= {column.pseudonym for column in _own_numbers(table) if column.pseudonym}
        found += ready
        left = [table for table in left if table not in ready]
    return found


def _own_numbers(table: Table) -> list[Column]:
    """The numbers by which a table names its own rows: what other tables refer to."""
    key = [table.column(name) for name in table.key]
    return [column for column in key if column.pseudonym]


def clients_table(organisation: Organisation) -> Table | None:
    """The table that says which client number is which person; None where an organisation has only the one or the other."""
    for table in organisation.tables:
        purposes = {column.pseudonym for column in table.kept}
        if {CLIENT, CLIENT_NUMBER} <= purposes:
            return table
    return None


def pairs(clients: Table, content: pa.Table) -> list[tuple[str, str | None]]:
    """The client number and the person of every row of a table of clients."""

    def column(purpose: str) -> str:
        return next(column.source for column in clients.kept if column.pseudonym == purpose)

    return list(zip(content[column(CLIENT_NUMBER)].to_pylist(), content[column(CLIENT)].to_pylist(), strict=True))


def owned(organisation: Organisation, states: Sequence[Tables], marks: Marks, mode: str) -> Owned:
    """Everything that is about people with a mark of this mode, in any of these states of an organisation's tables, oldest first.

    A client number that came with other national numbers over time is the person's whom the newest state names.
    """
    if not (marks.erased if mode == ERASE else marks.stopped):
        return NOBODY
    known: set[str] = set()
    people: set[str] = set()
    clients = clients_table(organisation)
    if clients is not None:
        newest: dict[str, str | None] = {}
        persons: set[str] = set()
        for tables in states:
            content = tables[clients.name]
            for number, person in pairs(clients, content):
                newest[number] = person
                persons |= {person} if person else set()
        given = marks.named(persons | newest.keys(), mode)
        people = {number for number, person in newest.items() if number in given or person in given}
        known = people | (given & persons)
    for table in in_order(organisation):
        owner = owner_column(table)
        assert owner is not None  # noqa: S101 - in_order gives only such tables
        if table is clients:
            continue
        for tables in states:
            content = tables[table.name]
            owners = content[owner.source].to_pylist()
            if owner.pseudonym == CLIENT:
                named = marks.named({value for value in owners if value}, mode)
                known |= named
                people |= set() if clients is not None else named
            for column in _own_numbers(table) if known else ():
                values = content[column.source].to_pylist()
                known |= {value for value, whose in zip(values, owners, strict=True) if whose in known and value}
    return Owned(frozenset(known), len(people)) if known else NOBODY


def split(organisation: Organisation, tables: Tables, theirs: Owned) -> tuple[dict[str, pa.Table], dict[str, pa.Table]]:
    """The tables without the rows of some people, and those rows alone."""
    if theirs.is_nobody:
        return dict(tables), {name: content.slice(0, 0) for name, content in tables.items()}
    import pyarrow as pa
    import pyarrow.compute as pc

    from orchestration.deliveries.coding import in_one

    known = pa.array(sorted(theirs.pseudonyms), pa.string())
    kept, taken = dict(tables), {name: content.slice(0, 0) for name, content in tables.items()}
    for table in in_order(organisation):
        content = tables[table.name]
        identifying = {
            column.source: column
            for column in (owner_column(table), *_own_numbers(table), *_client_columns(table))
            if column is not None
        }
        is_theirs = pa.array([False] * content.num_rows, pa.bool_())
        for source in identifying:
            is_theirs = pc.or_(is_theirs, pc.is_in(in_one(content[source]), value_set=known))
        kept[table.name] = content.filter(pc.invert(is_theirs))
        taken[table.name] = content.filter(is_theirs)
    return kept, taken


def _client_columns(table: Table) -> list[Column]:
    return [column for column in table.kept if column.pseudonym in (CLIENT, CLIENT_NUMBER)]


def without_deletions(deletions: Deletions, theirs: Owned) -> dict[str, list[tuple[str, ...]]]:
    """Declared deletions but for those whose key names some people."""
    kept = {name: [key for key in keys if not theirs.pseudonyms.intersection(key)] for name, keys in deletions.items()}
    return {name: keys for name, keys in kept.items() if keys}


def marks_of(ledger: Readings, key: PseudonymKey) -> Marks:
    """The marks of everybody who has withdrawn, as the ledger has them."""
    rows = ledger.withdrawn()
    return Marks(
        key,
        frozenset(row["mark"] for row in rows if row["mode"] == ERASE),
        frozenset(row["mark"] for row in rows if row["mode"] == STOP),
    )


def deleted_by_name(deletions: Deletions, marks: Marks) -> Owned:
    """People who have withdrawn and are named by declared deletions alone."""
    named = {part for keys in deletions.values() for key in keys for part in key}
    found = marks.named(named, ERASE) | marks.named(named, STOP)
    return Owned(found, 0) if found else NOBODY


def together(*some: Owned) -> Owned:
    """Several people's data as one."""
    return Owned(frozenset().union(*(one.pseudonyms for one in some)), sum(one.people for one in some))


def rows_in(tables: Tables) -> int:
    """Rows of all tables together."""
    return sum(content.num_rows for content in tables.values())


def owned_people(organisation: Organisation, tables: Tables) -> int:
    """How many people rows that all are somebody's are about: by the numbers of those tables that hold one themselves."""
    found: set[str | None] = set()
    for table in in_order(organisation):
        owner = owner_column(table)
        if owner is not None and owner.pseudonym == CLIENT:
            found.update(tables[table.name][owner.source].to_pylist())
    return len(found - {None})


def joined(tables: Tables, added: Tables) -> dict[str, pa.Table]:
    """Tables with the rows of others below them."""
    import pyarrow as pa

    return {
        name: pa.concat_tables([content, added[name]]) if name in added and added[name].num_rows else content
        for name, content in tables.items()
    }
