"""A small world for tests of the marts: rows in our own words, written as the build inputs that dbt reads.

A row is spelled with the staged names and terms of the contracts; the writer turns them into the partner's headers and
codes. Building the project on such a world is here too; what must come out is in the tests.
"""

from __future__ import annotations

import csv
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from orchestration.deliveries.contracts import Column, Table, read_contracts
from orchestration.settings import Settings
from orchestration.warehouse import dbt

CHECKOUT = Path(__file__).resolve().parents[2]
PROJECT = CHECKOUT / "dbt_project"
CONTRACTS = read_contracts(CHECKOUT / "expectations")
_ARROW = {"text": pa.string(), "code": pa.string(), "integer": pa.int64(), "decimal": pa.float64(), "date": pa.date32()}


def pseudonym(number: str) -> str:
    """A stand-in for a keyed pseudonym: 32 hexadecimal characters."""
    return hashlib.sha256(number.encode()).hexdigest()[:32]


def _delivered(column: Column, value: Any) -> Any:
    if value is None:
        return None
    if column.pseudonym:
        return pseudonym(str(value))
    if column.codes:
        return {code.term: code.source for code in column.codes}.get(value, value)
    return value


def raw_table(table: Table, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows in our words as the table that the raw store would hold, with where they came from."""
    columns = {
        column.raw_name: pa.array(
            [_delivered(column, row.get(column.staged_name)) for row in rows], _ARROW[column.staged_type]
        )
        for column in table.kept
    }
    columns["_delivery"] = pa.array(["test"] * len(rows), pa.string())
    columns["_received_on"] = pa.array([date(2026, 1, 2)] * len(rows), pa.date32())
    return pa.table(columns)


def _items() -> list[dict[str, str]]:
    with (PROJECT / "seeds" / "instrument_item.csv").open(newline="") as stream:
        return [row for row in csv.DictReader(stream) if row["version"] == "1"]


@dataclass
class World:
    """Delivered rows by organisation and table, and the settings of the build."""

    rows: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=dict)
    registry_cutoff_on: date = date(2026, 12, 31)
    stopped: dict[str, date] = field(default_factory=dict)

    def add(self, organisation: str, table: str, **row: Any) -> None:
        """Add one row; columns that are not named are not recorded."""
        self.rows.setdefault((organisation, table), []).append(row)

    def client(
        self,
        organisation: str,
        name: str,
        start_on: date,
        end_on: date | None = None,
        linkage: str | None = "found",
        person: str | None = None,
    ) -> None:
        """Add a client with a supervision and one officer; `person` is who it is where that is known elsewhere too."""
        person = person or name
        self.add(
            organisation, "clients", client_number=name, national_number=person, birth_year=1990, sex="male",
            birth_country="nl", birth_country_mother="nl", birth_country_father="nl",
        )  # fmt: skip
        self.add(
            organisation, "supervisions", supervision_number=name, client_number=name, start_on=start_on, end_on=end_on,
            framework="other", index_article="Sr 310",
        )  # fmt: skip
        self.assign(organisation, name, "anna", start_on, end_on)
        known = {row["national_number"] for row in self.rows.get(("registry", "linkage"), [])}
        if linkage and person not in known:
            self.add("registry", "linkage", national_number=person, status=linkage)

    def assign(self, organisation: str, client: str, officer: str, start_on: date, end_on: date | None = None) -> None:
        """Add an officer's assignment to the supervision of a client."""
        officer = f"{organisation} {officer}"
        known = {row["officer_number"] for row in self.rows.get((organisation, "officers"), [])}
        if officer not in known:
            self.add(
                organisation,
                "officers",
                officer_number=officer,
                sex="female",
                experience_years=5.0,
                rule_orientation=3.0,
            )
        self.add(
            organisation, "assignments", assignment_number=f"{client} {officer} {start_on}", supervision_number=client,
            officer_number=officer, start_on=start_on, end_on=end_on,
        )  # fmt: skip

    def rate(
        self, organisation: str, client: str, wave: str, on: date, score: int, rater: str = "client", **scales: int
    ) -> None:
        """Add a rating that was done, `score` on every scale but those that are named; reversed items are turned."""
        self.add(
            organisation, "waves", supervision_number=client, wave=wave, rater=rater, status="done", measured_on=on,
            instrument_version="1",
        )  # fmt: skip
        for item in _items():
            if item["rater"] == rater:
                value = scales.get(item["scale"], score)
                answer = (
                    int(item["response_min"]) + int(item["response_max"]) - value
                    if item["is_reversed"] == "true"
                    else value
                )
                self.add(
                    organisation, "item_responses", supervision_number=client, wave=wave, rater=rater, item=item["item"],
                    response=answer,
                )  # fmt: skip

    def offence(
        self,
        person: str,
        on: date,
        registered_on: date,
        disposal: str = "conviction",
        article: str = "Sr 310",
        custodial_days: int = 0,
    ) -> None:
        """Add a case of one offence."""
        number = f"{person} {on} {registered_on}"
        self.add("registry", "cases", case_number=number, national_number=person, registered_on=registered_on)
        self.add("registry", "offences", offence_number=number, case_number=number, offence_on=on, article=article)
        self.add("registry", "disposals", case_number=number, disposal=disposal, custodial_days=custodial_days)

    def write(self, build: Path) -> None:
        """Write the build inputs below `build`."""
        sources = build / "sources"
        sources.mkdir(parents=True)
        for organisation in CONTRACTS.values():
            for table in organisation.tables:
                rows = self.rows.get((organisation.name, table.name), [])
                pq.write_table(raw_table(table, rows), sources / f"{organisation.name}__{table.name}.parquet")
        settings = {
            "registry_cutoff_on": pa.array([self.registry_cutoff_on], pa.date32()),
            "enrolment_from": pa.array([date(2022, 1, 1)], pa.date32()),
            "enrolment_to": pa.array([date(2022, 12, 31)], pa.date32()),
            "landmark_months": pa.array([9], pa.int32()),
        }
        pq.write_table(pa.table(settings), sources / "_build.parquet")
        stopped = {
            "client_id": pa.array([pseudonym(client) for client in self.stopped], pa.string()),
            "known_until": pa.array(list(self.stopped.values()), pa.date32()),
        }
        pq.write_table(pa.table(stopped), sources / "_stopped.parquet")


@dataclass(frozen=True)
class Built:
    """A built world: its marts as frames by name, and the folders of the build and of what dbt wrote beside it."""

    marts: Mapping[str, pd.DataFrame]
    build: Path
    target: Path
    log: Path
    output: str

    def row(self, mart: str, client: str, **where: Any) -> pd.Series:
        """The one row of a client in a mart."""
        return only(self.rows(mart, client, **where))

    def rows(self, mart: str, client: str, **where: Any) -> pd.DataFrame:
        """The rows of a client in a mart, in the order of their columns: a table has no order of its own."""
        frame = self.marts[mart]
        frame = frame[frame["client_id"] == pseudonym(client)]
        for column, value in where.items():
            frame = frame[frame[column] == value]
        return frame


def only(frame: pd.DataFrame) -> pd.Series:
    """The one row of a frame."""
    assert len(frame) == 1, f"{len(frame)} rows"
    return frame.iloc[0]


def build_world(world: World, folder: Path, outcomes: list[str]) -> Built:
    """Build a copy of the project, with more outcome definitions, on a world. Fails with dbt's output."""
    project, build, target, log = (folder / name for name in ("project", "build", "target", "log"))
    shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns("target", "logs"))
    with (project / "seeds" / "outcome.csv").open("a") as stream:
        stream.writelines(f"{row}\n" for row in outcomes)
    world.write(build)
    target.mkdir()
    parsed = dbt.manifest_path(Settings()).with_name("partial_parse.msgpack")
    shutil.copy(parsed, target)  # dbt parses again what differs from it
    where = ["--project-dir", project, "--profiles-dir", project, "--target-path", target, "--log-path", log]
    done = subprocess.run(
        [Path(sys.executable).with_name("dbt"), "build", *where],
        cwd=build,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    with duckdb.connect(str(build / "warehouse.duckdb"), read_only=True) as connection:
        names = connection.execute(
            "select table_name from information_schema.tables where table_schema = 'marts'"
        ).fetchall()
        marts = {name: connection.execute(f'from marts."{name}" order by all').df() for (name,) in names}
    return Built(marts, build, target, log, done.stdout)
