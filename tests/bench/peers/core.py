"""The platform without what scripts do not have: no gate, ledger, version or report, and of the analysis the models of the peers alone.

`python -m tests.bench.peers.core DELIVERIES OUT` reads the deliveries as declared, with pseudonyms, builds the whole dbt
project with its tests, imputes the outcome and writes the estimates of its models to `OUT/estimates.csv`. With `--again K` it imputes
K times more, each with another seed, and says how far that alone moves the unadjusted hazard ratio.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from orchestration.analysis.imputed_cohort import imputed_cohort
from orchestration.analysis.recidivism import estimates_of, outcome_cohort
from orchestration.analysis.specification import Specification, read_specification
from orchestration.warehouse import dbt
from tests.bench.building import build_folder
from tests.bench.peers.described import MODELS, OUTCOME, RATER, SCALE
from tests.conftest import settings_in


def asked(spec: Specification) -> Specification:
    """The models that the peers fit; what is imputed, and from what, stays."""
    recidivism = replace(
        spec.recidivism,
        raters=(RATER,),
        scales=(SCALE,),
        exposures={"score": spec.recidivism.exposures["score"]},
        adjustments={name: spec.recidivism.adjustments[name] for name in MODELS},
    )
    return replace(spec, recidivism=recidivism)


def main() -> None:
    """Build, impute, fit."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.peers.core", description=__doc__)
    parser.add_argument("delivered", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--again", type=int, default=0, help="further imputations, each with another seed")
    given = parser.parse_args()
    place = build_folder(given.out, given.delivered)
    bad = [node.unique_id for node in dbt.build(settings_in(given.out), place) if not node.is_good]
    assert not bad, bad
    with duckdb.connect(str(place / "warehouse.duckdb"), read_only=True) as warehouse:
        people, items = (
            warehouse.sql(f"select * from marts.{name} order by all").df()
            for name in ("analysis_cohort", "alliance_item")
        )
    spec = read_specification()
    cohort = outcome_cohort(people, OUTCOME, spec)

    def estimates(seed: int) -> pd.DataFrame:
        return estimates_of(cohort, imputed_cohort(cohort, items, spec, seed).data, asked(spec))

    found = estimates(spec.seed)
    found = found.assign(hazard_ratio=np.exp(found["estimate"]), model=found["adjustment"])
    found[["conf_low", "conf_high"]] = np.exp(found[["conf_low", "conf_high"]])
    found.to_csv(given.out / "estimates.csv", index=False)
    if given.again:
        first = [estimates(spec.seed + number).iloc[0] for number in range(1, given.again + 1)]
        logs = np.array([row["estimate"] for row in first])
        share = logs.std(ddof=1) / np.mean([row["std_error"] for row in first])
        print(
            f"SIMULATED: {given.again} seeds, hazard ratios {np.exp(logs.min()):.3f} to {np.exp(logs.max()):.3f}, "
            f"SD of the logarithm {logs.std(ddof=1):.3f}, {share:.2f} of its standard error"
        )


if __name__ == "__main__":
    main()
