"""What stewards follow from build to build: linkage, missing ratings, events, reliability. Numbers of groups, never of a person.

A count of fewer people than may be shown is left out, and so is a share from which such a count could be worked out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

Measures = dict[str, dict[str, float | int]]

_LINKAGE = "select count(*) filter (linkage_status = 'found'), count(linkage_status) from marts.client"
_RATINGS = """
    select concat_ws('_', wave, rater), count(*) filter (status <> 'done'), count(*) from marts.wave
    where wave <> 'T1' and status <> 'supervision_ended' group by all order by all
"""
_EVENTS = """
    select outcome_id, count(*) filter (event), count(event) from marts.followup
    inner join marts.outcome_definition using (outcome_id) where role = 'primary' group by all order by all
"""
_ALPHA = """
    select concat_ws('_', wave, rater, scale), arg_max(alpha, n_complete), max(n_complete) from marts.scale_reliability
    where alpha is not null group by all order by all
"""


def measured(warehouse: Path, small_cell: int) -> Measures:
    """By mart: `linkage_rate` (clients found in the register, of those searched for), `missing_<wave>_<rater>` (ratings not done, of those
    due while supervision ran), `events_<outcome>` (of the primary outcomes), `alpha_<wave>_<rater>_<scale>` (Cronbach, 1951).
    """
    import duckdb

    with duckdb.connect(str(warehouse), read_only=True) as connection:
        ((found, searched),) = _rows(connection, _LINKAGE)
        return {
            "client": _shares([("linkage_rate", found, searched)], small_cell),
            "wave": _shares(
                ((f"missing_{name}", some, of) for name, some, of in _rows(connection, _RATINGS)), small_cell
            ),
            "followup": {
                f"events_{name}": events
                for name, events, known in _rows(connection, _EVENTS)
                if may_be_shown(events, known, small_cell)
            },
            "scale_reliability": {
                f"alpha_{name}": round(float(alpha), 3)
                for name, alpha, people in _rows(connection, _ALPHA)
                if people >= small_cell
            },
        }


def may_be_shown(some: int, of: int, small_cell: int) -> bool:
    """Whether `some` people `of` so many may be named: neither they nor the others are few, and there is somebody."""
    return of >= small_cell and all(count == 0 or count >= small_cell for count in (some, of - some))


def flat(measures: Mapping[str, Mapping[str, float | int]]) -> dict[str, float | int]:
    """The measures of every mart in one line."""
    return {name: value for numbers in measures.values() for name, value in numbers.items()}


def _shares(counts: Iterable[tuple[str, int, int]], small_cell: int) -> dict[str, float | int]:
    return {name: round(some / of, 4) for name, some, of in counts if may_be_shown(some, of, small_cell)}


def _rows(connection: duckdb.DuckDBPyConnection, statement: str) -> list[tuple]:  # type: ignore[type-arg]
    return connection.execute(statement).fetchall()
