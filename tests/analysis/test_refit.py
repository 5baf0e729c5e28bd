"""The refit by real runs on published SYNTHETIC versions: when it happens, what it takes over, what it says, when it is held."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from click.testing import CliRunner

from orchestration.analysis.assets import fit_asset, model_inputs_asset
from orchestration.analysis.explanation import KINDS
from orchestration.analysis.fit import read_fit
from orchestration.analysis.inputs import Inputs
from orchestration.analysis.reuse import WHOLE
from orchestration.cli import main
from orchestration.home import initialise
from orchestration.ledger import Ledger
from orchestration.progress import SECONDS, Progress, nobody
from orchestration.settings import Settings
from orchestration.status import held_back
from orchestration.warehouse.versions import PublishedTable, publish
from tests.analysis.synthetic import synthetic_inputs

LANDMARK = "general_landmark"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings(home=tmp_path / "home", imputations=2)
    initialise(made)
    return made


def published(settings: Settings, inputs: Inputs, **record: Any) -> str:
    """Publish rows as a version that says of itself what a build does."""
    marts = {name: pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None) for name, frame in inputs.tables.items()}  # fmt: skip
    tables = [PublishedTable(name, name, "", {}) for name in marts]
    said = {"is_simulated": True, "registry_cutoff_on": "2025-12-31", "code": "c", "settings": {}, "code_lists": {}, "withdrawals": []}  # fmt: skip
    return publish(settings, marts, tables, {**said, **record})[0].version_id


def refit(
    settings: Settings, log: list[str] | None = None, hear: Progress = nobody
) -> tuple[dg.ExecuteInProcessResult, Mapping[str, Any]]:
    """Run fingerprint and fit on the current version; gives the run and the metadata of the fit, if there was one.

    `log` takes what the assets themselves write into the run's log, `hear` what a terminal would show.
    """
    condition = dg.AutomationCondition.eager()
    assets = [model_inputs_asset(settings, condition), fit_asset(settings, condition, hear)]
    version = dg.AssetSpec(["versions", "version"])
    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize([version, *assets], instance=instance, raise_on_error=False)
        if log is not None:
            log += [entry.user_message for entry in instance.all_logs(done.run_id) if not entry.is_dagster_event]
    made = [event for event in done.get_asset_materialization_events() if event.asset_key == dg.AssetKey(["analysis", "fit"])]  # fmt: skip
    said = made[0].materialization.metadata if made else {}
    return done, {name: value.value for name, value in said.items()}


def current(settings: Settings) -> str:
    return (settings.fits / "current").readlink().name


@pytest.mark.usefixtures("_brief_models")
def test_a_refit_takes_over_what_is_the_same_explains_what_moved_and_waits_where_it_may_mean_something_else(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = synthetic_inputs(150, seed=1)
    cohort = inputs.analysis_cohort
    is_landmark = cohort["outcome_id"] == LANDMARK
    is_followed = is_landmark & cohort["is_eligible"] & (cohort["duration_days"] > 15)
    people = cohort.loc[is_followed, "client_id"].tolist()

    # the first fit: nothing to compare with
    old = cohort[~(is_landmark & cohort["client_id"].isin(people[:2]))].copy()
    old.loc[is_landmark & old["client_id"].isin(people[5:30]), ["duration_days", "event"]] = [15.0, False]
    earlier_version = published(settings, replace(inputs, analysis_cohort=old))
    lines: list[str] = []
    heard: list[tuple[str, int, int]] = []
    first, said = refit(settings, lines, lambda *step: heard.append(step))
    assert first.success and said["parts_taken_over"] == 0
    assert said["seed"] == settings.seed and said["seconds"] > 0
    assert said["models_fitted"] > 40 and said["steps"] > 20
    all_models = said["models_fitted"]
    assert 10 <= len(lines) <= 11 + said["seconds"] / SECONDS
    assert all(re.fullmatch(r"[A-Za-z_ ]+: \d+ of \d+ steps", line) for line in lines)
    assert heard[-1][1:] == (said["steps"], said["steps"]) and {what.split()[0] for what, _, _ in heard} == {"fit"}
    assert lines[-1].endswith(f"{said['steps']} of {said['steps']} steps")
    one = current(settings)

    # new people and follow-up in one outcome: the other outcome and every whole table (the flow is copied anyway) are taken over
    published(settings, inputs)
    second, said = refit(settings)
    assert second.success and current(settings) != one
    assert 0 < said["models_fitted"] < all_models
    assert said["parts_taken_over"] == len(WHOLE) and WHOLE.keys() >= {"growth", "determinants", "benchmark"}
    assert said["outcomes_fitted_to_explain"] == 1
    (grown,) = [check.metadata for check in second.get_asset_check_evaluations() if check.check_name == "reference_predictions"]  # fmt: skip
    assert grown["largest_change"].value > 0.10 and grown["largest_change_without_growth"].value == 0
    assert (said["rows_new_follow_up"], said["rows_new_people"]) == (25, 2)
    assert said["largest_move_in_std_errors"] > 0
    changes = json.loads((settings.fits / f"{current(settings)}.changes.json").read_text())["explanation"]
    parts = [part for part in changes["parts"] if part["move"] is not None]
    fits = [
        read_fit(settings.fits / name)[0]["estimates"].dropna(subset="estimate") for name in (one, current(settings))
    ]
    assert len(parts) == len(fits[0].merge(fits[1], on=["model_id", "term"])) > 60
    assert max(abs(sum(part[kind] for kind in KINDS) - part["move"]) for part in parts) <= 1e-9
    assert any(part["new_people"] for part in parts) and any(part["new_follow_up"] for part in parts)
    assert not any(part[kind] for part in parts for kind in ("corrected_records", "withdrawals", "definitions", "code_and_libraries"))  # fmt: skip
    two = current(settings)

    # so few events that no model can be estimated any more: the last good fit stays, and it is said why
    gone = cohort.copy()
    events = gone.index[is_landmark & gone["event"].fillna(False).astype(bool)]
    gone.loc[events[9:], "event"] = False
    poor = published(settings, replace(inputs, analysis_cohort=gone))
    third, said = refit(settings)
    assert said == {} and current(settings) == two
    failed = [check for check in third.get_asset_check_evaluations() if not check.passed]
    assert [check.check_name for check in failed] == ["enough_events"]
    ledger = Ledger(settings.ledger_location)
    (held,) = ledger.held_fits()
    assert held["version_id"] == poor and f"fewer than 10 events in {LANDMARK}" in held["reason"]
    shown = CliRunner().invoke(main, ["status"], env={"DELICTVRIJ_HOME": str(settings.home)})
    assert f"the refit of version {poor} was held back" in shown.output and f"fit {two} of version" in shown.output

    # a good version again, but the version of the last good fit is gone: that risks moved can be put down to nothing
    run = partial(CliRunner().invoke, main, env={"DELICTVRIJ_HOME": str(settings.home), "DELICTVRIJ_IMPUTATIONS": "2"})
    signing = ["sign-off", "--reason", "the follow-up of a year was taken back"]
    refused = run([*signing, held["fit_id"]])
    assert refused.exit_code == 1 and "held by enough_events, which nobody can sign away" in refused.output
    for path in (settings.versions / json.loads((settings.fits / two / "manifest.json").read_text())["version_id"]).iterdir():  # fmt: skip
        path.unlink()
    assert published(settings, replace(inputs, analysis_cohort=old)) == earlier_version
    fourth, said = refit(settings)
    assert said == {} and current(settings) == two
    failed = [check for check in fourth.get_asset_check_evaluations() if not check.passed]
    assert [check.check_name for check in failed] == ["reference_predictions"]
    assert failed[0].metadata["largest_change"].value > 0.10
    assert f"0 of 2 given: `delictvrij sign-off {one}`" in run(["status"]).output
    fitted_at = (settings.fits / one / "manifest.json").stat().st_mtime_ns

    # one person twice is one person; the second person's signature makes what was fitted current, and its report
    for by, said_then in (
        ("ann", "signed by 1 of 2"),
        ("ann", "signed by 1 of 2"),
        ("bob", f"takes the place of {two}"),
    ):
        monkeypatch.setattr("orchestration.deliveries.retraction.signed_on", lambda by=by: by)
        assert current(settings) == two
        done = run([*signing, one])
        assert done.exit_code == 0 and said_then in done.output, done.output
    assert current(settings) == one and held_back(ledger) is None
    assert (settings.fits / one / "manifest.json").stat().st_mtime_ns == fitted_at
    assert (settings.home_path / "report.html").is_file()
    assert ledger.signatures(one, two) == ("ann", "bob")
    assert run([*signing, one]).exit_code == 1  # it waits no more
    caveats = json.loads((settings.fits / f"{one}.changes.json").read_text())["explanation"]["caveats"]
    assert "not kept" in caveats[0]
    assert read_fit(settings.fits / one)[1]["version_id"] == earlier_version
