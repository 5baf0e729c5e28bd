"""Permissions, consents and hand-overs as people type them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from orchestration.cli import main, take_simulated_consents
from orchestration.home import forget, opened
from orchestration.releases import approval
from orchestration.releases.consents import COLUMNS, read_register
from orchestration.releases.writing import verify_written
from orchestration.simulation.consents import CONSENTS
from tests.conftest import Platform, settings_in
from tests.releases.handing import Desk
from tests.releases.making import SmallRelease

Run = Callable[..., Result]
GRANT = (
    "permission", "grant", "--to", "researcher", "--basis", "uavg_24", "--basis", "bjsg_30bis", "--purpose", "Trust",
    "--reference", "2026/17", "--tables", "client,wave", "--classes", "pseudonym,criminal,origin,quasi_identifier,ordinary",
    "--until",
)  # fmt: skip


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A command in the home of this test, typed by somebody."""
    monkeypatch.setenv("DELICTVRIJ_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DELICTVRIJ_KEY_FILE", str(tmp_path / "home.key"))
    monkeypatch.setenv("DELICTVRIJ_ADMIT_TEST_NUMBERS", "1")

    def typed(by: str, *words: object) -> Result:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("orchestration.audit.signed_on", lambda: by)
            return CliRunner().invoke(main, [str(word) for word in words])

    return typed


def next_year() -> str:
    from orchestration.ledger import now

    return f"{now().year + 1}-06-30"


def test_a_permission_is_signed_by_two_listed_and_revoked(platform: Platform, run: Run) -> None:
    grant = (*GRANT, next_year())
    assert "no permission has been given" in run("steward", "permission", "list").output
    first = run("steward", *grant)
    assert "signed by 1 of 2" in first.output
    assert "is signed by steward, lawyer" in run("lawyer", *grant).output
    (one,) = json.loads(run("steward", "permission", "list", "--json").stdout)
    assert (one["person"], one["state"], one["tables"]) == ("researcher", "in_force", ["client", "wave"])
    assert one["permission_id"] in run("steward", "permission", "list").output
    refused = run("researcher", *grant)
    assert (refused.exit_code, "nobody signs a permission for themself" in refused.stderr) == (1, True)
    assert run("steward", "permission", "revoke", one["permission_id"][:5], "--reason", "left").exit_code == 0
    assert "revoked" in run("steward", "permission", "list").output


def test_consents_are_taken_in_and_told_by_counts(platform: Platform, run: Run, tmp_path: Path) -> None:
    missing = run("steward", "consent", "list")
    assert (missing.exit_code, "delictvrij consent take FILE" in missing.stderr) == (1, True)
    file = tmp_path / "consents.csv"
    rows = ("900000004;registry;2022-01-01;;", "900000016;registry;2022-01-01;2023-01-01;kept")
    file.write_text("\n".join([";".join(COLUMNS), *rows, ""]), encoding="utf-8")
    taken = run("steward", "consent", "take", file)
    assert "2 clients, 2 consents, 1 withdrawn" in taken.output
    assert "remove it" in taken.output
    said = json.loads(run("steward", "consent", "list", "--json").stdout)
    assert said["consents"] == {"registry": {"valid": 2, "withdrawn": 1, "kept": 1}}
    assert "90000000" not in run("steward", "consent", "list").output + json.dumps(said)


def test_a_release_is_handed_over_and_who_had_it_is_listed(release: SmallRelease, run: Run, tmp_path: Path) -> None:
    left_out = shutil.ignore_patterns("raw", "builds", "versions", "fits", "letters", "landing")
    shutil.copytree(release.version.folder.parents[1], tmp_path / "home", symlinks=True, ignore=left_out)
    settings = settings_in(tmp_path)
    ledger, out = opened(settings), tmp_path / "out"

    def write(folder: Path) -> dict[str, object]:
        shutil.copytree(release.folder, folder / "zone")
        return {}

    approval.draft(settings, ledger, "2026.1.0", approval.Sources(release.version, release.fit), "one", write)
    asked = ("release", "hand-over", "2026.1.0", "--to", "researcher", "--out", out, "--tables", "client,wave")
    assert "nothing has been handed over" in run("steward", "release", "downloads").output
    assert "is draft" in run("steward", *asked).stderr
    ledger.decide_release("2026.1.0", "approved", "two", "")
    assert "has no permission" in run("steward", *asked).stderr
    for by in ("steward", "lawyer"):
        assert run(by, *GRANT, next_year()).exit_code == 0
    assert "no register of consents" in run("steward", *asked).stderr
    Desk(settings, ledger, release, out).consent()
    done = run("steward", *asked)
    assert done.exit_code == 0, done.output
    assert "SIMULATED" in done.output
    assert set(verify_written(out)) >= {"sav/client.sav", "csv/wave.csv"}
    assert pq.read_schema(out / "parquet" / "client.parquet").names[0] == "client_id"
    assert "holds something already" in run("steward", *asked).stderr
    assert "there is no release 2030.1.0" in run("steward", "release", "hand-over", "2030.1.0", *asked[3:]).stderr
    (one,) = json.loads(run("steward", "release", "downloads", "--json").stdout)
    assert (one["person"], one["handed_by"], one["tables"], one["is_stale"]) == (
        "researcher", "steward", ["client", "wave"], False,
    )  # fmt: skip
    ledger.record_draft(
        {"tag": "2026.2.0", "version_id": "v", "fit_id": "f", "after": "2026.1.0", "manifest_sha256": "0"}, "one"
    )
    ledger.decide_release("2026.2.0", "approved", "two", "", ["2026.1.0"])
    assert (
        "to be told that there is a newer release, or none: researcher" in run("lawyer", "release", "downloads").output
    )
    assert "a permission has ended" not in run("lawyer", "release", "downloads").output
    (granted,) = json.loads(run("lawyer", "permission", "list", "--json").stdout)
    revoked = run("lawyer", "permission", "revoke", granted["permission_id"], "--reason", "the project ended")
    assert revoked.exit_code == 0, revoked.output
    assert (
        "a permission has ended, and to remove what they have: researcher"
        in run("lawyer", "release", "downloads").output
    )
    ledger.close()


def test_the_demo_takes_the_simulated_consents_in_and_leaves_no_number(platform: Platform, simulated: Path) -> None:
    settings = platform.settings
    settings.inbox_path.mkdir(parents=True, exist_ok=True)
    file = Path(shutil.copy(simulated / CONSENTS, settings.inbox_path))
    numbers = {line.partition(";")[0] for line in file.read_text(encoding="utf-8").splitlines()[1:]}
    take_simulated_consents(settings)
    assert not file.exists()
    register = read_register(settings.consents_file, platform.ledger)
    assert len(register) == 2 * len(numbers) == 80
    assert not any(number in settings.consents_file.read_text(encoding="utf-8") for number in numbers)
    forget(settings)
    assert not settings.consents_file.exists()
