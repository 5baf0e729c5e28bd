"""The yearly follow-up: asked for once a year by the clock of seven years, waited for, and drafted when it has come."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from itertools import takewhile
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner
from dagster._core.instance_for_test import instance_for_test
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.test_utils import InProcessTestWorkspaceLoadTarget, freeze_time
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._scheduler.scheduler import launch_scheduled_runs
from dagster._utils.schedules import schedule_execution_time_iterator

from orchestration.automation import draft_condition, freshness_schedule
from orchestration.cli import main
from orchestration.deliveries.contracts import Organisation
from orchestration.deliveries.periods import ZONE
from orchestration.files import swap_link
from orchestration.ledger import Ledger
from orchestration.releases import approval, assets
from orchestration.releases.approval import DRAFT, REJECTED
from orchestration.releases.assets import DRAFT as DRAFT_KEY
from orchestration.releases.assets import FOLLOW_UP, YEAR_TAG, draft_asset, follow_up_asset
from orchestration.releases.drafting import NothingNew
from orchestration.releases.follow_up import ask, follow_ups, is_to_be_asked, year_asked_on
from orchestration.releases.proposing import proposal, propose
from orchestration.settings import Settings
from orchestration.stewards.incidents import seen_in_ledger
from tests.conftest import Platform
from tests.test_cli import environment


# the clock ----------------------------------------------------------------------------------------------------------
class Daemon:
    """Dagster's own scheduler loop over the yearly schedule, under a clock that the test moves; runs are kept, not run."""

    def __init__(self, instance: dg.DagsterInstance, workspace: WorkspaceProcessContext) -> None:
        self._instance, self._workspace, self._times = instance, workspace, dict[str, Any]()

    def wakes(self, *moments: datetime) -> None:
        for moment in moments:
            with freeze_time(moment):
                list(launch_scheduled_runs(self._workspace, logging.getLogger("test"), moment, self._times))

    @property
    def asked(self) -> list[str]:
        return sorted(run.tags[YEAR_TAG] for run in self._instance.get_runs())


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    target = LoadableTargetOrigin(
        executable_path=sys.executable, module_name="tests.stewards.scheduled", attribute="defs"
    )
    origin = InProcessCodeLocationOrigin(target, location_name="house")
    kept = {"run_launcher": {"module": "dagster._core.test_utils", "class": "MockedRunLauncher"}}
    with (
        instance_for_test(overrides=kept, temp_dir=str(tmp_path)) as instance,
        WorkspaceProcessContext(instance, InProcessTestWorkspaceLoadTarget(origin)) as workspace,
    ):
        yield Daemon(instance, workspace)


def test_each_year_is_asked_for_once_at_six_over_leap_days_and_once_after_missed_ticks(daemon: Daemon) -> None:
    minute = timedelta(minutes=1)
    daemon.wakes(datetime(2026, 1, 1, tzinfo=UTC))
    for year in range(2026, 2030):
        six = datetime(year, 3, 1, 6, tzinfo=ZONE).astimezone(UTC)
        daemon.wakes(datetime(year, 2, 28, 23, tzinfo=UTC), six - minute)
        assert daemon.asked == [
            str(before) for before in range(2025, year - 1)
        ]  # not a minute early, nor on 29 February
        daemon.wakes(six)
        assert daemon.asked == [str(before) for before in range(2025, year)]
        daemon.wakes(six + minute, datetime(year, 3, 29, 1, 30, tzinfo=UTC), datetime(year, 10, 25, 0, 30, tzinfo=UTC))
        assert daemon.asked == [str(before) for before in range(2025, year)]
    # away over the ticks of 2030 and 2031: on coming back the last one is made up for, once
    daemon.wakes(datetime(2031, 6, 1, tzinfo=UTC), datetime(2031, 6, 2, tzinfo=UTC))
    assert daemon.asked == ["2025", "2026", "2027", "2028", "2030"]
    daemon.wakes(
        datetime(2032, 2, 29, 12, tzinfo=UTC), datetime(2032, 3, 1, 12, tzinfo=UTC), datetime(2032, 12, 31, tzinfo=UTC)
    )
    assert daemon.asked[5:] == ["2031"]


def test_every_day_of_seven_years_has_one_look_at_seven_in_the_morning() -> None:
    @dg.job
    def job() -> None: ...

    schedule = freshness_schedule(job)
    ticks = schedule_execution_time_iterator(
        datetime(2026, 1, 1, tzinfo=ZONE).timestamp(), str(schedule.cron_schedule), schedule.execution_timezone
    )
    days = [tick.astimezone(ZONE) for tick in takewhile(lambda tick: tick < datetime(2033, 1, 1, tzinfo=ZONE), ticks)]
    assert {(day.hour, day.minute) for day in days} == {(7, 0)}
    assert [day.date() for day in days] == [date(2026, 1, 1) + timedelta(days=number) for number in range(2557)]


def test_the_year_that_is_asked_for_changes_on_the_first_of_march() -> None:
    days = [
        date(2028, 2, 29),
        date(2028, 3, 1),
        date(2028, 12, 31),
        date(2029, 1, 1),
        date(2029, 2, 28),
        date(2029, 3, 1),
    ]
    assert [year_asked_on(day) for day in days] == ["2026", "2027", "2027", "2027", "2027", "2028"]


# asked, waited for, answered ----------------------------------------------------------------------------------------
def accept(ledger: Ledger, year: str) -> None:
    ledger.receive(f"sha {year}", "registry", year, f"registry-{year}", "")
    ledger.decide(f"sha {year}", "accepted", [], content_hash=f"content {year}")


def fitted(settings: Settings, ledger: Ledger, fit: str, year: int) -> None:
    """A fit that is current, of a version whose follow-up ends with a year."""
    ledger.record_build(f"build {fit}", f"v{fit}", {"registry_cutoff_on": f"{year}-12-31", "deliveries": []})
    ledger.record_fit(fit, f"v{fit}", "")
    swap_link(settings.fits / "current", fit)


def draft(ledger: Ledger, tag: str, fit: str) -> approval.Released:
    row = {"tag": tag, "version_id": f"v{fit}", "fit_id": fit, "after": None, "manifest_sha256": tag}
    ledger.record_draft(row, "daemon")
    return approval.named_release(ledger, tag)


def test_a_year_is_asked_for_once_and_a_steward_sees_how_far_it_is(
    platform: Platform, contracts: Mapping[str, Organisation]
) -> None:
    settings, ledger = platform.settings, platform.ledger
    day = date(2027, 4, 1)
    assert is_to_be_asked(ledger, contracts, day)
    assert [ask(ledger, "2026", "daemon") for _ in range(2)] == [True, False]
    assert not is_to_be_asked(ledger, contracts, day)
    assert [entry["about"] for entry in ledger.audit() if entry["what"] == "follow_up.asked"] == [
        "registry extract of 2026"
    ]

    def stands() -> str:
        (one,) = follow_ups(ledger, contracts)
        waits = [problem.about for problem in seen_in_ledger(settings, ledger, contracts, date(2022, 1, 2), 1.0).problems if problem.event == "extract_asked"]  # fmt: skip
        assert waits == (["registry 2026"] if one.waits else [])
        return one.state

    states = [stands()]
    accept(ledger, "2026")
    states.append(stands())
    fitted(settings, ledger, "aaaa", 2026)
    states.append(stands())
    draft(ledger, "2027.1.0", "aaaa")
    states.append(stands())
    ledger.decide_release("2027.1.0", "approved", "y", "")
    assert [*states, stands()] == ["asked", "accepted", "fitted", "drafted", "approved"]
    said = CliRunner().invoke(main, ["follow-up"], env=environment(settings)).output
    assert said.startswith("2026  asked for on ") and said.rstrip().endswith("approved  release 2027.1.0")


def test_an_extract_that_is_here_is_not_asked_for(platform: Platform, contracts: Mapping[str, Organisation]) -> None:
    accept(platform.ledger, "2026")
    assert not is_to_be_asked(platform.ledger, contracts, date(2027, 4, 1))
    assert is_to_be_asked(platform.ledger, contracts, date(2028, 3, 1))


def test_asking_is_an_asset_whose_version_is_the_year(
    platform: Platform, contracts: Mapping[str, Organisation]
) -> None:
    asked = follow_up_asset(platform.settings, contracts)
    for year in ("2026", "2026", "2027"):
        done = dg.materialize([asked], tags={YEAR_TAG: year})
        (event,) = done.asset_materializations_for_node(asked.op.name)
        assert event.tags is not None and event.tags["dagster/data_version"] == year
    assert [row["year"] for row in platform.ledger.follow_ups()] == ["2026", "2027"]


# what is drafted by itself ------------------------------------------------------------------------------------------
def settings_that(settings: Settings, drafts: str) -> Settings:
    return settings.model_copy(update={"draft_releases": drafts})


def due(platform: Platform, drafts: str = "yearly") -> bool:
    return proposal(settings_that(platform.settings, drafts), platform.ledger).is_due


def test_by_the_year_the_first_release_is_drafted_when_its_extract_was_asked_for_and_then_each_new_year(
    platform: Platform,
) -> None:
    settings, ledger = platform.settings, platform.ledger
    assert not due(platform)  # nothing is fitted
    fitted(settings, ledger, "aaaa", 2025)
    assert (due(platform), due(platform, "always"), due(platform, "never")) == (False, True, False)
    ask(ledger, "2025", "daemon")
    assert due(platform)
    draft(ledger, "2026.1.0", "aaaa")
    assert not due(platform) and not due(platform, "always")  # a release holds this fit
    fitted(settings, ledger, "bbbb", 2025)
    assert due(platform)  # corrected before anybody decided: the draft follows
    ledger.decide_release("2026.1.0", "approved", "y", "")
    assert (due(platform), due(platform, "always")) == (False, True)  # corrected after it left: a person decides when
    fitted(settings, ledger, "cccc", 2026)
    assert due(platform)  # another year, whoever asked for it


def test_a_fit_that_is_held_or_was_rejected_in_a_draft_is_not_drafted(platform: Platform) -> None:
    settings, ledger = platform.settings, platform.ledger
    fitted(settings, ledger, "aaaa", 2025)
    draft(ledger, "2026.1.0", "aaaa")
    approval.reject(ledger, "2026.1.0", "y", "not yet")
    assert not due(platform, "always")
    fitted(settings, ledger, "bbbb", 2025)
    assert due(platform, "always")
    ledger.record_held_fit("cccc", "v", "a risk moved", ["reference_predictions"])
    assert not due(platform, "always")


def test_a_new_draft_takes_the_place_of_those_that_nobody_asked_for_and_leaves_those_of_people(
    platform: Platform,
) -> None:
    ledger = platform.ledger
    draft(ledger, "2026.1.0", "mine")  # a person typed this
    first = propose(ledger, "daemon", "why", lambda: draft(ledger, "2026.1.1", "aaaa"))
    assert (first.replaced, first.left) == ((), ("2026.1.0",))
    second = propose(ledger, "daemon", "why", lambda: draft(ledger, "2026.1.2", "bbbb"))
    assert (second.replaced, second.left) == (("2026.1.1",), ("2026.1.0",))
    states = {one.tag: one.state for one in approval.releases(ledger)}
    assert states == {"2026.1.0": DRAFT, "2026.1.1": REJECTED, "2026.1.2": DRAFT}
    assert "bbbb has become current: 2026.1.2" in approval.named_release(ledger, "2026.1.1").reason


def test_a_draft_that_fails_takes_the_place_of_nothing(platform: Platform) -> None:
    def fails() -> approval.Released:
        raise NothingNew("the same")

    propose(platform.ledger, "daemon", "why", lambda: draft(platform.ledger, "2026.1.0", "aaaa"))
    with pytest.raises(NothingNew):
        propose(platform.ledger, "daemon", "why", fails)
    assert [one.state for one in approval.releases(platform.ledger)] == [DRAFT]


def test_the_draft_hangs_on_another_fit_and_another_year_and_on_nothing_else(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real runs and conditions; the fit stands in for itself, and the writing of a draft for the quarter of an hour that it takes."""
    settings, ledger = platform.settings, platform.ledger
    now: dict[str, Any] = {"fit": "aaaa", "is_good": True}
    tags = iter(["2027.1.0", "2027.1.1", "2028.1.0"])
    monkeypatch.setattr(assets.drafting, "draft_release", lambda *_: draft(ledger, next(tags), now["fit"]))
    monkeypatch.setattr(assets, "catalogue_in", lambda _: None)

    @dg.asset(
        key=assets.FIT, output_required=False, check_specs=[dg.AssetCheckSpec("good", asset=assets.FIT, blocking=True)]
    )
    def fit() -> Iterator[Any]:
        if now["is_good"]:
            yield dg.MaterializeResult(data_version=dg.DataVersion(now["fit"]))
        yield dg.AssetCheckResult(check_name="good", passed=now["is_good"])

    @dg.asset(key=FOLLOW_UP)
    def follow_up() -> dg.MaterializeResult:
        ask(ledger, now["year"], "daemon")
        return dg.MaterializeResult(data_version=dg.DataVersion(now["year"]))

    defs = dg.Definitions([fit, follow_up, draft_asset(settings, draft_condition())], executor=dg.in_process_executor)
    job = defs.resolve_implicit_global_asset_job_def()

    def run(key: dg.AssetKey) -> None:
        job.execute_in_process(instance=instance, asset_selection=[key], raise_on_error=False)

    def refit(name: str, year: int, is_good: bool = True) -> None:
        now.update(fit=name, is_good=is_good)
        if is_good:
            fitted(settings, ledger, name, year)
        run(assets.FIT)

    looks: list[str] = []
    with dg.DagsterInstance.ephemeral() as instance:
        cursor = dg.evaluate_automation_conditions(defs, instance).cursor

        def drafted() -> list[str]:
            """What is drafted once the conditions have been looked at until they ask for nothing."""
            nonlocal cursor
            while True:
                result = dg.evaluate_automation_conditions(defs, instance, cursor=cursor)
                cursor = result.cursor
                if not result.get_num_requested(DRAFT_KEY):
                    return [one.tag for one in approval.releases(ledger) if one.state == DRAFT]
                looks.append(now["fit"])
                run(DRAFT_KEY)

        refit("aaaa", 2026)
        assert drafted() == []  # looked at, and not asked for
        now["year"] = "2026"
        run(FOLLOW_UP)
        assert drafted() == ["2027.1.0"]  # the fit was there before the year was asked for
        refit("aaaa", 2026)
        assert drafted() == ["2027.1.0"]  # the same fit again
        refit("bbbb", 2026, is_good=False)
        assert drafted() == ["2027.1.0"]  # held back
        assert looks == ["aaaa", "aaaa"]  # for the fit and for the year, and for nothing that stayed as it was
        refit("bbbb", 2026)
        assert drafted() == ["2027.1.1"]
        ledger.decide_release("2027.1.1", "approved", "y", "")
        refit("cccc", 2026)
        assert drafted() == []
        now["year"] = "2027"
        run(FOLLOW_UP)
        assert drafted() == []  # asked for, and not here
        refit("dddd", 2027)
        assert drafted() == ["2028.1.0"]
