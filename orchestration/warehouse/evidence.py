"""Of whom something that decides about outcomes was delivered differently, between what two versions were built from.

With it a change of an outcome of the past has a cause: a record that was mended at its source, another definition, other rules. One
without a cause ought not to exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import duckdb

from orchestration.deliveries.contracts import Organisation, Table, read_contracts
from orchestration.ledger import Ledger
from orchestration.settings import Settings
from orchestration.warehouse import aside, diff
from orchestration.warehouse.versions import Version, quoted

# What the index supervision, follow-up and events are made from.
DECIDING = (
    "clients", "supervisions", "waves", "cases", "offences", "disposals", "detentions", "departures", "linkage",
)  # fmt: skip
CLIENT = "client"  # the pseudonym that is the same in every source


def changed_people(settings: Settings, ledger: Ledger, old: Version, new: Version) -> frozenset[str]:
    """The clients whose rows in the tables of `DECIDING` are not the same in the snapshots of two versions.

    Raises CannotBuildAside when a delivery that one of them was built from is gone.
    """
    contracts = read_contracts(settings.expectations)
    with duckdb.connect() as connection:
        for name, version in (("old_rows", old), ("new_rows", new)):
            with aside.assembled(settings, ledger, version) as sources:
                _note(connection, name, sources, contracts)
        changed = connection.execute(
            "select distinct coalesce(o.client_id, n.client_id) from old_rows as o "
            "full outer join new_rows as n using (place, client_id) where o.rows_hash is distinct from n.rows_hash"
        ).fetchall()
    return frozenset(client for (client,) in changed)


def compared(settings: Settings, ledger: Ledger, old: Version, new: Version) -> diff.Difference:
    """Two versions held against each other, with the causes as far as what they were built from is still there."""
    try:
        people = changed_people(settings, ledger, old, new)
    except aside.CannotBuildAside:
        people = None
    return diff.compare(old, new, people)


def _note(
    connection: duckdb.DuckDBPyConnection, name: str, sources: Path, contracts: Mapping[str, Organisation]
) -> None:
    """A table of one number for each delivered table and client: a sum over the hashes of the client's rows."""
    connection.execute(f"create temp table {name} (place varchar, client_id varchar, rows_hash hugeint)")
    for organisation in contracts.values():
        tables = {table.name: table for table in organisation.tables}
        for table in organisation.tables:
            if table.name in DECIDING:
                place = f"{organisation.name}.{table.name}"
                joined, client = _to_client(table, tables, sources)
                columns = ", ".join(f"row_0.{quoted(column.source)}" for column in table.kept)
                connection.execute(
                    f"insert into {name} select ?, {client}, sum(hash({columns})::hugeint) from {joined} group by {client}",  # noqa: S608 - names come from contracts
                    [place],
                )


def _to_client(table: Table, tables: Mapping[str, Table], sources: Path) -> tuple[str, str]:
    """The tables to join on the way from a table to its client, by the references of the contract, and the client's column."""
    number, joined = 0, f"{_file(table, sources)} as row_0"
    while not (client := next((column for column in table.kept if column.pseudonym == CLIENT), None)):
        link = next(column for column in table.kept if column.references)
        name, _, key = str(link.references).partition(".")
        other = tables[name]
        joined += (
            f" inner join {_file(other, sources)} as row_{number + 1} "
            f"on row_{number}.{quoted(link.source)} = row_{number + 1}.{quoted(other.column(key).source)}"
        )
        table, number = other, number + 1
    return joined, f"row_{number}.{quoted(client.source)}"


def _file(table: Table, sources: Path) -> str:
    path = str(sources / f"{table.organisation}__{table.name}.parquet").replace("'", "''")
    return f"read_parquet('{path}')"
