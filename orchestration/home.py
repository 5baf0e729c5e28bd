"""The home: the folder with everything that the platform makes, its key beside it, its ledger and its Dagster instance."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestration.files import write_atomically
from orchestration.readings import Readings, SqliteReadings
from orchestration.settings import CHECKOUT, Settings
from orchestration.trouble import Mendable

if TYPE_CHECKING:
    from orchestration.ledger import Ledger

DEMO_MARK = "made-by-demo"
DAGSTER_CONFIG = {
    "embedded": CHECKOUT / "deploy" / "dagster.yaml",
    "server": CHECKOUT / "deploy" / "dagster.server.yaml",
}


class NoHome(Mendable):
    """There is no home yet; says how to make one."""


@dataclass(frozen=True)
class Initialised:
    """What `init` found and made."""

    home: str
    key_id: str
    is_new_key: bool


def initialise(settings: Settings) -> Initialised:
    """Make the home, the key and the ledger where they are not there yet. A key is only made for a new home.

    Raises PseudonymKeyError when a home without its key is found (a new key would make the same person somebody else),
    and when the key would lie in the home.
    """
    from orchestration.deliveries.keys import PseudonymKeyError, make_key, read_key
    from orchestration.ledger import Ledger

    if settings.key_path.resolve().is_relative_to(settings.home_path):
        raise PseudonymKeyError(f"the pseudonym key may not lie in the home that it protects: {settings.key_path}")
    _make_folders(settings)
    ledger = Ledger.of(settings)
    ledger.create()
    is_new_home = not ledger.has_key() and not any(settings.raw.iterdir())
    is_new_key = is_new_home and not settings.key_path.exists()
    if is_new_key:
        make_key(settings.key_path)
    key = read_key(settings.key_path, settings.project)
    if is_new_home:
        ledger.admit_key(key.key_id)
    elif not ledger.knows_key(key.key_id):
        raise PseudonymKeyError(
            f"the key at {settings.key_path} (id {key.key_id}) is not the one that this home was made with; put that one back"
        )
    settings.dagster_home.mkdir(exist_ok=True)
    template = DAGSTER_CONFIG[settings.profile].read_text(encoding="utf-8")
    configuration = template.replace("{dagster_home}", settings.dagster_home.as_posix())
    write_atomically(settings.dagster_home / "dagster.yaml", configuration.encode())
    return Initialised(str(settings.home_path), key.key_id, is_new_key)


def _make_folders(settings: Settings) -> None:
    for folder in (
        settings.home_path,
        settings.inbox_path,
        settings.raw,
        settings.builds,
        settings.versions,
        settings.fits,
    ):
        folder.mkdir(parents=True, exist_ok=True)
    settings.home_path.chmod(0o700)


def home_settings() -> Settings:
    """The settings of this environment; a home that the demo made admits the numbers that are set aside for tests."""
    settings = Settings()
    if is_demo(settings):
        return settings.model_copy(update={"admit_test_numbers": True})
    return settings


def is_demo(settings: Settings) -> bool:
    """Whether the home was made by the demo."""
    return (settings.home_path / DEMO_MARK).exists()


def opened(settings: Settings) -> Ledger:
    """The ledger of an initialised home. Raises NoHome."""
    from orchestration.ledger import Ledger

    _require_home(settings)
    ledger = Ledger.of(settings)
    ledger.create()  # a home that an earlier release made may lack a table
    return ledger


def readings(settings: Settings) -> Readings:
    """The ledger of an initialised home for those who only read, loaded at once where it is an SQLite file. Raises NoHome."""
    _require_home(settings)
    if settings.ledger_url is None:
        return SqliteReadings(settings.ledger_file)
    return opened(settings)


def _require_home(settings: Settings) -> None:
    if not (settings.dagster_home / "dagster.yaml").is_file():
        raise NoHome(
            f"there is no home at {settings.home_path}; `delictvrij init` makes one, `delictvrij demo` one with simulated data"
        )


def forget(settings: Settings) -> None:
    """Remove a home and its key: only the demo does this, with its own home, before it starts anew."""
    shutil.rmtree(settings.home_path, ignore_errors=True)
    for beside in (settings.key_path, settings.audit_seal_path, settings.consents_file, settings.withdrawn_file):
        beside.unlink(missing_ok=True)
