"""How long the study grid takes: every Cox model of 12 outcomes x 4 scales x 2 raters x 4 adjustments x 20 imputations, pooled.

`python -m tests.bench.grid` prints one table. The cohorts are SIMULATED (200 people each, another one for each outcome); imputing is
timed apart.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from orchestration.analysis import discrimination, prediction, recidivism
from orchestration.analysis.specification import Specification, read_specification
from tests.analysis.synthetic import synthetic_inputs
from tests.bench.measuring import Row

OUTCOMES, PRIMARY, PEOPLE = 12, 2, 208  # of 208 clients 200 are linked, 199 or 200 eligible
REPEATS = 3
WHOLE, PRIMARY_ONLY = 30.0, 10.0  # seconds, on two cores


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


def rows(repeats: int = REPEATS) -> Iterator[Row]:
    """The grid whole and the primary outcomes against their bars; imputing, and a bootstrap for optimism, for comparison."""
    section, spec = "grid", study_grid()
    cohorts = [
        recidivism.outcome_cohort(synthetic_inputs(PEOPLE, seed=seed).analysis_cohort, "general_landmark", spec)
        for seed in range(1, OUTCOMES + 1)
    ]
    imputed = []
    began = time.perf_counter()
    for number, cohort in enumerate(cohorts):
        imputed.append(recidivism.impute_cohort(cohort, spec, number))
    yield Row(section, f"imputing {OUTCOMES} outcomes of {cohorts[0].n} people", time.perf_counter() - began, "s")

    def grid(outcomes: int) -> None:
        for cohort, data in zip(cohorts[:outcomes], imputed[:outcomes], strict=True):
            recidivism.estimates_of(cohort, data, spec)

    models = len(recidivism.models(spec))
    fits = OUTCOMES * models * spec.imputer.m
    yield Row(section, f"{fits:,} fits with pooling", seconds(lambda: grid(OUTCOMES), repeats), "s", WHOLE)
    yield Row(section, f"{PRIMARY} primary outcomes of it", seconds(lambda: grid(PRIMARY), repeats), "s", PRIMARY_ONLY)
    samples = f"{spec.recidivism.bootstraps} samples x {len(prediction.drawn_models(spec))} models"
    random = np.random.SeedSequence(1)
    corrected = seconds(lambda: discrimination.performance(cohorts[0], imputed[0], spec, random), repeats)
    yield Row(section, f"optimism, {samples}", corrected, "s")


if __name__ == "__main__":
    for row in rows():
        print(row, flush=True)
