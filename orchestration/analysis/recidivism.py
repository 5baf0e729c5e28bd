"""Q3: is the alliance related to recidivism? Cox models over imputed data, survival curves and absolute risks.

Frames in, tidy frames out. The models are those of `models.yml`; the partial likelihood is `cox.py`'s, the curves are
lifelines'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from orchestration.analysis import cox
from orchestration.analysis.imputation import CUMULATIVE_HAZARD, EVENT, Hint, impute, nelson_aalen
from orchestration.analysis.inputs import DAYS_PER_MONTH
from orchestration.analysis.pooling import PoolingError, pool
from orchestration.analysis.specification import Specification

ESTIMATE_COLUMNS = (
    "model_id", "outcome_id", "rater", "scale", "adjustment", "term", "estimate", "std_error", "conf_low", "conf_high",
    "p_value", "n", "events", "imputations", "fraction_missing", "cluster", "clusters", "degrees_of_freedom", "estimate_min",
    "estimate_max", "note",
)  # fmt: skip
AGREEMENT_COLUMNS = ("model_id", "largest_coefficient_difference", "largest_error_difference", "agrees", "note")
CURVE_COLUMNS = (
    "outcome_id",
    "grouping",
    "group",
    "month",
    "n",
    "at_risk",
    "events",
    "survival",
    "conf_low",
    "conf_high",
)
LOG_RANK_COLUMNS = ("outcome_id", "grouping", "n", "events", "groups", "statistic", "p_value", "note")
RISK_COLUMNS = ("outcome_id", "months", "n", "events", "at_risk", "risk", "conf_low", "conf_high", "note")
# lifelines also stops when half the Newton decrement is below `precision`: at 1e-14 the last step may still be 1e-7.
_TIGHT = {"precision": 1e-20, "r_precision": 1e-20}
TIMES = ("entry_days", "duration_days")


@dataclass(frozen=True)
class OutcomeCohort:
    """Those who are followed up for one outcome definition: n rows of times, covariates (missing as NaN) and clusters.

    `covariates` has the columns that are imputed, in a fixed order; `entry` and `duration` are days on the clock at risk.
    """

    outcome_id: str
    client: np.ndarray
    entry: np.ndarray
    duration: np.ndarray
    event: np.ndarray
    cluster: np.ndarray
    covariates: pd.DataFrame

    @property
    def n(self) -> int:
        return len(self.client)

    @property
    def events(self) -> int:
        return int(self.event.sum())

    def risk_sets(self, ties: cox.Ties) -> cox.RiskSets:
        start = self.entry if (self.entry > 0).any() else None
        return cox.risk_sets(self.duration, self.event, start=start, ties=ties)


def modelled_outcomes(definitions: pd.DataFrame, spec: Specification) -> list[str]:
    """Outcome ids whose role the specification asks for, as the definitions order them."""
    return definitions.loc[definitions["role"].isin(spec.recidivism.outcome_roles), "outcome_id"].astype(str).tolist()


def outcome_cohort(analysis_cohort: pd.DataFrame, outcome_id: str, spec: Specification) -> OutcomeCohort:
    """The eligible, linked clients of one outcome definition, ordered by client.

    A client whose officer at the origin is not known is a cluster of one.
    """
    rows = analysis_cohort[
        (analysis_cohort["outcome_id"] == outcome_id)
        & analysis_cohort["is_eligible"].astype("boolean").fillna(False).astype(bool)
    ]
    rows = rows[rows["event"].notna()].sort_values("client_id", kind="stable").reset_index(drop=True)
    scores = {column: pd.to_numeric(rows[column]).astype(float) for column in spec.score_columns}
    terms = {name: spec.covariates[name].of(rows) for name in spec.imputed_covariates}
    cluster = (
        rows[spec.recidivism.cluster].astype(object).where(rows[spec.recidivism.cluster].notna(), rows["client_id"])
    )
    return OutcomeCohort(
        outcome_id=outcome_id,
        client=rows["client_id"].to_numpy(dtype=object),
        entry=rows["entry_days"].to_numpy(dtype=np.float64),
        duration=rows["duration_days"].to_numpy(dtype=np.float64),
        event=rows["event"].astype(bool).to_numpy(),
        cluster=cluster.astype(str).to_numpy(),
        covariates=pd.DataFrame({**scores, **terms}),
    )


def impute_cohort(
    cohort: OutcomeCohort,
    spec: Specification,
    seed: int | np.random.SeedSequence,
    hints: Mapping[str, Sequence[Hint]] | None = None,
    record: Callable[[pd.DataFrame], None] | None = None,
) -> pd.DataFrame:
    """m data sets, stacked: `imputation`, then the covariates. The outcome is among the predictors, and taken out again."""
    outcome = pd.DataFrame(
        {
            EVENT: cohort.event.astype(float),
            CUMULATIVE_HAZARD: nelson_aalen(cohort.duration, cohort.event, cohort.entry),
        }
    )
    stacked = impute(pd.concat([cohort.covariates, outcome], axis=1), spec.imputer, seed, hints, record)
    return stacked.drop(columns=[EVENT, CUMULATIVE_HAZARD])


def model_terms(spec: Specification, scale: str, adjustment: str) -> tuple[str, ...]:
    """The score first, then the covariates of the adjustment."""
    return (spec.recidivism.score(scale), *spec.recidivism.adjustments[adjustment])


def estimates_of(
    cohort: OutcomeCohort, imputed: pd.DataFrame, spec: Specification, each: Callable[[], None] | None = None
) -> pd.DataFrame:
    """Tidy estimates (`ESTIMATE_COLUMNS`) of every scale x adjustment of one outcome. `each` is called after each model.

    A hazard ratio is exp(estimate). A model that cannot be estimated keeps its rows, without numbers and with the reason.
    """
    rules = spec.recidivism
    sets = cohort.risk_sets(rules.ties) if cohort.events >= rules.min_events else None
    data_sets = [frame for _, frame in imputed.groupby("imputation", sort=True)]
    rows: list[dict[str, object]] = []
    for scale in rules.scales:
        for adjustment in rules.adjustments:
            terms = model_terms(spec, scale, adjustment)
            shared = {
                "model_id": f"{cohort.outcome_id}.{rules.rater}.{scale}.{adjustment}", "outcome_id": cohort.outcome_id,
                "rater": rules.rater, "scale": scale, "adjustment": adjustment, "n": cohort.n, "events": cohort.events,
                "imputations": len(data_sets), "cluster": rules.cluster,
                "clusters": len(np.unique(cohort.cluster)),
            }  # fmt: skip
            for term, numbers in _pooled_cox(cohort, sets, data_sets, terms, rules.min_events).items():
                rows.append({**shared, "term": scale if term == terms[0] else term, **numbers})
            if each is not None:
                each()
    frame = pd.DataFrame(rows).reindex(columns=list(ESTIMATE_COLUMNS))
    columns = ["estimate", "std_error", "conf_low", "conf_high", "p_value", "fraction_missing", "degrees_of_freedom", "estimate_min", "estimate_max"]  # fmt: skip
    return frame.astype(dict.fromkeys(columns, float)).astype({"note": object})


def _pooled_cox(
    cohort: OutcomeCohort,
    sets: cox.RiskSets | None,
    data_sets: list[pd.DataFrame],
    terms: tuple[str, ...],
    min_events: int,
) -> dict[str, dict[str, object]]:
    if sets is None:
        return _not_estimable(terms, f"{cohort.events} events, fewer than {min_events}")
    constant = tuple(term for term in terms if all(frame[term].nunique() < 2 for frame in data_sets))
    kept = tuple(term for term in terms if term not in constant)
    if terms[0] in constant:
        return _not_estimable(terms, f"{terms[0]} is the same for everybody")
    estimates, variances = [], []
    cluster = np.unique(cohort.cluster, return_inverse=True)[1]
    for number, frame in enumerate(data_sets, start=1):
        try:
            fit = cox.fit_on(sets, frame[list(kept)].to_numpy(), terms=kept, clusters=cluster)
        except cox.CoxError as error:
            return _not_estimable(terms, f"imputation {number}: {error}")
        estimates.append(fit.coefficients)
        variances.append(np.diag(fit.variance))
    try:
        pooled = pool(estimates, variances, complete_df=cohort.events - len(kept))
    except PoolingError as error:
        return _not_estimable(terms, str(error))
    return _not_estimable(constant, "the same for everybody, so left out of the model") | {
        term: {
            "estimate": pooled.estimate[j], "std_error": pooled.std_error[j], "conf_low": pooled.conf_low[j],
            "conf_high": pooled.conf_high[j], "p_value": pooled.p_value[j], "fraction_missing": pooled.fraction_missing[j],
            "degrees_of_freedom": pooled.degrees_of_freedom[j], "estimate_min": pooled.lowest[j],
            "estimate_max": pooled.highest[j], "note": None,
        }
        for j, term in enumerate(kept)
    }  # fmt: skip


def _not_estimable(terms: tuple[str, ...], reason: str) -> dict[str, dict[str, object]]:
    return {term: {"note": f"not estimable: {reason}"} for term in terms}


def second_engine(
    cohort: OutcomeCohort, imputed: pd.DataFrame, spec: Specification, tolerance: float = 1e-7
) -> pd.DataFrame:
    """The first imputed data set of every model again with lifelines: largest relative differences of coefficients and
    model (not clustered) errors. Columns model_id, largest_coefficient_difference, largest_error_difference, agrees, note.

    A coefficient is compared relative to itself, or to its standard error where it is closer to zero than that.
    """
    from lifelines import CoxPHFitter
    from lifelines.exceptions import ConvergenceError

    rules = spec.recidivism
    first = imputed[imputed["imputation"] == 1].drop(columns="imputation").reset_index(drop=True)
    rows = []
    for scale in rules.scales:
        for adjustment in rules.adjustments:
            kept = [term for term in model_terms(spec, scale, adjustment) if first[term].nunique() > 1]
            row: dict[str, object] = {"model_id": f"{cohort.outcome_id}.{rules.rater}.{scale}.{adjustment}"}
            if cohort.events < rules.min_events or not kept:
                rows.append(
                    {**row, "agrees": None, "note": f"not estimable: {cohort.events} events, {len(kept)} terms"}
                )
                continue
            try:
                ours = cox.fit_on(cohort.risk_sets("efron"), first[kept].to_numpy(), terms=tuple(kept))
            except cox.CoxError as error:
                rows.append({**row, "agrees": None, "note": f"not estimable: {error}"})
                continue
            frame = first[kept].assign(**{TIMES[1]: cohort.duration, EVENT: cohort.event.astype(float)})
            entry = None
            if (cohort.entry > 0).any():
                frame, entry = frame.assign(**{TIMES[0]: cohort.entry}), TIMES[0]
            try:
                theirs = CoxPHFitter().fit(frame, TIMES[1], EVENT, entry_col=entry, fit_options=_TIGHT)
            except ConvergenceError:
                rows.append({**row, "agrees": False, "note": "the second engine did not converge"})
                continue
            coefficients, errors = theirs.params_[kept].to_numpy(), theirs.standard_errors_[kept].to_numpy()
            by_coefficient = np.abs(ours.coefficients - coefficients) / np.maximum(np.abs(coefficients), errors)
            by_error = np.abs(ours.model_std_errors / errors - 1)
            row |= {
                "largest_coefficient_difference": float(by_coefficient.max()),
                "largest_error_difference": float(by_error.max()),
                "agrees": bool(max(by_coefficient.max(), by_error.max()) <= tolerance),
                "note": None,
            }
            rows.append(row)
    return pd.DataFrame(rows, columns=list(AGREEMENT_COLUMNS)).astype({"agrees": "boolean", "note": object})


def grouped_by_score(cohort: OutcomeCohort, spec: Specification) -> np.ndarray:
    """(n,) group of the observed score by its quantiles (tertiles for three groups), `not_rated` where it is missing.

    Equal scores are in the same group, so that groups may differ in size.
    """
    rules = spec.recidivism
    score = cohort.covariates[rules.score(rules.grouped_scale)].to_numpy()
    is_rated = ~np.isnan(score)
    group = np.full(cohort.n, "not_rated", dtype=object)
    if is_rated.any():
        cuts = np.quantile(score[is_rated], np.arange(1, len(rules.groups)) / len(rules.groups))
        group[is_rated] = np.array(rules.groups, dtype=object)[np.searchsorted(cuts, score[is_rated], side="left")]
    return group


def survival_curves(cohort: OutcomeCohort, spec: Specification) -> pd.DataFrame:
    """Kaplan-Meier at whole months on the clock at risk, of everybody and by group of the score.

    One row per grouping x group x month while somebody is at risk: n, at_risk and events (both so far), survival,
    conf_low, conf_high (95 %, log-log). Months, not event times: a curve with a step for each person names persons.
    """
    groups = grouped_by_score(cohort, spec)
    parts = [("all", "all", np.ones(cohort.n, dtype=bool))]
    parts += [
        (f"{spec.recidivism.grouped_scale}_group", name, groups == name)
        for name in (*spec.recidivism.groups, "not_rated")
    ]
    rows = []
    for grouping, name, mask in parts:
        if not mask.any():
            continue
        grid = DAYS_PER_MONTH * np.arange(int(cohort.duration[mask].max() // DAYS_PER_MONTH) + 1)
        for month, point in enumerate(_kaplan_meier(cohort, mask, grid)):
            rows.append({"outcome_id": cohort.outcome_id, "grouping": grouping, "group": name, "month": month, **point})
    return pd.DataFrame(rows, columns=list(CURVE_COLUMNS))


def absolute_risks(cohort: OutcomeCohort, spec: Specification) -> pd.DataFrame:
    """Kaplan-Meier risk (share with an event) at the months asked for, with n, events so far, at_risk and a 95 % interval.

    Where nobody is followed that long there is no number, but a note.
    """
    rows = []
    for months in spec.recidivism.risk_months:
        days = round(months * DAYS_PER_MONTH)
        (point,) = _kaplan_meier(cohort, np.ones(cohort.n, dtype=bool), np.array([float(days)]))
        row = {
            "outcome_id": cohort.outcome_id, "months": months, "n": point["n"], "events": point["events"], "at_risk": point["at_risk"],
            "risk": 1 - point["survival"], "conf_low": 1 - point["conf_high"], "conf_high": 1 - point["conf_low"], "note": None,
        }  # fmt: skip
        if point["at_risk"] == 0:
            row |= {
                "risk": np.nan,
                "conf_low": np.nan,
                "conf_high": np.nan,
                "note": "not estimable: nobody is followed that long",
            }
        rows.append(row)
    return pd.DataFrame(rows, columns=list(RISK_COLUMNS)).astype({"note": object})


def log_rank(cohort: OutcomeCohort, spec: Specification) -> pd.DataFrame:
    """Log-rank test over the groups of the score, those not rated left out: statistic, degrees_of_freedom, p_value."""
    from lifelines.statistics import multivariate_logrank_test

    groups = grouped_by_score(cohort, spec)
    rated = groups != "not_rated"
    present = np.unique(groups[rated])
    row: dict[str, object] = {
        "outcome_id": cohort.outcome_id, "grouping": f"{spec.recidivism.grouped_scale}_group", "n": int(rated.sum()),
        "events": int(cohort.event[rated].sum()), "groups": len(present), "statistic": np.nan, "p_value": np.nan, "note": None,
    }  # fmt: skip
    if len(present) < 2 or not row["events"] or (cohort.entry > 0).any():
        row["note"] = "not estimable: fewer than two groups, no events, or late entry"
    else:
        test = multivariate_logrank_test(cohort.duration[rated], groups[rated], cohort.event[rated])
        row |= {"statistic": float(test.test_statistic), "p_value": float(test.p_value)}
    return pd.DataFrame([row], columns=list(LOG_RANK_COLUMNS)).astype({"note": object})


def _kaplan_meier(cohort: OutcomeCohort, mask: np.ndarray, grid: np.ndarray) -> list[dict[str, float]]:
    from lifelines import KaplanMeierFitter

    duration, event, entry = cohort.duration[mask], cohort.event[mask], cohort.entry[mask]
    fitter = KaplanMeierFitter().fit(duration, event, entry=entry if (entry > 0).any() else None)
    timeline = fitter.survival_function_.index.to_numpy()
    at = np.searchsorted(timeline, grid, side="right") - 1
    survival = fitter.survival_function_.to_numpy()[at, 0]
    interval = fitter.confidence_interval_.to_numpy()[at]
    return [
        {
            "n": int(mask.sum()),
            "at_risk": int(((duration >= day) & (entry <= day)).sum()),
            "events": int((event & (duration <= day)).sum()),
            "survival": float(survival[i]),
            "conf_low": float(np.nan_to_num(interval[i, 0], nan=1.0)),
            "conf_high": float(np.nan_to_num(interval[i, 1], nan=1.0)),
        }
        for i, day in enumerate(grid)
    ]
