"""Q1: the growth model against lme4 and lmerTest, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from orchestration.analysis.growth import COLUMNS, growth_models
from orchestration.analysis.inputs import DAYS_PER_MONTH
from orchestration.analysis.specification import Specification
from tests.analysis.reference_r import ask_r, needs_r


def rated(
    seed: int, n: int = 200, sd_slope: float = 0.02, sd_officer: float = 0.25, scale: str = "trust"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Four waves of `n` clients with 0.69 officers each, one in five with another officer from T2; scores and dyads."""
    rng = np.random.default_rng(seed)
    officers = round(0.69 * n)
    covariance = [[0.25, -0.1 * sd_slope], [-0.1 * sd_slope, sd_slope**2]]
    client, officer = rng.multivariate_normal([0, 0], covariance, n), rng.normal(0, sd_officer, officers)
    first, other = rng.integers(0, officers, n), rng.integers(0, officers, n)
    second = np.where(rng.uniform(size=n) < 0.2, other, first)
    parts = []
    for number, month in enumerate([1, 8.5, 15, 24]):
        day = np.rint((month + rng.normal(0, 0.4, n)) * DAYS_PER_MONTH).clip(0)
        who = first if number == 0 else second
        score = (
            3.6 + (0.005 + client[:, 1]) * day / DAYS_PER_MONTH + client[:, 0] + officer[who] + rng.normal(0, 0.35, n)
        )
        is_rated = rng.uniform(size=n) > (0.08 if number == 0 else 0.3)
        parts.append(
            pd.DataFrame(
                {
                    "client_id": [f"c{k}" for k in range(n)], "wave": f"T{number + 1}", "rater": "client", "scale": scale,
                    "measured_day": day, "dyad_id": [f"d{k}_{o}" for k, o in enumerate(who)],
                    "score": np.where(is_rated, np.round(score * 6) / 6, np.nan),
                }
            )
        )  # fmt: skip
    scores = pd.concat(parts, ignore_index=True)
    dyads = scores[["dyad_id"]].drop_duplicates()
    return scores, dyads.assign(officer_id="o" + dyads["dyad_id"].str.split("_").str[1])


@needs_r
def test_coefficients_errors_and_degrees_of_freedom_are_those_of_lmertest(spec: Specification, tmp_path: Path) -> None:
    """Three studies, one of them of 80 clients; estimates and errors to 1e-4, Satterthwaite's df to 1e-3, variances as well."""
    parts = {"a": rated(1), "b": rated(2, sd_slope=0.04), "c": rated(6, n=80)}
    scores = pd.concat([one.assign(scale=name) for name, (one, _) in parts.items()], ignore_index=True)
    dyads = pd.concat([one for _, one in parts.values()]).drop_duplicates("dyad_id")
    ours = growth_models(scores, dyads, spec.development)
    table = scores.merge(dyads, on="dyad_id").dropna(subset="score")
    table = table.assign(months=table["measured_day"] / DAYS_PER_MONTH)
    script = """
suppressMessages(library(lmerTest)); d <- frame("d")
control <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-10), calc.derivs = FALSE)
for (name in c("a", "b", "c")) {
  f <- lmer(score ~ months + (1 + months | client_id) + (1 | officer_id), d[d$scale == name, ], control = control)
  s <- coef(summary(f)); v <- as.data.frame(VarCorr(f)); sds <- v$sdcor
  say(paste0(name, "_fixed"), c(s[, 1], s[, 2])); say(paste0(name, "_df"), s[, 3]); say(paste0(name, "_p"), s[, 5])
  names(sds) <- paste(v$grp, v$var1, v$var2)
  say(paste0(name, "_random"), sds[c("client_id (Intercept) NA", "client_id months NA", "client_id (Intercept) months", "officer_id (Intercept) NA", "Residual NA NA")])
}
"""
    answers = ask_r(tmp_path, script, d=table[["scale", "score", "months", "client_id", "officer_id"]])
    for name in parts:
        mine = ours[(ours["scale"] == name) & (ours["structure"] == "client_slope_officer")].set_index("term")
        fixed = mine.loc[["intercept", "months"]]
        np.testing.assert_allclose([*fixed["estimate"], *fixed["std_error"]], answers[f"{name}_fixed"], rtol=1e-4)
        np.testing.assert_allclose(fixed["degrees_of_freedom"], answers[f"{name}_df"], rtol=1e-3)
        np.testing.assert_allclose(fixed["p_value"], answers[f"{name}_p"], rtol=1e-3)
        spreads = mine.loc[
            ["sd_client_intercept", "sd_client_months", "correlation_client", "sd_officer_intercept", "sd_residual"]
        ]
        np.testing.assert_allclose(spreads["estimate"], answers[f"{name}_random"], rtol=1e-3)


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
