"""Q1: client and officer side by side: how far their ratings agree at each wave, and whether they converge. Frames in, tidy frames out."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestration.analysis.development import ALL_PAIRS, SAME_OFFICER, with_officer
from orchestration.analysis.inputs import DAYS_PER_MONTH

Array = NDArray[np.float64]

AGREEMENT_COLUMNS = (
    "scale", "wave", "pairs", "n", "officers", "pearson", "pearson_low", "pearson_high", "icc_agreement",
    "icc_agreement_low", "icc_agreement_high", "icc_consistency", "icc_consistency_low", "icc_consistency_high",
    "client_mean", "officer_mean", "mean_difference", "std_error", "conf_low", "conf_high", "sd_difference", "limit_low",
    "limit_high", "limit_std_error", "pearson_clustered_low", "pearson_clustered_high", "icc_agreement_clustered_low",
    "icc_agreement_clustered_high", "icc_consistency_clustered_low", "icc_consistency_clustered_high", "note",
)  # fmt: skip
CONVERGENCE_COLUMNS = (
    "model_id", "scale", "pairs", "measure", "term", "estimate", "std_error", "conf_low", "conf_high", "p_value", "n",
    "clients", "clusters", "note",
)  # fmt: skip
MEASURES = ("difference", "absolute_difference", "squared_difference")
_MIN_PAIRS = 4  # Fisher's z needs more than three
_MIN_CLUSTERS = 3  # a line leaves nothing to two


def rated_pairs(alliance_score: pd.DataFrame, wave: pd.DataFrame, dyad: pd.DataFrame) -> pd.DataFrame:
    """One row per supervision x wave x scale that both rated: client_id, client, officer (scores), months (middle of the two
    days), rated_officer (of the client's rating, else of the officer's, else the client alone), is_same_officer (the
    published `raters_share_officer`; not known counts as not the same)."""
    scored = with_officer(alliance_score, dyad)
    scored = scored[scored["score"].notna()]
    keys = ["supervision_id", "wave", "scale"]
    columns = [*keys, "client_id", "score", "measured_day", "officer", "has_officer"]
    one, other = (scored.loc[scored["rater"] == rater, columns] for rater in ("client", "officer"))
    both = one.merge(other.drop(columns="client_id"), on=keys, suffixes=("_client", "_officer"), validate="1:1")
    shared = wave.loc[wave["rater"] == "client", ["supervision_id", "wave", "raters_share_officer"]]
    both = both.merge(shared, on=["supervision_id", "wave"], how="left", validate="m:1")
    days = both[["measured_day_client", "measured_day_officer"]].astype(float).mean(axis=1)
    pairs = pd.DataFrame(
        {
            **{key: both[key] for key in (*keys, "client_id")},
            "client": both["score_client"].astype(float),
            "officer": both["score_officer"].astype(float),
            "months": days / DAYS_PER_MONTH,
            "rated_officer": both["officer_client"]
            .where(both["has_officer_client"], both["officer_officer"])
            .astype(str),
            "is_same_officer": both["raters_share_officer"].astype("boolean").fillna(False).astype(bool),
        }
    )
    return pairs.sort_values(keys, kind="stable", ignore_index=True)


def rater_agreement(pairs: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """Agreement of the two ratings (`AGREEMENT_COLUMNS`) for each scale x wave, of all pairs and of those about one officer.

    pearson: interval by Fisher's z. icc_agreement and icc_consistency: see `intraclass`. These three intervals take
    pairs as independent; those named `clustered` do not (`clustered_intervals`). mean_difference is client minus officer, in points, its standard error summed within officers
    times G / (G - 1) and its interval Student's with G - 1 degrees of freedom. limit_low and limit_high: mean difference
    -/+ 1.96 SD, with the standard error of either (Bland & Altman 1999, section 2.1). Too few pairs, or ratings that are
    all the same, give a note and no number.
    """
    rows: list[dict[str, object]] = []
    for (scale, wave), group in pairs.groupby(["scale", "wave"], sort=True):
        for name, part in ((ALL_PAIRS, group), (SAME_OFFICER, group[group["is_same_officer"]])):
            shared = {
                "scale": scale,
                "wave": wave,
                "pairs": name,
                "n": len(part),
                "officers": part["rated_officer"].nunique(),
            }
            rows.append({**shared, **_agreement(part, level)})
    frame = pd.DataFrame(rows, columns=list(AGREEMENT_COLUMNS))
    numbers = list(AGREEMENT_COLUMNS[5:-1])
    return frame.astype(dict.fromkeys(numbers, float)).astype({"note": object})


def _agreement(part: pd.DataFrame, level: float) -> dict[str, object]:
    from scipy import stats

    ratings = part[["client", "officer"]].to_numpy(dtype=np.float64)
    n = len(ratings)
    if n < _MIN_PAIRS:
        return {"note": f"not estimable: fewer than {_MIN_PAIRS} pairs"}
    if (ratings.std(axis=0) == 0).any():
        return {"note": "not estimable: one rater gave everybody the same score"}
    z = float(stats.norm.ppf(0.5 + level / 2))
    pearson = float(np.corrcoef(ratings.T)[0, 1])
    fisher, spread = np.arctanh(np.clip(pearson, -1 + 1e-15, 1 - 1e-15)), z / np.sqrt(n - 3)
    difference = ratings[:, 0] - ratings[:, 1]
    mean, sd = float(difference.mean()), float(difference.std(ddof=1))
    label = pd.factorize(part["rated_officer"], sort=True)[0]
    line = least_squares(np.ones((n, 1)), difference, label, level) if label.max() else None
    limit = 1.96
    agreed = intraclass(ratings, level)
    points = {"pearson": pearson, **{name: agreed[name] for name in ("icc_agreement", "icc_consistency")}}
    return {
        "pearson": pearson, "pearson_low": float(np.tanh(fisher - spread)), "pearson_high": float(np.tanh(fisher + spread)),
        **agreed, **clustered_intervals(ratings, points, label, level),
        "client_mean": float(ratings[:, 0].mean()), "officer_mean": float(ratings[:, 1].mean()), "mean_difference": mean,
        "std_error": line[1][0] if line else np.nan, "conf_low": line[2][0] if line else np.nan,
        "conf_high": line[3][0] if line else np.nan, "sd_difference": sd, "limit_low": mean - limit * sd,
        "limit_high": mean + limit * sd, "limit_std_error": sd * np.sqrt(1 / n + limit**2 / (2 * (n - 1))), "note": None,
    }  # fmt: skip


def intraclass(ratings: Array, level: float = 0.95) -> dict[str, float]:
    """ICC(A,1) and ICC(C,1) of (n, k) ratings, n rated by the same k raters, with intervals (McGraw & Wong 1996, tables 4 and 7).

    With mean squares of rows R, columns C and error E: consistency (R - E) / (R + (k - 1) E), agreement
    (R - E) / (R + (k - 1) E + k (C - E) / n). Keys icc_agreement, icc_consistency, each also with _low and _high.
    Ratings without any error of consistency have no interval (NaN).
    """
    from scipy import stats

    n, k = ratings.shape
    tail = 0.5 + level / 2
    grand, row, column = ratings.mean(), ratings.mean(axis=1), ratings.mean(axis=0)
    r = k * float(((row - grand) ** 2).sum()) / (n - 1)
    c = n * float(((column - grand) ** 2).sum()) / (k - 1)
    rest = ratings - row[:, None] - column + grand
    e = float((rest**2).sum()) / ((n - 1) * (k - 1))
    consistency, agreement = (r - e) / (r + (k - 1) * e), (r - e) / (r + (k - 1) * e + k * (c - e) / n)
    result = {"icc_agreement": agreement, "icc_consistency": consistency}
    nothing = dict.fromkeys(
        ("icc_agreement_low", "icc_agreement_high", "icc_consistency_low", "icc_consistency_high"), np.nan
    )
    if e <= 1e-12 * r or agreement >= 1:
        return result | nothing
    inner = (n - 1) * (k - 1)
    low, high = r / e / stats.f.ppf(tail, n - 1, inner), r / e * stats.f.ppf(tail, inner, n - 1)
    a, b = k * agreement / (n * (1 - agreement)), 1 + k * agreement * (n - 1) / (n * (1 - agreement))
    df = (a * c + b * e) ** 2 / ((a * c) ** 2 / (k - 1) + (b * e) ** 2 / inner)
    first, second = stats.f.ppf(tail, n - 1, df), stats.f.ppf(tail, df, n - 1)
    between = k * c + (k * n - k - n) * e
    return result | {
        "icc_agreement_low": float(n * (r - first * e) / (first * between + n * r)),
        "icc_agreement_high": float(n * (second * r - e) / (between + n * second * r)),
        "icc_consistency_low": float((low - 1) / (low + k - 1)),
        "icc_consistency_high": float((high - 1) / (high + k - 1)),
    }


def clustered_intervals(
    ratings: Array, points: dict[str, float], label: NDArray[np.intp], level: float = 0.95
) -> dict[str, float]:
    """Limits of pearson, icc_agreement and icc_consistency (`points`) of two raters whose pairs share officers, by the delta method.

    Each is a function of the two variances s, the covariance and the mean difference d: r = s12 / sqrt(s11 s22), consistency
    2 s12 / (s11 + s22), agreement 2 s12 / (s11 + s22 + d^2) but for a term of 1 / n. The influence of a pair on it (Hampel
    1974) is summed within the G officers; variance sum of squares times G / (G - 1), as in `least_squares`. On the scale of
    Fisher's z, with Student's t of G - 1 degrees of freedom. The two raters are fixed, as client and officer are, where
    McGraw & Wong take them as drawn. Fewer than three officers: NaN.
    """
    from scipy import stats

    groups = int(label.max()) + 1
    centred = ratings - ratings.mean(axis=0)
    (s11, s12), (_, s22) = centred.T @ centred / len(ratings)
    one, other, both = centred[:, 0] ** 2 - s11, centred[:, 1] ** 2 - s22, centred[:, 0] * centred[:, 1] - s12
    gap, each_gap = float(np.diff(ratings.mean(axis=0))[0]), centred[:, 1] - centred[:, 0]
    total = s11 + s22
    influence = {
        "pearson": both / np.sqrt(s11 * s22) - points["pearson"] / 2 * (one / s11 + other / s22),
        "icc_agreement": (2 * both - points["icc_agreement"] * (one + other + 2 * gap * each_gap)) / (total + gap**2),
        "icc_consistency": (2 * both - points["icc_consistency"] * (one + other)) / total,
    }
    found: dict[str, float] = {}
    for name, by_pair in influence.items():
        value, low, high = points[name], np.nan, np.nan
        if groups >= _MIN_CLUSTERS and abs(value) < 1:
            sums = np.bincount(label, by_pair, minlength=groups) / len(ratings)
            error = np.sqrt((sums**2).sum() * groups / (groups - 1)) / (1 - value**2)
            half = stats.t.ppf(0.5 + level / 2, groups - 1) * error
            low, high = (float(np.tanh(np.arctanh(value) + side * half)) for side in (-1, 1))
        found |= {f"{name}_clustered_low": low, f"{name}_clustered_high": high}
    return found


def rater_convergence(pairs: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """Whether the two ratings come closer: least-squares lines of their difference on months since the start.

    One model per scale x pairs x measure (client minus officer; its absolute value; its square), rows `intercept` and
    `months`. A negative slope of the absolute or squared difference is convergence. Errors are clustered by the officer
    of the client's first pair (so that a client's waves are in one cluster), times G / (G - 1); Student's t with G - 1
    degrees of freedom. No distribution is assumed, which absolute differences would not have.
    """
    rows: list[dict[str, object]] = []
    first = pairs.sort_values(["client_id", "scale", "months"], kind="stable")
    cluster = first.groupby(["client_id", "scale"], sort=True)["rated_officer"].transform("first")
    pairs = pairs.assign(cluster=cluster)
    for scale, group in pairs[pairs["months"].notna()].groupby("scale", sort=True):
        for name, part in ((ALL_PAIRS, group), (SAME_OFFICER, group[group["is_same_officer"]])):
            label = pd.factorize(part["cluster"], sort=True)[0]
            clusters = int(label.max()) + 1 if len(label) else 0
            difference = (part["client"] - part["officer"]).to_numpy()
            months = part["months"].to_numpy()
            values = (difference, np.abs(difference), difference**2)
            for measure, value in zip(MEASURES, values, strict=True):
                shared = {
                    "model_id": f"convergence.{scale}.{name}.{measure}", "scale": scale, "pairs": name, "measure": measure,
                    "n": len(part), "clients": part["client_id"].nunique(), "clusters": clusters,
                }  # fmt: skip
                terms = ("intercept", "months")
                if clusters < _MIN_CLUSTERS or part["wave"].nunique() < 2:
                    note = f"not estimable: fewer than {_MIN_CLUSTERS} officers, or one wave"
                    rows += [{**shared, "term": term, "note": note} for term in terms]
                    continue
                estimate, error, low, high, p_value = least_squares(
                    np.column_stack([np.ones(len(part)), months]), value, label, level
                )
                rows += [
                    {
                        **shared, "term": term, "estimate": estimate[k], "std_error": error[k], "conf_low": low[k],
                        "conf_high": high[k], "p_value": p_value[k], "note": None,
                    }
                    for k, term in enumerate(terms)
                ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=list(CONVERGENCE_COLUMNS))
    return frame.astype(dict.fromkeys(CONVERGENCE_COLUMNS[5:10], float)).astype({"note": object})


def least_squares(
    x: Array, y: Array, label: NDArray[np.intp], level: float = 0.95
) -> tuple[Array, Array, Array, Array, Array]:
    """Coefficients, clustered errors, interval and p-values (each (p,)) of y (n,) on x (n, p); `label` codes G clusters 0..G-1.

    Sandwich (X'X)^-1 [sum over clusters of s s'] (X'X)^-1 G / (G - 1), s the cluster's sum of x times residual (Liang &
    Zeger 1986, independence working model); t with G - 1 degrees of freedom.
    """
    from scipy import stats

    inverse = np.linalg.inv(x.T @ x)
    beta = inverse @ (x.T @ y)
    groups = int(label.max()) + 1
    sums = np.zeros((groups, x.shape[1]))
    np.add.at(sums, label, x * (y - x @ beta)[:, None])
    errors = np.sqrt(np.diag(inverse @ (sums.T @ sums) @ inverse) * groups / (groups - 1))
    half = stats.t.ppf(0.5 + level / 2, groups - 1) * errors
    with np.errstate(divide="ignore", invalid="ignore"):
        p_values = 2 * stats.t.sf(np.abs(beta) / errors, groups - 1)
    return beta, errors, beta - half, beta + half, p_values
