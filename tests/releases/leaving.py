"""A home in which somebody lived: a person with rows in everything that a home may hold, and what only that person had."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from orchestration.analysis.specification import Specification
from orchestration.deliveries import corrections, leaving, people
from orchestration.deliveries.contracts import read_contracts
from orchestration.deliveries.ingest import known_key
from orchestration.deliveries.people import Marks, mark
from orchestration.files import swap_link
from orchestration.ledger import Ledger
from orchestration.releases import consents
from orchestration.releases.catalogue import read_policy
from orchestration.settings import Settings
from orchestration.simulation.consents import CONSENTS
from orchestration.warehouse import versions
from tests.deliveries.making import delivery_in, manifest_of
from tests.releases.making import SmallRelease, write_small_fit
from tests.searching import Search, Words, search

ID_COLUMNS = ("client_id", "organisation", "outcome_id")
FEWEST = 4  # values that a row has beside its ids, for it to count as a combination


@dataclass(frozen=True)
class Person:
    """Somebody of whom much was delivered: numbers and name as the partner has them, pseudonyms, and rows nobody else has."""

    organisation: str
    client_number: str
    national_number: str
    surname: str
    pseudonyms: frozenset[str]
    client_id: str
    unique_rows: dict[tuple[str, ...], frozenset[tuple[str, ...]]]

    @property
    def words(self) -> Words:
        return Words.of({self.client_number, self.national_number, *self.pseudonyms})

    def rows_in(self, frame: pd.DataFrame) -> int:
        """Rows of a table that say what only this person had, under the same columns."""
        found = 0
        for columns, rows in self.unique_rows.items():
            if set(columns) <= set(frame.columns):
                seen = frame[list(columns)].astype(str).itertuples(index=False, name=None)
                found += sum(row in rows for row in seen)
        return found


def people_of(delivery: Path) -> list[dict[str, str]]:
    """The rows of clients of a delivery in CSV, as the partner wrote them."""
    file = next(item for item in manifest_of(delivery)["files"] if item["name"] == "clients.csv")
    with (delivery / "clients.csv").open(encoding=file["encoding"], newline="") as stream:
        return list(csv.DictReader(stream, delimiter=file["delimiter"]))


def somebody(settings: Settings, ledger: Ledger) -> Person:
    """The client of the first organisation of whom most is published."""
    contracts, key = read_contracts(settings.expectations), known_key(settings, ledger)
    rows = {key.pseudonym("client", row["BSN"]): row for row in people_of(delivery_in(settings.inbox_path, "rn"))}
    version = versions.named_version(settings, versions.CURRENT)
    counts = pd.concat(
        [
            pq.read_table(version.folder / f"{name}.parquet", columns=["client_id"]).to_pandas().drop_duplicates()
            for name in ("detention", "followup_event", "covariate", "alliance_score", "client", "officer_change")
            if "client_id" in pq.read_schema(version.folder / f"{name}.parquet").names
        ]
    )["client_id"].value_counts()
    client = max((name for name in counts.index if name in rows), key=lambda name: (counts[name], name))
    person = Marks(key, frozenset({mark(key, client)}))
    pseudonyms = leaving.everything_of(settings, ledger, contracts, person, people.ERASE)
    row = rows[client]
    return Person(
        "rn", row["Clientnummer"], row["BSN"], row["Achternaam"], pseudonyms | {client}, client,
        combinations(version, client),
    )  # fmt: skip


def combinations(version: versions.Version, client: str) -> dict[tuple[str, ...], frozenset[tuple[str, ...]]]:
    """By columns, the combinations of values in a version that only one client's rows have."""
    found: dict[tuple[str, ...], frozenset[tuple[str, ...]]] = {}
    for name in version.manifest["tables"]:
        frame = pd.read_parquet(version.folder / f"{name}.parquet")
        if "client_id" not in frame:
            continue
        columns = tuple(column for column in frame if not column.endswith("_id") and column not in ID_COLUMNS)
        values = frame[list(columns)].astype(str)
        is_theirs = frame["client_id"] == client
        others = set(values[~is_theirs].itertuples(index=False, name=None))
        enough = frame[list(columns)].notna().sum(axis=1) >= FEWEST
        own = set(values[is_theirs & enough].itertuples(index=False, name=None)) - others
        if own:
            found[columns] = frozenset(own)
    return found


def furnished(settings: Settings, ledger: Ledger, release: SmallRelease, person: Person) -> Settings:
    """Put into a home everything that people make of a version: fits, outcomes, a multiverse, a release, a correction, leftovers."""
    version = versions.named_version(settings, versions.CURRENT)
    shutil.copytree(release.fit, settings.fits / "f00d")
    (settings.fits / "f00d.changes.json").write_text("{}")
    swap_link(settings.fits / "current", "f00d")
    settings.report.write_text(f"<html>fit f00d of {version.version_id}</html>")
    shutil.copytree(release.fit, settings.own / "mine")
    (settings.own / "mine" / "models.yml").write_text("recidivism: {}\n")
    shutil.copytree(release.fit, settings.multiverse / "beef")
    outcomes = settings.outcomes / f"{version.version_id}-mine-1234"
    outcomes.mkdir(parents=True)
    shutil.copy(version.folder / "followup.parquet", outcomes)
    said = {"version_id": version.version_id, "definitions": [], "build": version.manifest["build"]}
    (outcomes / versions.MANIFEST).write_text(json.dumps(said))
    (settings.versions / f"{version.version_id}.changes.json").write_text(json.dumps({"new": version.version_id}))
    tag = settings.releases / "2026.1.0"
    shutil.copytree(release.folder, tag / "zone")
    (tag / "public").mkdir()
    (tag / "public" / "table1.csv").write_text("group,n\nall,40\n")
    (tag / "release.json").write_text(json.dumps({"tag": "2026.1.0", "version_id": version.version_id}))
    build = settings.builds / "0123456789abcdef"
    build.mkdir()
    shutil.copy(version.folder / "client.parquet", build)
    left = settings.versions / ".0123.killed"
    left.mkdir()
    shutil.copy(version.folder / "client.parquet", left)
    corrections.write_corrections(settings.corrections_file, [_correction(settings, ledger, person)])
    file = settings.inbox_path / CONSENTS
    consents.take(
        settings.consents_file, file, ledger, known_key(settings, ledger), read_policy().consents, by="anna",
        today=date(2026, 6, 1), admits_test_numbers=True,
    )  # fmt: skip
    file.unlink()
    return settings


def _correction(settings: Settings, ledger: Ledger, person: Person) -> corrections.Correction:
    key = known_key(settings, ledger)
    number = key.pseudonym("client_number", f"{person.organisation}/{person.client_number}")
    return corrections.Correction(
        1, person.organisation, "clients", {"client_number": number}, "sex", key.pseudonym("correction", "M"), "V",
        "a typing error", "the registrar", "anna", date(2099, 1, 1),
    )  # fmt: skip


def refitting(settings: Settings, spec: Specification) -> Callable[[], bool]:
    """A small fit of the published version in the place of the whole one."""

    def refit() -> bool:
        shutil.rmtree(settings.fits / "beef", ignore_errors=True)
        write_small_fit(versions.named_version(settings, versions.CURRENT), spec, settings.fits / "beef")
        swap_link(settings.fits / "current", "beef")
        return True

    return refit


def request(folder: Path, *rows: tuple[str, str, str]) -> Path:
    """A file that names people."""
    path = folder / "leavers.csv"
    path.write_text("organisation,column,number\n" + "".join(f"{','.join(row)}\n" for row in rows))
    return path


def looked_for(settings: Settings, person: Person) -> Search:
    """The search of everything that a home has, and of what lies beside it, for one person."""
    beside = [settings.withdrawn_file, settings.corrections_file, settings.consents_file]
    return search([settings.home_path, settings.inbox_path, *beside], person.words, person.rows_in)
