"""What `status` and `versions` say: the state of each organisation and period, oldest problem first."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from orchestration.deliveries.contracts import Organisation
from orchestration.deliveries.ingest import ingest
from orchestration.simulation.mutations import mutate
from orchestration.status import STATES, Line, due_on, lines, listed_versions, periods_due
from tests.conftest import Platform
from tests.deliveries.making import deliver, delivery_in, publish_stand_in

Contracts = dict[str, Organisation]
TODAY = date(2026, 11, 23)


def _platform_from(platform: Platform, first: str, year: int) -> Platform:
    return Platform(
        platform.settings.model_copy(update={"first_quarter": first, "first_registry_year": year}), platform.ledger
    )


def _states(platform: Platform, contracts: Contracts, today: date = TODAY) -> dict[tuple[str, str], str]:
    found = lines(platform.settings, platform.ledger, contracts, today)
    return {(line.organisation, line.period): line.state for line in found}


def _record_build(platform: Platform) -> None:
    deliveries = [
        {
            "organisation": record.organisation,
            "period": record.period,
            "manifest_sha256": record.manifest_sha256,
            "content_hash": record.content_hash,
        }
        for record in platform.ledger.deliveries(status="accepted")
    ]
    platform.ledger.record_build("build", "version", {"deliveries": deliveries})


def test_periods_are_due_once_they_have_ended(contracts: Contracts) -> None:
    rn, registry = contracts["rn"], contracts["registry"]
    assert list(periods_due(rn, "2025-Q3", date(2026, 3, 31))) == ["2025-Q3", "2025-Q4"]
    assert list(periods_due(rn, "2025-Q3", date(2026, 4, 1))) == ["2025-Q3", "2025-Q4", "2026-Q1"]
    assert list(periods_due(registry, "2024", date(2025, 12, 31))) == ["2024"]
    assert list(periods_due(contracts["north_carolina"], "1978", TODAY)) == []


def test_a_delivery_is_late_after_its_grace_and_not_a_day_before(platform: Platform, contracts: Contracts) -> None:
    recent = _platform_from(platform, "2026-Q3", 2026)
    last = due_on(contracts["rn"], "2026-Q3")
    assert last == date(2026, 11, 14)
    running = {(name, "2026-Q4"): "expected" for name in ("ljr", "rn", "svg")} | {("registry", "2026"): "expected"}
    in_time = {(name, "2026-Q3"): "expected" for name in ("ljr", "rn", "svg")}
    assert _states(recent, contracts, last) == running | in_time
    late = {(name, "2026-Q3"): "late" for name in ("ljr", "rn", "svg")}
    assert _states(recent, contracts, date(2026, 11, 15)) == running | late
    assert _states(recent, contracts, date(2026, 6, 30)) == {("registry", "2026"): "expected"}


def test_a_period_is_expected_from_its_first_day(platform: Platform, contracts: Contracts) -> None:
    recent = _platform_from(platform, "2026-Q3", 2027)
    assert _states(recent, contracts, date(2026, 6, 30)) == {}
    assert _states(recent, contracts, date(2026, 7, 1)) == {
        (name, "2026-Q3"): "expected" for name in ("ljr", "rn", "svg")
    }


def test_a_delivery_on_which_the_gate_is_at_work_is_being_validated(platform: Platform, contracts: Contracts) -> None:
    recent = _platform_from(platform, "2026-Q3", 2027)
    recent.ledger.receive("a" * 64, "rn", "2026-Q3", "one", "signature")
    assert _states(recent, contracts)[("rn", "2026-Q3")] == "validating"


def test_a_delivery_is_due_the_grace_of_its_contract_after_its_period(contracts: Contracts) -> None:
    rn, registry = contracts["rn"], contracts["registry"]
    assert (rn.grace_days, registry.grace_days) == (45, 90)
    assert due_on(registry, "2027") == date(2028, 3, 30)  # it is asked for on 1 March
    assert due_on(replace(rn, grace_days=60), "2027-Q4") == date(2028, 2, 29)
    assert due_on(replace(rn, grace_days=0), "2028-Q1") == date(2028, 3, 31)
    for organisation, period in ((rn, "2027"), (registry, "2027-Q1"), (contracts["north_carolina"], "1978")):
        with pytest.raises(ValueError, match="no period"):
            due_on(organisation, period)


def test_a_delivery_goes_from_received_to_accepted_to_published(
    platform: Platform, simulated: Path, contracts: Contracts
) -> None:
    recent = _platform_from(platform, "2025-Q4", 2026)
    delivery = deliver(delivery_in(simulated, "ljr"), recent.settings.inbox_path)
    place = ("ljr", "2025-Q4")
    assert _states(recent, contracts)[place] == "received"
    ingest(delivery, recent.settings, recent.ledger)
    assert _states(recent, contracts)[place] == "accepted"
    _record_build(recent)
    assert _states(recent, contracts)[place] == "published"
    (line,) = [
        line
        for line in lines(recent.settings, recent.ledger, contracts, TODAY)
        if line.organisation == "ljr" and line.period == "2025-Q4"
    ]
    assert line.rows == sum(recent.ledger.deliveries(organisation="ljr")[0].row_counts.values()) > 0


def test_a_rejected_delivery_blocks_its_period_and_says_why(settled: Platform, contracts: Contracts) -> None:
    _record_build(settled)
    source = delivery_in(settled.settings.inbox_path, "rn")
    bad = deliver(source, settled.settings.inbox_path, "corrected", sequence=2)
    mutate(bad, "wrong_hash")
    ingest(bad, settled.settings, settled.ledger)
    found = lines(settled.settings, settled.ledger, contracts, TODAY)
    (line,) = [line for line in found if (line.organisation, line.period) == ("rn", "2025-Q4")]
    assert (line.state, line.reason, line.delivery_id) == ("blocked", "file.hash", "corrected")


def test_a_repeated_delivery_stays_published(settled: Platform, contracts: Contracts) -> None:
    _record_build(settled)
    again = deliver(delivery_in(settled.settings.inbox_path, "rn"), settled.settings.inbox_path, "again", sequence=2)
    assert ingest(again, settled.settings, settled.ledger).status == "duplicate"
    assert _states(settled, contracts)[("rn", "2025-Q4")] == "published"


def test_the_oldest_problem_comes_first_and_what_is_well_comes_last(settled: Platform, contracts: Contracts) -> None:
    _record_build(settled)
    recent = _platform_from(settled, "2025-Q3", 2025)
    source = delivery_in(recent.settings.inbox_path, "rn")
    for period in ("2026-Q2", "2026-Q1"):
        bad = deliver(source, recent.settings.inbox_path, f"bad-{period}", period)
        mutate(bad, "wrong_hash")
        ingest(bad, recent.settings, recent.ledger)
    deliver(delivery_in(recent.settings.inbox_path, "svg"), recent.settings.inbox_path, "next", "2026-Q1")
    found = lines(recent.settings, recent.ledger, contracts, TODAY)
    states = [line.state for line in found]
    problems = [line for line in found if line.is_problem]
    assert problems == found[: len(problems)]
    assert [line.due_on for line in problems] == sorted(line.due_on for line in problems)
    assert (problems[0].state, problems[0].days_late(TODAY)) == ("late", (TODAY - problems[0].due_on).days)
    assert {line.state for line in problems} == {"late", "blocked"}
    assert [line.period for line in problems if line.rules == ("file.hash",)] == ["2026-Q1", "2026-Q2"]
    rest = states[len(problems) :]
    assert rest == sorted(rest, key=STATES.index)
    assert set(rest) == {"received", "expected", "published"}
    assert all(isinstance(line, Line) for line in found)


def test_versions_are_listed_with_the_current_one_marked(settled: Platform) -> None:
    assert listed_versions(settled.settings, settled.ledger) == []
    version = publish_stand_in(settled.settings)
    settled.ledger.record_build("one", version.version_id, {"deliveries": []})
    settled.ledger.record_build("two", version.version_id, {"deliveries": []})
    settled.ledger.record_fit("fit", version.version_id, "f")
    entry: dict[str, Any]
    (entry,) = listed_versions(settled.settings, settled.ledger)
    assert entry.pop("first_built_at")
    assert entry == {
        "version_id": version.version_id, "is_current": True, "simulated": True, "registry_cutoff_on": "2025-12-31",
        "rows": 2, "builds": 2, "fits": 1,
    }  # fmt: skip
