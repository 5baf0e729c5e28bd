"""What is read from the ledger: the queries, in one place, for SQLAlchemy and for SQLite alone.

`status` and `versions` must answer at once, and loading SQLAlchemy takes half of that time. A ledger in an SQLite file is
therefore read with what Python brings along; every writer, and every other database, goes through `ledger.Ledger`.
"""

from __future__ import annotations

import json
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True)
class DeliveryRecord:
    """One delivery as the ledger knows it; `status` is received, accepted, rejected, duplicate or
    retracted (taken back after it was accepted)."""

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


@dataclass(frozen=True)
class Sighting:
    """A delivery as it was last seen at its source.

    `state` is incomplete, changing or fetched; `signature` the names, sizes and times of its files, hashed; `acknowledged`
    the verdict that its receipt says, once one is written.
    """

    organisation: str
    period: str
    delivery_id: str
    manifest_sha256: str
    signature: str
    state: str
    first_seen_at: datetime
    seen_at: datetime
    acknowledged: str | None = None


@dataclass(frozen=True)
class Withdrawal:
    """People who leave: how (stop or erase), on which basis, why, who asked for it here, and how many they are.

    `known_until` is the cut-off of the registry extract that counted then: to that day those who stop are followed.
    """

    withdrawal_id: str
    mode: str
    basis: str
    reason: str
    requested_by: str
    requested_at: datetime
    people: int
    known_until: date | None
    finished_at: datetime | None = None
    receipt: str | None = None


@dataclass(frozen=True)
class ReplacedContent:
    """A delivery whose content is now another: the hash that it had, the one that it has, its rows by table, and how many
    people and rows are no longer in it."""

    manifest_sha256: str
    old: str
    new: str
    row_counts: Mapping[str, int]
    people: int
    rows: int


class Readings(ABC):
    """The questions that a ledger answers, whatever it is kept in."""

    @abstractmethod
    def _rows(self, sql: str, **values: str) -> list[Row]:
        """The rows of a query with named parameters (`:name`), columns as the database gives them."""

    def delivery(self, sha256: str) -> DeliveryRecord | None:
        rows = self._rows("select * from delivery where manifest_sha256 = :sha256", sha256=sha256)
        return _record(rows[0]) if rows else None

    def deliveries(self, *, status: str | None = None, organisation: str | None = None) -> list[DeliveryRecord]:
        """Deliveries ordered by organisation, period, sequence, hash: an order that does not depend on arrival."""
        given = {"status": status, "organisation": organisation}
        wanted = {name: value for name, value in given.items() if value}
        conditions = " and ".join(["1 = 1", *(f"{name} = :{name}" for name in wanted)])
        order = "organisation, period, sequence, manifest_sha256"
        rows = self._rows(f"select * from delivery where {conditions} order by {order}", **wanted)  # noqa: S608 - our names
        return [_record(row) for row in rows]

    def decided(self) -> dict[str, str | None]:
        """Deliveries that have a verdict: manifest hash to the signature of the files that were rejected, else None.

        A rejected delivery is judged again when its files change under the same manifest, as when a transfer that broke
        off is repeated; an accepted one never is.
        """
        rows = self._rows("select manifest_sha256, status, signature from delivery where status <> 'received'")
        return {row["manifest_sha256"]: row["signature"] if row["status"] == "rejected" else None for row in rows}

    def judgements(self, sha256: str) -> list[dict[str, Any]]:
        """What each rule found in one delivery: counts only."""
        rows = self._rows("select * from judgement where manifest_sha256 = :sha256 order by id", sha256=sha256)
        return [dict(row) for row in rows]

    def corrected(self) -> dict[str, int]:
        """How many corrections were applied to a delivery, by its manifest hash."""
        rows = self._rows(
            "select manifest_sha256, count(*) as corrections from judgement where severity = 'corrected' group by 1"
        )
        return {row["manifest_sha256"]: row["corrections"] for row in rows}

    def waived(self) -> dict[str, list[str]]:
        """The rules that people have accepted although they fail, by the manifest hash of the delivery."""
        rows = self._rows(
            "select distinct manifest_sha256, rule from judgement where severity = 'waived' order by rule"
        )
        found: dict[str, list[str]] = {}
        for row in rows:
            found.setdefault(row["manifest_sha256"], []).append(row["rule"])
        return found

    def retractions(self) -> list[dict[str, Any]]:
        """Deliveries that were taken back, oldest first: by whom, when and why."""
        rows = self._rows("select * from retraction order by retracted_at, manifest_sha256")
        return [{**row, "retracted_at": _moment(row["retracted_at"])} for row in rows]

    def clearings(self) -> list[dict[str, Any]]:
        """What was deleted from landing, oldest first: counts only."""
        rows = self._rows("select * from clearing order by id")
        return [{**row, "cleared_at": _moment(row["cleared_at"])} for row in rows]

    def sightings(self, organisation: str | None = None) -> list[Sighting]:
        """Deliveries as last seen at their sources, of one organisation or all."""
        condition = "where organisation = :organisation" if organisation else ""
        given = {"organisation": organisation} if organisation else {}
        order = "organisation, period, delivery_id"
        rows = self._rows(f"select * from sighting {condition} order by {order}", **given)  # noqa: S608 - our names
        times = ("first_seen_at", "seen_at")
        return [Sighting(**{**row, **{name: _moment(row[name]) for name in times}}) for row in rows]

    def fetchings(self, organisation: str) -> list[dict[str, Any]]:
        """When a source was looked at and what came of it, oldest first."""
        rows = self._rows(
            "select * from fetching where organisation = :organisation order by id", organisation=organisation
        )
        return [{**row, "fetched_at": _moment(row["fetched_at"])} for row in rows]

    def last_fetchings(self) -> list[dict[str, Any]]:
        """What came of the last look at each source."""
        rows = self._rows(
            "select * from fetching where id in (select max(id) from fetching group by organisation) order by organisation"
        )
        return [{**row, "fetched_at": _moment(row["fetched_at"])} for row in rows]

    def opened_before(self, sealed_manifest_sha256: str) -> list[DeliveryRecord]:
        """The deliveries under whatever name, sealed or not, that hold this manifest."""
        rows = self._rows(
            "select delivery.* from delivery left join opening using (manifest_sha256) "
            "where :sha256 in (manifest_sha256, sealed_manifest_sha256)",
            sha256=sealed_manifest_sha256,
        )
        return [_record(row) for row in rows]

    def withdrawals(self) -> list[Withdrawal]:
        """Withdrawals, oldest first."""
        rows = self._rows("select * from withdrawal order by requested_at, withdrawal_id")
        return [
            Withdrawal(
                **{
                    **row,
                    "requested_at": _moment(row["requested_at"]),
                    "finished_at": _moment(row["finished_at"]),
                    "known_until": _day(row["known_until"]),
                }
            )
            for row in rows
        ]

    def withdrawn(self) -> list[Row]:
        """The marks of everybody who has withdrawn: mark, withdrawal_id and mode."""
        return list(self._rows("select mark, withdrawal_id, mode from withdrawn order by mark"))

    def steps_of(self, withdrawal_id: str) -> dict[str, dict[str, Any]]:
        """The steps of a withdrawal that are done, oldest first, with their counts."""
        rows = self._rows(
            "select step, counts from withdrawal_step where withdrawal_id = :withdrawal_id order by done_at, step",
            withdrawal_id=withdrawal_id,
        )
        return {row["step"]: json.loads(row["counts"]) for row in rows}

    def reissues(self, kind: str) -> list[Row]:
        """What withdrawals put in the place of what: old, new (None: nothing) and withdrawal_id, oldest first."""
        return list(
            self._rows(
                "select reissue.old, reissue.new, reissue.withdrawal_id from reissue inner join withdrawal using (withdrawal_id) "
                "where kind = :kind order by requested_at, withdrawal_id, old",
                kind=kind,
            )
        )

    def withheld(self) -> dict[str, tuple[int, int]]:
        """Deliveries of which rows of people who have withdrawn were not taken in: people and rows, by manifest hash."""
        rows = self._rows("select manifest_sha256, people, row_count from withheld")
        return {row["manifest_sha256"]: (row["people"], row["row_count"]) for row in rows}

    def builds(self) -> list[dict[str, Any]]:
        """Builds, oldest first."""
        rows = self._rows("select * from build order by built_at")
        return [{**row, "built_at": _moment(row["built_at"]), "record": json.loads(row["record"])} for row in rows]

    def fits(self) -> list[dict[str, Any]]:
        """Fits, oldest first."""
        rows = self._rows("select * from fit order by fitted_at")
        return [{**row, "fitted_at": _moment(row["fitted_at"])} for row in rows]

    def held_fits(self) -> list[dict[str, Any]]:
        """Refits that failed a check and left the last good fit where it was, oldest first, with the reason."""
        rows = self._rows("select * from held_fit order by held_at")
        return [{**row, "held_at": _moment(row["held_at"])} for row in rows]

    def held_by(self, fit_id: str) -> tuple[str, ...]:
        """The checks that a held fit failed when it was last judged."""
        rows = self._rows("select check_name from held_check where fit_id = :fit_id order by check_name", fit_id=fit_id)
        return tuple(row["check_name"] for row in rows)

    def signatures(self, fit_id: str, compared_with: str) -> tuple[str, ...]:
        """Who accepted a held fit, against the fit that it was compared with, in the order in which they signed."""
        rows = self._rows(
            "select signed_by from fit_signature where fit_id = :fit_id and compared_with = :other order by signed_at",
            fit_id=fit_id,
            other=compared_with,
        )
        return tuple(row["signed_by"] for row in rows)

    # registers ------------------------------------------------------------------------------------------------------
    def permissions(self) -> list[dict[str, Any]]:
        """Permissions by person and first day, with who signed, and when, by whom and why one was revoked."""
        signed: dict[str, list[str]] = {}
        for row in self._rows("select * from permission_signature order by signed_at, signed_by"):
            signed.setdefault(row["permission_id"], []).append(row["signed_by"])
        rows = self._rows(
            "select permission.*, revoked_at, revoked_by, reason from permission left join permission_end "
            "using (permission_id) order by person, starts_on, permission_id"
        )
        lists = ("bases", "tables", "classes")
        return [
            {
                **row, **{name: tuple(json.loads(row[name])) for name in lists}, "by": tuple(signed[row["permission_id"]]),
                "starts_on": _day(row["starts_on"]), "ends_on": _day(row["ends_on"]), "revoked_at": _moment(row["revoked_at"]),
            }
            for row in rows
        ]  # fmt: skip

    def consent_registers(self) -> list[dict[str, Any]]:
        """What the register of consents was, oldest first: hashes and counts only."""
        rows = self._rows("select * from consent_register order by id")
        return [{**row, "taken_at": _moment(row["taken_at"])} for row in rows]

    def hand_overs(self) -> list[dict[str, Any]]:
        """What of releases was handed over, oldest first."""
        rows = self._rows("select * from hand_over order by id")
        return [
            {**row, "tables": tuple(json.loads(row["tables"])), "handed_at": _moment(row["handed_at"])} for row in rows
        ]

    # releases and the audit trail -----------------------------------------------------------------------------------
    def releases(self) -> list[dict[str, Any]]:
        """Releases in every state, oldest first."""
        if not self._has_table("release"):
            return []
        rows = self._rows("select * from release order by drafted_at, tag")
        return [{**row, **{name: _moment(row[name]) for name in ("drafted_at", "decided_at")}} for row in rows]

    def audit(self) -> list[Row]:
        """The audit trail by number, as it stands there; `audit.entry_of` makes entries of it."""
        return self._rows("select * from audit order by number") if self._has_table("audit") else []

    # what stewards are told -----------------------------------------------------------------------------------------
    def follow_ups(self) -> list[dict[str, Any]]:
        """The years whose registry extract was asked for, oldest first: when, and in whose name."""
        if not self._has_table("follow_up"):
            return []
        return [
            {**row, "asked_at": _moment(row["asked_at"])} for row in self._rows("select * from follow_up order by year")
        ]

    def incidents(self, *, is_open: bool | None = None) -> list[dict[str, Any]]:
        """What happened that people are told of, oldest first; with `is_open` only what is open, or only what is over."""
        if not self._has_table("incident"):
            return []
        condition = {None: "1 = 1", True: "closed_at is null", False: "closed_at is not null"}[is_open]
        rows = self._rows(f"select * from incident where {condition} order by opened_at, id")  # noqa: S608 - our words
        times = ("opened_at", "seen_at", "closed_at")
        return [
            {**row, "facts": json.loads(row["facts"]), **{name: _moment(row[name]) for name in times}} for row in rows
        ]

    def messages(self, *, is_sent: bool | None = None) -> list[dict[str, Any]]:
        """What was sent or waits to be, oldest first, with the facts of its incident and what came of sending it."""
        if not self._has_table("message"):
            return []
        condition = {None: "1 = 1", True: "sent_at is not null", False: "sent_at is null"}[is_sent]
        rows = self._rows(
            "select message.*, incident.facts as of_incident, incident.about, incident.event as incident from message "  # noqa: S608 - our words
            f"left join incident on incident.id = message.incident_id where {condition} order by message.id"
        )
        times = ("queued_at", "next_at", "sent_at")
        return [
            {
                **row, "facts": json.loads(row["of_incident"] or "{}") | json.loads(row["facts"]),
                **{name: _moment(row[name]) for name in times},
            }
            for row in rows
        ]  # fmt: skip

    @abstractmethod
    def _has_table(self, name: str) -> bool:
        """Whether the ledger has a table: one that an earlier release of the platform made may lack it."""


class SqliteReadings(Readings):
    """A ledger in an SQLite file, read without SQLAlchemy."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def _rows(self, sql: str, **values: str) -> list[Row]:
        with closing(sqlite3.connect(f"{self._path.as_uri()}?mode=rw", uri=True, timeout=30)) as connection:
            connection.row_factory = sqlite3.Row
            return [{name: row[name] for name in row.keys()} for row in connection.execute(sql, values)]  # noqa: SIM118

    def _has_table(self, name: str) -> bool:
        return bool(self._rows("select 1 from sqlite_master where type = 'table' and name = :name", name=name))


def _record(row: Row) -> DeliveryRecord:
    received_at = _moment(row["received_at"])
    assert received_at is not None  # noqa: S101 - the column is never empty
    return DeliveryRecord(
        manifest_sha256=row["manifest_sha256"],
        organisation=row["organisation"],
        period=row["period"],
        delivery_id=row["delivery_id"],
        sequence=row["sequence"],
        received_at=received_at,
        decided_at=_moment(row["decided_at"]),
        status=row["status"],
        signature=row["signature"],
        content_hash=row["content_hash"],
        cutoff_on=_day(row["cutoff_on"]),
        is_simulated=bool(row["is_simulated"]),
        row_counts=json.loads(row["row_counts"]),
    )


def _moment(value: str | datetime | None) -> datetime | None:
    """A time as SQLite (text) or another database gives it."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def _day(value: str | date | None) -> date | None:
    """A day as SQLite (text) or another database gives it."""
    return date.fromisoformat(value) if isinstance(value, str) else value
