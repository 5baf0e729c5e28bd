"""The gate on a candidate: ranges, references, nothing lost on the way, and not far short of what is published."""

from __future__ import annotations

from datetime import date
from typing import Any

import pyarrow as pa
import pytest

from orchestration.deliveries import waivers
from orchestration.deliveries.judgement import Judgement, Status
from orchestration.settings import Settings
from orchestration.warehouse.conservation import judge_conserved
from orchestration.warehouse.gate import judge_drift, said
from orchestration.warehouse.versions import HeldMarts
from tests.deliveries.making import publish_marts

TODAY, LATER = date(2026, 11, 24), date(2026, 12, 24)


def marts(clients: int, events: int, outcomes: tuple[str, ...] = ("o",), **more: int) -> HeldMarts:
    people = [f"p{number}" for number in range(clients)]
    rows = [(person, outcome, number < events) for outcome in outcomes for number, person in enumerate(people)]
    followup = pa.table(
        {
            "client_id": [row[0] for row in rows],
            "outcome_id": [row[1] for row in rows],
            "event": [row[2] for row in rows],
            "days": [10] * len(rows),
        }
    )
    return HeldMarts(
        {
            "client": pa.table({"client_id": people}),
            "followup": followup,
            "analysis_cohort": followup.slice(0, followup.num_rows - more.get("lost", 0)),
            "followup_interval": pa.table(
                {"start_day": [0] * len(rows), "stop_day": [10 - more.get("cut", 0)] * len(rows)}
            ),
            "outcome_definition": pa.table({"outcome_id": list(outcomes)}),
            "supervision": pa.table({"is_index": [True] * clients + [False]}),
        }
    )


def failed(judgements: list[Judgement]) -> list[str]:
    return [f"{item.rule} {item.table}" for item in judgements if item.status is Status.FAILED]


def test_what_was_delivered_is_staged_and_what_was_staged_is_in_the_marts() -> None:
    staged = {"stg_partner__clients": 30, "stg_platform__build": 1}
    delivered = {"rn.clients": 10, "svg.clients": 20}
    belonging = {"supervision": 6}

    def lost(**changes: Any) -> list[str]:
        given = {"marts": marts(5, 1), "staged": staged, "delivered": delivered, "belonging": belonging} | changes
        return failed(judge_conserved(**given))

    assert lost() == []
    assert lost(delivered={**delivered, "ljr.clients": 1}) == ["rows.conserved stg_partner__clients"]
    assert lost(belonging={"supervision": 7}) == ["rows.conserved supervision"]
    assert lost(marts=marts(5, 1, lost=1)) == ["rows.conserved analysis_cohort"]
    assert lost(marts=marts(5, 1, cut=1)) == ["rows.conserved followup_interval"]


@pytest.mark.parametrize(
    ("clients", "events", "rules"),
    [
        (100, 50, []),
        (120, 70, []),
        (90, 45, []),
        (89, 50, ["drift.clients client"]),
        (100, 44, ["drift.events followup"]),
        (10, 5, ["drift.clients client", "drift.events followup"]),
    ],
)
def test_a_candidate_that_falls_far_short_of_what_is_published_is_held_back(
    settings: Settings, clients: int, events: int, rules: list[str]
) -> None:
    published, _ = publish_marts(settings, **marts(100, 50))
    found = judge_drift(marts(clients, events), published, 0.1)
    assert failed(found) == rules
    assert all(item.blocks for item in found if item.status is Status.FAILED)


def test_a_definition_that_only_one_of_the_two_has_is_left_out(settings: Settings) -> None:
    published, _ = publish_marts(settings, **marts(100, 50, ("o", "gone")))
    assert failed(judge_drift(marts(100, 50, ("o", "new")), published, 0.1)) == []


def test_the_first_version_has_nothing_to_be_held_against() -> None:
    (found,) = judge_drift(marts(3, 1), None, 0.1)
    assert found.status is Status.NOT_APPLICABLE


def test_two_people_can_accept_a_loss_for_the_version_that_is_published(settings: Settings) -> None:
    published, _ = publish_marts(settings, **marts(100, 50))
    path = settings.home_path / "waivers.yml"
    found = judge_drift(marts(10, 5), published, 0.1)
    for person, blocking in (("anna", 2), ("anna", 2), ("bram", 0)):
        waivers.waive_drift(path, published.version_id, "a partner withdrew", LATER, person, TODAY)
        known = waivers.read_waivers(path)
        waived = waivers.apply_drift(found, known, published.version_id, TODAY)
        assert sum(item.blocks for item in waived) == blocking
    assert sum(item.blocks for item in waivers.apply_drift(found, known, "another", TODAY)) == 2
    assert sum(item.blocks for item in waivers.apply_drift(found, known, published.version_id, date(2027, 1, 1))) == 2


def test_what_is_said_has_rule_place_and_counts(settings: Settings) -> None:
    published, _ = publish_marts(settings, **marts(100, 50))
    text = said([item for item in judge_drift(marts(80, 50), published, 0.1) if item.blocks])
    assert text == "drift.clients: client (20 of 100; expected at least 90 of 100)"
