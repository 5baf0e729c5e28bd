"""The register of consents: which clients, by their pseudonyms, consented to what, from when, and whether they took it back.

It lies in a file apart from the data of the study; the ledger knows its hash and counts, so that a changed one is noticed. It is
taken in whole from a file with national numbers, which is not kept. Messages hold rule codes, row numbers and counts only.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration.deliveries.consent_file import COLUMNS, ENDED, KEPT
from orchestration.files import write_atomically
from orchestration.hashing import sha256_bytes
from orchestration.readings import Readings
from orchestration.trouble import Mendable

if TYPE_CHECKING:
    from orchestration.deliveries.keys import PseudonymKey
    from orchestration.ledger import Ledger

PURPOSE = "client"  # the purpose of the pseudonym by which every table names a client
_SHOWN = 5


class ConsentsRefused(Mendable):
    """A file of consents cannot be taken in; names rules, row numbers and counts."""


class NoConsents(Mendable):
    """There is no register of consents, or it is not the one that was taken in; says what to do."""


@dataclass(frozen=True)
class Consent:
    """One thing that one client consented to. `earlier_data` says, once it is withdrawn, whether what was collected until then is
    `kept` in use or `ended`; empty while the consent stands."""

    client_id: str
    consent: str
    given_on: date
    withdrawn_on: date | None
    earlier_data: str

    def is_valid(self, day: date) -> bool:
        """Whether data of this client may be in use on a day."""
        stands = self.withdrawn_on is None or self.withdrawn_on > day or self.earlier_data == KEPT
        return self.given_on <= day and stands


@dataclass(frozen=True)
class Counts:
    """What a register holds: clients, entries, entries that are withdrawn, and clients of the one before that are not in it."""

    clients: int
    entries: int
    withdrawn: int
    left_out: int


@dataclass(frozen=True)
class Taken:
    """What came of a file of consents: the register, how many of its clients stay out since they were erased, and how many of its
    consents stand in the register as withdrawn, which the file did not say, since these people have withdrawn here."""

    counts: Counts
    stay_out: int
    ended_here: int


@dataclass(frozen=True)
class Lacking:
    """How many clients have no valid consent of a kind: never given one, not yet, or took it back and their data with it."""

    consent: str
    absent: int
    not_yet: int
    withdrawn: int

    @property
    def count(self) -> int:
        return self.absent + self.not_yet + self.withdrawn


def take(
    path: Path, file: Path, ledger: Ledger, key: PseudonymKey, known: Collection[str], *, by: str, today: date,
    admits_test_numbers: bool, left_out: int = 0,
) -> Taken:  # fmt: skip
    """Make a file of consents (CSV, UTF-8, `COLUMNS`, days as yyyy-mm-dd) the register at `path`; it replaces the one before.

    `known` are the consents there are; `left_out` says how many clients of the register before are missing on purpose, as after
    an erasure. Whoever was erased stays out, though the file names them, and the consent of whoever stopped stands as withdrawn on that
    day unless it was given anew since. Raises ConsentsRefused, and then the register stays as it was.
    """
    from orchestration.deliveries.people import mark, marks_of, stopped_on

    rows = _rows(file)
    troubles = _troubles(rows, known, today, admits_test_numbers)
    if troubles:
        raise ConsentsRefused(f"{file.name}: " + "; ".join(troubles))
    erased = marks_of(ledger, key).erased
    said = [_consent(row, key) for row in rows]
    entries = [one for one in said if mark(key, one.client_id) not in erased]
    stay_out = len({one.client_id for one in said} - {one.client_id for one in entries})
    entries, ended_here = ended(entries, key, stopped_on(ledger))
    before, gone = _before(path, ledger, {one.client_id for one in entries})
    if gone != left_out:
        raise ConsentsRefused(
            f"{file.name}: {gone} client(s) of the register before are not in it, and {left_out} was said; whoever takes "
            "a consent back stays in it with the day"
        )  # fmt: skip
    revived = _revived(before, entries)
    if revived:
        raise ConsentsRefused(
            f"{file.name}: {revived} consent(s) that were withdrawn stand again without having been given anew after that day"
        )
    return Taken(write_register(path, entries, ledger, by=by, left_out=gone), stay_out, ended_here)


def ended(register: Iterable[Consent], key: PseudonymKey, stopped: Mapping[str, date]) -> tuple[list[Consent], int]:
    """The register in which the consents of people who stopped stand as withdrawn on that day, what was collected until then kept;
    and how many that changed. `stopped` says the day by mark. A consent that was given after that day stands."""
    from orchestration.deliveries.people import mark

    found, changed = [], 0
    for one in register:
        day = stopped.get(mark(key, one.client_id)) if stopped else None
        if day is not None and one.withdrawn_on is None and one.given_on <= day:
            one, changed = replace(one, withdrawn_on=day, earlier_data=KEPT), changed + 1
        found.append(one)
    return found, changed


def stop(path: Path, ledger: Ledger, key: PseudonymKey, *, by: str) -> int:
    """Write into the register that the people who stopped have withdrawn; gives how many consents that changed. Raises NoConsents."""
    from orchestration.deliveries.people import stopped_on

    entries, changed = ended(read_register(path, ledger), key, stopped_on(ledger))
    if changed:
        write_register(path, entries, ledger, by=by)
    return changed


def _before(path: Path, ledger: Readings, clients: Collection[str]) -> tuple[tuple[Consent, ...], int]:
    """The register before, and how many of its clients are not among `clients`: by counts alone where it is gone or damaged."""
    known = ledger.consent_registers()
    if not known:
        return (), 0
    try:
        before = read_register(path, ledger)
    except NoConsents:
        return (), max(0, known[-1]["clients"] - len(clients))
    return before, len({one.client_id for one in before} - set(clients))


def _rows(file: Path) -> list[dict[str, str]]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError):
        raise ConsentsRefused(f"{file.name}: it cannot be read as UTF-8 text") from None
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=";", strict=True)
    try:
        header, *rows = [tuple(row) for row in reader]
    except (ValueError, csv.Error):
        raise ConsentsRefused(f"{file.name}: it is empty, or no CSV with ;") from None
    if header != COLUMNS:
        raise ConsentsRefused(f"{file.name}: the header should be {';'.join(COLUMNS)}")
    ragged = [number for number, row in enumerate(rows, start=1) if len(row) != len(COLUMNS)]
    if ragged or not rows:
        raise ConsentsRefused(f"{file.name}: {_at('row.columns', ragged) if ragged else 'there is no row'}")
    return [dict(zip(COLUMNS, (cell.strip() for cell in row), strict=True)) for row in rows]


def _troubles(
    rows: Sequence[Mapping[str, str]], known: Collection[str], today: date, admits_test_numbers: bool
) -> list[str]:
    """What is wrong, by rule: row 1 is the first below the header."""
    import pandas as pd

    from orchestration.deliveries.pseudonyms import is_eleven_proof, is_test_number

    numbers = pd.Series([row["national_number"] for row in rows], dtype=object)
    wrong: dict[str, list[int]] = {}

    def note(rule: str, number: int, is_wrong: bool) -> None:
        if is_wrong:
            wrong.setdefault(rule, []).append(number)

    proof, tests = is_eleven_proof(numbers).tolist(), is_test_number(numbers).tolist()
    seen: set[tuple[str, str]] = set()
    for number, row in enumerate(rows, start=1):
        given, withdrawn = _day(row["given_on"]), _day(row["withdrawn_on"])
        note("number.eleven_proof", number, not proof[number - 1])
        note("number.test", number, bool(tests[number - 1]) and not admits_test_numbers)
        note("consent.unknown", number, row["consent"] not in known)
        note("given_on.day", number, given is None or given > today)
        note(
            "withdrawn_on.day",
            number,
            bool(row["withdrawn_on"])
            and (withdrawn is None or withdrawn > today or (given is not None and withdrawn < given)),
        )
        note("earlier_data.value", number, row["earlier_data"] not in ((KEPT, ENDED) if row["withdrawn_on"] else ("",)))
        note("entry.twice", number, (row["national_number"], row["consent"]) in seen)
        seen.add((row["national_number"], row["consent"]))
    return [_at(rule, numbers) for rule, numbers in wrong.items()]


def _at(rule: str, numbers: Sequence[int]) -> str:
    more = ", …" if len(numbers) > _SHOWN else ""
    return f"{rule} in {len(numbers)} row(s) ({', '.join(map(str, numbers[:_SHOWN]))}{more})"


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if len(text) == len("2022-01-31") else None
    except ValueError:
        return None


def _consent(row: Mapping[str, str], key: PseudonymKey) -> Consent:
    given = _day(row["given_on"])
    assert given is not None  # noqa: S101 - it was looked at before
    return Consent(
        key.pseudonym(PURPOSE, row["national_number"]), row["consent"], given, _day(row["withdrawn_on"]),
        row["earlier_data"],
    )  # fmt: skip


def _revived(before: Iterable[Consent], after: Iterable[Consent]) -> int:
    withdrawn = {(one.client_id, one.consent): one.withdrawn_on for one in before if one.withdrawn_on}
    return sum(
        one.withdrawn_on is None and (ended := withdrawn.get((one.client_id, one.consent))) is not None
        and one.given_on <= ended
        for one in after
    )  # fmt: skip


def write_register(path: Path, entries: Iterable[Consent], ledger: Ledger, *, by: str, left_out: int = 0) -> Counts:
    """Write the register, readable by its owner only, and put its hash and counts on record."""
    ordered = sorted(entries, key=lambda one: (one.client_id, one.consent))
    out = io.StringIO()
    writer = csv.writer(out, delimiter=";", lineterminator="\n")
    writer.writerow(field.name for field in fields(Consent))
    writer.writerows(["" if value is None else value for value in astuple(one)] for one in ordered)
    content = out.getvalue().encode()
    counts = Counts(
        clients=len({one.client_id for one in ordered}), entries=len(ordered),
        withdrawn=sum(one.withdrawn_on is not None for one in ordered), left_out=left_out,
    )  # fmt: skip
    # The record comes first: killed in between, the register is missed and taken in again, never believed unseen.
    ledger.record_consents(by, sha256_bytes(content), asdict(counts))
    write_atomically(path, content)
    path.chmod(0o600)
    return counts


def read_register(path: Path, ledger: Readings) -> tuple[Consent, ...]:
    """The register as it was last taken in. Raises NoConsents."""
    known = ledger.consent_registers()
    if not known:
        raise NoConsents("no register of consents has been taken in: `delictvrij consent take FILE`")
    content = path.read_bytes() if path.is_file() else b""
    if sha256_bytes(content) != known[-1]["sha256"]:
        raise NoConsents(
            f"the register at {path} is {'not the one that was taken in' if content else 'gone'}: put it back, or "
            "`delictvrij consent take FILE` again"
        )
    rows = csv.DictReader(io.StringIO(content.decode(), newline=""), delimiter=";")
    return tuple(
        Consent(
            row["client_id"], row["consent"], date.fromisoformat(row["given_on"]), _day(row["withdrawn_on"]),
            row["earlier_data"],
        )
        for row in rows
    )  # fmt: skip


def forget(path: Path, clients: Collection[str], ledger: Ledger, *, by: str) -> int:
    """Take clients out of the register, as an erasure does; gives how many were in it. Raises NoConsents."""
    register = read_register(path, ledger)
    there = {one.client_id for one in register} & set(clients)
    if there:
        left = [one for one in register if one.client_id not in there]
        write_register(path, left, ledger, by=by, left_out=len(there))
    return len(there)


def lacking(
    register: Iterable[Consent], clients: Collection[str], consents: Iterable[str], days: Sequence[date]
) -> tuple[Lacking, ...]:
    """The consents that some of `clients` have not validly given on every one of `days`, with how many and why."""
    entries = {(one.client_id, one.consent): one for one in register}
    last = max(days)
    found = []
    for consent in sorted(consents):
        absent = not_yet = withdrawn = 0
        for client in clients:
            one = entries.get((client, consent))
            if one is None:
                absent += 1
            elif not one.is_valid(last) and one.given_on <= last:
                withdrawn += 1
            elif not all(one.is_valid(day) for day in days):
                not_yet += 1
        found.append(Lacking(consent, absent, not_yet, withdrawn))
    return tuple(one for one in found if one.count)


def withdrawals_missed(register: Iterable[Consent], withdrew: Collection[str]) -> int:
    """How many clients of whom a partner delivered that they withdrew their consent have, in the register, withdrawn nothing."""
    known = {one.client_id for one in register if one.withdrawn_on is not None}
    return len(set(withdrew) - known)


def stand(register: Iterable[Consent], day: date) -> dict[str, dict[str, int]]:
    """For each consent: of how many clients data may be in use on a day, how many took it back, and with how many of these what
    was collected until then stays in use."""
    found: dict[str, dict[str, int]] = {}
    for one in sorted(register, key=lambda one: one.consent):
        counts = found.setdefault(one.consent, {"valid": 0, "withdrawn": 0, "kept": 0})
        counts["valid"] += one.is_valid(day)
        counts["withdrawn"] += one.withdrawn_on is not None
        counts["kept"] += one.earlier_data == KEPT
    return found
