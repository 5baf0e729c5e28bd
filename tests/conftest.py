"""What every room's tests may ask for: a simulated cohort, settings over a folder of their own, and a home."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest

from orchestration.deliveries.contracts import Organisation, read_contracts
from orchestration.deliveries.ingest import ingest
from orchestration.home import initialise, opened
from orchestration.ledger import Ledger
from orchestration.settings import Settings
from orchestration.simulation import simulate

# How long an example takes says something of the machine, nothing of the code.
hypothesis.settings.register_profile("house", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("house")


@dataclass(frozen=True)
class Platform:
    """A home and its ledger."""

    settings: Settings
    ledger: Ledger


def settings_in(folder: Path) -> Settings:
    """Settings of a home in `folder`, with its key and its inbox beside it."""
    return Settings(home=folder / "home", key_file=folder / "home.key", inbox=folder / "inbox", admit_test_numbers=True)


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    """The variables of the person who runs the tests decide nothing."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("DELICTVRIJ_")]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last delivery of each organisation for 40 simulated clients; look, do not touch."""
    out = tmp_path_factory.mktemp("simulated")
    simulate(out, clients=40, seed=20260101, periods="last")
    return out


@pytest.fixture(scope="session")
def contracts() -> dict[str, Organisation]:
    return read_contracts(Settings().expectations)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a home that is not there yet."""
    return settings_in(tmp_path)


@pytest.fixture
def platform(settings: Settings) -> Platform:
    """A new home in which nothing was delivered."""
    initialise(settings)
    return Platform(settings, opened(settings))


@pytest.fixture
def ledger(platform: Platform) -> Ledger:
    """The ledger of a new home."""
    return platform.ledger


@pytest.fixture(scope="session")
def _settled_once(tmp_path_factory: pytest.TempPathFactory, simulated: Path) -> Path:
    folder = tmp_path_factory.mktemp("settled")
    settings = settings_in(folder)
    initialise(settings)
    shutil.copytree(simulated, settings.inbox_path, dirs_exist_ok=True)
    ledger = opened(settings)
    for manifest in sorted(settings.inbox_path.glob("*/*/*/manifest.json")):
        receipt = ingest(manifest.parent, settings, ledger)
        assert receipt.status == "accepted", (receipt.delivery_id, receipt.reasons)
    return folder


@pytest.fixture
def settled(_settled_once: Path, tmp_path: Path) -> Platform:
    """A home that has accepted the simulated delivery of every organisation."""
    shutil.copytree(_settled_once, tmp_path, dirs_exist_ok=True)
    settings = settings_in(tmp_path)
    return Platform(settings, opened(settings))
