"""Importing this module loads the libraries that a refresh uses late: early, while there is time, or before a fork."""

from __future__ import annotations

import dbt.adapters.duckdb
import dbt.cli.main
import lifelines
import matplotlib.pyplot

from orchestration.deliveries import gate

gate.load()

__all__ = ["dbt", "gate", "lifelines", "matplotlib"]
