"""Q1: how the alliance develops: wave means, change patterns and how far their rules agree, reliability. Frames in, tidy frames out.

Growth models are in `growth.py`, client and officer side by side in `raters.py`.
"""

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
    scores = with_officer(alliance_score, dyad)
    rows = [
        {"rater": rater, "scale": scale, "wave": wave, **_clustered_mean(group, level)}
        for (rater, scale, wave), group in scores.groupby(["rater", "scale", "wave"], sort=True)
    ]
    columns = ["rater", "scale", "wave", "n", "missing", "officers", "mean", "sd", "std_error", "conf_low", "conf_high"]
    return pd.DataFrame(rows, columns=columns)


def with_officer(alliance_score: pd.DataFrame, dyad: pd.DataFrame) -> pd.DataFrame:
    """The scores with `officer`, of the dyad of the rating (the client where none is known), and `has_officer`."""
    officer = alliance_score["dyad_id"].map(dyad.set_index("dyad_id")["officer_id"]).astype(object)
    has_officer = officer.notna()
    return alliance_score.assign(
        officer=officer.where(has_officer, alliance_score["client_id"]), has_officer=has_officer
    )


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


def pattern_agreement(alliance_pattern_agreement: pd.DataFrame) -> pd.DataFrame:
    """Cohen's kappa of each pair of rules, as published: rater, scale, span, rule_one, rule_other, n, observed_agreement, kappa, note.

    Where both rules find one and the same pattern in everybody there is no kappa, and a note says so.
    """
    keys = ["rater", "scale", "span", "rule_one", "rule_other"]
    frame = alliance_pattern_agreement[[*keys, "n", "observed_agreement", "kappa"]]
    frame = frame.sort_values(keys, kind="stable", ignore_index=True).astype(
        {"kappa": float, "observed_agreement": float}
    )
    reason = "not estimable: both rules find one and the same pattern in everybody"
    notes = [reason if missing else None for missing in frame["kappa"].isna()]
    return frame.assign(note=pd.Series(notes, index=frame.index, dtype=object))


def reliability(scale_reliability: pd.DataFrame, low_reliability: float, level: float = 0.95) -> pd.DataFrame:
    """Alpha and omega by wave, rater, scale and form as published, with what they mean for everything else.

    Added: n_items, alpha_low and alpha_high (Feldt, Woodruff & Salih 1987, eq. 7: with k items and n people,
    (1 - alpha) / (1 - estimate) is F with n - 1 and (n - 1)(k - 1) degrees of freedom), standard_error_of_measurement
    (SD sqrt(1 - alpha), points), reliable_change_band (1.96 sqrt(2 (1 - alpha)), in SD; Jacobson & Truax 1991),
    attenuation (sqrt alpha: the largest correlation that a perfectly measured variable can show with this scale; Spearman
    1904), is_low (alpha below `low_reliability`) and a note for those. An alpha that is not positive has no band.
    """
    from scipy import stats

    keys = ["rater", "scale", "wave", "form"]
    frame = scale_reliability.sort_values(keys, kind="stable", ignore_index=True)
    alpha, n = frame["alpha"].astype(float), frame["n_complete"].astype(float)
    items = frame["form"].str.split().str.len().astype(float)
    tail, first, second = 0.5 + level / 2, n - 1, (n - 1) * (items - 1)
    has_interval = alpha.notna() & (first > 0) & (second > 0)
    usable = alpha.where(alpha > 0)
    is_low = alpha < low_reliability
    notes = [
        f"alpha {value:.2f} is below {low_reliability:.2f}: a correlation with this scale is at most {np.sqrt(max(value, 0)):.2f} "
        "of the true one, and the reliable change index finds few changes"
        if low
        else None
        for value, low in zip(alpha, is_low, strict=True)
    ]
    return frame[[*keys, "n_complete"]].assign(
        n_items=items.astype(int),
        alpha=alpha,
        alpha_low=(1 - (1 - alpha) * stats.f.ppf(tail, first, second)).where(has_interval),
        alpha_high=(1 - (1 - alpha) * stats.f.ppf(1 - tail, first, second)).where(has_interval),
        omega=frame["omega"].astype(float),
        n_scores=frame["n_scores"],
        score_sd=frame["score_sd"].astype(float),
        standard_error_of_measurement=frame["score_sd"].astype(float) * np.sqrt(1 - usable),
        reliable_change_band=1.96 * np.sqrt(2 * (1 - usable)),
        attenuation=np.sqrt(usable),
        is_low=is_low,
        note=pd.Series(notes, index=frame.index, dtype=object),
    )
