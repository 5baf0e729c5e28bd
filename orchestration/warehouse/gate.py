"""The gate between a built candidate and a published version: suites from `expectations/marts/`, counts only."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import cache
from pathlib import Path

import pandas as pd
import pyarrow as pa

from orchestration.deliveries.contracts import Table, read_table
from orchestration.deliveries.gate import Limits, judge_evaluated, judge_table, prepare
from orchestration.deliveries.judgement import Judgement, Status
from orchestration.settings import Settings


@cache
def mart_contracts(expectations: Path) -> tuple[Table, ...]:
    """What we expect of each mart that has expectations."""
    return tuple(read_table(path, "marts") for path in sorted((expectations / "marts").glob("*.yml")))


def judge_marts(settings: Settings, marts: Mapping[str, pa.Table]) -> list[Judgement]:
    """Judge a candidate's marts. A mart that has expectations and is not there is a failure."""
    contracts = {table.name: table for table in mart_contracts(settings.expectations)}
    found = [Judgement("table.columns", Status.FAILED, table=name) for name in contracts if name not in marts]
    frames = {name: _frame(marts[name]) for name in contracts if name in marts}
    for name, frame in frames.items():
        table = contracts[name]
        absent = [column.source for column in table.columns if column.source not in frame.columns]
        if absent:
            found.extend(Judgement("column.missing", Status.FAILED, table=name, column=column) for column in absent)
            continue
        found.extend(judge_table(table, prepare(table, frame, frames, contracts), Limits(date.max, {})))
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


def _frame(mart: pa.Table) -> pd.DataFrame:
    return mart.to_pandas()
