"""The synthetic twin of a release: the same tables, columns, labels and formats, and no row of a person. It may leave.

A cohort of the simulation goes, delivered, gated and built in a home of its own, through the same warehouse as real data. Of the real
data it knows what `twin_aims` reads from frames that may leave, and the day of the registry's cut-off; it is given no version and no fit.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestration.releases import metadata
from orchestration.releases.catalogue import Catalogue
from orchestration.releases.formats import SYNTHETIC, Language
from orchestration.releases.scripts import reproduced_model
from orchestration.releases.tables import IMPUTATION, IMPUTED, ROW, ReleasedTable, imputed_sets, published, wide
from orchestration.releases.twin_aims import aims_of, main_outcome, nearest
from orchestration.releases.writing import Content, Inventory, Spelling, write_folder
from orchestration.settings import Settings
from orchestration.trouble import Mendable

if TYPE_CHECKING:
    import pandas as pd

    from orchestration.analysis.specification import Specification
    from orchestration.simulation.config import CohortConfig
    from orchestration.warehouse.versions import Version

ITERATIONS = 5  # of the chains that impute the twin: enough for rows that nobody draws conclusions from
WIDE_COLUMNS = 10
BENCHMARK, RETURN = "benchmark_recid", ("follow", "durat", "cens", "event")
NAMED = ("client", "officer", "supervision", "dyad")  # tables whose rows have a pseudonym, which others refer to


class TwinNotBuilt(Mendable):
    """The twin's own deliveries were rejected, or its warehouse was not built; says which, and how many."""


@dataclass(frozen=True)
class TwinOf:
    """The release that a twin is of, as far as it is public: tag, days, whether the release itself is of simulated data."""

    tag: str
    released_on: date
    registry_cutoff_on: date
    is_simulated: bool

    @property
    def seed(self) -> int:
        """The seed of the twin: of the tag alone."""
        return int.from_bytes(hashlib.sha256(f"synthetic twin {self.tag}".encode()).digest()[:4])


def write_twin(
    out: Path,
    of: TwinOf,
    judged: Mapping[str, pd.DataFrame],
    settings: Settings,
    catalogue: Catalogue,
    spec: Specification,
    *,
    makes_inert: bool = True,
    language: Language = "nl",
    seed: int | None = None,
) -> Inventory:
    """Write the twin into `out`, a folder that is not there yet, whole or not at all.

    `judged` are frames that may leave (`disclosure.Judged.frames`); of `settings` the windows and the dbt project are used, never
    the home, its key or its ledger. The same frames, tag and code give the same rows. Raises TwinNotBuilt,
    and FileExistsError where there is something in `out` already.
    """
    if out.exists():
        raise FileExistsError(f"{out.name} is there already: a twin is written once")
    seed = of.seed if seed is None else seed
    seeds = settings.dbt_project / "seeds"
    config, clients = nearest(aims_of(judged, main_outcome(seeds)), start_of(settings, of), seeds)
    tables = twin_tables(config, clients, seed, settings, catalogue, spec)
    about = metadata.About(
        tag=of.tag, released_on=of.released_on, version_id="synthetic", fit_id="synthetic", is_simulated=of.is_simulated,
        registry_cutoff_on=of.registry_cutoff_on.isoformat(), study=metadata.read_study(of_twin=True),
        tables=tuple(table.described for table in tables), rows={table.name: table.rows.num_rows for table in tables},
        is_synthetic=True,
    )  # fmt: skip
    model = reproduced_model(judged["estimates"], _stacked(tables), spec) if "estimates" in judged else None
    return write_folder(
        Content(about, catalogue, tables, model, Spelling(makes_inert, language), has_filter=False), out
    )


def start_of(settings: Settings, of: TwinOf) -> CohortConfig:
    """The settings of the simulation before it is moved: the windows of the study, and the cut-off of the release."""
    from orchestration.simulation.config import DEFAULT

    return replace(
        DEFAULT, enrolment_from=settings.enrolment_from, enrolment_to=settings.enrolment_to,
        first_year=settings.enrolment_from.year, last_year=of.registry_cutoff_on.year, landmark_months=settings.landmark_months,
    )  # fmt: skip


def twin_tables(
    config: CohortConfig, clients: int, seed: int, settings: Settings, catalogue: Catalogue, spec: Specification
) -> list[ReleasedTable]:
    """Every table of a release, of simulated clients: the published ones, `wide`, and the imputed data sets of each modelled outcome.

    What names a client, officer, supervision or dyad says that it is synthetic. Raises TwinNotBuilt.
    """
    with _home(settings) as own:
        marts = published(_built(own, config, clients, seed), catalogue)
    marts = [_scrambled(table, seed) if table.name == BENCHMARK else table for table in _renamed(marts)]
    by_name = {table.name: table for table in marts}
    cohort = by_name["analysis_cohort"].rows.to_pandas()
    imputed = _imputed(cohort, by_name["outcome_definition"].rows.to_pandas(), spec, seed)
    return [*marts, wide(by_name, catalogue), *imputed_sets(cohort, imputed, spec, catalogue)]


@contextmanager
def _home(settings: Settings) -> Iterator[Settings]:
    """Settings over a home that is gone afterwards, with nothing of the real one: no key, ledger, source, waiver or correction."""
    with tempfile.TemporaryDirectory(prefix="delictvrij-twin-") as name:
        folder = Path(name)
        own: dict[str, Any] = {
            "home": folder / "home", "key_file": folder / "home.key", "inbox": folder / "inbox",
            "waivers": folder / "waivers.yml", "corrections": folder / "corrections.yml", "sources": None,
            "opening_key_file": None, "project": "delictvrij synthetic twin", "admit_test_numbers": True,
        }  # fmt: skip
        yield settings.apart(**own)


def _built(settings: Settings, config: CohortConfig, clients: int, seed: int) -> Version:
    from orchestration.deliveries.contracts import read_contracts
    from orchestration.deliveries.ingest import ingest, known_key
    from orchestration.home import initialise, opened
    from orchestration.simulation import simulate
    from orchestration.warehouse import build, dbt, versions

    simulate(
        settings.inbox_path, clients, seed, periods="last", config=config, expectations=settings.expectations,
        seeds=settings.dbt_project / "seeds",
    )  # fmt: skip
    # A key of the seed, so that the same twin has the same rows in the same order; it keeps nobody's secret.
    settings.key_path.write_text(hashlib.sha256(f"synthetic twin {seed}".encode()).hexdigest() + "\n")
    settings.key_path.chmod(0o400)
    initialise(settings)
    ledger = opened(settings)
    for manifest in sorted(settings.inbox_path.glob("*/*/*/manifest.json")):
        receipt = ingest(manifest.parent, settings, ledger)
        if receipt.status != "accepted":
            rules = ", ".join(sorted({reason.rule for reason in receipt.reasons}))
            raise TwinNotBuilt(f"the twin's own delivery of {receipt.organisation} was rejected by {rules}")
    inputs = build.prepare(settings, ledger, read_contracts(settings.expectations), known_key(settings, ledger))
    nodes = dbt.build(settings, inputs.folder, is_tested=False)
    bad = [node.unique_id for node in nodes if not node.is_good]
    if bad:
        raise TwinNotBuilt(
            f"{len(bad)} of {len(nodes)} dbt nodes of the twin's warehouse failed: {', '.join(bad[:10])}"
        )
    tables = versions.published_tables(dbt.read_manifest(settings))
    return versions.publish(settings, inputs.warehouse, tables, inputs.record)[0]


def _renamed(tables: Sequence[ReleasedTable]) -> list[ReleasedTable]:
    """The same rows, with names that say what they are instead of pseudonyms; in the same order."""
    import pyarrow as pa

    by_name = {table.name: table.rows for table in tables}
    names: dict[str, str] = {}
    for kind in NAMED:
        ids = sorted(set(by_name[kind][f"{kind}_id"].to_pylist()))
        names |= {one: f"{SYNTHETIC.lower()}-{kind}-{number:05d}" for number, one in enumerate(ids, start=1)}
    found = []
    for table in tables:
        rows = table.rows
        for position, column in enumerate(table.described.variables):
            if column.personal == "pseudonym":
                renamed = [None if one is None else names[one] for one in rows[column.name].to_pylist()]
                rows = rows.set_column(position, rows.schema.field(position), pa.array(renamed, pa.string()))
        found.append(replace(table, rows=rows))
    return found


def _scrambled(table: ReleasedTable, seed: int) -> ReleasedTable:
    """Public data of real people, each column in an order of its own, so that no row is that of one of them; time and return stay together."""
    import numpy as np

    rng = np.random.default_rng(seed)
    together = rng.permutation(table.rows.num_rows)
    rows = table.rows
    for position, name in enumerate(rows.column_names):
        if name in table.described.key:
            continue
        order = together if name in RETURN else rng.permutation(rows.num_rows)
        rows = rows.set_column(position, rows.schema.field(position), rows[name].take(order))
    return replace(table, rows=rows)


def _imputed(cohort: pd.DataFrame, definitions: pd.DataFrame, spec: Specification, seed: int) -> pd.DataFrame:
    """The imputed data sets of every modelled outcome, as a fit keeps them."""
    import pandas as pd

    from orchestration.analysis import recidivism

    short = replace(spec, imputer=replace(spec.imputer, iterations=min(spec.imputer.iterations, ITERATIONS)))
    parts = []
    for outcome in recidivism.modelled_outcomes(definitions, spec):
        known = recidivism.outcome_cohort(cohort, outcome, spec)
        filled = recidivism.impute_cohort(known, short, seed)
        rows = filled.index.to_numpy()
        person = pd.DataFrame(
            {
                "outcome_id": outcome, "imputation": filled["imputation"].to_numpy(), "client_id": known.client[rows],
                "cluster": known.cluster[rows], "entry_days": known.entry[rows], "duration_days": known.duration[rows],
                "event": known.event[rows],
            }
        )  # fmt: skip
        parts.append(pd.concat([person, filled.drop(columns="imputation").reset_index(drop=True)], axis=1))
    return pd.concat(parts, ignore_index=True)


def _stacked(tables: Sequence[ReleasedTable]) -> pd.DataFrame:
    """What `reproduced_model` needs of the imputed tables: outcome, imputation, entry."""
    import pandas as pd

    parts = [
        table.rows.select([IMPUTATION, "entry_days"]).to_pandas().assign(outcome_id=table.name.removeprefix(f"{IMPUTED}_"))
        for table in tables
        if table.name.startswith(f"{IMPUTED}_")
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True).rename(columns={IMPUTATION: "imputation"})


def same_rows(twin: Sequence[ReleasedTable], real: Sequence[ReleasedTable]) -> dict[str, int]:
    """How many rows of the twin are rows of the real tables, names of people left out, by table.

    Only tables wide enough to tell: of people, of `WIDE_COLUMNS` and more besides names, and without two people whose rows are alike.
    For the zone alone: a twin is never chosen by it.
    """
    others = {table.name: table for table in real}
    found = {}
    for table in twin:
        columns = [
            one.name for one in table.described.variables if one.personal != "pseudonym" and one.name not in (IMPUTATION, ROW)
        ]  # fmt: skip
        is_of_people = any(table.described.variable(name).personal not in ("none", "public") for name in columns)
        if table.name not in others or not is_of_people or len(columns) < WIDE_COLUMNS:
            continue
        names = [one.name for one in table.described.variables if one.personal == "pseudonym"]
        known = _content(others[table.name], columns)
        alike = set(known)
        if len(alike) == len(set(zip(_content(others[table.name], names), known, strict=True))):
            found[table.name] = sum(row in alike for row in _content(table, columns))
    return found


def _content(table: ReleasedTable, columns: Sequence[str]) -> list[tuple[Any, ...]]:
    return list(zip(*(table.rows[name].to_pylist() for name in columns), strict=True))


def synthetic_files(inventory: Inventory, folder: str = "twin") -> frozenset[str]:
    """The files of a twin as `disclosure_scan.Allowed.synthetic` names them, where it lies in `folder` of what leaves."""
    return frozenset(f"{folder}/{name}" for name in (*inventory.files, "SHA256SUMS"))
