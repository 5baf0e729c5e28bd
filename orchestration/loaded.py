"""Importing this module loads the libraries that a refresh uses late, and what dbt has parsed: early, while there is time, or before a
fork."""

from __future__ import annotations

import contextlib

import dbt.adapters.duckdb
import dbt.cli.main
import lifelines
import matplotlib.pyplot

from orchestration.deliveries import gate
from orchestration.settings import Settings
from orchestration.warehouse.dbt import DbtFailed, parsed, target_folder

gate.load()


def read_what_dbt_has_parsed() -> None:
    """Of the project as it is now: a build of another reads that by itself."""
    settings = Settings()
    if (target_folder(settings) / "manifest.json").is_file():
        with contextlib.suppress(DbtFailed, OSError):
            parsed(settings)


read_what_dbt_has_parsed()

__all__ = ["dbt", "gate", "lifelines", "matplotlib"]
