"""How far Q1, Q2 and the joint test are from R, as largest relative differences over SIMULATED data; the tests hold them to `BARS`.

`python -m tests.analysis.question_agreement` prints them.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from orchestration.analysis.determinants import determinants, predictor_frame
from orchestration.analysis.growth import growth_models
from orchestration.analysis.inputs import DAYS_PER_MONTH, Inputs
from orchestration.analysis.pooling import pool_joint
from orchestration.analysis.raters import rater_agreement, rater_convergence
from orchestration.analysis.specification import Specification, read_specification
from tests.analysis.reference_r import ask_r
from tests.analysis.synthetic import synthetic_inputs

Differences = dict[str, float]
TRUST = "T1-T2.client.trust.half_sd.all.complete_cases"
BARS = {
    "growth: coefficients and errors": 1e-4, "growth: Satterthwaite df": 1e-3, "growth: p-values": 1e-3,
    "growth: standard deviations and correlation": 1e-3, "raters": 1e-9, "multinomial": 1e-5, "pooling": 1e-10,
}  # fmt: skip


def largest(ours: ArrayLike, theirs: ArrayLike, at_least: ArrayLike = 0.0) -> float:
    """Largest difference relative to theirs, or to `at_least` where that is larger (an estimate near zero: its standard error)."""
    one, other = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
    return float((np.abs(one - other) / np.maximum(np.abs(other), np.asarray(at_least, dtype=float))).max())


def bar(name: str) -> float:
    """The bar of a difference: that of its name, or of its group."""
    return BARS.get(name, BARS.get(name.split(":")[0], 0.0))


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


def growth_differences(folder: Path, spec: Specification) -> Differences:
    """Three simulated studies, one of them of 80 clients, beside lme4 and lmerTest."""
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
    answers = ask_r(folder, script, d=table[["scale", "score", "months", "client_id", "officer_id"]])
    found: list[dict[str, float]] = []
    for name in parts:
        mine = ours[(ours["scale"] == name) & (ours["structure"] == "client_slope_officer")].set_index("term")
        fixed = mine.loc[["intercept", "months"]]
        spreads = mine.loc[
            ["sd_client_intercept", "sd_client_months", "correlation_client", "sd_officer_intercept", "sd_residual"]
        ]
        found.append(
            {
                "growth: coefficients and errors": largest(
                    [*fixed["estimate"], *fixed["std_error"]], answers[f"{name}_fixed"]
                ),
                "growth: Satterthwaite df": largest(fixed["degrees_of_freedom"], answers[f"{name}_df"]),
                "growth: p-values": largest(fixed["p_value"], answers[f"{name}_p"]),
                "growth: standard deviations and correlation": largest(spreads["estimate"], answers[f"{name}_random"]),
            }
        )
    return {name: max(one[name] for one in found) for name in found[0]}


def rater_pairs(n: int = 150, seed: int = 3, closer: float = 0.0) -> pd.DataFrame:
    """Pairs of three waves; the difference has SD 0.8 at the start and shrinks by `closer` a month."""
    rng = np.random.default_rng(seed)
    officer = rng.integers(0, 90, n)
    quirk = rng.normal(0, 0.3, 90)
    parts = []
    for number, month in enumerate([1.0, 8.5, 15.0]):
        client = 3.5 + rng.normal(0, 0.5, n)
        gap = (0.8 - closer * month) * rng.normal(0, 1, n) + quirk[officer]
        parts.append(
            pd.DataFrame(
                {
                    "supervision_id": [f"s{k:03d}" for k in range(n)], "wave": f"T{number + 1}", "scale": "trust",
                    "client_id": [f"c{k:03d}" for k in range(n)], "client": client, "officer": client - gap,
                    "months": month + rng.uniform(0, 1, n), "rated_officer": [f"o{k}" for k in officer], "is_same_officer": rng.uniform(size=n) < 0.8,
                }
            )
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def rater_differences(folder: Path) -> Differences:
    """Mean squares by aov, the interval of consistency by its F test, Pearson by cor.test, clustered errors by sandwich."""
    table = rater_pairs(closer=0.02)
    script = """
d <- frame("d"); one <- d[d$wave == "T1", ]; n <- nrow(one)
long <- data.frame(y = c(one$client, one$officer), who = factor(rep(1:n, 2)), rater = factor(rep(1:2, each = n)))
m <- summary(aov(y ~ who + rater, long))[[1]]; R <- m[1, 3]; C <- m[2, 3]; E <- m[3, 3]; k <- 2
say("icc", c((R - E) / (R + E), (R - E) / (R + E + k * (C - E) / n)))
f <- R / E; say("consistency", c((f / qf(.975, n - 1, n - 1) - 1) / (f / qf(.975, n - 1, n - 1) + 1), (f * qf(.975, n - 1, n - 1) - 1) / (f * qf(.975, n - 1, n - 1) + 1)))
p <- cor.test(one$client, one$officer); say("pearson", c(p$estimate, p$conf.int))
library(sandwich); gap <- one$client - one$officer
say("mean", c(mean(gap), sqrt(vcovCL(lm(gap ~ 1), one$rated_officer, type = "HC0", cadjust = TRUE)), sd(gap)))
d$gap <- d$client - d$officer
for (kind in c("difference", "absolute_difference", "squared_difference")) {
  d$y <- switch(kind, difference = d$gap, absolute_difference = abs(d$gap), squared_difference = d$gap^2)
  fit <- lm(y ~ months, d); say(kind, c(coef(fit), sqrt(diag(vcovCL(fit, d$rated_officer, type = "HC0", cadjust = TRUE)))))
}
"""
    answers = ask_r(folder, script, d=table.drop(columns="is_same_officer"))
    row = rater_agreement(table).set_index(["wave", "pairs"]).loc[("T1", "all")]
    names = {
        "icc": ["icc_consistency", "icc_agreement"],
        "consistency": ["icc_consistency_low", "icc_consistency_high"],
        "pearson": ["pearson", "pearson_low", "pearson_high"],
        "mean": ["mean_difference", "std_error", "sd_difference"],
    }
    lines = rater_convergence(table)
    result = {f"raters: {', '.join(columns)}": largest(row[columns], answers[name]) for name, columns in names.items()}
    for measure in ("difference", "absolute_difference", "squared_difference"):
        mine = lines[(lines["pairs"] == "all") & (lines["measure"] == measure)]
        result[f"raters: line of the {measure.replace('_', ' ')}"] = largest(
            [*mine["estimate"], *mine["std_error"]], answers[measure]
        )
    return result


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
    return replace(
        spec, determinants=replace(spec.determinants, raters=("client",), scales=("trust",), rules=("half_sd",))
    )


def multinomial_differences(folder: Path, spec: Specification) -> Differences:
    """Complete cases of 400 simulated clients beside nnet at a tight tolerance; sandwich and marginal effects by hand in R."""
    inputs = synthetic_inputs(400, seed=6)
    inputs = with_patterns(inputs, drawn_patterns(inputs, spec))
    found = determinants(inputs, only_trust(spec), 1)
    ours = found.estimates[found.estimates["model_id"] == TRUST]
    effects = found.effects[found.effects["model_id"] == TRUST]
    frame = predictor_frame(inputs, spec.determinants)
    change = inputs.alliance_change
    pairs = change[
        (change["rater"] == "client")
        & (change["scale"] == "trust")
        & (change["span"] == "T1-T2")
        & (change["rule"] == "half_sd")
    ]
    data = (
        pairs[["client_id", "pattern", "officer_changed"]]
        .merge(frame, on="client_id")
        .drop(columns="risc_total")
        .dropna()
    )
    data = data.assign(officer_changed=data["officer_changed"].astype(int))
    script = """
suppressMessages(library(nnet)); d <- frame("d")
names <- c("officer_changed", "officer_rule_orientation", "addiction", "motivation", "log_prior_cases", "is_svg", "is_ljr")
x <- cbind(1, as.matrix(d[, names])); d$pattern <- factor(d$pattern, levels = c("stable", "improving", "deteriorating"))
f <- multinom(reformulate(names, "pattern"), d, trace = FALSE, reltol = 1e-16, abstol = 1e-14, maxit = 2000)
say("coefficients", t(coef(f)))
p <- fitted(f)[, 2:3]; y <- cbind(d$pattern == "improving", d$pattern == "deteriorating")
score <- cbind((y[, 1] - p[, 1]) * x, (y[, 2] - p[, 2]) * x)
info <- rbind(cbind(t(x) %*% (p[, 1] * (1 - p[, 1]) * x), -t(x) %*% (p[, 1] * p[, 2] * x)),
              cbind(-t(x) %*% (p[, 1] * p[, 2] * x), t(x) %*% (p[, 2] * (1 - p[, 2]) * x)))
g <- rowsum(score, d$officer_id); G <- nrow(g); v <- solve(info); v <- v %*% (t(g) %*% g) %*% v * G / (G - 1)
say("errors", sqrt(diag(v)))
chances <- function(b, x) { e <- exp(cbind(0, x %*% matrix(b, ncol = 2))); e / rowSums(e) }
effects <- function(b) { out <- c()
  for (k in names) { one <- x; other <- x
    if (k %in% c("officer_rule_orientation", "motivation", "log_prior_cases")) { one[, k] <- x[, k] + 1e-5; other[, k] <- x[, k] - 1e-5; h <- 2e-5 }
    else { one[, k] <- 1; other[, k] <- 0; h <- 1 }
    out <- rbind(out, colMeans(chances(b, one) - chances(b, other)) / h) }
  as.vector(out) }
b <- as.vector(t(coef(f))); e0 <- effects(b)
J <- sapply(seq_along(b), function(j) { u <- b; w <- b; u[j] <- b[j] + 1e-4; w[j] <- b[j] - 1e-4; (effects(u) - effects(w)) / 2e-4 })
say("effects", e0); say("effect_errors", sqrt(diag(J %*% v %*% t(J))))
all <- c(2:8, 10:16); say("wald", sum(b[all] * solve(v[all, all], b[all])) / 14)
"""
    answers = ask_r(folder, script, d=data)
    joint = found.tests[(found.tests["model_id"] == TRUST) & (found.tests["term"] == "all")].iloc[0]
    assert (joint["df_numerator"], joint["df_denominator"]) == (14, data["officer_id"].nunique() - 1)
    return {
        "multinomial: coefficients": largest(ours["estimate"], answers["coefficients"]),
        "multinomial: clustered errors": largest(ours["std_error"], answers["errors"]),
        "multinomial: average marginal effects": largest(effects["estimate"], answers["effects"], effects["std_error"]),
        "multinomial: errors of those": largest(effects["std_error"], answers["effect_errors"]),
        "multinomial: joint test": largest([joint["statistic"]], answers["wald"]),
    }


def joint_differences(folder: Path) -> Differences:
    """D1 of nested linear models over data that mice imputed: the statistic, Reiter's degrees of freedom, p, r."""
    rng = np.random.default_rng(8)
    n, cases = 90, [(20, 3), (5, 2), (20, 1)]
    frame = pd.DataFrame(rng.normal(size=(n, 4)), columns=["a", "b", "c", "e"])
    frame["y"] = 0.3 * frame["a"] - 0.2 * frame["b"] + frame["e"] + rng.normal(size=n)
    for column in ("a", "b", "c"):
        frame.loc[rng.uniform(size=n) < 0.25, column] = np.nan
    script = "suppressMessages(library(mice)); d <- frame('d'); none <- y ~ e\n"
    for m, k in cases:
        script += f"""
imp <- mice(d, m = {m}, maxit = 2, method = "norm", printFlag = FALSE, seed = 3); at <- 2 + 1:{k}
one <- with(imp, lm(y ~ e + {" + ".join("abc"[:k])})); test <- D1(one, with(imp, lm(y ~ e)))
say("test_{m}_{k}", c(test$result[1:4], test$result[5])); say("dfcom_{m}_{k}", test$dfcom)
say("q_{m}_{k}", unlist(lapply(one$analyses, function(f) coef(f)[at])))
say("u_{m}_{k}", unlist(lapply(one$analyses, function(f) vcov(f)[at, at])))
"""
    answers = ask_r(folder, script, d=frame)
    found = []
    for m, k in cases:
        q, u = answers[f"q_{m}_{k}"].reshape(m, k), answers[f"u_{m}_{k}"].reshape(m, k, k)
        ours = pool_joint(q, u, complete_df=float(answers[f"dfcom_{m}_{k}"][0]))
        mine = [ours.statistic, ours.df_numerator, ours.df_denominator, ours.p_value, ours.relative_increase]
        found.append(largest(mine, answers[f"test_{m}_{k}"]))
    return {"pooling: joint test D1, with its df, p and r": max(found)}


def main() -> int:
    """Print every difference beside its bar; 1 when one is above it."""
    spec = read_specification().with_imputations(2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = growth_differences(folder, spec) | rater_differences(folder)
        found |= multinomial_differences(folder, spec) | joint_differences(folder)
    for what, difference in found.items():
        print(f"{difference:9.1e}  bar {bar(what):7.0e}  {what}")
    return int(any(difference > bar(what) for what, difference in found.items()))


if __name__ == "__main__":
    sys.exit(main())
