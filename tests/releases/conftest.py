"""One small release for every test that only looks at it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import settings_in
from tests.releases.making import SmallRelease, small_release


@pytest.fixture(scope="session")
def release(_settled_once: Path, tmp_path_factory: pytest.TempPathFactory) -> SmallRelease:
    folder = tmp_path_factory.mktemp("releases")
    shutil.copytree(_settled_once, folder / "home")
    return small_release(settings_in(folder / "home"), folder)
