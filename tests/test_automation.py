"""The refit condition and the chain before it, tried by real runs: real deliveries, dbt, fits, an ephemeral instance.

The steps of one story follow each other on one home, as they do in life; each test is a whole story.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner
from dagster._core.definitions.data_version import DATA_VERSION_TAG
from dagster._core.execution.plan.objects import StepFailureData

from orchestration.analysis.inputs import read_inputs
from orchestration.analysis.reuse import rows_read
from orchestration.analysis.specification import read_specification
from orchestration.automation import (
    after_grid_condition,
    build_condition,
    instance_of,
    refit_condition,
    report_condition,
)
from orchestration.cli import main
from orchestration.definitions import Refreshed, build_defs, launch
from orchestration.home import initialise
from orchestration.ledger import Ledger
from orchestration.settings import Settings
from orchestration.simulation import simulate
from orchestration.simulation.mutations import mutate
from orchestration.warehouse.versions import current_id, current_version, verify
from orchestration.workers import apart
from tests.conftest import same_key_each_time
from tests.stewards.servers import alerts_file, webhook_server

EARLY = {"rn": ["2025-Q2"], "svg": ["2025-Q2"], "ljr": ["2025-Q2"], "registry": ["2024"], "north_carolina": ["1978"]}


@pytest.fixture(scope="module")
def backlog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The deliveries of 80 simulated clients, all in CSV."""
    out = tmp_path_factory.mktemp("backlog")
    simulate(out, clients=80, seed=7, form="csv")
    return out


def settings_of(folder: Path) -> Settings:
    return Settings(home=folder / "home", admit_test_numbers=True, imputations=2, draft_releases="never")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = settings_of(tmp_path)
    same_key_each_time(made)
    initialise(made)
    return made


def deliver(backlog: Path, settings: Settings, organisation: str, period: str) -> Path:
    (source,) = (backlog / organisation / period).iterdir()
    target = settings.inbox_path / organisation / period / source.name
    shutil.copytree(source, target)
    return target


def redeliver(delivery: Path, sequence: int) -> Path:
    """The same delivery sent again under another id."""
    again = delivery.with_name(f"{delivery.name}-again{sequence}")
    shutil.copytree(delivery, again)
    manifest = json.loads((again / "manifest.json").read_text())
    (again / "manifest.json").write_text(json.dumps({**manifest, "delivery_id": again.name, "sequence": sequence}))
    return again


def edit(delivery: Path, table: str, change: object) -> None:
    """Change a delivered CSV file by lines, and keep the manifest true to it."""
    manifest = json.loads((delivery / "manifest.json").read_text())
    (entry,) = [entry for entry in manifest["files"] if entry["name"] == f"{table}.csv"]
    path = delivery / entry["name"]
    lines = path.read_bytes().decode(entry["encoding"]).splitlines(keepends=True)
    content = "".join(change(lines)).encode(entry["encoding"])  # type: ignore[operator]
    path.write_bytes(content)
    entry.update(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    (delivery / "manifest.json").write_text(json.dumps(manifest))


def trouble(done: Refreshed, instance: dg.DagsterInstance) -> list[str]:
    """What failed in a refresh, by its name: checks, and steps with the class of their error."""
    found = list(done.unplaced)
    for entry in (entry for run in done.runs if not run.is_success for entry in instance.all_logs(run.run_id)):
        said = entry.dagster_event.event_specific_data if entry.dagster_event else None
        if isinstance(said, dg.AssetCheckEvaluation) and not said.passed:
            found.append(f"{said.check_name}: {said.description}")
        elif isinstance(said, StepFailureData):
            error = said.error.cause or said.error if said.error else None
            found.append(f"{entry.step_key}: {error.cls_name if error else ''}")
    return found


def succeeded(done: Refreshed, settings: Settings, instance: dg.DagsterInstance | None = None) -> bool:
    """Whether a refresh succeeded; where it did not, the test says what failed."""
    with contextlib.nullcontext(instance) if instance else instance_of(settings) as opened:
        found = trouble(done, opened)
    assert found == []
    return done.is_success


def asked(done: Refreshed) -> set[str]:
    """Which stations a refresh asked for."""
    return {name if name.startswith(("versions", "analysis")) else name.split("/")[0] for name in done.requested}


def hash_of_current(settings: Settings) -> str:
    folder = settings.versions / str(current_id(settings))
    digest = hashlib.sha256(str(folder.name).encode())
    for path in sorted(folder.iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def rows_that_models_read(settings: Settings) -> dict[str, str]:
    """The fingerprints of what all models of the repository read, of which a brief fit takes a part."""
    version = current_version(settings)
    assert version is not None
    return rows_read(read_inputs(version), read_specification())


@pytest.mark.usefixtures("_brief_models")
def test_a_backlog_builds_once_only_changed_rows_refit_and_what_is_taken_back_is_undone(
    backlog: Path, settings: Settings, tmp_path: Path
) -> None:
    for organisation, periods in EARLY.items():
        for period in periods:
            deliver(backlog, settings, organisation, period)
    first = launch(settings)
    assert succeeded(first, settings)
    with webhook_server(tmp_path) as hook:
        file = alerts_file(
            tmp_path, webhook=hook.webhook, quiet=["overdue", "digest", "extract_asked", "material_change"]
        )
        _story(backlog, settings.model_copy(update={"alerts": file}), first)
    # the rejected delivery was told of once, however often was looked after that; nothing else was the matter
    assert [content["about"] for content in hook.contents] == ["rn 2025-Q3"]


def _story(backlog: Path, settings: Settings, first: Refreshed) -> None:
    ledger = Ledger(settings.ledger_location)
    with instance_of(settings) as instance:
        # five deliveries are gated one by one, built once, fitted once
        assert sum(run.name.startswith("deliver_") for run in first.runs) == 5
        assert first.requested.count("versions/version") == 1
        assert first.requested.count("analysis/fit") == 1
        version = current_version(settings)
        assert version is not None
        verify(version)
        assert version.manifest["simulated"] is True
        assert (settings.home_path / "report.html").is_file()
        assert len(ledger.fits()) == 1
        _is_shown(instance)

        # nothing new: no run at all
        assert launch(settings, instance=instance) == Refreshed((), (), ())

        # the same content once more is a delivery, and changes nothing
        rn = next((settings.inbox_path / "rn" / "2025-Q2").iterdir())
        redeliver(rn, 2)
        again = launch(settings, instance=instance)
        assert succeeded(again, settings, instance)
        assert again.requested == ()

        # a rejected delivery fails its run and leaves the published version byte for byte as it was
        before, read_before = hash_of_current(settings), rows_that_models_read(settings)
        spoiled = deliver(backlog, settings, "rn", "2025-Q3")
        mutate(spoiled, "unknown_code")
        rejected = launch(settings, instance=instance)
        assert not rejected.is_success
        assert rejected.untold == ""
        assert rejected.requested == ()
        assert hash_of_current(settings) == before

        # a change that no model reads makes a version and no fit
        svg = next((settings.inbox_path / "svg" / "2025-Q2").iterdir())
        corrected = redeliver(svg, 2)
        edit(corrected, "supervisions", _move_planned_ends)
        unread = launch(settings, instance=instance)
        assert succeeded(unread, settings, instance)
        assert "versions/model_inputs" in asked(unread)
        assert "analysis/fit" not in asked(unread)
        assert hash_of_current(settings) != before
        assert rows_that_models_read(settings) == read_before
        assert len(ledger.fits()) == 1

        # taken back, it gives the version before again
        retract(settings, corrected.name, "sent by mistake")
        back = launch(settings, instance=instance)
        assert succeeded(back, settings, instance)
        assert back.requested.count("versions/version") == 1
        assert current_id(settings) == version.version_id
        assert launch(settings, instance=instance).requested == ()
        assert len(ledger.fits()) == 1

        # the next year's registry extract brings follow-up: one build, one refit
        deliver(backlog, settings, "registry", "2025")
        yearly = launch(settings, instance=instance)
        assert succeeded(yearly, settings, instance)
        assert yearly.requested.count("analysis/fit") == 1
        assert yearly.requested.count("versions/version") == 1
        assert rows_that_models_read(settings) != read_before
        assert len(ledger.fits()) == 2
        changes = json.loads((settings.fits / f"{ledger.fits()[-1]['fit_id']}.changes.json").read_text())
        assert changes["events_added"] > 0

        # an alerts file that is gone stops nothing, and is said
        untold = launch(settings.model_copy(update={"alerts": settings.home_path / "gone.yml"}), instance=instance)
        assert succeeded(untold, settings, instance)
        assert "alerts file" in untold.untold

        # with its last delivery an organisation is gone: no version and no fit is made of the others
        published, many = hash_of_current(settings), len(list(settings.versions.glob("*/manifest.json")))
        fits, fit = ledger.fits(), (settings.fits / "current").readlink()
        (last,) = ledger.deliveries(status="accepted", organisation="svg")
        retract(settings, last.delivery_id, "not theirs to send")
        without = launch(settings.model_copy(update={"alerts": None}), instance=instance)
        assert not without.is_success
        assert hash_of_current(settings) == published
        assert len(list(settings.versions.glob("*/manifest.json"))) == many
        assert (ledger.fits(), ledger.held_fits(), (settings.fits / "current").readlink()) == (fits, [], fit)


def retract(settings: Settings, delivery_id: str, reason: str) -> None:
    """Take a delivery back, as a person does."""
    environment = {"DELICTVRIJ_HOME": str(settings.home), "DELICTVRIJ_ADMIT_TEST_NUMBERS": "1"}
    said = CliRunner().invoke(main, ["retract", delivery_id, "--reason", reason], env=environment)
    assert said.exit_code == 0, said.output


def _is_shown(instance: dg.DagsterInstance) -> None:
    """Each table of the build has its rows, columns and what they are made of; what is followed over time is a number."""

    def shown(*path: str) -> dict[str, Any]:
        event = instance.get_latest_materialization_event(dg.AssetKey(path))
        assert event is not None
        assert event.asset_materialization is not None
        return {name: entry.value for name, entry in event.asset_materialization.metadata.items()}

    marts = [shown("warehouse", table) for table in ("client", "wave", "followup", "scale_reliability")]
    assert all(
        mart["dagster/row_count"] > 0 and {"dagster/column_schema", "dagster/column_lineage"} <= set(mart)
        for mart in marts
    )
    client, wave, followup, reliability = marts
    made_of = client["dagster/column_lineage"].deps_by_column["ethnicity"]
    assert {(part.asset_key.path[-1], part.column_name) for part in made_of} == {
        ("stg_partner__clients", f"birth_country{of}") for of in ("", "_mother", "_father")
    }
    (between,) = shown("warehouse", "int_scale_score")["dagster/column_lineage"].deps_by_column["rater"]
    assert between.column_name == "rater"
    version, fit = shown("versions", "version"), shown("analysis", "fit")
    for table, start in ((wave, "missing_"), (followup, "events_"), (reliability, "alpha_")):
        numbers = {name: value for name, value in table.items() if name.startswith(start)}
        assert numbers
        assert all(isinstance(value, int | float) for value in numbers.values())
        assert {name: version[name] for name in numbers} == numbers
    assert {"dagster/column_schema", "estimates"} <= set(fit)
    assert [name for name in fit if name.startswith("hazard_ratio_")]
    for key, check in ((("warehouse", "build_inputs"), "every_table_has_rows"), (("versions", "model_inputs"), "covers_what_models_read"), (("analysis", "report"), "states_its_fit")):  # fmt: skip
        (record,) = instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(dg.AssetKey(key), check), limit=1
        )
        assert record.event is not None
        assert record.event.dagster_event is not None
        assert record.event.dagster_event.asset_check_evaluation_data.passed, check


def _move_planned_ends(lines: list[str]) -> list[str]:
    """Four planned ends four years later, as few as corrections are; no model reads them."""
    column = lines[0].rstrip("\r\n").split(";").index("PLAN_DAT")
    moved = [lines[0]]
    for line in lines[1:]:
        cells = line.rstrip("\r\n").split(";")
        if cells[column] and len(moved) <= 4:
            day_and_month, year = cells[column][:6], int(cells[column][6:])
            cells[column] = f"{day_and_month}{year + 4}"
        moved.append(";".join(cells) + line[len(line.rstrip("\r\n")) :])
    return moved


def test_the_inbox_sensor_asks_for_each_partition_once(backlog: Path, settings: Settings) -> None:
    deliver(backlog, settings, "rn", "2025-Q2")
    deliver(backlog, settings, "registry", "2024")
    unfinished = deliver(backlog, settings, "svg", "2025-Q2")
    (unfinished / "manifest.json").unlink()
    defs = build_defs(settings)
    sensor = defs.resolve_sensor_def("inbox")
    with dg.DagsterInstance.ephemeral() as instance:
        first = sensor(dg.build_sensor_context(instance=instance, definitions=defs))
        second = sensor(dg.build_sensor_context(instance=instance, definitions=defs))
    keys = {(request.job_name, request.partition_key) for request in first.run_requests}
    assert keys == {("deliver_rn", "2025-04"), ("deliver_registry", "2024")}
    assert [request.run_key for request in first.run_requests] == [request.run_key for request in second.run_requests]


def test_new_code_of_the_page_renders_it_again_and_refits_nothing() -> None:
    def house(page: str) -> dg.Definitions:
        @dg.asset(code_version="models", automation_condition=refit_condition())
        def fit() -> None: ...

        @dg.asset(deps=[fit], code_version=page, automation_condition=report_condition())
        def report() -> None: ...

        return dg.Definitions([fit, report])

    with dg.DagsterInstance.ephemeral() as instance:
        before = house("before")
        assert dg.materialize(list(before.assets or []), instance=instance).success  # type: ignore[arg-type]
        first = dg.evaluate_automation_conditions(before, instance)
        same = dg.evaluate_automation_conditions(house("before"), instance, cursor=first.cursor)
        after = dg.evaluate_automation_conditions(house("after"), instance, cursor=same.cursor)
    assert (first.total_requested, same.total_requested) == (0, 0)
    assert after.get_num_requested(dg.AssetKey("report")) == after.total_requested == 1


@pytest.mark.parametrize(
    "condition", [build_condition, refit_condition, after_grid_condition], ids=lambda made: made.__name__
)
def test_what_comes_in_the_moment_after_a_build_was_asked_for_is_built_too(
    condition: Callable[[], dg.AutomationCondition],
) -> None:
    @dg.asset(partitions_def=dg.StaticPartitionsDefinition(["one", "other"]))
    def source() -> None: ...

    @dg.asset(deps=[source], automation_condition=condition())
    def made() -> None: ...

    defs = dg.Definitions([source, made])
    with dg.DagsterInstance.ephemeral() as instance:

        def comes(content: str) -> None:
            tags = {DATA_VERSION_TAG: content}
            instance.report_runless_asset_event(dg.AssetMaterialization("source", partition="one", tags=tags))

        def is_done() -> None:
            instance.report_runless_asset_event(dg.AssetMaterialization("made"))

        def asked() -> int:
            nonlocal cursor
            found = dg.evaluate_automation_conditions(defs, instance, cursor=cursor)
            cursor = found.cursor
            return found.total_requested

        comes("first")
        is_done()
        cursor = None
        assert asked() == 0  # the baseline
        comes("second")
        assert asked() == 1
        is_done()
        comes("third")
        assert asked() == 1
        assert (asked(), asked()) == (0, 0)
        comes("third")
        assert asked() == 0


def test_organisations_taken_in_side_by_side_keep_their_order_and_their_verdicts(
    backlog: Path, settings: Settings
) -> None:
    for organisation, period in (("rn", "2025-Q1"), ("rn", "2025-Q2"), ("registry", "2024")):
        deliver(backlog, settings, organisation, period)
    mutate(deliver(backlog, settings, "registry", "2025"), "unknown_code")

    done = apart(launch, settings, workers=2)

    assert not done.is_success
    runs = [run for run in done.runs if run.name.startswith("deliver_")]
    assert [(run.partition, run.is_success) for run in runs if run.name == "deliver_rn"] == [
        ("2025-01", True),
        ("2025-04", True),
    ]
    assert [(run.partition, run.is_success) for run in runs if run.name == "deliver_registry"] == [
        ("2024", True),
        ("2025", False),
    ]
    records = {(record.organisation, record.period): record for record in Ledger(settings.ledger_location).deliveries()}
    assert {key: record.status for key, record in records.items()} == {
        ("registry", "2024"): "accepted",
        ("registry", "2025"): "rejected",
        ("rn", "2025-Q1"): "accepted",
        ("rn", "2025-Q2"): "accepted",
    }
    assert records["rn", "2025-Q1"].decided_at < records["rn", "2025-Q2"].decided_at  # type: ignore[operator]
    with instance_of(settings) as instance:  # every run can be seen in the UI
        seen = {run.run_id for run in instance.get_runs()}
        key = dg.AssetKey(["deliveries", "rn"])
        assert instance.get_materialized_partitions(key) == {"2025-01", "2025-04"}
    assert seen == {run.run_id for run in done.runs}
