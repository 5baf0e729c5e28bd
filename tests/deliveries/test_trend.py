"""What a rule counted is kept: its trend over deliveries, and its status under another threshold, without the delivery."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

from orchestration.deliveries.contracts import Organisation
from orchestration.deliveries.ingest import ingest
from orchestration.deliveries.trend import noticed, trend
from tests.conftest import Platform
from tests.deliveries.making import change_rows, deliver, delivery_in

Contracts = dict[str, Organisation]


def _shrunken(platform: Platform) -> str:
    """A delivery of which a tenth of the covariates is gone: rejected."""
    inbox = platform.settings.inbox_path
    bad = deliver(delivery_in(inbox, "rn"), inbox, "rn-less", sequence=2)
    change_rows(bad, "covariates", lambda rows: rows[: len(rows) * 9 // 10])
    assert ingest(bad, platform.settings, platform.ledger).status == "rejected"
    return "rn-less"


def test_kept_counts_are_judged_again_with_the_thresholds_of_today(settled: Platform, contracts: Contracts) -> None:
    _shrunken(settled)
    shutil.rmtree(settled.settings.landing)
    before = [p for p in trend(settled.ledger, contracts, "rows.shrunk") if p.delivery_id == "rn-less"]
    (failing,) = [point for point in before if point.status == "failed"]
    assert failing.table == "covariates" and not failing.has_changed
    assert failing.share is not None and 0.05 < failing.share < 0.15

    lenient = {**contracts, "rn": replace(contracts["rn"], shrink_tolerance=0.5)}
    (again,) = [p for p in trend(settled.ledger, lenient, "rows.shrunk") if p.has_changed]
    assert (again.delivery_id, again.status, again.status_now) == ("rn-less", "failed", "passed")
    assert (again.threshold, again.threshold_now) == (0.02, 0.5)


def test_a_rule_of_a_table_follows_its_contract_and_one_that_is_no_longer_asked_has_no_status(
    settled: Platform, contracts: Contracts
) -> None:
    rn = contracts["rn"]
    (point,) = [p for p in trend(settled.ledger, contracts, "rule.missing_share") if p.organisation == "rn"]
    assert (point.status, point.status_now, point.threshold_now) == ("passed", "passed", 0.4)
    assert point.failed

    def answers(**changes: object) -> Contracts:
        table = rn.table("item_responses")
        (rule,) = table.rules
        rules = () if changes.get("gone") else (replace(rule, threshold=0.0),)
        tables = tuple(replace(t, rules=rules) if t is table else t for t in rn.tables)
        return {**contracts, "rn": replace(rn, tables=tables)}

    (strict,) = [p for p in trend(settled.ledger, answers(), "rule.missing_share") if p.organisation == "rn"]
    assert (strict.status_now, strict.has_changed) == ("failed", True)
    (gone,) = [p for p in trend(settled.ledger, answers(gone=True), "rule.missing_share") if p.organisation == "rn"]
    assert (gone.status_now, gone.has_changed, gone.threshold_now) == ("", False, None)


def test_the_counts_of_every_verdict_come_to_the_same_status_again(settled: Platform, contracts: Contracts) -> None:
    _shrunken(settled)
    points = trend(settled.ledger, contracts)
    assert [point for point in points if point.has_changed] == []
    judged_again = [point for point in points if point.status_now]
    assert len(judged_again) > 100 and {point.status for point in judged_again} == {"passed", "failed"}
    shown = list(noticed(points))
    assert {point.rule for point in shown} >= {"rows.shrunk", "rule.missing_share"} and len(shown) < len(points)
    assert "rn-less" in {point.delivery_id for point in shown}
    json.dumps([point.share for point in shown])
