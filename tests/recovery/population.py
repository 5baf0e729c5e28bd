"""Simulated people as the tables that models read: simulate, spell as partners do, pseudonymise, and build with the SQL of
the dbt project, compiled once, in memory. `by_delivery` goes the whole road by files instead and must give the same.

Only the models that `TABLES` need are built, of outcome definitions that are given. Nothing is fitted here.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from orchestration.deliveries.contracts import Organisation, Table, read_contracts
from orchestration.deliveries.keys import PseudonymKey
from orchestration.deliveries.manifest import read_manifest, verify
from orchestration.deliveries.raw import decoded, pseudonymised
from orchestration.deliveries.readers import READ_TYPES, read_delivery
from orchestration.settings import CHECKOUT, Settings
from orchestration.simulation import CohortConfig, simulate_cohort, write_deliveries
from orchestration.simulation.cohort import Cohort
from orchestration.simulation.delivery import frames_of, snapshot, spelled_frame
from orchestration.warehouse.build import write_build_row, write_stopped_rows
from tests.warehouse.histories import Compiled

TABLES = ("analysis_cohort", "dyad")
WAVES = ("T1", "T2")  # later ones are after every origin
LAGGED, UNLAGGED, FROM_START = "landmark", "landmark_no_lag", "supervision_start"
_KEY = PseudonymKey(b"recovery study, simulated people", "recovery")


@dataclass(frozen=True)
class Population:
    """Studies that share nobody: their rows of `TABLES` and the truth by client_id, `study` in both."""

    cohort: pd.DataFrame
    ever_changed: pd.Series[Any]
    truth: pd.DataFrame


def outcome_definitions() -> pd.DataFrame:
    """The primary definition of the repository; the same without the registration lag; and from supervision start."""
    seed = pd.read_csv(CHECKOUT / "dbt_project" / "seeds" / "outcome.csv", dtype=str, keep_default_na=False)
    primary = seed[seed["outcome_id"] == "general_landmark"]
    return pd.concat(
        [
            primary.assign(outcome_id=LAGGED),
            primary.assign(outcome_id=UNLAGGED, lag_months="0"),
            primary.assign(outcome_id=FROM_START, origin="supervision_start", entry="origin"),
        ],
        ignore_index=True,
    )


def simulated_population(clients: int, seed: int, config: CohortConfig, compiled: Compiled) -> Population:
    """A population of `clients` clients, read off in the extract of the last year of `config`."""
    contracts = read_contracts(CHECKOUT / "expectations")
    cohort = simulate_cohort(clients, seed, config)
    last_day = date(config.last_year, 12, 31)
    with tempfile.TemporaryDirectory(prefix="recovery-") as place:
        sources = Path(place) / "sources"
        sources.mkdir()
        for organisation in contracts.values():
            if organisation.kind in ("partner", "registry"):
                for name, frame in frames_of(cohort, organisation).items():
                    table = organisation.table(name)
                    _write(sources, organisation, table, _as_read(table, _typed(table, frame, last_day)))
        return _built(sources, cohort, contracts, last_day, compiled)


def by_delivery(clients: int, seed: int, config: CohortConfig, compiled: Compiled) -> Population:
    """The same population by the whole road: deliveries written, verified and read."""
    contracts = read_contracts(CHECKOUT / "expectations")
    cohort = simulate_cohort(clients, seed, config)
    with tempfile.TemporaryDirectory(prefix="recovery-") as place:
        landing, sources = Path(place) / "landing", Path(place) / "sources"
        sources.mkdir()
        for folder in write_deliveries(cohort, landing, contracts, "csv", "last"):
            manifest = read_manifest(folder)
            organisation = contracts[manifest.organisation]
            verify(folder, manifest, organisation)
            for reading in read_delivery(folder, manifest, organisation.tables, admit_test_numbers=True):
                _write(sources, organisation, reading.table, reading.rows)
        return _built(sources, cohort, contracts, date(config.last_year, 12, 31), compiled)


def _typed(table: Table, frame: pd.DataFrame, last_day: date) -> pd.DataFrame:
    """What the source holds on the last day, as reading its delivery would give it."""
    if "wave" in frame:
        frame = frame[frame["wave"].isin(WAVES)]
    known, blanks = snapshot(table.name, frame, last_day)
    spelled = spelled_frame(table, known, blanks, numeric_codes=False)
    for column in table.columns:
        values = spelled[column.source]
        if column.type == "integer":
            spelled[column.source] = values.where(~values.isin([float(code) for code in column.missing])).astype(
                "Int64"
            )
        elif column.type == "decimal":
            spelled[column.source] = values.where(~values.isin([float(code) for code in column.missing]))
        elif column.type != "date":
            spelled[column.source] = values.where(~values.isin(["", *column.missing]), None)
    return spelled


def _as_read(table: Table, frame: pd.DataFrame) -> pa.Table:
    types = [(column.source, READ_TYPES[column.type]) for column in table.columns]
    return pa.Table.from_pandas(frame, schema=pa.schema(types), preserve_index=False)


def _write(sources: Path, organisation: Organisation, table: Table, rows: pa.Table) -> None:
    raw = decoded(pseudonymised(table, rows, _KEY))
    raw = raw.append_column("_delivery", pa.array(["recovery"] * raw.num_rows, pa.string()))
    raw = raw.append_column("_received_on", pa.array([date(2026, 1, 2)] * raw.num_rows, pa.date32()))
    pq.write_table(raw, sources / f"{organisation.name}__{table.name}.parquet")


def _built(
    sources: Path, cohort: Cohort, contracts: Mapping[str, Organisation], cutoff_on: date, compiled: Compiled
) -> Population:
    config = cohort.config
    write_stopped_rows(sources, {})
    write_build_row(
        sources,
        cutoff_on,
        Settings(enrolment_from=config.enrolment_from, enrolment_to=config.enrolment_to, landmark_months=config.landmark_months),
    )  # fmt: skip
    with _marts(compiled, sources.parent) as connection:
        rows, dyads = (connection.execute(f"from marts.{name} order by all").df() for name in TABLES)
    purpose = str(contracts["registry"].table("linkage").column("national_number").pseudonym)
    numbers = cohort.truth["national_number"].astype(str).str.zfill(9)
    truth = cohort.truth.assign(client_id=_KEY.pseudonyms(purpose, numbers.tolist())).set_index("client_id")
    ever_changed = dyads.groupby("client_id")["officer_id"].nunique() > 1
    return Population(rows.assign(study=rows["client_id"].map(truth["replicate"])), ever_changed, truth)


@contextlib.contextmanager
def _marts(compiled: Compiled, build: Path) -> Iterator[Any]:
    """A connection in which `TABLES`, and what they are made from, stand as the project's SQL makes them."""
    import duckdb

    with duckdb.connect() as connection, contextlib.chdir(build):
        connection.execute("attach ':memory:' as warehouse")
        connection.execute(f"attach '{compiled.folder / 'build' / 'warehouse.duckdb'}' as seeded (read_only)")
        for layer in ("seeds", "staging", "intermediate", "marts"):
            connection.execute(f"create schema warehouse.{layer}")
        for (name,) in connection.execute(
            "select table_name from information_schema.tables where table_catalog = 'seeded' and table_schema = 'seeds'"
        ).fetchall():
            connection.execute(f"create table warehouse.seeds.{name} as from seeded.seeds.{name}")
        connection.execute("use warehouse")
        definitions = outcome_definitions()
        connection.register("definitions", definitions)
        connection.execute("delete from seeds.outcome")
        connection.execute("insert into seeds.outcome by name from definitions")
        for kind, relation, statement in _needed(compiled.statements):
            connection.execute(f"create {kind} {relation} as {statement}")
        yield connection


def _needed(statements: Sequence[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """The statements of `TABLES` and of all that they read, in the order given."""
    by_name = {relation: statement for _, relation, statement in statements}
    wanted = {relation for relation in by_name if relation in {f'"marts"."{name}"' for name in TABLES}}
    left = list(wanted)
    while left:
        statement = by_name[left.pop()]
        found = {name for name in by_name if name in statement and name not in wanted}
        wanted |= found
        left.extend(found)
    return [one for one in statements if one[1] in wanted]


def numbered(values: np.ndarray) -> np.ndarray:
    """Labels as whole numbers, so that a fit need not sort texts each time."""
    return np.unique(values.astype(str), return_inverse=True)[1]
