"""What was received, judged, built, published and fitted, in SQLAlchemy tables: SQLite by default, PostgreSQL in production.

The ledger holds counts, codes, hashes and times; never a value of a person.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import Any

import sqlalchemy as sa

from orchestration.readings import Readings, ReplacedContent, Row, Sighting, Withdrawal

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

_retraction = sa.Table(
    "retraction",
    _metadata,
    sa.Column("manifest_sha256", sa.ForeignKey("delivery.manifest_sha256"), primary_key=True),
    sa.Column("retracted_at", sa.DateTime, nullable=False),
    sa.Column("retracted_by", sa.String(127), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)

_clearing = sa.Table(
    "clearing",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("manifest_sha256", sa.ForeignKey("delivery.manifest_sha256"), nullable=False, index=True),
    sa.Column("cleared_at", sa.DateTime, nullable=False),
    sa.Column("files", sa.Integer, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
)

_sighting = sa.Table(
    "sighting",
    _metadata,
    sa.Column("organisation", sa.String(63), primary_key=True),
    sa.Column("period", sa.String(16), primary_key=True),
    sa.Column("delivery_id", sa.String(128), primary_key=True),
    sa.Column("manifest_sha256", sa.String(64), nullable=False),
    sa.Column("signature", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("first_seen_at", sa.DateTime, nullable=False),
    sa.Column("seen_at", sa.DateTime, nullable=False),
    sa.Column("acknowledged", sa.String(16)),
)

_fetching = sa.Table(
    "fetching",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("organisation", sa.String(63), nullable=False, index=True),
    sa.Column("fetched_at", sa.DateTime, nullable=False),
    sa.Column("trouble", sa.String(63)),
    sa.Column("deliveries", sa.Integer, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
)

_opening = sa.Table(
    "opening",
    _metadata,
    sa.Column("manifest_sha256", sa.String(64), primary_key=True),
    sa.Column("sealed_manifest_sha256", sa.String(64), nullable=False, index=True),
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
_held_fit = sa.Table(
    "held_fit",
    _metadata,
    sa.Column("fit_id", sa.String(16), primary_key=True),
    sa.Column("version_id", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("held_at", sa.DateTime, nullable=False),
)
_held_check = sa.Table(
    "held_check",
    _metadata,
    sa.Column("fit_id", sa.String(16), primary_key=True),
    sa.Column("check_name", sa.String(63), primary_key=True),
)
_fit_signature = sa.Table(
    "fit_signature",
    _metadata,
    sa.Column("fit_id", sa.String(16), primary_key=True),
    sa.Column("compared_with", sa.String(16), primary_key=True),
    sa.Column("signed_by", sa.String(127), primary_key=True),
    sa.Column("signed_at", sa.DateTime, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)

_withdrawal = sa.Table(
    "withdrawal",
    _metadata,
    sa.Column("withdrawal_id", sa.String(32), primary_key=True),
    sa.Column("mode", sa.String(16), nullable=False),
    sa.Column("basis", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("requested_by", sa.String(127), nullable=False),
    sa.Column("requested_at", sa.DateTime, nullable=False),
    sa.Column("people", sa.Integer, nullable=False),
    sa.Column("known_until", sa.Date),
    sa.Column("finished_at", sa.DateTime),
    sa.Column("receipt", sa.Text),
)
_withdrawn = sa.Table(
    "withdrawn",
    _metadata,
    sa.Column("mark", sa.String(32), primary_key=True),
    sa.Column("withdrawal_id", sa.ForeignKey("withdrawal.withdrawal_id"), nullable=False, index=True),
    sa.Column("mode", sa.String(16), nullable=False),
)
_withdrawal_step = sa.Table(
    "withdrawal_step",
    _metadata,
    sa.Column("withdrawal_id", sa.ForeignKey("withdrawal.withdrawal_id"), primary_key=True),
    sa.Column("step", sa.String(63), primary_key=True),
    sa.Column("done_at", sa.DateTime, nullable=False),
    sa.Column("counts", sa.Text, nullable=False),
)
_reissue = sa.Table(
    "reissue",
    _metadata,
    sa.Column("withdrawal_id", sa.ForeignKey("withdrawal.withdrawal_id"), primary_key=True),
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("old", sa.String(127), primary_key=True),
    sa.Column("new", sa.String(127)),
)
_withheld = sa.Table(
    "withheld",
    _metadata,
    sa.Column("manifest_sha256", sa.ForeignKey("delivery.manifest_sha256"), primary_key=True),
    sa.Column("people", sa.Integer, nullable=False),
    sa.Column("row_count", sa.Integer, nullable=False),
)


def now() -> datetime:
    """The time as the ledger writes it: UTC without a zone."""
    return datetime.now(UTC).replace(tzinfo=None)


class Ledger(Readings):
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

    def _rows(self, sql: str, **values: str) -> list[Row]:
        with self._begin() as connection:
            return [dict(row) for row in connection.execute(sa.text(sql), values).mappings()]

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

    def reopen(self, sha256: str) -> None:
        """Let a delivery wait for its verdict again, as when a waiver was given."""
        same = _delivery.c.manifest_sha256 == sha256
        with self._begin() as connection:
            connection.execute(_delivery.update().where(same).values(status="received", decided_at=None))

    def retract(self, sha256: str, by: str, reason: str) -> None:
        """Take a delivery back: it no longer counts, and stays on record with who, when and why."""
        same = _delivery.c.manifest_sha256 == sha256
        with self._begin() as connection:
            connection.execute(_delivery.update().where(same).values(status="retracted"))
            connection.execute(
                _retraction.insert().values(manifest_sha256=sha256, retracted_at=now(), retracted_by=by, reason=reason)
            )

    def record_clearing(self, sha256: str, at: datetime, files: int, size: int) -> None:
        """That what lay in landing of a delivery is deleted: how many files and bytes."""
        with self._begin() as connection:
            connection.execute(
                _clearing.insert().values(manifest_sha256=sha256, cleared_at=at, files=files, bytes=size)
            )

    # fetching -------------------------------------------------------------------------------------------------------
    def record_sighting(self, seen: Sighting) -> None:
        """What was seen of a delivery at its source; what was seen there before under the same name gives way."""
        same = sa.and_(
            _sighting.c.organisation == seen.organisation,
            _sighting.c.period == seen.period,
            _sighting.c.delivery_id == seen.delivery_id,
        )
        with self._begin() as connection:
            connection.execute(_sighting.delete().where(same))
            connection.execute(_sighting.insert().values(**asdict(seen)))

    def record_fetching(self, organisation: str, at: datetime, trouble: str | None, deliveries: int, size: int) -> None:
        """That a source was looked at: what came of it, or the code of the trouble."""
        with self._begin() as connection:
            connection.execute(
                _fetching.insert().values(
                    organisation=organisation, fetched_at=at, trouble=trouble, deliveries=deliveries, bytes=size
                )
            )

    def record_opening(self, sha256: str, sealed_manifest_sha256: str) -> None:
        """Which manifest was found in a sealed delivery, so that it is known when it comes again."""
        same = _opening.c.manifest_sha256 == sha256
        with self._begin() as connection:
            connection.execute(_opening.delete().where(same))
            connection.execute(
                _opening.insert().values(manifest_sha256=sha256, sealed_manifest_sha256=sealed_manifest_sha256)
            )

    # withdrawals ----------------------------------------------------------------------------------------------------
    def begin_withdrawal(self, entry: Withdrawal, marks: Iterable[str]) -> None:
        """Put a withdrawal on record with the marks of whom it names: from here on it is finished, whatever happens.

        A mark of a person whose data were only stopped becomes one of the new withdrawal.
        """
        with self._begin() as connection:
            connection.execute(_withdrawal.insert().values(**asdict(entry)))
            for mark in sorted(set(marks)):
                connection.execute(_withdrawn.delete().where(_withdrawn.c.mark == mark))
                connection.execute(
                    _withdrawn.insert().values(mark=mark, withdrawal_id=entry.withdrawal_id, mode=entry.mode)
                )

    def record_step(self, withdrawal_id: str, step: str, counts: dict[str, Any]) -> None:
        """That a step of a withdrawal is done, with counts only; a step that is on record already stays as it is."""
        same = sa.and_(_withdrawal_step.c.withdrawal_id == withdrawal_id, _withdrawal_step.c.step == step)
        with self._begin() as connection:
            if connection.execute(sa.select(_withdrawal_step).where(same)).first() is None:
                connection.execute(
                    _withdrawal_step.insert().values(
                        withdrawal_id=withdrawal_id, step=step, done_at=now(), counts=json.dumps(counts, sort_keys=True)
                    )
                )

    def record_reissue(self, withdrawal_id: str, kind: str, old: str, new: str | None) -> None:
        """What a thing that a withdrawal took away is now: another id, or None where nothing takes its place."""
        same = sa.and_(
            _reissue.c.withdrawal_id == withdrawal_id, _reissue.c.kind == kind, _reissue.c.old == old
        )  # fmt: skip
        with self._begin() as connection:
            connection.execute(_reissue.delete().where(same))
            connection.execute(_reissue.insert().values(withdrawal_id=withdrawal_id, kind=kind, old=old, new=new))

    def replace_contents(self, withdrawal_id: str, contents: Iterable[ReplacedContent]) -> None:
        """Let deliveries hold other content than they did, all at once: hash, row counts, and how much was left out."""
        with self._begin() as connection:
            for content in contents:
                same = _delivery.c.manifest_sha256 == content.manifest_sha256
                connection.execute(
                    _delivery.update()
                    .where(same)
                    .values(content_hash=content.new, row_counts=json.dumps(dict(content.row_counts), sort_keys=True))
                )
                connection.execute(
                    _reissue.delete().where(
                        _reissue.c.withdrawal_id == withdrawal_id,
                        _reissue.c.kind == "content",
                        _reissue.c.old == content.old,
                    )
                )
                connection.execute(
                    _reissue.insert().values(
                        withdrawal_id=withdrawal_id, kind="content", old=content.old, new=content.new
                    )
                )
                before = connection.execute(
                    sa.select(_withheld.c.people, _withheld.c.row_count).where(
                        _withheld.c.manifest_sha256 == content.manifest_sha256
                    )
                ).first() or (0, 0)
                connection.execute(_withheld.delete().where(_withheld.c.manifest_sha256 == content.manifest_sha256))
                connection.execute(
                    _withheld.insert().values(
                        manifest_sha256=content.manifest_sha256,
                        people=before[0] + content.people,
                        row_count=before[1] + content.rows,
                    )
                )

    def record_withheld(self, sha256: str, people: int, rows: int) -> None:
        """That rows of people who have withdrawn were delivered and not taken in: how many people and rows."""
        with self._begin() as connection:
            connection.execute(_withheld.delete().where(_withheld.c.manifest_sha256 == sha256))
            connection.execute(_withheld.insert().values(manifest_sha256=sha256, people=people, row_count=rows))

    def finish_withdrawal(self, withdrawal_id: str, receipt: dict[str, Any]) -> None:
        """Close a withdrawal with its receipt: counts and names of places."""
        same = _withdrawal.c.withdrawal_id == withdrawal_id
        with self._begin() as connection:
            connection.execute(
                _withdrawal.update()
                .where(same)
                .values(finished_at=now(), receipt=json.dumps(receipt, sort_keys=True, default=str))
            )

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

    def record_fit(self, fit_id: str, version_id: str, fingerprint: str) -> None:
        with self._begin() as connection:
            connection.execute(_fit.delete().where(_fit.c.fit_id == fit_id))
            connection.execute(
                _fit.insert().values(fit_id=fit_id, version_id=version_id, fingerprint=fingerprint, fitted_at=now())
            )

    def record_held_fit(self, fit_id: str, version_id: str, reason: str, checks: Iterable[str]) -> None:
        """A refit that failed `checks` and did not take the place of the last good one; counts and names only."""
        with self._begin() as connection:
            connection.execute(_held_check.delete().where(_held_check.c.fit_id == fit_id))
            if rows := [{"fit_id": fit_id, "check_name": name} for name in checks]:
                connection.execute(_held_check.insert(), rows)
            connection.execute(_held_fit.delete().where(_held_fit.c.fit_id == fit_id))
            connection.execute(
                _held_fit.insert().values(fit_id=fit_id, version_id=version_id, reason=reason, held_at=now())
            )

    def record_signature(self, fit_id: str, compared_with: str, by: str, reason: str) -> None:
        """That a person accepts a held fit, against the fit that it was compared with; the first signature of each stands."""
        same = sa.and_(
            _fit_signature.c.fit_id == fit_id,
            _fit_signature.c.compared_with == compared_with,
            _fit_signature.c.signed_by == by,
        )
        with self._begin() as connection:
            if connection.execute(sa.select(_fit_signature).where(same)).first() is None:
                connection.execute(
                    _fit_signature.insert().values(
                        fit_id=fit_id, compared_with=compared_with, signed_by=by, signed_at=now(), reason=reason
                    )
                )


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("pragma journal_mode=wal")
    cursor.execute("pragma busy_timeout=30000")
    cursor.execute("pragma foreign_keys=on")
    cursor.close()
