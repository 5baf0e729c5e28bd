"""Progress: said at every tenth, or after a while, and no oftener; on a terminal as a bar, elsewhere in lines."""

from __future__ import annotations

import pytest

from orchestration.progress import both, named, throttled
from orchestration.terminal import progress_on_terminal


def said_of(steps: int, seconds_each: float) -> list[str]:
    """What is said of work whose every step takes as long."""
    now, lines = [0.0], list[str]()
    progress = throttled(lines.append, clock=lambda: now[0], seconds=15)
    for done in range(1, steps + 1):
        now[0] += seconds_each
        progress("Cox models", done, steps)
    return lines


def test_quick_work_is_said_at_every_tenth() -> None:
    assert said_of(200, 0) == [f"Cox models: {done} of 200 steps" for done in range(20, 201, 20)]
    assert said_of(3, 0) == [f"Cox models: {done} of 3 steps" for done in (1, 2, 3)]


def test_slow_work_is_said_every_quarter_of_a_minute_too() -> None:
    lines = said_of(200, 2)  # 400 s: at every tenth (40 s), and twice in between
    assert 20 <= len(lines) <= 31
    assert "Cox models: 8 of 200 steps" in lines and "Cox models: 16 of 200 steps" in lines


def test_listeners_hear_the_same_and_a_stage_is_named() -> None:
    one: list[tuple[str, int, int]] = []
    other: list[tuple[str, int, int]] = []
    both(lambda *said: one.append(said), named("fit", lambda *said: other.append(said)))("growth", 2, 9)
    assert one == [("growth", 2, 9)] and other == [("fit growth", 2, 9)]


def test_where_there_is_no_terminal_stages_and_tenths_are_lines_and_quiet_is_quiet(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress_on_terminal(is_quiet=False) as progress:
        progress("gate rn", 0, 2)
        for done in range(1, 101):
            progress("fit Cox models", done, 100)
    shown = capsys.readouterr()
    lines = shown.err.splitlines()
    assert lines[:3] == ["gate …", "fit …", "fit Cox models: 10 of 100 steps"] and len(lines) == 12 and shown.out == ""
    with progress_on_terminal(is_quiet=True) as progress:
        progress("fit Cox models", 1, 1)
    assert capsys.readouterr() == ("", "")
