"""What of a fit stewards follow from refit to refit: events, reliability, hazard ratios. Numbers of groups, never of a person."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from orchestration.analysis.specification import Specification
from orchestration.warehouse.measures import may_be_shown


def measured(tables: Mapping[str, pd.DataFrame], spec: Specification, small_cell: int) -> dict[str, int | float]:
    """Of the tables of a fit: `events_<outcome>`; `alpha_<rater>_<scale>` of the scores that models read (Cronbach, 1951, the form that most
    people filled in); `hazard_ratio_<outcome>_<rater>_<adjustment>` of a point more on the scale that is shown in groups (Cox, 1972).

    Of outcomes with few events, or few people without one, nothing is given.
    """
    estimates, rules = tables["estimates"], spec.recidivism
    counts = estimates.groupby("outcome_id")[["events", "n"]].max()
    shown = {
        str(outcome): int(row["events"])
        for outcome, row in counts.dropna().iterrows()
        if may_be_shown(int(row["events"]), int(row["n"]), small_cell)
    }
    scale = rules.grouped_scale
    own = estimates[
        (estimates["term"] == scale) & (estimates["exposure"] == "score") & estimates["outcome_id"].isin(shown)
    ]
    ratios = {
        f"hazard_ratio_{row['outcome_id']}_{row['rater']}_{row['adjustment']}": round(math.exp(row["estimate"]), 4)
        for row in own[own["estimate"].notna()].to_dict("records")
    }
    return {
        **{f"events_{outcome}": events for outcome, events in shown.items()},
        **_alphas(tables, spec, small_cell),
        **ratios,
    }


def _alphas(tables: Mapping[str, pd.DataFrame], spec: Specification, small_cell: int) -> dict[str, float]:
    known = tables["reliability"]
    known = known[
        (known["wave"].str.lower() == spec.recidivism.wave)
        & known["alpha"].notna()
        & (known["n_complete"] >= small_cell)
    ]
    best = known.sort_values("n_complete", kind="stable").drop_duplicates(["rater", "scale"], keep="last")
    return {
        f"alpha_{row['rater']}_{row['scale']}": round(float(row["alpha"]), 3)
        for row in best.sort_values(["rater", "scale"]).to_dict("records")
    }
