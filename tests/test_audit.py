"""The audit trail: one chain whoever writes, in which nothing can be changed, deleted, inserted, moved or cut off unseen."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from orchestration.audit import BEGINNING, Entry, NotAnAct, Sealing, entry_of, findings, next_entry, record, signed_on
from orchestration.cli import main
from orchestration.home import readings
from orchestration.ledger import Ledger
from orchestration.settings import Settings
from tests.conftest import Platform
from tests.writers import write


@pytest.fixture
def settings(settings_anywhere: Settings) -> Settings:
    """The trail is the same in SQLite and in PostgreSQL."""
    return settings_anywhere


def chain(length: int) -> list[Entry]:
    entries: list[Entry] = []
    for number in range(length):
        entries.append(next_entry(entries[-1] if entries else None, f"2026-01-0{number + 1}T00:00:00", "anna", "rule.waived", f"rule {number}", "said"))  # fmt: skip
    return entries


def kept(platform: Platform) -> list[Entry]:
    return [entry_of(row) for row in platform.ledger.audit()]


def found_in(platform: Platform) -> list[int]:
    return [finding.number for finding in findings(kept(platform), Sealing.of(platform.settings))]


def by_hand(platform: Platform, *statements: str) -> None:
    engine = sa.create_engine(platform.settings.ledger_location)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


@pytest.fixture
def recorded(platform: Platform) -> Platform:
    """A home with six entries: that of its key, and five more."""
    for number in range(5):
        record(platform.ledger, "rule.waived", f"rule {number}", "said", "anna")
    return platform


def test_an_act_is_recorded_with_who_when_what_why_and_the_entry_before(platform: Platform) -> None:
    entry = record(platform.ledger, "rule.waived", "rows.shrunk for rn", "the partner merged two offices")
    first, second = kept(platform)
    assert (first.what, first.before) == ("key.admitted", BEGINNING)
    assert second == entry
    assert (entry.number, entry.who, entry.before) == (2, signed_on(), first.hash)
    assert found_in(platform) == []


def test_what_is_typed_makes_no_second_line(platform: Platform) -> None:
    entry = record(platform.ledger, "rule.waived", "rows.shrunk\r for rn", "because\n   99  ghost  release.approved")
    assert entry.about == "rows.shrunk  for rn" and entry.why == "because    99  ghost  release.approved"
    assert kept(platform)[-1] == entry and found_in(platform) == []


@pytest.mark.parametrize(("what", "about"), [("waived", "rule"), ("Rule.Waived", "rule"), ("rule.waived", "  ")])
def test_an_act_has_a_name_and_is_about_something(ledger: Ledger, what: str, about: str) -> None:
    with pytest.raises(NotAnAct, match=r"thing\.done"):
        record(ledger, what, about)


@pytest.mark.parametrize("field", ["at", "who", "what", "about", "why", "before", "hash"])
def test_a_changed_byte_is_noticed_in_whichever_entry_and_place(field: str) -> None:
    entries = chain(4)
    assert findings(entries) == []
    for place, entry in enumerate(entries):
        text = getattr(entry, field)
        for at in range(len(text)):
            changed = replace(entry, **{field: text[:at] + ("x" if text[at] != "x" else "y") + text[at + 1 :]})
            found = findings([*entries[:place], changed, *entries[place + 1 :]])
            assert entry.number in [one.number for one in found]


def test_a_deleted_entry_is_named_by_its_number() -> None:
    entries = chain(5)
    for place in range(4):
        found = findings([*entries[:place], *entries[place + 1 :]])
        assert [(one.number, one.said) for one in found if "deleted" in one.said] == [(place + 1, "is not there: deleted")]  # fmt: skip


def test_entries_that_changed_places_are_both_named() -> None:
    entries = chain(5)
    for one in range(5):
        for other in range(one):
            moved = list(entries)
            moved[one] = replace(entries[other], number=entries[one].number)
            moved[other] = replace(entries[one], number=entries[other].number)
            assert {entries[one].number, entries[other].number} <= {item.number for item in findings(moved)}


def test_an_entry_that_is_written_anew_with_its_hash_is_noticed_by_the_one_after_it() -> None:
    entries = chain(4)
    forged = next_entry(entries[0], entries[1].at, "nobody", "rule.waived", "rule 1", "said")
    assert [one.number for one in findings([entries[0], forged, *entries[2:]])] == [3]


def test_an_inserted_entry_is_noticed_even_when_all_after_it_are_numbered_anew() -> None:
    entries = chain(4)
    extra = next_entry(entries[1], "2026-01-02T00:00:01", "nobody", "rule.waived", "slipped in", "")
    moved = [*entries[:2], extra, *(replace(entry, number=entry.number + 1) for entry in entries[2:])]
    assert {4, 5} <= {one.number for one in findings(moved)}


@pytest.mark.parametrize("left", range(6))
def test_a_tail_that_is_cut_off_is_noticed_by_the_seal(recorded: Platform, left: int) -> None:
    by_hand(recorded, f"delete from audit where number > {left}")
    assert findings(kept(recorded)) == []
    assert found_in(recorded) == [left + 1]


def test_a_chain_that_is_written_anew_is_noticed_by_the_seal(recorded: Platform) -> None:
    entries = kept(recorded)
    last: Entry | None = None
    anew = []
    for entry in entries:
        last = next_entry(last, entry.at, "nobody", entry.what, entry.about, entry.why)
        values = ", ".join(f"{name} = '{value}'" for name, value in asdict(last).items())
        anew.append(f"update audit set {values} where number = {last.number}")
    by_hand(recorded, *anew)
    assert findings(kept(recorded)) == []
    assert found_in(recorded) == [6]


def test_an_entry_that_is_added_by_hand_is_noticed_also_after_the_next_act(recorded: Platform) -> None:
    values = asdict(next_entry(kept(recorded)[-1], "2026-01-01T00:00:00", "nobody", "release.approved", "release 2026.1.0", ""))  # fmt: skip
    by_hand(recorded, f"insert into audit ({', '.join(values)}) values ({', '.join(repr(one) for one in values.values())})")  # fmt: skip
    assert found_in(recorded) == [7]
    record(recorded.ledger, "rule.waived", "rule 8")
    assert found_in(recorded) == [7]


@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: path.write_text("{}")], ids=["gone", "torn"])  # fmt: skip
def test_a_seal_that_is_gone_or_spoilt_is_noticed(recorded: Platform, spoil: Callable[[Path], None]) -> None:
    spoil(recorded.settings.audit_seal_path)
    assert found_in(recorded) == [0]


@pytest.mark.parametrize("field", ["number", "hash", "unsealed"])
def test_a_seal_cannot_be_written_without_the_key(recorded: Platform, field: str) -> None:
    path = recorded.settings.audit_seal_path
    content = json.loads(path.read_text())
    other = {"number": 3, "hash": kept(recorded)[2].hash, "unsealed": [2]}
    path.write_text(json.dumps({**content, field: other[field]}))
    assert found_in(recorded) == [0]
    record(recorded.ledger, "rule.waived", "rule 9")
    assert found_in(recorded) == [0]


def test_processes_that_write_at_once_make_one_chain(platform: Platform) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=write, args=(platform.settings, name, 15)) for name in "abc"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    entries = kept(platform)
    assert [entry.number for entry in entries] == list(range(1, 47))
    for name in "abc":
        assert [entry.about for entry in entries if entry.who == name] == [f"rule {number}" for number in range(15)]
    assert found_in(platform) == []


def test_writers_that_share_nothing_but_the_database_make_one_chain(platform: Platform) -> None:
    def acts(name: str) -> None:
        ledger = Ledger(platform.settings.ledger_location)  # as on another machine: no lock file, no seal
        for number in range(15):
            record(ledger, "rule.waived", f"rule {number}", who=name)
        ledger.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(acts, "abcd"))
    entries = kept(platform)
    assert [entry.number for entry in entries] == list(range(1, 62))
    assert findings(entries) == []


def test_what_a_ledger_does_is_recorded_in_the_same_transaction(ledger: Ledger) -> None:
    finding = {"rule": "value.range", "status": "failed", "severity": "error"}
    ledger.receive("a" * 64, "rn", "2024-Q1", "first", "seen")
    ledger.decide("a" * 64, "rejected", [finding, {**finding, "rule": "key.unique", "status": "passed"}])
    ledger.reopen("a" * 64)
    ledger.decide("a" * 64, "accepted", [])
    ledger.retract("a" * 64, "anna", "sent by mistake")
    ledger.record_build("b", "v", {})
    ledger.record_fit("f", "v", "mark")
    ledger.record_held_fit("g", "v", "a reason", ["benchmark"])
    ledger.record_signature("g", "f", "bert", "reviewed")
    ledger.record_signature("g", "f", "bert", "again")
    delivery = "delivery rn/2024-Q1/first (aaaaaaaa)"
    assert [(row["what"], row["about"], row["why"]) for row in ledger.audit()[1:]] == [
        ("delivery.rejected", delivery, "value.range"), ("delivery.reopened", delivery, ""), ("delivery.accepted", delivery, ""),
        ("delivery.retracted", delivery, "sent by mistake"), ("version.published", "version v", "build b"),
        ("fit.current", "fit f", "version v"), ("fit.held", "fit g", "benchmark"), ("fit.signed", "fit g against f", "reviewed"),
    ]  # fmt: skip
    assert [row["who"] for row in ledger.audit() if row["what"] in ("delivery.retracted", "fit.signed")] == [
        "anna",
        "bert",
    ]


def test_the_command_lists_and_verifies_and_says_by_its_exit_what_it_found(
    recorded: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DELICTVRIJ_HOME", str(recorded.settings.home_path))
    monkeypatch.setenv("DELICTVRIJ_KEY_FILE", str(recorded.settings.key_path))
    monkeypatch.setenv("DELICTVRIJ_LEDGER_URL", recorded.settings.ledger_location)
    run = CliRunner().invoke
    listed = run(main, ["audit", "--json"])
    assert (listed.exit_code, len(json.loads(listed.output)["entries"])) == (0, 6)
    whole = run(main, ["audit", "--verify"])
    assert whole.exit_code == 0
    assert "6 entries, each as it was written" in whole.output
    by_hand(recorded, "update audit set who = 'nobody' where number = 3")
    spoilt = run(main, ["audit", "--verify"])
    assert spoilt.exit_code == 1
    assert "entry 3 is not as it was written" in spoilt.output
    assert json.loads(run(main, ["audit", "--verify", "--json"]).output)["findings"][0]["number"] == 3


def test_a_ledger_of_before_has_no_trail_and_no_releases(platform: Platform) -> None:
    by_hand(platform, "drop table audit", "drop table release")
    assert readings(platform.settings).audit() == []
    assert readings(platform.settings).releases() == []
