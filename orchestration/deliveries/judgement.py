"""What a rule found: status, counts, codes and row numbers, and never a value."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

import yaml

MAX_ROW_NUMBERS = 10


class Status(StrEnum):
    """The four outcomes of a rule."""

    ERROR = "error"
    NOT_APPLICABLE = "not_applicable"
    FAILED = "failed"
    PASSED = "passed"


@dataclass(frozen=True)
class Judgement:
    """One rule applied to one place.

    `rule` is a stable code with a text in `messages.yml`; `place` a file, or empty. `column` is the partner's header.
    `waived` says by whom, until when and why a failed rule was accepted; its severity is then `waived`.
    `note` says the same of a correction that was applied.
    `rows` are the first row numbers (1 = first row under the header) where the rule failed.
    """

    rule: str
    status: Status
    table: str = ""
    column: str = ""
    place: str = ""
    severity: str = "error"
    evaluated: int | None = None
    failed: int | None = None
    threshold: float | None = None
    rows: tuple[int, ...] = ()
    expected: str = ""
    waived: str = ""
    note: str = ""

    @property
    def blocks(self) -> bool:
        """Whether this finding keeps the delivery out."""
        return self.severity == "error" and self.status in (Status.FAILED, Status.ERROR)

    @property
    def warns(self) -> bool:
        """Whether this finding is told without keeping anything out."""
        return self.severity != "error" and self.status is Status.FAILED

    def for_ledger(self) -> dict[str, Any]:
        """The fields that the ledger keeps."""
        return {
            "table_name": self.table or None,
            "column_name": self.column or self.place or None,
            "rule": self.rule,
            "status": self.status.value,
            "severity": self.severity,
            "evaluated": self.evaluated,
            "failed": self.failed,
            "threshold": self.threshold,
        }

    def as_dict(self) -> dict[str, Any]:
        """For JSON reports."""
        waived = {"waived": self.waived} if self.waived else {}
        note = {"note": self.note} if self.note else {}
        return {**self.for_ledger(), "rows": list(self.rows), "expected": self.expected, **waived, **note}


class Refused(Exception):
    """A delivery that cannot be read any further; carries what was found."""

    def __init__(self, *judgements: Judgement) -> None:
        self.judgements = judgements
        super().__init__(", ".join(sorted({judgement.rule for judgement in judgements})))


def failed(rule: str, **where: Any) -> Judgement:
    """A blocking finding of `rule`."""
    return Judgement(rule=rule, status=Status.FAILED, **where)


def blocking(judgements: Iterable[Judgement]) -> list[Judgement]:
    """The findings that keep a delivery out."""
    return [judgement for judgement in judgements if judgement.blocks]


@cache
def _phrases() -> list[tuple[re.Pattern[str], str]]:
    path = Path(__file__).parent / "phrases.yml"
    return [(re.compile(said), dutch) for said, dutch in yaml.safe_load(path.read_text(encoding="utf-8"))]


def expected_in(text: str, language: str) -> str:
    """What was expected, as a judgement says it in English, in Dutch (`nl`) or as it is."""
    if language == "nl":
        for pattern, dutch in _phrases():
            text = pattern.sub(dutch, text)
    return text


@cache
def messages() -> dict[str, dict[str, dict[str, str]]]:
    """The texts of all rules: code → language → what, do."""
    loaded: dict[str, dict[str, dict[str, str]]] = yaml.safe_load(
        (Path(__file__).parent / "messages.yml").read_text(encoding="utf-8")
    )
    return loaded
