"""The split of a refit's moves: kinds are told apart, intermediate rows are what they say, parts add up to the whole."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestration.analysis.explanation import (
    CODE,
    CORRECTIONS,
    DEFINITIONS,
    FOLLOW_UP,
    KINDS,
    PEOPLE,
    WITHDRAWALS,
    Side,
    changed_past,
    explain,
    outcome_estimates,
    redefined_outcomes,
    sort_changes,
    withdrawn_people,
)
from orchestration.analysis.fit import FitResult
from orchestration.analysis.inputs import MODEL_TABLES, Inputs
from orchestration.analysis.showing.changed import changes
from orchestration.analysis.showing.report import outcome_labels, render_report
from orchestration.analysis.showing.source import Source
from orchestration.analysis.specification import Specification
from tests.analysis.test_fit import quick

OUTCOMES = ("general_landmark", "general_supervision_end")
MADE = {"code_hash": "c", "packages": {}, "seed": 3, "imputations": 2}


def row(client: str, outcome: str = OUTCOMES[0], **values: Any) -> dict[str, Any]:
    usual = {
        "organisation": "rn", "officer_id": "o1", "is_eligible": True, "ineligible_reason": None, "entry_days": 0.0,
        "duration_days": 100.0, "event": False, "exit_reason": "cutoff", "trust": 3.0,
    }  # fmt: skip
    return {"client_id": client, "outcome_id": outcome, **usual, **values}


def cohort(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(list(rows)).astype({"event": "boolean", "ineligible_reason": object})


@pytest.mark.parametrize(
    ("was", "is_now", "kinds"),
    [
        ({}, {}, (None, None)),
        ({}, {"duration_days": 200.0}, (FOLLOW_UP, None)),
        ({}, {"duration_days": 150.0, "event": True, "exit_reason": "event"}, (FOLLOW_UP, None)),
        ({}, {"duration_days": 80.0, "event": True, "exit_reason": "event"}, (CORRECTIONS, None)),
        ({}, {"duration_days": 100.0, "event": True, "exit_reason": "event"}, (CORRECTIONS, None)),
        ({}, {"duration_days": 90.0}, (CORRECTIONS, None)),
        ({"event": True}, {"event": True, "duration_days": 200.0}, (CORRECTIONS, None)),
        ({"event": True}, {"duration_days": 200.0}, (CORRECTIONS, None)),
        ({}, {"trust": 4.0}, (None, CORRECTIONS)),
        ({"trust": None}, {"trust": 4.0}, (None, CORRECTIONS)),
        ({}, {"trust": 4.0, "duration_days": 200.0}, (FOLLOW_UP, CORRECTIONS)),
        ({}, {"is_eligible": False, "ineligible_reason": "not_linked", "event": None}, (CORRECTIONS, None)),
        (
            {"is_eligible": False, "ineligible_reason": "no_followup", "event": None, "duration_days": None, "trust": None},
            {},
            (FOLLOW_UP, FOLLOW_UP),
        ),
        ({"is_eligible": False, "ineligible_reason": "not_linked", "event": None}, {"trust": 4.0}, (CORRECTIONS, CORRECTIONS)),
    ],
)  # fmt: skip
def test_what_changed_in_a_row_is_told_apart(
    was: dict[str, Any], is_now: dict[str, Any], kinds: tuple[Any, Any]
) -> None:
    found = sort_changes(cohort(row("a", **was)), cohort(row("a", **is_now))).rows.iloc[0]
    assert (found["exit_kind"], found["rest_kind"]) == kinds


def test_who_came_went_and_withdrew() -> None:
    found = sort_changes(cohort(row("a"), row("b"), row("c")), cohort(row("a"), row("d")), withdrawn={"b"})
    kinds = found.rows.set_index("client_id")["rest_kind"]
    assert kinds[["b", "c", "d"]].tolist() == [WITHDRAWALS, CORRECTIONS, PEOPLE]
    assert found.people().set_index("kind")["clients"].to_dict() == {CORRECTIONS: 1, PEOPLE: 1, WITHDRAWALS: 1}


def test_an_outcome_that_was_redefined_changed_for_no_other_reason() -> None:
    old = cohort(row("a"), row("b"), row("a", OUTCOMES[1]))
    new = cohort(row("a", duration_days=200.0), row("c"), row("a", OUTCOMES[1], duration_days=200.0))
    found = sort_changes(old, new, redefined={OUTCOMES[0]})
    assert (found.changed(OUTCOMES[0]), found.changed(OUTCOMES[1])) == ((DEFINITIONS,), (FOLLOW_UP,))


def test_where_code_lists_changed_corrections_cannot_be_told_from_definitions() -> None:
    old, new = cohort(row("a"), row("b")), cohort(row("a", trust=4.0), row("b", duration_days=200.0))
    assert sort_changes(old, new, are_lists_changed=True).changed(OUTCOMES[0]) == (FOLLOW_UP, DEFINITIONS)


def test_a_longer_follow_up_whose_past_changed_is_a_correction() -> None:
    def spells(*bounds: tuple[int, int, str]) -> pd.DataFrame:
        return pd.DataFrame(
            [{"client_id": "a", "outcome_id": OUTCOMES[0], "start_day": a, "stop_day": b, "state": s} for a, b, s in bounds]
        )  # fmt: skip

    old = spells((0, 100, "at_risk"))
    later = changed_past(old, spells((0, 60, "at_risk"), (60, 140, "at_risk"), (140, 200, "detained")))
    detained = changed_past(old, spells((0, 50, "at_risk"), (50, 80, "detained"), (80, 300, "at_risk")))
    assert (later, detained) == (frozenset(), {("a", OUTCOMES[0])})
    rows = cohort(row("a")), cohort(row("a", duration_days=270.0))
    assert sort_changes(*rows, past=detained).changed(OUTCOMES[0]) == (CORRECTIONS,)


def test_definitions_and_withdrawals_are_read_from_what_versions_say_of_themselves() -> None:
    old = pd.DataFrame({"outcome_id": ["a", "b"], "lag_months": [6, 6], "level": ["x", None]})
    assert redefined_outcomes(old, old.assign(lag_months=[6, 12])) == {"b"}
    assert redefined_outcomes(old, old.iloc[::-1]) == frozenset()
    assert withdrawn_people({}, {"withdrawals": []}) == frozenset()
    record = {"withdrawals": ["p1", {"client_id": "p2", "mode": "erase"}, {"mode": "stop"}]}
    assert withdrawn_people({"withdrawals": ["p1"]}, record) == {"p2"}


# ------------------------------------------------------------------------------------------------- generated pairs


def fake_fit(inputs: Inputs, outcome: str) -> pd.DataFrame:
    """An estimate that every cell of the eligible rows moves, in no way that adds up by itself."""
    rows = inputs.analysis_cohort
    rows = rows[(rows["outcome_id"] == outcome) & rows["is_eligible"].astype(bool)]
    days, trust = rows["duration_days"].astype(float).fillna(0), rows["trust"].astype(float).fillna(1.7)
    value = np.tanh((trust * np.sqrt(days + 1)).sum() / 300) + 0.3 * rows["event"].astype("boolean").fillna(False).sum()
    number = {"std_error": 0.2, "fraction_missing": 0.3, "imputations": 2, "outcome_id": outcome}
    return pd.DataFrame([{"model_id": f"{outcome}.m", "term": term, "estimate": value * k, **number} for k, term in ((1, "trust"), (-2, "age"))])  # fmt: skip


def inputs_of(rows: pd.DataFrame, lag: int = 6) -> Inputs:
    empty = pd.DataFrame()
    definitions = pd.DataFrame({"outcome_id": OUTCOMES, "role": "primary", "lag_months": [lag, 6]})
    frames = dict.fromkeys(MODEL_TABLES, empty) | {"analysis_cohort": rows, "outcome_definition": definitions}
    return Inputs(**frames)


def side(rows: pd.DataFrame, lag: int = 6, code: str = "c", scale: float = 1.0, **record: Any) -> Side:
    inputs = inputs_of(rows, lag)
    estimates = pd.concat([fake_fit(inputs, outcome) for outcome in OUTCOMES])
    estimates["estimate"] *= scale
    return Side(inputs, estimates, {**MADE, "code_hash": code}, record)


PEOPLE_NAMES = [f"p{number}" for number in range(6)]
DAYS = st.sampled_from([10.0, 100.0, 100.0, 250.0])


@st.composite
def cohorts(draw: Any) -> pd.DataFrame:
    rows = []
    for outcome in OUTCOMES:
        for name in sorted(draw(st.sets(st.sampled_from(PEOPLE_NAMES), min_size=1))):
            is_in = draw(st.booleans())
            reason = None if is_in else draw(st.sampled_from(["no_followup", "not_linked"]))
            rows.append(
                row(name, outcome, duration_days=draw(DAYS) if is_in else None, event=draw(st.booleans()) if is_in else None,
                    trust=draw(st.sampled_from([2.0, 3.5, None])), is_eligible=is_in, ineligible_reason=reason)
            )  # fmt: skip
    return cohort(*rows)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cohorts(), cohorts(), st.sets(st.sampled_from(PEOPLE_NAMES)), st.sampled_from([6, 12]), st.booleans())
def test_parts_add_up_to_the_whole_for_any_two_versions(
    old: pd.DataFrame, new: pd.DataFrame, withdrawn: set[str], lag: int, is_code_new: bool
) -> None:
    before = side(old, code="older" if is_code_new else "c", scale=0.9 if is_code_new else 1.0)
    after = side(new, lag=lag, withdrawals=sorted(withdrawn))
    found = explain(before, after, None, fake_fit)  # type: ignore[arg-type]
    parts = found.parts
    assert found.largest_remainder <= 1e-9
    assert len(parts) == 4 and parts[list(KINDS)].notna().all(axis=None)
    if not is_code_new:
        assert (parts[CODE] == 0).all()
    people = found.people.set_index(["outcome_id", "kind"])["clients"]
    for _, part in parts.iterrows():
        for kind in KINDS[1:]:
            if (part["outcome_id"], kind) not in people.index and not (is_code_new and kind == CODE):
                assert part[kind] == 0
    if lag == 12:
        redefined = parts[parts["outcome_id"] == OUTCOMES[0]]
        assert (redefined[[FOLLOW_UP, PEOPLE, CORRECTIONS, WITHDRAWALS]] == 0).all(axis=None)


@settings(max_examples=40, deadline=None)
@given(cohorts(), cohorts())
def test_with_every_kind_applied_the_rows_are_those_of_the_new_version(old: pd.DataFrame, new: pd.DataFrame) -> None:
    keys = ["client_id", "outcome_id"]
    changes = sort_changes(old, new)
    for applied, wanted in (((), old), (KINDS, new)):
        made = changes.cohort(applied).sort_values(keys, ignore_index=True)
        same = [
            frame.astype(object).where(frame.notna(), None)
            for frame in (made, wanted.sort_values(keys, ignore_index=True))
        ]
        pd.testing.assert_frame_equal(*same)


@pytest.mark.parametrize("name", ["code_hash", "models_hash", "packages", "seed", "imputations"])
def test_what_a_fit_was_made_by_comes_first_and_takes_the_whole_move_where_no_row_changed(name: str) -> None:
    rows = cohort(row("a"), row("b", OUTCOMES[1]))
    old = side(rows, scale=0.9)
    found = explain(replace(old, manifest={**MADE, name: "other"}), side(rows), None, fake_fit)  # type: ignore[arg-type]
    assert (found.parts[CODE] == found.parts["move"]).all() and (found.parts["move"] != 0).all() and found.fits == 0


def test_rows_that_cannot_be_fitted_half_way_leave_their_part_to_what_follows() -> None:
    old, new = cohort(row("a"), row("b")), cohort(row("a", duration_days=300.0), row("b", trust=1.0), row("c"))

    def fit(inputs: Inputs, outcome: str) -> pd.DataFrame:
        found = fake_fit(inputs, outcome)
        has_new = "c" in set(inputs.analysis_cohort["client_id"])
        return found.assign(estimate=np.nan) if has_new else found

    found = explain(side(old), side(new), None, fit)  # type: ignore[arg-type]
    part = found.parts.iloc[0]
    assert part[PEOPLE] == 0 and part[CORRECTIONS] != 0 and found.largest_remainder <= 1e-9
    assert PEOPLE in part["note"] and found.fits == 2


# --------------------------------------------------------------------------------------------------- the real models


def test_the_split_of_real_fits_adds_up_and_names_only_what_changed(inputs: Inputs, spec: Specification) -> None:
    small = quick(spec)
    new = inputs.analysis_cohort
    is_first = new["outcome_id"] == OUTCOMES[0]
    people = new.loc[is_first & new["is_eligible"], "client_id"].tolist()
    old = new[~(is_first & new["client_id"].isin(people[:3]))].copy()
    shorter = is_first & new["client_id"].isin(people[10:40])
    old.loc[shorter[shorter].index, ["duration_days", "event"]] = [20.0, False]
    corrected = old.index[(old["outcome_id"] == OUTCOMES[0]) & (old["client_id"] == people[60])]
    old.loc[corrected, "client_trust_t2"] = 1.0

    def estimates(rows: Inputs) -> pd.DataFrame:
        return pd.concat([outcome_estimates(rows, outcome, small, 3) for outcome in OUTCOMES])

    before = replace(inputs, analysis_cohort=old)
    sides = [Side(rows, estimates(rows), MADE, {}) for rows in (before, inputs)]
    found = explain(*sides, small)
    assert found.largest_remainder <= 1e-9 and found.fits == 2
    by_outcome = found.parts.set_index("outcome_id")
    assert (by_outcome.loc[OUTCOMES[0], [FOLLOW_UP, PEOPLE, CORRECTIONS]] != 0).all()
    assert (by_outcome.loc[OUTCOMES[0], [CODE, WITHDRAWALS, DEFINITIONS]] == 0).all()
    assert by_outcome.loc[OUTCOMES[1], "move"] == 0
    assert found.people["clients"].tolist() == [1, 30, 3]
    assert by_outcome.loc[OUTCOMES[0], "chance_std_error"] > 0
    said = json.dumps(found.as_record())
    assert not any(name in said for name in people)


# ------------------------------------------------------------------------------------------------------------ the page


def test_the_page_shows_who_changed_and_why_and_hides_what_few_clients_did(result: FitResult, fit_folder: Path) -> None:
    """25 clients with longer follow-up may be shown; one corrected record and three new people not, nor their parts."""
    rows = result.estimates[result.estimates["outcome_id"] == OUTCOMES[0]]
    parts = [
        {"model_id": one["model_id"], "term": one["term"], "outcome_id": OUTCOMES[0], "estimate_old": one["estimate"] - 0.5,
         "estimate_new": one["estimate"], "move": 0.5, **dict.fromkeys(KINDS, 0.0), FOLLOW_UP: 0.111, CORRECTIONS: 0.222,
         PEOPLE: 0.167, "chance_std_error": 0.01, "note": None}
        for _, one in rows.iterrows()
    ]  # fmt: skip
    people = [{"outcome_id": OUTCOMES[0], "kind": kind, "clients": count} for kind, count in ((FOLLOW_UP, 25), (CORRECTIONS, 1), (PEOPLE, 3))]  # fmt: skip
    said = {
        "old_fit": "0ld",
        "explanation": {"people": people, "parts": parts, "caveats": ["a caveat"], "order": KINDS},
    }
    path = fit_folder.with_name(f"{fit_folder.name}.changes.json")
    source, outcomes = Source("cafe", "f00d", True, 10), outcome_labels(result.absolute_risk)

    def shown() -> str:
        found = changes(fit_folder, result.estimates, outcomes, source)
        cells = [cell for table in found.tables for row in table.rows for cell in row]
        return " | ".join([f"Compared with fit {found.old_fit}", *found.caveats, *cells])

    try:
        path.write_text(json.dumps(said))
        few = shown()
        people[2]["clients"] = 12
        path.write_text(json.dumps(said))
        one = shown()
        people[1]["clients"] = 11
        path.write_text(json.dumps(said))
        more = render_report(
            fit_folder, {"version_id": "cafe", "simulated": True}, fit_folder.parent / "more.html"
        ).read_text()
    finally:
        path.unlink()
    assert "Compared with fit 0ld" in few and "a caveat" in few and "+0.500" in few
    assert not any(number in few for number in ("+0.111", "+0.222", "+0.167", "+0.389"))
    assert "+0.500" in one and not any(number in one for number in ("+0.111", "+0.222", "+0.167"))
    assert all(number in more for number in ("Compared with fit 0ld", "a caveat", "+0.111", "+0.222", "+0.167"))
    assert changes(fit_folder, result.estimates, outcomes, source).old_fit is None
