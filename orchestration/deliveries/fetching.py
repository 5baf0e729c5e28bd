"""Fetching: what is complete at a source is copied to a hidden name in the inbox, verified, and renamed into place.

Nothing but the manifest is read before every file that it names is there in its size. A transient fault is tried again, a
source that failed three times in a row is left alone for a while, and a delivery that changes while it is fetched is not
taken. The source is only read; a receipt is written where its settings allow that.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

from orchestration.deliveries.contracts import Organisation
from orchestration.deliveries.judgement import Refused
from orchestration.deliveries.manifest import MANIFEST, MAX_MANIFEST_BYTES, Manifest, agreed_names, parse_manifest
from orchestration.deliveries.periods import is_period
from orchestration.deliveries.sealing import SEAL, SEALED, sealed_digest
from orchestration.deliveries.sources import Source, read_sources
from orchestration.deliveries.transports import Clock, Entry, Patience, Remote, SourceTrouble, open_source
from orchestration.files import folder_by_rename, locked
from orchestration.hashing import combined_hash, sha256_bytes
from orchestration.ledger import Ledger, now
from orchestration.readings import Sighting
from orchestration.settings import Settings

TRIES = 3
RESTS_MINUTES = 30
MOST_UNDECLARED = 100
_DELIVERY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Fetched:
    """What came of looking at one source: deliveries taken, still incomplete, changing; bytes; the code of a trouble."""

    organisation: str
    taken: int = 0
    incomplete: int = 0
    changing: int = 0
    bytes: int = 0
    trouble: str = ""


def fetch_all(
    settings: Settings,
    ledger: Ledger,
    contracts: Mapping[str, Organisation],
    patience: Patience | None = None,
    clock: Clock | None = None,
) -> list[Fetched]:
    """Look at every source and take what is complete into the inbox. A source in trouble does not stop the others.

    Raises SourceError for a sources file that cannot be used.
    """
    sources = read_sources(settings.sources_file)
    with locked(settings.landing / "fetching.lock"):
        return [
            fetch(source, contracts[name], settings, ledger, patience or Patience(), clock or Clock())
            for name, source in sources.items()
            if name in contracts
        ]


def fetch(
    source: Source, organisation: Organisation, settings: Settings, ledger: Ledger, patience: Patience, clock: Clock
) -> Fetched:
    """Look at one source. What went wrong is in the result and on record, not raised."""
    began = now()
    if _rests(ledger, organisation.name, began):
        return Fetched(organisation.name, trouble="source.resting")
    fetching = _Fetching(source, organisation, settings, ledger, patience, clock)
    try:
        fetching.look()
        trouble = ""
    except SourceTrouble as error:
        trouble = error.code
    finally:
        fetching.close()
    found = replace(fetching.found, trouble=trouble)
    ledger.record_fetching(organisation.name, began, trouble or None, found.taken, found.bytes)
    return found


def _rests(ledger: Ledger, organisation: str, at: datetime) -> bool:
    """Whether the last three looks at a source failed, and the last of them not long ago."""
    last = ledger.fetchings(organisation)[-TRIES:]
    return (
        len(last) == TRIES
        and all(look["trouble"] for look in last)
        and at - last[-1]["fetched_at"] < timedelta(minutes=RESTS_MINUTES)
    )


class _Incomplete(Exception):
    """Something that the manifest names is not there yet, or not yet as it says."""


class _Fetching:
    """One look at one source: the connection, which is made anew after a fault, and what was found so far."""

    def __init__(
        self,
        source: Source,
        organisation: Organisation,
        settings: Settings,
        ledger: Ledger,
        patience: Patience,
        clock: Clock,
    ) -> None:
        self._source, self._organisation, self._settings, self._ledger = source, organisation, settings, ledger
        self._patience, self._clock = patience, clock
        self._known = {(seen.period, seen.delivery_id): seen for seen in ledger.sightings(organisation.name)}
        self._remote: Remote | None = None
        self.found = Fetched(organisation.name)

    def look(self) -> None:
        """Take what is complete. Raises SourceTrouble when the source itself is in trouble."""
        shutil.rmtree(self._aside(), ignore_errors=True)
        for period, delivery_id in self._patiently(lambda remote: list(self._deliveries(remote))):
            try:
                self._patiently(lambda remote, at=(period, delivery_id): self._delivery(remote, *at))  # type: ignore[misc]
            except SourceTrouble as trouble:
                if trouble.code != "source.changing":
                    raise
                self.found = replace(self.found, changing=self.found.changing + 1)

    def _patiently(self, step: Callable[[Remote], _Result]) -> _Result:
        """Do a step, and again after a transient fault: at most three times, each on a connection of its own."""
        from tenacity import Retrying, retry_if_exception, stop_after_attempt, stop_after_delay, wait_random_exponential

        retrying = Retrying(
            stop=stop_after_attempt(TRIES) | stop_after_delay(self._patience.total),
            wait=wait_random_exponential(multiplier=2, max=60),
            retry=retry_if_exception(lambda error: isinstance(error, SourceTrouble) and error.is_transient),
            sleep=self._clock.sleep,
            reraise=True,
        )
        return retrying(self._connected, step)

    def _connected(self, step: Callable[[Remote], _Result]) -> _Result:
        if self._remote is None:
            self._remote = open_source(self._source, self._patience, self._clock)
        try:
            return step(self._remote)
        except SourceTrouble:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection if there is one."""
        if self._remote is not None:
            self._remote.close()
            self._remote = None

    def _deliveries(self, remote: Remote) -> Iterator[tuple[str, str]]:
        """Period and id of the folders that may be deliveries."""
        for period in remote.entries():
            if period.is_folder and is_period(period.name, self._organisation.cadence):
                for delivery in remote.entries(period.name):
                    if delivery.is_folder and _DELIVERY_ID.fullmatch(delivery.name):
                        yield period.name, delivery.name

    def _delivery(self, remote: Remote, period: str, delivery_id: str) -> None:
        path = f"{period}/{delivery_id}"
        entries = remote.entries(path)
        names = {entry.name for entry in entries if entry.is_plain}
        cover = MANIFEST if MANIFEST in names else SEAL
        if cover not in names:
            return
        signature = _signature(entries)
        known = self._known.get((period, delivery_id))
        if known and known.signature == signature and known.state == "fetched":
            return
        content = remote.read(f"{path}/{cover}", MAX_MANIFEST_BYTES + 1)
        digest = sha256_bytes(content)
        if self._is_decided(digest, period, delivery_id, known is not None and known.signature != signature):
            return
        at = now()
        first = known.first_seen_at if known and known.manifest_sha256 == digest else at
        is_late = at - first >= timedelta(hours=self._settings.incomplete_hours)
        seen = Sighting(self._organisation.name, period, delivery_id, digest, signature, "incomplete", first, at)
        try:
            if known and not is_late and known.state == "incomplete" and known.signature == signature:
                raise _Incomplete  # nothing has moved since it was last looked at
            self._take(remote, seen, entries, content, as_it_is=is_late)
        except _Incomplete:
            self.found = replace(self.found, incomplete=self.found.incomplete + 1)
            self._ledger.record_sighting(seen)
        except SourceTrouble as trouble:
            if trouble.code == "source.changing":
                self._ledger.record_sighting(replace(seen, state="changing"))
            raise
        else:
            self._ledger.record_sighting(replace(seen, state="fetched"))

    def _is_decided(self, digest: str, period: str, delivery_id: str, has_moved: bool) -> bool:
        """Whether nothing is to be done: it has its verdict, or lies in the inbox already; a rejected one may be mended."""
        record = self._ledger.delivery(digest)
        if record and record.status not in ("received", "rejected"):
            return True
        if record and record.status == "rejected" and not has_moved:
            return True
        waiting = self._settings.inbox_path / self._organisation.name / period / delivery_id
        for cover in (MANIFEST, SEAL):
            if (waiting / cover).is_file() and record is None:
                other = sha256_bytes((waiting / cover).read_bytes())
                # One that waits for its verdict is not overwritten, whatever stands at the source by now.
                if other == digest or self._ledger.delivery(other) is None:
                    return True
        return False

    def _take(self, remote: Remote, seen: Sighting, entries: list[Entry], cover: bytes, *, as_it_is: bool) -> None:
        """Copy one delivery and rename it into the inbox. Raises _Incomplete and SourceTrouble (`source.changing`)."""
        path = f"{seen.period}/{seen.delivery_id}"
        expected = _expected(cover, self._organisation)
        if not as_it_is:
            _require_all(entries, expected)
        deadline = self._clock.monotonic() + self._patience.total
        aside = self._aside() / uuid.uuid4().hex
        size = 0
        with folder_by_rename(aside) as folder:
            undeclared = 0
            for entry in entries:
                if entry.name in expected.files and entry.size > self._organisation.limits.file_bytes:
                    with (folder / entry.name).open("wb") as hole:
                        hole.truncate(entry.size)  # refused for its size; what it holds is not asked for
                elif entry.name in expected.files and entry.is_plain:
                    arrived, digest = remote.copy(f"{path}/{entry.name}", folder / entry.name, deadline)
                    size += arrived
                    if not as_it_is and digest != expected.files[entry.name].sha256:
                        _require_still(remote, path, seen.signature)
                        raise _Incomplete
                elif entry.name in expected.files:
                    (folder / entry.name).symlink_to("link-at-the-source")
                elif entry.name != expected.cover and undeclared < MOST_UNDECLARED:
                    undeclared += 1  # that it is there is said; what it holds is not asked for
                    (folder / f"undeclared-{undeclared}").touch()
            (folder / expected.cover).write_bytes(cover)
            _require_still(remote, path, seen.signature)
        target = self._settings.inbox_path / seen.organisation / seen.period / seen.delivery_id
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        aside.rename(target)
        self.found = replace(self.found, taken=self.found.taken + 1, bytes=self.found.bytes + size)

    def _aside(self) -> Path:
        """Where copies grow: in the inbox, so that a rename is enough, and two levels down, where nobody looks for deliveries."""
        return self._settings.inbox_path / f".fetching-{self._organisation.name}"


@dataclass(frozen=True)
class _File:
    size: int | None
    sha256: str


@dataclass(frozen=True)
class _Expected:
    """What a cover, the manifest or the seal, says that there must be."""

    cover: str
    files: Mapping[str, _File]
    is_whole: bool


def _expected(cover: bytes, organisation: Organisation) -> _Expected:
    """The files that a cover names; names that were not agreed cannot be waited for, and are left to the verdict."""
    if (digest := sealed_digest(cover)) is not None:
        return _Expected(SEAL, {SEALED: _File(None, digest)}, is_whole=True)
    try:
        manifest: Manifest = parse_manifest(cover)
    except Refused:
        return _Expected(MANIFEST, {}, is_whole=_is_json(cover))
    agreed = agreed_names(organisation)
    files = {file.name: _File(file.bytes, file.sha256) for file in manifest.files if file.name in agreed}
    return _Expected(MANIFEST, files, is_whole=True)


def _is_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except (ValueError, RecursionError):
        return False
    return True


def _require_all(entries: list[Entry], expected: _Expected) -> None:
    present = {entry.name: entry for entry in entries}
    if not expected.is_whole or any(
        name not in present or (file.size is not None and present[name].is_plain and present[name].size != file.size)
        for name, file in expected.files.items()
    ):
        raise _Incomplete


def _require_still(remote: Remote, path: str, signature: str) -> None:
    """That nothing has changed at the source since `signature` was taken. Raises SourceTrouble."""
    if _signature(remote.entries(path)) != signature:
        raise SourceTrouble("source.changing", is_transient=True)


def _signature(entries: list[Entry]) -> str:
    return combined_hash({entry.name: f"{entry.is_plain} {entry.size} {entry.changed}" for entry in entries})


# receipts -----------------------------------------------------------------------------------------------------------
def acknowledge(settings: Settings, ledger: Ledger, patience: Patience | None = None) -> int:
    """Write a receipt beside each fetched delivery that has a verdict, where its source allows that; how many.

    A receipt says verdict, codes and counts. One that cannot be written is tried again at the next look.
    """
    written = 0
    for name, source in read_sources(settings.sources_file).items():
        due = [(seen, status) for seen in ledger.sightings(name) if (status := _news(seen, ledger))]
        if not source.writes_receipts or not due:
            continue
        try:
            with contextlib.closing(open_source(source, patience)) as remote:
                for seen, status in due:
                    content = json.dumps(receipt_of(seen, ledger), indent=1, sort_keys=True).encode()
                    remote.write(f"{seen.period}/{seen.delivery_id}.receipt.json", content)
                    ledger.record_sighting(replace(seen, acknowledged=status))
                    written += 1
        except SourceTrouble as trouble:
            ledger.record_fetching(name, now(), trouble.code, 0, 0)
    return written


def _news(seen: Sighting, ledger: Ledger) -> str | None:
    """The verdict on a delivery that its receipt does not say yet."""
    record = ledger.delivery(seen.manifest_sha256)
    if record is None or record.status == "received" or record.status == seen.acknowledged:
        return None
    return record.status


def receipt_of(seen: Sighting, ledger: Ledger) -> dict[str, object]:
    """The content of a receipt: verdict, rules that failed, counts."""
    record = ledger.delivery(seen.manifest_sha256)
    assert record is not None  # noqa: S101 - `_news` has looked
    fields = ("rule", "table_name", "column_name", "severity", "evaluated", "failed")
    return {
        "organisation": record.organisation,
        "period": record.period,
        "delivery_id": record.delivery_id,
        "manifest_sha256": record.manifest_sha256,
        "status": record.status,
        "rows": record.row_counts,
        "findings": [
            {name: item[name] for name in fields}
            for item in ledger.judgements(record.manifest_sha256)
            if item["status"] in ("failed", "error")
        ],
    }
