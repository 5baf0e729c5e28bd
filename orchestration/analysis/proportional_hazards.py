"""Whether one hazard ratio may stand for all of follow-up: the test of every model, the refusal, and the split that is shown instead."""

from __future__ import annotations

import numpy as np
import pandas as pd

from orchestration.analysis import cox
from orchestration.analysis.cox_residuals import proportional_hazards_test
from orchestration.analysis.inputs import DAYS_PER_MONTH
from orchestration.analysis.pooled_cox import NUMBERS, DataSets, Sample, pooled_cox
from orchestration.analysis.recidivism import (
    Model,
    OutcomeCohort,
    models,
    rules_of,
    sample_of,
    shared_by,
    tidy,
)
from orchestration.analysis.specification import Specification

COLUMNS = ("model_id", "outcome_id", "term", "chi_squared", "degrees_of_freedom", "p_value", "note", "passed")
_REFUSED = tuple(name for name in NUMBERS if name not in ("events_per_parameter", "fraction_missing"))


def tests_of(cohort: OutcomeCohort, imputed: pd.DataFrame, spec: Specification) -> pd.DataFrame:
    """The test of every model of the grid, on the first imputed data set and without a penalty. Columns `COLUMNS`."""
    first = DataSets.of(imputed).first()
    sample = sample_of(cohort, spec)
    parts = [tested(sample, first, model, cohort.outcome_id, model.named(cohort.outcome_id)) for model in models(spec)]
    return table([row for part in parts for row in part])


def tested(sample: Sample, first: DataSets, model: Model, outcome_id: str, model_id: str) -> list[dict[str, object]]:
    """The score test of Grambsch & Therneau (1994), on Kaplan-Meier time, of every term of a model and of all together
    (`GLOBAL`), on the rows of one data set; where there is no fit, one row with a note."""
    named: dict[str, object] = {"model_id": model_id, "outcome_id": outcome_id}
    columns = {term: column for term, column in model.columns.items() if not first.is_constant(column)}
    if sample.sets is None or not columns:
        return [{**named, "note": f"not tested: {sample.events} events, {len(columns)} terms"}]
    x = first.covariates(list(columns.values()))[0]
    try:
        test = proportional_hazards_test(sample.sets, x, cox.fit_on(sample.sets, x, terms=tuple(columns)))
    except (cox.CoxError, np.linalg.LinAlgError) as error:
        return [{**named, "note": f"not tested: {error}"}]
    numbers = zip(test.terms, test.chi_squared, test.degrees_of_freedom, test.p_value, strict=True)
    return [
        {**named, "term": term, "chi_squared": chi, "degrees_of_freedom": df, "p_value": p}
        for term, chi, df, p in numbers
    ]


def table(rows: list[dict[str, object]]) -> pd.DataFrame:
    """Rows of tests as a frame with `COLUMNS`."""
    return (
        pd.DataFrame(rows)
        .reindex(columns=list(COLUMNS))
        .astype({"note": object, "term": object, "p_value": float, "passed": object})
    )


def failing(tests: pd.DataFrame, spec: Specification) -> pd.DataFrame:
    """The rows of terms (not of whole models) whose test is below the level of the models."""
    return tests[(tests["p_value"] < spec.recidivism.proportional_level) & (tests["term"] != "GLOBAL")]


def judged(estimates: pd.DataFrame, tests: pd.DataFrame, spec: Specification) -> pd.DataFrame:
    """Estimates in which a term that failed its test has no number, but a note with the p-value and the level."""
    level = spec.recidivism.proportional_level
    failed = failing(tests, spec).set_index(["model_id", "term"])["p_value"]
    keys = pd.MultiIndex.from_frame(estimates[["model_id", "term"]])
    p = failed.reindex(keys).to_numpy()
    is_refused = ~np.isnan(p) & estimates["estimate"].notna().to_numpy()
    out = estimates.copy()
    out.loc[is_refused, list(_REFUSED)] = np.nan
    out.loc[is_refused, "note"] = [
        f"no single hazard ratio: proportional hazards are rejected (p = {one:.2g}, level {level:g})"
        for one in p[is_refused]
    ]
    return out


def honoured(tests: pd.DataFrame, estimates: pd.DataFrame, spec: Specification) -> pd.DataFrame:
    """The tests with `passed`: false where a term failed and has a single hazard ratio in `estimates` all the same."""
    shown = estimates.loc[estimates["estimate"].notna(), ["model_id", "term"]]
    failed = failing(tests, spec)[["model_id", "term"]]
    is_shown = pd.MultiIndex.from_frame(failed).isin(pd.MultiIndex.from_frame(shown))
    return tests.assign(passed=~tests.index.isin(failed.index[is_shown]))


def split_estimates(
    cohort: OutcomeCohort, imputed: pd.DataFrame, tests: pd.DataFrame, spec: Specification
) -> pd.DataFrame:
    """Every model with a term of the alliance that failed, again with those of its terms that are of the alliance once before
    and once after the month of the models (Therneau & Grambsch 2000, section 6.5); model_id ends in `.split`."""
    month = spec.recidivism.split_months
    failed = failing(tests, spec).groupby("model_id")["term"].agg(set).to_dict()
    chosen = [model for model in models(spec) if failed.get(model.named(cohort.outcome_id), set()) & set(model.exposed)]
    if not chosen:
        return tidy([])
    who, start, stop, event = split_at(cohort, month * DAYS_PER_MONTH)
    is_late = start >= month * DAYS_PER_MONTH
    sets = cox.risk_sets(stop, event, start=start, ties=spec.recidivism.ties)
    sample = Sample(sets, cohort.events, np.unique(cohort.cluster[who], return_inverse=True)[1].astype(np.int64))
    rows: list[dict[str, object]] = []
    data_sets = DataSets.of(imputed)
    for model in chosen:
        names = {term: (f"{term}_until_month_{month:g}", f"{term}_after_month_{month:g}") for term in model.exposed}
        added: dict[str, np.ndarray] = {}
        for term, column in model.exposed.items():
            score = data_sets.column(column)[:, who]
            added |= dict(zip(names[term], (score * ~is_late, score * is_late), strict=True))
        split = data_sets.rows(who).with_columns(added)
        others = {term: column for term, column in model.columns.items() if term not in names}
        columns = {name: name for name in added} | others
        shared = {
            **shared_by(cohort, model, spec, data_sets.m),
            "model_id": f"{model.named(cohort.outcome_id)}.split",
        }
        rows += [
            {**shared, "term": term, **numbers}
            for term, numbers in pooled_cox(sample, split, columns, rules_of(spec)).items()
        ]
    return tidy(rows)


def split_at(cohort: OutcomeCohort, day: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows of the cohort (`who`), start, stop and event with everybody who is under observation on both sides of `day` cut in two."""
    is_cut = (cohort.entry < day) & (cohort.duration > day)
    who = np.concatenate([np.arange(cohort.n), np.flatnonzero(is_cut)])
    start = np.concatenate([cohort.entry, np.full(int(is_cut.sum()), day)])
    stop = np.concatenate([np.where(is_cut, day, cohort.duration), cohort.duration[is_cut]])
    event = np.concatenate([cohort.event & ~is_cut, cohort.event[is_cut]])
    order = np.lexsort((start, who))
    return who[order], start[order], stop[order], event[order]
