"""What was received, judged, built, published and fitted, in SQLAlchemy tables: SQLite by default, PostgreSQL in production.

The ledger holds counts, codes, hashes and times; never a value of a person.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from orchestration.audit import Entry, Sealing, entry_of, next_entry, signed_on
from orchestration.files import locked
from orchestration.readings import Readings, ReplacedContent, Row, Sighting, Withdrawal
from orchestration.trouble import Mendable

if TYPE_CHECKING:
    from orchestration.settings import Settings

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
_permission = sa.Table(
    "permission",
    _metadata,
    sa.Column("permission_id", sa.String(12), primary_key=True),
    sa.Column("person", sa.String(63), nullable=False, index=True),
    sa.Column("bases", sa.Text, nullable=False),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("reference", sa.String(127), nullable=False),
    sa.Column("tables", sa.Text, nullable=False),
    sa.Column("classes", sa.Text, nullable=False),
    sa.Column("starts_on", sa.Date, nullable=False),
    sa.Column("ends_on", sa.Date, nullable=False),
)
_permission_signature = sa.Table(
    "permission_signature",
    _metadata,
    sa.Column("permission_id", sa.ForeignKey("permission.permission_id"), primary_key=True),
    sa.Column("signed_by", sa.String(127), primary_key=True),
    sa.Column("signed_at", sa.DateTime, nullable=False),
)
_permission_end = sa.Table(
    "permission_end",
    _metadata,
    sa.Column("permission_id", sa.ForeignKey("permission.permission_id"), primary_key=True),
    sa.Column("revoked_by", sa.String(127), nullable=False),
    sa.Column("revoked_at", sa.DateTime, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)
# What the register of consents was at each moment: its hash and counts. The register itself, which names people by their
# pseudonyms, lies apart.
_consent_register = sa.Table(
    "consent_register",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("taken_at", sa.DateTime, nullable=False),
    sa.Column("taken_by", sa.String(127), nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("clients", sa.Integer, nullable=False),
    sa.Column("entries", sa.Integer, nullable=False),
    sa.Column("withdrawn", sa.Integer, nullable=False),
    sa.Column("left_out", sa.Integer, nullable=False),
)
_hand_over = sa.Table(
    "hand_over",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("tag", sa.String(63), nullable=False, index=True),
    sa.Column("version_id", sa.String(16), nullable=False),
    sa.Column("permission_id", sa.ForeignKey("permission.permission_id"), nullable=False),
    sa.Column("person", sa.String(63), nullable=False),
    sa.Column("handed_by", sa.String(127), nullable=False),
    sa.Column("handed_at", sa.DateTime, nullable=False),
    sa.Column("tables", sa.Text, nullable=False),
    sa.Column("columns", sa.Integer, nullable=False),
    sa.Column("files", sa.Integer, nullable=False),
    sa.Column("checksum", sa.String(64), nullable=False),
)

# releases and the audit trail ---------------------------------------------------------------------------------------
_release = sa.Table(
    "release",
    _metadata,
    sa.Column("tag", sa.String(32), primary_key=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("version_id", sa.String(16), nullable=False),
    sa.Column("fit_id", sa.String(16), nullable=False),
    sa.Column("after", sa.String(32)),
    sa.Column("manifest_sha256", sa.String(64), nullable=False),
    sa.Column("drafted_by", sa.String(127), nullable=False),
    sa.Column("drafted_at", sa.DateTime, nullable=False),
    sa.Column("decided_by", sa.String(127)),
    sa.Column("decided_at", sa.DateTime),
    sa.Column("reason", sa.Text, nullable=False, default=""),
)
_audit = sa.Table(
    "audit",
    _metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    *(sa.Column(name, sa.Text, nullable=False) for name in ("at", "who", "what", "about", "why", "before", "hash")),
)
_audit_turn = sa.Table(
    "audit_turn",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("turns", sa.Integer, nullable=False),
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


CREATING = (
    6_455_110  # the lock under which tables are made, for processes that start at once: any number, always the same
)


class LedgerUnfit(Mendable):
    """The database cannot hold the ledger as it is; says what to do."""


def now() -> datetime:
    """The time as the ledger writes it: UTC without a zone."""
    return datetime.now(UTC).replace(tzinfo=None)


class Ledger(Readings):
    """The ledger at one database URL. Every method is one transaction; with `sealing`, the audit trail is sealed."""

    def __init__(self, url: str, sealing: Sealing | None = None) -> None:
        self._engine = sa.create_engine(url)
        self._sealing = sealing
        if url.startswith("sqlite"):
            sa.event.listen(self._engine, "connect", _prepare_sqlite)

    @classmethod
    def of(cls, settings: Settings) -> Ledger:
        """The ledger of a home, whose audit trail is sealed."""
        return cls(settings.ledger_location, Sealing.of(settings))

    def close(self) -> None:
        """Close the connections; the next method opens one anew. Before a fork, so that no process inherits one."""
        self._engine.dispose()

    def copy_state(self, other: Ledger) -> None:
        """Write everything that this ledger says into `other`, which was just made."""
        with self._begin() as source, other._begin() as target:
            for table in _metadata.sorted_tables:
                target.execute(table.delete())
                if rows := [dict(row._mapping) for row in source.execute(sa.select(table))]:
                    target.execute(table.insert(), rows)

    def create(self) -> None:
        """Make the tables that are not there yet. Raises LedgerUnfit where a database would put rows in another order."""
        with self._begin() as connection:
            if connection.dialect.name == "postgresql":
                _require_byte_order(connection)
            if set(_metadata.tables) <= set(sa.inspect(connection).get_table_names()):
                return
        with self._begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(CREATING)))
            else:
                connection.exec_driver_sql("begin immediate")
            _metadata.create_all(connection)
            if connection.execute(sa.select(_audit_turn)).first() is None:
                connection.execute(_audit_turn.insert().values(id=1, turns=0))

    @contextmanager
    def _begin(self) -> Iterator[sa.Connection]:
        with self._engine.begin() as connection:
            yield connection

    def _rows(self, sql: str, **values: str) -> list[Row]:
        with self._begin() as connection:
            return [dict(row) for row in connection.execute(sa.text(sql), values).mappings()]

    def _has_table(self, name: str) -> bool:
        return sa.inspect(self._engine).has_table(name)

    # the audit trail ------------------------------------------------------------------------------------------------
    def act(self, what: str, about: str, why: str = "", who: str | None = None) -> Entry:
        """Add an entry to the audit trail, in the name of `who` or of who is signed on; see `audit.record`."""
        with self._acting() as (_, note):
            return note(what, about, why, who)

    @contextmanager
    def _acting(self) -> Iterator[tuple[sa.Connection, Callable[..., Entry]]]:
        """A transaction, and what puts an act of it on record: both are committed, or neither.

        Whoever adds an entry waits for the others, so that each has one before it. The lock of the seal comes before that of the
        database, always; the seal is written when the transaction is.
        """
        noted: list[Entry] = []
        came_after: list[int] = []

        def note(what: str, about: str, why: str = "", who: str | None = None) -> Entry:
            # Whoever changes this row holds it until the act is committed: the next in turn then sees that entry.
            if connection.execute(_audit_turn.update().values(turns=_audit_turn.c.turns + 1)).rowcount == 0:
                connection.execute(_audit_turn.insert().values(id=1, turns=1))  # a ledger of before
            row = connection.execute(sa.select(_audit).order_by(_audit.c.number.desc()).limit(1)).mappings().first()
            last = entry_of(dict(row)) if row else None
            came_after.append(last.number if last else 0)
            entry = next_entry(last, now().isoformat(timespec="microseconds"), who or signed_on(), what, about, why)
            connection.execute(_audit.insert().values(**asdict(entry)))
            noted.append(entry)
            return entry

        with locked(self._sealing.lock_file) if self._sealing else nullcontext():
            with self._begin() as connection:
                yield connection, note
            if noted and self._sealing:
                self._sealing.write(came_after[0], noted[-1])

    # releases -------------------------------------------------------------------------------------------------------
    def record_draft(self, release: dict[str, Any], by: str) -> None:
        """A release as it was drafted (the columns of `release`). Raises sqlalchemy.exc.IntegrityError for a tag that is taken."""
        with self._acting() as (connection, note):
            connection.execute(
                _release.insert().values(state="draft", drafted_by=by, drafted_at=now(), reason="", **release)
            )
            note(
                "release.drafted",
                f"release {release['tag']}: version {release['version_id']}, fit {release['fit_id']}",
                "",
                by,
            )

    def decide_release(self, tag: str, state: str, by: str, reason: str, supersedes: Iterable[str] = ()) -> bool:
        """Move a draft to approved or rejected, and with it approved releases to superseded; False where it is no draft any more."""
        with self._acting() as (connection, note):
            is_draft = sa.and_(_release.c.tag == tag, _release.c.state == "draft")
            decided = {"state": state, "decided_by": by, "decided_at": now(), "reason": reason}
            if connection.execute(_release.update().where(is_draft).values(**decided)).rowcount != 1:
                return False
            note(f"release.{state}", f"release {tag}", reason, by)
            for other in supersedes:
                is_approved = sa.and_(_release.c.tag == other, _release.c.state == "approved")
                if connection.execute(_release.update().where(is_approved).values(state="superseded")).rowcount == 1:
                    note("release.superseded", f"release {other}", f"by release {tag}", by)
            return True

    # keys -----------------------------------------------------------------------------------------------------------
    def admit_key(self, key_id: str) -> None:
        """Make a pseudonym key known by its id."""
        with self._acting() as (connection, note):
            known = connection.execute(sa.select(_key).where(_key.c.key_id == key_id)).first()
            if known is None:
                connection.execute(_key.insert().values(key_id=key_id, made_at=now()))
                note("key.admitted", f"key {key_id}")

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
        with self._acting() as (connection, note):
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
            note(f"delivery.{status}", _named(connection, sha256), _rules_that_failed(rows))

    def reopen(self, sha256: str) -> None:
        """Let a delivery wait for its verdict again, as when a waiver was given."""
        same = _delivery.c.manifest_sha256 == sha256
        with self._acting() as (connection, note):
            connection.execute(_delivery.update().where(same).values(status="received", decided_at=None))
            note("delivery.reopened", _named(connection, sha256))

    def retract(self, sha256: str, by: str, reason: str) -> None:
        """Take a delivery back: it no longer counts, and stays on record with who, when and why."""
        same = _delivery.c.manifest_sha256 == sha256
        with self._acting() as (connection, note):
            connection.execute(_delivery.update().where(same).values(status="retracted"))
            connection.execute(
                _retraction.insert().values(manifest_sha256=sha256, retracted_at=now(), retracted_by=by, reason=reason)
            )
            note("delivery.retracted", _named(connection, sha256), reason, by)

    def record_clearing(self, sha256: str, at: datetime, files: int, size: int) -> None:
        """That what lay in landing of a delivery is deleted: how many files and bytes."""
        with self._acting() as (connection, note):
            connection.execute(
                _clearing.insert().values(manifest_sha256=sha256, cleared_at=at, files=files, bytes=size)
            )
            note("delivery.cleared", _named(connection, sha256), f"{files} files, {size} bytes")

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
        with self._acting() as (connection, note):
            connection.execute(_build.delete().where(_build.c.build_id == build_id))
            connection.execute(
                _build.insert().values(
                    build_id=build_id,
                    version_id=version_id,
                    built_at=now(),
                    record=json.dumps(record, sort_keys=True),
                )
            )
            note("version.published", f"version {version_id}", f"build {build_id}")

    def record_fit(self, fit_id: str, version_id: str, fingerprint: str) -> None:
        with self._acting() as (connection, note):
            connection.execute(_fit.delete().where(_fit.c.fit_id == fit_id))
            connection.execute(
                _fit.insert().values(fit_id=fit_id, version_id=version_id, fingerprint=fingerprint, fitted_at=now())
            )
            note("fit.current", f"fit {fit_id}", f"version {version_id}")

    def record_held_fit(self, fit_id: str, version_id: str, reason: str, checks: Iterable[str]) -> None:
        """A refit that failed `checks` and did not take the place of the last good one; counts and names only."""
        checks = tuple(checks)
        with self._acting() as (connection, note):
            connection.execute(_held_check.delete().where(_held_check.c.fit_id == fit_id))
            if rows := [{"fit_id": fit_id, "check_name": name} for name in checks]:
                connection.execute(_held_check.insert(), rows)
            connection.execute(_held_fit.delete().where(_held_fit.c.fit_id == fit_id))
            connection.execute(
                _held_fit.insert().values(fit_id=fit_id, version_id=version_id, reason=reason, held_at=now())
            )
            note("fit.held", f"fit {fit_id}", ", ".join(checks))

    def record_signature(self, fit_id: str, compared_with: str, by: str, reason: str) -> None:
        """That a person accepts a held fit, against the fit that it was compared with; the first signature of each stands."""
        same = sa.and_(
            _fit_signature.c.fit_id == fit_id,
            _fit_signature.c.compared_with == compared_with,
            _fit_signature.c.signed_by == by,
        )
        with self._acting() as (connection, note):
            if connection.execute(sa.select(_fit_signature).where(same)).first() is None:
                connection.execute(
                    _fit_signature.insert().values(
                        fit_id=fit_id, compared_with=compared_with, signed_by=by, signed_at=now(), reason=reason
                    )
                )
                note("fit.signed", f"fit {fit_id} against {compared_with or 'none'}", reason, by)

    # registers ------------------------------------------------------------------------------------------------------
    def record_permission(self, terms: dict[str, Any], by: str) -> None:
        """That a person signs a permission with these terms; the first signature of each stands."""
        name = terms["permission_id"]
        same = _permission.c.permission_id == name
        signed = sa.and_(_permission_signature.c.permission_id == name, _permission_signature.c.signed_by == by)
        with self._acting() as (connection, note):
            if connection.execute(sa.select(_permission).where(same)).first() is None:
                connection.execute(_permission.insert().values(**terms))
            if connection.execute(sa.select(_permission_signature).where(signed)).first() is None:
                connection.execute(
                    _permission_signature.insert().values(permission_id=name, signed_by=by, signed_at=now())
                )
                note("permission.signed", f"permission {name} of {terms['person']}", terms["reference"], by)

    def record_revocation(self, permission_id: str, by: str, reason: str) -> None:
        """That a permission is over, from now on."""
        with self._acting() as (connection, note):
            connection.execute(
                _permission_end.insert().values(
                    permission_id=permission_id, revoked_by=by, revoked_at=now(), reason=reason
                )
            )
            note("permission.revoked", f"permission {permission_id}", reason, by)

    def record_consents(self, by: str, sha256: str, counts: dict[str, int]) -> None:
        """What the register of consents is from now on: its hash, and how many clients and entries it has."""
        with self._acting() as (connection, note):
            connection.execute(_consent_register.insert().values(taken_at=now(), taken_by=by, sha256=sha256, **counts))
            said = ", ".join(f"{name} {count}" for name, count in counts.items())
            note("consents.taken", f"register of consents {sha256[:8]}", said, by)

    def record_hand_over(self, handed: dict[str, Any]) -> None:
        """What of a release was handed to whom, by whom and under which permission."""
        with self._acting() as (connection, note):
            connection.execute(_hand_over.insert().values(handed_at=now(), **handed))
            about = f"release {handed['tag']} to {handed['person']}"
            note("release.handed_over", about, f"permission {handed['permission_id']}", handed["handed_by"])


def _named(connection: sa.Connection, sha256: str) -> str:
    """Which delivery, as the audit trail names it."""
    row = connection.execute(sa.select(_delivery).where(_delivery.c.manifest_sha256 == sha256)).mappings().first()
    place = f"{row['organisation']}/{row['period']}/{row['delivery_id']} " if row else ""
    return f"delivery {place}({sha256[:8]})"


def _rules_that_failed(judgements: Iterable[dict[str, Any]]) -> str:
    return ", ".join(sorted({str(one["rule"]) for one in judgements if one["status"] in ("failed", "error")}))


def _require_byte_order(connection: sa.Connection) -> None:
    """Rows come in the order of their bytes, as in SQLite: what is built must not depend on the language of a server."""
    locale = connection.execute(
        sa.text("select datcollate from pg_database where datname = current_database()")
    ).scalar_one()
    if locale not in ("C", "POSIX", "C.UTF-8", "C.utf8"):
        raise LedgerUnfit(
            f"the database of the ledger sorts text as {locale}; make one with "
            "`createdb --template=template0 --encoding=UTF8 --locale=C` and name it in DELICTVRIJ_LEDGER_URL"
        )


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("pragma journal_mode=wal")
    cursor.execute("pragma busy_timeout=30000")
    cursor.execute("pragma foreign_keys=on")
    cursor.close()
