"""The count tables of a release as they left, with what must not be found out of the hidden ones, kept in the zone as JSON: the next
release is judged against them. Counts only.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from orchestration.files import write_json
from orchestration.releases.disclosure_counts import CountTable, Release


def write_counts(release: Release, path: Path) -> None:
    """Write what `judge_fit` gives as `release`."""
    tables = [
        {
            **{name: value for name, value in asdict(table).items() if name != "cells"},
            "columns": list(table.cells.columns),
            "cells": json.loads(table.cells.to_json(orient="values")),
        }
        for table in release.tables
    ]
    write_json(
        path, {"tag": release.tag, "tables": tables, "entered": dict(release.entered), "left": dict(release.left)}
    )


def read_counts(path: Path) -> Release:
    """The release in a file that `write_counts` wrote."""
    content = json.loads(path.read_text(encoding="utf-8"))
    bands = {side: {name: (int(low), int(high)) for name, (low, high) in content[side].items()} for side in ("entered", "left")}  # fmt: skip
    return Release(content["tag"], tuple(_table(entry) for entry in content["tables"]), bands["entered"], bands["left"])


def _table(entry: dict[str, Any]) -> CountTable:
    subtotals = {dimension: {name: tuple(parts) for name, parts in named.items()} for dimension, named in entry["subtotals"].items()}  # fmt: skip
    return CountTable(
        entry["name"], tuple(entry["dimensions"]), pd.DataFrame(entry["cells"], columns=entry["columns"]),
        population=entry["population"], where=entry["where"], subtotals=subtotals, is_sensitive=bool(entry["is_sensitive"]),
    )  # fmt: skip
