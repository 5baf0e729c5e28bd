"""What every room's tests may ask for: a simulated cohort, settings over a folder of their own, and a home."""

from __future__ import annotations

import gc
import os

# Before anything loads numpy: workers share the cores, and a second thread under small matrices waits more than it works.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
import sqlalchemy as sa

from orchestration.deliveries.contracts import Organisation, read_contracts
from orchestration.deliveries.ingest import ingest
from orchestration.files import folder_by_rename, locked
from orchestration.home import initialise, opened
from orchestration.ledger import Ledger
from orchestration.settings import Settings
from orchestration.simulation import simulate

if TYPE_CHECKING:
    from orchestration.analysis.specification import Specification
    from tests.server.postgres import Cluster
    from tests.warehouse.histories import Compiled

# How long an example takes says something of the machine, nothing of the code.
hypothesis.settings.register_profile("house", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("house")

# The files that take longest, longest first: one that a worker begins last keeps everybody waiting.
LONGEST = (
    "tests/server/test_whole.py",
    "tests/test_automation.py",
    "tests/analysis/test_fit.py",
    "tests/warehouse/test_again.py",
    "tests/releases/test_withdrawal.py",
    "tests/mutations/test_hostile.py",
    "tests/deliveries/test_canaries.py",
    "tests/releases/test_drafting.py",
    "tests/spreading/test_spreading.py",
    "tests/mutations/test_catalogue.py",
    "tests/releases/test_twin.py",
    "tests/deliveries/test_fetching.py",
    "tests/faults/test_faults.py",
    "tests/test_fetching_runs.py",
    "tests/analysis/test_refit.py",
    "tests/warehouse/test_marts.py",
    "tests/warehouse/test_histories.py",
    "tests/warehouse/test_bad_candidates.py",
    "tests/analysis/test_report.py",
    "tests/releases/test_portal.py",
    "tests/analysis/test_reuse.py",
    "tests/server/test_store.py",
    "tests/deliveries/test_ingest.py",
    "tests/recovery/test_recovery_study.py",
    "tests/releases/test_handover.py",
    "tests/analysis/test_reproduction.py",
    "tests/stewards/test_backup.py",
    "tests/analysis/test_explanation.py",
    "tests/analysis/test_imputation.py",
    "tests/warehouse/test_preview.py",
    "tests/analysis/test_own.py",
    "tests/analysis/test_pages.py",
    "tests/test_left_over.py",
    "tests/mutations/test_contract_rules.py",
)


@sa.event.listens_for(sa.Engine, "begin")
def _waits_for_no_disk(connection: sa.Connection) -> None:
    """A process that is killed loses nothing by it, and no machine loses its power in a test."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("pragma synchronous = off")


def pytest_collection_finish() -> None:
    """What is loaded by now stays, so the collector need not look at it again and again: half of what it does in a run of the tests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def pytest_unconfigure() -> None:
    """What is never collected, libraries would report as leaked when the process ends."""
    gc.unfreeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(places)))


@dataclass(frozen=True)
class Platform:
    """A home and its ledger."""

    settings: Settings
    ledger: Ledger


def settings_in(folder: Path) -> Settings:
    """Settings of a home in `folder`, with its key and its inbox beside it."""
    return Settings(home=folder / "home", key_file=folder / "home.key", inbox=folder / "inbox", admit_test_numbers=True)


def same_key_each_time(settings: Settings) -> None:
    """Put a key in its place before there is a home: by a new one people sort otherwise, and what is drawn for them is another draw."""
    settings.key_path.write_text("5e" * 32)
    settings.key_path.chmod(0o400)


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    """The variables of the person who runs the tests decide nothing; a fit is one process, as workers already stand side by side."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("DELICTVRIJ_")]:
            patch.delenv(name)
        patch.setenv("DELICTVRIJ_FIT_PROCESSES", "1")
        yield


Shared = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    """A folder by its name, filled once by whichever worker asks first; the others wait for it. Look, do not touch."""
    own = tmp_path_factory.getbasetemp()
    root = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"

    def filled(name: str, fill: Callable[[Path], object]) -> Path:
        with locked(root / f"{name}.lock"):
            if not (root / name).exists():
                with folder_by_rename(root / name) as aside:
                    fill(aside)
        return root / name

    return filled


@pytest.fixture(scope="session")
def simulated(shared: Shared) -> Path:
    """The last delivery of each organisation for 40 simulated clients; look, do not touch."""
    return shared("simulated", lambda out: simulate(out, clients=40, seed=20260101, periods="last"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A running PostgreSQL; its passwords are where libpq looks for them."""
    from tests.server.postgres import binaries, cluster

    binary = binaries()
    if binary is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    with cluster(binary) as made, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGPASSFILE", str(made.passfile))
        yield made


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The address of a running S3 server; the account is where AWS tools look for it."""
    from tests.server.s3 import ENVIRONMENT, served

    with served() as endpoint, pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        yield endpoint


@pytest.fixture(scope="session")
def _ledger_database(postgres: Cluster) -> str:
    return postgres.database()


@pytest.fixture(params=["sqlite", "postgresql"])
def settings_anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings of a home that is not there yet, whose ledger lies in either database."""
    made = settings_in(tmp_path)
    if request.param == "sqlite":
        return made
    from tests.server.postgres import empty

    url = request.getfixturevalue("_ledger_database")
    empty(url)
    return made.model_copy(update={"ledger_url": url})


@pytest.fixture(scope="session")
def compiled(shared: Shared) -> Compiled:
    """The dbt project, compiled once."""
    from tests.warehouse.histories import Compiled

    return Compiled.of(shared("compiled", Compiled.once))


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
def _settled_once(shared: Shared, simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    def settle(folder: Path) -> None:
        settings = settings_in(folder)
        same_key_each_time(settings)
        initialise(settings)
        shutil.copytree(simulated, settings.inbox_path, dirs_exist_ok=True)
        ledger = opened(settings)
        for manifest in sorted(settings.inbox_path.glob("*/*/*/manifest.json")):
            receipt = ingest(manifest.parent, settings, ledger)
            assert receipt.status == "accepted", (receipt.delivery_id, receipt.reasons)
        ledger.close()

    return shutil.copytree(shared("settled", settle), tmp_path_factory.mktemp("settled") / "own")


@pytest.fixture
def settled(_settled_once: Path, tmp_path: Path) -> Platform:
    """A home that has accepted the simulated delivery of every organisation."""
    shutil.copytree(_settled_once, tmp_path, dirs_exist_ok=True)
    settings = settings_in(tmp_path)
    return Platform(settings, opened(settings))


@pytest.fixture(scope="session")
def _published_once(shared: Shared, _settled_once: Path) -> Path:
    def publish(folder: Path) -> None:
        from tests.warehouse.again import publish_now

        shutil.copytree(_settled_once, folder, dirs_exist_ok=True)
        settings = settings_in(folder)
        ledger = opened(settings)
        publish_now(settings, ledger)
        ledger.close()

    return shared("published", publish)


@pytest.fixture
def published(_published_once: Path, tmp_path: Path) -> Platform:
    """A settled home whose one version is published; what it was published from is still its candidate."""
    shutil.copytree(_published_once, tmp_path, dirs_exist_ok=True, symlinks=True)
    settings = settings_in(tmp_path)
    return Platform(settings, opened(settings))


def brief(spec: Specification) -> Specification:
    """Every part of a fit with few models in each: one rater, one scale, one growth model, few rounds and samples."""
    (structure, *_) = reversed(spec.development.structures)
    return replace(
        spec,
        recidivism=replace(spec.recidivism, raters=("client",), scales=("trust",), bootstraps=4),
        determinants=replace(spec.determinants, raters=("client",), scales=("trust",)),
        development=replace(spec.development, structures={structure: spec.development.structures[structure]}),
        imputer=replace(spec.imputer, iterations=2),
    )


def fit_few_models(patch: pytest.MonkeyPatch) -> None:
    """Have the platform fit and show few models, where what is asked is how fits come about and not what is in them."""
    from orchestration.analysis.specification import read_specification

    for module in ("assets", "showing.pages", "showing.report"):
        patch.setattr(f"orchestration.analysis.{module}.read_specification", lambda: brief(read_specification()))


@pytest.fixture
def _brief_models(monkeypatch: pytest.MonkeyPatch) -> None:
    fit_few_models(monkeypatch)
