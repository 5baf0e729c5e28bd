"""What starts by itself: sensors, schedules, the conditions for building, refitting and drafting, and who is told of what.

A build is asked for when the content of a delivery or the code has changed, a refit when the rows that models read
have. Both conditions were tried against real runs (`tests/test_automation.py`); each term is there for a reason.
"""

import contextlib
import functools
import importlib
import os
import signal
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster._cli.api import execute_run_command
from dagster._core.definitions.data_version import DATA_VERSION_TAG
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.events import EngineEventData
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.in_process import InProcessExecutor
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher
from dagster._core.storage.event_log import ConsolidatedSqliteEventLogStorage
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult, ExecuteRunArgs
from dagster._serdes import deserialize_value, serialize_value

from orchestration.deliveries.assets import FETCHING, delivery_asset, job_name, partition_of
from orchestration.deliveries.contracts import Organisation, read_contracts
from orchestration.deliveries.fetching import acknowledge, fetch_all
from orchestration.deliveries.inbox import Waiting, waiting
from orchestration.deliveries.periods import ZONE
from orchestration.deliveries.retention import clear_landing
from orchestration.deliveries.transports import WHY
from orchestration.hashing import combined_hash
from orchestration.home import opened
from orchestration.ledger import Ledger, now
from orchestration.readings import Readings
from orchestration.releases.assets import YEAR_TAG
from orchestration.releases.follow_up import ASKED_ON, year_asked_on
from orchestration.settings import Settings
from orchestration.stewards.alerts import Told, look_and_tell, tell
from orchestration.stewards.alerts_file import read_alerts
from orchestration.stewards.assets import FRESHNESS, seen_checks, seen_runs
from orchestration.warehouse.build import effective, one_writer
from orchestration.workers import forked, loaded

FOLLOWING_UP = "yearly_follow_up"
TOLD_SECONDS = 30  # it is looked no oftener for what is to be told

_C = dg.AutomationCondition


def _is_quiet() -> dg.AutomationCondition:
    """Nothing is running here or upstream, and no blocking check upstream has failed."""
    return ~_C.in_progress() & ~_C.any_deps_in_progress() & _C.all_deps_blocking_checks_passed()


def _not_answered(change: dg.AutomationCondition) -> dg.AutomationCondition:
    """A change that nothing was asked for since; `initial_evaluation` sets the baseline.

    That something was asked for is known at the next look only. A change that came in between is newer than what was asked for: it stays,
    or a delivery in the seconds after a build began would never be built.
    """
    return change.since((_C.newly_requested() & ~change) | _C.initial_evaluation())


def _content_changed() -> dg.AutomationCondition:
    """The content of a dependency changed since this was last asked for."""
    return _not_answered(_C.any_deps_match(_C.data_version_changed()))


def _code_changed() -> dg.AutomationCondition:
    return _not_answered(_C.code_version_changed())


def _never_made() -> dg.AutomationCondition:
    """Not made yet and not asked for yet, while there is something to make it from; a failed attempt is not repeated."""
    return _C.missing().newly_true().since(_C.newly_requested()) & _C.any_deps_match(~_C.missing())


def build_condition() -> dg.AutomationCondition:
    """Build when the content of a delivery or the code has changed.

    A rejected delivery leaves the content as it was, so a failing gate of one partition does not stop the others:
    blocking checks of the partitioned exports are therefore not asked for here.
    """
    return (
        (_content_changed() | _code_changed() | _never_made()) & ~_C.in_progress() & ~_C.any_deps_in_progress()
    ).with_label("a delivery or the code has changed")


def chain_condition() -> dg.AutomationCondition:
    """Run together with what comes before, in the same run."""
    return _C.any_deps_match(_C.will_be_requested()).with_label("runs with the build")


def refit_condition() -> dg.AutomationCondition:
    """Refit when the fingerprint of the rows that models read, or the code of the models, has changed.

    `any_deps_updated` would also count a fingerprint that is computed again and stays the same.
    """
    return ((_content_changed() | _code_changed() | _never_made()) & _is_quiet()).with_label(
        "the rows that models read have changed"
    )


def after_grid_condition() -> dg.AutomationCondition:
    """Refit when the grid was fitted for other rows, models or code: the grid's data version is the id of the fit that follows."""
    return ((_content_changed() | _never_made()) & _is_quiet()).with_label("the grid of the refit has changed")


def report_condition() -> dg.AutomationCondition:
    """Run with what comes before, and render again when the code of the page has changed: that refits nothing."""
    again = _code_changed() & ~_C.missing() & ~_C.in_progress() & ~_C.any_deps_in_progress()
    return (chain_condition() | again).with_label("runs with the fit, or the page has changed")


def draft_condition() -> dg.AutomationCondition:
    """Look whether a release is to be drafted when another fit has become current, or another year was asked for.

    A fit that is held back is no new content, and its failed check upstream stops this too.
    """
    return ((_content_changed() | _never_made()) & _is_quiet()).with_label("another fit has become current")


def deliveries_by_partition(
    items: list[Waiting], contracts: Mapping[str, Organisation]
) -> dict[tuple[str, str | None], list[Waiting]]:
    """Waiting deliveries by organisation and partition; one that is no period of its organisation is left out."""
    grouped: dict[tuple[str, str | None], list[Waiting]] = defaultdict(list)
    for item in items:
        try:
            grouped[item.organisation, partition_of(contracts[item.organisation], item.period)].append(item)
        except ValueError:
            continue
    return dict(grouped)


def inbox_sensor(
    settings: Settings, contracts: Mapping[str, Organisation], jobs: Mapping[str, Any]
) -> dg.SensorDefinition:
    """Look into the inbox and ask for one run for each partition with complete deliveries; the run key is their hash."""

    @dg.sensor(
        name="inbox",
        jobs=list(jobs.values()),
        minimum_interval_seconds=settings.seconds_between_looks,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Finds complete deliveries (manifest present) in the inbox and has them taken in.",
    )
    def look(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        ledger = Ledger.of(settings)
        grouped = deliveries_by_partition(waiting(settings, ledger, contracts), contracts)
        requests = [
            dg.RunRequest(
                run_key=combined_hash({item.path.name: item.sha256 for item in items}),
                job_name=job_name(organisation),
                partition_key=partition,
            )
            for (organisation, partition), items in grouped.items()
        ]
        return dg.SensorResult(run_requests=requests, asset_events=untold(ledger, contracts, context.instance))

    return look


def yearly_schedule(job: Any) -> dg.ScheduleDefinition:
    """On 1 March ask for the registry extract of the year before. That it is taken in, refitted and drafted follows by conditions.

    The job has no partitions, so a daemon that comes back after missed ticks makes up for the last one only. The extract of a year
    holds the years before it.
    """
    month_day = f"{ASKED_ON[1]} {ASKED_ON[0]}"

    @dg.schedule(
        name=FOLLOWING_UP,
        target=job,
        cron_schedule=f"0 6 {month_day} *",
        execution_timezone=ZONE.key,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Asks for the registry extract of the year before; extract, refit and draft release follow by themselves.",
    )
    def follow_up(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        year = year_asked_on(context.scheduled_execution_time.astimezone(ZONE).date())
        return dg.RunRequest(run_key=f"follow-up {year}", tags={YEAR_TAG: year})

    return follow_up


def freshness_schedule(job: Any) -> dg.ScheduleDefinition:
    """Every morning look which delivery is overdue."""
    return dg.ScheduleDefinition(
        name=FRESHNESS,
        job=job,
        cron_schedule="0 7 * * *",
        execution_timezone=ZONE.key,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Looks which delivery is overdue, and whether the yearly extract is here.",
    )


def alert_sensors(settings: Settings, contracts: Mapping[str, Organisation]) -> list[dg.SensorDefinition]:
    """Two looks, twice a minute: at runs and the ledger, and at checks, since one that does not block fails no run.

    Both tell through `stewards/alerts.py`. They run where the code is loaded, and not as runs: those wait for each other.
    """
    status, seconds = dg.DefaultSensorStatus.RUNNING, max(settings.seconds_between_looks, TOLD_SECONDS)

    @dg.sensor(
        name="alerts",
        minimum_interval_seconds=seconds,
        default_status=status,
        description="Tells who is to be told of failed gates and runs, late deliveries, refits, drafts that wait, failed fetches.",
    )
    def runs_and_ledger(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        ledger = opened(settings)
        told = look_and_tell(settings, ledger, contracts, [seen_runs(context.instance, ledger, now())])
        return dg.SkipReason(_said(told))

    @dg.sensor(
        name="new_warnings",
        minimum_interval_seconds=seconds,
        default_status=status,
        description="Tells of checks that have failed: a build that is held, and warnings that are new.",
    )
    def checks(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        assert context.repository_def is not None  # noqa: S101 - a sensor belongs to a repository
        seen = seen_checks(context.instance, context.repository_def.asset_graph.asset_check_keys)
        alerts = read_alerts(settings.alerts_file)
        return dg.SkipReason(_said(tell(settings, opened(settings), alerts, [seen], now())))

    return [runs_and_ledger, checks]


def _said(told: Told) -> str:
    return (
        f"{told.opened} incidents opened, {told.repeated} seen again, {told.closed} closed; {told.sent} messages sent, "
        f"{told.waiting} wait"
    )


def look_everywhere(
    settings: Settings,
    ledger: Ledger,
    contracts: Mapping[str, Organisation],
    instance: dg.DagsterInstance,
    keys: Iterable[dg.AssetCheckKey],
) -> Told:
    """What both sensors do, at once, for a refresh. Raises AlertsError."""
    return look_and_tell(settings, ledger, contracts, [seen_runs(instance, ledger, now()), seen_checks(instance, keys)])


def untold(
    ledger: Readings, contracts: Mapping[str, Organisation], instance: dg.DagsterInstance
) -> list[dg.AssetMaterialization]:
    """What counts of each partition by the ledger where Dagster knows of something else, to be reported so that a build follows.

    A delivery was taken back; or the process that took one in died after the ledger had it and before Dagster had. The same content as
    before builds nothing.
    """
    records = defaultdict(list)
    for record in ledger.deliveries():
        if record.organisation in contracts and record.status in ("accepted", "duplicate", "retracted"):
            records[record.organisation, partition_of(contracts[record.organisation], record.period)].append(record)
    known = {name: _versions_known(instance, name) for name in contracts}
    found = []
    for (name, partition), of_partition in records.items():
        counts = effective([record for record in of_partition if record.status != "retracted"])
        version = str(counts[-1].content_hash) if counts else "retracted"
        if known[name].get(partition) != version:
            last = (counts or of_partition)[-1]
            found.append(
                dg.AssetMaterialization(
                    dg.AssetKey(["deliveries", name]),
                    description="What counts by the ledger.",
                    metadata={"delivery": last.delivery_id, "period": last.period, "status": last.status},
                    partition=partition,
                    tags={DATA_VERSION_TAG: version},
                )
            )
    return found


def _versions_known(instance: dg.DagsterInstance, organisation: str) -> dict[str | None, str | None]:
    """The content of each partition of an organisation's export, as Dagster last heard of it; under None what is not partitioned."""
    key = dg.AssetKey(["deliveries", organisation])
    last = instance.get_latest_materialization_event(key)
    whole = last.asset_materialization.tags if last is not None and last.asset_materialization is not None else {}
    by_partition = instance.event_log_storage.get_latest_tags_by_partition(
        key, dg.DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION_TAG]
    )
    parts: dict[str | None, str | None] = {name: tags.get(DATA_VERSION_TAG) for name, tags in by_partition.items()}
    return {None: (whole or {}).get(DATA_VERSION_TAG)} | parts


def announce(settings: Settings, contracts: Mapping[str, Organisation], instance: dg.DagsterInstance) -> int:
    """Report what Dagster has not heard of (`untold`); gives how many partitions."""
    events = untold(Ledger.of(settings), contracts, instance)
    for event in events:
        instance.report_runless_asset_event(event)
    return len(events)


def landing_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """Every night delete from landing what has had its verdict for long enough."""

    @dg.op(name="clear_landing", description="Deletes what lies in landing after its verdict and the retention time.")
    def clear(context: dg.OpExecutionContext) -> None:
        cleared = clear_landing(settings, Ledger.of(settings), now())
        context.log.info(f"deleted from landing: {cleared.files} files of {cleared.deliveries} deliveries")

    @dg.job(name="landing_retention", description="Landing is a corridor: what has had its verdict does not stay.")
    def retention() -> None:
        clear()

    return dg.ScheduleDefinition(
        name="landing_retention",
        job=retention,
        cron_schedule="30 3 * * *",
        execution_timezone="Europe/Amsterdam",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )


def fetching_job(settings: Settings, contracts: Mapping[str, Organisation]) -> dg.JobDefinition:
    """Look at every source, take what is complete into the inbox, and write receipts where that is allowed."""

    @dg.op(name="look_at_sources", description="Fetches complete deliveries from the sources into the inbox.")
    def look(context: dg.OpExecutionContext) -> None:
        ledger = Ledger.of(settings)
        looks = fetch_all(settings, ledger, contracts)
        for found in looks:
            context.log.info(
                f"{found.organisation}: {found.taken} taken, {found.incomplete} incomplete, {found.changing} changing; "
                f"{found.bytes} bytes; {found.trouble or 'no trouble'}"
            )
        context.log.info(f"receipts written: {acknowledge(settings, ledger)}")
        context.add_output_metadata({found.organisation: found.trouble or found.taken for found in looks})
        troubles = [found for found in looks if found.trouble not in ("", "source.resting")]
        if troubles:
            raise dg.Failure(
                "; ".join(f"{found.organisation}: {found.trouble}: {WHY[found.trouble]}" for found in troubles),
                allow_retries=False,
            )

    @dg.job(name=FETCHING, description="What partners have put on their servers comes into the inbox.")
    def fetch_job() -> None:
        look()

    return fetch_job


def fetching_schedule(settings: Settings, job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """Every quarter of an hour, where there are sources."""
    status = dg.DefaultScheduleStatus
    return dg.ScheduleDefinition(
        name=FETCHING,
        job=job,
        cron_schedule="*/15 * * * *",
        execution_timezone="Europe/Amsterdam",
        default_status=status.RUNNING if settings.sources_file else status.STOPPED,
    )


@dataclass(frozen=True)
class Launched:
    """What one run did: its job, partition, id, and whether it succeeded."""

    name: str
    partition: str | None
    run_id: str
    is_success: bool


def run_job(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    partition: str | None = None,
    keys: Sequence[dg.AssetKey] | None = None,
) -> Launched:
    """Run a job in this process; a step that fails is told, not raised."""
    result = job.execute_in_process(
        instance=instance,
        partition_key=partition,
        asset_selection=keys,
        raise_on_error=False,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )
    return Launched(job.name, partition, result.run_id, result.success)


class EventLog(ConsolidatedSqliteEventLogStorage):
    """The event log of all runs of a home, as `deploy/dagster.yaml` names it.

    Dagster makes a database engine for each event that it writes, and waits for the disk each time; that is most of what a
    run costs at study size. Here one engine lasts as long as the process, and the write-ahead log is written without
    waiting: a process that is killed loses nothing, a machine that loses power at most the last events, never the ledger.
    """

    @functools.cached_property
    def _engine(self) -> sa.Engine:
        engine = sa.create_engine(self._conn_string, poolclass=sa.NullPool, connect_args={"timeout": 30})
        sa.event.listen(engine, "connect", lambda connection, _: connection.execute("pragma synchronous = normal"))
        return engine

    @contextlib.contextmanager
    def _connect(self) -> Iterator[sa.Connection]:
        with self._engine.begin() as connection:
            yield connection


class Launcher(DefaultRunLauncher):
    """Starts runs as Dagster does, and says of each whether its process still works, as `deploy/dagster.yaml` names it.

    A code server notices by itself when the process of a run dies. When both die, as when a machine restarts, Dagster's own launcher
    would leave that run as started for good, and with it the one place there is for runs. Asked every two minutes: a run is alive
    when its code server says so, or the process that said that it works on it is there.
    """

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        if self._is_known(run.run_id) or self.process_of(run.run_id) is not None:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "its process is gone")

    def _is_known(self, run_id: str) -> bool:
        """Whether the code server that began a run says that it works on it."""
        client = self._get_grpc_client_for_termination(run_id)  # type: ignore[no-untyped-call]
        if client is None:
            return False
        asked = CanCancelExecutionRequest(run_id=run_id)
        try:
            answer = deserialize_value(client.can_cancel_execution(asked, timeout=10), CanCancelExecutionResult)
        except DagsterUserCodeUnreachableError:
            return False
        return bool(answer.can_cancel)

    def process_of(self, run_id: str) -> int | None:
        """The process that said that it works on a run, if it is there: its code server may be gone, or be another by now."""
        said = (
            (int(str(entry.value)), event.timestamp)
            for event in self._instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
            if event.dagster_event is not None and event.dagster_event.engine_event_data is not None
            for label, entry in event.dagster_event.engine_event_data.metadata.items()
            if label == "pid"
        )
        return next((number for number, seen_at in said if is_the_process(number, seen_at)), None)


class OneAtATime(InProcessExecutor):
    """Runs the steps of a run while nobody else writes to the home.

    The process of a run that a code server begins is not ours before this, so it waits for its turn here. Whoever begins a run
    otherwise (a refresh, `NearLauncher`) holds the home already.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(RetryMode.ENABLED)
        self._settings = settings

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        with contextlib.ExitStack() as stack:
            if GRPC_INFO_TAG in plan_context.dagster_run.tags:
                yield dg.DagsterEvent.engine_event(
                    plan_context, "waits until nobody else writes to the home", EngineEventData()
                )
                stack.enter_context(one_writer(self._settings))
            yield from super().execute(plan_context, execution_plan)


def one_at_a_time(settings: Settings) -> dg.ExecutorDefinition:
    """What runs the steps of every run over a home, but those that are spread over workers."""
    return dg.ExecutorDefinition("in_process", executor_creation_fn=lambda _: OneAtATime(settings))


class NearLauncher(Launcher):
    """Starts runs on the machine of the daemon, each as a fork of a process that has loaded everything once.

    A run that begins anew loads Dagster, dbt and Great Expectations for longer than most runs work. For an embedded home: on a
    server the daemon may have neither the home nor the memory, and runs are those of the code server (`Launcher`).
    """

    def launch_run(self, context: LaunchRunContext) -> None:
        run = context.dagster_run
        assert run.job_code_origin is not None  # noqa: S101 - every run of a code location has one
        asked = ExecuteRunArgs(run.job_code_origin, run.run_id, self._instance.get_ref())
        home = Path(self._instance.root_directory).parent  # `dagster_home` of the settings lies in it
        process = loaded().Process(target=_work_on, args=[serialize_value(asked), home])
        process.start()
        threading.Thread(target=self._watch, args=[process, run.run_id], daemon=True).start()

    def _watch(self, process: BaseProcess, run_id: str) -> None:
        """Say of a run whose process ended before it did that it failed, so that its place is free and it is started anew."""
        process.join()
        run = self._instance.get_run_by_id(run_id) if self.has_instance else None
        if run is not None and not run.is_finished:
            self._instance.report_engine_event(f"its process ended with {process.exitcode}", run, cls=type(self))
            self._instance.report_run_failed(run)

    def terminate(self, run_id: str) -> bool:
        run = self._instance.get_run_by_id(run_id)
        number = None if run is None or run.is_finished else self.process_of(run_id)
        if run is None or number is None:
            return False
        self._instance.report_run_canceling(run)
        os.kill(number, signal.SIGINT)
        return True


def end_dead_runs(instance: dg.DagsterInstance) -> int:
    """Say of every run whose process is gone that it failed; gives how many. To be called by whoever may write, before it begins.

    A refresh that was killed, or whose disk was full, cannot say so itself. What it worked on would count as being worked on for good,
    and no condition would ask for it again.
    """
    launcher = instance.run_launcher
    if not isinstance(launcher, Launcher):
        return 0
    status = dg.DagsterRunStatus
    begun = instance.get_runs(dg.RunsFilter(statuses=[status.NOT_STARTED, status.STARTED, status.CANCELING]))
    dead = [
        run
        for run in begun
        if launcher.process_of(run.run_id) == os.getpid()
        or launcher.check_run_worker_health(run).status != WorkerStatus.RUNNING
    ]
    for run in dead:
        instance.report_run_failed(run, "its process is gone")
    return len(dead)


def _work_on(asked: str, home: Path) -> None:
    """What the process of a run does: Dagster's own command for it, from its arguments as text.

    It begins when whoever writes to the home now has ended: a refresh, or somebody who withdraws, would build in the same folder, and
    take in the same deliveries. A run that waits for too long is failed by Dagster, does nothing when its turn comes, and is made anew.
    The forks that a refit would have are made first: afterwards Dagster has its threads, and new processes load for seconds.
    """
    settings = Settings(home=home)
    with forked(settings.fit_processes or os.cpu_count() or 1), one_writer(settings):
        execute_run_command.main([asked])


def is_the_process(number: int, seen_at: float) -> bool:
    """Whether the process of that number on this machine is the one that was there at a moment (seconds since 1970): a number is given
    again, to a process that began later."""
    try:
        status = Path(f"/proc/{number}/stat").read_text(encoding="ascii", errors="replace")
        ticks = int(status.rpartition(")")[2].split()[19])
        booted = next(
            line for line in Path("/proc/stat").read_text(encoding="ascii").splitlines() if line.startswith("btime ")
        )
    except (OSError, IndexError, ValueError, StopIteration):
        return False
    is_ended = status.rpartition(")")[2].split()[0] in ("Z", "X")
    return not is_ended and int(booted.split()[1]) + ticks / os.sysconf("SC_CLK_TCK") <= seen_at + 1


@contextlib.contextmanager
def instance_of(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """The Dagster instance of the home.

    One idle connection to each of its SQLite files stays open. Dagster opens one for each event, and SQLite folds its
    write-ahead log into the file whenever the last one closes: that alone is half the time that a run costs.
    """
    with contextlib.ExitStack() as stack:
        instance = stack.enter_context(dg.DagsterInstance.from_config(str(settings.dagster_home)))
        for file in sorted(settings.dagster_home.rglob("*.db")):
            held = stack.enter_context(contextlib.closing(sqlite3.connect(file)))
            held.execute("select count(*) from sqlite_master").fetchall()
        yield instance


def side_by_side(
    settings: Settings, pool: Executor, workers: int, partitions: Mapping[str, Mapping[str | None, int]]
) -> Iterator[Launched]:
    """Take in a backlog: each organisation's partitions in order, organisations side by side in processes of their own.

    Organisations share no row and are judged apart; the ledger and the instance are databases that take turns. The
    organisation with most bytes left goes next: `partitions` has those of each. Gives each run as it is done; no verdict depends on the order between
    organisations. While they work, this process loads what comes after.
    """
    left = {organisation: dict(sizes) for organisation, sizes in partitions.items() if sizes}
    working: dict[Future[Launched], str] = {}
    while left or working:
        busy = set(working.values())
        free = sorted((name for name in left if name not in busy), key=lambda name: (-sum(left[name].values()), name))
        for name in free[: workers - len(working)]:
            first = next(iter(left[name]))
            del left[name][first]
            working[pool.submit(_take_in, settings, name, first)] = name
            if not left[name]:
                del left[name]
        importlib.import_module("orchestration.loaded")
        done, _ = wait(working, return_when=FIRST_COMPLETED)
        for future in done:
            del working[future]
            yield future.result()


@functools.cache
def _instance(settings: Settings) -> dg.DagsterInstance:
    """The instance as a worker has it: open until the process ends."""
    return contextlib.ExitStack().enter_context(instance_of(settings))


@functools.cache
def _landing_job(settings: Settings, organisation: str) -> dg.JobDefinition:
    contracts = read_contracts(settings.expectations)
    landing = delivery_asset(contracts[organisation], settings, contracts)
    job = dg.define_asset_job(job_name(organisation), selection=[landing])
    return dg.Definitions(assets=[landing], jobs=[job], executor=dg.in_process_executor).resolve_job_def(job.name)


def fetch_apart(settings: Settings) -> Launched:
    """Fetch in a process of its own: transports start threads, and a process with threads must not be forked."""
    return run_job(fetching_job(settings, read_contracts(settings.expectations)), _instance(settings))


def _take_in(settings: Settings, organisation: str, partition: str | None) -> Launched:
    return run_job(_landing_job(settings, organisation), _instance(settings), partition)
