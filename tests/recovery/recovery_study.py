"""Are true effects found again? Simulated studies through the same SQL and the same fitting functions as real data.

`python -m tests.recovery.recovery_study --studies 200` simulates one population of studies x 200 clients (a block of 200
shares nobody with another), delivers it as the partners would, reads it as deliveries are read, builds it once with the
real dbt project, and fits each block as a study of its own. Exit code 1 when a bar is missed.

What is distorted is shown on the quantity that it distorts: leaving out the registration lag lowers the absolute risk;
leaving out the landmark makes a change of officer, which has no effect, look protective.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from orchestration.analysis import cox, group_curves, recidivism
from orchestration.analysis.grouping import everybody
from orchestration.analysis.imputation import ImputationError
from orchestration.analysis.pooling import pool
from orchestration.analysis.specification import Specification, read_specification

STUDY_CLIENTS = 200
POPULATION_STUDIES = 200  # simulated, delivered and built together: 40,000 clients; more studies are more populations
REGISTRY_YEAR = 2023  # landmarks lie 9 to 21 months before its cut-off, so that the lag matters at one year
LAGGED, UNLAGGED, NAIVE_START = "general_landmark", "general_landmark_no_lag", "general_supervision_start"
OFFICER_CHANGE = "officer_changed_before_origin"
TRUE_TERMS = ("log_prior_cases", "age_decades", "is_male", "addiction")
NAIVE_TERMS = ("ever_changed", "log_prior_cases", "age_decades", "is_male")
BIAS, COVERAGE, SE_RATIO, RISK = 0.05, (0.91, 0.98), (0.90, 1.12), 0.02


@dataclass(frozen=True)
class Effect:
    """How one coefficient was recovered over the studies: `spread` is the standard deviation of its estimates."""

    name: str
    truth: float
    studies: int
    mean: float
    bias: float
    coverage: float
    mean_std_error: float
    spread: float
    se_ratio: float
    is_met: bool


@dataclass(frozen=True)
class Bar:
    """One promise: what was found, what was asked, and whether it is met."""

    name: str
    found: str
    asked: str
    is_met: bool


# ------------------------------------------------------------------------------------------------- the population


def build_population(
    studies: int, seed: int, work: Path, tell: Callable[[str], None]
) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """The published tables of all studies, and the truth by client_id: simulate, deliver, read, build with dbt."""
    from orchestration.deliveries.contracts import read_contracts
    from orchestration.settings import CHECKOUT, Settings
    from orchestration.simulation import CohortConfig, simulate_cohort, write_deliveries, write_north_carolina
    from orchestration.warehouse.build import write_build_row

    config = replace(CohortConfig.recovery(), last_year=REGISTRY_YEAR)
    contracts = read_contracts(CHECKOUT / "expectations")
    cohort = simulate_cohort(studies * STUDY_CLIENTS, seed, config)
    tell(f"simulated {studies * STUDY_CLIENTS:,} clients")
    landing, build = work / "landing", work / "build"
    sources = build / "sources"
    sources.mkdir(parents=True)
    folders = [*write_deliveries(cohort, landing, contracts, "csv", "last"), write_north_carolina(landing, contracts)]
    tell(f"wrote {len(folders)} deliveries")
    cutoffs = [cutoff for folder in folders if (cutoff := _to_sources(folder, contracts, sources)) is not None]
    settings = Settings(
        home=work / "home",
        enrolment_from=config.enrolment_from,
        enrolment_to=config.enrolment_to,
        landmark_months=config.landmark_months,
    )
    write_build_row(sources, min(cutoffs), settings)
    tell("read and pseudonymised them")
    project = work / "dbt_project"
    shutil.copytree(settings.dbt_project, project, ignore=shutil.ignore_patterns("target", "logs"))
    _add_outcomes(project / "seeds" / "outcome.csv")
    _dbt(project, build, work)
    tell("built the warehouse")
    tables = _read_marts(build / "warehouse.duckdb", ("analysis_cohort", "dyad"))
    number = contracts["registry"].table("linkage").column("national_number")
    from orchestration.deliveries.pseudonyms import pseudonyms

    truth = cohort.truth.assign(
        client_id=pseudonyms(
            _key(), str(number.pseudonym), cohort.truth["national_number"].astype(str).str.zfill(9)
        ).to_numpy()
    )
    return tables, truth.set_index("client_id")


def _key() -> Any:
    from orchestration.deliveries.keys import PseudonymKey

    return PseudonymKey(b"recovery study, simulated people", "recovery")


def _to_sources(folder: Path, contracts: Any, sources: Path) -> Any:
    """Verify and read one delivery, pseudonymise it, write its tables as build sources; gives the registry's cut-off."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from orchestration.deliveries.manifest import read_manifest, verify
    from orchestration.deliveries.raw import pseudonymise, to_raw
    from orchestration.deliveries.readers import read_delivery

    manifest = read_manifest(folder)
    organisation = contracts[manifest.organisation]
    verify(folder, manifest, organisation)
    for reading in read_delivery(folder, manifest, organisation.tables, admit_test_numbers=True):
        raw = to_raw(reading.table, pseudonymise(reading.table, reading.frame, _key()))
        raw = raw.append_column("_delivery", pa.array([manifest.delivery_id] * raw.num_rows, pa.string()))
        received = pa.array([date.fromisoformat(manifest.created_at[:10])] * raw.num_rows, pa.date32())
        pq.write_table(
            raw.append_column("_received_on", received), sources / f"{organisation.name}__{reading.table.name}.parquet"
        )
    return manifest.cutoff_on


def _add_outcomes(seed: Path) -> None:
    """Two definitions more, as rows of data: the same without the lag, and one that counts from supervision start."""
    outcomes = pd.read_csv(seed, dtype=str, keep_default_na=False)
    primary = outcomes[outcomes["outcome_id"] == LAGGED]
    extra = [
        primary.assign(outcome_id=UNLAGGED, lag_months="0"),
        primary.assign(outcome_id=NAIVE_START, origin="supervision_start"),
    ]
    missing = [frame for frame in extra if frame["outcome_id"].iloc[0] not in set(outcomes["outcome_id"])]
    pd.concat([outcomes, *missing]).to_csv(seed, index=False)


def _dbt(project: Path, build: Path, work: Path) -> None:
    common = ["--quiet", "--project-dir", str(project), "--profiles-dir", str(project), "--target-path", str(work / "target"),
              "--log-path", str(work / "logs"), "--no-send-anonymous-usage-stats"]  # fmt: skip
    for command in ("seed", "run"):
        done = subprocess.run(
            [sys.executable, "-c", "from dbt.cli.main import cli; cli()", command, *common],
            cwd=build, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"dbt {command} failed:\n{done.stdout[-3000:]}{done.stderr[-2000:]}")


def _read_marts(database: Path, names: Sequence[str]) -> dict[str, pd.DataFrame]:
    import duckdb

    with duckdb.connect(str(database), read_only=True) as connection:
        schemas = dict(connection.execute("select table_name, table_schema from information_schema.tables").fetchall())
        return {
            name: connection.execute(f'select * from "{schemas[name]}"."{name}" order by all').df() for name in names
        }


# ------------------------------------------------------------------------------------------------------ one study


def recovery_specification(imputations: int | None = None) -> Specification:
    """The repository's models for Trust alone: the terms that were simulated, these with the change of officer, and the
    full adjustment, shown beside it: five more terms without effect, six events to a term."""
    spec = read_specification()
    adjustments = {
        "as_simulated": TRUE_TERMS,
        "with_change": (*TRUE_TERMS, OFFICER_CHANGE),
        "full": spec.recidivism.adjustments["full"],
    }
    one = {"raters": ("client",), "scales": ("trust",), "exposures": {"score": {"score": "t2"}}}
    spec = replace(spec, recidivism=replace(spec.recidivism, **one, adjustments=adjustments))
    return spec if imputations is None else spec.with_imputations(imputations)


def one_study(
    study: int, cohort: pd.DataFrame, ever_changed: pd.Series, seed: int, spec: Specification
) -> dict[str, Any]:
    """What one study finds. `cohort`: its rows of analysis_cohort; `ever_changed`: by client_id, also after the origin."""
    found: dict[str, Any] = {"study": study}
    lagged = recidivism.outcome_cohort(cohort, LAGGED, spec)
    found |= {
        "n": lagged.n,
        "events": lagged.events,
        "trust_missing": float(np.isnan(lagged.covariates["client_trust_t2"]).mean()),
    }
    try:
        imputed = recidivism.impute_cohort(lagged, spec, np.random.SeedSequence([seed, study]))
        estimates = recidivism.estimates_of(lagged, imputed, spec).set_index(["adjustment", "term"])
    except (ImputationError, cox.CoxError) as error:
        return {**found, "failed": str(error)}
    for name, at in (
        ("trust", ("as_simulated", "trust")),
        ("addiction", ("as_simulated", "addiction")),
        ("trust_full", ("full", "trust")),
        ("addiction_full", ("full", "addiction")),
        ("change", ("with_change", OFFICER_CHANGE)),
    ):
        row = estimates.loc[at]
        found[name] = tuple(float(row[part]) for part in ("estimate", "std_error", "conf_low", "conf_high"))
        if not np.isfinite(found[name]).all():
            return {**found, "failed": str(row["note"])}
    for name, outcome in (("risk_with_lag", LAGGED), ("risk_without_lag", UNLAGGED)):
        part = recidivism.outcome_cohort(cohort, outcome, spec)
        risks = group_curves.absolute_risks(part, [everybody(part)], spec).set_index("months")
        found[name] = float(risks.loc[12, "risk"])
    found["naive_change"] = _naive(cohort, ever_changed, spec)
    return found


def _naive(cohort: pd.DataFrame, ever_changed: pd.Series, spec: Specification) -> tuple[float, ...] | None:
    """The trap: from supervision start, with a covariate that is known only when supervision has ended."""
    rows = cohort[
        (cohort["outcome_id"] == NAIVE_START) & cohort["is_eligible"].astype("boolean").fillna(False).astype(bool)
    ]
    frame = pd.DataFrame({name: spec.covariates[name].of(rows) for name in NAIVE_TERMS[1:]})
    frame.insert(0, NAIVE_TERMS[0], rows["client_id"].map(ever_changed).astype(float))
    keep = frame.notna().all(axis=1).to_numpy()
    officer = rows["officer_id"].where(rows["officer_id"].notna(), rows["client_id"]).astype(str)
    try:
        fit = cox.fit_cox(
            frame[keep].to_numpy(),
            rows["duration_days"][keep],
            rows["event"][keep].astype(bool),
            terms=NAIVE_TERMS,
            clusters=officer[keep],
        )
    except cox.CoxError:
        return None
    pooled = pool([fit.coefficients], [np.diag(fit.variance)], complete_df=fit.events - len(NAIVE_TERMS))
    return tuple(float(getattr(pooled, part)[0]) for part in ("estimate", "std_error", "conf_low", "conf_high"))


def _of_study(task: tuple[int, pd.DataFrame, pd.Series, int, Specification]) -> dict[str, Any]:
    return one_study(*task)


def run_studies(
    tables: dict[str, pd.DataFrame],
    truth: pd.DataFrame,
    seed: int,
    spec: Specification,
    jobs: int,
    tell: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Fit every study of one population, and say beside it the true one-year risk of those who were analysed.

    The numbers do not depend on `jobs`.
    """
    cohort = tables["analysis_cohort"]
    study_of = cohort["client_id"].map(truth["replicate"])
    ever_changed = tables["dyad"].groupby("client_id")["officer_id"].nunique() > 1
    tasks = [
        (int(study), frame, ever_changed.reindex(frame["client_id"].unique()), seed, spec)
        for study, frame in cohort.groupby(study_of, sort=True)
    ]
    found = []
    with _pool(jobs) as run:
        for number, (task, result) in enumerate(zip(tasks, run(_of_study, tasks), strict=True), start=1):
            frame = task[1]
            is_in = (frame["outcome_id"] == LAGGED) & frame["is_eligible"].astype("boolean").fillna(False)
            true_risk = float(truth.loc[frame.loc[is_in, "client_id"], "risk_12"].mean())
            found.append({**result, "true_risk": true_risk})
            if number % 20 == 0:
                tell(f"fitted {number} of {len(tasks)} studies")
    return found


@contextmanager
def _pool(jobs: int) -> Iterator[Callable[..., Any]]:
    if jobs == 1:
        yield map
        return
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # for the workers: processes share the cores, not threads
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as executor:
        yield executor.map


# ---------------------------------------------------------------------------------------------------- the verdict


def recovered(name: str, truth: float, estimates: Sequence[Sequence[float]], is_bias_asked: bool = True) -> Effect:
    """Bias, coverage and standard error over spread of one coefficient; rows are estimate, std_error, low, high."""
    rows = np.array(estimates, dtype=np.float64)
    mean, spread = float(rows[:, 0].mean()), float(rows[:, 0].std(ddof=1))
    coverage = float(((rows[:, 2] <= truth) & (truth <= rows[:, 3])).mean())
    ratio = float(rows[:, 1].mean()) / spread
    is_met = COVERAGE[0] <= coverage <= COVERAGE[1]
    if is_bias_asked:
        is_met = is_met and abs(mean - truth) <= BIAS and SE_RATIO[0] <= ratio <= SE_RATIO[1]
    return Effect(name, truth, len(rows), mean, mean - truth, coverage, float(rows[:, 1].mean()), spread, ratio, is_met)


def judge(found: list[dict[str, Any]], config: Any) -> tuple[list[Effect], list[Bar]]:
    """Effects and bars. The true one-year risk is that of the clients who were analysed, by days at risk."""
    good = [row for row in found if "failed" not in row]
    effects = [
        recovered("Trust at T2", config.effect_trust, [row["trust"] for row in good]),
        recovered("addiction", config.effect_addiction, [row["addiction"] for row in good]),
        recovered("Trust at T2, full model", config.effect_trust, [row["trust_full"] for row in good]),
        recovered("addiction, full model", config.effect_addiction, [row["addiction_full"] for row in good]),
        recovered("change of officer, landmark", 0.0, [row["change"] for row in good], is_bias_asked=False),
        recovered(
            "change of officer, no landmark",
            0.0,
            [row["naive_change"] for row in good if row["naive_change"]],
            is_bias_asked=False,
        ),
    ]
    true_risk = float(np.mean([row["true_risk"] for row in good]))
    with_lag, without = (
        float(np.nanmean([row[name] for row in good])) for name in ("risk_with_lag", "risk_without_lag")
    )
    bars = [
        *[
            Bar(f"{effect.name}: bias, coverage, SE ratio", f"{effect.bias:+.3f}, {effect.coverage:.3f}, {effect.se_ratio:.2f}",
                f"within {BIAS}, {COVERAGE[0]} to {COVERAGE[1]}, {SE_RATIO[0]} to {SE_RATIO[1]}", effect.is_met)
            for effect in effects[:2]
        ],
        Bar("one-year recidivism with the lag", f"{with_lag:.3f}, true {true_risk:.3f}", f"within {RISK}", abs(with_lag - true_risk) <= RISK),
        Bar("one-year recidivism without the lag", f"{without:.3f}, true {true_risk:.3f}", f"outside {RISK}", abs(without - true_risk) > RISK),
        Bar("null covariate with the landmark covers 1", f"{effects[4].coverage:.3f}", f"{COVERAGE[0]} to {COVERAGE[1]}", effects[4].is_met),
        Bar("null covariate without it does not", f"{effects[5].coverage:.3f}, mean hazard ratio {np.exp(effects[5].mean):.2f}",
            f"below {COVERAGE[0]}", effects[5].coverage < COVERAGE[0]),
        Bar("studies that could be fitted", f"{len(good)} of {len(found)}", "at least 98 %", len(good) >= 0.98 * len(found)),
    ]  # fmt: skip
    return effects, bars


def table_of(effects: list[Effect], bars: list[Bar], found: list[dict[str, Any]]) -> str:
    """The result as text."""
    lines = [
        f"{len(found)} studies; per study on average {np.mean([row['n'] for row in found]):.0f} clients, "
        f"{np.mean([row['events'] for row in found]):.0f} events, {np.mean([row['trust_missing'] for row in found]):.0%} of Trust missing",
        "",
        f"{'log hazard ratio':32}{'truth':>8}{'mean':>8}{'bias':>8}{'coverage':>10}{'mean SE':>9}{'spread':>8}{'ratio':>7}",
    ]
    lines += [
        f"{effect.name:32}{effect.truth:8.2f}{effect.mean:8.3f}{effect.bias:+8.3f}{effect.coverage:10.3f}"
        f"{effect.mean_std_error:9.3f}{effect.spread:8.3f}{effect.se_ratio:7.2f}"
        for effect in effects
    ]
    lines += [
        "",
        *(f"{'met   ' if bar.is_met else 'MISSED'}  {bar.name}: {bar.found} (asked: {bar.asked})" for bar in bars),
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study and print its table. Gives 1 when a bar is missed."""
    from orchestration.simulation import CohortConfig

    parser = argparse.ArgumentParser(prog="python -m tests.recovery.recovery_study", description=main.__doc__)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--seed", type=int, default=20260101)
    parser.add_argument("--imputations", type=int, default=None, help="instead of the number in models.yml")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    given = parser.parse_args(arguments)
    began = time.monotonic()

    def tell(what: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {what}", file=sys.stderr, flush=True)

    spec = recovery_specification(given.imputations)
    found: list[dict[str, Any]] = []
    for population, done in enumerate(range(0, given.studies, POPULATION_STUDIES)):
        with tempfile.TemporaryDirectory(prefix="recovery-") as folder:
            studies = min(POPULATION_STUDIES, given.studies - done)
            tables, truth = build_population(studies, given.seed + population, Path(folder), tell)
        found += run_studies(tables, truth, given.seed + population, spec, given.jobs, tell)
    effects, bars = judge(found, CohortConfig.recovery())
    if given.json:
        content = {"studies": len(found), "imputations": spec.imputer.m, "seconds": round(time.monotonic() - began, 1),
                   "effects": [asdict(effect) for effect in effects], "bars": [asdict(bar) for bar in bars]}  # fmt: skip
        print(json.dumps(content, indent=1))
    else:
        print(table_of(effects, bars, found))
    return 0 if all(bar.is_met for bar in bars) else 1


if __name__ == "__main__":
    sys.exit(main())
