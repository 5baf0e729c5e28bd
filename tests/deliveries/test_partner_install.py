"""What a partner installs: the wheel with `[check]` in an empty environment, and nothing of the platform."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestration.settings import CHECKOUT
from orchestration.simulation.mutations import mutate
from tests.deliveries.making import deliver, delivery_in

NOT_FOR_PARTNERS = {"dagster", "dbt-core", "duckdb", "lifelines", "matplotlib", "statsmodels", "xlsxwriter"}
UV = [sys.executable, "-m", "uv"]


@pytest.fixture(scope="module")
def partner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment that holds the wheel with `[check]`."""
    folder = tmp_path_factory.mktemp("partner")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*UV, "venv", "--quiet", "--python", sys.executable, str(folder / "env")], check=True)
    done = subprocess.run(
        [*UV, "pip", "install", "--quiet", "--python", str(folder / "env" / "bin" / "python"),
         "--constraint", str(CHECKOUT / "requirements.lock"), f"{wheel}[check]"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / "env" / "bin"


def checked(partner: Path, delivery: Path) -> subprocess.CompletedProcess[str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("DELICTVRIJ_", "PYTHON"))}
    return subprocess.run(
        [str(partner / "delictvrij"), "check", str(delivery), "--offline", "--lang", "nl"],
        cwd=partner,
        env={**plain, "HOME": str(partner), "DELICTVRIJ_ADMIT_TEST_NUMBERS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_partner_needs_little_and_none_of_the_platform(partner: Path) -> None:
    listed = subprocess.run(
        [*UV, "pip", "list", "--quiet", "--python", str(partner / "python"), "--format", "freeze"],
        capture_output=True,
        text=True,
        check=True,
    )
    names = {line.partition("==")[0].lower() for line in listed.stdout.splitlines()}
    assert "great-expectations" in names
    assert names & NOT_FOR_PARTNERS == set()


def test_the_dry_run_works_in_an_empty_environment(partner: Path, simulated: Path, tmp_path: Path) -> None:
    good = checked(partner, delivery_in(simulated, "ljr"))
    assert good.returncode == 0, good.stderr
    bad = deliver(delivery_in(simulated, "svg"), tmp_path, "bad", sequence=2)
    mutate(bad, "unknown_code")
    found = checked(partner, bad)
    assert found.returncode == 1, found.stderr
    assert "[value.code]" in found.stdout
    assert not (partner / ".delictvrij").exists()
