"""The status page in words: Dutch or English, from `nl.yml` and `en.yml`. One self-contained page, nothing fetched, nothing scripted."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from orchestration.deliveries.judgement import messages
from orchestration.files import write_atomically
from orchestration.pages import rendered
from orchestration.status import ON_THE_WAY, PROBLEMS, STATES, WELL, Line
from orchestration.stewards.status_page.overview import Notice, Overview

if TYPE_CHECKING:
    from orchestration.settings import Settings

FOLDER = Path(__file__).parent
LANGUAGES = ("nl", "en")
_POLICY = "default-src 'none'; style-src '{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@dataclass(frozen=True)
class Row:
    """A line as it reads: `why` in sentences, each with what is to be done."""

    organisation: str
    code: str
    period: str
    state: str
    state_word: str
    why: tuple[str, ...]
    todo: tuple[str, ...]
    delivery: str
    due: str
    late: str


@cache
def texts(language: str) -> Mapping[str, Any]:
    """What the page says in `nl` or `en`."""
    read: dict[str, Any] = yaml.safe_load((FOLDER / f"{language}.yml").read_text(encoding="utf-8"))
    return read


def file_name(language: str) -> str:
    """What the page is called, beside the one in the other language."""
    return f"status.{language}.html"


def page(seen: Overview, language: str, *, with_other: bool = True) -> str:
    """The whole page; `with_other` links to the same in the other language, which then lies beside it."""
    words, style = texts(language), _style()
    groups = [(name, _rows(seen, states, language)) for name, states in _GROUPS]
    (other,) = (one for one in LANGUAGES if one != language)
    return rendered(
        FOLDER / "templates" / "status.html.j2",
        language=language,
        words=words,
        style=style,
        policy=policy().split("; frame-ancestors", maxsplit=1)[0],  # which only a server can say
        other=other if with_other else None,
        other_file=file_name(other),
        is_simulated=seen.is_simulated,
        answer=_answer(seen, language),
        groups=groups,
        notices=[_said(notice, language) for notice in seen.notices],
        version=words["published"].format(
            version=seen.version_id, cutoff=_day(seen.cutoff_on, language), fit=seen.fit_id or words["none"]
        ) if seen.version_id and seen.cutoff_on else words["unpublished"],
        written=words["written"].format(day=_day(seen.today, language), time=f"{seen.written_at:%H:%M %Z}".strip()),
    )  # fmt: skip


def policy() -> str:
    """What a browser may do with the page: apply its one style, and nothing else."""
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    return _POLICY.format(style=f"sha256-{digest}")


def write_pages(settings: Settings, seen: Overview) -> list[Path]:
    """Write the page in both languages into the home."""
    written = []
    for language in LANGUAGES:
        path = settings.home_path / file_name(language)
        write_atomically(path, page(seen, language).encode())
        written.append(path)
    return written


_GROUPS: tuple[tuple[str, Sequence[str]], ...] = (("problems", PROBLEMS), ("on_the_way", ON_THE_WAY), ("well", WELL))


@cache
def _style() -> str:
    return (FOLDER / "templates" / "status.css").read_text(encoding="utf-8")


def _rows(seen: Overview, states: Sequence[str], language: str) -> list[Row]:
    return [_row(line, seen, language) for line in seen.lines if line.state in states]


def _row(line: Line, seen: Overview, language: str) -> Row:
    words = texts(language)
    why, todo = zip(*_reasons(line, language), strict=True)
    days = line.days_late(seen.today)
    return Row(
        organisation=seen.titles[line.organisation][language],
        code=line.organisation,
        period=line.period,
        state=line.state,
        state_word=words["states"][line.state],
        why=tuple(text for text in why if text),
        todo=tuple(text for text in todo if text),
        delivery=line.delivery_id,
        due="" if line.organisation in seen.delivers_once else _day(line.due_on, language),
        late=_days_late(days, words) if days else "",
    )


def _reasons(line: Line, language: str) -> Iterator[tuple[str, str]]:
    """Pairs of what is the matter and what to do about it; either may be empty."""
    words = texts(language)
    for rule in line.rules:
        text = messages().get(rule, {}).get(language)
        yield (f"{text['what']} ({rule})", text["do"]) if text else (rule, "")
    if not line.rules:
        kind = line.state
        if kind == "incomplete" and line.reason.startswith("changing"):
            kind = "changing"
        told = words["why"][kind]
        yield told["what"], told["do"].format(organisation=line.organisation, period=line.period)
    if line.waived:
        yield words["waived"].format(rules=", ".join(line.waived)), ""
    if line.corrections:
        yield words["corrected"].format(count=line.corrections), ""


def _answer(seen: Overview, language: str) -> str:
    """In one sentence, who is late, who is blocked, or that nobody is."""
    words = texts(language)
    counts = Counter(line.state for line in seen.lines if line.is_problem)
    if not counts:
        return str(words["all_well"])
    oldest = next(line for line in seen.lines if line.is_problem)
    told = ", ".join(f"{counts[state]} {words['states'][state].lower()}" for state in STATES if counts[state])
    return str(words["answer"]).format(
        counts=told, organisation=seen.titles[oldest.organisation][language], period=oldest.period
    )


def _said(notice: Notice, language: str) -> str:
    words = texts(language)
    known = {**words["checks"], **words["troubles"]}
    values = {
        name: _day(value, language) if isinstance(value, date) else value for name, value in notice.values.items()
    }
    said = str(words["notices"][notice.kind]).format(
        **values, codes=" ".join(known.get(code, code) for code in notice.codes)
    )
    return f"{said} {words['since'].format(day=_day(notice.since, language))}" if notice.since else said


def _days_late(days: int, words: Mapping[str, Any]) -> str:
    return str(words["day_late"] if days == 1 else words["days_late"].format(days=days))


def _day(day: date, language: str) -> str:
    """A day as people write it, such as 14 November 2026."""
    return f"{day.day} {texts(language)['months'][day.month - 1]} {day.year}"
