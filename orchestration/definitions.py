"""The only place where things are put together: `build_defs` for Dagster and tests, `launch` for the command line."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from dagster._core.definitions.asset_daemon_cursor import AssetDaemonCursor
from dagster._core.definitions.data_version import DATA_VERSION_TAG
from dagster._serdes import deserialize_value, serialize_value
from dagster._utils.warnings import BetaWarning

from orchestration.analysis.assets import (
    CURRENT,
    FINGERPRINT,
    FIT,
    REPORT,
    analysis_assets,
    model_inputs_asset,
    specification,
)
from orchestration.analysis.fit import fit_id
from orchestration.automation import (
    FOLLOWING_UP,
    Launched,
    after_grid_condition,
    alert_sensors,
    announce,
    build_condition,
    chain_condition,
    deliveries_by_partition,
    draft_condition,
    end_dead_runs,
    fetch_apart,
    fetching_job,
    fetching_schedule,
    freshness_schedule,
    inbox_sensor,
    instance_of,
    landing_schedule,
    look_everywhere,
    one_at_a_time,
    refit_condition,
    report_condition,
    run_job,
    side_by_side,
    yearly_schedule,
)
from orchestration.deliveries.assets import FETCHING, delivery_assets, job_name
from orchestration.deliveries.contracts import Organisation, read_contracts
from orchestration.deliveries.fetching import acknowledge
from orchestration.deliveries.inbox import bytes_of, waiting
from orchestration.deliveries.periods import local_day
from orchestration.deliveries.retention import clear_landing
from orchestration.deliveries.waivers import missing, read_waivers
from orchestration.files import write_atomically
from orchestration.home import home_settings, opened
from orchestration.ledger import Ledger, now
from orchestration.progress import Progress, nobody
from orchestration.readings import Withdrawal
from orchestration.releases.assets import FOLLOW_UP, draft_asset, follow_up_asset
from orchestration.releases.follow_up import is_to_be_asked
from orchestration.releases.withdrawal import finish
from orchestration.settings import Settings
from orchestration.spreading.assets import JOB, Spreading, over_workers, spreading, workers_there
from orchestration.stewards.alerts_file import AlertsError
from orchestration.stewards.assets import FRESHNESS, freshness_checks
from orchestration.store import pull_all
from orchestration.warehouse import dbt
from orchestration.warehouse.assets import build_inputs_asset, version_asset, warehouse_models
from orchestration.warehouse.build import is_behind, one_writer
from orchestration.warehouse.versions import current_id
from orchestration.workers import forked

MAX_TICKS = 12
ALL_ASSETS = "__ASSET_JOB"  # as Dagster calls the run of assets that a condition asks for
BUILDING = ("warehouse", "staging", "intermediate", "marts", "versions")  # the groups that are built as a whole


def build_defs(settings: Settings | None = None, progress: Progress = nobody) -> dg.Definitions:
    """All assets, jobs, sensors and schedules over one home. `progress` is told how far a refit in this process is."""
    settings = settings or home_settings()
    contracts = read_contracts(settings.expectations)
    manifest = dbt.manifest_path(settings)
    landing = delivery_assets(settings, contracts)
    jobs = {
        name: dg.define_asset_job(job_name(name), selection=[dg.AssetKey(["deliveries", name])]) for name in contracts
    }
    fetching = fetching_job(settings, contracts)
    checks = freshness_checks(settings, contracts)
    freshness = dg.define_asset_job(
        FRESHNESS, selection=dg.AssetSelection.checks(*(key for check in checks for key in check.check_keys))
    )
    following_up = dg.define_asset_job(FOLLOWING_UP, selection=[FOLLOW_UP])
    drafts = None if settings.draft_releases == "never" else draft_condition()
    grid, refit = spread_of(settings), after_grid_condition() if settings.broker else refit_condition()
    return dg.Definitions(
        assets=[
            *landing,
            build_inputs_asset(settings, contracts, build_condition()),
            warehouse_models(settings, manifest, chain_condition()),
            version_asset(settings, manifest, chain_condition()),
            *analysis_assets(settings, chain_condition(), refit, report_condition(), progress),
            *(one.asset for one in grid),
            follow_up_asset(settings, contracts),
            draft_asset(settings, drafts, progress),
        ],
        asset_checks=checks,
        jobs=[*jobs.values(), fetching, freshness, following_up, *(one.job for one in grid)],
        sensors=[
            inbox_sensor(settings, contracts, jobs),
            dg.AutomationConditionSensorDefinition(
                "refresh",
                target=dg.AssetSelection.all(),
                default_status=dg.DefaultSensorStatus.RUNNING,
                minimum_interval_seconds=settings.seconds_between_looks,
                description=(
                    "Builds when a delivery or the code has changed; refits when the rows that models read have; drafts a release "
                    "when another fit has become current and one is due."
                ),
            ),
            *alert_sensors(settings, contracts),
            *(one.sensor for one in grid),
        ],
        schedules=[
            yearly_schedule(following_up),
            freshness_schedule(freshness),
            landing_schedule(settings),
            fetching_schedule(settings, fetching),
        ],
        executor=one_at_a_time(settings),
    )


def spread_of(settings: Settings) -> tuple[Spreading, ...]:
    """What spreads a refit over workers, where there is a broker: one, or none."""
    if settings.broker is None:
        return ()
    return (spreading(settings, model_inputs_asset(settings, chain_condition()), refit_condition()),)


def grid_job() -> dg.JobDefinition:
    """The refit in batches over the home of the settings, as workers load it."""
    return build_defs().resolve_job_def(JOB)


def fit_grid(settings: Settings, defs: dg.Definitions, instance: dg.DagsterInstance) -> Launched:
    """Have the batches of the due refit fitted: by workers, or where none answers one after another in this process."""
    if not workers_there(settings):
        return run_job(defs.resolve_job_def(JOB), instance)
    return Launched(JOB, None, *over_workers(dg.reconstructable(grid_job), instance))


@dataclass(frozen=True)
class Refreshed:
    """What a refresh did: the runs, the assets that were requested by condition, what could not be placed, and why nobody could be told."""

    runs: tuple[Launched, ...]
    requested: tuple[str, ...]
    unplaced: tuple[str, ...]
    untold: str = ""

    @property
    def is_success(self) -> bool:
        return all(run.is_success for run in self.runs) and not self.unplaced


def launch(
    settings: Settings,
    progress: Progress = nobody,
    instance: dg.DagsterInstance | None = None,
    workers: int = 0,
) -> Refreshed:
    """Finish the withdrawals that are on record, take in what waits, ask for the yearly extract where that is due, then build, refit
    and draft as the conditions ask, until nothing is asked for any more; and tell who is to be told.

    The same assets, conditions and instance as under the daemon; runs are in this process and appear in the UI. With
    `workers`, as many forks of this process take in what waits; it has no database open then.
    """
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(forked(workers)) if workers else None
        stack.enter_context(one_writer(settings))
        return _launch(settings, progress, instance or stack.enter_context(instance_of(settings)), pool, workers)


def _launch(
    settings: Settings, progress: Progress, instance: dg.DagsterInstance, pool: Executor | None, workers: int
) -> Refreshed:
    contracts = read_contracts(settings.expectations)
    ledger = opened(settings)
    defs = build_defs(settings, progress)
    runs: list[Launched] = []
    requested: list[str] = []

    def refit() -> bool:
        runs.append(_refitted(defs, instance))
        return runs[-1].is_success

    end_dead_runs(instance)
    finish(settings, ledger, refit, progress)
    pull_all(settings)  # not before: what was erased here may still be in the store
    ticker = Ticker(defs, instance, settings.dagster_home / "automation.json")
    if not ticker.has_baseline:
        ticker.tick()
        ticker.remember()
    announce(settings, contracts, instance)
    grids = [Ticker(one.due, instance, settings.dagster_home / "spreading.json") for one in spread_of(settings)]
    if settings.sources_file:
        progress("fetch", 0, 1)
        runs.append(
            pool.submit(fetch_apart, settings).result() if pool else run_job(defs.resolve_job_def(FETCHING), instance)
        )
    items = waiting(settings, ledger, contracts)
    grouped = deliveries_by_partition(items, contracts)
    placed = {item.path for group in grouped.values() for item in group}
    unplaced = tuple(f"{item.organisation}/{item.period}/{item.path.name}" for item in items if item.path not in placed)
    if pool:
        partitions: dict[str, dict[str | None, int]] = {}
        for (organisation, partition), group in grouped.items():
            partitions.setdefault(organisation, {})[partition] = sum(map(bytes_of, group))
        taken_in: Iterable[Launched] = side_by_side(settings, pool, workers, partitions)
    else:
        landing = {organisation: defs.resolve_job_def(job_name(organisation)) for organisation, _ in grouped}
        taken_in = (run_job(landing[organisation], instance, partition) for organisation, partition in grouped)
    if grouped:
        progress("gate", 0, len(grouped))
    for done, run in enumerate(taken_in, start=1):
        runs.append(run)
        progress(f"gate {run.name.removeprefix('deliver_')} {run.partition or ''}".strip(), done, len(grouped))
    if not all(run.is_success for run in runs):  # not after a refit of minutes
        _tell(settings, ledger, contracts, instance, defs)
    if is_to_be_asked(ledger, contracts, local_day(now())):
        runs.append(run_job(defs.resolve_implicit_global_asset_job_def(), instance, None, [FOLLOW_UP]))
    made_up_for: list[list[dg.AssetKey]] = []
    for _ in range(MAX_TICKS):
        keys = ticker.tick()
        due = [key for grid in grids for key in grid.tick()]
        if not keys and not due and not any(run.name == ALL_ASSETS and not run.is_success for run in runs):
            keys = left_over(settings, ledger, contracts, defs, instance)
            if keys in made_up_for:
                break  # once is enough: what fails again waits for a person
            made_up_for.append(keys)
        requested.extend(key.to_user_string() for key in (*keys, *due))
        if keys:
            progress(", ".join(sorted({key.path[0] for key in keys})), 0, 1)
            runs.append(run_job(defs.resolve_implicit_global_asset_job_def(), instance, None, keys))
        if due:
            progress("analysis", 0, 1)
            runs.append(fit_grid(settings, defs, instance))
        for one in (ticker, *grids):
            one.remember()
        if not keys and not due:
            break
    acknowledge(settings, ledger)
    clear_landing(settings, ledger, now())
    untold = _tell(settings, ledger, contracts, instance, defs)
    return Refreshed(tuple(runs), tuple(requested), unplaced, untold)


def left_over(
    settings: Settings,
    ledger: Ledger,
    contracts: Mapping[str, Organisation],
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
) -> list[dg.AssetKey]:
    """What is to be made though no condition asks for it, by what is on record: first the build, then in later turns what hangs on it.

    A condition remembers that it asked, not that it was answered. A run that failed since the disk was full is not made anew by itself,
    and a refresh in a home that only knew the daemon takes everything before it for the baseline. Raises nothing for what cannot be built.
    """
    current = current_id(settings)
    without = missing(read_waivers(settings.waivers_file), now().date())
    if is_behind(ledger, contracts, current, without):
        groups = dg.AssetSelection.groups(*BUILDING)
        return sorted(groups.resolve(defs.resolve_asset_graph()), key=lambda key: list(key.path))
    if current is None or not any(build["version_id"] == current for build in ledger.builds()):
        return []  # nothing is published, or it was built elsewhere
    event = instance.get_latest_materialization_event(FINGERPRINT)
    last = event.asset_materialization if event is not None else None
    if last is None:  # in a home that was restored Dagster has heard of nothing, and the fits are there
        return [] if ledger.fits() or ledger.held_fits() else [FINGERPRINT]
    if last.metadata["version"].value != current:
        return [FINGERPRINT]
    fit = fit_id(str((last.tags or {})[DATA_VERSION_TAG]), specification(settings), settings.seed)
    if fit not in {one["fit_id"] for one in (*ledger.fits(), *ledger.held_fits())}:
        return [FIT, REPORT]
    link = settings.fits / CURRENT
    is_shown = not link.is_symlink() or (
        settings.report.is_file() and link.readlink().name in settings.report.read_text(encoding="utf-8")
    )
    return [] if is_shown else [REPORT]


def _tell(
    settings: Settings,
    ledger: Ledger,
    contracts: Mapping[str, Organisation],
    instance: dg.DagsterInstance,
    defs: dg.Definitions,
) -> str:
    """Tell who is to be told; gives why that was not possible, which stops nothing."""
    try:
        look_everywhere(settings, ledger, contracts, instance, defs.resolve_asset_graph().asset_check_keys)
    except AlertsError as error:
        return str(error)
    except Exception as error:  # whatever it is, what was refreshed is refreshed
        return f"nobody could be told: {type(error).__name__}"
    return ""


def finish_withdrawals(settings: Settings, progress: Progress = nobody) -> list[Withdrawal]:
    """Carry out the withdrawals that are on record and not finished, and fit the published version again where a fit went; gives them."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(one_writer(settings))
        instance = stack.enter_context(instance_of(settings))
        return finish(
            settings, opened(settings), lambda: _refitted(build_defs(settings, progress), instance).is_success, progress
        )


def _refitted(defs: dg.Definitions, instance: dg.DagsterInstance) -> Launched:
    """Fit the published version and show it, whether or not anything asks for it."""
    return run_job(defs.resolve_implicit_global_asset_job_def(), instance, None, [FINGERPRINT, FIT, REPORT])


def judge_again(settings: Settings, instance: dg.DagsterInstance | None = None) -> Launched:
    """Run the fit and its report once more, as when a fit that was held has been signed off: what was fitted is not fitted again."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(one_writer(settings))
        job = build_defs(settings).resolve_implicit_global_asset_job_def()
        return run_job(job, instance or stack.enter_context(instance_of(settings)), None, [FIT, REPORT])


class Ticker:
    """Evaluates the automation conditions as the daemon's sensor does.

    What was asked for is remembered only when it has been run, so that a process that is killed asks again.
    """

    def __init__(self, defs: dg.Definitions, instance: dg.DagsterInstance, memory: Path) -> None:
        self._defs, self._instance, self._memory = defs, instance, memory
        self._cursor = deserialize_value(memory.read_text(), AssetDaemonCursor) if memory.is_file() else None

    @property
    def has_baseline(self) -> bool:
        return self._memory.is_file()

    def tick(self) -> list[dg.AssetKey]:
        """Evaluate once; gives the assets that are asked for, in a stable order."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", category=BetaWarning)
            result = dg.evaluate_automation_conditions(defs=self._defs, instance=self._instance, cursor=self._cursor)
        self._cursor = result.cursor
        keys = self._defs.resolve_asset_graph().materializable_asset_keys
        return sorted((key for key in keys if result.get_num_requested(key)), key=lambda key: list(key.path))

    def remember(self) -> None:
        """Keep where the evaluation is."""
        if self._cursor is not None:
            write_atomically(self._memory, serialize_value(self._cursor).encode())


@dg.definitions
def defs() -> dg.Definitions:
    """What Dagster loads: everything over the home of the settings."""
    return build_defs()
