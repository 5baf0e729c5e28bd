"""The decomposition check, printed: `python -m tests.analysis.decomposition --pairs 5`.

Pairs of SYNTHETIC versions that differ in every kind of change are fitted with the repository's models, and the move of every
estimate is split; said are how far the parts are from the whole, the largest parts, and what it cost.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd

from orchestration.analysis.explanation import KINDS, Side, explain, outcome_estimates
from orchestration.analysis.fit import made_by
from orchestration.analysis.inputs import Inputs
from orchestration.analysis.specification import Specification, read_specification
from tests.analysis.synthetic import OUTCOMES, synthetic_inputs

TOLERANCE = 1e-9


def pair(seed: int, clients: int = 200) -> tuple[Inputs, Inputs, list[str]]:
    """Two versions and who withdrew: the first outcome has every kind but definitions, the second is redefined."""
    new = synthetic_inputs(clients, seed=seed)
    rng = np.random.default_rng(seed)
    cohort = new.analysis_cohort
    followed = cohort.loc[(cohort["outcome_id"] == OUTCOMES[0]) & cohort["is_eligible"] & (cohort["duration_days"] > 40), "client_id"]  # fmt: skip
    drawn = rng.permutation(followed.to_numpy())
    newcomers, longer, mended, leaving = np.split(drawn[:60], [12, 40, 52])
    old = cohort[~cohort["client_id"].isin(newcomers)].copy()
    is_longer = old["client_id"].isin(longer) & (old["outcome_id"] == OUTCOMES[0])
    old.loc[is_longer, "duration_days"] = 30.0
    old.loc[is_longer, "event"] = False
    is_mended = old["client_id"].isin(mended) & (old["outcome_id"] == OUTCOMES[0])
    old.loc[is_mended, "client_trust_t2"] = 3.0
    is_redefined = (old["outcome_id"] == OUTCOMES[1]) & old["is_eligible"]
    old.loc[is_redefined, "duration_days"] = old.loc[is_redefined, "duration_days"] + 90
    definitions = new.outcome_definition
    before = replace(new, analysis_cohort=old, outcome_definition=definitions.assign(lag_months=[6, 3]))
    left = cohort[~cohort["client_id"].isin(leaving)]
    return before, replace(new, analysis_cohort=left, outcome_definition=definitions.assign(lag_months=6)), leaving.tolist()  # fmt: skip


def sides(seed: int, spec: Specification) -> tuple[Side, Side]:
    """Both fits of a pair; the old one was made by other code, whose estimates were a thousandth smaller."""
    before, after, withdrawn = pair(seed)
    made = made_by(spec, seed)
    old, new = (pd.concat([outcome_estimates(rows, outcome, spec, seed) for outcome in OUTCOMES]) for rows in (before, after))  # fmt: skip
    return (
        Side(before, old.assign(estimate=old["estimate"] * 0.999), {**made, "code_hash": "other"}, {}),
        Side(after, new, made, {"withdrawals": [{"client_id": name} for name in withdrawn]}),
    )


def main() -> int:
    """Print the check. Gives 1 when parts and whole differ by more than 1e-9, or a kind has no part anywhere."""
    parser = argparse.ArgumentParser(prog="python -m tests.analysis.decomposition", description=main.__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    given = parser.parse_args()
    spec = read_specification()
    remainder, seconds, fits, parts = 0.0, [], 0, []
    for seed in range(1, given.pairs + 1):
        old, new = sides(seed, spec)
        began = time.process_time()
        found = explain(old, new, spec)
        seconds.append(time.process_time() - began)
        remainder, fits = max(remainder, found.largest_remainder), fits + found.fits
        parts.append(found.parts)
    every = pd.concat(parts)
    print(f"{given.pairs} pairs of SYNTHETIC versions of 200 clients, m = {spec.imputer.m}: {len(every)} moves split")
    print(f"largest difference between the parts and the whole: {remainder:.1e} (asked: {TOLERANCE:.0e})")
    print(f"median of {np.median(seconds):.1f} s of CPU a pair, {fits / given.pairs:.0f} outcomes fitted on the way")
    print("\n".join(f"{kind:20} largest part {every[kind].abs().max():.3f}" for kind in KINDS))
    return 0 if remainder <= TOLERANCE and (every[list(KINDS)].abs().max() > 0).all() else 1


if __name__ == "__main__":
    sys.exit(main())
