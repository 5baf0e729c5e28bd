"""What partners put on their servers comes in by a Dagster job and by `delictvrij refresh`, and trouble is seen there by its code."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import dagster as dg
import pytest
import yaml
from click.testing import CliRunner

from orchestration.automation import FETCHING, instance_of, run_job
from orchestration.cli import _refresh, main
from orchestration.definitions import build_defs
from orchestration.deliveries.contracts import Organisation
from orchestration.deliveries.fetching import Fetched, fetch_all
from orchestration.settings import Settings
from orchestration.status import lines
from tests.conftest import Platform, settings_in
from tests.deliveries.making import delivery_in
from tests.deliveries.servers import SECRET, Served, put, served


def with_sources(settings: Settings, path: Path, **sources: Served) -> Settings:
    """The settings with a sources file that names these servers, receipts allowed."""
    content = {
        name: {**json.loads(partner.source.model_dump_json(exclude_none=True)), "writes_receipts": True}
        for name, partner in sources.items()
    }
    path.write_text(yaml.safe_dump(content))
    return Settings(**{**settings.model_dump(), "sources": path})


def test_a_run_fetches_and_says_how_much_and_trouble_fails_it_by_its_code(
    platform: Platform, contracts: dict[str, Organisation], simulated: Path, tmp_path: Path
) -> None:
    with (
        served("SFTP", tmp_path / "rn", tmp_path / "rn-secrets") as rn,
        served("WebDAV", tmp_path / "ljr", tmp_path / "ljr-secrets") as ljr,
    ):
        for name, partner in (("rn", rn), ("ljr", ljr)):
            put(delivery_in(simulated, name), partner.root)
        settings = with_sources(platform.settings, tmp_path / "sources.yml", rn=rn, ljr=ljr)
        job = build_defs(settings).resolve_job_def(FETCHING)
        with instance_of(settings) as instance:
            done = run_job(job, instance)
            assert done.is_success
            assert ljr.source.known_hosts is None and rn.source.known_hosts is not None
            rn.source.known_hosts.write_text("")
            failed = run_job(job, instance)
            assert not failed.is_success
            events = instance.all_logs(failed.run_id)
            said = " ".join(event.message or "" for event in events) + repr([event.dagster_event for event in events])
    assert "source.host_key" in said and SECRET not in said
    assert {path.parts[-4] for path in settings.inbox_path.glob("*/*/*/manifest.json")} == {"rn", "ljr"}
    assert [look["trouble"] for look in platform.ledger.fetchings("rn")] == [None, "source.host_key"]


def test_all_definitions_load_together_as_the_ui_loads_them(platform: Platform) -> None:
    dg.Definitions.validate_loadable(build_defs(platform.settings))


def test_the_schedule_runs_only_where_there_are_sources(platform: Platform, tmp_path: Path) -> None:
    def status(settings: Settings) -> dg.DefaultScheduleStatus:
        return build_defs(settings).resolve_schedule_def(FETCHING).default_status

    assert status(platform.settings) is dg.DefaultScheduleStatus.STOPPED
    assert status(with_sources(platform.settings, tmp_path / "sources.yml")) is dg.DefaultScheduleStatus.RUNNING


def test_refresh_fetches_takes_in_and_writes_the_receipt(
    simulated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = settings_in(tmp_path)
    for name, value in (("HOME", settings.home), ("KEY_FILE", settings.key_file), ("ADMIT_TEST_NUMBERS", "1")):
        monkeypatch.setenv(f"DELICTVRIJ_{name}", str(value))
    with served("SFTP", tmp_path / "rn", tmp_path / "secrets") as partner:
        monkeypatch.setenv("DELICTVRIJ_SOURCES", str(tmp_path / "sources.yml"))
        settings = with_sources(settings, tmp_path / "sources.yml", rn=partner)
        assert CliRunner().invoke(main, ["init"]).exit_code == 0
        there = put(delivery_in(simulated, "rn"), partner.root)
        typed = subprocess.run(  # as a person types it, in a process of its own
            [sys.executable, "-c", "from orchestration.cli import run; run()", "refresh", "--json"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        done = json.loads(typed.stdout)
        assert [item["status"] for item in done["deliveries"]] == ["accepted"]
        receipt = json.loads((there.parent / f"{there.name}.receipt.json").read_text())
        assert receipt["status"] == "accepted"
        partner.source.known_hosts.write_text("")  # type: ignore[union-attr]
        capfd.readouterr()
        assert _refresh(settings, as_json=False) == 1
    said = capfd.readouterr()
    assert "not fetched from rn: source.host_key" in said.out
    assert SECRET not in typed.stdout + typed.stderr + said.out + said.err


def test_what_is_still_incomplete_at_its_source_is_shown(
    platform: Platform, contracts: dict[str, Organisation], simulated: Path, tmp_path: Path
) -> None:
    with served("folder", tmp_path / "rn", tmp_path / "secrets") as partner:
        there = put(delivery_in(simulated, "rn"), partner.root)
        (there / "waves.csv").unlink()
        settings = with_sources(platform.settings, tmp_path / "sources.yml", rn=partner)
        assert fetch_all(settings, platform.ledger, contracts) == [Fetched("rn", incomplete=1)]
    found = [
        line for line in lines(settings, platform.ledger, contracts, date(2026, 1, 10)) if line.period == "2025-Q4"
    ]
    (line,) = [line for line in found if line.organisation == "rn"]
    assert (line.state, line.reason) == ("incomplete", "incomplete at the source")
