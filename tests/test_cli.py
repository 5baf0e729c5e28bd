"""The commands as people type them: what they say, how they leave, and what they do not load."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestration.cli import main
from orchestration.home import is_demo
from orchestration.settings import CHECKOUT, Settings
from orchestration.simulation.mutations import mutate
from orchestration.status import Line
from tests.conftest import Platform
from tests.deliveries.making import deliver, delivery_in, digests, publish_stand_in

Run = Callable[..., Result]


def environment(settings: Settings) -> dict[str, str]:
    """The variables by which a command finds a home."""
    return {
        "DELICTVRIJ_HOME": str(settings.home), "DELICTVRIJ_KEY_FILE": str(settings.key_file),
        "DELICTVRIJ_INBOX": str(settings.inbox), "DELICTVRIJ_ADMIT_TEST_NUMBERS": "1",
    }  # fmt: skip


def run_in(settings: Settings) -> Run:
    return lambda *words: CliRunner().invoke(main, [str(word) for word in words], env=environment(settings))


# check ---------------------------------------------------------------------------------------------------------------
def test_check_leaves_with_0_1_or_2_and_changes_nothing(settled: Platform, tmp_path: Path) -> None:
    settings, run = settled.settings, run_in(settled.settings)
    good = deliver(delivery_in(settings.inbox_path, "rn"), settings.inbox_path, "again", sequence=2)
    bad = deliver(delivery_in(settings.inbox_path, "rn"), settings.inbox_path, "bad", "2026-Q1")
    mutate(bad, "missing_column")
    before = digests(tmp_path)
    assert run("check", good).exit_code == 0
    assert run("check", bad).exit_code == 1
    for nothing in (tmp_path, tmp_path / "nowhere", bad / "clients.csv"):
        result = run("check", nothing)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith("delictvrij: ")
    assert digests(tmp_path) == before


def test_check_speaks_dutch_english_and_json(settled: Platform) -> None:
    settings, run = settled.settings, run_in(settled.settings)
    bad = deliver(delivery_in(settings.inbox_path, "rn"), settings.inbox_path, "bad", "2026-Q1")
    mutate(bad, "wrong_hash")
    assert "De levering is geweigerd" in run("check", bad, "--lang", "nl").output
    assert "The delivery is rejected" in run("check", bad).output
    said = json.loads(run("check", bad, "--json").stdout)
    assert (said["organisation"], said["period"], said["status"]) == ("rn", "2026-Q1", "rejected")
    assert [item["rule"] for item in said["findings"]] == ["file.hash"]


# what can be mended is said in one line ------------------------------------------------------------------------------
def test_a_missing_home_or_key_is_one_line_and_no_traceback(
    platform: Platform, simulated: Path, tmp_path: Path
) -> None:
    delivery = deliver(delivery_in(simulated, "rn"), platform.settings.inbox_path)
    platform.settings.key_path.unlink()
    result = run_in(platform.settings)("check", delivery)
    assert result.exit_code == 1
    assert "there is no pseudonym key" in result.stderr
    nowhere = run_in(platform.settings.model_copy(update={"home": tmp_path / "nowhere"}))
    for words in (["status"], ["versions"], ["check", delivery], ["refresh"]):
        result = nowhere(*words)
        assert result.exit_code == 1
        assert "delictvrij init" in result.stderr
        assert "Traceback" not in result.output
    assert not (tmp_path / "nowhere").exists()


def test_a_setting_that_cannot_be_is_named_in_one_line_without_what_it_says(settings: Settings) -> None:
    run = CliRunner().invoke(main, ["status"], env={**environment(settings), "DELICTVRIJ_SMALL_CELL": "three-secret"})
    assert run.exit_code == 1
    assert "DELICTVRIJ_SMALL_CELL" in run.stderr
    assert "secret" not in run.output
    assert len(run.stderr.strip().splitlines()) == 1


def test_a_setting_that_says_nothing_is_a_setting_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DELICTVRIJ_HOME", "")
    assert Settings().home == Settings.model_fields["home"].default


def test_init_makes_a_home_and_says_the_id_of_its_key_but_not_the_key(settings: Settings) -> None:
    run = run_in(settings)
    first, second = run("init"), run("init")
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert "new; keep it safe" in first.output
    assert "(known)" in second.output
    assert settings.key_path.read_text().strip() not in first.output + second.output


def test_the_demo_never_replaces_a_home_that_is_no_demo(platform: Platform) -> None:
    before = digests(platform.settings.home_path)
    result = run_in(platform.settings)("demo", "--clients", 50)
    assert result.exit_code == 1
    assert "holds a home that is no demo" in result.stderr
    assert not is_demo(platform.settings)
    assert digests(platform.settings.home_path) == before


def test_simulate_spoils_in_a_named_way_and_refuses_an_unknown_one(tmp_path: Path, settings: Settings) -> None:
    run = run_in(settings)
    result = run("simulate", tmp_path / "out", "--clients", 10, "--periods", "last", "--mutate", "wrong_hash")
    assert result.exit_code == 0
    assert "the gate should say file.hash" in result.output
    assert (tmp_path / "out" / "truth.json").is_file()
    assert run("simulate", tmp_path / "out", "--clients", 10, "--periods", "last").exit_code == 1
    assert run("simulate", tmp_path / "other", "--mutate", "no_such_thing").exit_code == 2
    assert not (tmp_path / "other").exists()


# status and versions -------------------------------------------------------------------------------------------------
def test_status_and_versions_speak_json_and_words(settled: Platform) -> None:
    settings, run = settled.settings, run_in(settled.settings)
    states = json.loads(run("status", "--json").stdout)
    assert set(states[0]) == {field.name for field in fields(Line)}
    assert {entry["state"] for entry in states if entry["period"] == "2025-Q4"} == {"accepted"}
    assert json.loads(run("versions", "--json").stdout) == []
    assert "nothing has been published yet" in run("versions").output
    version = publish_stand_in(settings)
    (entry,) = json.loads(run("versions", "--json").stdout)
    assert (entry["version_id"], entry["is_current"]) == (version.version_id, True)
    assert f"* {version.version_id}" in run("versions").output
    assert "SIMULATED" in run("versions").output
    assert run("status").output.splitlines()[0].split() == ["organisation", "period", "state", "rows", "due", "why"]


def test_no_package_is_there_that_makes_every_start_slow() -> None:
    """jsonschema imports it where it finds it, dbt and Great Expectations import jsonschema: 4 s in each process, asked for by nobody."""
    assert importlib.util.find_spec("rfc3987_syntax") is None


HEAVY = ("dagster", "great_expectations", "pandas", "pyarrow", "duckdb", "lifelines", "dbt", "matplotlib")


@pytest.mark.parametrize("words", [["--help"], ["status"], ["versions", "--json"]], ids=" ".join)
def test_what_answers_a_person_at_once_loads_nothing_heavy(settled: Platform, words: list[str]) -> None:
    publish_stand_in(settled.settings)
    code = (
        "import sys; from orchestration.cli import main\n"
        f"try: main({words!r})\n"
        f"finally: print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    plain = {name: value for name, value in os.environ.items() if not name.startswith("DELICTVRIJ_")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, env={**plain, **environment(settled.settings)}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stderr.splitlines()[-1] == "[]"
    assert done.stdout
