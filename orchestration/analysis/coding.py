"""What one of each term means: the column and transform behind a coefficient, its unit and reference, and where its mean lies.

Read off `models.yml` and the data that a fit was made from, so that a coefficient is never kept without its coding. No row here
is one person's.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from orchestration.analysis.determinants import predictor_frame
from orchestration.analysis.inputs import Inputs
from orchestration.analysis.recidivism import OutcomeCohort, models
from orchestration.analysis.specification import Covariate, Specification, states_of

_OF_A_TERM = ("term", "column", "transform", "unit", "reference", "levels", "imputed_by", "known", "mean")
COLUMNS = ("outcome_id", "part", "name", "rater", *_OF_A_TERM)
DETERMINANT_COLUMNS = ("part", "source", "combine", *_OF_A_TERM)
# What says that a term means what it meant; how many are known and their mean move with every new person.
MEANING = ("column", "transform", "unit", "reference", "levels", "imputed_by")
EXPOSURE, ADJUSTMENT, AUXILIARY = "exposure", "adjustment", "auxiliary"


def coding_of(cohort: OutcomeCohort, imputed: pd.DataFrame, spec: Specification) -> pd.DataFrame:
    """The coding of every term of one outcome of Q3 (`COLUMNS`), by the part of the models that it stands in.

    part and name: exposure (with its rater), adjustment, or auxiliary (in the imputation alone). `unit`: what one of the term
    is. `reference`: what a 0/1 term is compared with; another term has none, its hazard ratio is for one unit. `levels`: the
    values of a 0/1 term that somebody has. `known`: clients of whom it is known. `mean`: over clients and imputations; where
    the baseline hazard of predicted risks stands.
    """
    states = states_of(spec.score_columns)
    rows: list[dict[str, object]] = []
    for rater, exposure, term, column in dict.fromkeys(
        (model.rater, model.exposure, term, column) for model in models(spec) for term, column in model.exposed.items()
    ):
        named = {"part": EXPOSURE, "name": exposure, "rater": rater, "term": term, "column": column}
        if column in states:
            later, first = states[column]
            known = cohort.covariates[later] - cohort.covariates[first]
            said = {"transform": f"{later} - {first}", "imputed_by": "difference of the imputed scores"}
        else:
            known, said = (
                cohort.covariates[column],
                {"transform": "identity", "imputed_by": spec.imputer.methods[column]},
            )
        rows.append({**named, **said, "unit": "1 point", **_seen(known, imputed[column])})
    parts = {(ADJUSTMENT, name): terms for name, terms in spec.recidivism.adjustments.items()}
    for (part, name), terms in {**parts, (AUXILIARY, AUXILIARY): spec.auxiliary}.items():
        for term in terms:
            own = {"part": part, "name": name, "rater": None, "term": term}
            rows.append({**own, **_of_covariate(spec.covariates[term], cohort.covariates[term], imputed[term])})
    return _tidy(rows, COLUMNS, {"outcome_id": cohort.outcome_id})


def determinant_coding(inputs: Inputs, spec: Specification) -> pd.DataFrame:
    """The coding of every term of Q2 (`DETERMINANT_COLUMNS`): `source` is its table, `combine` how several values become one.

    Levels, known and mean are of those whose change was looked at, before anything is imputed; else as in `coding_of`.
    """
    rules = spec.determinants
    frame = predictor_frame(inputs, rules)
    change = inputs.alliance_change[inputs.alliance_change["span"] == rules.span]
    rows: list[dict[str, object]] = []
    for predictor in rules.known:
        if predictor.table == "alliance_change":
            values = predictor.covariate.of(change.groupby("client_id", sort=True).first())
        else:
            values = frame[predictor.name]
        named = {
            "part": AUXILIARY if predictor.is_auxiliary else "predictor", "source": predictor.table,
            "combine": predictor.combine if predictor.table == "covariate" else None, "term": predictor.name,
        }  # fmt: skip
        rows.append({**named, **_of_covariate(predictor.covariate, values, values)})
    return _tidy(rows, DETERMINANT_COLUMNS, {})


def changed_meaning(now: pd.DataFrame, before: pd.DataFrame) -> list[str]:
    """Terms of both whose coding (`MEANING`) differs, by name: a level that is gone, another unit, another imputation."""
    key = [name for name in ("outcome_id", "part", "name", "rater", "term") if name in now]
    filled = [
        frame[[*key, *MEANING]].astype(object).where(frame[[*key, *MEANING]].notna(), "") for frame in (now, before)
    ]
    both = filled[0].merge(filled[1], on=key, suffixes=("", "_before"))
    differs = np.zeros(len(both), dtype=bool)
    for column in MEANING:
        differs |= (both[column] != both[f"{column}_before"]).to_numpy(dtype=bool)
    return sorted(set(both.loc[differs, "term"]))


def _of_covariate(covariate: Covariate, known: pd.Series, imputed: pd.Series) -> dict[str, object]:
    transform, argument, column = covariate.transform, covariate.argument, covariate.column
    has_two = covariate.is_binary or set(known.dropna().unique()) == {0.0, 1.0}
    number = f"{argument:g}" if isinstance(argument, float) else str(argument)
    unit = {
        "equals": f"{column} is {argument}", "positive": f"{column} above 0", "log1p": f"1 of log(1 + {column})",
        "divide": f"{number} of {column}", "identity": f"{column} is 1" if has_two else f"1 of {column}",
    }[transform]  # fmt: skip
    reference = {"equals": f"{column} is another", "positive": f"{column} is 0"}.get(transform, f"{column} is 0")
    return {
        "column": column,
        "transform": transform if argument is None else f"{transform} {number}",
        "unit": unit,
        "imputed_by": covariate.method or "never",
        **_seen(known, imputed, reference if has_two else None),
    }


def _seen(known: pd.Series, imputed: pd.Series, reference: str | None = None) -> dict[str, object]:
    """What the data say of a term; levels only of one that has a reference, since other values may be one person's."""
    levels = None if reference is None else ", ".join(f"{value:g}" for value in sorted(known.dropna().unique()))
    return {"reference": reference, "levels": levels, "known": int(known.notna().sum()), "mean": imputed.mean()}


def _tidy(rows: list[dict[str, object]], columns: tuple[str, ...], shared: dict[str, str]) -> pd.DataFrame:
    texts = [name for name in columns if name not in ("known", "mean")]
    frame = pd.DataFrame(rows).assign(**shared).reindex(columns=list(columns))
    return frame.astype({**dict.fromkeys(texts, object), "known": "int64", "mean": float})
