"""Two implementations of the core tables agree on any history, and a rule that is broken in one of them is noticed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.warehouse.histories import CLIENTS, Compiled, Expected, disagreements, expected

HISTORIES = 96  # of the 2,000 of `make proof`
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
    "of two officers on one day the reason that is known": ("int_score_span", "arg_min_null(reason", "arg_min(reason"),
}  # fmt: skip


@pytest.fixture(scope="module")
def examples() -> list[Expected]:
    """Made once, the fullest first: the agreement and every mistake are tried on the same histories."""
    return sorted(expected(HISTORIES), key=lambda example: -sum(len(table) for table in example.tables.values()))


def test_the_two_implementations_agree_on_every_history(compiled: Compiled, examples: list[Expected]) -> None:
    assert len(examples) * CLIENTS >= HISTORIES
    for number, example in enumerate(examples):
        apart = disagreements(compiled.run(example.world), example.tables)
        assert not apart, (number, apart)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_rule_is_noticed(compiled: Compiled, examples: list[Expected], mistake: str) -> None:
    model, right, wrong = MISTAKES[mistake]
    statements = [
        (kind, relation, text.replace(right, wrong) if f'"{model}"' in relation else text)
        for kind, relation, text in compiled.statements
    ]
    assert statements != compiled.statements
    broken = replace(compiled, statements=statements)
    assert any(disagreements(broken.run(example.world), example.tables) for example in examples)


def test_histories_reach_every_end_that_follow_up_can_have(examples: list[Expected]) -> None:
    ends: set[str | None] = set()
    for example in examples:
        rows = example.tables["followup"]
        if len(rows):
            ends.update(rows["exit_reason"].dropna(), rows["ineligible_reason"].dropna())
    assert ends >= {
        "event", "death", "emigration", "horizon", "cutoff", "not_linked", "supervision_not_ended", "departed_before_entry",
        "no_followup", "offended_before_origin", "offended_before_entry", "detained_until_exit",
    }  # fmt: skip
