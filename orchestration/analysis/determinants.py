"""Q2: what goes with a change of the alliance? Multinomial logit of the change pattern, errors clustered by officer.

The likelihood is statsmodels'; the sandwich is made here from its scores, so that small clusters are treated as in Q3. Average
marginal effects are in `marginal.py`, chained equations in `imputation.py`, Rubin's rules in `pooling.py`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestration.analysis.development import ALL_PAIRS, SAME_OFFICER
from orchestration.analysis.imputation import (
    DIAGNOSTIC_COLUMNS,
    ImputationError,
    Method,
    imputation_diagnostics,
    impute,
)
from orchestration.analysis.inputs import DAYS_PER_MONTH, Inputs
from orchestration.analysis.marginal import average_marginal_effects
from orchestration.analysis.models_file import SpecificationError
from orchestration.analysis.pooling import PoolingError, pool, pool_joint
from orchestration.analysis.specification import Determinants, Predictor, Specification

Array = NDArray[np.float64]

_IDENTITY = ("model_id", "rater", "scale", "span", "rule", "pairs", "missing", "imputations")
_NUMBERS = ("estimate", "std_error", "conf_low", "conf_high", "p_value", "degrees_of_freedom", "fraction_missing", "estimate_min", "estimate_max")  # fmt: skip
COLUMNS = (
    *_IDENTITY, "pattern", "reference", "term", *_NUMBERS, "n", "class_count", "reference_count", "incomplete", "cluster",
    "clusters", "note",
)  # fmt: skip
EFFECT_COLUMNS = (*_IDENTITY, "pattern", "patterns", "term", "kind", *_NUMBERS, "n", "clusters", "note")
TEST_COLUMNS = (
    *_IDENTITY, "patterns", "term", "statistic", "df_numerator", "df_denominator", "p_value", "n", "clusters", "note",
)  # fmt: skip
CONSTANT, ALL_TERMS = "constant", "all"
COMPLETE_CASES, IMPUTED = "complete_cases", "imputed"
_RUNAWAY = 15.0  # log odds ratio between the extremes of a predictor


@dataclass(frozen=True)
class Determined:
    """Log odds ratios (`COLUMNS`), average marginal effects (`EFFECT_COLUMNS`), joint tests of a term (`TEST_COLUMNS`), and
    what was imputed (rater, scale, span, rule, and the columns of `imputation_diagnostics`)."""

    estimates: pd.DataFrame
    effects: pd.DataFrame
    tests: pd.DataFrame
    diagnostics: pd.DataFrame


class _NotEstimable(Exception):
    """Patterns whose coefficients run away, or predictors that cannot be told apart; the message is the reason."""

    def __init__(self, patterns: list[str], reason: str):
        self.patterns = patterns
        super().__init__(reason)


@dataclass(frozen=True)
class _Fit:
    """Coefficients (classes after the first, each: constant and terms), their clustered covariance, and effects of one data set."""

    beta: Array
    covariance: Array
    effects: Array
    effect_variances: Array


def determinants(inputs: Inputs, spec: Specification, seed: int, each: Callable[[], None] | None = None) -> Determined:
    """The multinomial models of `spec.determinants`: rater x scale x rule x pairs (all; rated with one officer).

    An odds ratio against the reference pattern is exp(estimate). Each model stands there three times (`missing`,
    `imputations`): complete cases, and with missing predictors imputed m times and the first few times. Clients without a
    pattern, or without a predictor that is never imputed, are left out and counted (`incomplete`): the pattern is in the
    imputation model, and who lacks it is no source of information on it (von Hippel 2007). A pattern with fewer than
    `min_class` clients, or which a predictor separates from the reference, is left out of its model, which leaves the others'
    estimates consistent (Begg & Gray 1984), and kept as rows with counts and the reason. Student's t with G - 1 degrees of
    freedom, after imputation those of Barnard & Rubin (1999) with G - 1 as the complete-data ones. `tests`: a term over all
    patterns at once, and all terms (Wald F, D1 after imputation).
    """
    rules = spec.determinants
    frame = predictor_frame(inputs, rules)
    change = inputs.alliance_change[inputs.alliance_change["span"] == rules.span]
    rows: list[dict[str, object]] = []
    effects: list[dict[str, object]] = []
    tests: list[dict[str, object]] = []
    diagnostics = []
    for rater in rules.raters:
        for rule in rules.rules:
            for scale in rules.scales:
                is_it = (change["rater"] == rater) & (change["rule"] == rule) & (change["scale"] == scale)
                data, is_same = _rated_twice(change[is_it], frame, rules)
                stem = f"{rules.span}.{rater}.{scale}.{rule}"
                data_sets, reason, seen = _imputed(data, spec, np.random.SeedSequence([seed, *stem.encode()]))
                diagnostics.append(seen.assign(rater=rater, scale=scale, span=rules.span, rule=rule))
                for pairs, chosen in ((ALL_PAIRS, np.ones(len(data), dtype=bool)), (SAME_OFFICER, is_same)):
                    shared = {"rater": rater, "scale": scale, "span": rules.span, "rule": rule, "pairs": pairs}
                    for missing, sample, why in ((IMPUTED, data_sets, reason), (COMPLETE_CASES, [data], None)):
                        counts = _imputation_counts(spec) if missing == IMPUTED else (1,)
                        models = _models([part[chosen] for part in sample], rules, counts, why)
                        for m, one in zip(counts, models, strict=True):
                            names = {
                                **shared, "missing": missing, "imputations": m,
                                "model_id": f"{stem}.{pairs}.{missing}" + (f"_{m}" if missing == IMPUTED else ""),
                            }  # fmt: skip
                            for into, part in zip((rows, effects, tests), one, strict=True):
                                into.extend({**names, **row} for row in part)
                    if each is not None:
                        each()
    return Determined(
        _tidy(rows, COLUMNS, _NUMBERS, {"reference": rules.reference, "cluster": rules.cluster}),
        _tidy(effects, EFFECT_COLUMNS, _NUMBERS),
        _tidy(tests, TEST_COLUMNS, ("statistic", "df_numerator", "df_denominator", "p_value")),
        pd.concat([pd.DataFrame(), *(part for part in diagnostics if len(part))], ignore_index=True).reindex(
            columns=["rater", "scale", "span", "rule", *DIAGNOSTIC_COLUMNS]
        ),
    )


def _imputation_counts(spec: Specification) -> tuple[int, ...]:
    """All imputations, and the first few of them where there are more."""
    m, few = spec.imputer.m, spec.few_imputations
    return (m, few) if few < m else (m,)


def _tidy(
    rows: list[dict[str, object]],
    columns: tuple[str, ...],
    numbers: tuple[str, ...],
    shared: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    frame = pd.DataFrame(rows).assign(**(shared or {})).reindex(columns=list(columns))
    return frame.astype(dict.fromkeys(numbers, float)).astype({"note": object})


def predictor_frame(inputs: Inputs, spec: Determinants) -> pd.DataFrame:
    """One row per rated client: client_id, what is known at baseline, and the cluster (officer at T1, whoever rated).

    A dated covariate counts when measured up to `baseline_months` after the start: never a value that change could have
    brought about. `combine: latest` takes the last measured, `any` the largest of each source's last. What is said of
    the client (organisation, registered cases before the index supervision) was so at the start.
    """
    baseline = inputs.alliance_score[inputs.alliance_score["wave"] == spec.span.split("-")[0]]
    officer_of = inputs.dyad.set_index("dyad_id")["officer_id"]
    clients = baseline.assign(**{spec.cluster: baseline["dyad_id"].map(officer_of)})
    clients = clients.sort_values(["client_id", "dyad_id"], kind="stable")
    frame = clients.groupby("client_id", sort=True)[spec.cluster].first().reset_index()
    for predictor in spec.known:
        column = predictor.covariate.column
        if predictor.table == "officer":
            values = frame[spec.cluster].map(inputs.officer.set_index("officer_id")[column])
        elif predictor.table == "client":
            values = frame["client_id"].map(inputs.client.set_index("client_id")[column])
        elif predictor.table == "covariate":
            values = frame["client_id"].map(_at_baseline(inputs.covariate, predictor, spec))
        elif predictor.table == "alliance_change":
            continue
        else:
            raise SpecificationError(f"predictor {predictor.name}: nothing is known of a table {predictor.table}")
        frame[predictor.name] = predictor.covariate.of(values.to_frame(column)).astype(float)
    frame[spec.cluster] = frame[spec.cluster].astype(object).where(frame[spec.cluster].notna(), frame["client_id"])
    return frame


def _at_baseline(covariate: pd.DataFrame, predictor: Predictor, spec: Determinants) -> pd.Series:
    last_day = round(spec.baseline_months * DAYS_PER_MONTH)
    is_known = (covariate["measured_day"] <= last_day) & covariate["value"].notna()
    rows = covariate[(covariate["name"] == predictor.covariate.column) & is_known]
    rows = rows.sort_values(["client_id", "measured_day", "source"], kind="stable")
    if predictor.combine == "any":
        return rows.groupby(["client_id", "source"])["value"].last().groupby("client_id").max()
    return rows.groupby("client_id")["value"].last()


def _rated_twice(
    change: pd.DataFrame, frame: pd.DataFrame, spec: Determinants
) -> tuple[pd.DataFrame, NDArray[np.bool_]]:
    """One row per client of one rater, scale and rule: pattern, baseline, predictors and cluster; and who kept the officer."""
    pairs = change.sort_values("client_id", kind="stable")
    from_change = {
        predictor.name: predictor.covariate.of(pairs).to_numpy(dtype=np.float64)
        for predictor in spec.known
        if predictor.table == "alliance_change"
    }
    data = pairs[["client_id", "pattern", "baseline"]].assign(**from_change)
    data = data.merge(frame, on="client_id", how="left", validate="1:1")
    is_same = ~pairs["officer_changed"].astype("boolean").fillna(False).astype(bool).to_numpy()
    return data, is_same


def _imputed(
    data: pd.DataFrame, spec: Specification, seed: np.random.SeedSequence
) -> tuple[list[pd.DataFrame], str | None, pd.DataFrame]:
    """The data m times with the predictors of the rated clients imputed, and the diagnostics; where that cannot be, as they are
    and the reason. An auxiliary that nobody has is left out."""
    known = spec.determinants.known
    needed = [predictor.name for predictor in known if predictor.covariate.method is None]
    rated = data.index[data["pattern"].notna() & data[needed].notna().all(axis=1)]
    part = data.loc[rated]
    nothing = pd.DataFrame(columns=list(DIAGNOSTIC_COLUMNS))
    if not len(part):
        return [data] * spec.imputer.m, None, nothing
    names = [
        predictor.name for predictor in known if not (predictor.is_auxiliary and part[predictor.name].isna().all())
    ]
    methods: dict[str, Method] = {
        predictor.name: predictor.covariate.method for predictor in known if predictor.covariate.method is not None
    }
    changed = [name for name in ("improving", "deteriorating", "stable") if name != spec.determinants.reference]
    columns = part[names].assign(
        **{f"is_{name}": (part["pattern"] == name).astype(float) for name in changed},
        baseline=part["baseline"].astype(float),
    )
    columns = columns.reset_index(drop=True)
    imputer = replace(spec.imputer, methods={**methods, "baseline": "normal"})
    traces: list[pd.DataFrame] = []
    try:
        stacked = impute(columns, imputer, seed, record=traces.append)
    except ImputationError as error:
        return [data] * spec.imputer.m, str(error), nothing
    sets = []
    for _, one in stacked.groupby("imputation", sort=True):
        filled = data.copy()
        filled.loc[rated, names] = one[names].to_numpy()
        sets.append(filled)
    return sets, None, imputation_diagnostics(columns, stacked, traces[0], imputer, spec.largest_rhat)


Rows = list[dict[str, object]]
Model = tuple[Rows, Rows, Rows]


def _models(
    data_sets: list[pd.DataFrame], spec: Determinants, counts: tuple[int, ...], reason: str | None
) -> list[Model]:
    """Rows of estimates, effects and tests of one model, pooled over the first `counts` of its data sets, which differ in
    imputed predictors only. `reason`: why nothing could be imputed."""
    names = [predictor.name for predictor in spec.predictors]
    first = data_sets[0]
    is_complete = (first["pattern"].notna() & first[names].notna().all(axis=1)).to_numpy()
    pattern = first.loc[is_complete, "pattern"].to_numpy(dtype=object)
    cluster = pd.factorize(first.loc[is_complete, spec.cluster], sort=True)[0]
    values = [part.loc[is_complete, names].to_numpy(dtype=np.float64) for part in data_sets]
    size_of = {name: int((pattern == name).sum()) for name in ("improving", "deteriorating", "stable")}
    changed = [name for name in size_of if name != spec.reference]
    large = [name for name in changed if size_of[name] >= spec.min_class]

    def shared(patterns: list[str]) -> dict[str, object]:
        is_used = np.isin(pattern, [spec.reference, *patterns])
        return {
            "incomplete": int((~is_complete).sum()), "reference_count": size_of[spec.reference], "n": int(is_used.sum()),
            "clusters": len(np.unique(cluster[is_used])),
        }  # fmt: skip

    def refused(patterns: list[str], terms: list[str], why: str) -> Rows:
        note = f"not estimable: {why}"
        return [
            {**shared(large), "pattern": name, "class_count": size_of[name], "term": term, "note": note}
            for name in patterns
            for term in terms
        ]

    def nothing(rows: Rows, why: str) -> Model:
        bare = {name: value for name, value in shared(large).items() if name in ("n", "clusters")}
        bare["note"] = f"not estimable: {why}"
        return (
            rows,
            [{**bare, "term": term} for term in names],
            [{**bare, "term": term} for term in (*names, ALL_TERMS)],
        )

    if reason is not None:
        return [nothing(refused(changed, names, reason), reason)] * len(counts)
    if not large or size_of[spec.reference] < spec.min_class:
        why = f"fewer than {spec.min_class} clients" + (f" are {spec.reference}" if large else "")
        return [nothing(refused(changed, names, why), why)] * len(counts)
    small = refused([name for name in changed if name not in large], names, f"fewer than {spec.min_class} clients")
    is_used = np.isin(pattern, [spec.reference, *large])
    varies = np.array([any(np.ptp(x[is_used, k]) > 0 for x in values) for k in range(len(names))])
    terms = [name for name, free in zip(names, varies, strict=True) if free]
    constant = [name for name in names if name not in terms]
    small += refused(large, constant, "the same for everybody, so left out of the model")
    while True:
        classes = [spec.reference, *large]
        is_used = np.isin(pattern, classes)
        code = np.array([classes.index(name) for name in pattern[is_used]])
        try:
            fits = [_fit(x[is_used][:, varies], code, cluster[is_used], classes) for x in values]
            break
        except _NotEstimable as error:
            small += refused(error.patterns, terms, str(error))
            large = [name for name in large if name not in error.patterns]
            if not large:
                return [nothing(small, str(error))] * len(counts)
    is_binary = [
        bool(np.isin(np.stack([x[is_used, k] for x in values]), (0.0, 1.0)).all()) for k in np.flatnonzero(varies)
    ]
    kinds = ["difference 1 - 0" if binary else "per unit" for binary in is_binary]
    common = shared(large)
    size = {"n": common["n"], "clusters": common["clusters"], "patterns": " ".join(classes), "note": None}
    df = float(len(np.unique(cluster[is_used])) - 1)
    width = len(terms) + 1
    places = {term: [c * width + 1 + k for c in range(len(large))] for k, term in enumerate(terms)}
    places[ALL_TERMS] = [place for several in places.values() for place in several]
    models: list[Model] = []
    for m in counts:
        try:
            numbers = _inference([fit.beta for fit in fits[:m]], [np.diag(fit.covariance) for fit in fits[:m]], df)
            margins = _inference([fit.effects for fit in fits[:m]], [fit.effect_variances for fit in fits[:m]], df)
        except PoolingError as error:
            models.append(nothing(refused(large, terms, str(error)) + small, str(error)))
            continue
        estimates = [
            {
                **common,
                "pattern": name,
                "class_count": size_of[name],
                "term": term,
                "note": None,
                **numbers[c * width + k],
            }
            for c, name in enumerate(large)
            for k, term in enumerate([CONSTANT, *terms])
        ]
        effects = [
            {**size, "pattern": name, "term": term, "kind": kinds[k], **margins[c * len(terms) + k]}
            for c, name in enumerate(classes)
            for k, term in enumerate(terms)
        ]
        tests = [{**size, "term": term, **_joint(fits[:m], where, df)} for term, where in places.items()]
        models.append((estimates + small, effects, tests))
    return models


def _inference(estimates: list[Array], variances: list[Array], df: float) -> list[dict[str, object]]:
    """One dictionary of `_NUMBERS` per parameter: Student's t on `df` for one data set, Rubin's rules for several."""
    from scipy import stats

    if len(estimates) == 1:
        if not (np.isfinite(variances[0]).all() and (variances[0] > 0).all() and df > 0):
            raise PoolingError("a variance is not positive")
        error = np.sqrt(variances[0])
        half = float(stats.t.ppf(0.975, df)) * error
        p_values = 2 * stats.t.sf(np.abs(estimates[0]) / error, df)
        columns = (estimates[0], error, estimates[0] - half, estimates[0] + half, p_values, np.full(len(error), df), np.zeros(len(error)), estimates[0], estimates[0])  # fmt: skip
    else:
        pooled = pool(estimates, variances, complete_df=df)
        columns = (pooled.estimate, pooled.std_error, pooled.conf_low, pooled.conf_high, pooled.p_value, pooled.degrees_of_freedom, pooled.fraction_missing, pooled.lowest, pooled.highest)  # fmt: skip
    return [dict(zip(_NUMBERS, map(float, values), strict=True)) for values in zip(*columns, strict=True)]


def _joint(fits: list[_Fit], places: list[int], df: float) -> dict[str, object]:
    try:
        test = pool_joint(
            [fit.beta[places] for fit in fits], [fit.covariance[np.ix_(places, places)] for fit in fits], df
        )
    except PoolingError as error:
        return {"note": f"not estimable: {error}"}
    return {
        "statistic": test.statistic, "df_numerator": test.df_numerator, "df_denominator": test.df_denominator,
        "p_value": test.p_value,
    }  # fmt: skip


def _fit(raw: Array, code: NDArray[np.intp], cluster: NDArray[np.intp], classes: list[str]) -> _Fit:
    """One data set: predictors (n, p), class and cluster of each row. Raises `_NotEstimable`."""
    from statsmodels.discrete.discrete_model import MNLogit

    x = np.column_stack([np.ones(len(raw)), raw])
    centre, scale = x[:, 1:].mean(axis=0), x[:, 1:].std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    x[:, 1:] = (x[:, 1:] - centre) / scale
    if np.linalg.matrix_rank(x, tol=1e-8 * len(x)) < x.shape[1]:
        raise _NotEstimable(classes[1:], "predictors that cannot be told apart")
    model = MNLogit(code, x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what statsmodels would warn of is looked at here
        # Newton moves a runaway coefficient by about one in an iteration, so that 30 show it before anything overflows.
        fit = model.fit(method="newton", tol=1e-10, maxiter=30, disp=False, skip_hessian=True)
        beta = np.asarray(fit.params)
    reach = np.ptp(x[:, 1:], axis=0)
    is_runaway = ~np.isfinite(beta).all(axis=0) | (np.abs(beta[1:]) * reach[:, None] > _RUNAWAY).any(axis=0)
    if is_runaway.any():
        patterns = [name for name, hit in zip(classes[1:], is_runaway, strict=True) if hit]
        raise _NotEstimable(patterns, "the likelihood has no maximum (quasi-separation)")
    if not fit.mle_retvals["converged"]:
        raise _NotEstimable(classes[1:], "the likelihood did not converge")
    inverse = np.linalg.inv(-model.hessian(beta))
    label = np.unique(cluster, return_inverse=True)[1]
    clusters = int(label.max()) + 1
    scores = np.zeros((clusters, inverse.shape[0]))
    np.add.at(scores, label, model.score_obs(beta))
    sandwich = inverse @ (scores.T @ scores) @ inverse * (clusters / max(clusters - 1, 1))
    # Back from standardised predictors: constant' = constant - sum(centre / scale * slope), slope' = slope / scale.
    one = np.diag(np.concatenate([[1.0], 1 / scale]))
    one[0, 1:] = -centre / scale
    back = np.kron(np.eye(len(classes) - 1), one)
    coefficients, covariance = back @ beta.T.ravel(), back @ sandwich @ back.T
    effects, gradient = average_marginal_effects(coefficients.reshape(len(classes) - 1, -1), raw)
    return _Fit(coefficients, covariance, effects, np.einsum("ij,jk,ik->i", gradient, covariance, gradient))
