"""One Cox model over imputed data sets: fitted in each, penalised where events are few, pooled. Which models there are, and whose
rows they read, is not known here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestration.analysis import cox
from orchestration.analysis.pooling import PoolingError, pool

PARTIAL_LIKELIHOOD, FIRTH = "partial likelihood", "Firth"
NUMBERS = (
    "estimate", "std_error", "conf_low", "conf_high", "p_value", "fraction_missing", "degrees_of_freedom", "estimate_min",
    "estimate_max", "events_per_parameter",
)  # fmt: skip


@dataclass(frozen=True)
class Rules:
    """What makes a model too small: fewer than `min_events` events, and it is refused; fewer than
    `min_events_per_parameter` for each term, and it is penalised."""

    min_events: int
    min_events_per_parameter: float


@dataclass(frozen=True)
class Sample:
    """The rows of one model, the same in every imputed data set: their risk sets (None where there are too few events) and
    the cluster of each row (n,)."""

    sets: cox.RiskSets | None
    events: int
    clusters: NDArray[np.int64]


def pooled_cox(
    sample: Sample, data_sets: Sequence[pd.DataFrame], columns: dict[str, str], rules: Rules
) -> dict[str, dict[str, Any]]:
    """Pooled numbers (`NUMBERS`, `method`, `note`) of every term, in the order of `columns` (term -> column of the data sets).

    A model that cannot be estimated gives its terms without numbers, and the reason in `note`. A term that is the same for
    everybody in every data set is left out and named; when it is the first, so is the model.
    """
    terms = tuple(columns)
    if sample.sets is None or sample.events < rules.min_events:
        return not_estimable(terms, f"{sample.events} events, fewer than {rules.min_events}")
    values = {
        term: [frame[column].to_numpy(dtype=np.float64) for frame in data_sets] for term, column in columns.items()
    }
    constant = tuple(term for term in terms if all(np.ptp(one) == 0 for one in values[term]))
    kept = tuple(term for term in terms if term not in constant)
    if terms[0] in constant:
        return not_estimable(terms, f"{terms[0]} is the same for everybody")
    per_parameter = sample.events / len(kept)
    penalised = is_penalised(sample.events, len(kept), rules)
    try:
        fits = fit_each(
            sample.sets,
            sample.clusters,
            [np.column_stack([values[term][i] for term in kept]) for i in range(len(data_sets))],
            kept,
            penalised,
        )
        pooled = pool(
            [fit.coefficients for fit in fits],
            [np.diag(fit.variance) for fit in fits],
            complete_df=sample.events - len(kept),
        )
    except (cox.CoxError, PoolingError) as error:
        return not_estimable(terms, str(error))
    found = {
        term: {
            "estimate": pooled.estimate[j], "std_error": pooled.std_error[j], "conf_low": pooled.conf_low[j],
            "conf_high": pooled.conf_high[j], "p_value": pooled.p_value[j], "fraction_missing": pooled.fraction_missing[j],
            "degrees_of_freedom": pooled.degrees_of_freedom[j], "estimate_min": pooled.lowest[j],
            "estimate_max": pooled.highest[j], "events_per_parameter": per_parameter, "method": FIRTH if penalised else PARTIAL_LIKELIHOOD, "note": None,
        }
        for j, term in enumerate(kept)
    }  # fmt: skip
    return not_estimable(constant, "the same for everybody, so left out of the model") | found


def fit_each(
    sets: cox.RiskSets,
    clusters: NDArray[np.int64],
    covariates: Sequence[NDArray[np.float64]],
    terms: tuple[str, ...],
    penalised: bool,
) -> list[cox.CoxFit]:
    """The same model on every imputed data set ((n, p) arrays). Raises `CoxError` as soon as one cannot be fitted."""
    fits = []
    for number, x in enumerate(covariates, start=1):
        try:
            fits.append(fit_once(sets, x, terms, clusters, penalised))
        except cox.CoxError as error:
            raise cox.CoxError(f"imputation {number}: {error}") from error
    return fits


def fit_once(
    sets: cox.RiskSets,
    x: NDArray[np.float64],
    terms: tuple[str, ...],
    clusters: NDArray[np.int64] | None,
    penalised: bool,
) -> cox.CoxFit:
    """One fit, by the partial likelihood or with Firth's penalty. Raises `CoxError`."""
    return cox.fit_on(sets, x, terms=terms, clusters=clusters)


def is_penalised(events: int, terms: int, rules: Rules) -> bool:
    """Whether there are too few events for each term to go without a penalty."""
    return events / terms < rules.min_events_per_parameter


def not_estimable(terms: Sequence[str], reason: str) -> dict[str, dict[str, Any]]:
    """The terms of a model without numbers, and why."""
    return {term: {"note": f"not estimable: {reason}"} for term in terms}
