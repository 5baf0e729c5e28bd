"""Q3: is the alliance related to recidivism? The cohort of an outcome, its imputed data, and the grid of Cox models.

Frames in, tidy frames out. The models are those of `models.yml`, the partial likelihood is that of `cox.py`. Curves are in
`group_curves.py`; time-varying scores, detention as a state and recurrent events each have a module of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from orchestration.analysis import cox
from orchestration.analysis.imputation import CUMULATIVE_HAZARD, EVENT, Hint, impute, nelson_aalen
from orchestration.analysis.pooled_cox import NUMBERS, DataSets, Rules, Sample, pooled_cox
from orchestration.analysis.specification import Specification, states_of

ESTIMATE_COLUMNS = (
    "model_id", "outcome_id", "rater", "scale", "exposure", "adjustment", "term", "estimate", "std_error", "conf_low",
    "conf_high", "p_value", "n", "events", "events_per_parameter", "method", "imputations", "fraction_missing", "cluster",
    "clusters", "degrees_of_freedom", "estimate_min", "estimate_max", "note",
)  # fmt: skip
AGREEMENT_COLUMNS = ("model_id", "largest_coefficient_difference", "largest_error_difference", "agrees", "note")
# lifelines also stops when half the Newton decrement is below `precision`: at 1e-14 the last step may still be 1e-7.
_TIGHT = {"precision": 1e-20, "r_precision": 1e-20}
TIMES = ("entry_days", "duration_days")


@dataclass(frozen=True)
class OutcomeCohort:
    """Those who are followed up for one outcome definition: n rows of times, covariates (missing as NaN) and clusters.

    `covariates` has the columns that are imputed, in a fixed order; `entry` and `duration` are days on the clock at risk;
    `exit_reason` says how follow-up ended, as in `followup`.
    """

    outcome_id: str
    client: np.ndarray
    entry: np.ndarray
    duration: np.ndarray
    event: np.ndarray
    exit_reason: np.ndarray
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
        exit_reason=rows["exit_reason"].to_numpy(dtype=object),
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
    """m data sets, stacked: `imputation`, then the covariates, and the change since T1 where both scores are imputed.

    The outcome is among the predictors, and taken out again. The change is the difference of the two imputed scores, not
    imputed for itself, so that the three always agree (passive imputation; van Buuren 2018, section 6.4).
    """
    outcome = pd.DataFrame(
        {
            EVENT: cohort.event.astype(float),
            CUMULATIVE_HAZARD: nelson_aalen(cohort.duration, cohort.event, cohort.entry),
        }
    )
    stacked = impute(pd.concat([cohort.covariates, outcome], axis=1), spec.imputer, seed, hints, record)
    changes = {name: stacked[later] - stacked[first] for name, (later, first) in states_of(spec.score_columns).items()}
    return stacked.drop(columns=[EVENT, CUMULATIVE_HAZARD]).assign(**changes)


@dataclass(frozen=True)
class Model:
    """One model of the grid. `exposed` and `columns`: term of the estimates -> column of the imputed data, the alliance first."""

    rater: str
    scale: str
    exposure: str
    adjustment: str
    exposed: Mapping[str, str]
    columns: Mapping[str, str]

    def named(self, outcome_id: str) -> str:
        """The model_id; the exposure that is a single score goes without saying."""
        parts = [outcome_id, self.rater, self.scale, self.exposure, self.adjustment]
        return ".".join(part for part in parts if part != "score")


def models(spec: Specification) -> list[Model]:
    """The grid of `models.yml`: rater x scale x exposure x adjustment."""
    rules = spec.recidivism
    return [
        Model(rater, scale, exposure, adjustment, exposed, {**exposed, **{term: term for term in terms}})
        for rater in rules.raters
        for scale in rules.scales
        for exposure in rules.exposures
        for exposed in (rules.exposed(rater, scale, exposure),)
        for adjustment, terms in rules.adjustments.items()
    ]


def sample_of(cohort: OutcomeCohort, spec: Specification) -> Sample:
    """What all models of an outcome share. Too few events for any of them: no risk sets."""
    sets = cohort.risk_sets(spec.recidivism.ties) if cohort.events >= spec.recidivism.min_events else None
    return Sample(sets, cohort.events, np.unique(cohort.cluster, return_inverse=True)[1].astype(np.int64))


def rules_of(spec: Specification) -> Rules:
    """The limits of `models.yml` below which a model is refused or penalised."""
    return Rules(spec.recidivism.min_events, spec.recidivism.min_events_per_parameter)


def estimates_of(
    cohort: OutcomeCohort, imputed: pd.DataFrame, spec: Specification, each: Callable[[], None] | None = None
) -> pd.DataFrame:
    """Tidy estimates (`ESTIMATE_COLUMNS`) of every model of one outcome. `each` is called after each model.

    A hazard ratio is exp(estimate). A model that cannot be estimated keeps its rows, without numbers and with the reason.
    """
    sample, data_sets, rules = sample_of(cohort, spec), DataSets.of(imputed), rules_of(spec)
    rows: list[dict[str, object]] = []
    for model in models(spec):
        shared = shared_by(cohort, model, spec, data_sets.m)
        for term, numbers in pooled_cox(sample, data_sets, model.columns, rules).items():
            rows.append({**shared, "term": term, **numbers})
        if each is not None:
            each()
    return tidy(rows)


def shared_by(cohort: OutcomeCohort, model: Model, spec: Specification, imputations: int) -> dict[str, object]:
    """What every term of a model says of itself in the estimates."""
    return {
        "model_id": model.named(cohort.outcome_id), "outcome_id": cohort.outcome_id, "rater": model.rater,
        "scale": model.scale, "exposure": model.exposure, "adjustment": model.adjustment, "n": cohort.n,
        "events": cohort.events, "imputations": imputations, "cluster": spec.recidivism.cluster,
        "clusters": len(np.unique(cohort.cluster)),
    }  # fmt: skip


def tidy(rows: list[dict[str, object]]) -> pd.DataFrame:
    """Rows of estimates as a frame with `ESTIMATE_COLUMNS`."""
    frame = pd.DataFrame(rows).reindex(columns=list(ESTIMATE_COLUMNS))
    return frame.astype(dict.fromkeys(NUMBERS, float)).astype({"note": object, "method": object})


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
    for model in models(spec):
        kept = [column for column in model.columns.values() if first[column].nunique() > 1]
        row: dict[str, object] = {"model_id": model.named(cohort.outcome_id)}
        if cohort.events < rules.min_events or not kept:
            rows.append({**row, "agrees": None, "note": f"not estimable: {cohort.events} events, {len(kept)} terms"})
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
