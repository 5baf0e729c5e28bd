"""What a delivery would change, before it is taken in: the whole way in a home that is thrown away afterwards."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from orchestration.deliveries.contracts import read_contracts
from orchestration.deliveries.ingest import PREVIEW, ingest, known_key, placed
from orchestration.hashing import content_hash
from orchestration.ledger import Ledger
from orchestration.settings import Settings
from orchestration.warehouse import build, dbt, versions


@dataclass(frozen=True)
class Changes:
    """Against the published version: clients and events (over all outcome definitions) that come and go."""

    clients_gained: int
    clients_lost: int
    events_gained: int
    events_lost: int
    is_new_version: bool
    would_refit: bool

    def as_counts(self) -> dict[str, int]:
        """Plain numbers by name."""
        return {name: int(value) for name, value in asdict(self).items()}


def preview(delivery: Path, settings: Settings, ledger: Ledger, model_tables: tuple[str, ...]) -> Changes:
    """Take `delivery` in and build, in a copy of the home's state; compare the marts with the published version.

    The copy shares the raw store's files by link and is removed. `model_tables` are those whose content decides about a
    refit. Raises DeliveriesMissing and DbtFailed as a build does.
    """
    contracts = read_contracts(settings.expectations)
    with tempfile.TemporaryDirectory(prefix=PREVIEW, dir=settings.landing) as folder:
        aside = settings.apart(
            home=Path(folder), key_file=settings.key_path, opening_key_file=settings.opening_key_path, inbox=None
        )
        aside.raw.mkdir(parents=True)
        for organisation in settings.raw.iterdir():
            if organisation.is_dir():
                (aside.raw / organisation.name).mkdir()
                for content in organisation.iterdir():
                    (aside.raw / organisation.name / content.name).symlink_to(content)
        copied = Ledger(aside.ledger_location)
        copied.create()
        ledger.copy_state(copied)
        name, period = placed(delivery.resolve(), contracts)
        copy = aside.inbox_path / name / period / delivery.resolve().name
        shutil.copytree(delivery, copy, symlinks=True)
        ingest(copy, aside, copied)
        build.prepare(aside, copied, contracts, known_key(aside, copied))
        candidate = build.candidate_folder(aside)
        nodes = dbt.build(aside, candidate)
        if bad := [node for node in nodes if node.status in ("error", "fail")]:
            raise dbt.DbtFailed(f"{len(bad)} of {len(nodes)} dbt nodes would fail: nothing would be published")
        tables = versions.published_tables(dbt.read_manifest(aside))
        marts = versions.read_marts(candidate / "warehouse.duckdb", tables)
        copied.close()
    return compare(versions.current_version(settings), marts, model_tables)


def compare(current: versions.Version | None, marts: Mapping[str, pa.Table], model_tables: tuple[str, ...]) -> Changes:
    """The changes from the published version (None: nothing is published) to the marts of a candidate."""

    def published(name: str, columns: list[str]) -> pa.Table:
        if current is None:
            return marts[name].select(columns).slice(0, 0)
        return pq.read_table(current.folder / f"{name}.parquet", columns=columns)

    def clients(table: pa.Table) -> set[str]:
        return set(table["client_id"].to_pylist())

    def events(table: pa.Table) -> set[tuple[str, str]]:
        rows = table.select(["client_id", "outcome_id", "event"]).to_pylist()
        return {(row["client_id"], row["outcome_id"]) for row in rows if row["event"]}

    had, has = clients(published("client", ["client_id"])), clients(marts["client"])
    columns = ["client_id", "outcome_id", "event"]
    had_events, has_events = events(published("followup", columns)), events(marts["followup"])
    old = current.table_hashes if current else {}
    new = {name: content_hash(mart) for name, mart in marts.items()}
    return Changes(
        clients_gained=len(has - had),
        clients_lost=len(had - has),
        events_gained=len(has_events - had_events),
        events_lost=len(had_events - has_events),
        is_new_version=old != new,
        would_refit=any(old.get(name) != new[name] for name in model_tables),
    )
