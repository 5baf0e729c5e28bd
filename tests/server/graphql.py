"""The mutations of Dagster's schema, taken from the schema itself: for each the smallest document that a server accepts as valid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    build_client_schema,
    get_introspection_query,
    is_required_argument,
    is_required_input_field,
)

SCALARS = {"Int": "0", "Float": "0.0", "Boolean": "false", "ID": '"x"', "String": '"x"'}
DENIED = ("UnauthorizedError", "PermissionError", "do not have permission", "is not permitted")


@dataclass(frozen=True)
class Mutation:
    """A mutation by its name, and a document that asks for it."""

    name: str
    document: str


def mutations(ask: httpx.Client, path: str) -> Iterator[Mutation]:
    """Every mutation that the schema at `path` has."""
    answer = ask.post(path, json={"query": get_introspection_query(descriptions=False)})
    schema = build_client_schema(answer.json()["data"])
    assert schema.mutation_type is not None
    for name, field in sorted(schema.mutation_type.fields.items()):
        given = {key: _literal(one.type) for key, one in field.args.items() if is_required_argument(one)}
        said = f"({', '.join(f'{key}: {value}' for key, value in given.items())})" if given else ""
        yield Mutation(name, f"mutation {{ {name}{said} {{ __typename }} }}")


def _literal(kind: GraphQLInputType, depth: int = 0) -> str:
    if isinstance(kind, GraphQLNonNull):
        return _literal(kind.of_type, depth)
    if isinstance(kind, GraphQLList):
        return "[]"
    if isinstance(kind, GraphQLEnumType):
        return next(iter(kind.values))
    if isinstance(kind, GraphQLInputObjectType):
        fields = {
            key: _literal(one.type, depth + 1) for key, one in kind.fields.items() if is_required_input_field(one)
        }
        return "{" + ", ".join(f"{key}: {value}" for key, value in fields.items()) + "}"
    return SCALARS.get(kind.name, '"x"')


def is_denied_by_dagster(answer: httpx.Response) -> bool:
    """Whether a webserver says by itself that this is not allowed."""
    return any(said in answer.text for said in DENIED)
