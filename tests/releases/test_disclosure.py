"""Which rows of which tables may leave, rule by rule, and a whole fit judged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from orchestration.releases.definitions import COLUMNS as PAIR
from orchestration.releases.disclosure import (
    PASS,
    REASONS,
    REFUSED,
    SUPPRESSED,
    Judged,
    Policy,
    ReleaseRules,
    class_counts,
    coarse_points,
    event_tables,
    flow_tables,
    judge_fit,
    judged_rows,
    judged_summary,
    release_rules,
    thin_steps,
    write_disclosure,
)  # fmt: skip
from orchestration.releases.disclosure_scan import Allowed, Secrets, may_leave, scan_folder
from orchestration.settings import Settings
from tests.releases.attacker import cells_of

RULES = ReleaseRules()
MODEL = Policy("estimates", ("model_id", "term"), ("estimate",), ("n", "events"), ("events",))


def model(n: int = 190, events: int = 60, terms: int = 3, **more: Any) -> pd.DataFrame:
    return pd.DataFrame(
        {"model_id": "m", "term": [f"t{i}" for i in range(terms)], "estimate": 0.1, "n": n, "events": events, **more}
    )


@pytest.mark.parametrize(
    ("frame", "rule"),
    [
        (model(), ""),
        (model(n=9, events=9), "few_people"),
        (model(events=9), "few_events"),
        (model(events=12, terms=3), "degrees_of_freedom"),
        (model(events=13, terms=3), ""),
    ],
)
def test_a_model_leaves_with_enough_people_events_and_degrees_of_freedom(frame: pd.DataFrame, rule: str) -> None:
    assert set(judged_rows(frame, MODEL, RULES)) == {rule}


def test_a_saturated_term_is_withheld_and_its_model_is_not() -> None:
    assert judged_rows(model(), MODEL, RULES, saturated={("m", "t1")}).tolist() == ["", "saturated", ""]


def test_what_follows_a_model_that_does_not_leave_does_not_leave() -> None:
    follows = Policy("estimates", ("model_id", "term"), model="cox")
    assert set(judged_rows(model(), follows, RULES, models=set())) == {"model"}


def test_with_one_group_withheld_the_smallest_other_and_what_is_compared_with_it_go_too() -> None:
    policy = Policy("means", ("group", "compared_with"), ("days",), ("n",))
    frame = pd.DataFrame(
        {
            "grouping": "tertile",
            "group": ["low", "middle", "high", "high"],
            "compared_with": ["", "", "", "low"],
            "n": [9, 40, 60, 60],
            "days": 1.0,
        }
    )
    assert judged_rows(frame, policy, RULES).tolist() == ["few_people", "family", "", "family"]


def test_the_smaller_class_of_a_binary_covariate_is_counted_where_it_is_smallest() -> None:
    imputed = pd.DataFrame(
        {
            "outcome_id": "o", "imputation": [1] * 4 + [2] * 4, "client_id": list("abcd") * 2, "cluster": "x",
            "event": [True, False, True, False] * 2, "is_male": [1, 1, 1, 0, 1, 1, 0, 0], "age": [20.5, 30, 40, 50] * 2,
        }
    )  # fmt: skip
    assert class_counts(imputed).to_dict("records") == [
        {"outcome_id": "o", "term": "is_male", "people": 1, "events": 0}
    ]


def curve(events: list[int], at_risk: list[int], n: int = 100) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "month": range(len(events)),
            "n": n,
            "at_risk": at_risk,
            "events": events,
            "survival": [1 - count / n for count in events],
        }
    )


def test_each_step_of_a_curve_holds_ten_events_and_ten_are_still_at_risk() -> None:
    points = coarse_points(curve([0, 4, 11, 20, 21, 40], [100, 95, 88, 78, 70, 9]), ["survival"], RULES)
    assert points["month"].tolist() == [0, 2, 4]
    assert list(points) == ["month", "survival", "n", "at_risk"]
    assert points["at_risk"].tolist() == [100, 90, 70]


def test_a_curve_without_a_step_has_no_point() -> None:
    assert coarse_points(curve([0, 4, 9], [100, 95, 88]), ["survival"], RULES).empty


def test_steps_are_checked_on_what_is_published() -> None:
    fine = pd.DataFrame({"month": [0, 6, 12], "survival": [1.0, 0.9, 0.78], "n": 100})
    assert thin_steps(fine, "survival") == 0
    assert thin_steps(fine.assign(survival=[1.0, 0.98, 0.78]), "survival") == 1


@pytest.mark.parametrize(
    ("statistic", "n", "verdict"),
    [("mean", 10, PASS), ("mean", 9, REFUSED), ("median", 20, PASS), ("p05", 199, REFUSED), ("p05", 200, PASS), ("p95", 199, REFUSED),
     ("min", 500, REFUSED), ("max", 500, REFUSED), ("mode", 500, REFUSED)],
)  # fmt: skip
def test_percentiles_need_people_on_either_side_and_extremes_never_leave(statistic: str, n: int, verdict: str) -> None:
    frame = pd.DataFrame({"statistic": [statistic], "n": [n], "value": [1.0]})
    assert judged_summary(frame, RULES, "age")[1]["verdict"] == verdict


def test_the_flow_is_one_table_of_shared_steps_and_one_for_each_outcome() -> None:
    flow = pd.DataFrame(
        [
            ("a", 1, "rated", 230, 30, 200),
            ("a", 2, "linked", 200, 0, 200),
            ("b", 1, "rated", 230, 30, 200),
            ("b", 2, "alive", 200, 15, 185),
        ],
        columns=["outcome_id", "step", "step_name", "n_in", "n_out", "n_remaining"],
    )
    tables = {table.name: dict(cells_of(table)) for table in flow_tables(flow)}
    assert tables["flow.entry"] == {("rated",): 30, ("through",): 200, ("after rated",): 200, ("total",): 230}
    assert tables["flow.b"] == {("alive",): 15, ("analysed",): 185, ("after alive",): 185, ("total",): 200}


def test_event_counts_are_told_as_people_with_exactly_so_many() -> None:
    counts = pd.DataFrame(
        {"outcome_id": "o", "number": [1, 2, 3], "people": [192, 65, 16], "events": [65, 16, 0], "in_detention": 0}
    )
    assert dict(cells_of(event_tables(counts)[0])) == {("0",): 127, ("1",): 49, ("2",): 16, ("total",): 192}


def test_every_table_of_a_fit_has_a_verdict_and_one_that_no_rule_names_is_refused(
    judged: Judged, fit_tables: Mapping[str, pd.DataFrame]
) -> None:
    assert set(judged.verdicts["item"]) == set(fit_tables)
    strange = judge_fit({"shoe_sizes": pd.DataFrame({"x": [1]})}, RULES, "t").verdicts.iloc[0]
    assert (strange["verdict"], strange["rule"]) == (REFUSED, "unknown")


def test_no_table_of_the_zone_leaves(judged: Judged) -> None:
    assert "imputed" not in judged.frames
    assert judged.verdicts.set_index("item").loc["imputed", "verdict"] == REFUSED


def test_no_count_of_few_people_leaves_a_fit(judged: Judged) -> None:
    people = {
        "n",
        "events",
        "clients",
        "officers",
        "clusters",
        "ratings",
        "class_count",
        "reference_count",
        "at_risk",
        "count",
    }
    for name, frame in judged.frames.items():
        if name != "benchmark":
            counts = frame[list(people & set(frame.columns))].apply(pd.to_numeric)
            few = (counts > 0) & (counts < 10)
            assert not few.any().any(), name


def test_a_small_group_of_a_fit_is_withheld_where_the_same_fit_in_full_has_it(
    judged: Judged, fit_tables: Mapping[str, pd.DataFrame]
) -> None:
    found = judged.verdicts.set_index("item")
    assert (fit_tables["log_rank"]["n"] < 10).any() and found.loc["log_rank", "verdict"] == SUPPRESSED
    assert judged.frames["change_patterns"]["count"].isna().any()


def test_no_published_curve_has_events_or_a_thin_step(judged: Judged) -> None:
    for name, share in (("survival_curves", "survival"), ("cumulative_incidence", "risk"), ("absolute_risk", "risk")):
        frame = judged.frames[name]
        assert "events" not in frame
        keys = [column for column in ("outcome_id", "rater", "scale", "grouping", "group", "cause") if column in frame]
        clock = frame.rename(columns={"months": "month"})
        assert sum(thin_steps(rows, share) for _, rows in clock.groupby(keys)) == 0


def test_notes_leave_without_what_may_be_counts(judged: Judged) -> None:
    assert not any(
        ":" in note for frame in judged.frames.values() if "note" in frame for note in frame["note"].dropna()
    )


def test_a_binary_determinant_leaves_only_when_its_classes_are_known_to_be_large(
    judged: Judged, fit_tables: Mapping[str, pd.DataFrame]
) -> None:
    assert "addiction" not in set(judged.frames["determinants"]["term"])
    own = {name: fit_tables[name] for name in ("determinants", "marginal_effects")}
    classes = own["marginal_effects"][["model_id", "term"]].drop_duplicates().assign(people=20)
    again = judge_fit(own, RULES, "t", determinant_classes=classes)
    assert "addiction" in set(again.frames["determinants"]["term"])
    few = judge_fit(own, RULES, "t", determinant_classes=classes.assign(people=9))
    assert "addiction" not in set(few.frames["determinants"]["term"])


EXACT = {"events_per_parameter", "estimate_min", "estimate_max", "clusters", "degrees_of_freedom"}


def multiverse(fit_tables: Mapping[str, pd.DataFrame], **events: int) -> pd.DataFrame:
    """The single scores of the fit, and for each name the same models of another definition with so many events."""
    estimates = fit_tables["estimates"]
    is_score = (estimates["term"] == estimates["scale"]) & (estimates["exposure"] == "score")
    own = estimates[is_score & ~estimates["model_id"].str.endswith(".split")].assign(role="primary")
    others = [
        own.assign(
            role="sensitivity", outcome_id=name, model_id=own["model_id"].str.replace("general_landmark", name), events=count
        )
        for name, count in events.items()
    ]  # fmt: skip
    return pd.concat([own, *others], ignore_index=True).assign(p_holm=1.0, p_benjamini_hochberg=1.0)


def apart(one: str, other: str, events: int) -> tuple[str, str, int, int, int, bool]:
    return (one, other, 0, events, 100, False)


def judged_multiverse(
    fit_tables: Mapping[str, pd.DataFrame], frame: pd.DataFrame, *pairs: tuple[str, str, int, int, int, bool]
) -> tuple[pd.DataFrame, str]:
    own = {name: fit_tables[name] for name in ("estimates", "imputed", "cohort_flow") if name in fit_tables}
    found = judge_fit({**own, "multiverse": frame}, RULES, "t", differences=pd.DataFrame(pairs, columns=list(PAIR)))
    verdict = found.verdicts.set_index("item").loc["multiverse", "rule"]
    return found.frames.get("multiverse", frame.iloc[:0]), verdict


def test_a_definition_that_few_people_tell_from_another_does_not_leave_with_it(
    fit_tables: Mapping[str, pd.DataFrame],
) -> None:
    frame = multiverse(fit_tables, near=70, far=40)
    pairs = (apart("general_landmark", "near", 5), apart("general_landmark", "far", 30), apart("near", "far", 30))
    left, rule = judged_multiverse(fit_tables, frame, *pairs)
    assert set(left["outcome_id"]) == {"general_landmark", "far"} and "definition" in rule.split()
    assert not EXACT & set(left.columns) and (left.loc[left["outcome_id"] == "far", "events"] == 40).all()


def test_how_many_terms_a_model_of_the_multiverse_has_is_that_of_the_fit(
    fit_tables: Mapping[str, pd.DataFrame],
) -> None:
    terms = (
        fit_tables["estimates"]
        .groupby(["exposure", "adjustment", "model_id"])
        .size()["score"]
        .groupby("adjustment")
        .max()
    )
    just_enough = int(terms["criminal_history"]) + RULES.degrees_of_freedom
    for events, leaves in ((just_enough, True), (just_enough - 1, False)):
        left, _ = judged_multiverse(
            fit_tables, multiverse(fit_tables, rare=events), apart("general_landmark", "rare", 50)
        )
        of_rare = set(left.loc[left["outcome_id"] == "rare", "adjustment"])
        assert ("criminal_history" in of_rare) is leaves and "unadjusted" in of_rare and "full" not in of_rare


def test_an_adjustment_that_the_fit_does_not_have_does_not_leave(fit_tables: Mapping[str, pd.DataFrame]) -> None:
    frame = multiverse(fit_tables).assign(adjustment="strange")
    assert judged_multiverse(fit_tables, frame)[0].empty


def test_a_multiverse_of_other_numbers_than_the_fit_does_not_leave(fit_tables: Mapping[str, pd.DataFrame]) -> None:
    frame = multiverse(fit_tables)
    left, rule = judged_multiverse(fit_tables, frame.assign(estimate=frame["estimate"] + 0.001))
    assert (len(left), rule) == (0, "other_fit")


def test_corrections_are_over_the_tests_that_left(fit_tables: Mapping[str, pd.DataFrame]) -> None:
    frame = multiverse(fit_tables, near=70)
    left, _ = judged_multiverse(fit_tables, frame, apart("general_landmark", "near", 5))
    smallest = left.loc[left["p_value"].idxmin()]
    assert smallest["p_holm"] == pytest.approx(min(1.0, smallest["p_value"] * left["p_value"].notna().sum()))


def test_n_is_missing_where_the_flow_does_not_show_how_many_were_analysed(
    fit_tables: Mapping[str, pd.DataFrame],
) -> None:
    left, _ = judged_multiverse(fit_tables, multiverse(fit_tables, far=40), apart("general_landmark", "far", 30))
    known = left.groupby("outcome_id")["n"].agg(lambda n: n.notna().all()).to_dict()
    assert known == {"general_landmark": True, "far": False}


def test_what_was_judged_and_written_passes_the_scan_of_its_folder(
    judged: Judged, fit_tables: Mapping[str, pd.DataFrame], tmp_path: Path
) -> None:
    columns = {}
    for name, frame in judged.frames.items():
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
        columns[f"{name}.csv"] = tuple(frame.columns)
    write_disclosure(judged.verdicts, RULES, tmp_path / "disclosure.json", is_simulated=True)
    columns.pop("benchmark.csv")
    (tmp_path / "benchmark.csv").unlink()
    found = scan_folder(tmp_path, Allowed(columns=columns), Secrets.of(fit_tables["imputed"]))
    assert may_leave(found), found.loc[found["verdict"] == REFUSED, ["item", "rule"]].to_dict("records")


def test_the_imputed_table_in_the_folder_is_refused(fit_tables: Mapping[str, pd.DataFrame], tmp_path: Path) -> None:
    fit_tables["imputed"].to_parquet(tmp_path / "table.parquet")
    found = scan_folder(tmp_path, Allowed(), Secrets.of(fit_tables["imputed"])).iloc[0]
    assert {"identifier", "person", "columns"} <= set(found["rule"].split())


def test_the_written_verdicts_say_simulated_and_hold_a_reason_for_each_item(judged: Judged, tmp_path: Path) -> None:
    write_disclosure(judged.verdicts, RULES, tmp_path / "d.json", is_simulated=True)
    written = json.loads((tmp_path / "d.json").read_text(encoding="utf-8"))
    assert written["simulated"] is True and written["rules"]["counts"]["threshold"] == 10
    assert all(item["reason"] and set(item["rule"].split()) <= set(REASONS) for item in written["items"])


def test_the_settings_are_the_rules() -> None:
    rules = release_rules(Settings(small_cell=12, curve_step_events=8, model_degrees_of_freedom=15))
    assert (rules.threshold, rules.step_events, rules.degrees_of_freedom) == (12, 8, 15)
