"""Hostile deliveries are refused by their rule, in little memory, and leave nothing outside landing."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from orchestration.simulation.mutations import MUTATIONS
from tests.mutations.hostile import HOSTILE, MOST_MEGABYTES, tried, warm


@pytest.fixture(scope="module", autouse=True)
def _loaded() -> None:
    warm()


def test_the_catalogue_is_large_and_of_every_form() -> None:
    assert len(HOSTILE) >= 60
    assert {name.split(":")[0] for name in HOSTILE} == {"csv", "utf-8", "xlsx", "sav", "manifest", "file"}
    assert not set(HOSTILE) & set(MUTATIONS)


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_hostile_is_refused(_settled_once: Path, simulated: Path, tmp_path: Path, name: str) -> None:
    found = tried(name, _settled_once, simulated, tmp_path)
    assert found.is_refused, found
    assert found.megabytes <= MOST_MEGABYTES, found
    assert multiprocessing.active_children() == []
