"""Builds beside the published version: one made again, one as it was known on a day, one with outcome definitions of one's own.

Each is built in a folder of its own that is thrown away afterwards; nothing here moves `current`.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestration.deliveries import corrections
from orchestration.deliveries.contracts import Organisation, read_contracts
from orchestration.deliveries.corrections import Correction
from orchestration.deliveries.ingest import known_key
from orchestration.deliveries.judgement import Judgement
from orchestration.files import folder_by_rename, write_json
from orchestration.hashing import combined_hash, content_hash, sha256_file
from orchestration.ledger import Ledger, now
from orchestration.readings import DeliveryRecord, Readings
from orchestration.settings import Settings
from orchestration.trouble import Mendable
from orchestration.warehouse import build, conservation, dbt, gate, outcomes, versions
from orchestration.warehouse.versions import Marts, PublishedTable, Version

if TYPE_CHECKING:
    import pyarrow as pa

OUTCOME_TABLES = (
    "outcome_definition", "followup", "followup_event", "followup_interval", "analysis_cohort", "cohort_flow", "landmark_missing",
)  # fmt: skip


class CannotBuildAside(Mendable):
    """A build cannot be made as asked; says what is missing or which check failed."""


@dataclass(frozen=True)
class Built:
    """A build that is not published: its marts, what is said of them, how it came about, and whether all rows arrived."""

    marts: Marts
    tables: Sequence[PublishedTable]
    record: Mapping[str, Any]
    conserved: Sequence[Judgement]


@dataclass(frozen=True)
class Reproduced:
    """A version held against a rebuild of it: the tables that differ, and what has changed since it was built."""

    version_id: str
    differing: tuple[str, ...]
    changed_since: tuple[str, ...]

    @property
    def is_same(self) -> bool:
        return not self.differing


def reproduce(settings: Settings, ledger: Ledger, version: Version) -> Reproduced:
    """Build a version again from the deliveries, settings and corrections of its record, and compare the tables' content.

    Raises CannotBuildAside when a delivery or a correction that it was built from is no longer there, and VersionDamaged
    when the version itself is not what its manifest says.
    """
    versions.verify(version)
    record = version.manifest["build"]
    contracts = read_contracts(settings.expectations)
    built = _built(
        as_recorded(settings, record), ledger, contracts, deliveries_of(settings, ledger, contracts, record),
        corrections_of(settings, record), record.get("without", {}), is_tested=False,
    )  # fmt: skip
    hashes = {name: content_hash(mart) for name, mart in built.marts.items()}
    known = version.table_hashes
    return Reproduced(
        version.version_id,
        tuple(sorted(name for name in {*hashes, *known} if hashes.get(name) != known.get(name))),
        tuple(
            name for name in ("code", "packages", "key_id", "code_lists") if record.get(name) != built.record.get(name)
        ),
    )


def known_on(settings: Settings, ledger: Ledger, day: date) -> tuple[Version, bool]:
    """Publish what was known at the end of a day (UTC) as a version of its own; gives it and whether it is new.

    The deliveries that had been received by then and were not yet taken back, under today's code, settings and
    corrections. Raises CannotBuildAside when the gate does not let it through, DeliveriesMissing when some
    organisation had not delivered.
    """
    contracts = read_contracts(settings.expectations)
    by_organisation = known_deliveries(ledger, contracts, day)
    known = corrections.read_corrections(settings.corrections_file)
    built = _built(settings, ledger, contracts, by_organisation, known, {})
    judgements = [*gate.judge_marts(settings, built.marts), *built.conserved]
    reasons = [judgement for judgement in judgements if judgement.blocks]
    if reasons:
        said = ", ".join(sorted({f"{reason.rule} in {reason.table}" for reason in reasons}))
        raise CannotBuildAside(f"the gate does not let it through: {said}")
    record = {**built.record, "known_on": day.isoformat()}
    return versions.publish(settings, built.marts, built.tables, record, as_current=False)


def known_deliveries(
    ledger: Readings, contracts: Mapping[str, Organisation], day: date
) -> dict[str, list[DeliveryRecord]]:
    """The deliveries, by organisation, that had been received by the end of a day and were not yet taken back.

    Raises CannotBuildAside when some organisation had not delivered.
    """
    retracted = {row["manifest_sha256"]: row["retracted_at"] for row in ledger.retractions()}
    by_organisation = {
        name: build.effective(
            [
                record
                for record in ledger.deliveries(organisation=name)
                if record.received_at.date() <= day
                and (
                    record.status in ("accepted", "duplicate")
                    or (record.status == "retracted" and retracted[record.manifest_sha256].date() > day)
                )
            ]
        )
        for name in contracts
    }
    missing = [name for name, records in by_organisation.items() if not records]
    if missing:
        raise CannotBuildAside(f"on {day} nothing of {', '.join(missing)} had been received: no version is made")
    return by_organisation


def known_version(settings: Settings, ledger: Readings, day: date) -> Version:
    """The version of what was known at the end of a day, among those that are there; the published one where it is that.

    Raises NoSuchVersion where none was made of those deliveries, and CannotBuildAside.
    """
    by_organisation = known_deliveries(ledger, read_contracts(settings.expectations), day)
    wanted = {record.manifest_sha256 for records in by_organisation.values() for record in records}
    current = versions.current_id(settings)
    made = [
        version
        for version in versions.all_versions(settings)
        if {one["manifest_sha256"] for one in version.manifest["build"].get("deliveries", ())} == wanted
    ]
    if not made:
        raise versions.NoSuchVersion(
            f"no version was made of what was known on {day}: `delictvrij known-on {day}` makes it"
        )
    return max(made, key=lambda version: (version.version_id == current, version.manifest["build"].get("known_on", "")))


def own_outcomes(settings: Settings, ledger: Ledger, version: Version, file: Path) -> tuple[Path, dict[str, int]]:
    """Compute the outcome definitions of a file over the deliveries of a version; gives the folder and rows by table.

    The folder `outcomes/<version>-<file>-<hash>/` holds the tables of `OUTCOME_TABLES` as Parquet and a manifest; the
    version is not touched. Raises OutcomeNotDefined when the file defines something that nobody computes.
    """
    rows = outcomes.read_definitions(file)
    record = version.manifest["build"]
    contracts = read_contracts(settings.expectations)
    with tempfile.TemporaryDirectory(prefix="outcome-", dir=settings.home_path) as folder:
        project = Path(folder) / "dbt_project"
        shutil.copytree(settings.dbt_project, project, ignore=shutil.ignore_patterns("target", "logs"))
        outcomes.write_definitions(project / "seeds" / "outcome.csv", rows)
        own = as_recorded(settings, record).model_copy(update={"dbt_project": project, "dbt_target": None})
        built = _built(
            own, ledger, contracts, deliveries_of(settings, ledger, contracts, record), corrections_of(settings, record),
            record.get("without", {}),
        )  # fmt: skip
    marts = {name: built.marts[name] for name in OUTCOME_TABLES}
    hashes = {name: content_hash(mart) for name, mart in marts.items()}
    name = f"{version.version_id}-{file.stem}-{combined_hash(hashes)[:8]}"
    target = settings.outcomes / name
    with folder_by_rename(target) as aside:
        entries = _written(marts, hashes, aside)
        write_json(
            aside / versions.MANIFEST,
            {
                "version_id": version.version_id, "definitions": rows, "tables": entries, "build": dict(built.record),
                "simulated": version.manifest["simulated"],
            },
        )  # fmt: skip
    return target, {table: mart.num_rows for table, mart in marts.items()}


def _written(marts: Mapping[str, pa.Table], hashes: Mapping[str, str], folder: Path) -> dict[str, Any]:
    import pyarrow.parquet as pq

    entries = {}
    for name, mart in marts.items():
        path = folder / f"{name}.parquet"
        pq.write_table(mart, path, compression="zstd")
        entries[name] = {"rows": mart.num_rows, "content_hash": hashes[name], "sha256": sha256_file(path)}
    return entries


def build_again(settings: Settings, ledger: Ledger, record: Mapping[str, Any]) -> Built:
    """Build what a record names from what its deliveries hold today, with those of its corrections that are still in the file.

    Raises CannotBuildAside when a delivery is gone, and when rows were lost on the way.
    """
    contracts = read_contracts(settings.expectations)
    entries = []
    for entry in record["deliveries"]:
        known = ledger.delivery(entry["manifest_sha256"])
        entries.append({**entry, "content_hash": str(known.content_hash) if known else entry["content_hash"]})
    deliveries = deliveries_of(settings, ledger, contracts, {**record, "deliveries": entries})
    wanted = list(record.get("corrections", []))
    corrected = [item for item in corrections.read_corrections(settings.corrections_file) if item.as_record() in wanted]
    built = _built(
        as_recorded(settings, record),
        ledger,
        contracts,
        deliveries,
        corrected,
        record.get("without", {}),
        is_tested=False,
    )
    lost = [judgement for judgement in built.conserved if judgement.blocks]
    if lost:
        raise CannotBuildAside(f"rows were lost on the way to {', '.join(sorted({item.table for item in lost}))}")
    return built


@contextmanager
def assembled(settings: Settings, ledger: Ledger, version: Version) -> Iterator[Path]:
    """The folder with the snapshots that a version was built from, gone afterwards. Raises CannotBuildAside."""
    record = version.manifest["build"]
    contracts = read_contracts(settings.expectations)
    deliveries = deliveries_of(settings, ledger, contracts, record)
    known = corrections_of(settings, record)
    with _folder(settings) as folder:
        build.assemble(
            as_recorded(settings, record), ledger, contracts, known_key(settings, ledger), deliveries, known, folder,
            _day_for(known), record.get("without", {}),
        )  # fmt: skip
        yield folder / "sources"


def _day_for(known: Sequence[Correction]) -> date:
    """The day on which corrections are held against their end: a recorded one counts however long ago it was over."""
    return date.min if known else now().date()


def as_recorded(settings: Settings, record: Mapping[str, Any]) -> Settings:
    """These settings with those that decide about rows as they were when a version was built."""
    then = record["settings"]
    return settings.model_copy(
        update={
            "enrolment_from": date.fromisoformat(then["enrolment_from"]),
            "enrolment_to": date.fromisoformat(then["enrolment_to"]),
            "landmark_months": then["landmark_months"],
        }
    )


def deliveries_of(
    settings: Settings, ledger: Ledger, contracts: Mapping[str, Organisation], record: Mapping[str, Any]
) -> dict[str, list[DeliveryRecord]]:
    """The deliveries of a build record by organisation, oldest first. Raises CannotBuildAside when one is gone."""
    found: dict[str, list[DeliveryRecord]] = {name: [] for name in contracts}
    gone = 0
    for entry in record["deliveries"]:
        known = ledger.delivery(entry["manifest_sha256"])
        is_kept = (settings.raw / entry["organisation"] / entry["content_hash"]).is_dir()
        if known is None or not is_kept or entry["organisation"] not in found:
            gone += 1
            continue
        found[entry["organisation"]].append(known)
    if gone:
        raise CannotBuildAside(f"{gone} of the {len(record['deliveries'])} deliveries that it was built from are gone")
    return found


def corrections_of(settings: Settings, record: Mapping[str, Any]) -> list[Correction]:
    """The corrections that a build record names. Raises CannotBuildAside when one is no longer in the file."""
    wanted = list(record.get("corrections", []))
    known = [item for item in corrections.read_corrections(settings.corrections_file) if item.as_record() in wanted]
    if len(known) != len(wanted):
        raise CannotBuildAside(f"{len(wanted) - len(known)} of its {len(wanted)} corrections are no longer in the file")
    return known


def _built(
    settings: Settings,
    ledger: Ledger,
    contracts: Mapping[str, Organisation],
    by_organisation: Mapping[str, Sequence[DeliveryRecord]],
    known: Sequence[Correction],
    without: Mapping[str, str],
    *,
    is_tested: bool = True,
) -> Built:
    """Build in a folder that is gone afterwards."""
    key = known_key(settings, ledger)
    with _folder(settings) as folder:
        inputs = build.assemble(
            settings, ledger, contracts, key, by_organisation, known, folder, _day_for(known), without
        )
        nodes = dbt.build(settings, folder, is_tested=is_tested)
        bad = [node.unique_id.split(".")[2] for node in nodes if node.status in ("error", "fail")]
        if bad:
            raise CannotBuildAside(f"{len(bad)} of {len(nodes)} dbt nodes failed: {', '.join(bad[:10])}")
        tables = versions.published_tables(dbt.read_manifest(settings))
        marts = versions.read_marts(inputs.warehouse, tables)
        return Built(marts, tables, inputs.record, conservation.judge_candidate(inputs.warehouse, marts, inputs.rows))


@contextmanager
def _folder(settings: Settings) -> Iterator[Path]:
    settings.builds.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".aside-", dir=settings.builds) as folder:
        yield Path(folder) / "build"
