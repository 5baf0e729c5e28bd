"""A person leaves what was delivered: who a request names, and the raw store, landing and corrections without them.

Nothing here keeps a number of anybody: a request is read, checked and turned into marks (`people.py`). What was built from
the deliveries is the business of the rooms after this one.
"""

from __future__ import annotations

import csv
import io
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from orchestration.deliveries import people, raw, retention
from orchestration.deliveries.contracts import Column, Organisation
from orchestration.deliveries.corrections import read_corrections, write_corrections
from orchestration.deliveries.keys import PseudonymKey
from orchestration.deliveries.people import CLIENT, CLIENT_NUMBER, ERASE, Marks
from orchestration.deliveries.pseudonyms import is_eleven_proof, is_test_number
from orchestration.ledger import Ledger, now
from orchestration.readings import ReplacedContent
from orchestration.settings import Settings
from orchestration.trouble import Mendable

HEADER = ("organisation", "column", "number")


class CannotRead(Mendable):
    """A file that names people cannot be followed; says which rows are wrong and what they should say, no number."""


@dataclass(frozen=True)
class Named:
    """A person as a row of a request names them: pseudonymised, with the row for messages."""

    row: int
    organisation: str
    purpose: str
    pseudonym: str


def read_request(
    path: Path, contracts: Mapping[str, Organisation], key: PseudonymKey, *, admit_test_numbers: bool
) -> list[Named]:
    """The people whom a file names: CSV (`,` or `;`), the columns of `HEADER`.

    `column` is that of the organisation's contract: the linkage key, or the organisation's own client number. Raises
    CannotRead with everything that is wrong; no number is repeated.
    """
    rows = _rows(path)
    troubles, found = [], []
    for number, row in enumerate(rows, start=1):
        said = _trouble(row, contracts, admit_test_numbers)
        if said:
            troubles.append(f"row {number}: {said}")
            continue
        organisation = contracts[row["organisation"]]
        column = _columns(organisation)[row["column"]]
        pseudonym = raw.pseudonym_of(organisation.name, column, row["number"], key)
        found.append(Named(number, organisation.name, str(column.pseudonym), pseudonym))
    if troubles:
        listed = "\n  ".join(troubles)
        raise CannotRead(f"{path.name}, {len(troubles)} of {len(rows)} rows to mend, nothing was done:\n  {listed}")
    return found


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        found = f"{path.name} is a folder" if path.is_dir() else f"there is no file {path.name}"
        raise CannotRead(f"{found}; what is asked for is CSV with the columns {', '.join(HEADER)}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise CannotRead(f"{path.name} is not UTF-8; save it as CSV UTF-8") from None
    first = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text), delimiter=";" if ";" in first else ",")
    if sorted(name.strip() for name in reader.fieldnames or ()) != sorted(HEADER):
        raise CannotRead(f"{path.name}: its first line names the columns {', '.join(HEADER)}, and no other")
    read = list(reader)
    wide = [number for number, row in enumerate(read, start=1) if None in row]
    if wide:
        raise CannotRead(
            f"{path.name}: rows {', '.join(map(str, wide))} have more cells than columns, nothing was done"
        )
    rows = [{str(name).strip(): (value or "").strip() for name, value in row.items() if name} for row in read]
    rows = [row for row in rows if any(row.values())]
    if not rows:
        raise CannotRead(f"{path.name} names nobody")
    return rows


def _columns(organisation: Organisation) -> dict[str, Column]:
    """The columns by which a person may be named at an organisation, under our name and under each of its headers."""
    found: dict[str, Column] = {}
    for table in organisation.tables:
        for column in table.columns:
            is_own_number = column.pseudonym == CLIENT_NUMBER and not column.references
            if column.pseudonym == CLIENT or is_own_number:
                found |= dict.fromkeys((column.name, column.source), column)
    return found


def _trouble(row: Mapping[str, str], contracts: Mapping[str, Organisation], admit_test_numbers: bool) -> str | None:
    known = sorted(name for name, organisation in contracts.items() if _columns(organisation))
    if row["organisation"] not in known:
        return f"organisation is none of {', '.join(known)}"
    columns = _columns(contracts[row["organisation"]])
    if row["column"] not in columns:
        return f"column is none of {', '.join(columns)}"
    column, number = columns[row["column"]], row["number"]
    given = pd.Series([number])
    if (column.pattern and not re.fullmatch(column.pattern, number)) or not number:
        return f"number is not of the form of {column.name}"
    if column.check == "eleven_proof" and not bool(is_eleven_proof(given).iloc[0]):
        return "number does not pass the eleven test; there is a typing error in it"
    if column.check == "eleven_proof" and not admit_test_numbers and bool(is_test_number(given).iloc[0]):
        return "number is from the range that is set aside for tests"
    return None


def content_hashes(ledger: Ledger, organisation: str) -> list[str]:
    """The contents that deliveries of an organisation have, oldest period first, each once."""
    records = ledger.deliveries(organisation=organisation)
    return list(dict.fromkeys(record.content_hash for record in records if record.content_hash))


def identifying_states(settings: Settings, ledger: Ledger, organisation: Organisation) -> list[dict[str, pa.Table]]:
    """The columns that name anything in every content of an organisation that is in the raw store, oldest period first."""
    return [
        {
            table.name: pq.read_table(
                settings.raw / organisation.name / digest / f"{table.name}.parquet",
                columns=[column.source for column in table.kept if column.pseudonym],
            )
            for table in people.in_order(organisation)
        }
        for digest in content_hashes(ledger, organisation.name)
        if (settings.raw / organisation.name / digest).is_dir()
    ]


@dataclass(frozen=True)
class Known:
    """What the raw store knows of who is who: the person of each client number now, and all whom it ever named."""

    newest: Mapping[str, str | None]
    ever: frozenset[tuple[str, str]]

    def same_person(self, pseudonyms: Iterable[str]) -> frozenset[str]:
        """All pseudonyms of the persons behind these, over all organisations.

        A client number belongs to the person whom its newest row names. A national number that only ever stood with
        numbers of one person was a typing error in hers or his, and goes along.
        """
        found = set(pseudonyms)
        while True:
            more = {number for number, person in self.newest.items() if person in found}
            more |= {person for number, person in self.newest.items() if number in found and person}
            for person in {person for number, person in self.ever if number in found}:
                if all(number in found for number, other in self.ever if other == person):
                    more.add(person)
            if more <= found:
                return frozenset(found)
            found |= more


def who_is_who(settings: Settings, ledger: Ledger, contracts: Mapping[str, Organisation]) -> Known:
    """Client numbers and persons in every content of the raw store."""
    newest: dict[str, str | None] = {}
    ever: set[tuple[str, str]] = set()
    for organisation in contracts.values():
        clients = people.clients_table(organisation)
        if clients is None:
            continue
        for state in identifying_states(settings, ledger, organisation):
            for number, person in people.pairs(clients, state[clients.name]):
                newest[number] = person
                ever |= {(number, person)} if person else set()
    return Known(newest, frozenset(ever))


def everything_of(
    settings: Settings, ledger: Ledger, contracts: Mapping[str, Organisation], marks: Marks, mode: str
) -> frozenset[str]:
    """Every pseudonym in the raw store, of any purpose, that stands for something of people with a mark."""
    found: set[str] = set()
    for organisation in contracts.values():
        states = identifying_states(settings, ledger, organisation)
        if states:
            found |= people.owned(organisation, states, marks, mode).pseudonyms
    return frozenset(found)


def rewrite_raw(
    settings: Settings, ledger: Ledger, contracts: Mapping[str, Organisation], marks: Marks
) -> list[ReplacedContent]:
    """Write every content of the raw store that holds an erased person again without them, beside the old; gives which.

    The old contents are still there afterwards, and the ledger still names them: nothing is lost when this is killed.
    """
    replaced = []
    for organisation in contracts.values():
        states = identifying_states(settings, ledger, organisation)
        theirs = people.owned(organisation, states, marks, ERASE) if states else people.NOBODY
        for digest in content_hashes(ledger, organisation.name):
            if not (settings.raw / organisation.name / digest).is_dir():
                continue
            deletions = raw.read_deletions(settings.raw, organisation.name, digest)
            all_theirs = people.together(theirs, people.deleted_by_name(deletions, marks))
            if all_theirs.is_nobody:
                continue
            kept, taken = people.split(organisation, raw.read_all(settings.raw, organisation, digest), all_theirs)
            left = people.without_deletions(deletions, all_theirs)
            if not people.rows_in(taken) and left == deletions:
                continue
            new = raw.store(settings.raw, organisation, kept, left)
            counts = {name: table.num_rows for name, table in kept.items()}
            persons = people.owned_people(organisation, taken)
            replaced += [
                ReplacedContent(record.manifest_sha256, digest, new, counts, persons, people.rows_in(taken))
                for record in ledger.deliveries(organisation=organisation.name)
                if record.content_hash == digest
            ]
    return replaced


def remove_unnamed(settings: Settings, ledger: Ledger, contracts: Mapping[str, Organisation]) -> int:
    """Remove from the raw store what no delivery of the ledger is any more, and what a killed process left; gives how many."""
    removed = 0
    for organisation in contracts:
        named = set(content_hashes(ledger, organisation))
        folder = settings.raw / organisation
        for content in folder.iterdir() if folder.is_dir() else ():
            if content.name not in named:
                shutil.rmtree(content)
                removed += 1
    return removed


def clear_originals(settings: Settings, ledger: Ledger) -> retention.Cleared:
    """Delete from landing, quarantine and inbox the originals of every delivery that has its verdict.

    All of them: one that could not be read may hold the person too. What still waits for its verdict stays, and is taken in
    without the person.
    """
    for left in retention.left_behind(settings):
        shutil.rmtree(left, ignore_errors=True)
    decided = [record for record in ledger.deliveries() if record.decided_at is not None]
    return retention.clear(settings, ledger, decided, now())


def forget_corrections(settings: Settings, marks: Marks) -> int:
    """Take the corrections of rows of erased people out of their file; gives how many."""
    known = read_corrections(settings.corrections_file)
    kept = [item for item in known if not marks.named(item.key.values(), ERASE)]
    if len(kept) < len(known):
        write_corrections(settings.corrections_file, kept)
    return len(known) - len(kept)
