"""A small release, made from deliveries that a home has accepted: built, published, fitted with a few models, and written."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from pathlib import Path

import pandas as pd

from orchestration.analysis import recidivism
from orchestration.analysis.specification import Specification, read_specification
from orchestration.deliveries.contracts import read_contracts
from orchestration.deliveries.ingest import known_key
from orchestration.hashing import sha256_file
from orchestration.home import opened
from orchestration.releases.catalogue import Catalogue, catalogue_of
from orchestration.releases.metadata import About, read_study
from orchestration.releases.writing import Inventory
from orchestration.releases.zone import write_release_tables
from orchestration.settings import Settings
from orchestration.warehouse import build, dbt, versions

DAY = date(2026, 3, 1)
OUTCOME = "general_landmark"


@dataclass(frozen=True)
class SmallRelease:
    """A written release, the version and the fit that it was made from, and what it says."""

    folder: Path
    version: versions.Version
    fit: Path
    spec: Specification
    catalogue: Catalogue
    inventory: Inventory


@cache
def catalogue() -> Catalogue:
    settings = Settings()
    return catalogue_of(dbt.manifest_path(settings), settings.expectations, settings.dbt_project / "seeds")


def about(*, is_synthetic: bool = False) -> About:
    """A release of every published table, a row in each."""
    tables = catalogue().tables
    return About(
        tag="2026.1.0", released_on=DAY, version_id="0f", fit_id="0e", is_simulated=True, registry_cutoff_on="2025-12-31",
        study=read_study(of_twin=is_synthetic), tables=tables, rows={table.name: 1 for table in tables},
        is_synthetic=is_synthetic,
    )  # fmt: skip


def small_version(settings: Settings) -> versions.Version:
    """Build what a home has accepted, without dbt's own tests, and publish it."""
    ledger, contracts = opened(settings), read_contracts(settings.expectations)
    deliveries = {name: build.effective(ledger.deliveries(organisation=name)) for name in contracts}
    with tempfile.TemporaryDirectory(dir=settings.builds) as folder:
        inputs = build.assemble(
            settings,
            ledger,
            contracts,
            known_key(settings, ledger),
            deliveries,
            [],
            Path(folder) / "build",
            date.min,
            {},
        )
        nodes = dbt.build(settings, Path(folder) / "build", is_tested=False)
        assert all(node.is_good for node in nodes)
        tables = versions.published_tables(dbt.read_manifest(settings))
        return versions.publish(settings, inputs.warehouse, tables, inputs.record)[0]


def small_spec() -> Specification:
    """One rater, two scales, one adjustment, three imputations."""
    spec = read_specification().with_imputations(3)
    few = replace(
        spec.recidivism, raters=("client",), scales=("trust", "bond"), adjustments={"unadjusted": ()},
        min_events_per_parameter=4.0,
    )  # fmt: skip
    return replace(spec, imputer=replace(spec.imputer, iterations=2), recidivism=few)


def write_small_fit(version: versions.Version, spec: Specification, folder: Path) -> Path:
    """The estimates and the imputed data sets of one outcome, where `read_fit` finds them."""
    cohort = recidivism.outcome_cohort(pd.read_parquet(version.folder / "analysis_cohort.parquet"), OUTCOME, spec)
    imputed = recidivism.impute_cohort(cohort, spec, 1)
    rows = imputed.index.to_numpy()
    person = pd.DataFrame(
        {
            "outcome_id": OUTCOME, "imputation": imputed["imputation"].to_numpy(), "client_id": cohort.client[rows],
            "cluster": cohort.cluster[rows], "entry_days": cohort.entry[rows], "duration_days": cohort.duration[rows],
            "event": cohort.event[rows],
        }
    )  # fmt: skip
    folder.mkdir()
    kept = pd.concat([person, imputed.drop(columns="imputation").reset_index(drop=True)], axis=1)
    kept.to_parquet(folder / "imputed.parquet")
    recidivism.estimates_of(cohort, imputed, spec).to_parquet(folder / "estimates.parquet")
    tables = {name: {"sha256": sha256_file(folder / f"{name}.parquet")} for name in ("imputed", "estimates")}
    manifest = {"fit_id": "f00d", "version_id": version.version_id, "tables": tables}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def small_release(settings: Settings, folder: Path) -> SmallRelease:
    """A release in `folder`/release of what a home has accepted."""
    version, spec = small_version(settings), small_spec()
    fit = write_small_fit(version, spec, folder / "fit")
    inventory = write_release_tables(
        version, fit, folder / "release", catalogue(), spec, tag="2026.1.0", released_on=DAY, makes_inert=True
    )
    return SmallRelease(folder / "release", version, fit, spec, catalogue(), inventory)
