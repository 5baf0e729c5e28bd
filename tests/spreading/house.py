"""Fingerprint, grid and fit over the home of the settings, without what comes before: what workers and runs of this folder load."""

from __future__ import annotations

from functools import cache

import dagster as dg

from orchestration.analysis.assets import FIT, fit_asset, model_inputs_asset
from orchestration.automation import after_grid_condition, chain_condition, refit_condition
from orchestration.home import home_settings
from orchestration.settings import Settings
from orchestration.spreading.assets import JOB, spreading

FIT_JOB = "fit_alone"


def definitions(settings: Settings) -> dg.Definitions:
    """As `build_defs` puts them together."""
    fingerprint = model_inputs_asset(settings, chain_condition())
    grid = spreading(settings, fingerprint, refit_condition())
    fit = fit_asset(settings, after_grid_condition())
    return dg.Definitions(
        [fingerprint, grid.asset, fit],
        jobs=[grid.job, dg.define_asset_job(FIT_JOB, [FIT])],
        sensors=[grid.sensor],
        executor=dg.in_process_executor,
    )


@cache
def of_home() -> dg.Definitions:
    return definitions(home_settings())


def grid_job() -> dg.JobDefinition:
    return of_home().resolve_job_def(JOB)
