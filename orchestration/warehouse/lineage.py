"""Which columns a model's column is made of, read off the queries that dbt ran; and what stands in a built database.

No row is read here: names, types and counts only. What the tables hold in numbers is in `measures.py`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration.files import write_json
from orchestration.warehouse.dbt import Node

if TYPE_CHECKING:
    from sqlglot import MappingSchema

Sources = Mapping[str, Mapping[str, list[tuple[str, str]]]]
_KEPT = "lineage.json"


@dataclass(frozen=True)
class Relation:
    """A table or view of a built database: its schema, its rows (None for a view), and the type of each column."""

    schema: str
    rows: int | None
    columns: Mapping[str, str]


def relations(warehouse: Path) -> dict[str, Relation]:
    """What stands in the database of a build, by name; nothing where there is no such file. One question for all of them."""
    import duckdb

    if not warehouse.is_file():
        return {}
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        named = connection.execute(
            "select table_schema, table_name, column_name, data_type from information_schema.columns "
            "where table_schema <> 'main' order by table_schema, table_name, ordinal_position"
        ).fetchall()
        tables = connection.execute("select schema_name, table_name from duckdb_tables()").fetchall()
        counts = {
            name: connection.execute(f'select count(*) from "{schema}"."{name}"').fetchall()[0][0]  # noqa: S608 - our names
            for schema, name in tables
        }
    found: dict[str, tuple[str, dict[str, str]]] = {}
    for schema, name, column, kind in named:
        found.setdefault(name, (schema, {}))[1][column] = kind.lower()
    return {name: Relation(schema, counts.get(name), columns) for name, (schema, columns) in found.items()}


def column_sources(target: Path, nodes: Sequence[Node], known: Mapping[str, Relation]) -> Sources:
    """Of each intermediate model and mart, and each of its columns, the columns (model or seed, name) that go into its value.

    A column that none goes into, such as a count of rows, has an empty list; a condition or a join alone is no source. Computed once for
    each state of the project and kept in `target`.
    """
    kept = target / _KEPT
    if kept.is_file():
        return {
            model: {column: [(one, other) for one, other in sources] for column, sources in columns.items()}
            for model, columns in json.loads(kept.read_text(encoding="utf-8")).items()
        }
    schema, found = _schema(known), {}
    for node in nodes:
        if node.unique_id.startswith("model.") and node.name in known and known[node.name].schema != "staging":
            found[node.name] = _sources_of(node.statement, schema, known)
    write_json(kept, found)
    return found


def _schema(known: Mapping[str, Relation]) -> MappingSchema:
    from sqlglot import MappingSchema, exp

    schema = MappingSchema(dialect="duckdb")
    for name, relation in known.items():
        place = exp.table_(name, db=relation.schema, catalog="warehouse", quoted=True)
        schema.add_table(place, dict(relation.columns), dialect="duckdb")
    return schema


def _sources_of(query: str, schema: MappingSchema, known: Mapping[str, Relation]) -> dict[str, list[tuple[str, str]]]:
    from sqlglot import exp, parse_one
    from sqlglot.errors import SqlglotError
    from sqlglot.lineage import lineage
    from sqlglot.optimizer.qualify import qualify
    from sqlglot.optimizer.scope import build_scope

    logging.getLogger("sqlglot").setLevel(logging.ERROR)  # an unpivot is passed by, with a warning for each column
    found = {}
    try:
        statement = qualify(parse_one(query, dialect="duckdb"), schema=schema, dialect="duckdb")
        scope = build_scope(statement)
        for column in statement.named_selects if isinstance(statement, exp.Query) else ():
            walked = lineage(column, statement, schema=schema, dialect="duckdb", scope=scope).walk()
            read = [(node, node.expression.find(exp.Table)) for node in walked if not node.downstream]
            named = {(table.name, exp.to_column(leaf.name).name) for leaf, table in read if table is not None}
            found[column] = sorted(
                (table, name) for table, name in named if table in known and name in known[table].columns
            )
    except SqlglotError:  # it is shown and nothing rests on it: what the parser does not know builds all the same
        return {}
    return found
