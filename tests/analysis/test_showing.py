"""What shows a fit is no part of what makes it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from orchestration.analysis import fit, showing


@pytest.fixture
def copied_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The room as a copy that may be changed, with both hashes looking at it."""
    room = shutil.copytree(fit.ROOM, tmp_path / "analysis", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(fit, "ROOM", room)
    monkeypatch.setattr(fit, "SHOWING", room / "showing")
    monkeypatch.setattr(showing, "PACKAGE", room / "showing")
    return room


@pytest.mark.parametrize("name", ["report.py", "templates/report.html.j2"])
def test_a_change_of_what_shows_changes_the_code_of_the_report_alone(copied_room: Path, name: str) -> None:
    room, page = fit.room_hash(), showing.showing_hash()
    with (copied_room / "showing" / name).open("a", encoding="utf-8") as file:
        file.write("\n")
    assert fit.room_hash() == room and showing.showing_hash() != page


def test_a_change_of_the_models_changes_the_code_of_the_fit_alone(copied_room: Path) -> None:
    room, page = fit.room_hash(), showing.showing_hash()
    for name in ("cox.py", "models.yml"):
        with (copied_room / name).open("a", encoding="utf-8") as file:
            file.write("\n")
        assert fit.room_hash() != room and showing.showing_hash() == page
        room = fit.room_hash()
