"""Reads `models.yml` into frozen dataclasses, and makes the columns that it asks for. No model is named here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from orchestration.analysis.imputation import Imputer, Method
from orchestration.analysis.models_file import (
    CovariateEntry,
    DevelopmentEntry,
    Divide,
    Equals,
    PredictorEntry,
    RecidivismEntry,
    ReferenceEntry,
    SpecificationError,
    read_models_file,
)

MODELS = Path(__file__).with_name("models.yml")


@dataclass(frozen=True)
class Covariate:
    """A term of a model: a column of `analysis_cohort`, its transform (and the transform's argument), how it is imputed."""

    name: str
    column: str
    label: str
    transform: str = "identity"
    argument: Any = None
    method: Method | None = None

    @property
    def is_binary(self) -> bool:
        """Whether it is 0 or 1 by what is said of it, whatever the data hold."""
        return self.transform in ("equals", "positive") or self.method == "logistic"

    def of(self, frame: pd.DataFrame) -> pd.Series[Any]:
        """(n,) float values, NaN where not known. Raises `SpecificationError` when the frame lacks the column."""
        if self.column not in frame:
            raise SpecificationError(f"covariate {self.name}: analysis_cohort has no column {self.column}")
        raw = frame[self.column]
        if self.transform == "equals":
            return pd.Series((raw == self.argument).astype(float).where(raw.notna()))
        values: pd.Series[float] = pd.to_numeric(raw.astype(object).where(raw.notna(), np.nan), errors="raise").astype(
            float
        )
        if self.transform == "log1p":
            return pd.Series(np.log1p(values.to_numpy()), index=values.index)
        if self.transform == "positive":
            return (values > 0).astype(float).where(values.notna())
        return values / float(self.argument) if self.transform == "divide" else values


@dataclass(frozen=True)
class Reference:
    """People who are made up, whose risk every fit predicts: by name, scales and columns of `analysis_cohort` before any transform.

    `raters` and `adjustment`: those of the models that predict, None where there are no such people; `largest_change`: of an absolute risk, above which a fit must be signed off.
    """

    raters: tuple[str, ...]
    adjustment: str | None
    largest_change: float
    people: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Recidivism:
    """Q3: which Cox models there are."""

    outcome_roles: tuple[str, ...]
    raters: tuple[str, ...]
    wave: str
    scales: tuple[str, ...]
    exposures: Mapping[str, Mapping[str, str]]
    cluster: str
    ties: Literal["efron", "breslow"]
    min_events: int
    min_events_per_parameter: float
    proportional_level: float
    split_months: float
    adjustments: Mapping[str, tuple[str, ...]]
    grouped_scale: str
    groups: tuple[str, ...]
    pattern_span: str
    pattern_rules: tuple[str, ...]
    risk_months: tuple[int, ...]
    restricted_mean_months: float
    competing_events: tuple[str, ...]
    process_adjustments: tuple[str, ...]
    last_stratum: int
    predicted_raters: tuple[str, ...]
    risk_levels: tuple[float, ...]
    bootstraps: int
    reference: Reference

    @property
    def rater(self) -> str:
        """The rater whose models stand first."""
        return self.raters[0]

    def score(self, rater: str, scale: str) -> str:
        """The column of the score at the wave that the groups and the single-score models are of."""
        return f"{rater}_{scale}_{self.wave}"

    def exposed(self, rater: str, scale: str, exposure: str) -> Mapping[str, str]:
        """Term of the estimates -> column, for one exposure: `trust`, or `trust_trait` and `trust_state`."""
        parts = self.exposures[exposure].items()
        return {scale if name == "score" else f"{scale}_{name}": f"{rater}_{scale}_{part}" for name, part in parts}


@dataclass(frozen=True)
class Development:
    """Q1: the growth models (`structures`: random parts, in the order in which they are tried), and what reliability is low."""

    confidence: float
    low_reliability: float
    min_clients: int
    min_waves: int
    structures: Mapping[str, str]


@dataclass(frozen=True)
class Predictor:
    """A term of the Q2 models: the table that it is in, the covariate that it makes of a column, and how sources are combined.

    `covariate.method` None: never imputed, who lacks it is left out. `is_auxiliary`: in the imputation, not in the models.
    """

    table: str
    covariate: Covariate
    combine: str = "latest"
    is_auxiliary: bool = False

    @property
    def name(self) -> str:
        return self.covariate.name

    @property
    def label(self) -> str:
        return self.covariate.label


@dataclass(frozen=True)
class Determinants:
    """Q2: which multinomial models there are. `known` holds the predictors and what only helps to impute them."""

    raters: tuple[str, ...]
    span: str
    rules: tuple[str, ...]
    scales: tuple[str, ...]
    reference: str
    min_class: int
    baseline_months: float
    cluster: str
    known: tuple[Predictor, ...]

    @property
    def predictors(self) -> tuple[Predictor, ...]:
        return tuple(predictor for predictor in self.known if not predictor.is_auxiliary)

    @property
    def rater(self) -> str:
        """The rater whose models stand first."""
        return self.raters[0]


@dataclass(frozen=True)
class Specification:
    """Everything that `models.yml` says."""

    seed: int
    covariates: Mapping[str, Covariate]
    imputer: Imputer
    few_imputations: int
    largest_rhat: float
    score_columns: tuple[str, ...]
    auxiliary: tuple[str, ...]
    recidivism: Recidivism
    confidence: float
    development: Development
    determinants: Determinants

    def with_imputations(self, m: int) -> Specification:
        return replace(self, imputer=replace(self.imputer, m=m))

    @property
    def imputed_covariates(self) -> tuple[str, ...]:
        """Terms of any adjustment and the auxiliary ones, in the order of `models.yml`."""
        used = {name for names in self.recidivism.adjustments.values() for name in names} | set(self.auxiliary)
        return tuple(name for name in self.covariates if name in used)

    def label(self, term: str) -> str:
        """What a term is called in a report."""
        if term in self.covariates:
            return self.covariates[term].label
        for predictor in self.determinants.predictors:
            if predictor.name == term:
                return predictor.label
        return term.replace("_", " ")


def read_specification(path: Path = MODELS) -> Specification:
    """Read and check a model file. Raises `SpecificationError` with everything that is wrong with it."""
    entries = read_models_file(path)
    q2, imputation = entries.determinants, entries.imputation
    covariates = {name: _covariate(name, entry.column, entry) for name, entry in entries.covariates.items()}
    scores = tuple(
        f"{part.rater}_{scale}_{part.wave}" for part in imputation.scores for scale in entries.recidivism.scales
    )
    methods: dict[str, Method] = dict.fromkeys(scores, imputation.score_method)
    methods |= {name: covariate.method for name, covariate in covariates.items() if covariate.method is not None}
    return Specification(
        seed=entries.seed,
        covariates=covariates,
        imputer=Imputer(methods, m=imputation.m, iterations=imputation.iterations, donors=imputation.donors),
        few_imputations=imputation.few,
        largest_rhat=imputation.largest_rhat,
        score_columns=scores,
        auxiliary=tuple(imputation.auxiliary),
        recidivism=_recidivism(entries.recidivism),
        confidence=entries.development.confidence,
        development=_development(entries.development),
        determinants=Determinants(
            raters=tuple(q2.raters), span=q2.span, rules=tuple(q2.rules), scales=tuple(q2.scales), reference=q2.reference,
            min_class=q2.min_class, baseline_months=q2.baseline_months, cluster=q2.cluster,
            known=tuple(
                Predictor(entry.source, _covariate(name, entry.column or name, entry), entry.combine, bool(is_auxiliary))
                for is_auxiliary, entries_of in enumerate((q2.predictors, q2.auxiliary))
                for name, entry in entries_of.items()
            ),
        ),
    )  # fmt: skip


def states_of(scores: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    """Change since T1 for every rater and scale whose scores of both waves are imputed: column -> (T2 column, T1 column)."""
    later = [column for column in scores if column.endswith("_t2") and f"{column[:-3]}_t1" in scores]
    return {f"{column[:-3]}_state": (column, f"{column[:-3]}_t1") for column in later}


def _covariate(name: str, column: str, entry: CovariateEntry | PredictorEntry) -> Covariate:
    method = None if entry.impute == "never" else entry.impute
    if isinstance(entry.transform, Divide):
        return Covariate(name, column, entry.label, "divide", entry.transform.divide, method)
    if isinstance(entry.transform, Equals):
        return Covariate(name, column, entry.label, "equals", entry.transform.equals, method)
    return Covariate(name, column, entry.label, entry.transform, None, method)


def _reference(entry: ReferenceEntry | None) -> Reference:
    if entry is None:
        return Reference((), None, 1.0, {})
    people = {name: {**entry.everybody, **own} for name, own in entry.people.items()}
    return Reference(tuple(entry.raters), entry.adjustment, entry.largest_change, people)


def _recidivism(entry: RecidivismEntry) -> Recidivism:
    return Recidivism(
        outcome_roles=tuple(entry.outcome_roles), raters=tuple(entry.raters), wave=entry.wave, scales=tuple(entry.scales),
        exposures=entry.exposures, cluster=entry.cluster, ties=entry.ties, min_events=entry.min_events,
        min_events_per_parameter=entry.min_events_per_parameter, proportional_level=entry.proportional_hazards.level,
        split_months=entry.proportional_hazards.split_months,
        adjustments={name: tuple(terms) for name, terms in entry.adjustments.items()},
        grouped_scale=entry.grouped_scale, groups=tuple(entry.groups), pattern_span=entry.patterns.span,
        pattern_rules=tuple(entry.patterns.rules), risk_months=tuple(entry.risk_months),
        restricted_mean_months=entry.restricted_mean_months, competing_events=tuple(entry.competing_events),
        process_adjustments=tuple(entry.processes.adjustments), last_stratum=entry.processes.last_stratum,
        predicted_raters=tuple(entry.prediction.raters), risk_levels=tuple(entry.prediction.levels),
        bootstraps=entry.prediction.bootstraps, reference=_reference(entry.reference),
    )  # fmt: skip


def _development(entry: DevelopmentEntry) -> Development:
    growth = entry.growth
    return Development(
        confidence=entry.confidence, low_reliability=entry.low_reliability, min_clients=growth.min_clients,
        min_waves=growth.min_waves, structures=dict(growth.structures),
    )  # fmt: skip
