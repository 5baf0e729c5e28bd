"""What Dagster shows stewards and knows for them: whether deliveries are in time, and which runs and checks have failed.

When these are looked at stands in `automation.py`, who is told in `alerts.py`. No asset is made here.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus as CheckStatus
from dagster._core.storage.dagster_run import RunRecord
from dagster._core.storage.tags import PARTITION_NAME_TAG

from orchestration.analysis.assets import FIT, VERSION
from orchestration.deliveries.assets import FETCHING
from orchestration.deliveries.contracts import Organisation
from orchestration.deliveries.periods import local_day
from orchestration.home import opened
from orchestration.ledger import now
from orchestration.readings import Readings
from orchestration.releases.assets import ANSWERED, FOLLOW_UP
from orchestration.releases.follow_up import follow_ups
from orchestration.settings import Settings
from orchestration.stewards.incidents import OF_CHECKS, OF_RUNS, Fact, Problem, Seen, late_now

FRESHNESS = "freshness"
ASSET_JOB = "__ASSET_JOB"
FAILURES_KEPT, MOST_FAILURES = timedelta(days=14), 200


def freshness_checks(settings: Settings, contracts: Mapping[str, Organisation]) -> list[dg.AssetChecksDefinition]:
    """For each organisation that delivers again, whether its newest delivery that should be here is; and the yearly extract."""
    checks = [_freshness_check(settings, contracts, name) for name, one in contracts.items() if one.cadence != "once"]

    @dg.asset_check(
        asset=FOLLOW_UP,
        name=ANSWERED,
        description="The registry extract that was asked for has been accepted.",
    )
    def answered() -> dg.AssetCheckResult:
        last = follow_ups(opened(settings), contracts)[-1:]
        waits = [one for one in last if one.waits]
        said = [f"the registry extract of {one.year} was asked for on {one.asked_at.date()} and is not here ({one.state})" for one in waits]  # fmt: skip
        facts = {"year": last[0].year, "state": last[0].state} if last else {}
        return dg.AssetCheckResult(
            passed=not waits, severity=dg.AssetCheckSeverity.WARN, description="; ".join(said) or None, metadata=facts
        )

    return [*checks, answered]


def _freshness_check(
    settings: Settings, contracts: Mapping[str, Organisation], organisation: str
) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=dg.AssetKey(["deliveries", organisation]),
        name=FRESHNESS,
        description="The newest delivery that should be here is: it fails from the day after its due date.",
    )
    def freshness() -> dg.AssetCheckResult:
        today = local_day(now())
        late = {one.organisation: one for one in late_now(settings, opened(settings), contracts, today)}
        found = late.get(organisation)
        said = f"{found.period} was due on {found.due_on}: {found.days} days late, {found.state}" if found else None
        return dg.AssetCheckResult(
            passed=found is None,
            severity=dg.AssetCheckSeverity.WARN,
            description=said,
            metadata={"days_late": found.days if found else 0, "evaluated_on": today.isoformat()},
        )

    return freshness


def seen_runs(instance: dg.DagsterInstance, ledger: Readings, at: datetime) -> Seen:
    """Jobs whose last run failed and that have not succeeded since; not where a failed check, or the source's trouble, says it already."""
    recent = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=at.replace(tzinfo=UTC) - FAILURES_KEPT)
    records = list(instance.get_run_records(recent, limit=MOST_FAILURES))
    known = {record.dagster_run.run_id for record in records}
    told = [row["evidence"] for row in ledger.incidents(is_open=True) if row["event"] in OF_RUNS]
    if missing := [run_id for run_id in told if run_id not in known]:
        records.extend(instance.get_run_records(dg.RunsFilter(run_ids=missing)))
    last: dict[str, RunRecord] = {}
    for record in sorted(records, key=lambda one: one.create_timestamp):
        last[_about(record.dagster_run)] = record
    is_known = any(row["trouble"] for row in ledger.last_fetchings())
    problems = []
    for about, record in last.items():
        run = record.dagster_run
        if (
            (run.job_name == FETCHING and is_known)
            or _has_failed_check(instance, run.run_id)
            or _is_over(instance, record)
        ):
            continue
        facts = {"job": about.partition(" ")[0] if run.job_name != ASSET_JOB else about, "run": run.run_id[:8]}
        partition = run.tags.get(PARTITION_NAME_TAG)
        problems.append(
            Problem("run_failed", about, facts | ({"partition": partition} if partition else {}), run.run_id)
        )
    return Seen(OF_RUNS, tuple(problems))


def _about(run: dg.DagsterRun) -> str:
    """What a run is of: its job and partition, or the stations of the assets that it was asked for."""
    if run.job_name == ASSET_JOB and run.asset_selection:
        return ", ".join(sorted({key.path[0] for key in run.asset_selection}))
    return " ".join(filter(None, (run.job_name, run.tags.get(PARTITION_NAME_TAG))))


def _has_failed_check(instance: dg.DagsterInstance, run_id: str) -> bool:
    events = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION).records
    evaluations = [
        one.event_log_entry.dagster_event.event_specific_data for one in events if one.event_log_entry.dagster_event
    ]
    return any(not one.passed and one.severity == dg.AssetCheckSeverity.ERROR for one in evaluations)  # type: ignore[union-attr]


def _is_over(instance: dg.DagsterInstance, failed: RunRecord) -> bool:
    """Whether what failed has succeeded since: the same job and partition, and some of the same assets."""
    run, ended = failed.dagster_run, datetime.fromtimestamp(failed.create_timestamp.timestamp(), UTC)
    later = dg.RunsFilter(job_name=run.job_name, statuses=[dg.DagsterRunStatus.SUCCESS], created_after=ended)
    return any(
        other.tags.get(PARTITION_NAME_TAG) == run.tags.get(PARTITION_NAME_TAG)
        and (not run.asset_selection or not other.asset_selection or run.asset_selection & other.asset_selection)
        for other in instance.get_runs(later, limit=MOST_FAILURES)
    )


def seen_checks(instance: dg.DagsterInstance, keys: Iterable[dg.AssetCheckKey]) -> Seen:
    """Checks whose last evaluation failed, without those that the ledger tells of: gates of deliveries, checks of fits, freshness."""
    asked = [key for key in keys if key.name not in (FRESHNESS, ANSWERED) and key.asset_key.path[0] != "deliveries"]
    storage, done = instance.event_log_storage, {CheckStatus.SUCCEEDED, CheckStatus.FAILED}
    held: dict[str, list[Any]] = defaultdict(list)
    problems: list[Problem] = []
    for key, record in storage.get_latest_asset_check_execution_by_key(asked).items():
        evaluated = record
        if record.status not in done:  # a run is about to look again; until then what was seen last holds
            earlier = storage.get_asset_check_execution_history(key, limit=1, status=done)
            if not earlier:
                continue
            evaluated = earlier[0]
        found = evaluated.evaluation
        if found is None:
            continue
        warns = key.asset_key == VERSION and int(getattr(found.metadata.get("warnings"), "value", 0) or 0) > 0
        if (found.passed and warns) or (not found.passed and found.severity == dg.AssetCheckSeverity.WARN):
            name = key.asset_key.to_user_string()
            facts: dict[str, Fact] = {"asset": name, "check": key.name, "run": evaluated.run_id[:8]}
            problems.append(Problem("check_warning", f"{name} {key.name}"[:250], facts, evaluated.run_id))
        elif not found.passed and key.asset_key != FIT:
            held[key.asset_key.path[0]].append(evaluated)
    for station, failed in sorted(held.items()):
        run_id = max(failed, key=lambda one: one.id).run_id
        problems.append(Problem("candidate_failed", station, {"failed": len(failed), "run": run_id[:8]}, run_id))
    return Seen(OF_CHECKS, tuple(problems))
