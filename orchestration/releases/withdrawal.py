"""A person withdraws: `begin` puts it on record by keyed hashes, `finish` carries it out, step by step, and writes a receipt.

Each step may be killed and is done again: what is done stands in the ledger. What a step does to its room is written there
(`deliveries/leaving.py`, `warehouse/reissue.py`, `analysis/leaving.py`, `superseding.py`).
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from orchestration import audit
from orchestration.analysis import leaving as fits
from orchestration.deliveries import leaving, people
from orchestration.deliveries.contracts import Organisation, read_contracts
from orchestration.deliveries.ingest import known_key
from orchestration.deliveries.keys import PseudonymKey
from orchestration.deliveries.people import ERASE, Marks, mark
from orchestration.files import write_json
from orchestration.ledger import Ledger, now
from orchestration.progress import Progress, nobody
from orchestration.readings import Withdrawal
from orchestration.releases import consents, superseding
from orchestration.settings import Settings
from orchestration.store import mirror, pull_all
from orchestration.trouble import Mendable
from orchestration.warehouse import reissue, versions

CONSENT, EXCEPTION = "consent", "exception"
BASES = {
    CONSENT: "the person withdrew consent or asked for erasure (GDPR art. 7(3), 17(1)(b)); the exception for research was not applied",
    EXCEPTION: "erasure was asked for and the exception for research was applied by decision (GDPR art. 17(3)(d), UAVG art. 44)",
}
_NUMBER = re.compile(r"\d{6,}|\d{4}\.\d{2}\.\d{3}")  # as long as one that names a person
BEGUN, RECEIPT = "begun", "receipt.json"
BEFORE, AFTER, COMPARED = "estimates-before.parquet", "estimates-after.parquet", "estimates.csv"


class CannotWithdraw(Mendable):
    """The withdrawal cannot be followed as asked; says why and what to do."""


@dataclass(frozen=True)
class Asked:
    """What is asked: stop or erase, on which basis, why, and by whom here."""

    mode: str
    basis: str
    reason: str
    by: str


@dataclass(frozen=True)
class Place:
    """Where a withdrawal is carried out: everything that its steps need."""

    settings: Settings
    ledger: Ledger
    contracts: Mapping[str, Organisation]
    key: PseudonymKey
    entry: Withdrawal
    refit: Callable[[], bool]

    @property
    def marks(self) -> Marks:
        return people.marks_of(self.ledger, self.key)

    @property
    def folder(self) -> Path:
        return self.settings.withdrawals / self.entry.withdrawal_id

    def take_away(self, kind: str, names: Iterable[str]) -> None:
        """Note what is about to be removed, so that a process that dies in between does not forget that it was there."""
        for name in names:
            self.ledger.record_reissue(self.entry.withdrawal_id, kind, name, None)

    def taken_away(self, kind: str) -> list[Mapping[str, Any]]:
        """What this withdrawal took away of a kind, and what is in its place."""
        return [row for row in self.ledger.reissues(kind) if row["withdrawal_id"] == self.entry.withdrawal_id]

    def counts(self, step: str) -> dict[str, Any]:
        return self.ledger.steps_of(self.entry.withdrawal_id).get(step, {})


def begin(settings: Settings, ledger: Ledger, file: Path, asked: Asked) -> Withdrawal:
    """Put on record that the people whom `file` names withdraw; the file is read once and nothing of it is kept.

    From here on they stay out of every delivery, whatever happens; `finish` does the rest. Raises CannotWithdraw, and
    CannotRead when rows of the file are wrong.
    """
    _require_decided(asked)
    contracts = read_contracts(settings.expectations)
    key = known_key(settings, ledger)
    named = leaving.read_request(file, contracts, key, admit_test_numbers=settings.admit_test_numbers)
    who = leaving.who_is_who(settings, ledger, contracts)
    unknown = [item.row for item in named if item.purpose == people.CLIENT_NUMBER and item.pseudonym not in who.newest]
    if unknown:
        raise CannotWithdraw(
            f"{file.name}: rows {', '.join(map(str, unknown))} name client numbers that nobody delivered; nothing was done: "
            "name these people by the linkage key"
        )
    persons = {who.same_person([item.pseudonym]) for item in named}
    marks = people.marks_of(ledger, key)
    known = marks.erased if asked.mode == ERASE else marks.erased | marks.stopped
    new = {person for person in persons if not all(mark(key, pseudonym) in known for pseudonym in person)}
    if not new:
        raise CannotWithdraw(f"all {len(persons)} people in {file.name} have withdrawn already; nothing was done")
    entry = Withdrawal(
        f"{now():%Y%m%d}-{secrets.token_hex(4)}", asked.mode, asked.basis, asked.reason.strip(), asked.by, now(), len(new),
        _cutoff_known(ledger, contracts),
    )  # fmt: skip
    return _recorded(settings, ledger, contracts, key, entry, frozenset().union(*new))


def _require_decided(asked: Asked) -> None:
    if not asked.reason.strip():
        raise CannotWithdraw("a reason is needed: it stays on record")
    if _NUMBER.search(asked.reason):
        raise CannotWithdraw(
            "the reason stays on record when the person is gone: leave names and numbers of people out of it"
        )
    if asked.mode == ERASE and asked.basis == EXCEPTION:
        raise CannotWithdraw(
            "the exception for research keeps the data: with it a person stops (`--mode stop`), and is not erased"
        )


def _cutoff_known(ledger: Ledger, contracts: Mapping[str, Organisation]) -> date | None:
    """The cut-off of the newest registry extract that was accepted; None where there is none."""
    registries = [name for name, organisation in contracts.items() if organisation.kind == "registry"]
    taken_in = [record for name in registries for record in ledger.deliveries(status="accepted", organisation=name)]
    return max((record.cutoff_on for record in taken_in if record.cutoff_on), default=None)


def _recorded(
    settings: Settings,
    ledger: Ledger,
    contracts: Mapping[str, Organisation],
    key: PseudonymKey,
    entry: Withdrawal,
    pseudonyms: Iterable[str],
) -> Withdrawal:
    """Put a withdrawal on record with the marks of the people and of everything that is about them."""
    first = frozenset(mark(key, pseudonym) for pseudonym in pseudonyms)
    asked = Marks(key, first, frozenset()) if entry.mode == ERASE else Marks(key, frozenset(), first)
    theirs = leaving.everything_of(settings, ledger, contracts, asked, entry.mode)
    marks = first | {mark(key, pseudonym) for pseudonym in theirs}
    ledger.begin_withdrawal(entry, marks)
    write_list(settings, ledger)
    on_record(ledger, entry, BEGUN, {"people": entry.people, "marks": len(marks), "numbers_held": len(theirs)})
    return entry


def on_record(ledger: Ledger, entry: Withdrawal, step: str, counts: dict[str, Any]) -> None:
    """Every act of a withdrawal goes on record here: what was done, with counts, under who asked for it and why; and on the audit trail."""
    ledger.record_step(entry.withdrawal_id, step, counts)
    is_begun = step == BEGUN
    audit.record(
        ledger, "withdrawal.begun" if is_begun else "withdrawal.step", entry.withdrawal_id,
        f"{entry.mode}, {entry.basis}: {entry.reason}" if is_begun else step, entry.requested_by if is_begun else None,
    )  # fmt: skip


# the list that outlives a home ---------------------------------------------------------------------------------------
def write_list(settings: Settings, ledger: Ledger) -> None:
    """Write who has withdrawn, as keyed hashes, to the list beside the home, from which a restored home replays it."""
    entries = []
    for item in ledger.withdrawals():
        marks = [row["mark"] for row in ledger.withdrawn() if row["withdrawal_id"] == item.withdrawal_id]
        entries.append(
            {
                "withdrawal_id": item.withdrawal_id, "mode": item.mode, "basis": item.basis, "reason": item.reason,
                "requested_by": item.requested_by, "requested_at": item.requested_at.isoformat(), "people": item.people,
                "known_until": item.known_until.isoformat() if item.known_until else None, "marks": marks,
            }
        )  # fmt: skip
    write_json(settings.withdrawn_file, entries)


def replay(settings: Settings, ledger: Ledger) -> int:
    """Put on record what the list beside the home knows and this ledger does not, as after a restore; gives how many."""
    if not settings.withdrawn_file.is_file():
        return 0
    known = {item.withdrawal_id for item in ledger.withdrawals()}
    missing = [
        entry
        for entry in json.loads(settings.withdrawn_file.read_text(encoding="utf-8"))
        if entry["withdrawal_id"] not in known
    ]
    for entry in missing:
        marks = entry.pop("marks")
        until = entry.pop("known_until")
        made = Withdrawal(
            **{**entry, "requested_at": datetime.fromisoformat(entry["requested_at"])},
            known_until=date.fromisoformat(until) if until else None,
        )
        ledger.begin_withdrawal(made, marks)
        on_record(ledger, made, BEGUN, {"people": made.people, "marks": len(marks), "replayed": 1})
    return len(missing)


# the steps -----------------------------------------------------------------------------------------------------------
def _bring_all(place: Place) -> dict[str, Any]:
    """What other machines made holds them too: it comes here first, and goes with the rest."""
    return {"folders": len(pull_all(place.settings).folders)}


def _clear_store(place: Place) -> dict[str, Any]:
    return dict(mirror(place.settings))


def _keep_before(place: Place) -> dict[str, Any]:
    return {"was_fitted": int(fits.keep_estimates(place.settings, place.folder / BEFORE))}


def _rewrite_raw(place: Place) -> dict[str, Any]:
    replaced = leaving.rewrite_raw(place.settings, place.ledger, place.contracts, place.marks)
    place.ledger.replace_contents(place.entry.withdrawal_id, replaced)
    held = {row["new"] for row in place.taken_away("content")}
    return {
        "contents": len(held),
        "deliveries": sum(record.content_hash in held for record in place.ledger.deliveries()),
    }


def _remove_raw(place: Place) -> dict[str, Any]:
    return {"contents": leaving.remove_unnamed(place.settings, place.ledger, place.contracts)}


def _clear_landing(place: Place) -> dict[str, Any]:
    cleared = leaving.clear_originals(place.settings, place.ledger)
    return {"deliveries": cleared.deliveries, "files": cleared.files}


def _forget_corrections(place: Place) -> dict[str, Any]:
    return {"corrections": leaving.forget_corrections(place.settings, place.marks)}


def _forget_consents(place: Place) -> dict[str, Any]:
    """A register that is not the one on record may name anybody: it goes, and is taken in again."""
    settings, ledger = place.settings, place.ledger
    if not ledger.consent_registers():
        return {"clients": 0}
    try:
        register = consents.read_register(settings.consents_file, ledger)
    except consents.NoConsents:
        was_there = settings.consents_file.exists()
        settings.consents_file.unlink(missing_ok=True)
        return {"clients": 0, "registers_removed": int(was_there)}
    theirs = {one.client_id for one in register if mark(place.key, one.client_id) in place.marks.erased}
    return {"clients": consents.forget(settings.consents_file, theirs, ledger, by=place.entry.requested_by)}


def _end_consents(place: Place) -> dict[str, Any]:
    """A register that is gone, or is not the one on record, gets the day when it is taken in again (`consents.take`)."""
    settings, ledger = place.settings, place.ledger
    if not ledger.consent_registers():
        return {"consents_ended": 0}
    try:
        return {"consents_ended": consents.stop(settings.consents_file, ledger, place.key, by=place.entry.requested_by)}
    except consents.NoConsents:
        return {"consents_ended": 0, "registers_to_take_in_again": 1}


def _remove_builds(place: Place) -> dict[str, Any]:
    return {"builds": reissue.remove_builds(place.settings)}


def _reissue_versions(place: Place) -> dict[str, Any]:
    settings, ledger = place.settings, place.ledger
    for version in reissue.affected_versions(settings, ledger):
        done = {row["old"]: row["new"] for row in ledger.reissues("version")}
        if version.version_id not in done:
            made = reissue.reissue(settings, ledger, version)
            ledger.record_reissue(place.entry.withdrawal_id, "version", made.old, made.new)
            done[made.old] = made.new
        if done[version.version_id] != version.version_id:
            reissue.remove_version(settings, version.version_id)
    ours = place.taken_away("version")
    return {
        "versions": len(ours),
        "without_a_row_of_theirs": sum(row["old"] == row["new"] for row in ours),
        "not_built_again": sum(row["new"] is None for row in ours),
    }


def _present_versions(settings: Settings) -> set[str]:
    return {version.version_id for version in versions.all_versions(settings)}


def _remove_outcomes(place: Place) -> dict[str, Any]:
    found = list(reissue.affected_outcomes(place.settings, place.ledger))
    place.take_away("outcomes", (folder.name for folder in found))
    reissue.remove_outcomes(found, place.folder / "outcomes")
    return {"outcomes": len(place.taken_away("outcomes"))}


def _remove_fits(place: Place) -> dict[str, Any]:
    present = _present_versions(place.settings)
    for kind, root in (
        ("fit", place.settings.fits), ("own", place.settings.own), ("multiverse", place.settings.multiverse)
    ):  # fmt: skip
        place.take_away(kind, (folder.name for folder in fits.affected_fits(root, present)))
    fits.remove_fits(place.settings, present, place.folder / "own")
    return {kind: len(place.taken_away(kind)) for kind in ("fit", "own", "multiverse")}


def _supersede_releases(place: Place) -> dict[str, Any]:
    becomes = {row["old"]: row["new"] for row in place.ledger.reissues("version")}
    found = list(superseding.affected_releases(place.settings, _present_versions(place.settings)))
    place.take_away("release", (folder.name for folder in found))
    for folder in found:
        superseding.supersede(folder, becomes, now().date())
    return {"releases": len(place.taken_away("release"))}


def _remove_leftovers(place: Place) -> dict[str, Any]:
    """What killed processes left in hidden folders, whatever they were."""
    home, removed = place.settings.home_path, 0
    roots = [
        place.settings.raw, place.settings.versions, place.settings.fits, place.settings.own, place.settings.outcomes,
        place.settings.multiverse, place.settings.builds, place.settings.releases,
    ]  # fmt: skip
    hidden = [path for root in roots if root.is_dir() for path in (*root.glob(".*"), *root.glob("*/.*"))]
    for path in (*hidden, *home.glob("outcome-*")):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        removed += 1
    return {"leftovers": removed}


def _refit(place: Place) -> dict[str, Any]:
    is_there = (place.settings.fits / "current").exists()
    if is_there or not place.counts("estimates before")["was_fitted"] or not versions.current_id(place.settings):
        return {"refitted": 0}
    return {"refitted": int(place.refit())}


def _compare(place: Place) -> dict[str, Any]:
    before, after = place.folder / BEFORE, place.folder / AFTER
    if not before.is_file() or not fits.keep_estimates(place.settings, after):
        return {"estimates_that_moved": 0}
    return {"estimates_that_moved": fits.compare_estimates(before, after, place.folder / COMPARED)}


STEPS: Mapping[str, Callable[[Place], dict[str, Any]]] = {
    "brought from the store": _bring_all,
    "estimates before": _keep_before,
    "raw store written without them": _rewrite_raw,
    "raw store": _remove_raw,
    "landing, quarantine and inbox": _clear_landing,
    "corrections": _forget_corrections,
    "register of consents": _forget_consents,
    "builds": _remove_builds,
    "versions": _reissue_versions,
    "outcomes of one's own": _remove_outcomes,
    "fits": _remove_fits,
    "releases": _supersede_releases,
    "leftovers": _remove_leftovers,
    "store": _clear_store,
    "refit": _refit,
    "estimates after": _compare,
}
STOPPING: Mapping[str, Callable[[Place], dict[str, Any]]] = {"register of consents": _end_consents}


def finish(
    settings: Settings, ledger: Ledger, refit: Callable[[], bool], progress: Progress = nobody
) -> list[Withdrawal]:
    """Carry out every withdrawal that is on record and not finished, the oldest first; gives them with their receipts.

    What the list beside the home knows and the ledger does not is put on record first. `refit` fits the published version
    again and says whether that went well. To be called while no other process writes. Killed at any moment, the next call
    goes on where this one was.
    """
    replay(settings, ledger)
    unfinished = [item for item in ledger.withdrawals() if item.finished_at is None]
    if not unfinished:
        return []
    contracts, key = read_contracts(settings.expectations), known_key(settings, ledger)
    for entry in unfinished:
        place = Place(settings, ledger, contracts, key, entry, refit)
        steps = STEPS if entry.mode == ERASE else STOPPING
        for number, (step, act) in enumerate(steps.items()):
            if step in ledger.steps_of(entry.withdrawal_id):
                continue
            progress(f"withdrawal {step}", number, len(steps))
            on_record(ledger, entry, step, act(place))
        receipt = receipt_of(settings, ledger, entry)
        write_json(place.folder / RECEIPT, receipt)
        ledger.finish_withdrawal(entry.withdrawal_id, receipt)
    done = {item.withdrawal_id for item in unfinished}
    return [item for item in ledger.withdrawals() if item.withdrawal_id in done]


def receipt_of(settings: Settings, ledger: Ledger, entry: Withdrawal) -> dict[str, Any]:
    """What held the people and what was removed, as counts and names of places; and the decision that was made."""
    waiting = superseding.waiting_for_batch(settings, ledger)
    return {
        "withdrawal_id": entry.withdrawal_id, "mode": entry.mode, "people": entry.people, "requested_by": entry.requested_by,
        "requested_on": entry.requested_at.date().isoformat(), "reason": entry.reason, "basis": entry.basis,
        "decision": BASES[entry.basis], "places": ledger.steps_of(entry.withdrawal_id),
        "versions": {row["old"]: row["new"] for row in ledger.reissues("version") if row["withdrawal_id"] == entry.withdrawal_id},
        "releases": [row["old"] for row in ledger.reissues("release") if row["withdrawal_id"] == entry.withdrawal_id],
        "public": {"people_waiting": waiting.people, "batch": waiting.batch, "is_due": waiting.is_due},
    }  # fmt: skip
