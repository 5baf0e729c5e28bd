"""A fit: everything that is estimated from one version, and how it is kept. A pure function of inputs, models, seed and code.

Nothing here knows where versions lie or what a version is; the caller names both in the manifest.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

import pandas as pd

from orchestration.analysis import benchmark, outcome, recidivism
from orchestration.analysis.coding import determinant_coding
from orchestration.analysis.determinants import Determined, determinants
from orchestration.analysis.development import change_patterns, pattern_agreement, reliability, wave_means
from orchestration.analysis.growth import growth_models
from orchestration.analysis.inputs import Inputs
from orchestration.analysis.raters import rated_pairs, rater_agreement, rater_convergence
from orchestration.analysis.reuse import Earlier, Lender, models_hash, outcome_part, rows_read
from orchestration.analysis.specification import Specification
from orchestration.files import write_json
from orchestration.hashing import code_hash, combined_hash, content_hash, is_as_marked, sha256_file
from orchestration.progress import Progress

ROOM = Path(__file__).parent
MANIFEST = "manifest.json"
PACKAGES = ("numpy", "scipy", "pandas", "pyarrow", "statsmodels", "lifelines", "matplotlib", "mixedlm")
SHOWING = ROOM / "showing"  # reads fits, and changes no number of one
# When it is fitted, which fit counts, which fits go, and fits of one's own, which go through the same functions.
CHANGES_NO_NUMBER = ("assets.py", "signoff.py", "leaving.py", "own.py")
RECOVERY = ROOM / "recovery.json"  # what `make recovery` found, and for which code
ZONE_TABLES = ("imputed",)  # hold a row per person; everything else is estimates and counts


@dataclass(frozen=True)
class FitResult:
    """One frame for each table of a fit. `imputed` has a row per person and stays inside the zone."""

    baseline: pd.DataFrame
    estimates: pd.DataFrame
    process_estimates: pd.DataFrame
    proportional_hazards: pd.DataFrame
    estimates_few: pd.DataFrame
    coding: pd.DataFrame
    wave_means: pd.DataFrame
    change_patterns: pd.DataFrame
    pattern_agreement: pd.DataFrame
    growth: pd.DataFrame
    rater_agreement: pd.DataFrame
    rater_convergence: pd.DataFrame
    reliability: pd.DataFrame
    determinants: pd.DataFrame
    marginal_effects: pd.DataFrame
    determinant_tests: pd.DataFrame
    determinant_imputation: pd.DataFrame
    determinant_coding: pd.DataFrame
    survival_curves: pd.DataFrame
    log_rank: pd.DataFrame
    absolute_risk: pd.DataFrame
    cumulative_incidence: pd.DataFrame
    restricted_mean: pd.DataFrame
    state_occupation: pd.DataFrame
    event_counts: pd.DataFrame
    risk_by_level: pd.DataFrame
    reference_risk: pd.DataFrame
    calibration: pd.DataFrame
    performance: pd.DataFrame
    e_values: pd.DataFrame
    benchmark: pd.DataFrame
    engine_agreement: pd.DataFrame
    cohort_flow: pd.DataFrame
    outcome_definition: pd.DataFrame
    imputation_diagnostics: pd.DataFrame
    imputation_trace: pd.DataFrame
    imputed: pd.DataFrame
    seed: int
    imputations: int
    models_hash: str = ""
    rows_read: Mapping[str, str] = field(default_factory=dict)
    reused: tuple[str, ...] = ()
    steps: int = 0

    @property
    def tables(self) -> Mapping[str, pd.DataFrame]:
        return {one.name: value for one in fields(self) if isinstance(value := getattr(self, one.name), pd.DataFrame)}

    @property
    def engines_agree(self) -> bool:
        """Whether the second engine found the same coefficients and errors in every model that it could fit."""
        return bool(self.engine_agreement["agrees"].astype("boolean").fillna(True).all())

    @property
    def benchmark_agrees(self) -> bool:
        """Whether every published number was found again; True where there is no benchmark cohort yet."""
        return bool(self.benchmark["agrees"].all())

    @property
    def models_fitted(self) -> int:
        """Models of Q1, Q2 and Q3 that were fitted for this fit, each on all its imputed data sets, not taken over from another."""
        by_outcome = [self.estimates, self.process_estimates]
        mine = [
            name for frame in by_outcome for name in frame["model_id"].unique()
            if outcome_part(str(name).partition(".")[0]) not in self.reused
        ]  # fmt: skip
        whole = [self.tables[name] for name in ("growth", "determinants") if name not in self.reused]
        return len(mine) + sum(int(frame["model_id"].nunique()) for frame in whole if len(frame))

    @property
    def not_estimable(self) -> int:
        """Models of Q3 with at least one term that could not be estimated."""
        return int(self.estimates.loc[self.estimates["note"].notna(), "model_id"].nunique())


def run_fit(
    inputs: Inputs,
    spec: Specification,
    seed: int | None = None,
    progress: Progress | None = None,
    earlier: Earlier | None = None,
) -> FitResult:
    """Estimate everything in `spec` from `inputs`; the same arguments give the same bits on one machine.

    `seed` (default that of the models) feeds the imputation of each outcome by its own stream, so that an outcome's
    numbers do not depend on which others there are. `progress(what, done, total)` is called after each model.
    An outcome without eligible clients, or an empty benchmark, gives no rows; nothing is invented for it. What `earlier`
    made from the same rows is taken over, which gives the same bits.
    """
    root = spec.seed if seed is None else seed
    inputs = inputs.in_order()
    marks = rows_read(inputs, spec)
    lender = Lender(earlier, marks)
    outcomes = recidivism.modelled_outcomes(inputs.outcome_definition, spec)
    cohorts = [recidivism.outcome_cohort(inputs.analysis_cohort, name, spec) for name in outcomes]
    cohorts = [cohort for cohort in cohorts if cohort.n]
    steps = len(recidivism.models(spec)) + outcome.STEPS_BESIDE_MODELS
    q2_models = len(spec.determinants.raters) * len(spec.determinants.rules) * len(spec.determinants.scales) * 2
    tell = _Counter(progress, 4 + q2_models + len(cohorts) * steps)

    @cache
    def q2() -> Determined:
        return determinants(inputs, spec, root, lambda: tell("determinants"))

    @cache
    def pairs() -> pd.DataFrame:
        return rated_pairs(inputs.alliance_score, inputs.wave, inputs.dyad)

    made: dict[str, Callable[[], pd.DataFrame]] = {
        "wave_means": lambda: wave_means(inputs.alliance_score, inputs.dyad, spec.confidence),
        "change_patterns": lambda: change_patterns(inputs.alliance_change),
        "pattern_agreement": lambda: pattern_agreement(inputs.alliance_pattern_agreement),
        "growth": lambda: growth_models(inputs.alliance_score, inputs.dyad, spec.development),
        "rater_agreement": lambda: rater_agreement(pairs(), spec.confidence),
        "rater_convergence": lambda: rater_convergence(pairs(), spec.confidence),
        "reliability": lambda: reliability(inputs.scale_reliability, spec.development.low_reliability, spec.confidence),
        "determinants": lambda: q2().estimates,
        "marginal_effects": lambda: q2().effects,
        "determinant_tests": lambda: q2().tests,
        "determinant_imputation": lambda: q2().diagnostics,
        "determinant_coding": lambda: determinant_coding(inputs, spec),
        "benchmark": lambda: _benchmark(inputs.benchmark_recid),
    }
    whole = {}
    for name, make in made.items():
        whole[name] = lender.table(name, make)
        if name in ("change_patterns", "growth", "reliability", "benchmark"):
            tell(name.replace("_", " "))
    found = []
    for cohort in cohorts:
        kept = lender.outcome(cohort.outcome_id, tuple(outcome.COLUMNS))
        if kept is None:
            kept = outcome.tables_of(cohort, inputs, spec, root, tell)
        else:
            tell(f"unchanged {cohort.outcome_id}", steps)
        found.append(kept)
    return FitResult(
        **{name: outcome.stacked([tables[name] for tables in found], name) for name in outcome.COLUMNS},
        **whole,
        cohort_flow=inputs.cohort_flow.sort_values(["outcome_id", "step"], kind="stable").reset_index(drop=True),
        outcome_definition=_of_models(inputs.outcome_definition, outcomes),
        seed=root,
        imputations=spec.imputer.m,
        models_hash=models_hash(spec),
        rows_read=marks,
        reused=tuple(lender.taken),
        steps=tell.total,
    )


def _of_models(definitions: pd.DataFrame, outcomes: list[str]) -> pd.DataFrame:
    return definitions[definitions["outcome_id"].isin(outcomes)].reset_index(drop=True)


def fit_id(fingerprint: str, spec: Specification, seed: int | None = None) -> str:
    """The name of a fit before it is run: 16 hex digits over the rows that it reads, models, seed, m, code and packages."""
    parts = {
        "fingerprint": fingerprint, "seed": str(spec.seed if seed is None else seed), "m": str(spec.imputer.m),
        "models": models_hash(spec), "code": room_hash(), **_packages(),
    }  # fmt: skip
    return combined_hash(parts)[:16]


def made_by(spec: Specification, seed: int | None = None) -> dict[str, Any]:
    """What a fit is made by, apart from its rows: as the manifest has it."""
    return {
        "seed": spec.seed if seed is None else seed, "imputations": spec.imputer.m, "models_hash": models_hash(spec),
        "packages": _packages(), "code_hash": room_hash(),
    }  # fmt: skip


def room_hash() -> str:
    """SHA-256 over everything in this room that can change a number: code, models, published numbers; not what shows them."""
    files = (path for path in ROOM.rglob("*") if path.suffix in {".py", ".yml"} and path.name != "assets.py")
    return code_hash(sorted(path for path in files if SHOWING not in path.parents), ROOM)


def recovery_badge(file: Path = RECOVERY) -> dict[str, Any]:
    """Whether this very code has found known effects again in enough simulated studies, and what is on record.

    `is_proven`, `said` (in words), and what `make recovery` wrote: code_hash, studies, asked, seed, made_on, mean_coverage,
    coverage, bias and se_ratio of each term, the bars that were missed, and (since they are written) `effects` and `bars`: all rows
    of the study, mutants and naive methods beside the right one.
    """
    if not file.is_file():
        return {"is_proven": False, "said": "not proven: no recovery study is on record"}
    found = json.loads(file.read_text(encoding="utf-8"))
    missed, studies, asked = found["missed"], found["studies"], found["asked"]
    what = f"{studies} simulated studies on {found['made_on']}, mean coverage {found['mean_coverage']:.3f}, code {found['code_hash'][:16]}"
    reasons = []
    if found["code_hash"] != room_hash():
        reasons.append("not proven for this code, other code was tried")
    if studies < asked:
        reasons.append(f"{asked} studies are asked for proof")
    if missed:
        reasons.append(f"{len(missed)} bars were missed")
    return {**found, "is_proven": not reasons, "said": f"{'; '.join(reasons) or 'proven for this code'}: {what}"}


def write_fit(result: FitResult, folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Write one Parquet file per table and `manifest.json` (last) into `folder`; returns the manifest.

    `manifest` is what the caller knows (version_id, fit_id, fingerprint, simulated ...); added here: seed, imputations,
    packages, code hash, rows and hashes of each table, and what `recovery_badge` says unless the caller knows better. Give a
    folder that is renamed when this returns.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    entries: dict[str, Any] = {}
    for name, frame in result.tables.items():
        table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
        path = folder / f"{name}.parquet"
        pq.write_table(table, path, compression="zstd")
        entries[name] = {
            "rows": table.num_rows,
            "content_hash": content_hash(table),
            "sha256": sha256_file(path),
            "zone_only": name in ZONE_TABLES,
        }
    whole = {
        "recovery": recovery_badge(), **manifest, "seed": result.seed, "imputations": result.imputations, "packages": _packages(), "code_hash": room_hash(),
        "tables": entries, "engines_agree": result.engines_agree, "benchmark_agrees": result.benchmark_agrees,
        "models_not_estimable": result.not_estimable, "models_hash": result.models_hash, "rows_read": dict(result.rows_read),
    }  # fmt: skip
    write_json(folder / MANIFEST, whole)
    return whole


def read_fit(folder: Path) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    """The tables of a written fit and its manifest."""
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return {name: pd.read_parquet(folder / f"{name}.parquet") for name in manifest["tables"]}, manifest


def is_whole(folder: Path) -> bool:
    """Whether a fit lies in a folder, every table as its manifest says."""
    if not (folder / MANIFEST).is_file():
        return False
    entries = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["tables"]
    return all(is_as_marked(folder / f"{name}.parquet", entry["sha256"]) for name, entry in entries.items())


class _Counter:
    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self.total, self._done = progress, total, 0

    def __call__(self, what: str, steps: int = 1) -> None:
        self._done += steps
        if self._progress is not None:
            self._progress(what, self._done, self.total)


def _benchmark(recid: pd.DataFrame) -> pd.DataFrame:
    return benchmark.compare_with_published(recid, benchmark.read_published()) if len(recid) else _no_benchmark()


def _no_benchmark() -> pd.DataFrame:
    return pd.DataFrame({field.name: pd.Series(dtype=object) for field in fields(benchmark.Comparison)}).astype(
        {"agrees": bool}
    )


def _packages() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: package_version(name) for name in PACKAGES}
