"""Q2: what goes with a change of the alliance? Multinomial logit of the change pattern, errors clustered by officer.

The likelihood is statsmodels'; the sandwich is made here from its scores, so that small clusters are treated as in Q3.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd

from orchestration.analysis.development import ALL_PAIRS, SAME_OFFICER
from orchestration.analysis.inputs import DAYS_PER_MONTH, Inputs
from orchestration.analysis.specification import Determinants, Predictor, SpecificationError

COLUMNS = (
    "model_id", "rater", "scale", "span", "rule", "pairs", "pattern", "reference", "term", "estimate", "std_error", "conf_low",
    "conf_high", "p_value", "n", "class_count", "reference_count", "incomplete", "cluster", "clusters", "note",
)  # fmt: skip
CONSTANT = "constant"
_RUNAWAY = 15.0  # log odds ratio between the extremes of a predictor


def determinants(inputs: Inputs, spec: Determinants, each: Callable[[], None] | None = None) -> pd.DataFrame:
    """Tidy estimates (`COLUMNS`) for each scale x rule x pairs (all; rated with one officer) x changed pattern x term.

    An odds ratio against the reference pattern is exp(estimate). Clients without a pattern or a predictor are left out and
    counted (`incomplete`). A pattern with fewer than `min_class` clients, or which a predictor separates from the
    reference, is left out of its model, which leaves the others' estimates consistent (Begg & Gray 1984), and kept as rows
    with counts and the reason.
    """
    frame = predictor_frame(inputs, spec)
    change = inputs.alliance_change
    change = change[(change["rater"] == spec.rater) & (change["span"] == spec.span)]
    parts = []
    for rule in spec.rules:
        for scale in spec.scales:
            pairs = change[(change["rule"] == rule) & (change["scale"] == scale)]
            pairs = pairs[["client_id", "pattern", "officer_changed"]].sort_values("client_id", kind="stable")
            from_change = {
                predictor.name: pd.to_numeric(pairs[predictor.column].astype("Float64")).to_numpy(
                    dtype=np.float64, na_value=np.nan
                )
                for predictor in spec.predictors
                if predictor.table == "alliance_change"
            }
            data = (
                pairs[["client_id", "pattern"]]
                .assign(**from_change)
                .merge(frame, on="client_id", how="left", validate="1:1")
            )
            is_same = ~pairs["officer_changed"].astype("boolean").fillna(False).astype(bool).to_numpy()
            for name, part in ((ALL_PAIRS, data), (SAME_OFFICER, data[is_same])):
                rows = _multinomial(part.reset_index(drop=True), spec)
                shared = {"model_id": f"{spec.span}.{spec.rater}.{scale}.{rule}.{name}", "rater": spec.rater, "scale": scale,
                          "span": spec.span, "rule": rule, "pairs": name, "reference": spec.reference, "cluster": spec.cluster}  # fmt: skip
                parts += [{**shared, **row} for row in rows]
                if each is not None:
                    each()
    numbers = ["estimate", "std_error", "conf_low", "conf_high", "p_value"]
    return (
        pd.DataFrame(parts)
        .reindex(columns=list(COLUMNS))
        .astype(dict.fromkeys(numbers, float))
        .astype({"note": object})
    )


def predictor_frame(inputs: Inputs, spec: Determinants) -> pd.DataFrame:
    """One row per rated client: client_id, the predictors known at baseline, and the cluster (officer at T1).

    A dated covariate counts when measured up to `baseline_months` after the start: never a value that change could have
    brought about. `combine: latest` takes the last measured, `any` the largest of each source's last.
    """
    baseline = inputs.alliance_score[inputs.alliance_score["wave"] == spec.span.split("-")[0]]
    officer_of = inputs.dyad.set_index("dyad_id")["officer_id"]
    clients = baseline.assign(**{spec.cluster: baseline["dyad_id"].map(officer_of)})
    clients = clients.sort_values(["client_id", "dyad_id"], kind="stable")
    frame = clients.groupby("client_id", sort=True)[spec.cluster].first().reset_index()
    for predictor in spec.predictors:
        if predictor.table == "officer":
            values = inputs.officer.set_index("officer_id")[predictor.column]
            frame[predictor.name] = frame[spec.cluster].map(values).astype(float)
        elif predictor.table == "covariate":
            frame[predictor.name] = (
                frame["client_id"].map(_at_baseline(inputs.covariate, predictor, spec)).astype(float)
            )
        elif predictor.table != "alliance_change":
            raise SpecificationError(f"predictor {predictor.name}: nothing is known of a table {predictor.table}")
    frame[spec.cluster] = frame[spec.cluster].astype(object).where(frame[spec.cluster].notna(), frame["client_id"])
    return frame


def _at_baseline(covariate: pd.DataFrame, predictor: Predictor, spec: Determinants) -> pd.Series:
    last_day = round(spec.baseline_months * DAYS_PER_MONTH)
    rows = covariate[
        (covariate["name"] == predictor.column) & (covariate["measured_day"] <= last_day) & covariate["value"].notna()
    ]
    rows = rows.sort_values(["client_id", "measured_day", "source"], kind="stable")
    if predictor.combine == "any":
        return rows.groupby(["client_id", "source"])["value"].last().groupby("client_id").max()
    return rows.groupby("client_id")["value"].last()


def _multinomial(data: pd.DataFrame, spec: Determinants) -> list[dict[str, object]]:
    names = [predictor.name for predictor in spec.predictors]
    is_complete = data["pattern"].notna() & data[names].notna().all(axis=1)
    complete = data[is_complete]
    counts = complete["pattern"].value_counts()
    changed = [pattern for pattern in ("improving", "deteriorating", "stable") if pattern != spec.reference]
    large = [pattern for pattern in changed if counts.get(pattern, 0) >= spec.min_class]
    used = complete[complete["pattern"].isin([spec.reference, *large])]
    shared = {
        "n": len(used), "incomplete": int((~is_complete).sum()), "clusters": used[spec.cluster].nunique(),
        "reference_count": int(counts.get(spec.reference, 0)),
    }  # fmt: skip

    def refused(patterns: list[str], terms: list[str], reason: str) -> list[dict[str, object]]:
        return [
            {
                **shared,
                "pattern": pattern,
                "class_count": int(counts.get(pattern, 0)),
                "term": term,
                "note": f"not estimable: {reason}",
            }
            for pattern in patterns
            for term in terms
        ]

    constant = [name for name in names if used[name].nunique() < 2]
    terms = [name for name in names if name not in constant]
    small = refused(
        [pattern for pattern in changed if pattern not in large], names, f"fewer than {spec.min_class} clients"
    )
    if not large or shared["reference_count"] < spec.min_class:
        reason = (
            f"fewer than {spec.min_class} clients are {spec.reference}"
            if large
            else f"fewer than {spec.min_class} clients"
        )
        return refused(changed, names, reason)
    small += refused(large, constant, "the same for everybody, so left out of the model")
    while True:
        used = complete[complete["pattern"].isin([spec.reference, *large])]
        shared |= {"n": len(used), "clusters": used[spec.cluster].nunique()}
        try:
            estimates, covariance = _fit(used, terms, [spec.reference, *large], spec.cluster)
            break
        except _NotEstimable as error:
            small += refused(error.patterns, terms, str(error))
            large = [pattern for pattern in large if pattern not in error.patterns]
            if not large:
                return small
    from scipy import stats

    df = int(shared["clusters"]) - 1
    rows: list[dict[str, object]] = []
    for c, pattern in enumerate(large):
        for k, term in enumerate([CONSTANT, *terms]):
            position = c * (len(terms) + 1) + k
            estimate, std_error = float(estimates[position]), float(np.sqrt(covariance[position, position]))
            half = float(stats.t.ppf(0.975, df)) * std_error
            rows.append(
                {
                    **shared, "pattern": pattern, "class_count": int(counts[pattern]), "term": term, "estimate": estimate,
                    "std_error": std_error, "conf_low": estimate - half, "conf_high": estimate + half,
                    "p_value": float(2 * stats.t.sf(abs(estimate) / std_error, df)), "note": None,
                }
            )  # fmt: skip
    return rows + small


class _NotEstimable(Exception):
    """Patterns whose coefficients run away, or predictors that cannot be told apart; the message is the reason."""

    def __init__(self, patterns: list[str], reason: str):
        self.patterns = patterns
        super().__init__(reason)


def _fit(used: pd.DataFrame, terms: list[str], classes: list[str], cluster: str) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (classes after the first, each: constant and terms) and their clustered covariance."""
    from statsmodels.discrete.discrete_model import MNLogit

    x = np.column_stack([np.ones(len(used)), used[terms].to_numpy(dtype=np.float64)])
    centre, scale = x[:, 1:].mean(axis=0), x[:, 1:].std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    x[:, 1:] = (x[:, 1:] - centre) / scale
    if np.linalg.matrix_rank(x, tol=1e-8 * len(x)) < x.shape[1]:
        raise _NotEstimable(classes[1:], "predictors that cannot be told apart")
    y = used["pattern"].map({name: code for code, name in enumerate(classes)}).to_numpy()
    model = MNLogit(y, x)
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
    label = pd.factorize(used[cluster], sort=True)[0]
    clusters = int(label.max()) + 1
    scores = np.zeros((clusters, inverse.shape[0]))
    np.add.at(scores, label, model.score_obs(beta))
    sandwich = inverse @ (scores.T @ scores) @ inverse * (clusters / max(clusters - 1, 1))
    # Back from standardised predictors: constant' = constant - sum(centre / scale * slope), slope' = slope / scale.
    one = np.diag(np.concatenate([[1.0], 1 / scale]))
    one[0, 1:] = -centre / scale
    back = np.kron(np.eye(len(classes) - 1), one)
    return back @ beta.T.ravel(), back @ sandwich @ back.T
