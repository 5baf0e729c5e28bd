"""The same with few models: what workers and the run of a test load."""

from __future__ import annotations

import importlib

import dagster as dg

from orchestration.analysis import assets
from orchestration.analysis.specification import read_specification
from tests.conftest import brief
from tests.spreading import house


def few_models() -> None:
    """From now on this process fits few models."""
    assets.read_specification = lambda: brief(read_specification())  # type: ignore[assignment]


def grid_job() -> dg.JobDefinition:
    few_models()
    return house.grid_job()


def __getattr__(name: str) -> object:
    """The Celery app, made only in a process that is a worker."""
    if name == "app":
        few_models()
        return importlib.import_module("orchestration.spreading.worker").app
    raise AttributeError(name)
