"""That nobody and nothing is lost between the deliveries and the marts: counts of both sides, and whether they are equal.

Each mart that holds rows of a delivered table is counted a second time, from staging, by what the study is: the clients of the mart
`client` and their index supervisions. An answer to an item that its instrument version does not list, a spell whose officer
nobody delivered, would otherwise go missing in a join.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration.deliveries.judgement import Judgement, Status
from orchestration.warehouse.versions import Marts

if TYPE_CHECKING:
    import pyarrow as pa

RULE = "rows.conserved"
# How many rows of staging belong into a mart.
BELONGING: Mapping[str, str] = {
    "supervision": """
        select count(*) from staging.stg_partner__supervisions as supervision
        inner join staging.stg_partner__clients as client on supervision.client_number = client.client_number
        where client.national_number in (select client_id from marts.client)
    """,
    "dyad": """
        select count(*) from staging.stg_partner__assignments
        where supervision_number in (select supervision_id from marts.supervision where is_index)
    """,
    "wave": """
        select count(*) from staging.stg_partner__waves
        where supervision_number in (select supervision_id from marts.supervision where is_index)
    """,
    "alliance_item": """
        select count(*) from staging.stg_partner__item_responses as answer
        inner join staging.stg_partner__waves as wave using (supervision_number, wave, rater)
        where
            answer.supervision_number in (select supervision_id from marts.supervision where is_index)
            and answer.response is not null
            and wave.status = 'done' and wave.instrument_version is not null
    """,
}

# What is looked at of marts, but for how many rows they have.
LOOKED_AT: Mapping[str, frozenset[str]] = {
    "followup_interval": frozenset({"start_day", "stop_day"}),
    "followup": frozenset({"outcome_id", "event", "days"}),
    "supervision": frozenset({"is_index"}),
}


def staged_rows(warehouse: Path) -> dict[str, int]:
    """Rows of every staging table of a built warehouse, those among them that are views over its sources."""
    names = _asked(
        warehouse,
        ["select list(table_name order by table_name) from information_schema.tables where table_schema = 'staging'"],
    )[0]
    counts = _asked(warehouse, [f'select count(*) from staging."{name}"' for name in names or []])  # noqa: S608
    return dict(zip(names or [], counts, strict=True))


def belonging_rows(warehouse: Path) -> dict[str, int]:
    """For each mart of `BELONGING`, how many staged rows belong into it."""
    return dict(zip(BELONGING, _asked(warehouse, list(BELONGING.values())), strict=True))


def _asked(warehouse: Path, queries: list[str]) -> list:  # type: ignore[type-arg]
    """The one value of each query; views over the sources name them relative to the build."""
    import duckdb

    with contextlib.chdir(warehouse.parent), duckdb.connect(str(warehouse), read_only=True) as connection:
        return [connection.execute(query).fetchall()[0][0] for query in queries]


def judge_candidate(warehouse: Path, marts: Marts, delivered: Mapping[str, int]) -> list[Judgement]:
    """`judge_conserved` of a built warehouse; `delivered` is rows by `organisation.table`."""
    return judge_conserved(marts, staged_rows(warehouse), delivered, belonging_rows(warehouse))


def judge_conserved(
    marts: Marts,
    staged: Mapping[str, int],
    delivered: Mapping[str, int],
    belonging: Mapping[str, int],
) -> list[Judgement]:
    """That every delivered row is in its staging table, every staged row of the study in its mart, every client in each outcome,
    and every day of follow-up in an interval.

    `staged` is rows by staging table (`stg_partner__clients`), `delivered` rows by `organisation.table`, `belonging` what
    `belonging_rows` counts.
    """
    import pyarrow.compute as pc

    by_table: dict[str, int] = {}
    for place, rows in delivered.items():
        table = place.partition(".")[2]
        by_table[table] = by_table.get(table, 0) + rows
    found = [
        _equal(name, rows, by_table[name.partition("__")[2]])
        for name, rows in sorted(staged.items())
        if name.partition("__")[2] in by_table
    ]
    found += [_equal(name, marts.rows(name), rows) for name, rows in belonging.items()]
    clients, outcomes = marts.rows("client"), marts.rows("outcome_definition")
    found += [_equal(name, marts.rows(name), clients * outcomes) for name in ("followup", "analysis_cohort")]
    days = _total(marts, "followup_interval", lambda part: pc.subtract(part["stop_day"], part["start_day"]))
    found.append(_equal("followup_interval", days, _total(marts, "followup", lambda part: part["days"]), unit="days"))
    is_index = _total(marts, "supervision", lambda part: part["is_index"])
    found.append(_equal("supervision", is_index, clients, column="is_index"))
    return found


def _total(marts: Marts, name: str, of_rows: Callable[[pa.RecordBatch], pa.Array]) -> int:
    """The sum over the rows of a mart of a number that each has, or does not, a part at a time."""
    import pyarrow.compute as pc

    return sum(pc.sum(of_rows(part)).as_py() or 0 for part in marts.parts(name))


def _equal(table: str, rows: int, expected: int, column: str = "", unit: str = "rows") -> Judgement:
    return Judgement(
        RULE, Status.PASSED if rows == expected else Status.FAILED, table=table, column=column, evaluated=rows,
        failed=abs(rows - expected), expected=f"{expected} {unit}",
    )  # fmt: skip
