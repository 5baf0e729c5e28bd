"""What was received, judged, built, published and fitted, in SQLAlchemy tables: SQLite by default, PostgreSQL in production.

The ledger holds counts, codes, hashes and times; never a value of a person.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import sqlalchemy as sa

_metadata = sa.MetaData()

_key = sa.Table(
    "key",
    _metadata,
    sa.Column("key_id", sa.String(16), primary_key=True),
    sa.Column("made_at", sa.DateTime, nullable=False),
)

_delivery = sa.Table(
    "delivery",
    _metadata,
    sa.Column("manifest_sha256", sa.String(64), primary_key=True),
    sa.Column("organisation", sa.String(63), nullable=False),
    sa.Column("period", sa.String(16), nullable=False),
    sa.Column("delivery_id", sa.String(128), nullable=False),
    sa.Column("sequence", sa.Integer, nullable=False),
    sa.Column("received_at", sa.DateTime, nullable=False),
    sa.Column("decided_at", sa.DateTime),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("signature", sa.String(64)),
    sa.Column("content_hash", sa.String(64)),
    sa.Column("cutoff_on", sa.Date),
    sa.Column("is_simulated", sa.Boolean, nullable=False, default=False),
    sa.Column("row_counts", sa.Text, nullable=False, default="{}"),
    sa.Index("delivery_by_period", "organisation", "period"),
)

_judgement = sa.Table(
    "judgement",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("manifest_sha256", sa.ForeignKey("delivery.manifest_sha256"), nullable=False, index=True),
    sa.Column("table_name", sa.String(63)),
    sa.Column("column_name", sa.String(127)),
    sa.Column("rule", sa.String(63), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("severity", sa.String(16), nullable=False),
    sa.Column("evaluated", sa.Integer),
    sa.Column("failed", sa.Integer),
    sa.Column("threshold", sa.Float),
)

_build = sa.Table(
    "build",
    _metadata,
    sa.Column("build_id", sa.String(64), primary_key=True),
    sa.Column("version_id", sa.String(16), nullable=False, index=True),
    sa.Column("built_at", sa.DateTime, nullable=False),
    sa.Column("record", sa.Text, nullable=False),
)

_fit = sa.Table(
    "fit",
    _metadata,
    sa.Column("fit_id", sa.String(16), primary_key=True),
    sa.Column("version_id", sa.String(16), nullable=False),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("fitted_at", sa.DateTime, nullable=False),
)

DECIDED = ("accepted", "rejected", "duplicate")


@dataclass(frozen=True)
class DeliveryRecord:
    """One delivery as the ledger knows it; `status` is received, accepted, rejected or duplicate."""

    manifest_sha256: str
    organisation: str
    period: str
    delivery_id: str
    sequence: int
    received_at: datetime
    decided_at: datetime | None
    status: str
    signature: str | None
    content_hash: str | None
    cutoff_on: date | None
    is_simulated: bool
    row_counts: dict[str, int]


def _record(row: Any) -> DeliveryRecord:
    return DeliveryRecord(
        manifest_sha256=row.manifest_sha256,
        organisation=row.organisation,
        period=row.period,
        delivery_id=row.delivery_id,
        sequence=row.sequence,
        received_at=row.received_at,
        decided_at=row.decided_at,
        status=row.status,
        signature=row.signature,
        content_hash=row.content_hash,
        cutoff_on=row.cutoff_on,
        is_simulated=row.is_simulated,
        row_counts=json.loads(row.row_counts),
    )


def now() -> datetime:
    """The time as the ledger writes it: UTC without a zone."""
    return datetime.now(UTC).replace(tzinfo=None)


class Ledger:
    """The ledger at one database URL. Every method is one transaction."""

    def __init__(self, url: str) -> None:
        self._engine = sa.create_engine(url)
        if url.startswith("sqlite"):
            sa.event.listen(self._engine, "connect", _prepare_sqlite)

    def close(self) -> None:
        """Close the connections; the next method opens one anew. Before a fork, so that no process inherits one."""
        self._engine.dispose()

    def copy_state(self, other: Ledger) -> None:
        """Write everything that this ledger says into `other`, whose tables are empty."""
        with self._begin() as source, other._begin() as target:
            for table in _metadata.sorted_tables:
                if rows := [dict(row._mapping) for row in source.execute(sa.select(table))]:
                    target.execute(table.insert(), rows)

    def create(self) -> None:
        """Make the tables that are not there yet."""
        _metadata.create_all(self._engine)

    @contextmanager
    def _begin(self) -> Iterator[sa.Connection]:
        with self._engine.begin() as connection:
            yield connection

    # keys -----------------------------------------------------------------------------------------------------------
    def admit_key(self, key_id: str) -> None:
        """Make a pseudonym key known by its id."""
        with self._begin() as connection:
            known = connection.execute(sa.select(_key).where(_key.c.key_id == key_id)).first()
            if known is None:
                connection.execute(_key.insert().values(key_id=key_id, made_at=now()))

    def has_key(self) -> bool:
        """Whether any pseudonym key is known: a ledger without one belongs to a home that is still being made."""
        with self._begin() as connection:
            return connection.execute(sa.select(_key)).first() is not None

    def knows_key(self, key_id: str) -> bool:
        with self._begin() as connection:
            return connection.execute(sa.select(_key).where(_key.c.key_id == key_id)).first() is not None

    # deliveries -----------------------------------------------------------------------------------------------------
    def receive(self, sha256: str, organisation: str, period: str, delivery_id: str, signature: str) -> None:
        """Put a delivery on record as received; a second time renews its signature, so that a killed run starts again."""
        same = _delivery.c.manifest_sha256 == sha256
        with self._begin() as connection:
            if connection.execute(sa.select(_delivery).where(same)).first():
                connection.execute(_delivery.update().where(same).values(status="received", signature=signature))
            else:
                connection.execute(
                    _delivery.insert().values(
                        manifest_sha256=sha256,
                        organisation=organisation,
                        period=period,
                        delivery_id=delivery_id,
                        sequence=0,
                        signature=signature,
                        received_at=now(),
                        status="received",
                        is_simulated=False,
                        row_counts="{}",
                    )
                )

    def decide(
        self,
        sha256: str,
        status: str,
        judgements: Iterable[dict[str, Any]],
        *,
        sequence: int | None = None,
        content_hash: str | None = None,
        cutoff_on: date | None = None,
        is_simulated: bool = False,
        row_counts: dict[str, int] | None = None,
    ) -> None:
        """Record the verdict on a delivery together with what each rule found."""
        rows = [{"manifest_sha256": sha256, **judgement} for judgement in judgements]
        with self._begin() as connection:
            connection.execute(_judgement.delete().where(_judgement.c.manifest_sha256 == sha256))
            if rows:
                connection.execute(_judgement.insert(), rows)
            connection.execute(
                _delivery.update()
                .where(_delivery.c.manifest_sha256 == sha256)
                .values(
                    **({} if sequence is None else {"sequence": sequence}),
                    status=status,
                    decided_at=now(),
                    content_hash=content_hash,
                    cutoff_on=cutoff_on,
                    is_simulated=is_simulated,
                    row_counts=json.dumps(row_counts or {}, sort_keys=True),
                )
            )

    def delivery(self, sha256: str) -> DeliveryRecord | None:
        with self._begin() as connection:
            row = connection.execute(sa.select(_delivery).where(_delivery.c.manifest_sha256 == sha256)).first()
        return _record(row) if row else None

    def deliveries(self, *, status: str | None = None, organisation: str | None = None) -> list[DeliveryRecord]:
        """Deliveries ordered by organisation, period, sequence, hash: an order that does not depend on arrival."""
        query = sa.select(_delivery)
        if status:
            query = query.where(_delivery.c.status == status)
        if organisation:
            query = query.where(_delivery.c.organisation == organisation)
        columns = (_delivery.c.organisation, _delivery.c.period, _delivery.c.sequence, _delivery.c.manifest_sha256)
        with self._begin() as connection:
            return [_record(row) for row in connection.execute(query.order_by(*columns))]

    def decided(self) -> dict[str, str | None]:
        """Deliveries that have a verdict: manifest hash to the signature of the files that were rejected, else None.

        A rejected delivery is judged again when its files change under the same manifest, as when a transfer that broke
        off is repeated; an accepted one never is.
        """
        query = sa.select(_delivery).where(_delivery.c.status.in_(DECIDED))
        with self._begin() as connection:
            return {
                row.manifest_sha256: row.signature if row.status == "rejected" else None
                for row in connection.execute(query)
            }

    def judgements(self, sha256: str) -> list[dict[str, Any]]:
        """What each rule found in one delivery: counts only."""
        query = sa.select(_judgement).where(_judgement.c.manifest_sha256 == sha256).order_by(_judgement.c.id)
        with self._begin() as connection:
            return [dict(row._mapping) for row in connection.execute(query)]

    # builds and fits ------------------------------------------------------------------------------------------------
    def record_build(self, build_id: str, version_id: str, record: dict[str, Any]) -> None:
        """How a version came about; the same build again replaces its record."""
        with self._begin() as connection:
            connection.execute(_build.delete().where(_build.c.build_id == build_id))
            connection.execute(
                _build.insert().values(
                    build_id=build_id,
                    version_id=version_id,
                    built_at=now(),
                    record=json.dumps(record, sort_keys=True),
                )
            )

    def builds(self) -> list[dict[str, Any]]:
        """Builds, oldest first."""
        with self._begin() as connection:
            rows = connection.execute(sa.select(_build).order_by(_build.c.built_at)).all()
        return [{**row._mapping, "record": json.loads(row.record)} for row in rows]

    def record_fit(self, fit_id: str, version_id: str, fingerprint: str) -> None:
        with self._begin() as connection:
            connection.execute(_fit.delete().where(_fit.c.fit_id == fit_id))
            connection.execute(
                _fit.insert().values(fit_id=fit_id, version_id=version_id, fingerprint=fingerprint, fitted_at=now())
            )

    def fits(self) -> list[dict[str, Any]]:
        """Fits, oldest first."""
        with self._begin() as connection:
            return [dict(row._mapping) for row in connection.execute(sa.select(_fit).order_by(_fit.c.fitted_at))]


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("pragma journal_mode=wal")
    cursor.execute("pragma busy_timeout=30000")
    cursor.execute("pragma foreign_keys=on")
    cursor.close()
