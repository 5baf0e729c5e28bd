"""Each way of spoiling a delivery is named by the rule that stands beside it, and each rule can be made to fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestration.deliveries.judgement import messages
from orchestration.simulation.mutations import MUTATIONS
from tests.conftest import Platform
from tests.deliveries.making import delivery_in, digests
from tests.mutations.hostile import HOSTILE
from tests.mutations.trials import NEXT, spoiled, trial

# Rules that no delivery can make fail by itself, each for a reason.
SECOND_LOCKS = {
    "archive.member": "needs the public key of the platform; in tests/deliveries/test_sealing.py",
    "archive.replayed": "needs the public key of the platform; in tests/deliveries/test_sealing.py",
    "archive.size": "needs the public key of the platform; in tests/deliveries/test_sealing.py",
    "archive.tampered": "needs the public key of the platform; in tests/deliveries/test_sealing.py",
    "archive.recipient": "needs the public key of the platform; in tests/deliveries/test_sealing.py",
    "correction.applied": "says what was done, not what is wrong; in tests/deliveries/test_corrections.py",
    "correction.stale": "is said of a correction, not of a delivery; in tests/deliveries/test_corrections.py",
    "value.direction": "with a snapshot before it is history.recoded; on a first delivery in tests/deliveries/test_history.py",
    "drift.clients": "is said of a candidate, not of a delivery; in tests/warehouse/test_gate_on_marts.py",
    "drift.events": "is said of a candidate, not of a delivery; in tests/warehouse/test_gate_on_marts.py",
    "rule.flag_share": "is said of marts, no contract of a partner has it; in tests/warehouse/test_bad_candidates.py",
    "rows.conserved": "is said of a candidate, not of a delivery; in tests/warehouse/test_gate_on_marts.py",
    "platform.error": "the platform's own fault; made to happen in tests/deliveries/test_gate.py",
    "table.columns": "a mart that is not there; said of a candidate, not of a delivery",
    "table.evaluated": "a required column without a value is refused as value.missing before",
    "value.test_number": "the simulator uses such numbers only; refused where no demo admits them, in test_readers.py",
}


@pytest.fixture(scope="module")
def home(_settled_once: Path) -> Platform:
    """A settled home that is only looked at."""
    from orchestration.home import opened
    from tests.conftest import settings_in

    settings = settings_in(_settled_once)
    return Platform(settings, opened(settings))


def test_the_catalogue_is_large_and_no_rule_is_without_a_mutation() -> None:
    assert len(MUTATIONS) >= 80
    made_to_fail = {mutation.rule for mutation in MUTATIONS.values() if mutation.rule}
    made_to_fail |= {rule for hostile in HOSTILE.values() for rule in hostile.rules[:1]}
    assert made_to_fail | set(SECOND_LOCKS) == set(messages())
    assert made_to_fail.isdisjoint(SECOND_LOCKS)


@pytest.mark.parametrize("name", sorted(MUTATIONS))
def test_what_is_spoiled_is_named(home: Platform, simulated: Path, tmp_path: Path, name: str) -> None:
    """On the first organisation that has something to spoil; `python -m tests.mutations` tries all."""
    for organisation in NEXT:
        if found := trial(name, organisation, home, simulated, tmp_path / organisation):
            assert found.is_named, found
            return
    pytest.fail("no organisation has anything to spoil")


def test_what_cannot_be_spoiled_stays_as_it_was(simulated: Path, tmp_path: Path) -> None:
    assert spoiled("manifest_encoding", "svg", simulated, tmp_path) is None
    (left,) = (path.parent for path in tmp_path.rglob("manifest.json"))
    good, kept = digests(delivery_in(simulated, "svg")), digests(left)
    assert {name: kept[name] for name in kept if name != "manifest.json"} == {
        name: good[name] for name in good if name != "manifest.json"
    }
