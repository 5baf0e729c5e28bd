"""Q1: the growth model of each rater and scale. The likelihood is mixedlm's; which random parts are tried is said by `models.yml`.

Means, patterns, agreement of the raters and reliability are in `development.py`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd

from orchestration.analysis.development import with_officer
from orchestration.analysis.inputs import DAYS_PER_MONTH
from orchestration.analysis.specification import Development

COLUMNS = (
    "model_id", "rater", "scale", "structure", "part", "term", "estimate", "std_error", "degrees_of_freedom", "conf_low",
    "conf_high", "p_value", "ratings", "clients", "officers", "waves", "note",
)  # fmt: skip
FIXED, RANDOM = "fixed", "random"
INTERCEPT, SLOPE = "intercept", "months"
_SINGULAR = 1e-4  # of the relative standard deviations of the random effects, as lme4 takes it
_NUMBERS = ("estimate", "std_error", "degrees_of_freedom", "conf_low", "conf_high", "p_value")


class _NotEstimable(Exception):
    """The message is the reason."""


def growth_models(
    alliance_score: pd.DataFrame, dyad: pd.DataFrame, spec: Development, each: Callable[[], None] | None = None
) -> pd.DataFrame:
    """score ~ months + random parts, by REML, for each rater x scale: tidy rows (`COLUMNS`), fixed effects and the SDs of the random.

    `months` is the day of the rating since the start of the index supervision / 30.4375, so that `intercept` is the score
    at the start. The structure asked for (Laird & Ware 1982, eq. 2.1, with a second grouping) is the first of
    `spec.structures`: intercept and slope by client, correlated, and an intercept by the officer who is rated or rates;
    clients whose officer changed stand under both, so the factors are crossed where they must be. Standard errors are
    those of the generalised least squares, degrees of freedom by Satterthwaite (Giesbrecht & Burns 1985; Fai & Cornelius
    1996), intervals Student's t. A structure that is singular (a variance or a correlation on its boundary) or does not
    converge is refused with the reason and without numbers, and the next, simpler one is tried; its rows carry its name.
    Fewer than `min_clients` clients rated at least twice, or `min_waves` waves, is refused for every structure.
    """
    ratings = with_officer(alliance_score, dyad)
    ratings = ratings[ratings["score"].notna() & ratings["measured_day"].notna()]
    ratings = ratings.sort_values(["client_id", "wave", "measured_day"], kind="stable")
    rows: list[dict[str, object]] = []
    for (rater, scale), group in ratings.groupby(["rater", "scale"], sort=True):
        data = pd.DataFrame(
            {
                "score": group["score"].to_numpy(dtype=np.float64),
                SLOPE: group["measured_day"].to_numpy(dtype=np.float64) / DAYS_PER_MONTH,
                "client": group["client_id"].astype(str).to_numpy(dtype=object),
                "officer": group["officer"].astype(str).to_numpy(dtype=object),
            }
        )
        repeated, waves = int((data["client"].value_counts() > 1).sum()), int(group["wave"].nunique())
        shared = {
            "rater": rater, "scale": scale, "ratings": len(data), "clients": data["client"].nunique(),
            "officers": data["officer"].nunique(), "waves": waves,
        }  # fmt: skip
        for structure, random_parts in spec.structures.items():
            names = {**shared, "model_id": f"growth.{rater}.{scale}.{structure}", "structure": structure}
            try:
                if repeated < spec.min_clients:
                    raise _NotEstimable(f"{repeated} clients rated more than once, fewer than {spec.min_clients}")
                if waves < spec.min_waves:
                    raise _NotEstimable(f"{waves} waves, fewer than {spec.min_waves}")
                rows += [{**names, **row} for row in _fitted(data, random_parts, spec.confidence)]
                break
            except _NotEstimable as error:
                note = f"not estimable: {error}"
                rows += [{**names, "part": FIXED, "term": term, "note": note} for term in (INTERCEPT, SLOPE)]
        if each is not None:
            each()
    frame = pd.DataFrame(rows).reindex(columns=list(COLUMNS))
    return frame.astype(dict.fromkeys(_NUMBERS, float)).astype({"note": object})


def _fitted(data: pd.DataFrame, random_parts: str, level: float) -> list[dict[str, object]]:
    """Rows of the fixed effects and of the standard deviations and correlations of the random ones."""
    import mixedlm
    from scipy import stats

    if data["score"].nunique() < 2:
        raise _NotEstimable("everybody has the same score at every wave")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what mixedlm would warn of is looked at here
        try:
            fit = mixedlm.lmer(f"score ~ {SLOPE} + {random_parts}", data)
        except (ValueError, np.linalg.LinAlgError):  # its text may name a level, which is a person
            raise _NotEstimable(
                "the engine refused the data (fewer ratings than random effects, or a constant)"
            ) from None
        if fit.isSingular(_SINGULAR):
            raise _NotEstimable("the fit is singular (a variance is zero, or a correlation one)")
        if not mixedlm.checkConv(fit, check_singular=False).converged:
            raise _NotEstimable("the likelihood did not converge")
        degrees = np.asarray(mixedlm.satterthwaite_df(fit).df, dtype=np.float64)
    effects = fit.fixef()
    estimates = np.array([effects["(Intercept)"], effects[SLOPE]], dtype=np.float64)
    errors = np.sqrt(np.diag(np.asarray(fit.vcov(), dtype=np.float64)))
    if not (np.isfinite(errors).all() and (errors > 0).all() and np.isfinite(degrees).all() and (degrees > 0).all()):
        raise _NotEstimable("a standard error or its degrees of freedom is not a number")
    half = stats.t.ppf(0.5 + level / 2, degrees) * errors
    p_values = 2 * stats.t.sf(np.abs(estimates) / errors, degrees)
    rows: list[dict[str, object]] = [
        {
            "part": FIXED, "term": term, "estimate": estimates[k], "std_error": errors[k], "degrees_of_freedom": degrees[k],
            "conf_low": estimates[k] - half[k], "conf_high": estimates[k] + half[k], "p_value": p_values[k], "note": None,
        }
        for k, term in enumerate((INTERCEPT, SLOPE))
    ]  # fmt: skip
    components = fit.VarCorr()
    spreads: dict[str, float] = {}
    for name in sorted(components.groups):
        part = components.groups[name]
        for term in part.term_names:
            spreads[f"sd_{name}_{INTERCEPT if term == '(Intercept)' else term}"] = float(part.stddev[term])
        if part.corr is not None and len(part.term_names) == 2:
            spreads[f"correlation_{name}"] = float(part.corr[1, 0])
    spreads["sd_residual"] = float(np.sqrt(components.residual))
    return rows + [{"part": RANDOM, "term": term, "estimate": value, "note": None} for term, value in spreads.items()]
