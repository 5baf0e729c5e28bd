"""One Cox model over imputed data sets: fitted in each, penalised where events are few, pooled. Which models there are, and whose
rows they read, is not known here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestration.analysis import cox
from orchestration.analysis.penalised_cox import fit_many_penalised
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
class DataSets:
    """m imputed data sets of n rows: `values` (m, n, q) by the names in `columns`."""

    columns: tuple[str, ...]
    values: NDArray[np.float64]

    @staticmethod
    def of(imputed: pd.DataFrame) -> DataSets:
        """From data sets below each other, with their number in `imputation`."""
        columns = tuple(str(name) for name in imputed.columns if name != "imputation")
        values = [
            part[list(columns)].to_numpy(dtype=np.float64) for _, part in imputed.groupby("imputation", sort=True)
        ]
        return DataSets(columns, np.stack(values))

    @property
    def m(self) -> int:
        return len(self.values)

    def column(self, name: str) -> NDArray[np.float64]:
        """(m, n) values of one column."""
        return self.values[:, :, self.columns.index(name)]

    def covariates(self, names: Sequence[str]) -> NDArray[np.float64]:
        """(m, n, p) values of the columns named, in that order."""
        return self.values[:, :, [self.columns.index(name) for name in names]]

    def is_constant(self, name: str) -> bool:
        """Whether a column is the same for everybody in every data set."""
        values = self.column(name)
        return bool((np.ptp(values, axis=1) == 0).all()) if values.size else True

    def rows(self, who: NDArray[np.int64]) -> DataSets:
        """The same data sets with other rows: `who` (n',) of those that are there."""
        return DataSets(self.columns, self.values[:, who])

    def first(self, m: int = 1) -> DataSets:
        """The first `m` data sets alone."""
        return DataSets(self.columns, self.values[:m])

    def with_columns(self, added: Mapping[str, NDArray[np.float64]]) -> DataSets:
        """With more columns, each (m, n); one of a name that is there is replaced."""
        kept = [name for name in self.columns if name not in added]
        values = [self.covariates(kept), *(column[:, :, None] for column in added.values())]
        return DataSets((*kept, *added), np.concatenate(values, axis=2))


@dataclass(frozen=True)
class Sample:
    """The rows of one model, the same in every imputed data set: their risk sets (None where there are too few events) and
    the cluster of each row (n,)."""

    sets: cox.RiskSets | None
    events: int
    clusters: NDArray[np.int64]


def pooled_cox(
    sample: Sample, data_sets: DataSets, columns: Mapping[str, str], rules: Rules
) -> dict[str, dict[str, Any]]:
    """Pooled numbers (`NUMBERS`, `method`, `note`) of every term, in the order of `columns` (term -> column of the data sets).

    A model that cannot be estimated gives its terms without numbers, and the reason in `note`. A term that is the same for
    everybody in every data set is left out and named; when it is the first, so is the model.
    """
    terms = tuple(columns)
    if sample.sets is None or sample.events < rules.min_events:
        return not_estimable(terms, f"{sample.events} events, fewer than {rules.min_events}")
    constant = tuple(term for term, column in columns.items() if data_sets.is_constant(column))
    kept = tuple(term for term in terms if term not in constant)
    if terms[0] in constant:
        return not_estimable(terms, f"{terms[0]} is the same for everybody")
    per_parameter = sample.events / len(kept)
    penalised = is_penalised(sample.events, len(kept), rules)
    x = data_sets.covariates([columns[term] for term in kept])
    try:
        fits = fit_each(sample.sets, sample.clusters, x, kept, penalised)
        spread = fits.covariance if fits.robust_covariance is None else fits.robust_covariance
        pooled = pool(fits.coefficients, np.diagonal(spread, axis1=1, axis2=2), complete_df=sample.events - len(kept))
    except (cox.CoxError, PoolingError) as error:
        return not_estimable(terms, str(error))
    found = {
        term: {
            "estimate": pooled.estimate[j], "std_error": pooled.std_error[j], "conf_low": pooled.conf_low[j],
            "conf_high": pooled.conf_high[j], "p_value": pooled.p_value[j], "fraction_missing": pooled.fraction_missing[j],
            "degrees_of_freedom": pooled.degrees_of_freedom[j], "estimate_min": pooled.lowest[j],
            "estimate_max": pooled.highest[j], "events_per_parameter": per_parameter,
            "method": FIRTH if penalised else PARTIAL_LIKELIHOOD, "note": None,
        }
        for j, term in enumerate(kept)
    }  # fmt: skip
    return not_estimable(constant, "the same for everybody, so left out of the model") | found


def fit_each(
    sets: cox.RiskSets,
    clusters: NDArray[np.int64] | None,
    covariates: NDArray[np.float64],
    terms: tuple[str, ...],
    penalised: bool,
) -> cox.CoxFits:
    """The same model on every imputed data set, `covariates` (m, n, p), by the partial likelihood or with Firth's penalty.

    Raises `CoxError` when one of them cannot be fitted: a pooled estimate of the others would be of another population.
    """
    if penalised:
        fits = fit_many_penalised(sets, covariates, terms, clusters)
    else:
        fits = cox.fit_many(sets, covariates, terms=terms, clusters=clusters)
    for number, problem in enumerate(fits.problems, start=1):
        if problem is not None:
            raise cox.CoxError(f"imputation {number}: {problem}") from problem
    return fits


def is_penalised(events: int, terms: int, rules: Rules) -> bool:
    """Whether there are too few events for each term to go without a penalty."""
    return events / terms < rules.min_events_per_parameter


def not_estimable(terms: Sequence[str], reason: str) -> dict[str, dict[str, Any]]:
    """The terms of a model without numbers, and why."""
    return {term: {"note": f"not estimable: {reason}"} for term in terms}
