"""What a release is called: `YYYY.MINOR.PATCH`, and by which rule the next tag follows from what changed. The rule in words is in
docs/releases.md."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Literal

from orchestration.trouble import Mendable

if TYPE_CHECKING:
    from orchestration.warehouse.diff import Difference

Step = Literal["year", "minor", "patch", "none"]
ORDER: tuple[Step, ...] = ("none", "patch", "minor", "year")
_TAG = re.compile(r"(20\d\d)\.(0|[1-9]\d{0,3})\.(0|[1-9]\d{0,3})")


class BadTag(Mendable):
    """A tag is not one that this release can have; says why and which one it can."""


@dataclass(frozen=True, order=True)
class Tag:
    """The year after the last one that follow-up covers; MINOR counts what changed in meaning, PATCH what was corrected."""

    year: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return f"{self.year}.{self.minor}.{self.patch}"


def parsed(text: str) -> Tag:
    """The tag that a text says. Raises BadTag."""
    found = _TAG.fullmatch(text)
    if found is None:
        raise BadTag("a tag is YYYY.MINOR.PATCH, as 2026.1.0")
    year, minor, patch = map(int, found.groups())
    return Tag(year, minor, patch)


def is_tag(text: str) -> bool:
    """Whether a text is a tag."""
    return _TAG.fullmatch(text) is not None


def follow_up_year(registry_cutoff_on: str) -> int:
    """The year of a release: that in which the day after the registry's cut-off falls."""
    return (date.fromisoformat(registry_cutoff_on) + timedelta(days=1)).year


def step_of(
    difference: Difference, year_before: int, year_now: int, is_modelled_otherwise: bool, is_refitted: bool
) -> Step:
    """How large a step the release makes from the one before it.

    year: another year of follow-up. minor: something means another thing (a definition, a code list, a column, a table, the models).
    patch: rows were corrected, added or removed, or the same models were fitted again. none: nothing.
    """
    if year_now > year_before:
        return "year"
    has_other_columns = any(one.columns_added or one.columns_removed for one in difference.tables.values())
    if difference.definitions or difference.code_lists or has_other_columns or is_modelled_otherwise:
        return "minor"
    return "none" if difference.is_same and not is_refitted else "patch"


def proposed(last: Tag | None, step: Step, year: int, taken: Collection[str]) -> Tag:
    """The next tag: the first that is free from where the step leads."""
    if last is None:
        tag = Tag(year, 1, 0)
    elif step == "year":
        tag = Tag(max(year, last.year + 1), 1, 0)
    elif step == "minor":
        tag = Tag(last.year, last.minor + 1, 0)
    else:
        tag = Tag(last.year, last.minor, last.patch + 1)
    while str(tag) in taken:
        tag = Tag(tag.year, tag.minor, tag.patch + 1)
    return tag


def accepted(asked: str, last: Tag | None, step: Step, year: int, taken: Collection[str]) -> Tag:
    """The tag that a person asks for. Raises BadTag where it is none, is taken, or says of a smaller step than is made."""
    tag, least = parsed(asked), proposed(last, step, year, ())
    if asked in taken:
        raise BadTag(f"{asked} is taken, and a tag is used once; {proposed(last, step, year, taken)} is free")
    if tag < least or (last is None and tag.year != year):
        raise BadTag(
            f"{asked} would say less than what changed ({step if last else 'the first release'}): "
            f"{proposed(last, step, year, taken)} is the next; see docs/releases.md"
        )
    return tag
