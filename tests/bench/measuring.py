"""One process measured from outside, and the row that a bench prints: what it took, against what, and the bar that it is held to."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


class CommandFailed(RuntimeError):
    """A measured command did not end as it should; says what it wrote last."""


@dataclass(frozen=True)
class Usage:
    """What a process and its children took: wall and processor time in seconds, the largest memory of one of them in MB."""

    seconds: float
    processor: float
    peak_mb: float


@dataclass(frozen=True)
class Row:
    """One figure: its section, what was measured, the value with its unit, and the most that it may be (None where it is for comparison)."""

    section: str
    what: str
    value: float
    unit: str
    bar: float | None = None
    note: str = ""

    @property
    def is_met(self) -> bool:
        return self.bar is None or self.value <= self.bar

    def __str__(self) -> str:
        bar = "" if self.bar is None else f"{'met' if self.is_met else 'MISSED':>7} (at most {self.bar:g})"
        return f"{self.section:14}{self.what:58}{self.value:>10.3g} {self.unit:4}{bar:26}{self.note}".rstrip()


def usage_of(command: Sequence[str | Path], environment: Mapping[str, str], cwd: Path | None = None) -> Usage:
    """Run a command to its end. Raises CommandFailed unless it leaves with 0."""
    began = time.perf_counter()
    with subprocess.Popen(
        [str(word) for word in command], env=dict(environment), cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:  # fmt: skip
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - began
    if process.returncode:
        words = " ".join(str(word) for word in command)
        raise CommandFailed(f"{words} left with {process.returncode}: {said.strip()[-800:]}")
    return Usage(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
