"""Each rule over the deliveries of an organisation, and what its kept counts come to with today's contract.

The ledger keeps what a rule counted, so a threshold can be changed and its effect seen without reading a delivery again.
Nothing here changes a verdict.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestration.deliveries.contracts import Organisation
from orchestration.deliveries.judgement import Status
from orchestration.readings import Readings

SHRINKAGE = "rows.shrunk"


@dataclass(frozen=True)
class Point:
    """One rule at one place in one delivery: counts, the share that failed, and its status then and now.

    `status_now` is empty where a rule leaves no counts to judge again, or where the contract no longer asks it.
    """

    organisation: str
    period: str
    delivery_id: str
    rule: str
    table: str
    column: str
    status: str
    severity: str
    evaluated: int | None
    failed: int | None
    threshold: float | None
    threshold_now: float | None
    status_now: str

    @property
    def share(self) -> float | None:
        """Failures over what was evaluated, 0 to 1."""
        return self.failed / self.evaluated if self.evaluated and self.failed is not None else None

    @property
    def has_changed(self) -> bool:
        """Whether today's contract would judge the same counts differently."""
        return bool(self.status_now) and self.status_now != self.status


def trend(ledger: Readings, contracts: Mapping[str, Organisation], rule: str | None = None) -> list[Point]:
    """What a rule, or every rule, found in each delivery with a verdict, by organisation, rule and place, oldest first."""
    points = [
        _point(record.organisation, record.period, record.delivery_id, item, contracts)
        for record in ledger.deliveries()
        if record.organisation in contracts
        for item in ledger.judgements(record.manifest_sha256)
        if rule in (None, item["rule"])
    ]
    return sorted(points, key=lambda point: (point.organisation, point.rule, point.table, point.column, point.period))


def noticed(points: list[Point]) -> Iterator[Point]:
    """The points of those rules and places where something ever failed or would be judged differently today."""
    places = {_place(point) for point in points if point.failed or point.has_changed or point.status in _TROUBLE}
    return (point for point in points if _place(point) in places)


_TROUBLE = (Status.FAILED.value, Status.ERROR.value)


def _place(point: Point) -> tuple[str, str, str, str]:
    return point.organisation, point.rule, point.table, point.column


def _point(
    organisation: str, period: str, delivery_id: str, item: Mapping[str, Any], contracts: Mapping[str, Organisation]
) -> Point:
    now = threshold_now(contracts[organisation], item)
    return Point(
        organisation, period, delivery_id, item["rule"], item["table_name"] or "", item["column_name"] or "",
        item["status"], item["severity"], item["evaluated"], item["failed"], item["threshold"], now, judged(item, now),
    )  # fmt: skip


def judged(item: Mapping[str, Any], threshold: float | None) -> str:
    """The status that kept counts have under a threshold (a share, 0 to 1); empty where nothing was counted."""
    if threshold is None or item["status"] not in (Status.FAILED, Status.PASSED):
        return ""
    if item["evaluated"] is None or item["failed"] is None:
        return ""
    return (Status.FAILED if item["failed"] > threshold * item["evaluated"] else Status.PASSED).value


def threshold_now(organisation: Organisation, item: Mapping[str, Any]) -> float | None:
    """The share of failures that the contract tolerates today; None for a rule that has none or is no longer asked."""
    if item["threshold"] is None:
        return None
    if item["rule"] == SHRINKAGE:
        return organisation.shrink_tolerance
    if item["rule"] in ("history.recoded", "history.dates"):
        return organisation.change_tolerance
    if not item["rule"].startswith("rule."):
        return float(item["threshold"])
    asked = {
        (table.name, f"rule.{rule.kind}", ", ".join(table.column(name).source for name in rule.columns)): rule.tolerated
        for table in organisation.tables
        for rule in table.rules
    }
    return asked.get((item["table_name"], item["rule"], item["column_name"]))
