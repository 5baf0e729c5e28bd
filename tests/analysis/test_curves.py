"""Curves and their errors: by hand, against R (survival, cmprsk) and scikit-survival, and what must hold whatever the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.analysis import cox
from orchestration.analysis.curves import Moves, log_log_interval, log_rank, moves_of, occupation, root_sum_of_squares
from tests.analysis.reference_r import ask_r, needs_r

GRID = np.array([3.0, 6.0, 12.0, 18.0, 24.0])


def people(n: int = 150, seed: int = 4) -> pd.DataFrame:
    """Months with many ties; causes 0 (censored), 1, 2, 3; some enter late; clusters of two or three."""
    rng = np.random.default_rng(seed)
    stop = np.ceil(rng.exponential(14, n))
    start = np.where(rng.uniform(size=n) < 0.4, np.floor(stop * rng.uniform(0, 0.9, n)), 0.0)
    cause = rng.choice(4, n, p=[0.3, 0.4, 0.2, 0.1])
    return pd.DataFrame(
        {"start": start, "stop": stop, "cause": cause, "cluster": rng.integers(0, n // 2, n), "group": rng.choice(3, n)}
    )


def test_kaplan_meier_with_greenwoods_error_by_hand() -> None:
    """Events at 1 and 3, one leaves at 2, one stays: 3/4, then half of it; Greenwood 1/(4*3) + 1/(2*1)."""
    found = occupation(moves_of(np.zeros(4), [1.0, 2.0, 3.0, 4.0], [1, 0, 1, 0], 1), [0.5, 1.0, 3.5], horizon=4.0)
    assert found.probability[:, 0] == pytest.approx([1, 0.75, 0.375])
    assert found.std_error[:, 0] == pytest.approx([0, 0.75 * np.sqrt(1 / 12), 0.375 * np.sqrt(1 / 12 + 1 / 2)])
    assert found.time_in_state[0] == pytest.approx(1 + 2 * 0.75 + 0.375)


@needs_r
def test_kaplan_meier_intervals_and_restricted_means_are_those_of_r(tmp_path: Path) -> None:
    frame = people()
    answers = ask_r(
        tmp_path,
        """
        library(survival); d <- frame("people"); grid <- c(3, 6, 12, 18, 24)
        undelayed <- survfit(Surv(stop, cause > 0) ~ 1, data = d, conf.type = "log-log")
        s <- summary(undelayed, times = grid)
        say("survival", s$surv); say("error", s$std.err); say("low", s$lower); say("high", s$upper)
        late <- survfit(Surv(start, stop, cause > 0) ~ 1, data = d, id = seq_len(nrow(d)), robust = TRUE)
        say("late", summary(late, times = grid)$surv); say("late_error", summary(late, times = grid)$std.err)
        clustered <- survfit(Surv(start, stop, cause > 0) ~ 1, data = d, cluster = cluster, robust = TRUE)
        say("clustered", summary(clustered, times = grid)$std.err)
        table <- summary(undelayed, rmean = 24)$table
        say("mean", table[["rmean"]]); say("mean_error", table[["se(rmean)"]])
        """,
        people=frame,
    )
    event = (frame["cause"] > 0).astype(int)
    moves = moves_of(frame["start"], frame["stop"], event, 1)
    undelayed, late = moves_of(np.zeros(len(frame)), frame["stop"], event, 1), occupation(moves, GRID)
    found = occupation(undelayed, GRID, horizon=24.0)
    low, high = log_log_interval(found.probability[:, 0], found.std_error[:, 0])
    clustered = occupation(moves, GRID, frame["cluster"]).std_error[:, 0]
    groups = frame["cluster"].nunique()
    for name, ours in (
        ("survival", found.probability[:, 0]), ("error", found.std_error[:, 0]), ("low", low), ("high", high),
        ("late", late.probability[:, 0]), ("late_error", late.std_error[:, 0]),
        ("clustered", clustered * np.sqrt((groups - 1) / groups)),
    ):  # fmt: skip
        np.testing.assert_allclose(ours, answers[name], rtol=1e-9, err_msg=name)
    assert found.time_in_state[0] == pytest.approx(answers["mean"][0], rel=1e-9)
    assert root_sum_of_squares(found.influence_on_time)[0] == pytest.approx(answers["mean_error"][0], rel=1e-9)


@needs_r
def test_cumulative_incidence_is_that_of_r_and_of_cmprsk(tmp_path: Path) -> None:
    frame = people()
    answers = ask_r(
        tmp_path,
        """
        library(survival); library(cmprsk); d <- frame("people"); grid <- c(3, 6, 12, 18, 24)
        fit <- survfit(Surv(start, stop, factor(cause, 0:3)) ~ 1, data = d, id = seq_len(nrow(d)))
        s <- summary(fit, times = grid)
        for (k in 1:3) { say(paste0("risk", k), s$pstate[, k + 1]); say(paste0("error", k), s$std.err[, k + 1]) }
        gray <- timepoints(cuminc(d$stop, d$cause), grid)
        for (k in 1:3) { say(paste0("gray", k), gray$est[k, ]); say(paste0("gray_variance", k), gray$var[k, ]) }
        """,
        people=frame,
    )
    found = occupation(moves_of(frame["start"], frame["stop"], frame["cause"], 3), GRID)
    undelayed = occupation(moves_of(np.zeros(len(frame)), frame["stop"], frame["cause"], 3), GRID)
    for k in (1, 2, 3):
        np.testing.assert_allclose(found.probability[:, k], answers[f"risk{k}"], rtol=1e-9)
        np.testing.assert_allclose(found.std_error[:, k], answers[f"error{k}"], rtol=1e-9)
        np.testing.assert_allclose(undelayed.probability[:, k], answers[f"gray{k}"], rtol=1e-9)
        # Gray counts n - 1 where the delta method counts n
        np.testing.assert_allclose(undelayed.std_error[:, k], np.sqrt(answers[f"gray_variance{k}"]), rtol=0.02)


def test_cumulative_incidence_is_that_of_scikit_survival() -> None:
    sksurv = pytest.importorskip("sksurv.nonparametric", reason="scikit-survival is a development dependency")
    frame = people()
    times, theirs = sksurv.cumulative_incidence_competing_risks(frame["cause"], frame["stop"])
    found = occupation(moves_of(np.zeros(len(frame)), frame["stop"], frame["cause"], 3), times)
    np.testing.assert_allclose(found.probability[:, 1:].T, theirs[1:], rtol=1e-12, atol=1e-14)


def wanderers(n: int = 80, seed: int = 9, elsewhere: float = 0.2) -> pd.DataFrame:
    """Between two states and back, until a third or the end of sight: several rows a person."""
    rng, rows = np.random.default_rng(seed), []
    for person in range(n):
        now, state, end = 0, int(rng.uniform() < elsewhere), int(rng.integers(10, 40))
        while now < end:
            then = min(now + int(rng.integers(1, 15)), end)
            target = -1 if then == end else int(rng.choice([1 - state, 2], p=[0.8, 0.2]))
            rows.append({"person": person, "start": now, "stop": then, "origin": state, "target": target})
            if target in (-1, 2):
                break
            now, state = then, target
    return pd.DataFrame(rows)


def moves_between(frame: pd.DataFrame) -> Moves:
    start, stop = frame["start"].to_numpy(dtype=float), frame["stop"].to_numpy(dtype=float)
    who = np.unique(frame["person"], return_inverse=True)[1]
    return Moves(start, stop, frame["origin"].to_numpy(), frame["target"].to_numpy(), who, 3)


@needs_r
def test_going_to_and_fro_between_states_is_as_in_r(tmp_path: Path) -> None:
    frame = wanderers(elsewhere=0.0)
    answers = ask_r(
        tmp_path,
        """
        library(survival); d <- frame("rows"); grid <- c(3, 6, 12, 18, 24)
        fit <- survfit(Surv(start, stop, factor(target, -1:2, c("none", "0", "1", "2"))) ~ 1, data = d, id = person,
                       istate = factor(origin, 0:2))
        s <- summary(fit, times = grid); order <- match(c("0", "1", "2"), fit$states)
        for (k in 1:3) { say(paste0("p", k - 1), s$pstate[, order[k]]); say(paste0("error", k - 1), s$std.err[, order[k]]) }
        """,
        rows=frame,
    )
    found = occupation(moves_between(frame), GRID)
    for state in range(3):
        np.testing.assert_allclose(found.probability[:, state], answers[f"p{state}"], rtol=1e-9)
        np.testing.assert_allclose(found.std_error[:, state], answers[f"error{state}"], rtol=1e-8)
    assert found.probability.sum(axis=1) == pytest.approx(1)


def test_errors_are_those_of_leaving_people_out_one_by_one_also_when_they_begin_in_different_states() -> None:
    """The infinitesimal jackknife is the limit of the jackknife: with 80 people within 3 %."""
    frame = wanderers()
    left_out = [occupation(moves_between(frame[frame["person"] != i]), GRID).probability for i in range(80)]
    jackknife = np.sqrt(79 / 80 * ((left_out - np.mean(left_out, axis=0)) ** 2).sum(axis=0))
    np.testing.assert_allclose(occupation(moves_between(frame), GRID).std_error, jackknife, rtol=0.03)


@needs_r
def test_log_rank_is_that_of_r(tmp_path: Path) -> None:
    frame = people()
    answers = ask_r(
        tmp_path,
        'library(survival); d <- frame("people"); say("chisq", survdiff(Surv(stop, cause > 0) ~ group, data = d)$chisq)',
        people=frame,
    )
    found = log_rank(np.zeros(len(frame)), frame["stop"], frame["cause"] > 0, frame["group"])
    assert found.statistic == pytest.approx(answers["chisq"][0], rel=1e-9)
    assert found.degrees_of_freedom == 2


def test_log_rank_with_late_entry_is_the_score_test_of_the_cox_model() -> None:
    """Without ties the two are the same (Cox 1972): score squared over information at zero, from a fit of the core by hand."""
    rng = np.random.default_rng(3)
    stop = rng.uniform(1, 10, 60)
    start, event, group = stop * rng.uniform(0, 0.8, 60), rng.uniform(size=60) < 0.7, rng.integers(0, 2, 60)
    score = information = 0.0
    for time in stop[event]:
        at_risk = (start < time) & (stop >= time)
        share = group[at_risk].mean()
        score += group[stop == time][0] - share
        information += share * (1 - share)
    assert log_rank(start, stop, event, group).statistic == pytest.approx(score**2 / information, rel=1e-12)


def test_one_group_or_no_event_is_no_test() -> None:
    with pytest.raises(cox.CoxInputError, match="two groups and an event; there are 1 and 2"):
        log_rank([0, 0], [1, 2], [True, True], ["a", "a"])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 8), st.integers(0, 3)), min_size=1, max_size=25),
    st.integers(0, 14),
)
def test_a_cumulative_incidence_is_never_above_one_minus_kaplan_meier_of_its_cause(
    rows: list[tuple[int, int, int]], at: int
) -> None:
    """Whoever dies first cannot reoffend: treating the other causes as censoring can only add."""
    start = np.array([row[0] for row in rows], dtype=float)
    stop = start + [row[1] for row in rows]
    cause = np.array([row[2] for row in rows])
    incidence = occupation(moves_of(start, stop, cause, 3), [float(at)])
    naive = occupation(moves_of(start, stop, cause == 1, 1), [float(at)])
    assert incidence.probability[0, 1] <= naive.probability[0, 1] + 1e-12
    assert incidence.probability.sum() == pytest.approx(1)
    assert (incidence.probability >= -1e-12).all()
