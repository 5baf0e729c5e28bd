"""Are true effects found again? Simulated studies through the same SQL and the same fitting functions as real data.

`python -m tests.recovery.recovery_study --studies 2000`. Studies of 200 clients come in populations that are simulated and
built together (`population.py`); each is then fitted by itself. Beside the right method stand mutants of it, and naive
methods, each on the quantity that it distorts: they must fail where the right method does not. Exit code 1 when one of
these is not so. `--badge FILE` writes what was found for the code of the room, which every fit then shows.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from orchestration.analysis import cox, group_curves, recidivism
from orchestration.analysis.fit import RECOVERY, room_hash
from orchestration.analysis.grouping import everybody
from orchestration.analysis.imputation import ImputationError, impute
from orchestration.analysis.pooling import pool
from orchestration.analysis.specification import Specification, read_specification
from orchestration.files import write_json
from orchestration.simulation import CohortConfig
from tests.recovery.population import FROM_START, LAGGED, UNLAGGED, Population, numbered, simulated_population
from tests.warehouse.histories import Compiled

CLIENTS = 200
POPULATION = 50  # studies that are simulated and built together
REGISTRY_YEAR = 2023  # landmarks lie 9 to 21 months before its cut-off, so that the lag matters at one year
LARGE = 5  # studies in one of 1,000 dyads
SPARSE = 4  # what costs a second imputation is done for every fourth study; of the other populations there are a fourth
FULL = 10  # and the repository's own full model for every tenth
PROOF = 2000  # studies from which on the bars hold without allowance for chance
SCORE = {"score": {"score": "t2"}}  # one exposure of the models: the score at T2
TRUST, REACTANCE, OFFICER_CHANGE = "client_trust_t2", "client_reactance_t2", "officer_changed_before_origin"
TERMS = ("log_prior_cases", "age_decades", "is_male", "addiction")
COVERAGE, MEAN_COVERAGE, SE_RATIO = (0.93, 0.975), (0.94, 0.965), (0.95, 1.06)
# Terms that have no effect, by configuration.
NULL_TERMS = {"null": ("Trust", "addiction"), "main": ("officer change", "Reactance after history")}
BIAS, BIAS_LARGE, RISK, REJECTED = 0.05, 0.02, 0.02, (0.04, 0.06)

Estimate = tuple[float, float, float, float]  # estimate, std_error, conf_low, conf_high


def configs() -> dict[str, CohortConfig]:
    """`main`: known effects. `null`: none of the tested terms has one. `officers`: clients of one officer are alike (a
    frailty of SD 1, four clients to an officer, no change), so that errors must be clustered where officers differ."""
    main = replace(CohortConfig.recovery(), last_year=REGISTRY_YEAR)
    return {
        "main": main,
        "null": replace(main, effect_trust=0.0, effect_addiction=0.0, effect_trust_t1_before_landmark=0.0),
        "officers": replace(
            main, officer_frailty_sd=1.0, block_officers=50, officer_change_per_year=0.0, officer_leaves_per_year=0.0,
            trust_by_rule_orientation=0.0,
        ),
    }  # fmt: skip


def recovery_specification(imputations: int | None = None) -> Specification:
    """The repository's models for Trust and Reactance alone, with the terms that were simulated.

    Fewer columns than the full models have are imputed (all ratings of the two scales, motivation and the auxiliary ones):
    that is most of what a study costs. The full models stand beside it for every tenth study.
    """
    spec = read_specification()
    scales = ("trust", "reactance")
    adjustments = {"simulated": (*TERMS, OFFICER_CHANGE)}
    return replace(
        spec if imputations is None else spec.with_imputations(imputations),
        recidivism=replace(
            spec.recidivism,
            raters=("client",),
            scales=scales,
            exposures=SCORE,
            adjustments=adjustments,
            risk_months=(12,),
        ),
        score_columns=tuple(column for column in spec.score_columns if any(f"_{scale}_" in column for scale in scales)),
        auxiliary=(*spec.auxiliary, "motivation"),
    )


def of_trust(spec: Specification) -> Specification:
    """Trust with every simulated term and the change of officer."""
    return replace(spec, recidivism=replace(spec.recidivism, scales=("trust",)))


def of_reactance(spec: Specification) -> Specification:
    """Reactance beside Trust, before and after criminal history."""
    rest = tuple(term for term in TERMS if term != "log_prior_cases")
    adjustments = {"before": (TRUST, *rest), "after": (TRUST, *TERMS)}
    return replace(spec, recidivism=replace(spec.recidivism, scales=("reactance",), adjustments=adjustments))


# ------------------------------------------------------------------------------------------------------- one study


def cohort_of(rows: pd.DataFrame, outcome: str, spec: Specification) -> recidivism.OutcomeCohort:
    """The cohort of one outcome, its clusters as numbers."""
    cohort = recidivism.outcome_cohort(rows, outcome, spec)
    return replace(cohort, cluster=numbered(cohort.cluster))


def subset(cohort: recidivism.OutcomeCohort, keep: np.ndarray) -> recidivism.OutcomeCohort:
    """Those of a cohort that `keep` is true for."""
    return replace(
        cohort, client=cohort.client[keep], entry=cohort.entry[keep], duration=cohort.duration[keep], event=cohort.event[keep],
        cluster=cohort.cluster[keep], covariates=cohort.covariates[keep].reset_index(drop=True),
    )  # fmt: skip


def estimates(cohort: recidivism.OutcomeCohort, imputed: pd.DataFrame, spec: Specification) -> dict[str, pd.DataFrame]:
    """By adjustment, the rows of each term. Raises StudyFailed when a number is missing."""
    found = recidivism.estimates_of(cohort, imputed, spec)
    if not np.isfinite(found["estimate"].to_numpy(dtype=float)).all():
        raise StudyFailed(str(found["note"].dropna().iloc[0]))
    return {str(name): rows.set_index("term") for name, rows in found.groupby("adjustment")}


class StudyFailed(ValueError):
    """A study in which a model could not be estimated; the message is the model's."""


def picked(rows: pd.DataFrame, term: str) -> Estimate:
    row = rows.loc[term]
    return tuple(float(row[part]) for part in ("estimate", "std_error", "conf_low", "conf_high"))  # type: ignore[return-value]


def single(fit: cox.CoxFit, number: int, variance: np.ndarray | None = None) -> Estimate:
    """One term of one fit, with the t interval of a pooled one."""
    own = np.diag(fit.variance if variance is None else variance)
    pooled = pool([fit.coefficients], [own], complete_df=fit.events - len(fit.terms))
    return tuple(float(getattr(pooled, part)[number]) for part in ("estimate", "std_error", "conf_low", "conf_high"))  # type: ignore[return-value]


def within_only(row: pd.Series[Any], events: int, terms: int) -> Estimate:
    """The interval with the variance within imputations alone.

    With r = (1 + 1/m) B / W, the fraction missing is (r + 2/(df + 3)) / (r + 1) (Rubin 1987, eq. 3.1.10), and T = W (1 + r).
    """
    from scipy import stats

    share, df = float(row["fraction_missing"]), float(row["degrees_of_freedom"])
    increase = max((share - 2 / (df + 3)) / (1 - share), 0.0)
    error = float(row["std_error"]) / np.sqrt(1 + increase)
    half = float(stats.t.ppf(0.975, events - terms)) * error
    return float(row["estimate"]), error, float(row["estimate"]) - half, float(row["estimate"]) + half


def without_outcome(
    cohort: recidivism.OutcomeCohort, spec: Specification, seed: np.random.SeedSequence
) -> pd.DataFrame:
    """The mutant of `recidivism.impute_cohort` that does not tell the imputation model who reoffended."""
    return impute(cohort.covariates, spec.imputer, seed)


def main_study(
    study: int, rows: pd.DataFrame, ever_changed: pd.Series[Any], seed: int, spec: Specification
) -> dict[str, Any]:
    """What one study of the main population finds, by the right method, its mutants and the naive methods."""
    cohort = cohort_of(rows, LAGGED, spec)
    stream = [seed, study]
    trust, reactance = of_trust(spec), of_reactance(spec)
    imputed = recidivism.impute_cohort(cohort, spec, np.random.SeedSequence(stream))
    right = estimates(cohort, imputed, trust)["simulated"]
    both = estimates(cohort, imputed, reactance)
    found: dict[str, Any] = {
        "n": cohort.n, "events": cohort.events, "trust_missing": float(cohort.covariates[TRUST].isna().mean()),
        "Trust": picked(right, "trust"), "addiction": picked(right, "addiction"), "officer change": picked(right, OFFICER_CHANGE),
        "Reactance before history": picked(both["before"], "reactance"),
        "Reactance after history": picked(both["after"], "reactance"),
        "within-imputation variance only": within_only(right.loc["trust"], cohort.events, len(right)),
        "one imputation": picked(estimates(cohort, imputed[imputed["imputation"] == 1], trust)["simulated"], "trust"),
    }  # fmt: skip
    if study % SPARSE == 0:
        blind = without_outcome(cohort, spec, np.random.SeedSequence([*stream, 1]))
        found["imputed without the outcome"] = picked(estimates(cohort, blind, trust)["simulated"], "trust")
        found["change from the start"] = naive_change(rows, ever_changed, spec)
        found["risk"] = risk(cohort, spec)
        found["risk without the lag"] = risk(cohort_of(rows, UNLAGGED, spec), spec)
        found |= attrition(cohort, trust, stream)
    if study % FULL == 0:
        found |= full_model(rows, stream, spec.imputer.m)
    return found


def risk(cohort: recidivism.OutcomeCohort, spec: Specification) -> float:
    """One-year recidivism by days at risk."""
    return float(group_curves.absolute_risks(cohort, [everybody(cohort)], spec)["risk"].iloc[0])


def attrition(cohort: recidivism.OutcomeCohort, spec: Specification, stream: list[int]) -> dict[str, Any]:
    """Where contact was lost at T2 with those about to reoffend: one in two of those with an event within a year loses the
    ratings of T2. Imputed, and as complete cases only."""
    rng = np.random.default_rng([*stream, 2])
    lost = cohort.event & (cohort.duration < 365) & (rng.random(cohort.n) < 0.5)
    covariates = cohort.covariates.copy()
    covariates.loc[lost, [column for column in covariates if column.endswith("_t2")]] = np.nan
    less = replace(cohort, covariates=covariates)
    seen = covariates[TRUST].notna().to_numpy()
    terms = (TRUST, *TERMS, OFFICER_CHANGE)
    whole = covariates[list(terms)].notna().all(axis=1).to_numpy()
    complete = subset(less, whole)
    imputed = recidivism.impute_cohort(less, spec, np.random.SeedSequence([*stream, 3]))
    try:
        fit = cox.fit_cox(
            complete.covariates[list(terms)].to_numpy(), complete.duration, complete.event, terms=terms, clusters=complete.cluster
        )  # fmt: skip
        cases: Estimate | None = single(fit, 0)
    except cox.CoxError:
        cases = None
    return {
        "Trust, attrition imputed": picked(estimates(less, imputed, spec)["simulated"], "trust"),
        "complete cases": cases,
        "risk of complete cases": risk(subset(cohort, seen), spec),
    }


def naive_change(rows: pd.DataFrame, ever_changed: pd.Series[Any], spec: Specification) -> Estimate | None:
    """The trap: from supervision start, with a covariate that is known only when supervision has ended."""
    cohort = cohort_of(rows, FROM_START, spec)
    terms = ("ever_changed", *TERMS[:3])
    frame = cohort.covariates[list(TERMS[:3])].assign(
        ever_changed=ever_changed.reindex(cohort.client).to_numpy(dtype=float)
    )
    keep = frame.notna().all(axis=1).to_numpy()
    try:
        fit = cox.fit_cox(
            frame.loc[keep, list(terms)].to_numpy(), cohort.duration[keep], cohort.event[keep], terms=terms,
            clusters=cohort.cluster[keep],
        )  # fmt: skip
    except cox.CoxError:
        return None
    return single(fit, 0)


def full_model(rows: pd.DataFrame, stream: list[int], imputations: int) -> dict[str, Any]:
    """The repository's own full model of Trust, all its columns imputed."""
    spec = read_specification().with_imputations(imputations)
    one = {"full": spec.recidivism.adjustments["full"]}
    cohort = cohort_of(rows, LAGGED, spec)
    imputed = recidivism.impute_cohort(cohort, spec, np.random.SeedSequence([*stream, 4]))
    grid = replace(spec.recidivism, raters=("client",), exposures=SCORE, scales=("trust",), adjustments=one)
    only = replace(spec, recidivism=grid)
    found = estimates(cohort, imputed, only)["full"]
    return {"Trust, full model": picked(found, "trust"), "addiction, full model": picked(found, "addiction")}


def null_study(study: int, rows: pd.DataFrame, seed: int, spec: Specification) -> dict[str, Any]:
    """Trust and addiction where neither has an effect."""
    cohort = cohort_of(rows, LAGGED, spec)
    imputed = recidivism.impute_cohort(cohort, spec, np.random.SeedSequence([seed, study]))
    right = estimates(cohort, imputed, of_trust(spec))["simulated"]
    return {"Trust": picked(right, "trust"), "addiction": picked(right, "addiction")}


def officers_study(rows: pd.DataFrame, spec: Specification) -> dict[str, Any]:
    """The rule orientation of the officer, which does nothing, with errors by officer and without."""
    cohort = cohort_of(rows, LAGGED, spec)
    terms = ("officer_rule_orientation", *TERMS)
    frame = cohort.covariates[list(terms)]
    keep = frame.notna().all(axis=1).to_numpy()
    fit = cox.fit_cox(
        frame[keep].to_numpy(), cohort.duration[keep], cohort.event[keep], terms=terms, clusters=cohort.cluster[keep]
    )
    return {"rule orientation": single(fit, 0), "no clustering": single(fit, 0, fit.covariance)}


def large_study(study: int, rows: pd.DataFrame, seed: int, spec: Specification) -> dict[str, Any]:
    """A study of 1,000 dyads, with five imputations: enough for a bias."""
    cohort = cohort_of(rows, LAGGED, spec)
    imputed = recidivism.impute_cohort(cohort, spec.with_imputations(5), np.random.SeedSequence([seed, study, 5]))
    right = estimates(cohort, imputed, of_trust(spec))["simulated"]
    return {name: picked(right, term) for name, term in (("Trust", "trust"), ("addiction", "addiction"), ("officer change", OFFICER_CHANGE))}  # fmt: skip


def entry_study(study: int, seed: int, clients: int = CLIENTS) -> dict[str, Any]:
    """Late entry on a clock of whole months: those with an addiction come under observation later, up to a year.

    `entry inclusive` also counts at risk in a month those who enter at its end, as if they could have failed in it.
    """
    rng = np.random.default_rng([seed, study, 6])
    addiction, other = (rng.random(clients) < 0.47).astype(float), rng.standard_normal(clients)
    entry = np.where(addiction == 1, rng.integers(0, 12, clients), rng.integers(0, 4, clients)).astype(float)
    to_event = np.ceil(entry + rng.exponential(1 / (0.06 * np.exp(0.5 * addiction - 0.3 * other))))
    until = entry + rng.integers(6, 25, clients)
    given = (np.column_stack([addiction, other]), np.minimum(to_event, until), to_event <= until)
    right = cox.fit_cox(*given, start=entry, clusters=np.arange(clients))
    inclusive = cox.fit_cox(*given, start=np.maximum(entry - 0.5, 0), clusters=np.arange(clients))
    return {"late entry": single(right, 0), "entry inclusive": single(inclusive, 0)}


# ------------------------------------------------------------------------------------------------------- populations


@dataclass(frozen=True)
class Task:
    """One population: which configuration, its number, how many studies, seed, models, and where the SQL is compiled."""

    kind: str
    number: int
    studies: int
    seed: int
    spec: Specification
    compiled: Path


@cache
def _compiled(folder: Path) -> Compiled:
    return Compiled.of(folder)


def run_population(task: Task) -> list[dict[str, Any]]:
    """Every study of one population; the numbers depend on nothing but the task."""
    config = configs()[task.kind]
    seed = int(np.random.SeedSequence([task.seed, list(configs()).index(task.kind), task.number]).generate_state(1)[0])
    made = simulated_population(task.studies * CLIENTS, seed, config, _compiled(task.compiled))
    first = task.number * POPULATION
    found: list[dict[str, Any]] = []
    for number, rows in made.cohort.groupby("study", sort=True):
        study = first + int(str(number))
        row: dict[str, Any] = {"kind": task.kind, "study": study}
        try:
            if task.kind == "main":
                row |= main_study(study, rows, made.ever_changed, task.seed, task.spec)
                row |= entry_study(study, task.seed)
            elif task.kind == "null":
                row |= null_study(study, rows, task.seed + 1, task.spec)
            else:
                row |= officers_study(rows, task.spec)
        except (StudyFailed, ImputationError, cox.CoxError) as error:
            row["failed"] = str(error)
        if task.kind == "main":
            row["true_risk"] = _true_risk(made, rows)
        found.append(row)
    if task.kind == "main":
        found += _large(made, task)
        found.append({"kind": "truth", **_least_false(made, task.spec)})
    return found


def _true_risk(made: Population, rows: pd.DataFrame) -> float:
    is_in = (rows["outcome_id"] == LAGGED) & rows["is_eligible"].astype("boolean").fillna(False)
    return float(made.truth.loc[rows.loc[is_in, "client_id"], "risk_12"].mean())


def _large(made: Population, task: Task) -> Iterator[dict[str, Any]]:
    for number, rows in made.cohort.groupby(made.cohort["study"] // LARGE, sort=True):
        if rows["study"].nunique() == LARGE:
            study = task.number * POPULATION + int(str(number))
            try:
                yield {"kind": "large", "study": study, **large_study(study, rows, task.seed, task.spec)}
            except (StudyFailed, ImputationError, cox.CoxError) as error:
                yield {"kind": "large", "study": study, "failed": str(error)}


def _least_false(made: Population, spec: Specification) -> dict[str, float]:
    """What a model without criminal history estimates for Reactance when nothing is missing and there is no end of people:
    the coefficient in the whole population, true scores and covariates (Struthers & Kalbfleisch 1986)."""
    cohort = cohort_of(made.cohort, LAGGED, spec)
    truth = made.truth.loc[cohort.client]
    columns = ["reactance_t2", "trust_t2", "age_at_landmark", "is_male", "addiction"]
    fit = cox.fit_cox(truth[columns].to_numpy(dtype=float), cohort.duration, cohort.event, terms=tuple(columns))
    return {"Reactance before history": float(fit.coefficients[0]), "events": fit.events}


def run_studies(
    studies: int, seed: int, spec: Specification, jobs: int, tell: Callable[[str], None]
) -> list[dict[str, Any]]:
    """All populations of a run: `studies` of the main one, a quarter as many of each other. The numbers do not depend on `jobs`."""
    with tempfile.TemporaryDirectory(prefix="recovery-") as place:
        Compiled.once(Path(place))
        tell("compiled the project")
        wanted = {"main": studies, "null": -(-studies // SPARSE), "officers": -(-studies // SPARSE)}
        tasks = [
            Task(kind, number, min(POPULATION, count - number * POPULATION), seed, spec, Path(place))
            for kind, count in wanted.items()
            for number in range(-(-count // POPULATION))
        ]
        found: list[dict[str, Any]] = []
        with _pool(jobs) as run:
            for task, rows in zip(tasks, run(run_population, tasks), strict=True):
                found += rows
                tell(f"{task.kind}: {task.number * POPULATION + task.studies} of {wanted[task.kind]} studies")
    return found


@contextmanager
def _pool(jobs: int) -> Iterator[Callable[..., Any]]:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # for the workers: processes share the cores, not threads
    if jobs == 1:
        yield map
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as executor:
        yield executor.map


# ---------------------------------------------------------------------------------------------------- the verdict


@dataclass(frozen=True)
class Effect:
    """How one coefficient was found over the studies: `spread` is the standard deviation of its estimates, `role` what it
    stands for (right, mutant, naive, shown), `width` the mean width of its interval."""

    name: str
    role: str
    truth: float
    studies: int
    mean: float
    bias: float
    coverage: float
    mean_std_error: float
    spread: float
    se_ratio: float
    width: float

    def missed(self, bias: float | None = BIAS, slack: bool = True) -> list[str]:
        """Which of coverage, SE ratio and bias are outside their bars, widened by chance where studies are few."""
        few = self.studies < PROOF and slack
        chance = 2.58 * np.array([np.sqrt(0.05 * 0.95), np.sqrt(0.5), self.spread]) / np.sqrt(self.studies) * few
        said = []
        if not COVERAGE[0] - chance[0] <= self.coverage <= COVERAGE[1] + chance[0]:
            said.append("coverage")
        if not SE_RATIO[0] - chance[1] <= self.se_ratio <= SE_RATIO[1] + chance[1]:
            said.append("SE ratio")
        if bias is not None and abs(self.bias) > bias + chance[2]:
            said.append("bias")
        return said


@dataclass(frozen=True)
class Bar:
    """One promise: what was found, what was asked, and whether it is met."""

    name: str
    found: str
    asked: str
    is_met: bool


def recovered(name: str, role: str, truth: float, rows: Sequence[Sequence[float]]) -> Effect:
    """Bias, coverage and standard error over spread of one coefficient; rows are estimate, std_error, low, high."""
    given = np.array(rows, dtype=np.float64)
    mean, spread = float(given[:, 0].mean()), float(given[:, 0].std(ddof=1))
    covers = float(((given[:, 2] <= truth) & (truth <= given[:, 3])).mean())
    error = float(given[:, 1].mean())
    width = float((given[:, 3] - given[:, 2]).mean())
    return Effect(name, role, truth, len(given), mean, mean - truth, covers, error, spread, error / spread, width)


RIGHT = ("Trust", "addiction", "officer change", "Reactance before history", "Reactance after history")
MUTANTS = ("imputed without the outcome", "one imputation", "within-imputation variance only")


def judge(found: list[dict[str, Any]], config: CohortConfig) -> tuple[list[Effect], list[Bar]]:
    """Effects and bars over the studies that could be fitted."""
    rows = {kind: [row for row in found if row["kind"] == kind and "failed" not in row] for kind in ("main", "null", "officers", "large", "truth")}  # fmt: skip
    main = rows["main"]
    studies = sum(row["kind"] == "main" for row in found)
    weights = [row["events"] for row in rows["truth"]]
    before = float(np.average([row["Reactance before history"] for row in rows["truth"]], weights=weights))
    truths = {"Trust": config.effect_trust, "addiction": config.effect_addiction, "Reactance before history": before}

    def effect(name: str, role: str, truth: float, kind: str = "main", label: str | None = None) -> Effect:
        return recovered(label or name, role, truth, [row[name] for row in rows[kind] if row.get(name)])

    right = [effect(name, "right", truths.get(name, 0.0)) for name in RIGHT]
    others = [
        effect("rule orientation", "right", 0.0, "officers", "officer's rule orientation, clustered"),
        effect("late entry", "right", 0.5, label="addiction, late entry"),
        effect("Trust, attrition imputed", "right", config.effect_trust),
    ]
    large = [effect(name, "right", truths.get(name, 0.0), "large", f"{name}, 1,000 dyads") for name in RIGHT[:3]] if len(rows["large"]) > 1 else []  # fmt: skip
    shown = [effect(name, "shown", truths[name.partition(",")[0]]) for name in ("Trust, full model", "addiction, full model")] if sum("Trust, full model" in row for row in main) > 1 else []  # fmt: skip
    mutants = [
        *(effect(name, "mutant", config.effect_trust, label=f"Trust, {name}") for name in MUTANTS),
        effect("no clustering", "mutant", 0.0, "officers", "officer's rule orientation, not clustered"),
        effect("entry inclusive", "mutant", 0.5, label="addiction, entry counted inclusively"),
    ]
    naive = [
        effect("change from the start", "naive", 0.0, label="officer change, no landmark"),
        effect("complete cases", "naive", config.effect_trust, label="Trust, complete cases"),
    ]
    bars = [*_right_bars(right, others, large), *_mutant_bars(mutants, studies), *_naive_bars(main, naive, others[2], studies), *_other_bars(found, rows, studies)]  # fmt: skip
    return [*right, *others, *large, *shown, *mutants, *naive], bars


def _said(effect: Effect) -> str:
    return f"bias {effect.bias:+.3f}, coverage {effect.coverage:.3f}, SE ratio {effect.se_ratio:.2f}"


def _right_bars(right: list[Effect], others: list[Effect], large: list[Effect]) -> Iterator[Bar]:
    asked = f"bias within {BIAS}, coverage {COVERAGE[0]} to {COVERAGE[1]}, SE ratio {SE_RATIO[0]} to {SE_RATIO[1]}"
    for effect in (*right, *others):
        yield Bar(effect.name, _said(effect), asked, not effect.missed())
    mean = float(np.mean([effect.coverage for effect in right]))
    chance = (
        2.58 * np.sqrt(0.05 * 0.95 / right[0].studies / 2) * (right[0].studies < PROOF)
    )  # the terms are not all apart
    yield Bar(
        "mean coverage", f"{mean:.3f}", f"{MEAN_COVERAGE[0]} to {MEAN_COVERAGE[1]}",
        bool(MEAN_COVERAGE[0] - chance <= mean <= MEAN_COVERAGE[1] + chance),
    )  # fmt: skip
    for effect in large:
        chance = 2.58 * effect.spread / np.sqrt(effect.studies) * (effect.studies * LARGE < PROOF)
        yield Bar(effect.name, f"bias {effect.bias:+.3f}", f"within {BIAS_LARGE}", bool(abs(effect.bias) <= BIAS_LARGE + chance))  # fmt: skip


def _mutant_bars(mutants: list[Effect], studies: int) -> Iterator[Bar]:
    """A mutant must miss a bar of the right method, chance not allowed for; with few studies nothing can be said of it."""
    if studies < 200:
        return
    for effect in mutants:
        missed = effect.missed(slack=False)
        yield Bar(f"mutant fails: {effect.name}", _said(effect), "outside the bars" + (f": {', '.join(missed)}" if missed else ""), bool(missed))  # fmt: skip


def _naive_bars(main: list[dict[str, Any]], naive: list[Effect], imputed: Effect, studies: int) -> Iterator[Bar]:
    def mean(name: str) -> float:
        return float(np.mean([row[name] for row in main if name in row]))

    change, cases = naive
    truth = float(np.mean([row["true_risk"] for row in main if "risk" in row]))
    chance = 2.58 * 0.04 / np.sqrt(max(studies / SPARSE, 1)) * (studies < PROOF)
    with_lag, without, complete = mean("risk"), mean("risk without the lag"), mean("risk of complete cases")
    yield Bar("one-year recidivism with the lag", f"{with_lag:.3f}, true {truth:.3f}", f"within {RISK}", bool(abs(with_lag - truth) <= RISK + chance))  # fmt: skip
    if studies < 200:
        return
    yield Bar("naive fails: one-year recidivism without the lag", f"{without:.3f}, true {truth:.3f}", f"outside {RISK}", abs(without - truth) > RISK)  # fmt: skip
    yield Bar("naive fails: hazard ratio of an officer change without the landmark", f"{np.exp(change.mean):.2f}, true 1; coverage {change.coverage:.3f}", f"coverage below {COVERAGE[0]}", change.coverage < COVERAGE[0])  # fmt: skip
    yield Bar("naive fails: one-year recidivism of complete cases", f"{complete:.3f}, true {truth:.3f}", f"outside {RISK}", abs(complete - truth) > RISK)  # fmt: skip
    yield Bar("naive fails: width of complete cases", f"{cases.width:.2f}, imputed {imputed.width:.2f}", "wider", cases.width > imputed.width)  # fmt: skip


def _other_bars(found: list[dict[str, Any]], rows: dict[str, list[dict[str, Any]]], studies: int) -> Iterator[Bar]:
    tested = [not low <= 0 <= high for kind, names in NULL_TERMS.items() for row in rows[kind] for name in names for _, _, low, high in [row[name]]]  # fmt: skip
    share = float(np.mean(tested))
    chance = 2.58 * np.sqrt(0.05 * 0.95 / len(tested)) * (studies < PROOF)
    yield Bar("terms without effect that are rejected", f"{share:.3f} of {len(tested)} tests", f"{REJECTED[0]} to {REJECTED[1]}", bool(REJECTED[0] - chance <= share <= REJECTED[1] + chance))  # fmt: skip
    asked = [row for row in found if row["kind"] in ("main", "null", "officers")]
    good = sum("failed" not in row for row in asked)
    yield Bar("studies that could be fitted", f"{good} of {len(asked)}", "at least 98 %", good >= 0.98 * len(asked))


def table_of(effects: list[Effect], bars: list[Bar], found: list[dict[str, Any]]) -> str:
    """The result as text."""
    main = [row for row in found if row["kind"] == "main" and "failed" not in row]
    lines = [
        f"{len(main)} SIMULATED studies; on average {np.mean([row['n'] for row in main]):.0f} clients, "
        f"{np.mean([row['events'] for row in main]):.0f} events, {np.mean([row['trust_missing'] for row in main]):.0%} of Trust missing",
        "",
        f"{'log hazard ratio':42}{'truth':>8}{'mean':>8}{'bias':>8}{'coverage':>10}{'mean SE':>9}{'spread':>8}{'ratio':>7}{'studies':>9}",
    ]
    for role, heading in (("right", ""), ("shown", "shown beside"), ("mutant", "mutants"), ("naive", "naive methods")):
        lines += ["", heading] if heading else []
        lines += [
            f"{effect.name:42}{effect.truth:8.3f}{effect.mean:8.3f}{effect.bias:+8.3f}{effect.coverage:10.3f}"
            f"{effect.mean_std_error:9.3f}{effect.spread:8.3f}{effect.se_ratio:7.2f}{effect.studies:9}"
            for effect in effects
            if effect.role == role
        ]
    lines += [
        "",
        *(f"{'met   ' if bar.is_met else 'MISSED'}  {bar.name}: {bar.found} (asked: {bar.asked})" for bar in bars),
    ]
    return "\n".join(lines)


def badge(effects: list[Effect], bars: list[Bar], studies: int, seed: int) -> dict[str, Any]:
    """What a fit says of the code that made it."""
    right = {effect.name: effect for effect in effects if effect.role == "right"}
    return {
        "code_hash": room_hash(), "studies": studies, "asked": PROOF, "seed": seed, "made_on": datetime.now(UTC).date().isoformat(), "simulated": True,
        "mean_coverage": round(float(np.mean([right[name].coverage for name in RIGHT])), 4),
        "coverage": {name: round(right[name].coverage, 4) for name in RIGHT},
        "bias": {name: round(right[name].bias, 4) for name in RIGHT},
        "se_ratio": {name: round(right[name].se_ratio, 3) for name in RIGHT},
        "missed": [bar.name for bar in bars if not bar.is_met],
        "effects": [_compact(effect) for effect in effects],
        "bars": [asdict(bar) for bar in bars],
    }  # fmt: skip


def _compact(effect: Effect) -> dict[str, Any]:
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(effect).items()}


def keep_badge(made: dict[str, Any], file: Path) -> bool:
    """Write a badge, unless one of the same code and more studies is there; gives whether it was written."""
    if file.is_file():
        there = json.loads(file.read_text(encoding="utf-8"))
        if there["code_hash"] == made["code_hash"] and there["studies"] > made["studies"]:
            return False
    write_json(file, made)
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the studies and print what was found. Gives 1 when a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.recovery.recovery_study", description=main.__doc__)
    parser.add_argument(
        "--studies", type=int, default=200, help=f"{PROOF} for proof; with fewer, bars allow for chance"
    )
    parser.add_argument("--seed", type=int, default=20260101)
    parser.add_argument("--imputations", type=int, default=None, help="instead of the number in models.yml")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument(
        "--badge",
        action="store_true",
        help=f"write {RECOVERY.name}, which every fit shows, unless one of the same code and more studies is there",
    )
    given = parser.parse_args(arguments)
    began = time.monotonic()

    def tell(what: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {what}", file=sys.stderr, flush=True)

    spec = recovery_specification(given.imputations)
    found = run_studies(given.studies, given.seed, spec, given.jobs, tell)
    effects, bars = judge(found, configs()["main"])
    if given.badge:
        keep_badge(badge(effects, bars, given.studies, given.seed), RECOVERY)
    if given.json:
        content = {"studies": given.studies, "imputations": spec.imputer.m, "seconds": round(time.monotonic() - began, 1),
                   "effects": [asdict(effect) for effect in effects], "bars": [asdict(bar) for bar in bars]}  # fmt: skip
        print(json.dumps(content, indent=1))
    else:
        print(table_of(effects, bars, found))
        print(f"\n{time.monotonic() - began:.0f} s")
    return 0 if all(bar.is_met for bar in bars) else 1


if __name__ == "__main__":
    sys.exit(main())
