"""How long the study grid takes: every Cox model of 12 outcomes x 4 scales x 2 raters x 4 adjustments x 20 imputations, pooled.

`python -m tests.bench.grid` prints one table. The cohorts are SIMULATED (200 people each, another one for each outcome); imputing is
timed apart. Nothing is judged here; the bars stand in `docs/statistics.md`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from orchestration.analysis import discrimination, prediction, recidivism
from orchestration.analysis.specification import Specification, read_specification
from tests.analysis.synthetic import synthetic_inputs

OUTCOMES, PRIMARY, PEOPLE = 12, 2, 208  # of 208 clients 200 are linked, 199 or 200 eligible
REPEATS = 3


def seconds(run: Callable[[], object], repeats: int = REPEATS) -> float:
    """Median wall time."""
    took = []
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def study_grid() -> Specification:
    """The models of the repository with the single score alone."""
    spec = read_specification()
    return replace(spec, recidivism=replace(spec.recidivism, exposures={"score": {"score": "t2"}}))


def main() -> None:
    """Print the timings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    repeats = parser.parse_args().repeats
    spec = study_grid()
    cohorts = [
        recidivism.outcome_cohort(synthetic_inputs(PEOPLE, seed=seed).analysis_cohort, "general_landmark", spec)
        for seed in range(1, OUTCOMES + 1)
    ]
    imputed = []
    began = time.perf_counter()
    for number, cohort in enumerate(cohorts):
        imputed.append(recidivism.impute_cohort(cohort, spec, number))
    imputing = time.perf_counter() - began

    def grid(outcomes: int) -> None:
        for cohort, data in zip(cohorts[:outcomes], imputed[:outcomes], strict=True):
            recidivism.estimates_of(cohort, data, spec)

    models = len(recidivism.models(spec))
    fits = OUTCOMES * models * spec.imputer.m
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}; {OUTCOMES} outcomes of {cohorts[0].n} people, {models} models each, "
          f"m = {spec.imputer.m}: {fits:,} fits")  # fmt: skip
    print(f"{'imputing':42}{imputing:8.2f} s")
    print(f"{'grid with pooling':42}{seconds(lambda: grid(OUTCOMES), repeats):8.2f} s")
    print(f"{'primary outcomes':42}{seconds(lambda: grid(PRIMARY), repeats):8.2f} s")
    corrected = seconds(
        lambda: discrimination.performance(cohorts[0], imputed[0], spec, np.random.SeedSequence(1)), repeats
    )
    print(
        f"{f'optimism, {spec.recidivism.bootstraps} samples x {len(prediction.drawn_models(spec))} models':42}{corrected:8.2f} s"
    )


if __name__ == "__main__":
    main()
