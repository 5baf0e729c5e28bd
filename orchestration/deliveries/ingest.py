"""The way in: fetch → verify → read as declared → pseudonymise → gate → raw store, or quarantine and a letter.

`examine` judges a delivery without changing anything (the dry run); `ingest` does the same and acts on the verdict.
"""

from __future__ import annotations

import csv
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd
import pyarrow as pa

from orchestration.deliveries import corrections, history, people, raw, waivers
from orchestration.deliveries.contracts import ORDINARY, FileLimits, Organisation, Table, read_contracts
from orchestration.deliveries.inbox import signature
from orchestration.deliveries.judgement import Judgement, Refused, Status, blocking, failed
from orchestration.deliveries.keys import PseudonymKey, PseudonymKeyError, read_key
from orchestration.deliveries.letter import letter
from orchestration.deliveries.manifest import (
    MANIFEST,
    Manifest,
    NotADelivery,
    agreed_names,
    manifest_hash,
    read_manifest,
    verify,
)
from orchestration.deliveries.periods import last_day
from orchestration.deliveries.pseudonyms import Known
from orchestration.deliveries.readers import Reading, in_present_words, read_delivery
from orchestration.deliveries.sealing import SEAL, SEALED, delivery_hash, is_sealed, unseal
from orchestration.files import folder_by_rename, write_atomically, write_json
from orchestration.hashing import combined_hash
from orchestration.ledger import Ledger, now
from orchestration.readings import DeliveryRecord
from orchestration.settings import Settings
from orchestration.store import keep

REFERENCE = "reference.json"
MOST_FILES = 1_000  # of one delivery; of what lies there beside them it is enough to know that it does
PREVIEW = "preview-"  # folders in landing of a dry run; one that was killed leaves its own to be cleared


@dataclass(frozen=True)
class Withheld:
    """How many people who have withdrawn a delivery holds, and how many of its rows are therefore not taken in."""

    people: int
    rows: int


NOTHING_WITHHELD = Withheld(0, 0)


@dataclass(frozen=True)
class Examination:
    """What a delivery holds and what every rule found; `tables` is empty when it was refused before it was read."""

    manifest: Manifest | None
    judgements: tuple[Judgement, ...]
    tables: Mapping[str, pa.Table]
    deletions: Mapping[str, list[tuple[str, ...]]]
    has_test_numbers: bool
    content_hash: str | None
    withheld: Withheld = NOTHING_WITHHELD

    @property
    def is_accepted(self) -> bool:
        return not blocking(self.judgements) and bool(self.tables)


@dataclass(frozen=True)
class Receipt:
    """The verdict on one delivery: accepted, rejected or duplicate, with counts."""

    organisation: str
    period: str
    delivery_id: str
    sha256: str
    status: str
    content_hash: str | None
    row_counts: Mapping[str, int]
    judgements: tuple[Judgement, ...]

    @property
    def reasons(self) -> list[Judgement]:
        return blocking(self.judgements)

    @property
    def warnings(self) -> list[Judgement]:
        """What is odd and does not keep the delivery out."""
        found = (judgement for judgement in self.judgements if judgement.severity == "warning")
        return [item for item in found if item.status is Status.FAILED and item.rule != corrections.STALE]

    @property
    def waived(self) -> list[Judgement]:
        """The findings that people have accepted."""
        return [judgement for judgement in self.judgements if judgement.waived]

    @property
    def corrected(self) -> list[Judgement]:
        """The corrections that were applied, and those that no longer fit."""
        return [
            judgement for judgement in self.judgements if judgement.rule in (corrections.APPLIED, corrections.STALE)
        ]


@cache
def _seed_column(seeds: Path, name: str) -> frozenset[str]:
    table, column = name.split(".")
    with (seeds / f"{table}.csv").open(encoding="utf-8", newline="") as stream:
        return frozenset(row[column] for row in csv.DictReader(stream))


def seed_values(settings: Settings, organisation: Organisation) -> dict[str, frozenset[str]]:
    """The values of the seeds that an organisation's contract refers to."""
    names = {column.seed for table in organisation.tables for column in table.columns if column.seed}
    return {name: _seed_column(settings.dbt_project / "seeds", name) for name in sorted(names)}


def known_key(settings: Settings, ledger: Ledger) -> PseudonymKey:
    """The pseudonym key, if the ledger knows it. Raises PseudonymKeyError; never makes a key."""
    key = read_key(settings.key_path, settings.project)
    if not ledger.knows_key(key.key_id):
        raise PseudonymKeyError(
            f"the key at {settings.key_path} (id {key.key_id}) is not the one that this home was made with; put that one back"
        )
    return key


def snapshot_before(ledger: Ledger, organisation: str, period: str) -> DeliveryRecord | None:
    """The accepted snapshot that a delivery for `period` is held against: the newest one up to that period."""
    accepted = [
        record for record in ledger.deliveries(status="accepted", organisation=organisation) if record.period <= period
    ]
    return accepted[-1] if accepted else None


def examine(
    delivery: Path, organisation: Organisation, settings: Settings, ledger: Ledger, key: PseudonymKey
) -> Examination:
    """Judge a delivery without changing anything. Raises NotADelivery when there is no manifest."""
    manifest_hash(delivery)
    manifest: Manifest | None = None
    try:
        manifest = read_manifest(delivery)
        verify(delivery, manifest, organisation)
        spoken = organisation.as_of(manifest.schema_version)
        readings = [
            in_present_words(reading, organisation.table(reading.table.name))
            for reading in read_delivery(
                delivery, manifest, spoken.tables, settings.admit_test_numbers, organisation.limits
            )
        ]
    except Refused as refusal:
        return Examination(manifest, refusal.judgements, {}, {}, has_test_numbers=False, content_hash=None)
    found = [judgement for reading in readings for judgement in reading.judgements]
    has_test_numbers = any(reading.has_test_numbers for reading in readings)
    if blocking(found):
        return Examination(manifest, tuple(found), {}, {}, has_test_numbers, content_hash=None)
    dummies = [judgement for reading in readings for judgement in history.judge_dummies(reading)]
    tables = _pseudonymised(readings, key)
    deletions = raw.pseudonymised_deletions(manifest, spoken, key)
    before = snapshot_before(ledger, organisation.name, manifest.period)
    marks = people.marks_of(ledger, key)

    def earlier(table: Table) -> pa.Table | None:
        digest = before.content_hash if before else None
        return raw.read_coded(settings.raw, organisation.name, digest, table) if digest else None

    left = without_withdrawn(organisation, marks, tables, deletions, earlier)
    digest = raw.content_hash_of(left.stored, left.deletions)
    place = (organisation.name, manifest.period, manifest.delivery_id)
    known = waivers.read_waivers(settings.waivers_file)
    found.extend(waivers.apply(dummies, known, place, now().date()))
    if before is None or before.content_hash != digest:
        elsewhere = middles_elsewhere(organisation, settings, ledger)
        mended, noted = _corrected(organisation, settings, left.judged, key)
        found.extend(noted)
        gated = _gate(manifest, organisation, settings, mended, left.deletions, left.earlier, elsewhere)
        found.extend(waivers.apply(gated, known, place, now().date()))
    return Examination(manifest, tuple(found), left.stored, left.deletions, has_test_numbers, digest, left.withheld)


def _pseudonymised(readings: list[Reading], key: PseudonymKey) -> dict[str, pa.Table]:
    """What was read as raw tables; each reading is let go as its table is made, so that no table is held twice."""
    tables, numbers = {}, Known()
    while readings:
        reading = readings.pop(0)
        tables[reading.table.name] = raw.pseudonymised(reading.table, reading.rows, key, numbers)
    return tables


@dataclass(frozen=True)
class WithoutWithdrawn:
    """A delivery without the people who have withdrawn: what is judged against `earlier`, and what is stored.

    Stored is also what was known of those whose data stopped, as the snapshot before has it.
    """

    judged: Mapping[str, pa.Table]
    earlier: Callable[[Table], pa.Table | None]
    stored: Mapping[str, pa.Table]
    deletions: Mapping[str, list[tuple[str, ...]]]
    withheld: Withheld


def without_withdrawn(
    organisation: Organisation,
    marks: people.Marks,
    tables: Mapping[str, pa.Table],
    deletions: Mapping[str, list[tuple[str, ...]]],
    earlier: Callable[[Table], pa.Table | None],
) -> WithoutWithdrawn:
    """Leave out of a delivery, given as raw tables, the rows of everybody who has withdrawn.

    `earlier` gives a table of the snapshot before, or None where there is no such snapshot.
    """
    if marks.is_empty:
        return WithoutWithdrawn(tables, earlier, tables, deletions, NOTHING_WITHHELD)
    known = {table.name: content for table in organisation.tables if (content := earlier(table)) is not None}
    states = [known, tables] if known else [tables]
    stopped = people.owned(organisation, states, marks, people.STOP)
    theirs = people.together(
        people.owned(organisation, states, marks, people.ERASE), stopped, people.deleted_by_name(deletions, marks)
    )
    judged, left_out = people.split(organisation, tables, theirs)
    others, _ = people.split(organisation, known, theirs) if known else ({}, {})
    _, as_it_was = people.split(organisation, known, stopped) if known else ({}, {})
    rows = people.rows_in(left_out)
    return WithoutWithdrawn(
        judged, lambda table: others.get(table.name), people.joined(judged, as_it_was), people.without_deletions(deletions, theirs),
        Withheld(people.owned_people(organisation, left_out), rows) if rows else NOTHING_WITHHELD,
    )  # fmt: skip


def _corrected(
    organisation: Organisation, settings: Settings, tables: Mapping[str, pa.Table], key: PseudonymKey
) -> tuple[dict[str, pa.Table], list[Judgement]]:
    """The tables as the gate judges them: with the corrections that people have made. The raw store keeps what came."""
    known = corrections.read_corrections(settings.corrections_file)
    mended, found = {}, []
    for name, content in tables.items():
        mended[name], judged = corrections.corrected(organisation.table(name), content, known, key, now().date())
        found.extend(judged)
    return mended, found


@cache
def instrument_items(settings: Settings) -> pd.DataFrame:
    """The items of the instruments: rater, scale, item and whether it is reversed."""
    items = pd.read_csv(settings.dbt_project / "seeds" / "instrument_item.csv")
    return items[["rater", "scale", "item", "is_reversed"]].drop_duplicates()


def middles_elsewhere(
    organisation: Organisation, settings: Settings, ledger: Ledger
) -> dict[str, list[dict[str, float]]]:
    """The medians of the numbers of each table in the newest accepted snapshot of every other organisation."""
    found: dict[str, list[dict[str, float]]] = {}
    own = {table.name for table in organisation.tables}
    for other in read_contracts(settings.expectations).values():
        newest = [
            record for record in ledger.deliveries(status="accepted", organisation=other.name) if record.content_hash
        ]
        if other.name == organisation.name or not newest:
            continue
        for table in other.tables:
            if table.name in own and any(column.staged_type in ("integer", "decimal") for column in table.kept):
                numbers = raw.read_numbers(settings.raw, other.name, str(newest[-1].content_hash), table)
                found.setdefault(table.name, []).append(history.middles(table, numbers))
    return found


def _gate(
    manifest: Manifest,
    organisation: Organisation,
    settings: Settings,
    tables: Mapping[str, pa.Table],
    deletions: Mapping[str, list[tuple[str, ...]]],
    before: Callable[[Table], pa.Table | None],
    others: Mapping[str, list[dict[str, float]]],
) -> Iterator[Judgement]:
    from orchestration.deliveries import gate

    limits = gate.Limits(manifest.cutoff_on or last_day(manifest.period), seed_values(settings, organisation))
    by_name = {table.name: table for table in organisation.tables}
    referred = gate.referred_to(by_name, tables)
    for name, content in tables.items():
        table = by_name[name]
        was = before(table)
        # Without a snapshot before, nobody asks what a pseudonym is, only which rows have the same one.
        frame = raw.to_frame(content, [column.source for column in table.kept if column.pseudonym and was is None])
        related = gate.relations(table, content, referred)
        yield from gate.judge_table(table, gate.prepare(table, frame, related), limits)
        yield from gate.judge_evaluated(table, gate.missing_in(table, frame), len(frame))
        earlier = None if was is None else raw.to_frame(was)
        yield gate.judge_shrinkage(table, frame, earlier, deletions.get(table.name, []), organisation.shrink_tolerance)
        known = None if earlier is None or earlier.empty else earlier
        yield from history.judge_changes(table, frame, known, organisation.change_tolerance)
        yield from history.judge_values(table, frame)
        yield from history.judge_directions(table, frame, instrument_items(settings))
        yield from history.judge_units(table, frame, others.get(table.name, []))


def ingest(delivery: Path, settings: Settings, ledger: Ledger) -> Receipt:
    """Take one delivery in and act on the verdict: raw store and ledger, or quarantine and a letter.

    The delivery is copied into landing first and only the copy is read. Killed at any moment, it is simply done again:
    nothing counts until the ledger says so. Raises NotADelivery, PseudonymKeyError and OSError; never for bad content.
    """
    contracts = read_contracts(settings.expectations)
    name, period = delivery.parts[-3:-1]
    if name not in contracts:
        raise NotADelivery(f"{delivery.name}: no contract for the organisation that this folder is under")
    organisation = contracts[name]
    digest = delivery_hash(delivery)
    seen = signature(delivery)
    decided = ledger.delivery(digest)
    if decided and decided.status != "received" and (decided.status != "rejected" or decided.signature == seen):
        return _again(decided)
    key = known_key(settings, ledger)
    landed = settings.landing / name / period / f"{delivery.name}-{digest[:8]}"
    shutil.rmtree(landed, ignore_errors=True)
    with folder_by_rename(landed) as folder:
        refusal = _land(delivery, folder, organisation, settings)
    ledger.receive(digest, name, period, delivery.name, seen)
    _write_letters(Receipt(name, period, delivery.name, digest, "received", None, {}, ()), organisation, settings)
    if is_sealed(delivery) and not refusal:
        sealed = manifest_hash(landed)
        ledger.record_opening(digest, sealed)
        refusal = replayed(digest, sealed, (name, period, delivery.name), ledger)
    found = refused(*refusal) if refusal else examine(landed, organisation, settings, ledger, key)
    if found.manifest and (found.manifest.period != period or found.manifest.delivery_id != delivery.name):
        found = misplaced(found)
    if not found.is_accepted:
        return _reject(landed, digest, organisation, period, found, settings, ledger)
    return _accept(digest, organisation, found, settings, ledger)


def _land(delivery: Path, folder: Path, organisation: Organisation, settings: Settings) -> tuple[Judgement, ...]:
    """Copy a delivery into `folder`, opened if it was sealed; sealed as it is, and why, if it cannot be opened."""
    if is_sealed(delivery):
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".opening-") as private:
            try:
                unseal(delivery, settings.opening_key_path, Path(private), organisation.limits)
            except Refused as refusal:
                copy_in(delivery, folder, organisation)
                return refusal.judgements
            for path in Path(private).iterdir():
                path.rename(folder / path.name)
        return ()
    copy_in(delivery, folder, organisation)
    return ()


def copy_in(delivery: Path, folder: Path, organisation: Organisation) -> None:
    """Copy the files of a delivery that are plain and not too large; in the place of others something that is refused.

    A pipe or device would never end, and what is larger than agreed is not worth its room: a hole of the same size stands
    for it, a link that leads nowhere for whatever is not a file.
    """
    agreed = {MANIFEST, SEALED, SEAL, *agreed_names(organisation)}
    for path in sorted(delivery.iterdir(), key=lambda path: (path.name not in agreed, path.name))[:MOST_FILES]:
        state = path.lstat()
        if not stat.S_ISREG(state.st_mode):
            (folder / path.name).symlink_to("not-a-plain-file")
        elif state.st_size > organisation.limits.file_bytes:
            with (folder / path.name).open("wb") as hole:
                hole.truncate(state.st_size)
        else:
            shutil.copy2(path, folder / path.name, follow_symlinks=False)


def replayed(digest: str, sealed: str, place: tuple[str, str, str], ledger: Ledger) -> tuple[Judgement, ...]:
    """The finding that what was sealed is an older delivery that comes again: elsewhere, taken back, or superseded."""
    for other in ledger.opened_before(sealed):
        if other.manifest_sha256 == digest or other.status in ("received", "rejected"):
            continue
        newest = [
            record
            for record in ledger.deliveries(organisation=other.organisation)
            if record.period == other.period and record.status in ("accepted", "duplicate")
        ]
        is_newest = bool(newest) and newest[-1].content_hash == other.content_hash
        if (other.organisation, other.period, other.delivery_id) != place or not is_newest:
            return (failed("archive.replayed", place=SEALED),)
    return ()


def refused(*judgements: Judgement) -> Examination:
    """What is found of a delivery that is refused before its manifest is read."""
    return Examination(None, judgements, {}, {}, has_test_numbers=False, content_hash=None)


def check_delivery(delivery: Path, settings: Settings, ledger: Ledger) -> Receipt:
    """The verdict that `ingest` would give, changing nothing. Raises NotADelivery, PseudonymKeyError, OpeningKeyError."""
    delivery = delivery.resolve()
    digest = delivery_hash(delivery)
    contracts = read_contracts(settings.expectations)
    if not is_sealed(delivery):
        name, period = placed(delivery, contracts)
        found = examine(delivery, contracts[name], settings, ledger, known_key(settings, ledger))
        return _checked(delivery, digest, contracts[name], period, found, ledger)
    settings.landing.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.landing, prefix=PREVIEW) as private:
        opened = Path(private, *delivery.parts[-3:])
        opened.mkdir(parents=True)
        try:
            unseal(delivery, settings.opening_key_path, opened, _limits_of(delivery, contracts))
        except Refused as refusal:
            name, period = placed(delivery, contracts)
            return _checked(delivery, digest, contracts[name], period, refused(*refusal.judgements), ledger)
        name, period = placed(opened, contracts)
        again = replayed(digest, manifest_hash(opened), (name, period, delivery.name), ledger)
        found = (
            refused(*again)
            if again
            else examine(opened, contracts[name], settings, ledger, known_key(settings, ledger))
        )
        return _checked(delivery, digest, contracts[name], period, found, ledger)


def _checked(
    delivery: Path, digest: str, organisation: Organisation, period: str, found: Examination, ledger: Ledger
) -> Receipt:
    if found.manifest and (found.manifest.period != period or found.manifest.delivery_id != delivery.name):
        found = misplaced(found)
    status = "rejected"
    if found.is_accepted:
        status = "duplicate" if _is_known(found, organisation, ledger) else "accepted"
    counts = {table: rows.num_rows for table, rows in found.tables.items()} if found.is_accepted else {}
    return Receipt(
        organisation.name, period, delivery.name, digest, status, found.content_hash, counts, found.judgements
    )


def _limits_of(delivery: Path, contracts: Mapping[str, Organisation]) -> FileLimits:
    """The limits of the organisation that a delivery's folder names; without one, those of no organisation."""
    name = delivery.parts[-3] if len(delivery.parts) >= 3 else ""
    return contracts[name].limits if name in contracts else ORDINARY


def placed(delivery: Path, contracts: Mapping[str, Organisation]) -> tuple[str, str]:
    """Organisation and period by the folders that a delivery lies in, else by its manifest. Raises NotADelivery."""
    name, period = delivery.parts[-3:-1] if len(delivery.parts) >= 3 else ("", "")
    if name not in contracts:
        try:
            manifest = read_manifest(delivery)
        except (Refused, FileNotFoundError):
            raise NotADelivery(f"{delivery.name}: neither its folder nor its manifest names an organisation") from None
        name, period = manifest.organisation, manifest.period
    if name not in contracts:
        raise NotADelivery(f"{delivery.name}: there is no contract for its organisation")
    return name, period


def _is_known(found: Examination, organisation: Organisation, ledger: Ledger) -> bool:
    """Whether the period already holds this content.

    It is held against the delivery of the highest sequence only: a later delivery may go back to what an earlier one said.
    """
    assert found.manifest is not None  # noqa: S101 - an accepted examination has one
    taken_in = [
        record
        for record in ledger.deliveries(organisation=organisation.name)
        if record.period == found.manifest.period and record.status in ("accepted", "duplicate")
    ]
    return bool(taken_in) and taken_in[-1].content_hash == found.content_hash


def _again(record: DeliveryRecord) -> Receipt:
    return Receipt(
        record.organisation, record.period, record.delivery_id, record.manifest_sha256, record.status,
        record.content_hash, record.row_counts, (),
    )  # fmt: skip


def misplaced(found: Examination) -> Examination:
    """The same with the finding that a delivery lies where its manifest does not put it."""
    misplaced = Judgement("manifest.place", Status.FAILED, place=MANIFEST)
    return Examination(found.manifest, (misplaced, *found.judgements), {}, {}, found.has_test_numbers, None)


def _accept(digest: str, organisation: Organisation, found: Examination, settings: Settings, ledger: Ledger) -> Receipt:
    manifest = found.manifest
    assert manifest is not None and found.content_hash is not None  # noqa: S101 - an accepted examination has both
    stored = raw.store(settings.raw, organisation, found.tables, found.deletions, found.content_hash)
    keep(settings, settings.raw / organisation.name / stored)
    status = "duplicate" if _is_known(found, organisation, ledger) else "accepted"
    counts = {name: table.num_rows for name, table in found.tables.items()}
    ledger.decide(
        digest, status, [judgement.for_ledger() for judgement in found.judgements],
        sequence=manifest.sequence, content_hash=stored, cutoff_on=manifest.cutoff_on,
        is_simulated=found.has_test_numbers, row_counts=counts,
    )  # fmt: skip
    if found.withheld.rows:
        ledger.record_withheld(digest, found.withheld.people, found.withheld.rows)
    receipt = Receipt(
        organisation.name, manifest.period, manifest.delivery_id, digest, status, stored, counts, found.judgements
    )
    _write_letters(receipt, organisation, settings)
    return receipt


def _reject(
    landed: Path,
    digest: str,
    organisation: Organisation,
    period: str,
    found: Examination,
    settings: Settings,
    ledger: Ledger,
) -> Receipt:
    delivery_id = landed.name.rpartition("-")[0]
    receipt = Receipt(organisation.name, period, delivery_id, digest, "rejected", None, {}, found.judgements)
    quarantined = settings.quarantine / organisation.name / period / landed.name
    quarantined.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(quarantined, ignore_errors=True)
    landed.rename(quarantined)
    _write_letters(receipt, organisation, settings)
    ledger.decide(digest, "rejected", [judgement.for_ledger() for judgement in found.judgements])
    return receipt


def _write_letters(receipt: Receipt, organisation: Organisation, settings: Settings) -> None:
    folder = settings.letters / receipt.organisation / receipt.period / f"{receipt.delivery_id}-{receipt.sha256[:8]}"
    write_json(folder / "judgement.json", report(receipt))
    if receipt.status in ("accepted", "duplicate"):
        write_json(folder / REFERENCE, reference_of(receipt))
    for language in ("nl", "en"):
        text = letter(receipt, organisation, language)
        write_atomically(folder / f"letter.{language}.txt", text.encode())
    if receipt.status != "received":
        keep(settings, folder, anew=True)


def report(receipt: Receipt) -> dict[str, object]:
    """The verdict as plain data: counts, codes and row numbers only."""
    return {
        "organisation": receipt.organisation,
        "period": receipt.period,
        "delivery_id": receipt.delivery_id,
        "status": receipt.status,
        "content_hash": receipt.content_hash,
        "rows": dict(receipt.row_counts),
        "findings": [judgement.as_dict() for judgement in receipt.reasons],
        "warnings": [judgement.as_dict() for judgement in receipt.warnings],
        "waived": [judgement.as_dict() for judgement in receipt.waived],
        "corrected": [judgement.as_dict() for judgement in receipt.corrected],
        "rules_applied": len(receipt.judgements),
    }


def reference_of(receipt: Receipt) -> dict[str, object]:
    """The content of the reference file of an accepted delivery."""
    return {
        "organisation": receipt.organisation,
        "period": receipt.period,
        "delivery_id": receipt.delivery_id,
        "rows": dict(sorted(receipt.row_counts.items())),
    }


def accepted_state(ledger: Ledger) -> str:
    """One hash of everything that is accepted: what a build is a function of."""
    return combined_hash(
        {record.manifest_sha256: str(record.content_hash) for record in ledger.deliveries(status="accepted")}
    )
