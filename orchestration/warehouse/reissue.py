"""Versions without people who were erased: each is built again under a new id, and the old one goes.

What was built from a content of the raw store that no delivery has any more is affected; nobody has to be named for that.
How a version is built is in `build.py` and `aside.py`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestration.deliveries.corrections import CorrectionStale
from orchestration.files import write_json
from orchestration.hashing import combined_hash
from orchestration.ledger import Ledger
from orchestration.settings import Settings
from orchestration.warehouse import aside, dbt, outcomes, versions
from orchestration.warehouse.build import DeliveriesMissing
from orchestration.warehouse.versions import Version


@dataclass(frozen=True)
class Reissued:
    """An old version and the one in its place: the same id where the person was in none of its rows, None where it could not
    be built again, and why not."""

    old: str
    new: str | None
    why_not: str = ""


def contents_gone(ledger: Ledger) -> frozenset[str]:
    """Contents of deliveries that withdrawals have replaced and that no delivery has any more."""
    present = {record.content_hash for record in ledger.deliveries()}
    return frozenset(row["old"] for row in ledger.reissues("content") if row["old"] not in present)


def versions_gone(ledger: Ledger) -> frozenset[str]:
    """Versions in whose place there is another, or nothing."""
    return frozenset(row["old"] for row in ledger.reissues("version") if row["old"] != row["new"])


def is_affected(record: Mapping[str, Any], gone: Collection[str]) -> bool:
    """Whether a build record names a content that is gone."""
    return any(entry["content_hash"] in gone for entry in record["deliveries"])


def affected_versions(settings: Settings, ledger: Ledger) -> list[Version]:
    """The versions that were built from a content that is gone, the current one last."""
    gone, current = contents_gone(ledger), versions.current_id(settings)
    found = [item for item in versions.all_versions(settings) if is_affected(item.manifest["build"], gone)]
    return sorted(found, key=lambda item: (item.version_id == current, item.version_id))


def reissue(settings: Settings, ledger: Ledger, version: Version) -> Reissued:
    """Publish a version as it is without those who were erased since, and remove it; `current` moves along.

    Its build record says of which version it is a re-issue. Killed at any moment, the next call does the rest.
    """
    record = version.manifest["build"]
    is_current = versions.current_id(settings) == version.version_id
    try:
        built = aside.build_again(settings, ledger, record)
    except (aside.CannotBuildAside, CorrectionStale, DeliveriesMissing, dbt.DbtFailed) as error:
        if is_current:
            (settings.versions / versions.CURRENT).unlink(missing_ok=True)
        return Reissued(version.version_id, None, type(error).__name__)
    kept = {name: record[name] for name in ("known_on",) if name in record}
    made = {**built.record, **kept, "reissue_of": version.version_id}
    published, _ = versions.publish(settings, built.marts, built.tables, made, as_current=is_current)
    if published.version_id == version.version_id:
        write_json(version.folder / versions.MANIFEST, {**version.manifest, "build": made})
    ledger.record_build(
        combined_hash({name: str(value) for name, value in made.items()})[:16], published.version_id, made
    )
    return Reissued(version.version_id, published.version_id)


def remove_version(settings: Settings, version_id: str) -> int:
    """Remove a version that has been re-issued, and every comparison in which it stands; gives how many files."""
    folder = settings.versions / version_id
    removed = sum(path.is_file() for path in folder.rglob("*"))
    if folder.is_dir():
        gone = folder.with_name(f".gone-{version_id}")
        shutil.rmtree(gone, ignore_errors=True)
        folder.rename(gone)
        shutil.rmtree(gone)
    for path in settings.versions.glob("*.changes.json"):
        if version_id in path.name or version_id in path.read_text(encoding="utf-8"):
            path.unlink()
            removed += 1
    return removed


def remove_builds(settings: Settings) -> int:
    """Remove every build: what was published is in the versions, and the next build makes its own; gives how many."""
    folders = [path for path in settings.builds.iterdir() if path.is_dir()] if settings.builds.is_dir() else []
    for folder in folders:
        shutil.rmtree(folder)
    return len(folders)


def affected_outcomes(settings: Settings, ledger: Ledger) -> Iterator[Path]:
    """The folders of outcomes of one's own that were computed from a content that is gone, and those that cannot say."""
    gone = contents_gone(ledger)
    for folder in sorted(settings.outcomes.iterdir()) if settings.outcomes.is_dir() else ():
        manifest = folder / versions.MANIFEST
        if not manifest.is_file() or is_affected(json.loads(manifest.read_text(encoding="utf-8"))["build"], gone):
            yield folder


def remove_outcomes(folders: Iterable[Path], kept: Path) -> None:
    """Remove folders of outcomes of one's own; their definitions, which are about nobody, go to `kept`."""
    for folder in folders:
        manifest = folder / versions.MANIFEST
        if manifest.is_file():
            kept.mkdir(parents=True, exist_ok=True)
            rows = json.loads(manifest.read_text(encoding="utf-8"))["definitions"]
            outcomes.write_definitions(kept / f"{folder.name}.csv", rows)
        shutil.rmtree(folder)
