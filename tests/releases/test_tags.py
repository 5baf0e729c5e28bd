"""What a release is called: the rule from what changed to the tag, and which tags a person may ask for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.releases.tags import ORDER, BadTag, Step, Tag, accepted, follow_up_year, parsed, proposed, step_of
from orchestration.warehouse.diff import Difference, TableChange

SAME = TableChange(10, 10, 0, 0, 0, {})
NOTHING = Difference("a", "b", True, {"client": SAME}, {}, {}, {}, {}, {}, {})
CORRECTED = replace(NOTHING, tables={"client": TableChange(10, 11, 1, 0, 2, {"birth_year": 2})})
LAST = Tag(2026, 2, 3)


def step(
    difference: Difference, years: tuple[int, int] = (2026, 2026), models: bool = False, refit: bool = False
) -> Step:
    return step_of(difference, *years, models, refit)


@pytest.mark.parametrize(
    ("what", "made"),
    [
        (step(NOTHING), "none"),
        (step(NOTHING, refit=True), "patch"),
        (step(CORRECTED), "patch"),
        (step(NOTHING, models=True), "minor"),
        (step(replace(CORRECTED, definitions={"general": {"change": "changed"}})), "minor"),
        (step(replace(NOTHING, code_lists={"offence": {"added": 1, "removed": 0}})), "minor"),
        (step(replace(NOTHING, tables={"client": replace(SAME, columns_added=("partner",))})), "minor"),
        (step(replace(NOTHING, tables={"client": replace(SAME, columns_removed=("partner",))})), "minor"),
        (step(replace(CORRECTED, definitions={"general": {"change": "changed"}}), (2026, 2027)), "year"),
        (step(CORRECTED, (2027, 2026)), "patch"),
    ],
)
def test_the_step_is_the_largest_thing_that_changed(what: Step, made: Step) -> None:
    assert what == made


@pytest.mark.parametrize(
    ("made", "tag"), [("none", "2026.2.4"), ("patch", "2026.2.4"), ("minor", "2026.3.0"), ("year", "2027.1.0")]
)
def test_the_next_tag_follows_from_the_step(made: Step, tag: str) -> None:
    assert str(proposed(LAST, made, 2027, ())) == tag


def test_the_first_release_is_named_after_the_year_after_follow_up() -> None:
    assert follow_up_year("2025-12-31") == 2026
    assert follow_up_year("2026-06-30") == 2026
    assert str(proposed(None, "year", follow_up_year("2025-12-31"), ())) == "2026.1.0"


def test_a_tag_that_is_taken_is_passed_over() -> None:
    assert str(proposed(None, "year", 2026, {"2026.1.0", "2026.1.1"})) == "2026.1.2"


@pytest.mark.parametrize(
    "text", ["2026.1", "2026.01.0", "2026.1.0 ", "v2026.1.0", "26.1.0", "2026.1.0/..", "2026.1.-1", "٢٠٢٦.1.0"]
)
def test_what_is_no_tag_is_refused(text: str) -> None:
    with pytest.raises(BadTag, match="YYYY"):
        parsed(text)


@pytest.mark.parametrize(
    ("asked", "made", "taken"),
    [("2026.2.3", "patch", ()), ("2026.1.9", "patch", ()), ("2026.2.4", "minor", ()), ("2026.3.0", "year", ()), ("2026.2.4", "patch", ("2026.2.4",))],
)  # fmt: skip
def test_a_tag_that_says_less_than_what_changed_or_is_taken_is_refused(
    asked: str, made: Step, taken: tuple[str, ...]
) -> None:
    with pytest.raises(BadTag):
        accepted(asked, LAST, made, 2027, taken)


@pytest.mark.parametrize(("asked", "made"), [("2026.2.4", "patch"), ("2026.3.0", "patch"), ("2027.1.0", "year")])
def test_a_tag_may_say_more_than_what_changed(asked: str, made: Step) -> None:
    assert str(accepted(asked, LAST, made, 2027, ())) == asked


def test_the_first_release_has_the_year_of_its_follow_up() -> None:
    assert accepted("2026.4.0", None, "year", 2026, ()) == Tag(2026, 4, 0)
    with pytest.raises(BadTag):
        accepted("2027.1.0", None, "year", 2026, ())


_TAGS = st.builds(Tag, st.integers(2020, 2040), st.integers(0, 30), st.integers(0, 30))


@given(_TAGS, st.sampled_from(ORDER), st.integers(2020, 2041), st.sets(_TAGS.map(str), max_size=5))
def test_a_proposed_tag_is_later_free_and_accepted(last: Tag, made: Step, year: int, taken: set[str]) -> None:
    tag = proposed(last, made, year, taken)
    assert tag > last and str(tag) not in taken
    assert accepted(str(tag), last, made, year, taken) == parsed(str(tag)) == tag
