"""The platform's grid and fit with few models, as workers and the run of the tests of this folder load them."""

from __future__ import annotations

from functools import cache

import dagster as dg

from orchestration.analysis import assets
from orchestration.analysis.assets import FIT, fit_asset, model_inputs_asset
from orchestration.analysis.specification import read_specification
from orchestration.automation import after_grid_condition, chain_condition, refit_condition
from orchestration.home import home_settings
from orchestration.settings import Settings
from orchestration.spreading.assets import JOB, spreading, worker_app
from tests.conftest import brief


def few_models() -> None:
    """From now on this process fits few models."""
    assets.read_specification = lambda: brief(read_specification())  # type: ignore[assignment]


def definitions(settings: Settings) -> dg.Definitions:
    """Fingerprint, grid and fit as `build_defs` puts them together, without what comes before."""
    fingerprint = model_inputs_asset(settings, chain_condition())
    grid = spreading(settings, fingerprint, refit_condition())
    fit = fit_asset(settings, after_grid_condition())
    return dg.Definitions(
        [fingerprint, grid.asset, fit],
        jobs=[grid.job, dg.define_asset_job("fit_alone", [FIT])],
        sensors=[grid.sensor],
        executor=dg.in_process_executor,
    )


@cache
def _definitions() -> dg.Definitions:
    few_models()
    return definitions(home_settings())


def grid_job() -> dg.JobDefinition:
    return _definitions().resolve_job_def(JOB)


def __getattr__(name: str) -> object:
    """The Celery app, made only in a process that is a worker."""
    if name == "app":
        few_models()
        return worker_app(home_settings())
    raise AttributeError(name)
