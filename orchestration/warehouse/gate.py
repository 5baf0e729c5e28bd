"""The gate between a built candidate and a published version, counts only.

Suites from `expectations/marts/` (ranges, references, plausibility); that nobody and nothing was lost on the way
(`conservation.py`); and what the candidate says against the published version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from functools import cache
from pathlib import Path

import pyarrow as pa

from orchestration.deliveries import raw
from orchestration.deliveries.contracts import Table, read_table
from orchestration.deliveries.gate import Limits, judge_evaluated, judge_table, prepare, referred_to
from orchestration.deliveries.judgement import Judgement, Status
from orchestration.deliveries.waivers import Waiver, apply_drift
from orchestration.settings import Settings
from orchestration.warehouse import conservation
from orchestration.warehouse.versions import Version


@cache
def mart_contracts(expectations: Path) -> tuple[Table, ...]:
    """What we expect of each mart that has expectations."""
    return tuple(read_table(path, "marts") for path in sorted((expectations / "marts").glob("*.yml")))


def judge_candidate(
    settings: Settings,
    warehouse: Path,
    marts: Mapping[str, pa.Table],
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


def judge_marts(settings: Settings, marts: Mapping[str, pa.Table]) -> list[Judgement]:
    """Judge a candidate's marts. A mart that has expectations and is not there is a failure."""
    contracts = {table.name: table for table in mart_contracts(settings.expectations)}
    found = [Judgement("table.columns", Status.FAILED, table=name) for name in contracts if name not in marts]
    known = referred_to(contracts, marts)
    for name, table in contracts.items():
        if name not in marts:
            continue
        frame = raw.to_frame(marts[name])
        absent = [column.source for column in table.columns if column.source not in frame.columns]
        if absent:
            found.extend(Judgement("column.missing", Status.FAILED, table=name, column=column) for column in absent)
            continue
        found.extend(judge_table(table, prepare(table, frame, known), Limits(date.max, {})))
        found.extend(judge_evaluated(table, frame))
        missing = {
            column.source: int(frame[column.source].isna().sum()) for column in table.columns if column.is_required
        }
        found.extend(
            Judgement(
                "value.missing", Status.FAILED if count else Status.PASSED, table=name, column=column,
                evaluated=len(frame), failed=count,
            )
            for column, count in missing.items()
        )  # fmt: skip
    return found


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
