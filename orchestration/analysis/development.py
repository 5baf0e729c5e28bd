"""Q1: how the alliance develops: wave means and change patterns. Frames in, tidy frames out; growth models are not here."""

from __future__ import annotations

import numpy as np
import pandas as pd

PATTERNS = ("stable", "improving", "deteriorating")
ALL_PAIRS, SAME_OFFICER = "all", "same_officer"


def wave_means(alliance_score: pd.DataFrame, dyad: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """Mean score of each rater x scale x wave with an interval that knows that officers rate and are rated more than once.

    Columns rater, scale, wave, n, missing, officers, mean, sd, std_error, conf_low, conf_high. The standard error sums
    residuals within officers and corrects by G / (G - 1); the interval is Student's with G - 1 degrees of freedom.
    A score without a known officer is a cluster of one. With fewer than two officers there is a mean and no interval.
    """
    officer_of = dyad.set_index("dyad_id")["officer_id"]
    scores = alliance_score.assign(officer=alliance_score["dyad_id"].map(officer_of).astype(object))
    scores["officer"] = scores["officer"].where(scores["officer"].notna(), scores["client_id"])
    rows = [
        {"rater": rater, "scale": scale, "wave": wave, **_clustered_mean(group, level)}
        for (rater, scale, wave), group in scores.groupby(["rater", "scale", "wave"], sort=True)
    ]
    columns = ["rater", "scale", "wave", "n", "missing", "officers", "mean", "sd", "std_error", "conf_low", "conf_high"]
    return pd.DataFrame(rows, columns=columns)


def _clustered_mean(group: pd.DataFrame, level: float) -> dict[str, float]:
    from scipy import stats

    observed = group[group["score"].notna()]
    n, missing = len(observed), int(group["score"].isna().sum())
    empty = {"mean": np.nan, "sd": np.nan, "std_error": np.nan, "conf_low": np.nan, "conf_high": np.nan}
    if not n:
        return {"n": 0, "missing": missing, "officers": 0, **empty}
    score = observed["score"].to_numpy(dtype=np.float64)
    label = pd.factorize(observed["officer"], sort=True)[0]
    officers = int(label.max()) + 1
    mean = float(score.mean())
    result = {"n": n, "missing": missing, "officers": officers, **empty, "mean": mean}
    if officers < 2:
        return result
    sums = np.bincount(label, weights=score - mean)
    std_error = float(np.sqrt(officers / (officers - 1) * (sums @ sums))) / n
    half = float(stats.t.ppf(0.5 + level / 2, officers - 1)) * std_error
    return result | {
        "sd": float(score.std(ddof=1)),
        "std_error": std_error,
        "conf_low": mean - half,
        "conf_high": mean + half,
    }


def change_patterns(alliance_change: pd.DataFrame) -> pd.DataFrame:
    """How many pairs of scores are stable, improving, deteriorating, by rater x scale x span x rule.

    Columns rater, scale, span, rule, pairs (all, or same_officer: rated with one officer), pattern, count, n (pairs with
    both scores), not_rated (pairs without), share, reliability (alpha at baseline). One row per pattern, zeros included.
    """
    rows = []
    for (rater, scale, span, rule), group in alliance_change.groupby(["rater", "scale", "span", "rule"], sort=True):
        reliability = pd.to_numeric(group["reliability"]).astype(float).dropna()
        is_same = ~group["officer_changed"].astype("boolean").fillna(False).astype(bool)
        for pairs, part in ((ALL_PAIRS, group), (SAME_OFFICER, group[is_same])):
            rated = part[part["pattern"].notna()]
            for pattern in PATTERNS:
                count = int((rated["pattern"] == pattern).sum())
                rows.append(
                    {
                        "rater": rater, "scale": scale, "span": span, "rule": rule, "pairs": pairs, "pattern": pattern,
                        "count": count, "n": len(rated), "not_rated": len(part) - len(rated),
                        "share": count / len(rated) if len(rated) else np.nan,
                        "reliability": float(reliability.median()) if len(reliability) else np.nan,
                    }
                )  # fmt: skip
    columns = ["rater", "scale", "span", "rule", "pairs", "pattern", "count", "n", "not_rated", "share", "reliability"]
    return pd.DataFrame(rows, columns=columns)
