"""The platform without what scripts do not have: no gate, ledger, version or report, and of the analysis the models of the peers alone.

`python -m tests.bench.peers.core DELIVERIES OUT` reads the deliveries as declared, with pseudonyms, builds the whole dbt
project with its tests, imputes the outcome and writes the estimates of its models to `OUT/estimates.csv`.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np

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


def main(delivered: Path, out: Path) -> None:
    """Build, impute, fit."""
    place = build_folder(out, delivered)
    bad = [node.unique_id for node in dbt.build(settings_in(out), place) if not node.is_good]
    assert not bad, bad
    with duckdb.connect(str(place / "warehouse.duckdb"), read_only=True) as warehouse:
        people, items = (
            warehouse.sql(f"select * from marts.{name} order by all").df()
            for name in ("analysis_cohort", "alliance_item")
        )
    spec = read_specification()
    cohort = outcome_cohort(people, OUTCOME, spec)
    imputed = imputed_cohort(cohort, items, spec, spec.seed)
    found = estimates_of(cohort, imputed.data, asked(spec))
    found = found.assign(hazard_ratio=np.exp(found["estimate"]), model=found["adjustment"])
    found[["conf_low", "conf_high"]] = np.exp(found[["conf_low", "conf_high"]])
    found.to_csv(out / "estimates.csv", index=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
