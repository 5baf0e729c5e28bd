"""What a model of the grid predicts, and how well: risk by level of a score, calibration, discrimination, and how much of both is
optimism. Prediction is no aim of the study; it shows whether the models fit, and how little they may be used for a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestration.analysis import cox, curves
from orchestration.analysis.cox_survival import concordance
from orchestration.analysis.inputs import DAYS_PER_MONTH
from orchestration.analysis.pooled_cox import DataSets, fit_each, is_penalised
from orchestration.analysis.pooling import PoolingError, pool
from orchestration.analysis.recidivism import Model, OutcomeCohort, models, rules_of
from orchestration.analysis.specification import Specification

Array = NDArray[np.float64]

RISK_COLUMNS = (
    "model_id", "outcome_id", "rater", "scale", "adjustment", "level", "months", "n", "events", "risk", "conf_low",
    "conf_high", "note",
)  # fmt: skip
CALIBRATION_COLUMNS = (
    "model_id", "outcome_id", "months", "fifth", "n", "events", "predicted", "observed", "conf_low", "conf_high",
)  # fmt: skip
PERFORMANCE_COLUMNS = (
    "model_id", "outcome_id", "measure", "months", "n", "events", "apparent", "std_error", "optimism", "corrected",
    "bootstraps", "note",
)  # fmt: skip
REFERENCE_COLUMNS = (
    "model_id", "outcome_id", "rater", "scale", "adjustment", "person", "described", "months", "n", "events", "risk",
    "conf_low", "conf_high", "note",
)  # fmt: skip
FIFTHS = 5
_MANY_PAIRS = 1_000_000


def drawn_models(spec: Specification) -> list[Model]:
    """The models that are looked at: the score that curves are drawn of, by the raters named, with the adjustments of processes."""
    rules = spec.recidivism
    return [
        model
        for model in models(spec)
        if model.scale == rules.grouped_scale
        and model.rater in rules.predicted_raters
        and set(model.exposed) == {model.scale}
        and model.adjustment in rules.process_adjustments
    ]


@dataclass(frozen=True)
class Sample:
    """What a model is fitted on or judged with: n rows of times, event, covariates (n, p) and clusters."""

    duration: Array
    event: NDArray[np.bool_]
    x: Array
    cluster: NDArray[np.int64]

    def at(self, rows: NDArray[np.int64], cluster: NDArray[np.int64]) -> Sample:
        return Sample(self.duration[rows], self.event[rows], self.x[rows], cluster)


@dataclass(frozen=True)
class Predictor:
    """A fitted model as it predicts: linear predictor, and the baseline hazard at the days that are looked at."""

    fit: cox.CoxFit
    centre: Array
    base: Array  # (T,) cumulative hazard of the centre
    own: Array  # (T,) its variance, coefficients being known
    drift: Array  # (T, p) sum of hazard times mean covariate (centred)

    def linear(self, x: Array) -> Array:
        return np.asarray((x - self.centre) @ self.fit.coefficients)

    def risk(self, x: Array) -> Array:
        """(n, T) risk of each row by each day."""
        return np.asarray(1 - np.exp(-np.exp(self.linear(x))[:, None] * self.base))


def fitted(
    samples: Sequence[Sample], terms: tuple[str, ...], days: Array, spec: Specification, clustered: bool = True
) -> list[Predictor]:
    """Fit each of `samples`, which differ in covariates only, as the grid does. Raises `CoxError`."""
    first = samples[0]
    sets = cox.risk_sets(first.duration, first.event, ties=spec.recidivism.ties)
    penalised = is_penalised(sets.events, len(terms), rules_of(spec))
    x = np.stack([sample.x for sample in samples])
    fits = fit_each(sets, first.cluster if clustered else None, x, terms, penalised)
    place = np.searchsorted(sets.time, days, side="right")

    def until(by_time: Array) -> Array:
        return np.concatenate([np.zeros((1, *by_time.shape[1:])), np.cumsum(by_time, axis=0)])[place]

    found = []
    for number, sample in enumerate(samples):
        at = cox.moments(sets, sample.x, fits[number].coefficients)
        found.append(Predictor(fits[number], at.centre, until(at.hazard), until(at.hazard_variance), until(at.drift)))
    return found


def standardised_risk(predictor: Predictor, x: Array) -> tuple[Array, Array]:
    """Mean risk of the rows of `x` (n, p) by each day (T,), and its standard error by the delta method.

    With R = mean of 1 - exp(-r_i H), its derivatives are g = mean of S_i r_i for the baseline and mean of S_i r_i (z_i H - d)
    for the coefficients, d being the drift: as the variance of one predicted curve (Tsiatis 1981), averaged over people.
    """
    z = x - predictor.centre
    ratio = np.exp(z @ predictor.fit.coefficients)
    weight = ratio[:, None] * np.exp(-ratio[:, None] * predictor.base)  # (n, T)
    g = weight.mean(axis=0)
    slope = (weight.T @ z) / len(z) * predictor.base[:, None] - g[:, None] * predictor.drift
    variance = g**2 * predictor.own + np.einsum("tp,pr,tr->t", slope, predictor.fit.variance, slope)
    return predictor.risk(x).mean(axis=0), np.sqrt(variance)


def risk_by_level(cohort: OutcomeCohort, imputed: pd.DataFrame, spec: Specification) -> pd.DataFrame:
    """Risk by the months of the models if everybody had a given score and kept all else (standardised over the cohort), pooled
    on the scale of log(-log(1 - risk)). Months that nobody is followed for are left out."""
    months, days = _followed_months(cohort, spec)
    data_sets = DataSets.of(imputed)
    rows: list[dict[str, object]] = []
    for model in drawn_models(spec):
        terms, columns = _varying(model, data_sets)
        named = {
            "model_id": model.named(cohort.outcome_id), "outcome_id": cohort.outcome_id, "rater": model.rater, "scale": model.scale,
            "adjustment": model.adjustment, "n": cohort.n, "events": cohort.events,
        }  # fmt: skip
        try:
            _refuse(cohort, spec)
            found = []
            samples = _samples(cohort, data_sets, columns)
            for sample, predictor in zip(samples, fitted(samples, terms, days, spec), strict=True):
                for level in spec.recidivism.risk_levels:
                    moved = sample.x.copy()
                    moved[:, 0] = level
                    found.append(standardised_risk(predictor, moved))
            shape = (data_sets.m, len(spec.recidivism.risk_levels), len(days))
            risk = np.array([one for one, _ in found]).reshape(shape)
            error = np.array([one for _, one in found]).reshape(shape)
            back = pooled_risk(risk, error, cohort.events - len(terms))
        except (cox.CoxError, PoolingError) as reason:
            rows.append({**named, "note": f"not estimable: {reason}"})
            continue
        rows += [
            {
                **named,
                "level": level,
                "months": month,
                "risk": back[0][i, j],
                "conf_low": back[1][i, j],
                "conf_high": back[2][i, j],
            }
            for i, level in enumerate(spec.recidivism.risk_levels)
            for j, month in enumerate(months)
        ]
    return pd.DataFrame(rows).reindex(columns=list(RISK_COLUMNS)).astype({"note": object})


def pooled_risk(risk: Array, error: Array, complete_df: float) -> tuple[Array, Array, Array]:
    """Risk and the limits of its interval (each (...)), from risks and standard errors (m, ...) of m imputed data sets.

    Pooled on the scale of log(-log(1 - risk)), which keeps the limits between 0 and 1. Raises `PoolingError`.
    """
    shape = risk.shape
    inside = np.clip(risk, 1e-12, 1 - 1e-12)
    derivative = 1 / ((1 - inside) * np.abs(np.log1p(-inside)))
    flat = shape[0], -1
    pooled = pool(
        np.log(-np.log1p(-inside)).reshape(flat), ((error * derivative) ** 2).reshape(flat), complete_df=complete_df
    )
    middle, low, high = (
        (1 - np.exp(-np.exp(part))).reshape(shape[1:]) for part in (pooled.estimate, pooled.conf_low, pooled.conf_high)
    )
    return middle, low, high


def reference_models(spec: Specification) -> list[Model]:
    """The models that the reference people are predicted by: each single score of the raters named, with their adjustment."""
    rules = spec.recidivism
    return [
        model
        for model in models(spec)
        if model.rater in rules.predicted_raters
        and set(model.exposed) == {model.scale}
        and model.adjustment == rules.reference.adjustment
    ]


def reference_terms(model: Model, spec: Specification) -> pd.DataFrame:
    """The reference people as a model reads them: a row for each (index: their names), a column for each term.

    Their columns go through the same transforms as those of the cohort.
    """
    said = pd.DataFrame.from_dict(dict(spec.recidivism.reference.people), orient="index")
    terms = {
        term: said[model.scale] if term in model.exposed else spec.covariates[term].of(said) for term in model.columns
    }
    return pd.DataFrame(terms).astype(float)


def reference_risk(cohort: OutcomeCohort, imputed: pd.DataFrame, spec: Specification) -> pd.DataFrame:
    """Risk of each reference person by each of the months of the models, by each of `reference_models`, pooled as `pooled_risk`.

    A term that is the same for everybody in the cohort is not in the model and counts for nothing, as in the estimates. What
    cannot be predicted (a model that is not estimable, months that nobody is followed for) keeps its row with the reason.
    """
    months, days = _followed_months(cohort, spec)
    data_sets = DataSets.of(imputed)
    rows: list[dict[str, object]] = []
    for model in reference_models(spec):
        people = reference_terms(model, spec)
        named = {
            "model_id": model.named(cohort.outcome_id), "outcome_id": cohort.outcome_id, "rater": model.rater, "scale": model.scale,
            "adjustment": model.adjustment, "n": cohort.n, "events": cohort.events,
        }  # fmt: skip
        note, numbers = None, np.full((3, len(people), len(months)), np.nan)
        try:
            _refuse(cohort, spec)
            if months:
                numbers = np.array(_risks_of(people, cohort, data_sets, model, days, spec))
        except (cox.CoxError, PoolingError) as reason:
            note = f"not estimable: {reason}"
        for i, (person, described) in enumerate(_described(model, spec).items()):
            for month in spec.recidivism.risk_months:
                row = {**named, "person": person, "described": described, "months": month}
                if month in months:
                    risk, low, high = numbers[:, i, months.index(month)]
                    rows.append({**row, "risk": risk, "conf_low": low, "conf_high": high, "note": note})
                else:
                    rows.append({**row, "note": note or "not estimable: nobody is followed for so long"})
    return (
        pd.DataFrame(rows)
        .reindex(columns=list(REFERENCE_COLUMNS))
        .astype({"note": object, "risk": float, "conf_low": float, "conf_high": float})
    )


def _risks_of(
    people: pd.DataFrame, cohort: OutcomeCohort, data_sets: DataSets, model: Model, days: Array, spec: Specification
) -> tuple[Array, Array, Array]:
    """Pooled risk and its limits, each (people, days). Raises `CoxError` and `PoolingError`."""
    terms, columns = _varying(model, data_sets)
    if not set(model.exposed) <= set(terms):
        raise cox.CoxInputError(f"{model.scale} is the same for everybody")
    x = people[list(terms)].to_numpy()
    found = [
        [standardised_risk(predictor, x[[i]]) for i in range(len(x))]
        for predictor in fitted(_samples(cohort, data_sets, columns), terms, days, spec)
    ]
    risk, error = (np.array([[one[part] for one in row] for row in found]) for part in (0, 1))
    return pooled_risk(risk, error, cohort.events - len(terms))


def _described(model: Model, spec: Specification) -> dict[str, str]:
    """What a model reads of each reference person, in words: whoever is described otherwise is somebody else."""
    read = dict.fromkeys([model.scale, *(spec.covariates[term].column for term in model.columns if term not in model.exposed)])  # fmt: skip
    return {
        name: ", ".join(f"{column} {float(said[column]):g}" for column in read)
        for name, said in spec.recidivism.reference.people.items()
    }


def calibration(cohort: OutcomeCohort, imputed: pd.DataFrame, spec: Specification) -> pd.DataFrame:
    """Mean predicted risk (over imputations) against Kaplan-Meier, by fifths of the predicted risk, at the months followed."""
    months, days = _followed_months(cohort, spec)
    data_sets = DataSets.of(imputed)
    rows = []
    for model in drawn_models(spec):
        terms, columns = _varying(model, data_sets)
        try:
            _refuse(cohort, spec)
            samples = _samples(cohort, data_sets, columns)
            predictors = fitted(samples, terms, days, spec)
            risk = np.mean([p.risk(sample.x) for p, sample in zip(predictors, samples, strict=True)], axis=0)
        except cox.CoxError:
            continue  # said in risk_by_level and performance, which have the same models
        for j, month in enumerate(months):
            fifth = np.searchsorted(np.quantile(risk[:, j], np.arange(1, FIFTHS) / FIFTHS), risk[:, j], side="left")
            for number in np.unique(fifth):
                mask = fifth == number
                moves = curves.moves_of(cohort.entry[mask], cohort.duration[mask], cohort.event[mask], 1)
                found = curves.occupation(moves, days[j : j + 1], cohort.cluster[mask])
                low, high = curves.log_log_interval(found.probability[:, 0], found.std_error[:, 0])
                rows.append(
                    {
                        "model_id": model.named(cohort.outcome_id), "outcome_id": cohort.outcome_id, "months": month,
                        "fifth": int(number) + 1, "n": int(mask.sum()),
                        "events": int((cohort.event & (cohort.duration <= days[j]))[mask].sum()),
                        "predicted": risk[mask, j].mean(), "observed": 1 - found.probability[0, 0],
                        "conf_low": 1 - high[0], "conf_high": 1 - low[0],
                    }
                )  # fmt: skip
    return pd.DataFrame(rows, columns=list(CALIBRATION_COLUMNS))


def performance(
    cohort: OutcomeCohort, imputed: pd.DataFrame, spec: Specification, seed: np.random.SeedSequence
) -> pd.DataFrame:
    """Concordance, calibration slope, and at each month followed the area under the curve and the Brier score: apparent (mean
    over imputations), optimism and what is left (Harrell, Lee & Mark 1996).

    Optimism is the mean, over samples of officers with replacement (each with all of their clients), of how much better a
    model fitted on the sample does there than on the cohort. Each sample takes the next imputed data set in turn.
    """
    months, days = _followed_months(cohort, spec)
    data_sets = DataSets.of(imputed)
    rows: list[dict[str, object]] = []
    # every model meets the same samples
    samples_of_officers = list(_samples_of_clusters(cohort.cluster, spec.recidivism.bootstraps, seed))
    for model in drawn_models(spec):
        terms, columns = _varying(model, data_sets)
        named = {
            "model_id": model.named(cohort.outcome_id), "outcome_id": cohort.outcome_id, "n": cohort.n, "events": cohort.events,
        }  # fmt: skip
        try:
            _refuse(cohort, spec)
            wholes = _samples(cohort, data_sets, columns)
            predictors = fitted(wholes, terms, days, spec)
        except cox.CoxError as error:
            rows.append({**named, "note": f"not estimable: {error}"})
            continue
        apparent = np.mean([measures(p, whole, days) for p, whole in zip(predictors, wholes, strict=True)], axis=0)
        std_error = np.mean(
            [concordance(_sets(whole), p.linear(whole.x), clusters=whole.cluster).std_error for p, whole in zip(predictors, wholes, strict=True)]
        )  # fmt: skip
        optimism = []
        for number, (drawn, cluster) in enumerate(samples_of_officers):
            whole = wholes[number % len(wholes)]
            sample = whole.at(drawn, cluster)
            try:
                (predictor,) = fitted([sample], terms, days, spec, clustered=False)
                optimism.append(measures(predictor, sample, days) - measures(predictor, whole, days))
            except cox.CoxError:
                continue
        lost = np.nanmean(optimism, axis=0) if optimism else np.full_like(apparent, np.nan)
        for (measure, month), at_first, too_much in zip(_names(months), apparent, lost, strict=True):
            rows.append(
                {
                    **named, "measure": measure, "months": month, "apparent": at_first,
                    "std_error": std_error if measure == "concordance" else np.nan, "optimism": too_much,
                    "corrected": at_first - too_much, "bootstraps": len(optimism),
                }
            )  # fmt: skip
    return pd.DataFrame(rows).reindex(columns=list(PERFORMANCE_COLUMNS)).astype({"note": object, "months": float})


def measures(predictor: Predictor, on: Sample, days: Array) -> Array:
    """Concordance, calibration slope, then the area under the curve and the Brier score of each day, of a model on a sample."""
    sets, linear = _sets(on), predictor.linear(on.x)
    risk, censoring = predictor.risk(on.x), Censoring.of(on)
    slope = cox.fit_on(sets, linear[:, None]).coefficients[0]
    by_day = [
        number
        for j, day in enumerate(days)
        for number in (area_under_curve(linear, on, day, censoring), brier_score(risk[:, j], on, day, censoring))
    ]
    return np.array([harrell(linear, on), slope, *by_day])


def harrell(score: Array, on: Sample) -> float:
    """Harrell's C, as `cox_survival.concordance`; by pairs of an event and another where these are few, which is quicker."""
    if len(score) * on.event.sum() > _MANY_PAIRS:
        return concordance(_sets(on), score).value
    first, died = on.duration[on.event, None], score[on.event, None]
    is_comparable = (on.duration > first) | ((on.duration == first) & ~on.event)
    won = (died > score) + 0.5 * (died == score)
    pairs = float(is_comparable.sum())
    return float((won * is_comparable).sum() / pairs) if pairs else float("nan")


def _names(months: list[int]) -> list[tuple[str, float]]:
    by_month = [(measure, float(month)) for month in months for measure in ("auc", "brier")]
    return [("concordance", np.nan), ("calibration_slope", np.nan), *by_month]


@dataclass(frozen=True)
class Censoring:
    """Product-limit estimate of still being observed: `before` each row's own end, and `by` any day."""

    before: Array
    times: Array
    survival: Array

    @staticmethod
    def of(sample: Sample) -> Censoring:
        """Whoever has the event on a day is not at risk of being censored on it any more."""
        times = np.unique(sample.duration)
        ends = np.searchsorted(times, sample.duration)
        events = np.bincount(ends[sample.event], minlength=len(times))
        censored = np.bincount(ends[~sample.event], minlength=len(times))
        at_risk = np.cumsum((events + censored)[::-1])[::-1] - events
        survival = np.cumprod(1 - censored / np.maximum(at_risk, 1)).astype(np.float64)
        return Censoring(np.concatenate([[1.0], survival])[ends], times, survival)

    def by(self, day: float) -> float:
        place = np.searchsorted(self.times, day, side="right")
        return float(self.survival[place - 1]) if place else 1.0


def area_under_curve(score: Array, on: Sample, day: float, censoring: Censoring) -> float:
    """Chance that one who has the event by `day` scores higher than one who has not, weighted against censoring (Uno et al.
    2007; Hung & Chiang 2010). NaN where there is no such pair."""
    case, control = on.event & (on.duration <= day), on.duration > day
    if not case.any() or not control.any():
        return float("nan")
    weight = 1 / censoring.before[case]
    others = np.sort(score[control])
    below = np.searchsorted(others, score[case], side="left")
    ties = np.searchsorted(others, score[case], side="right") - below
    return float(weight @ (below + ties / 2) / (weight.sum() * len(others)))


def brier_score(risk: Array, on: Sample, day: float, censoring: Censoring) -> float:
    """Mean squared distance of the predicted risk by `day` from what happened, weighted against censoring (Graf et al. 1999)."""
    case, control = on.event & (on.duration <= day), on.duration > day
    squared = np.where(case, (1 - risk) ** 2 / censoring.before, 0.0)
    observed = censoring.by(day)
    if control.any() and observed > 0:
        squared = squared + np.where(control, risk**2 / observed, 0.0)
    return float(squared.mean())


def _samples_of_clusters(
    cluster: NDArray[np.object_], times: int, seed: np.random.SeedSequence
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows, and a new cluster number for each draw, of `times` samples of clusters with replacement."""
    code = np.unique(cluster.astype(str), return_inverse=True)[1]
    order = np.argsort(code, kind="stable")
    size = np.bincount(code)
    begins = np.concatenate([[0], np.cumsum(size)[:-1]])
    out = []
    for child in seed.spawn(times):
        drawn = np.random.default_rng(child).integers(0, len(size), len(size))
        rows = np.concatenate([order[begins[c] : begins[c] + size[c]] for c in drawn])
        out.append((rows.astype(np.int64), np.repeat(np.arange(len(drawn)), size[drawn]).astype(np.int64)))
    return out


def _sets(sample: Sample) -> cox.RiskSets:
    return cox.risk_sets(sample.duration, sample.event)


def _samples(cohort: OutcomeCohort, data_sets: DataSets, columns: list[str]) -> list[Sample]:
    cluster = np.unique(cohort.cluster, return_inverse=True)[1].astype(np.int64)
    return [Sample(cohort.duration, cohort.event, x, cluster) for x in data_sets.covariates(columns)]


def _varying(model: Model, data_sets: DataSets) -> tuple[tuple[str, ...], list[str]]:
    """Terms and columns of a model without what is the same for everybody."""
    kept = {term: column for term, column in model.columns.items() if not data_sets.is_constant(column)}
    return tuple(kept), list(kept.values())


def _refuse(cohort: OutcomeCohort, spec: Specification) -> None:
    """Weights against censoring know nothing of late entry, and nothing is predicted from a handful of events."""
    if cohort.events < spec.recidivism.min_events:
        raise cox.CoxInputError(f"{cohort.events} events, fewer than {spec.recidivism.min_events}")
    if (cohort.entry > 0).any():
        raise cox.CoxInputError(f"{int((cohort.entry > 0).sum())} of {cohort.n} people enter late")


def _followed_months(cohort: OutcomeCohort, spec: Specification) -> tuple[list[int], Array]:
    months = [month for month in spec.recidivism.risk_months if month * DAYS_PER_MONTH < cohort.duration.max()]
    return months, np.array(months, dtype=np.float64) * DAYS_PER_MONTH
