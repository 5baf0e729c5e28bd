"""A refit in batches: what is planned, who may fit it, what is kept of it, when it is asked for, and what becomes of it over real workers."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
import redis
from dagster._core.definitions.data_version import DATA_VERSION_TAG

from orchestration.analysis import assets
from orchestration.analysis.assets import FINGERPRINT, GRID, fit_asset, specification
from orchestration.analysis.fit import made_by, read_fit, run_fit, write_fit
from orchestration.analysis.inputs import read_inputs
from orchestration.analysis.reuse import Earlier
from orchestration.analysis.specification import read_specification
from orchestration.automation import FETCHING, after_grid_condition, instance_of, refit_condition, run_job
from orchestration.definitions import build_defs
from orchestration.home import initialise
from orchestration.settings import Settings
from orchestration.spreading import assets as spreading_assets
from orchestration.spreading import batches
from orchestration.spreading.assets import JOB, worker_app
from orchestration.spreading.batches import (
    ALLIANCE,
    TRIES,
    Batch,
    BatchGivenUp,
    Done,
    OtherWork,
    Work,
    fit_batch,
    packed,
)
from orchestration.warehouse.versions import NoSuchVersion, current_version
from orchestration.workers import WorkerDied
from tests.analysis.synthetic import OUTCOMES, synthetic_inputs
from tests.analysis.test_refit import published, refit
from tests.conftest import brief, same_key_each_time
from tests.spreading import few_models, house
from tests.spreading.running import (
    Run,
    being_fitted,
    celery_workers,
    environment_of,
    redis_server,
    steps_begun,
    wait_for,
)

LANDMARK, END = OUTCOMES


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings(home=tmp_path / "home", imputations=2, broker="redis://:hushed@127.0.0.1:1/0")  # type: ignore[arg-type]
    initialise(made)
    return made


@pytest.fixture(scope="module")
def fit_to_make(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """The fit of a small SYNTHETIC version."""
    made = Settings(home=tmp_path_factory.mktemp("small") / "home", imputations=2)
    initialise(made)
    published(made, synthetic_inputs(30))
    version = current_version(made)
    assert version is not None
    return Work.of(version, brief(specification(made)), made.seed)


@pytest.fixture
def work(fit_to_make: Work, monkeypatch: pytest.MonkeyPatch) -> Work:
    """The same, of which no model is fitted: each part is one table of one row."""
    monkeypatch.setattr(batches, "_fitted", lambda work, part: {"estimates": pd.DataFrame({"part": [part]})})
    return fit_to_make


def test_a_quick_part_shares_its_step_and_what_takes_longest_begins_first() -> None:
    seconds = {"a": 40.0, "b": 4.0, "c": 7.0, "d": 90.0, "e": 0.5}
    found = packed(["a", "b", "c", "d", "e", "new"], seconds)
    assert [batch.parts for batch in found] == [("new",), ("d",), ("a",), ("c", "b"), ("e",)]
    assert [batch.name for batch in found] == ["new", "d", "a", "c_and_1_more", "e"]


def test_a_batch_that_is_there_whole_is_not_fitted_again_and_a_damaged_part_is(settings: Settings, work: Work) -> None:
    batch = Batch((LANDMARK, END))
    first = fit_batch(settings.fits, work.name, batch, lambda: work)
    assert (set(first.seconds), first.there) == ({LANDMARK, END}, 0)
    folder = settings.fits / ".grid" / work.name
    assert (settings.fits / ".grid").stat().st_mode & 0o777 == folder.stat().st_mode & 0o777 == 0o700
    with (folder / END / "estimates.parquet").open("ab") as stream:
        stream.write(b"x")
    again = fit_batch(settings.fits, work.name, batch, lambda: work)
    assert (set(again.seconds), again.there) == ({END}, 1)
    assert fit_batch(settings.fits, work.name, batch, lambda: work).there == 2


def test_a_worker_with_other_rows_models_or_code_fits_nothing(settings: Settings, work: Work) -> None:
    other = replace(work, name="0" * 16)
    with pytest.raises(OtherWork, match="fit 0000000000000000") as caught:
        fit_batch(settings.fits, other.name, Batch((END,)), lambda: work)
    assert work.name in str(caught.value)
    assert not list((settings.fits / ".grid").rglob("*.parquet"))


def test_a_batch_whose_workers_die_each_time_is_given_up(settings: Settings, work: Work) -> None:
    class Killed(BaseException):
        pass

    def die() -> Work:
        raise Killed

    for _ in range(TRIES):
        with pytest.raises(Killed):
            fit_batch(settings.fits, work.name, Batch((END,)), die)
    with pytest.raises(BatchGivenUp, match=f"begun {TRIES} times"):
        fit_batch(settings.fits, work.name, Batch((END,)), lambda: work)
    # whoever asks for the grid again begins anew
    assert {batch.name for batch in batches.planned(settings.fits, work, None)} == {LANDMARK, END, ALLIANCE}
    assert fit_batch(settings.fits, work.name, Batch((END,)), lambda: work).there == 0


def test_nothing_is_kept_of_a_version_that_went_while_a_batch_was_fitted(settings: Settings, work: Work) -> None:
    gone = replace(work, version=replace(work.version, folder=work.version.folder / "gone"))
    with pytest.raises(NoSuchVersion):
        fit_batch(settings.fits, work.name, Batch((END,)), lambda: gone)
    assert not list((settings.fits / ".grid").rglob("*.parquet"))


def test_what_an_earlier_fit_has_of_the_same_rows_is_no_batch_and_what_is_left_of_others_goes(
    settings: Settings, work: Work
) -> None:
    left = settings.fits / ".grid" / "another"
    left.mkdir(parents=True)
    lent = Earlier({}, {name: mark for name, mark in work.marks.items() if not name.endswith(END)})
    assert batches.planned(settings.fits, work, lent) == [Batch((END,))]
    assert not left.exists()
    assert batches.planned(settings.fits, work, Earlier({}, work.marks)) == []


def test_processes_of_this_machine_fit_side_by_side_what_one_fits_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assets, "read_specification", lambda: brief(read_specification()))
    said, fits = {}, {}
    for processes in (1, 2):
        made = Settings(home=tmp_path / str(processes), imputations=2, fit_processes=processes)
        same_key_each_time(made)
        initialise(made)
        published(made, synthetic_inputs(30))
        done, said[processes] = refit(made)
        assert done.success
        fits[processes] = read_fit((made.fits / "current").resolve())
        assert not [path for path in (made.fits / ".grid").glob("*") if path.is_dir()]
    assert [said[processes]["parts_fitted_side_by_side"] for processes in (1, 2)] == [0, 3]
    assert said[1]["models_fitted"] == said[2]["models_fitted"] > 10
    assert said[1]["parts_taken_over"] == said[2]["parts_taken_over"] == 0
    (alone, of_one), (together, of_two) = fits[1], fits[2]
    assert alone.keys() == together.keys()
    for name, table in alone.items():
        pd.testing.assert_frame_equal(together[name], table, check_exact=True, obj=name)
    assert {key for key in of_one if of_one[key] != of_two[key]} <= {"made_at", "made_on"}


def test_a_process_that_dies_leaves_what_it_has_not_fitted_to_the_fit(
    settings: Settings, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def dying(count: int) -> Iterator[ThreadPoolExecutor]:
        with ThreadPoolExecutor(1) as pool:
            yield pool
            raise WorkerDied("ended from outside")

    def fitted(fits: Path, name: str, part: str, *_: object) -> Done:
        return fit_batch(fits, name, Batch((part,)), lambda: work)

    monkeypatch.setattr(batches, "at_hand", dying)
    monkeypatch.setattr(batches, "_fit_alone", fitted)
    assert set(batches.side_by_side(settings.fits, work, None, 2)) == {LANDMARK, END, ALLIANCE}
    # what took next to nothing the last time is not worth a process
    shutil.rmtree(settings.fits / ".grid" / work.name)
    assert batches.side_by_side(settings.fits, work, None, 2) == []


def test_without_a_broker_the_fit_hangs_on_the_fingerprint_as_ever(settings: Settings) -> None:
    plain = Settings(home=settings.home)
    condition = dg.AutomationCondition.eager()
    assert set(fit_asset(plain, condition).dependency_keys) == {FINGERPRINT}
    assert set(fit_asset(settings, condition).dependency_keys) == {GRID}


def test_all_definitions_load_together_and_only_the_grid_goes_to_workers(settings: Settings) -> None:
    defs = build_defs(settings)
    dg.Definitions.validate_loadable(defs)
    executors = {name: defs.resolve_job_def(name).executor_def.name for name in (JOB, FETCHING, "deliver_rn")}
    assert executors == {JOB: "celery", FETCHING: "in_process", "deliver_rn": "in_process"}


def test_the_password_of_the_broker_is_not_said(settings: Settings) -> None:
    assert "hushed" not in repr(settings) + str(settings.model_dump()) + settings.model_dump_json()
    with pytest.raises(ValueError, match="a broker is a Redis") as refused:
        Settings(broker="amqp://me:hushed@127.0.0.1:1/0")  # type: ignore[arg-type]
    assert "hushed" not in str(refused.value)


def test_a_broker_that_is_not_there_has_no_workers(settings: Settings) -> None:
    assert not spreading_assets.workers_there(settings)


def test_the_grid_is_asked_for_when_rows_change_and_a_worker_answers(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    defs = house.definitions(settings)
    sensor = defs.resolve_sensor_def("spread_refit")
    answers = {"there": True}
    monkeypatch.setattr(spreading_assets, "workers_there", lambda _: answers["there"])
    with dg.DagsterInstance.ephemeral() as instance:
        cursor: list[str | None] = [None]

        def tick() -> type:
            context = dg.build_sensor_context(instance, cursor=cursor[0], definitions=defs)
            found = sensor(context)
            cursor[0] = context.cursor
            return type(found)

        def say(key: dg.AssetKey, version: str) -> None:
            tags = {DATA_VERSION_TAG: version}
            instance.report_runless_asset_event(dg.AssetMaterialization(key, tags=tags))

        assert tick() is dg.SkipReason
        say(FINGERPRINT, "one")
        answers["there"] = False
        assert tick() is dg.SkipReason
        answers["there"] = True
        assert [tick(), tick()] == [dg.RunRequest, dg.SkipReason]
        say(GRID, "fit one")
        say(FINGERPRINT, "one")  # computed again, and the same
        assert tick() is dg.SkipReason
        say(FINGERPRINT, "two")
        assert [tick(), tick()] == [dg.RunRequest, dg.SkipReason]


def test_new_code_of_the_models_has_the_grid_fitted_first_and_then_the_fit() -> None:
    def house(code: str) -> dg.Definitions:
        @dg.asset(code_version=code, automation_condition=refit_condition())
        def grid() -> None: ...

        @dg.asset(deps=[grid], code_version=code, automation_condition=after_grid_condition())
        def fit() -> None: ...

        return dg.Definitions([grid, fit])

    with dg.DagsterInstance.ephemeral() as instance:

        def fitted(name: str, version: str) -> None:
            instance.report_runless_asset_event(dg.AssetMaterialization(name, tags={DATA_VERSION_TAG: version}))

        fitted("grid", "old"), fitted("fit", "old")
        first = dg.evaluate_automation_conditions(house("old"), instance)
        new = dg.evaluate_automation_conditions(house("new"), instance, cursor=first.cursor)
        assert (new.get_num_requested(dg.AssetKey("grid")), new.get_num_requested(dg.AssetKey("fit"))) == (1, 0)
        fitted("grid", "new")
        after = dg.evaluate_automation_conditions(house("new"), instance, cursor=new.cursor)
        assert (after.get_num_requested(dg.AssetKey("grid")), after.get_num_requested(dg.AssetKey("fit"))) == (0, 1)


@pytest.fixture
def over_redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A home with a SYNTHETIC version and a broker that is there; this process and its workers fit few models."""
    with redis_server(tmp_path) as url:
        made = Settings(home=tmp_path / "home", imputations=2, broker=url)  # type: ignore[arg-type]
        initialise(made)
        published(made, synthetic_inputs(60))
        for name, value in environment_of(made).items():
            if name.startswith("DELICTVRIJ_"):
                monkeypatch.setenv(name, value)
        monkeypatch.setattr(assets, "read_specification", assets.read_specification)  # put back afterwards
        few_models.few_models()
        house.of_home.cache_clear()
        yield made


def hashes_of_parts(settings: Settings) -> dict[str, Mapping[str, str]]:
    """The SHA-256 of every table of every part of the grid."""
    found = (settings.fits / ".grid").glob("*/*/manifest.json")
    return {path.parent.name: json.loads(path.read_text())["tables"] for path in found}


def files_with(folder: Path, secret: str) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


def test_a_killed_worker_costs_its_batch_and_one_worker_two_and_none_give_the_same_fit(
    over_redis: Settings, tmp_path: Path
) -> None:
    settings, fits = over_redis, over_redis.fits
    assert settings.broker is not None
    url = settings.broker.get_secret_value()
    app = "tests.spreading.few_models:app"
    with instance_of(settings) as instance:
        with celery_workers(settings, ("one",), app):
            with Run(few_models.grid_job, instance) as killed:
                wait_for(lambda: [one.batch for one in being_fitted(settings)] == [LANDMARK], "first batch")
                os.kill(being_fitted(settings)[0].process, signal.SIGKILL)
            assert killed.is_success
            assert steps_begun(instance, killed.run_id) == {LANDMARK: 2, END: 1, ALLIANCE: 1}
            of_one = hashes_of_parts(settings)
            assert set(of_one) == {LANDMARK, END, ALLIANCE}

            done = run_job(house.of_home().resolve_job_def(house.FIT_JOB), instance)
            assert done.is_success
            name = (fits / "current").readlink().name
            assert not list((fits / ".grid").glob("*/"))
            events = instance.all_logs(done.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
            said = events[0].asset_materialization.metadata  # type: ignore[union-attr]
            assert said["models_fitted"].value == 0
            shutil.move(fits / name, tmp_path / "spread")
            (fits / "current").unlink()
            shutil.rmtree(fits / ".grid")  # what parts took, too: the quick ones would share a step

            worker_app(settings).control.pool_grow(1)
            with Run(few_models.grid_job, instance) as whole:
                pass  # whether both work at one moment is chance: the batches are small
        assert whole.is_success
        assert steps_begun(instance, whole.run_id) == {LANDMARK: 1, END: 1, ALLIANCE: 1}
        assert hashes_of_parts(settings) == of_one

    version, spec = current_version(settings), specification(settings)
    assert version is not None
    plain = write_fit(run_fit(read_inputs(version), spec, settings.seed), tmp_path / "plain", {})
    spread = read_fit(tmp_path / "spread")[1]
    assert spread["fit_id"] == name and all(spread[key] == value for key, value in made_by(spec, settings.seed).items())
    assert {table: entry["sha256"] for table, entry in spread["tables"].items()} == {
        table: entry["sha256"] for table, entry in plain["tables"].items()
    }

    # what went over the broker names nobody, and its password stands in no file but its own configuration
    with redis.Redis.from_url(url) as broker:
        passed = b"".join(broker.dump(key) for key in broker.scan_iter())
    people = set(read_inputs(version).client["client_id"])
    assert len(passed) > 1000 and [one for one in people if one.encode() in passed] == []
    assert files_with(tmp_path, url.partition("@")[0].rpartition(":")[2]) == ["redis.conf"]
