"""Q2: the multinomial logit against R, and what it does with small and separated classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from orchestration.analysis.determinants import COLUMNS, determinants, predictor_frame
from orchestration.analysis.fit import FitResult
from orchestration.analysis.inputs import Inputs
from orchestration.analysis.specification import Specification
from tests.analysis.reference_r import ask_r, needs_r
from tests.analysis.synthetic import synthetic_inputs

TRUST = "T1-T2.client.trust.half_sd.all"


def with_patterns(inputs: Inputs, patterns: np.ndarray) -> Inputs:
    """The same inputs with these client-rated Trust patterns T1-T2 (both rules), in order of client."""
    change = inputs.alliance_change.sort_values("client_id", kind="stable").reset_index(drop=True)
    for rule in ("half_sd", "rci"):
        is_it = (
            (change["rater"] == "client")
            & (change["scale"] == "trust")
            & (change["span"] == "T1-T2")
            & (change["rule"] == rule)
        )
        change.loc[is_it, "pattern"] = patterns
    return replace(inputs, alliance_change=change)


def drawn_patterns(inputs: Inputs, spec: Specification, seed: int = 4) -> np.ndarray:
    """Patterns from a true multinomial model: motivated clients improve, a change of officer deteriorates."""
    frame = predictor_frame(inputs, spec.determinants)
    changed = inputs.alliance_change
    changed = changed[
        (changed["rater"] == "client")
        & (changed["scale"] == "trust")
        & (changed["span"] == "T1-T2")
        & (changed["rule"] == "rci")
    ]
    changed = changed.sort_values("client_id")["officer_changed"].to_numpy(dtype=float)
    up = np.exp(-1.5 + 0.5 * (frame["motivation"].fillna(3).to_numpy() - 3))
    down = np.exp(-1.2 + 1.2 * changed + 0.4 * frame["addiction"].fillna(0).to_numpy())
    total, draw = 1 + up + down, np.random.default_rng(seed).uniform(size=len(frame))
    return np.where(draw < 1 / total, "stable", np.where(draw < (1 + up) / total, "improving", "deteriorating")).astype(
        object
    )


def only_trust(spec: Specification) -> Specification:
    return replace(spec, determinants=replace(spec.determinants, scales=("trust",), rules=("half_sd",)))


@needs_r
def test_coefficients_errors_and_clustered_errors_are_those_of_r(spec: Specification, tmp_path: Path) -> None:
    inputs = synthetic_inputs(400, seed=6)
    inputs = with_patterns(inputs, drawn_patterns(inputs, spec))
    rows = determinants(inputs, only_trust(spec).determinants)
    ours = rows[rows["model_id"] == TRUST]
    frame = predictor_frame(inputs, spec.determinants)
    change = inputs.alliance_change
    pairs = change[
        (change["rater"] == "client")
        & (change["scale"] == "trust")
        & (change["span"] == "T1-T2")
        & (change["rule"] == "half_sd")
    ]
    data = pairs[["client_id", "pattern", "officer_changed"]].merge(frame, on="client_id").dropna()
    data = data.assign(officer_changed=data["officer_changed"].astype(int))
    script = """
suppressMessages(library(nnet)); d <- frame("d")
x <- cbind(1, d$officer_changed, d$officer_rule_orientation, d$addiction, d$motivation)
d$pattern <- factor(d$pattern, levels = c("stable", "improving", "deteriorating"))
f <- multinom(pattern ~ officer_changed + officer_rule_orientation + addiction + motivation, d, trace = FALSE, reltol = 1e-16, abstol = 1e-14, maxit = 2000)
say("coefficients", t(coef(f)))
p <- fitted(f)[, 2:3]; y <- cbind(d$pattern == "improving", d$pattern == "deteriorating")
score <- cbind((y[, 1] - p[, 1]) * x, (y[, 2] - p[, 2]) * x)
info <- rbind(cbind(t(x) %*% (p[, 1] * (1 - p[, 1]) * x), -t(x) %*% (p[, 1] * p[, 2] * x)),
              cbind(-t(x) %*% (p[, 1] * p[, 2] * x), t(x) %*% (p[, 2] * (1 - p[, 2]) * x)))
g <- rowsum(score, d$officer_id); G <- nrow(g); v <- solve(info)
say("errors", sqrt(diag(v %*% (t(g) %*% g) %*% v) * G / (G - 1)))
"""
    answers = ask_r(tmp_path, script, d=data)
    np.testing.assert_allclose(ours["estimate"], answers["coefficients"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours["std_error"], answers["errors"], rtol=1e-5)


def test_true_directions_are_found(spec: Specification) -> None:
    inputs = synthetic_inputs(1500, seed=6)
    rows = determinants(with_patterns(inputs, drawn_patterns(inputs, spec)), only_trust(spec).determinants)
    rows = rows[rows["model_id"] == TRUST].set_index(["pattern", "term"])
    assert rows.loc[("deteriorating", "officer_changed"), "estimate"] == pytest.approx(1.2, abs=0.35)
    assert rows.loc[("improving", "motivation"), "estimate"] == pytest.approx(0.5, abs=0.2)


def test_a_small_class_is_kept_as_rows_with_its_count_and_the_reason(inputs: Inputs, spec: Specification) -> None:
    patterns = drawn_patterns(inputs, spec)
    patterns[patterns == "improving"] = "stable"
    patterns[:4] = "improving"
    rows = determinants(with_patterns(inputs, patterns), only_trust(spec).determinants)
    rows = rows[rows["model_id"] == TRUST]
    small = rows[rows["pattern"] == "improving"]
    assert small["estimate"].isna().all() and set(small["note"]) == {"not estimable: fewer than 10 clients"}
    assert small["class_count"].max() <= 4
    assert rows.loc[rows["pattern"] == "deteriorating", "estimate"].notna().all()


def test_a_separated_class_does_not_take_the_others_with_it(inputs: Inputs, spec: Specification) -> None:
    patterns = drawn_patterns(inputs, spec)
    frame = predictor_frame(inputs, spec.determinants)
    is_addicted = frame["addiction"].fillna(0).to_numpy() == 1
    patterns[is_addicted & (patterns == "improving")] = "stable"
    rows = determinants(with_patterns(inputs, patterns), only_trust(spec).determinants)
    rows = rows[rows["model_id"] == TRUST]
    assert set(rows.loc[rows["pattern"] == "improving", "note"]) == {
        "not estimable: the likelihood has no maximum (quasi-separation)"
    }
    assert rows.loc[rows["pattern"] == "deteriorating", "estimate"].notna().all()


@pytest.mark.parametrize("only", ["stable", "improving"])
def test_one_class_alone_gives_a_reason_and_no_number(inputs: Inputs, spec: Specification, only: str) -> None:
    patterns = np.full(inputs.analysis_cohort["client_id"].nunique(), only, dtype=object)
    rows = determinants(with_patterns(inputs, patterns), only_trust(spec).determinants)
    assert rows["estimate"].isna().all() and rows["note"].notna().all()


def test_a_predictor_measured_after_the_baseline_is_not_used(inputs: Inputs, spec: Specification) -> None:
    later = inputs.covariate.assign(measured_day=200, value=1 - inputs.covariate["value"].clip(0, 1))
    both = replace(inputs, covariate=pd.concat([inputs.covariate, later], ignore_index=True))
    assert predictor_frame(both, spec.determinants).equals(predictor_frame(inputs, spec.determinants))


def test_rows_are_tidy_and_pairs_of_one_officer_have_no_officer_change(result: FitResult) -> None:
    rows = result.determinants
    assert tuple(rows.columns) == COLUMNS
    assert not rows.duplicated(["model_id", "pattern", "term"]).any()
    same = rows[(rows["pairs"] == "same_officer") & (rows["term"] == "officer_changed")]
    assert len(same) and same["estimate"].isna().all()
