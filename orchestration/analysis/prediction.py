"""What a model of the grid predicts: risk by level of a score, of the reference people, and against what was seen (calibration). How
well it tells people apart is in `discrimination.py`. Prediction is no aim of the study; it shows whether the models fit, and how little they
may be used for a person.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestration.analysis import cox, curves
from orchestration.analysis.cox import IntArray
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
    "model_id", "outcome_id", "rater", "scale", "adjustment", "months", "fifth", "n", "events", "predicted", "observed", "conf_low", "conf_high",
)  # fmt: skip
REFERENCE_COLUMNS = (
    "model_id", "outcome_id", "rater", "scale", "adjustment", "person", "described", "months", "n", "events", "risk",
    "conf_low", "conf_high", "note",
)  # fmt: skip
FIFTHS = 5


def drawn_models(spec: Specification) -> list[Model]:
    """The models that are looked at: each single score of the raters named, with the adjustments of processes."""
    rules = spec.recidivism
    return [
        model
        for model in models(spec)
        if model.rater in rules.predicted_raters
        and set(model.exposed) == {model.scale}
        and model.adjustment in rules.process_adjustments
    ]


@dataclass(frozen=True)
class Predictor:
    """m fits of one model as they predict: linear predictors, and the baseline hazard at the T days that are looked at."""

    coefficients: Array  # (m, p)
    variance: Array  # (m, p, p)
    centre: Array  # (m, p)
    base: Array  # (m, T) cumulative hazard of the centre
    own: Array  # (m, T) its variance, coefficients being known
    drift: Array  # (m, T, p) sum of hazard times mean covariate (centred)

    def linear(self, x: Array) -> Array:
        """(m, n) of rows `x` (m, n, p), or (n, p) where all fits look at the same."""
        return np.matmul(x - self.centre[:, None], self.coefficients[:, :, None])[:, :, 0]

    def risk(self, x: Array) -> Array:
        """(m, n, T) risk of each row by each day."""
        return np.asarray(1 - np.exp(-np.exp(self.linear(x))[:, :, None] * self.base[:, None]))


def predictor_of(
    sets: cox.RiskSets,
    covariates: Array,
    fits: cox.CoxFits,
    which: IntArray,
    days: Array,
    frequencies: IntArray | None = None,
) -> Predictor:
    """The fits `which` (m,) of `fits` on `sets`, made of `covariates` (m, n, p) and `frequencies` (m, n)."""
    coefficients = fits.coefficients[which]
    at = cox.baselines(sets, covariates, coefficients, frequencies)
    place = np.searchsorted(sets.time, days, side="right")

    def until(by_time: Array) -> Array:
        return np.concatenate([np.zeros_like(by_time[:, :1]), np.cumsum(by_time, axis=1)], axis=1)[:, place]

    variance = fits.covariance if fits.robust_covariance is None else fits.robust_covariance
    return Predictor(
        coefficients, variance[which], at.centre, until(at.hazard), until(at.hazard_variance), until(at.drift)
    )


def fitted(
    sets: cox.RiskSets, clusters: IntArray, covariates: Array, terms: tuple[str, ...], days: Array, spec: Specification
) -> Predictor:
    """Fit each of m data sets, `covariates` (m, n, p), as the grid does. Raises `CoxError`."""
    penalised = is_penalised(sets.events, len(terms), rules_of(spec))
    fits = fit_each(sets, clusters, covariates, terms, penalised)
    return predictor_of(sets, covariates, fits, np.arange(len(fits)), days)


def standardised_risk(predictor: Predictor, x: Array) -> tuple[Array, Array]:
    """Mean risk of the rows of `x`, (m, n, p) or (n, p), by each day, and its standard error by the delta method: both (m, T).

    With R = mean of 1 - exp(-r_i H), its derivatives are g = mean of S_i r_i for the baseline and mean of S_i r_i (z_i H - d)
    for the coefficients, d being the drift: as the variance of one predicted curve (Tsiatis 1981), averaged over people.
    """
    z = x - predictor.centre[:, None]
    ratio = np.exp(predictor.linear(x))[:, :, None]
    survival = np.exp(-ratio * predictor.base[:, None])
    weight = ratio * survival  # (m, n, T)
    g = weight.mean(axis=1)
    slope = (
        np.matmul(weight.swapaxes(1, 2), z) / z.shape[1] * predictor.base[:, :, None] - g[:, :, None] * predictor.drift
    )
    variance = g**2 * predictor.own + (np.matmul(slope, predictor.variance) * slope).sum(axis=2)
    return 1 - survival.mean(axis=1), np.sqrt(variance)


def risk_by_level(cohort: OutcomeCohort, imputed: pd.DataFrame, spec: Specification) -> pd.DataFrame:
    """Risk by the months of the models if everybody had a given score and kept all else (standardised over the cohort), pooled
    on the scale of log(-log(1 - risk)). Months that nobody is followed for are left out."""
    months, days = followed_months(cohort, spec)
    data_sets = DataSets.of(imputed)
    rows: list[dict[str, object]] = []
    for model in drawn_models(spec):
        terms, columns = varying(model, data_sets)
        named = {
            "model_id": model.named(cohort.outcome_id), "outcome_id": cohort.outcome_id, "rater": model.rater, "scale": model.scale,
            "adjustment": model.adjustment, "n": cohort.n, "events": cohort.events,
        }  # fmt: skip
        try:
            refuse_few(cohort, spec)
            x = data_sets.covariates(columns)
            predictor = fitted(*people_of(cohort), x, terms, days, spec)
            moved = x.copy()
            found = []
            for level in spec.recidivism.risk_levels:
                moved[:, :, 0] = level
                found.append(standardised_risk(predictor, moved))
            risk, error = (np.stack([one[part] for one in found], axis=1) for part in (0, 1))  # (m, levels, days)
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
        if model.rater in rules.reference.raters
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
    months, days = followed_months(cohort, spec)
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
            refuse_few(cohort, spec)
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
    terms, columns = varying(model, data_sets)
    if not set(model.exposed) <= set(terms):
        raise cox.CoxInputError(f"{model.scale} is the same for everybody")
    predictor = fitted(*people_of(cohort), data_sets.covariates(columns), terms, days, spec)
    found = [standardised_risk(predictor, person[None]) for person in people[list(terms)].to_numpy()]
    risk, error = (np.stack([one[part] for one in found], axis=1) for part in (0, 1))
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
    months, days = followed_months(cohort, spec)
    data_sets = DataSets.of(imputed)
    rows = []
    for model in drawn_models(spec):
        terms, columns = varying(model, data_sets)
        try:
            refuse_few(cohort, spec)
            x = data_sets.covariates(columns)
            risk = fitted(*people_of(cohort), x, terms, days, spec).risk(x).mean(axis=0)
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
                        "model_id": model.named(cohort.outcome_id), "outcome_id": cohort.outcome_id, "rater": model.rater,
                        "scale": model.scale, "adjustment": model.adjustment, "months": month,
                        "fifth": int(number) + 1, "n": int(mask.sum()),
                        "events": int((cohort.event & (cohort.duration <= days[j]))[mask].sum()),
                        "predicted": risk[mask, j].mean(), "observed": 1 - found.probability[0, 0],
                        "conf_low": 1 - high[0], "conf_high": 1 - low[0],
                    }
                )  # fmt: skip
    return pd.DataFrame(rows, columns=list(CALIBRATION_COLUMNS))


def people_of(cohort: OutcomeCohort) -> tuple[cox.RiskSets, IntArray]:
    """The risk sets of a cohort without late entry, and the number of each person's cluster (n,)."""
    code = np.unique(cohort.cluster, return_inverse=True)[1].astype(np.int64)
    return cox.risk_sets(cohort.duration, cohort.event), code


def varying(model: Model, data_sets: DataSets) -> tuple[tuple[str, ...], list[str]]:
    """Terms and columns of a model without what is the same for everybody."""
    kept = {term: column for term, column in model.columns.items() if not data_sets.is_constant(column)}
    return tuple(kept), list(kept.values())


def refuse_few(cohort: OutcomeCohort, spec: Specification) -> None:
    """Weights against censoring know nothing of late entry, and nothing is predicted from a handful of events."""
    if cohort.events < spec.recidivism.min_events:
        raise cox.CoxInputError(f"{cohort.events} events, fewer than {spec.recidivism.min_events}")
    if (cohort.entry > 0).any():
        raise cox.CoxInputError(f"{int((cohort.entry > 0).sum())} of {cohort.n} people enter late")


def followed_months(cohort: OutcomeCohort, spec: Specification) -> tuple[list[int], Array]:
    """The months of the models by which somebody is still followed, and as days (T,)."""
    months = [month for month in spec.recidivism.risk_months if month * DAYS_PER_MONTH < cohort.duration.max()]
    return months, np.array(months, dtype=np.float64) * DAYS_PER_MONTH
