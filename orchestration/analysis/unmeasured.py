"""How strong something unmeasured would have to be to explain a hazard ratio away: the E-value of every alliance estimate."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

COLUMNS = ("model_id", "outcome_id", "term", "is_common", "hazard_ratio", "risk_ratio", "e_value", "e_value_limit")
COMMON = 0.15  # share with the event above which a hazard ratio is no risk ratio (VanderWeele & Ding 2017, table 2)


def e_values(estimates: pd.DataFrame) -> pd.DataFrame:
    """One row (`COLUMNS`) for every estimate of a scale itself: the least risk ratio by which a confounder would have to go with
    both the alliance and recidivism to move the estimate, or the limit of its interval nearer to 1, to no effect.

    `e_value_limit` is 1 where the interval holds 1 already. VanderWeele & Ding (2017), for hazard ratios of outcomes that
    are common (more than 15 % have the event) by their approximation of the risk ratio. For one point on the scale.
    """
    own = estimates[(estimates["term"] == estimates["scale"]) & estimates["estimate"].notna()].reset_index(drop=True)
    is_common = (own["events"] / own["n"] > COMMON).to_numpy(dtype=bool)
    ratio, low, high = (np.exp(own[name].to_numpy(dtype=float)) for name in ("estimate", "conf_low", "conf_high"))
    nearer = np.where(low > 1, low, np.where(high < 1, high, 1.0))
    return pd.DataFrame(
        {
            "model_id": own["model_id"], "outcome_id": own["outcome_id"], "term": own["term"], "is_common": is_common,
            "hazard_ratio": ratio, "risk_ratio": risk_ratio(ratio, is_common),
            "e_value": e_value(risk_ratio(ratio, is_common)), "e_value_limit": e_value(risk_ratio(nearer, is_common)),
        },
        columns=list(COLUMNS),
    )  # fmt: skip


def risk_ratio(hazard_ratio: ArrayLike, is_common: ArrayLike) -> NDArray[np.float64]:
    """(1 - 0.5^sqrt(HR)) / (1 - 0.5^sqrt(1/HR)) where the outcome is common, else the hazard ratio itself."""
    ratio = np.asarray(hazard_ratio, dtype=np.float64)
    approximate = (1 - 0.5 ** np.sqrt(ratio)) / (1 - 0.5 ** np.sqrt(1 / ratio))
    return np.where(is_common, approximate, ratio)


def e_value(ratio: ArrayLike) -> NDArray[np.float64]:
    """RR + sqrt(RR (RR - 1)), of the inverse where the ratio is below 1."""
    above = np.asarray(ratio, dtype=np.float64)
    above = np.where(above < 1, 1 / above, above)
    return above + np.sqrt(above * (above - 1))
