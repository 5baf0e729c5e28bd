"""Q1: the growth model against lme4 and lmerTest, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from orchestration.analysis.growth import COLUMNS, growth_models
from orchestration.analysis.inputs import DAYS_PER_MONTH
from orchestration.analysis.specification import Specification
from tests.analysis.question_agreement import bar, growth_differences, rated
from tests.analysis.reference_r import needs_r


@needs_r
def test_coefficients_errors_and_degrees_of_freedom_are_those_of_lmertest(spec: Specification, tmp_path: Path) -> None:
    for name, difference in growth_differences(tmp_path, spec).items():
        assert difference < bar(name), name


def test_a_singular_structure_keeps_its_reason_and_the_next_one_gives_the_numbers(spec: Specification) -> None:
    """Officers who do not differ at all: their variance is estimated as zero, and so the structure without them answers."""
    rows = growth_models(*rated(4, sd_officer=0.0), spec.development)
    assert tuple(rows.columns) == COLUMNS
    refused = rows[rows["structure"] == "client_slope_officer"]
    assert refused["note"].str.contains("singular").all() and refused[["estimate", "p_value"]].isna().all(axis=None)
    given = rows[rows["structure"] == "client_slope"].set_index("term")
    assert given.loc["months", "estimate"] == pytest.approx(0.005, abs=0.01)
    assert given["note"].isna().all() and "sd_officer_intercept" not in given.index
    assert set(rows["structure"]) == {"client_slope_officer", "client_slope"}


def test_too_few_clients_or_waves_are_refused_for_every_structure(spec: Specification) -> None:
    scores, dyads = rated(1, n=25)
    few = growth_models(scores, dyads, spec.development)
    assert few["estimate"].isna().all() and set(few["structure"]) == set(spec.development.structures)
    assert few["note"].str.contains("clients rated more than once, fewer than 30").all()
    scores, dyads = rated(1)
    two = growth_models(scores[scores["wave"].isin(["T1", "T2"])], dyads, spec.development)
    assert two["estimate"].isna().all() and two["note"].str.contains("2 waves, fewer than 3").all()


def test_a_score_that_never_varies_gives_a_reason_and_no_number(spec: Specification) -> None:
    scores, dyads = rated(1, n=60)
    rows = growth_models(scores.assign(score=3.0), dyads, spec.development)
    assert rows["estimate"].isna().all() and rows["note"].notna().all()


def test_the_order_of_the_rows_does_not_matter_and_time_counts_from_the_start(spec: Specification) -> None:
    scores, dyads = rated(2)
    only = replace(spec.development, structures={"client": "(1 | client)"})
    once = growth_models(scores, dyads, only)
    pd.testing.assert_frame_equal(once, growth_models(scores.sample(frac=1, random_state=1), dyads, only))
    later = growth_models(scores.assign(measured_day=scores["measured_day"] + 10 * DAYS_PER_MONTH), dyads, only)
    intercept, slope = once["estimate"].iloc[:2]
    assert later["estimate"].iloc[0] == pytest.approx(intercept - 10 * slope, rel=1e-6)
    assert later["estimate"].iloc[1] == pytest.approx(slope, rel=1e-6)
