"""The home: made once, opened when it is there, and never given a second key."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestration.deliveries.keys import PseudonymKeyError
from orchestration.home import NoHome, forget, initialise, opened
from orchestration.ledger import Ledger
from orchestration.settings import Settings
from tests.conftest import Platform
from tests.deliveries.making import digests


def test_a_new_home_has_its_folders_its_ledger_and_a_key_beside_it(settings: Settings) -> None:
    made = initialise(settings)
    assert made.is_new_key
    assert opened(settings).knows_key(made.key_id)
    assert settings.home_path.stat().st_mode & 0o777 == 0o700
    assert not settings.key_path.is_relative_to(settings.home_path)
    for folder in (settings.raw, settings.versions, settings.builds, settings.fits, settings.inbox_path):
        assert folder.is_dir()
    assert "enabled: false" in (settings.dagster_home / "dagster.yaml").read_text()


def test_the_key_lies_beside_the_home_by_default(tmp_path: Path) -> None:
    assert Settings(home=tmp_path / "home").key_path == tmp_path / "home.key"


def test_a_home_is_made_once(platform: Platform) -> None:
    before, key = digests(platform.settings.home_path), platform.settings.key_path.read_bytes()
    again = initialise(platform.settings)
    assert not again.is_new_key
    assert digests(platform.settings.home_path) == before
    assert platform.settings.key_path.read_bytes() == key


def test_there_is_no_home_until_it_is_made(settings: Settings) -> None:
    with pytest.raises(NoHome, match="delictvrij init"):
        opened(settings)
    assert not settings.home_path.exists()


def test_a_home_that_lost_its_key_gets_no_other(platform: Platform) -> None:
    platform.settings.key_path.unlink()
    with pytest.raises(PseudonymKeyError, match="no pseudonym key"):
        initialise(platform.settings)
    assert not platform.settings.key_path.exists()


def test_a_home_with_deliveries_that_lost_ledger_and_key_gets_no_other_key(settled: Platform) -> None:
    for path in settled.settings.home_path.glob("ledger.sqlite*"):
        path.unlink()
    settled.settings.key_path.unlink()
    with pytest.raises(PseudonymKeyError, match="no pseudonym key"):
        initialise(settled.settings)
    assert not settled.settings.key_path.exists()


def test_a_home_whose_making_was_broken_off_is_finished_with_its_key(settings: Settings) -> None:
    first = initialise(settings)
    for path in settings.home_path.glob("ledger.sqlite*"):
        path.unlink()
    Ledger(settings.ledger_location).create()
    again = initialise(settings)
    assert (again.key_id, again.is_new_key) == (first.key_id, False)
    assert opened(settings).knows_key(first.key_id)


def test_a_ledger_elsewhere_has_a_home_and_a_key_too(settings: Settings, tmp_path: Path) -> None:
    elsewhere = settings.model_copy(update={"ledger_url": f"sqlite:///{tmp_path / 'elsewhere.sqlite'}"})
    made = initialise(elsewhere)
    assert made.is_new_key
    assert opened(elsewhere).knows_key(made.key_id)
    assert not (settings.home_path / "ledger.sqlite").exists()
    assert not initialise(elsewhere).is_new_key


@pytest.mark.parametrize("place", ["home/key", "home/deep/key", "home/../home/key"])
def test_a_key_inside_the_home_is_refused(settings: Settings, tmp_path: Path, place: str) -> None:
    inside = settings.model_copy(update={"key_file": tmp_path / place})
    with pytest.raises(PseudonymKeyError, match="may not lie in the home"):
        initialise(inside)
    assert not settings.home_path.exists()


def test_a_home_is_forgotten_with_its_key(platform: Platform) -> None:
    forget(platform.settings)
    assert not platform.settings.home_path.exists()
    assert not platform.settings.key_path.exists()
    forget(platform.settings)
