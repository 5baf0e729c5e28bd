"""The grid: the batches of a refit as the steps of one run that Dagster's Celery executor hands to workers, and what such a worker is.

Between the fingerprint and the fit, where the setting `broker` is. What a batch is stands in `batches.py`.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.definitions.asset_daemon_cursor import AssetDaemonCursor
from dagster._core.storage.tags import MAX_RUNTIME_SECONDS_TAG
from dagster._serdes import deserialize_value, serialize_value
from dagster._utils.warnings import BetaWarning

from orchestration.analysis.assets import ANALYSIS, FINGERPRINT, GRID, lent, published, specification
from orchestration.analysis.fit import room_hash
from orchestration.settings import Settings
from orchestration.spreading.batches import Batch, Done, Work, fit_batch, planned, remember
from orchestration.trouble import Mendable

if TYPE_CHECKING:
    from celery import Celery

JOB = "refit_grid"
ANSWER_SECONDS = 2.0
LOST_SECONDS = 2.0  # how long a worker waits for the result of a process that died
RESTORE_SECONDS = 5  # how often workers look for batches of workers that died
LONGEST_RUN_IN_BATCHES = 12  # after that a run whose workers do not come ends, and others can begin


class NoBrokerSupport(Mendable):
    """A broker is set, and the packages that talk to one are not installed."""


@dataclass(frozen=True)
class Spreading:
    """What comes with a broker: the grid, its job and its sensor, and the definitions that say by condition when it is due."""

    asset: dg.AssetsDefinition
    job: Any
    sensor: dg.SensorDefinition
    due: dg.Definitions


def _work(settings: Settings) -> Work:
    return Work.of(published(settings), specification(settings), settings.seed)


def grid_asset(settings: Settings, condition: dg.AutomationCondition | None = None) -> dg.AssetsDefinition:
    """Plan the batches, fit each in a step, say what they took. The tables lie in the home; between steps go names and seconds."""

    @dg.op(
        name="plan_batches",
        ins={"fingerprint": dg.In(dg.Nothing)},
        out=dg.DynamicOut(dict),
        description="Which outcomes have to be fitted, and in which steps: what the last good fit has of the same rows is not.",
    )
    def plan() -> Iterator[dg.DynamicOutput[dict[str, Any]]]:
        work = _work(settings)
        for batch in planned(settings.fits, work, lent(settings, work.spec)):
            yield dg.DynamicOutput({"fit": work.name, "parts": list(batch.parts)}, mapping_key=batch.name)

    @dg.op(
        name="fit_batch",
        description="Fits one batch on whichever worker is free; a batch that is there whole is not fitted again.",
    )
    def fit_one(context: dg.OpExecutionContext, asked: dict) -> dict:
        done = fit_batch(settings.fits, asked["fit"], Batch(tuple(asked["parts"])), lambda: _work(settings))
        context.log.info(
            f"{len(done.seconds)} fitted in {sum(done.seconds.values()):.1f} s, {done.there} there already"
        )
        return {"name": done.name, "seconds": dict(done.seconds), "there": done.there}

    @dg.op(
        name="all_batches",
        out=dg.Out(dg.Nothing),
        description="Notes what each part took; the fit takes the tables over.",
    )
    def gather(fitted: list) -> dg.Output[None]:
        done = [Done(**one) for one in fitted]
        remember(settings.fits, done)
        seconds = [sum(one.seconds.values()) for one in done]
        name = _work(settings).name
        said: dict[str, int | float | str] = {
            "fit": name,
            "batches": len(done),
            "parts_fitted": sum(len(one.seconds) for one in done),
            "parts_there_already": sum(one.there for one in done),
            "seconds_of_work": round(sum(seconds), 1),
            "seconds_of_longest_batch": round(max(seconds, default=0.0), 1),
        }
        with _without_beta_warnings():
            return dg.Output(None, data_version=dg.DataVersion(name), metadata=said)

    @dg.graph_asset(
        key=GRID,
        group_name=ANALYSIS,
        ins={"fingerprint": dg.AssetIn(FINGERPRINT, dagster_type=dg.Nothing)},
        description="The models of the next fit, outcome by outcome, fitted by workers side by side; the fit takes them over.",
        owners=["team:researchers"],
        kinds={"python"},
        code_version=room_hash()[:16],
        automation_condition=condition,
    )
    def grid(fingerprint: Any) -> Any:
        return gather(plan(fingerprint).map(fit_one).collect())

    return grid


def spreading(settings: Settings, upstream: dg.AssetsDefinition, due: dg.AutomationCondition) -> Spreading:
    """The grid over a broker; `upstream` is the fingerprint, `due` says when. Raises NoBrokerSupport."""
    asset = grid_asset(settings)
    job = dg.define_asset_job(
        JOB,
        selection=[GRID],
        executor_def=_executor(settings),
        run_tags={MAX_RUNTIME_SECONDS_TAG: str(LONGEST_RUN_IN_BATCHES * settings.longest_batch_seconds)},
        description="A refit, spread over workers in batches.",
    )
    conditioned = dg.Definitions([upstream, grid_asset(settings, due)])
    return Spreading(asset, job, _sensor(settings, job, conditioned), conditioned)


def _sensor(settings: Settings, job: Any, conditioned: dg.Definitions) -> dg.SensorDefinition:
    @dg.sensor(
        name="spread_refit",
        job=job,
        minimum_interval_seconds=settings.seconds_between_looks,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Has the batches of a refit fitted by workers when the rows that models read, or the code of the models, have changed.",
    )
    def look(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        cursor = deserialize_value(context.cursor, AssetDaemonCursor) if context.cursor else None
        with _without_beta_warnings():
            found = dg.evaluate_automation_conditions(conditioned, context.instance, cursor=cursor)
        if found.get_num_requested(GRID) and not workers_there(settings):
            return dg.SkipReason(
                "a refit is due and no worker answers at the broker: start one (docs/spreading.md); it is asked for again then"
            )
        context.update_cursor(serialize_value(found.cursor))
        return dg.RunRequest() if found.get_num_requested(GRID) else dg.SkipReason("no refit is due")

    return look


@contextmanager
def _without_beta_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=BetaWarning)
        yield


def _celery(settings: Settings) -> dict[str, Any]:
    """What executor and workers must agree on: a batch is acknowledged when it is fitted, and goes to another when its worker is lost."""
    assert settings.broker is not None  # noqa: S101 - asked for only where there is one
    url, longest = settings.broker.get_secret_value(), settings.longest_batch_seconds
    return {
        "broker": url,
        "backend": url,
        "config_source": {
            "task_acks_late": True,
            "task_reject_on_worker_lost": True,
            "worker_lost_wait": LOST_SECONDS,
            "worker_prefetch_multiplier": 1,
            "broker_connection_retry_on_startup": True,
            "broker_transport_options": {
                "visibility_timeout": longest,
                "unacked_restore_interval": RESTORE_SECONDS,
                "unacked_restore_throttle": 1,
            },
            "result_backend_transport_options": {"visibility_timeout": longest},
        },
    }


def _executor(settings: Settings) -> dg.ExecutorDefinition:
    try:
        from dagster_celery import celery_executor
    except ModuleNotFoundError as error:
        raise NoBrokerSupport(
            f"DELICTVRIJ_BROKER is set, and {error.name} is not installed: install delictvrij[server], or take the setting away"
        ) from None
    return celery_executor.configured(_celery(settings), name="celery")


def worker_app(settings: Settings) -> "Celery":
    """The Celery app of a worker, as the executor of this home expects it."""
    from dagster_celery.executor import CeleryExecutor
    from dagster_celery.make_app import make_app
    from dagster_celery.tasks import create_task

    if settings.broker is None:
        raise NoBrokerSupport("a worker needs the setting DELICTVRIJ_BROKER, the same as the platform has")
    app = make_app(CeleryExecutor.for_cli(**_celery(settings)).app_args())
    create_task(app)
    return app


def over_workers(job: Any, instance: dg.DagsterInstance) -> tuple[str, bool]:
    """Run the grid (a reconstructable job) over workers and wait for it; gives the run's id, and whether it went well."""
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with warnings.catch_warnings():
        # dagster-celery registers its task anew for each step, of which Celery warns
        warnings.filterwarnings("ignore", message="Task name 'execute_plan' is already registered")
        with dg.execute_job(job, instance, run_config=quiet) as done:
            return done.run_id, done.success


def workers_there(settings: Settings) -> bool:
    """Whether the broker is there and any worker answers at it."""
    from kombu.exceptions import OperationalError

    try:
        return bool(worker_app(settings).control.ping(timeout=ANSWER_SECONDS))
    except OperationalError:
        return False
