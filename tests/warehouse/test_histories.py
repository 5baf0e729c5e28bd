"""Two implementations of the core tables agree on any history, and a rule that is broken in one of them is noticed."""

from __future__ import annotations

from dataclasses import replace

import hypothesis
import pytest

from tests.warehouse import reference
from tests.warehouse.histories import Compiled, hold_on, worlds

HISTORIES = 200
# model, what its statement says, what a mistake would say
MISTAKES = {
    "registration for the day of the offence": ("int_first_event", "then offence.offence_on", "then offence.registered_on"),
    "no lag": ("int_follow_up_window", "build.registry_cutoff_on -", "build.registry_cutoff_on - 0 *"),
    "acquittals": ("int_first_event", "offence.counts = 'always'", "true"),
    "unlinked people followed": ("int_follow_up_window", "when not is_linked then 'not_linked'", "when false then ''"),
    "spells in detention counted twice": ("int_detention", "group by client_id, spell", "group by client_id, detention_number"),
    "a later entry that is ignored": ("int_origin", "greatest(origin_on, landmark_on)", "origin_on"),
    "a rating without its dyad": ("int_wave", "<= coalesce(dyad.end_on", "< coalesce(dyad.end_on"),
    "a score known before it was measured": ("int_score_at_origin", "origin.entry_on >=", "origin.entry_on + 30 >="),
    "reversed items as they are": ("int_item_score", "when instrument_item.is_reversed", "when false"),
    "an event on the last day of the observation lost": ("int_event", "event_on <= until_on", "event_on < until_on"),
    "an offence on the day of the origin as an event": ("int_event", "offence_on > followed", "offence_on >= followed"),
    "two offences on a day as two events": ("int_event", "select distinct", "select"),
    "stretches numbered from the last": ("followup_event", "order by ended.stop_on asc", "order by ended.stop_on desc"),
    "the night of the release in detention": ("followup_event", "- greatest(spell.start_on", "+ 1 - greatest(spell.start_on"),
}  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return Compiled.once(tmp_path_factory.mktemp("compiled"))


def test_the_two_implementations_agree_on_every_history(project: Compiled) -> None:
    assert hold_on(project, HISTORIES) >= HISTORIES


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_rule_is_noticed(project: Compiled, mistake: str) -> None:
    model, right, wrong = MISTAKES[mistake]
    statements = [
        (kind, relation, text.replace(right, wrong) if f'"{model}"' in relation else text)
        for kind, relation, text in project.statements
    ]
    assert statements != project.statements
    broken = replace(project, statements=statements)
    with pytest.raises(AssertionError):
        hold_on(broken, HISTORIES)


def test_histories_reach_every_end_that_follow_up_can_have() -> None:
    ends: set[str | None] = set()

    @hypothesis.settings(
        max_examples=30, database=None, derandomize=True, deadline=None, phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    @hypothesis.given(worlds())
    def collect(world: object) -> None:
        rows = reference.tables(world, reference.seed("outcome"))["followup"]  # type: ignore[arg-type]
        if len(rows):
            ends.update(rows["exit_reason"].dropna(), rows["ineligible_reason"].dropna())

    collect()
    assert ends >= {
        "event", "death", "emigration", "horizon", "cutoff", "not_linked", "supervision_not_ended", "departed_before_entry",
        "no_followup", "offended_before_origin", "offended_before_entry", "detained_until_exit",
    }  # fmt: skip
