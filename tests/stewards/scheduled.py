"""Only the yearly schedule, over a job that does nothing: what the scheduler loop of the tests loads."""

from __future__ import annotations

import dagster as dg

from orchestration.automation import FOLLOWING_UP, yearly_schedule


@dg.asset
def nothing() -> None: ...


job = dg.define_asset_job(FOLLOWING_UP, selection=[nothing])
defs = dg.Definitions(assets=[nothing], jobs=[job], schedules=[yearly_schedule(job)])
