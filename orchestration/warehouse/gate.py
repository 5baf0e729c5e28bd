"""The gate between a built candidate and a published version, counts only.

Suites from `expectations/marts/` (ranges, references, plausibility); that nobody and nothing was lost on the way
(`conservation.py`); and what the candidate says against the published version.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from functools import cache
from pathlib import Path

import pyarrow as pa

from orchestration.deliveries import raw
from orchestration.deliveries.contracts import Table, read_table
from orchestration.deliveries.gate import (
    LARGE,
    Asking,
    Limits,
    judge_evaluated,
    judge_table,
    missing_in,
    prepare,
    referred_to,
    relations,
    unique_in,
    with_facts,
    with_keys,
)
from orchestration.deliveries.judgement import Judgement, Status
from orchestration.deliveries.waivers import Waiver, apply_drift
from orchestration.settings import Settings
from orchestration.warehouse import conservation
from orchestration.warehouse.versions import Marts, Version

_ANY_DAY = Limits(date.max, {})  # marts hold numbers of days, which have bounds of their own


@cache
def mart_contracts(expectations: Path) -> tuple[Table, ...]:
    """What we expect of each mart that has expectations."""
    return tuple(read_table(path, "marts") for path in sorted((expectations / "marts").glob("*.yml")))


def judge_candidate(
    settings: Settings,
    warehouse: Path,
    marts: Marts,
    delivered: Mapping[str, int],
    published: Version | None,
    known: Sequence[Waiver],
    today: date,
) -> list[Judgement]:
    """Everything that is asked of a candidate before it is published.

    `delivered` counts rows by `organisation.table`; `known` are the waivers, of which those of drift count here.
    """
    drift = judge_drift(marts, published, settings.drift_tolerance)
    return [
        *judge_marts(settings, marts),
        *conservation.judge_candidate(warehouse, marts, delivered),
        *apply_drift(drift, known, published.version_id if published else None, today),
    ]


def judge_marts(settings: Settings, marts: Marts) -> list[Judgement]:
    """Judge a candidate's marts. A mart that has expectations and is not there is a failure."""
    contracts = {table.name: table for table in mart_contracts(settings.expectations)}
    found = [Judgement("table.columns", Status.FAILED, table=name) for name in contracts if name not in marts]
    referred = referred_to(contracts, marts)
    for name, table in contracts.items():
        if name in marts:
            found.extend(_judge_mart(table, marts, referred))
    return found


def _judge_mart(table: Table, marts: Marts, referred: Mapping[str, pa.Array]) -> list[Judgement]:
    there = set(marts.columns(table.name))
    absent = [column.source for column in table.columns if column.source not in there]
    if absent:
        return [Judgement("column.missing", Status.FAILED, table=table.name, column=column) for column in absent]
    rows = marts.rows(table.name)
    if rows > LARGE:
        found, missing = _in_parts(table, marts, rows, referred)
    else:
        content = marts[table.name]
        frame = raw.to_frame(content)
        prepared = prepare(table, frame, relations(table, content, referred))
        found, missing = judge_table(table, prepared, _ANY_DAY), missing_in(table, frame)
    found += judge_evaluated(table, missing, rows)
    found += [
        Judgement(
            "value.missing", Status.FAILED if count else Status.PASSED, table=table.name, column=column,
            evaluated=rows, failed=count,
        )
        for column, count in missing.items()
    ]  # fmt: skip
    return found


def _in_parts(
    table: Table, marts: Marts, rows: int, referred: Mapping[str, pa.Array]
) -> tuple[list[Judgement], dict[str, int]]:
    """What is found of a mart that is judged a part at a time, and how many rows miss each required value."""
    asked, missing = Asking(table, _ANY_DAY, rows), Counter[str]()
    for part in marts.parts(table.name):
        content = pa.Table.from_batches([part])
        frame = raw.to_frame(content)
        asked.of_each(with_facts(table, frame, relations(table, content, referred)))
        missing.update(missing_in(table, frame))
    for headers in dict.fromkeys(unique_in(table)):
        alike = raw.to_frame(marts.alike(table.name, headers))
        asked.of_several(headers, with_keys(alike, [headers]), rows - len(alike))
    return asked.judgements(), dict(missing)


def looked_at(settings: Settings) -> dict[str, set[str]]:
    """The columns of each mart that are looked at before it is published; of one that is not named, all."""
    found = {table.name: {column.source for column in table.columns} for table in mart_contracts(settings.expectations)}
    for name, columns in conservation.LOOKED_AT.items():
        found[name] = found.get(name, set()) | columns
    return found


def judge_drift(marts: Mapping[str, pa.Table], published: Version | None, tolerance: float) -> list[Judgement]:
    """That a candidate has not lost more than `tolerance` of the clients, or of the events of a definition, that are published.

    More of either is what time does. Definitions that only one of the two has are left out.
    """
    import pyarrow.parquet as pq

    if published is None or not {"client", "followup"} <= set(published.manifest["tables"]):
        return [Judgement("drift.clients", Status.NOT_APPLICABLE, table="client", evaluated=0, failed=0)]
    found = [
        _shrunk(
            "drift.clients",
            "client",
            published.manifest["tables"]["client"]["rows"],
            marts["client"].num_rows,
            tolerance,
        )
    ]
    columns = ["outcome_id", "event"]
    before = _events(pq.read_table(published.folder / "followup.parquet", columns=columns))
    after = _events(marts["followup"].select(columns))
    found += [
        _shrunk("drift.events", "followup", before[outcome], after[outcome], tolerance, outcome)
        for outcome in sorted(before.keys() & after.keys())
    ]
    return found


def _events(followup: pa.Table) -> dict[str, int]:
    found: dict[str, int] = {}
    for outcome, event in zip(followup["outcome_id"].to_pylist(), followup["event"].to_pylist(), strict=True):
        found[outcome] = found.get(outcome, 0) + bool(event)
    return found


def _shrunk(rule: str, table: str, before: int, after: int, tolerance: float, column: str = "") -> Judgement:
    lost = max(0, before - after)
    status = Status.FAILED if lost > tolerance * before else Status.PASSED
    return Judgement(
        rule, status, table=table, column=column, evaluated=before, failed=lost, threshold=tolerance,
        expected=f"at least {before - int(tolerance * before)} of {before}",
    )  # fmt: skip


def said(judgements: Sequence[Judgement]) -> str:
    """What a person reads of the rules that failed: rule, table, column, how many, what was expected."""
    return "\n".join(
        f"{item.rule}: {item.table} {item.column}".rstrip()
        + f" ({item.failed} of {item.evaluated}"
        + (f"; expected {item.expected}" if item.expected else "")
        + ")"
        for item in judgements
    )
