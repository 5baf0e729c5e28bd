"""Q3 as curves: by hand on a few people, on a synthetic cohort, and what may be known of a group at the origin."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from orchestration.analysis import group_curves, recidivism
from orchestration.analysis.grouping import Grouping, everybody, groupings, known_pattern, tertiles
from orchestration.analysis.inputs import DAYS_PER_MONTH, InputError, Inputs
from orchestration.analysis.intervals import of_cohort
from orchestration.analysis.specification import Specification

LANDMARK = "general_landmark"


@pytest.fixture(scope="module")
def cohort(inputs: Inputs, spec: Specification) -> recidivism.OutcomeCohort:
    return recidivism.outcome_cohort(inputs.analysis_cohort, LANDMARK, spec)


@pytest.fixture(scope="module")
def groups(cohort: recidivism.OutcomeCohort, inputs: Inputs, spec: Specification) -> list[Grouping]:
    return groupings(cohort, inputs.alliance_change, spec)


def few(cohort: recidivism.OutcomeCohort, duration: list[float], reason: list[str]) -> recidivism.OutcomeCohort:
    """The first people of the cohort with other ends."""
    n = len(duration)
    return replace(
        cohort, client=cohort.client[:n], entry=np.zeros(n), duration=np.array(duration), event=np.array(reason) == "event",
        exit_reason=np.array(reason, dtype=object), cluster=np.arange(n).astype(str), covariates=cohort.covariates.iloc[:n],
    )  # fmt: skip


def intervals(*rows: tuple[int, float, float, bool]) -> pd.DataFrame:
    """Rows of who, start, stop, is_detained."""
    return pd.DataFrame(rows, columns=["who", "start", "stop", "is_detained"])


def test_survival_by_hand_and_at_months_only(cohort: recidivism.OutcomeCohort, spec: Specification) -> None:
    """Four people: an event at day 10, one leaves at 40, an event at 50, one stays until 70."""
    four = few(cohort, [10.0, 40.0, 50.0, 70.0], ["event", "cutoff", "event", "cutoff"])
    curve = group_curves.survival_curves(four, [everybody(four)])
    all_of_them = curve[curve["group"] == "all"]
    assert all_of_them["month"].tolist() == [0, 1, 2]
    assert all_of_them["survival"].tolist() == pytest.approx([1.0, 0.75, 0.75 * 0.5])
    assert all_of_them["events"].tolist() == [0, 1, 2]
    assert all_of_them["at_risk"].tolist() == [4, 3, 1]


def test_groups_hold_equal_scores_together_and_the_unrated_apart(
    cohort: recidivism.OutcomeCohort, spec: Specification
) -> None:
    groups = tertiles(cohort, "client", "trust", spec)
    score = cohort.covariates["client_trust_t2"]
    assert (groups == "not_rated").tolist() == score.isna().tolist()
    assert score[groups == "low"].max() < score[groups == "middle"].min()
    assert score[groups == "middle"].max() < score[groups == "high"].min()


def test_a_score_on_a_cut_is_in_the_lower_group(cohort: recidivism.OutcomeCohort, spec: Specification) -> None:
    scores = np.array([1.0, 2.0, 2.0, 3.0, np.nan, 4.0, 4.0, 5.0])[np.arange(cohort.n) % 8]
    changed = replace(cohort, covariates=cohort.covariates.assign(client_trust_t2=scores))
    groups = tertiles(changed, "client", "trust", spec)
    expected = {1.0: "low", 2.0: "low", 3.0: "middle", 4.0: "middle", 5.0: "high"}
    assert groups.tolist() == [expected.get(score, "not_rated") for score in scores]


def test_a_risk_beyond_follow_up_is_not_made_up(cohort: recidivism.OutcomeCohort, spec: Specification) -> None:
    short = replace(cohort, duration=np.minimum(cohort.duration, 500.0), event=cohort.event & (cohort.duration <= 500))
    rows = group_curves.absolute_risks(short, [everybody(short)], spec).set_index("months")
    assert 0 < rows.loc[12, "conf_low"] < rows.loc[12, "risk"] < rows.loc[12, "conf_high"] < 1
    assert np.isnan(rows.loc[24, "risk"]) and "nobody is followed that long" in rows.loc[24, "note"]


def test_death_and_detention_compete_by_hand(cohort: recidivism.OutcomeCohort, spec: Specification) -> None:
    """Five people: an event on day 50, a death on 80, detained on 60 with an event later, detained from the first day, no end.

    The fifth is left out of the four at risk: 1/4 by the event, then 1/4 each by detention and death; treating both as
    censoring would give the same 1/4 here, but the last event (day 200, in detention) is nobody's at liberty.
    """
    five = few(cohort, [50.0, 80.0, 200.0, 300.0, 120.0], ["event", "death", "event", "cutoff", "cutoff"])
    spells = intervals(
        (0, 0, 50, False), (1, 0, 80, False), (2, 0, 60, False), (2, 60, 200, True), (3, 0, 20, True), (3, 20, 300, False),
        (4, 0, 120, False),
    )  # fmt: skip
    found = group_curves.cumulative_incidence(five, spells, [everybody(five)], spec)
    last = found[found["month"] == 3].set_index("cause")
    assert last["risk"].to_dict() == pytest.approx({"event": 0.25, "death": 0.25, "emigration": 0.0, "detention": 0.25})
    assert set(found["n"]) == {4} and last["events"].to_dict() == {
        "event": 1,
        "death": 1,
        "emigration": 0,
        "detention": 1,
    }


def test_cumulative_incidence_stays_below_one_minus_kaplan_meier_in_every_group(
    cohort: recidivism.OutcomeCohort, inputs: Inputs, groups: list[Grouping], spec: Specification
) -> None:
    spells = of_cohort(inputs.followup_interval, cohort).assign(is_detained=False)
    keys = ["rater", "scale", "grouping", "group", "month"]
    liberty = cohort.duration.copy()
    spells = spells.groupby("who", as_index=False).agg(
        start=("start", "min"), stop=("stop", "max"), is_detained=("is_detained", "any")
    )
    spells["stop"] = liberty
    incidence = group_curves.cumulative_incidence(cohort, spells, groups, spec)
    curves = group_curves.survival_curves(cohort, groups).set_index(keys)["survival"]
    event = incidence[incidence["cause"] == "event"].set_index(keys)["risk"]
    both = pd.concat([event, 1 - curves], axis=1, join="inner").to_numpy()
    assert len(both) > 500
    assert (both[:, 0] <= both[:, 1] + 1e-12).all() and (both[:, 0] < both[:, 1] - 1e-6).any()


def test_a_pattern_is_known_only_when_both_ratings_came_before_the_origin(
    cohort: recidivism.OutcomeCohort, inputs: Inputs, spec: Specification
) -> None:
    """Somebody who was rated after the landmark has a pattern in the table, and none in the model: immortal time."""
    changes = inputs.alliance_change
    of_rule = changes[
        (changes["rater"] == "client")
        & (changes["scale"] == "trust")
        & (changes["span"] == "T1-T2")
        & (changes["rule"] == "rci")
    ]
    known = known_pattern(cohort, of_rule, "client", "trust", spec)
    table = of_rule.set_index("client_id")["pattern"].reindex(cohort.client)
    somebody = int(np.flatnonzero(table.notna())[0])
    assert known[somebody] == table.iloc[somebody]
    late = cohort.covariates.copy()
    late.loc[somebody, "client_trust_t2"] = np.nan
    assert known_pattern(replace(cohort, covariates=late), of_rule, "client", "trust", spec)[somebody] == "not_rated"


def test_every_scale_of_both_raters_has_tertiles_and_patterns_with_their_tests(
    cohort: recidivism.OutcomeCohort, groups: list[Grouping]
) -> None:
    tests = group_curves.log_rank(cohort, groups)
    assert len(groups) == 1 + 2 * 4 * (1 + 3) and len(tests) == len(groups) - 1
    estimable = tests[tests["note"].isna()]
    assert len(estimable) > 20 and estimable["p_value"].between(0, 1).all()
    sizes = [(group.label != "not_rated").sum() for group in groups[1:]]
    assert tests["n"].tolist() == sizes


def test_restricted_means_by_hand_and_their_difference(cohort: recidivism.OutcomeCohort, spec: Specification) -> None:
    """Two and two people; in the low group an event on day 100 of 730.5, in the high group none."""
    four = few(cohort, [100.0, 800.0, 800.0, 900.0], ["event", "cutoff", "cutoff", "cutoff"])
    label = np.array(["low", "low", "high", "high"], dtype=object)
    found = group_curves.restricted_means(four, [Grouping("client", "trust", "tertile", ("low", "high"), label)], spec)
    days = found.set_index(["group", "compared_with"])["days"]
    horizon = 24 * DAYS_PER_MONTH
    assert days["low", ""] == pytest.approx(100 + (horizon - 100) / 2)
    assert days["high", ""] == pytest.approx(horizon)
    assert days["high", "low"] == pytest.approx(days["high", ""] - days["low", ""])
    one_cluster = replace(four, cluster=np.array(["a", "b", "a", "b"]))
    errors = [
        group_curves.restricted_means(
            one, [Grouping("client", "trust", "tertile", ("low", "high"), label)], spec
        ).set_index(["group", "compared_with"])["std_error"]["high", "low"]
        for one in (four, one_cluster)
    ]
    assert errors[0] > 0 and errors[1] == pytest.approx(errors[0] * np.sqrt(2 / 1 / (4 / 3)))


def test_a_mean_beyond_follow_up_is_not_made_up(cohort: recidivism.OutcomeCohort, spec: Specification) -> None:
    two = few(cohort, [100.0, 200.0], ["event", "cutoff"])
    found = group_curves.restricted_means(two, [everybody(two)], spec)
    assert found["days"].isna().all() and "nobody is followed that long" in found["note"].iloc[0]


def test_people_without_intervals_are_counted_not_dropped(cohort: recidivism.OutcomeCohort, inputs: Inputs) -> None:
    rows = inputs.followup_interval
    with pytest.raises(InputError, match=f"has rows of {cohort.n - 1} of the {cohort.n} people"):
        of_cohort(rows[rows["client_id"] != cohort.client[0]], cohort)
