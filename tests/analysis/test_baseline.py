"""Table 1: described as measured, by pattern, and with everybody counted once."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from orchestration.analysis.baseline import baseline
from orchestration.analysis.grouping import groupings
from orchestration.analysis.inputs import Inputs
from orchestration.analysis.recidivism import outcome_cohort
from orchestration.analysis.specification import Specification

OUTCOME = "general_landmark"


@pytest.fixture(scope="module")
def people(inputs: Inputs) -> pd.DataFrame:
    cohort = inputs.analysis_cohort
    return cohort[(cohort["outcome_id"] == OUTCOME) & cohort["is_eligible"]]


@pytest.fixture(scope="module")
def table(inputs: Inputs, spec: Specification) -> pd.DataFrame:
    cohort = outcome_cohort(inputs.analysis_cohort, OUTCOME, spec)
    return baseline(cohort, groupings(cohort, inputs.alliance_change, spec), spec)


def test_what_models_take_as_a_logarithm_or_in_decades_is_described_as_it_was_measured(
    table: pd.DataFrame, people: pd.DataFrame
) -> None:
    everybody = table[table["group"] == "all"].set_index("term")
    assert everybody.loc["log_prior_cases", "mean"] == pytest.approx(people["prior_cases"].mean())
    assert everybody.loc["age_decades", ["q1", "median", "q3"]].tolist() == pytest.approx(
        people["age_at_origin"].quantile([0.25, 0.5, 0.75]).tolist()
    )
    assert everybody.loc["client_trust_t1", "sd"] == pytest.approx(people["client_trust_t1"].std())


def test_shares_are_of_those_observed_and_the_missing_are_counted(table: pd.DataFrame, people: pd.DataFrame) -> None:
    row = table[(table["group"] == "all") & (table["term"] == "addiction")].iloc[0]
    assert (row["n"], row["missing"]) == (len(people), people["addiction"].isna().sum())
    assert row["missing"] > 0 and row["observed"] + row["missing"] == row["n"]
    assert row["share"] == pytest.approx(people["addiction"].mean()) and row["count"] == people["addiction"].sum()


def test_the_groups_are_everybody_once(table: pd.DataFrame) -> None:
    groups = table[table["grouping"] == "pattern_half_sd"]
    assert set(groups["group"]) == {"stable", "improving", "deteriorating", "not_rated"}
    whole = table[table["group"] == "all"].set_index("term")
    for part in ("n", "observed", "missing"):
        pd.testing.assert_series_equal(groups.groupby("term")[part].sum(), whole[part].sort_index(), check_names=False)
    counted = groups[groups["kind"] == "yes_no"].groupby("term")["count"].sum()
    assert (counted == whole.loc[counted.index, "count"]).all()


def test_a_group_without_a_value_has_no_mean(inputs: Inputs, spec: Specification) -> None:
    cohort = inputs.analysis_cohort.assign(motivation=np.nan)
    empty = outcome_cohort(cohort, OUTCOME, spec)
    rows = baseline(empty, [], spec).set_index("term")
    assert rows.loc["motivation", "missing"] == empty.n and np.isnan(rows.loc["motivation", "mean"])
