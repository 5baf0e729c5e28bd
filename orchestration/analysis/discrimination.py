"""How well a model of the grid tells apart who reoffends: concordance, calibration slope, area under the curve, Brier score, and how
much of each is optimism. What is predicted is in `prediction.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestration.analysis import cox
from orchestration.analysis.cox import IntArray
from orchestration.analysis.cox_survival import concordance
from orchestration.analysis.penalised_cox import fit_many_penalised
from orchestration.analysis.pooled_cox import DataSets, is_penalised
from orchestration.analysis.prediction import (
    drawn_models,
    fitted,
    followed_months,
    people_of,
    predictor_of,
    refuse_few,
    varying,
)
from orchestration.analysis.recidivism import OutcomeCohort, rules_of
from orchestration.analysis.specification import Specification

Array = NDArray[np.float64]

PERFORMANCE_COLUMNS = (
    "model_id", "outcome_id", "rater", "scale", "adjustment", "measure", "months", "n", "events", "apparent", "std_error", "optimism", "corrected",
    "bootstraps", "note",
)  # fmt: skip
_MANY_PAIRS = 1_000_000
_NUMBERS_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class People:
    """n people whose outcome is known: `duration` and `event` (n,), all of them there from the start."""

    duration: Array
    event: NDArray[np.bool_]


def performance(
    cohort: OutcomeCohort, imputed: pd.DataFrame, spec: Specification, seed: np.random.SeedSequence
) -> pd.DataFrame:
    """Concordance, calibration slope, and at each month followed the area under the curve and the Brier score: apparent (mean
    over imputations), optimism and what is left (Harrell, Lee & Mark 1996).

    Optimism is the mean, over samples of officers with replacement (each with all of their clients), of how much better a
    model fitted on the sample does there than on the cohort. Each sample takes the next imputed data set in turn.
    """
    months, days = followed_months(cohort, spec)
    data_sets = DataSets.of(imputed)
    rows: list[dict[str, object]] = []
    # every model meets the same samples
    frequencies = cox.resampled(cohort.cluster, spec.recidivism.bootstraps, np.random.default_rng(seed))
    people = People(cohort.duration, cohort.event)
    for model in drawn_models(spec):
        terms, columns = varying(model, data_sets)
        named = {
            "model_id": model.named(cohort.outcome_id), "outcome_id": cohort.outcome_id, "rater": model.rater, "scale": model.scale,
            "adjustment": model.adjustment, "n": cohort.n, "events": cohort.events,
        }  # fmt: skip
        x = data_sets.covariates(columns)
        try:
            refuse_few(cohort, spec)
            sets, clusters = people_of(cohort)
            predictor = fitted(sets, clusters, x, terms, days, spec)
        except cox.CoxError as error:
            rows.append({**named, "note": f"not estimable: {error}"})
            continue
        linear = predictor.linear(x)
        apparent = measures(linear, predictor.risk(x), people, days).mean(axis=0)
        std_error = np.mean([concordance(sets, one, clusters=clusters).std_error for one in linear])
        optimism = _optimism(sets, x, frequencies, terms, people, days, spec)
        lost = np.nanmean(optimism, axis=0) if len(optimism) else np.full_like(apparent, np.nan)
        for (measure, month), at_first, too_much in zip(_names(months), apparent, lost, strict=True):
            rows.append(
                {
                    **named, "measure": measure, "months": month, "apparent": at_first,
                    "std_error": std_error if measure == "concordance" else np.nan, "optimism": too_much,
                    "corrected": at_first - too_much, "bootstraps": len(optimism),
                }
            )  # fmt: skip
    return pd.DataFrame(rows).reindex(columns=list(PERFORMANCE_COLUMNS)).astype({"note": object, "months": float})


def _optimism(
    sets: cox.RiskSets,
    x: Array,
    frequencies: IntArray,
    terms: tuple[str, ...],
    people: People,
    days: Array,
    spec: Specification,
) -> Array:
    """(samples that could be fitted, measures) how much better the model of each sample does there than on the cohort."""
    of_set = np.arange(len(frequencies)) % len(x)
    penalised = np.array(
        [is_penalised(int(n), len(terms), rules_of(spec)) for n in frequencies[:, people.event].sum(axis=1)]
    )
    together = max(1, _NUMBERS_AT_ONCE // x[0].size)
    found: dict[int, Array] = {}
    for penalty in (False, True):
        chosen = np.flatnonzero(penalised == penalty)
        for begin in range(0, len(chosen), together):
            part = chosen[begin : begin + together]
            drawn, counted = x[of_set[part]], frequencies[part]
            if penalty:
                fits = fit_many_penalised(sets, drawn, terms, frequencies=counted)
            else:
                fits = cox.fit_many(sets, drawn, terms=terms, frequencies=counted)
            good = np.array([i for i, problem in enumerate(fits.problems) if problem is None], dtype=np.int64)
            if not len(good):
                continue
            drawn, counted = drawn[good], counted[good]
            predictor = predictor_of(sets, drawn, fits, good, days, counted)
            linear, risk = predictor.linear(drawn), predictor.risk(drawn)
            better = measures(linear, risk, people, days, counted) - measures(linear, risk, people, days)
            found |= dict(zip(map(int, part[good]), better, strict=True))
    return np.array([found[i] for i in sorted(found)]).reshape(len(found), -1)


def measures(linear: Array, risk: Array, people: People, days: Array, frequencies: IntArray | None = None) -> Array:
    """(b, 2 + 2 T) concordance, calibration slope, then the area under the curve and the Brier score of each day, of b models with
    linear predictors (b, n) and risks (b, n, T), each person counting `frequencies` (b, n) times."""
    counted = np.ones(linear.shape, dtype=np.int64) if frequencies is None else frequencies
    sets = cox.risk_sets(people.duration, people.event)
    slope = cox.fit_many(sets, linear[:, :, None], frequencies=frequencies).coefficients[:, 0]
    censoring = Censoring.of(people, counted)
    by_day = [
        column
        for j, day in enumerate(days)
        for column in (
            area_under_curve(linear, people, day, censoring, counted),
            brier_score(risk[:, :, j], people, day, censoring, counted),
        )
    ]
    return np.column_stack([harrell(linear, people, counted), slope, *by_day])


def harrell(score: Array, people: People, frequencies: IntArray) -> Array:
    """(b,) Harrell's C of scores (b, n), as `cox_survival.concordance`; by pairs of an event and another where these are few, which
    is quicker. NaN where there is no pair."""
    died = people.event
    if len(died) * died.sum() > _MANY_PAIRS:
        return np.array([_harrell_of_many(one, people, often) for one, often in zip(score, frequencies, strict=True)])
    first = people.duration[died, None]
    is_comparable = ((people.duration > first) | ((people.duration == first) & ~people.event)).astype(np.float64)
    out = np.full(len(score), np.nan)
    for i, (one, often) in enumerate(zip(score, frequencies.astype(np.float64), strict=True)):
        own = one[died, None]
        won = (own > one) + 0.5 * (own == one)
        pairs = often[died] @ is_comparable @ often
        if pairs > 0:
            out[i] = often[died] @ (won * is_comparable) @ often / pairs
    return out


def _harrell_of_many(score: Array, people: People, often: IntArray) -> float:
    there = often > 0
    sets = cox.risk_sets(people.duration[there], people.event[there], weights=often[there])
    return concordance(sets, score[there]).value


def _names(months: list[int]) -> list[tuple[str, float]]:
    by_month = [(measure, float(month)) for month in months for measure in ("auc", "brier")]
    return [("concordance", np.nan), ("calibration_slope", np.nan), *by_month]


@dataclass(frozen=True)
class Censoring:
    """Product-limit estimates of still being observed, of b samples: `before` each person's own end (b, n), and `by` any day."""

    before: Array
    times: Array  # (U,)
    survival: Array  # (b, U)

    @staticmethod
    def of(people: People, frequencies: IntArray) -> Censoring:
        """Whoever has the event on a day is not at risk of being censored on it any more."""
        times, ends = np.unique(people.duration, return_inverse=True)
        order = np.argsort(ends, kind="stable")
        blocks = np.searchsorted(ends[order], np.arange(len(times)))
        gone = np.add.reduceat(frequencies[:, order], blocks, axis=1)
        events = np.add.reduceat((frequencies * people.event)[:, order], blocks, axis=1)
        at_risk = np.cumsum(gone[:, ::-1], axis=1)[:, ::-1] - events
        survival = np.cumprod(1 - (gone - events) / np.maximum(at_risk, 1), axis=1)
        return Censoring(np.concatenate([np.ones((len(gone), 1)), survival], axis=1)[:, ends], times, survival)

    def by(self, day: float) -> Array:
        """(b,)"""
        place = np.searchsorted(self.times, day, side="right")
        return self.survival[:, place - 1] if place else np.ones(len(self.survival))


def area_under_curve(score: Array, people: People, day: float, censoring: Censoring, frequencies: IntArray) -> Array:
    """(b,) chance that one who has the event by `day` scores higher than one who has not, weighted against censoring (Uno et al.
    2007; Hung & Chiang 2010). NaN where there is no such pair."""
    case, control = people.event & (people.duration <= day), people.duration > day
    out = np.full(len(score), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = np.where(frequencies[:, case] > 0, frequencies[:, case] / censoring.before[:, case], 0.0)
    for i, (one, weight, often) in enumerate(zip(score, weights, frequencies[:, control], strict=True)):
        mass = weight.sum() * often.sum()
        if not mass > 0:
            continue
        order = np.argsort(one[control])
        others, below = one[control][order], np.concatenate([[0], np.cumsum(often[order])])
        low, high = np.searchsorted(others, one[case], "left"), np.searchsorted(others, one[case], "right")
        out[i] = weight @ (below[low] + below[high]) / 2 / mass
    return out


def brier_score(risk: Array, people: People, day: float, censoring: Censoring, frequencies: IntArray) -> Array:
    """(b,) mean squared distance of the predicted risk (b, n) by `day` from what happened, weighted against censoring (Graf et al. 1999)."""
    case, control = people.event & (people.duration <= day), people.duration > day
    with np.errstate(divide="ignore", invalid="ignore"):
        squared = np.where(case & (frequencies > 0), (1 - risk) ** 2 / censoring.before, 0.0)
        after = np.where(control & (frequencies > 0), risk**2 / censoring.by(day)[:, None], 0.0)
    return ((squared + after) * frequencies).sum(axis=1) / frequencies.sum(axis=1)
