"""Whether what `tests.faults.under_load` promises was kept: nothing lost, nothing twice, nothing torn, memory flat. Looks, changes nothing."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from orchestration.analysis.fit import is_whole, read_fit
from orchestration.deliveries import raw
from orchestration.deliveries.contracts import read_contracts
from orchestration.hashing import combined_hash, content_hash
from orchestration.readings import DeliveryRecord, Readings, Row
from orchestration.settings import Settings
from orchestration.warehouse import versions
from tests.faults.load_plan import DECIDED, Sent

MOST_GROWTH = 0.10
SETTLING = 0.4  # of a life of the daemon, at most, and at most:
SETTLING_SECONDS = 180.0
LONG_LIFE = 600.0  # seconds in which the daemon has had several code servers


@dataclass(frozen=True)
class Sample:
    """What the daemon, its code server and its fork server held (MB of resident memory) so many seconds after the start, in which life.

    The daemon now and then starts another code server and lets the one before linger: `mb` counts the larger one, `whole_mb` both.
    """

    at: float
    life: int
    mb: float
    whole_mb: float


@dataclass(frozen=True)
class Growth:
    """One life of the daemon: seconds, MB after it had settled and at its end; MB of all its processes at most, before its last
    quarter and in it."""

    life: int
    seconds: float
    start_mb: float
    end_mb: float
    highest_mb: float
    highest_late_mb: float

    @property
    def share(self) -> float:
        return self.end_mb / self.start_mb - 1

    @property
    def is_grown(self) -> bool:
        """Whether a process grew, or in a long life processes pile up: the most of the last quarter is then more than there ever was."""
        piles_up = self.seconds >= LONG_LIFE and self.highest_late_mb > self.highest_mb * (1 + MOST_GROWTH)
        return self.share > MOST_GROWTH or piles_up


def lost(sent: Iterable[Sent], records: Iterable[DeliveryRecord]) -> list[str]:
    """Deliveries that appeared and are not decided as they must be, each with what is on record of it."""
    known = {(one.organisation, one.period, one.delivery_id): one.status for one in records}
    found = {one: known.get((one.organisation, one.period, one.delivery_id), "nothing on record") for one in sent}
    return [
        f"{one.delivery_id}: {said}, not {DECIDED[one.kind]}"
        for one, said in found.items()
        if said != DECIDED[one.kind]
    ]


def twice(sent: Iterable[Sent], records: Iterable[DeliveryRecord], trail: Iterable[Row]) -> list[str]:
    """Deliveries with more than one record, that nobody sent, or that the audit trail says were decided more than once or never."""
    expected = Counter((one.organisation, one.period, one.delivery_id) for one in sent)
    there = list(records)
    counted = Counter((one.organisation, one.period, one.delivery_id) for one in there)
    found = [f"{place[-1]}: {number} records" for place, number in counted.items() if number != expected[place]]
    decisions = Counter(
        str(row["about"]) for row in trail if str(row["what"]) in {f"delivery.{status}" for status in DECIDED.values()}
    )
    if sum(decisions.values()) != len(there):
        found.append(f"{sum(decisions.values())} decisions in the audit trail about {len(there)} deliveries")
    return found + [f"{about}: decided {number} times" for about, number in decisions.items() if number > 1]


def otherwise_than(records: Iterable[DeliveryRecord], undisturbed: Iterable[DeliveryRecord]) -> list[str]:
    """Deliveries about which an undisturbed home decided otherwise, or which hold other content there."""
    here, there = ({one.manifest_sha256: one for one in home} for home in (records, undisturbed))
    facts = ("status", "content_hash", "row_counts", "sequence")
    return [
        f"{(here.get(key) or there[key]).delivery_id}: otherwise than undisturbed"
        for key in sorted({*here, *there})
        if [getattr(here.get(key), name, None) for name in facts] != [getattr(there.get(key), name, None) for name in facts]
    ]  # fmt: skip


def torn_version(folder: Path) -> list[str]:
    """What of a published version is not as its manifest says, down to the rows; nothing where it is whole."""
    try:
        version = versions.read_version(folder)
        versions.verify(version)
        tables = {name: pq.read_table(folder / f"{name}.parquet") for name in version.manifest["tables"]}
    except (OSError, ValueError, KeyError, versions.VersionDamaged) as error:
        return [f"version {folder.name}: {type(error).__name__}"]
    hashes = {name: content_hash(table) for name, table in tables.items()}
    is_named_so = combined_hash(hashes)[:16] == version.version_id == folder.name
    short = [name for name, table in tables.items() if table.num_rows != version.manifest["tables"][name]["rows"]]
    return [
        f"version {folder.name}: {what}" for what in (*short, *([] if is_named_so else ["other content than its name"]))
    ]


def torn_fit(folder: Path) -> list[str]:
    """What of a fit is not as its manifest says; nothing where it is whole and can be read."""
    try:
        if not is_whole(folder):
            return [f"fit {folder.name}: not whole"]
        tables, manifest = read_fit(folder)
    except (OSError, ValueError, KeyError) as error:
        return [f"fit {folder.name}: {type(error).__name__}"]
    return [
        f"fit {folder.name}: {name}" for name, frame in tables.items() if len(frame) != manifest["tables"][name]["rows"]
    ]


def torn_raw(settings: Settings, records: Iterable[DeliveryRecord]) -> list[str]:
    """Accepted deliveries whose content in the raw store is not what its name says."""
    contracts, found = read_contracts(settings.expectations), []
    for place in sorted({(one.organisation, str(one.content_hash)) for one in records if one.content_hash}):
        name, digest = place
        try:
            tables = raw.read_all(settings.raw, contracts[name], digest)
            is_so = raw.content_hash_of(tables, raw.read_deletions(settings.raw, name, digest)) == digest
        except (OSError, ValueError) as error:
            found.append(f"raw {name}/{digest[:16]}: {type(error).__name__}")
            continue
        found += [] if is_so else [f"raw {name}/{digest[:16]}: other content than its name"]
    return found


def in_sight(root: Path) -> list[Path]:
    """The folders below a root that a reader sees: what is being made has a hidden name."""
    return sorted(
        path for path in root.glob("[!.]*") if path.is_dir() and not path.is_symlink()
    ) if root.is_dir() else []  # fmt: skip


def torn(settings: Settings, records: Iterable[DeliveryRecord]) -> list[str]:
    """Everything that lies in sight and is not whole."""
    found = [said for folder in in_sight(settings.versions) for said in torn_version(folder)]
    found += [said for folder in in_sight(settings.fits) for said in torn_fit(folder)]
    notes = [
        *settings.versions.glob("[!.]*.json"),
        *settings.fits.glob("[!.]*.json"),
        *settings.letters.rglob("[!.]*.json"),
    ]
    for note in notes:
        try:
            json.loads(note.read_text(encoding="utf-8"))
        except ValueError:
            found.append(f"{note.name}: not JSON")
    return found + torn_raw(settings, records)


def look(settings: Settings) -> list[str]:
    """One look of a reader at what is published now, version and fit: what is half done, which must be nothing."""
    found = []
    for root, torn_of in ((settings.versions, torn_version), (settings.fits, torn_fit)):
        link = root / versions.CURRENT
        if link.is_symlink():
            found += torn_of(root / link.readlink().name)
    return found


def differing(version: versions.Version, other: versions.Version) -> list[str]:
    """The tables whose rows, or whose number of rows, are not those of another version."""
    entries = [one.manifest["tables"] for one in (version, other)]
    facts = [{name: (entry["rows"], entry["content_hash"]) for name, entry in tables.items()} for tables in entries]
    return sorted(name for name in {*facts[0], *facts[1]} if facts[0].get(name) != facts[1].get(name))


def not_built(ledger: Readings, counting: Mapping[str, Sequence[DeliveryRecord]], current: str | None) -> list[str]:
    """What keeps the published version from being built of what counts: nothing where it is."""
    builds = ledger.builds()
    if not builds:
        return ["nothing was built"]
    of_build = {(row["organisation"], row["period"], row["content_hash"]) for row in builds[-1]["record"]["deliveries"]}
    counts = {(one.organisation, one.period, one.content_hash) for of_one in counting.values() for one in of_one}
    missing = [f"{name} {period} is not in the last build" for name, period, _ in sorted(counts - of_build, key=str)]
    missing += [f"{name} {period} is in the last build and does not count" for name, period, _ in sorted(of_build - counts, key=str)]  # fmt: skip
    return missing + (
        [] if builds[-1]["version_id"] == current else ["another version than that of the last build is current"]
    )


def growths(samples: Sequence[Sample]) -> list[Growth]:
    """How memory went in each life of the daemon of which enough was seen.

    A life settles first: libraries are loaded when they are first needed, the fork server at the first run. What is left out is the
    first three minutes, or two fifths of a shorter life. Start and end are medians of the first and last quarter of the rest.
    """
    found = []
    for life in sorted({one.life for one in samples}):
        of_life = [one for one in samples if one.life == life]
        seconds = of_life[-1].at - of_life[0].at
        settled = of_life[0].at + min(SETTLING_SECONDS, SETTLING * seconds)
        rest = [one.mb for one in of_life if one.at >= settled]
        if len(rest) < 8:
            continue
        quarter = len(rest) // 4
        whole = [one.whole_mb for one in of_life]
        found.append(
            Growth(
                life,
                seconds,
                statistics.median(rest[:quarter]),
                statistics.median(rest[-quarter:]),
                max(whole[:-quarter]),
                max(whole[-quarter:]),
            )
        )
    return found


def grown(found: Sequence[Growth]) -> list[str]:
    """Whether the longest life of the daemon ended with more memory than it had once it had settled: what is said of it, if so.

    At most 10 %: what a process holds swings by some per cent with the run that it has just served, and a leak of the kind that makes
    a service fall over in weeks (each look or run keeps what it made) shows as more than that in the hundred looks of ten minutes.
    """
    if not found:
        return ["no life of the daemon was long enough to say how its memory goes"]
    longest = max(found, key=lambda one: one.seconds)
    if not longest.is_grown:
        return []
    return [
        f"{longest.start_mb:.0f} MB became {longest.end_mb:.0f} MB in {longest.seconds:.0f} s, all processes at most "
        f"{longest.highest_mb:.0f} and {longest.highest_late_mb:.0f} MB in the last quarter: more than {MOST_GROWTH:.0%}"
    ]
