"""One message for each incident: opened, repeated, reminded of, closed; never lost, and no value of a person in it."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from orchestration.cli import main
from orchestration.deliveries.contracts import Organisation
from orchestration.deliveries.ingest import ingest
from orchestration.deliveries.periods import ZONE
from orchestration.files import swap_link, write_json
from orchestration.ledger import Ledger
from orchestration.simulation.mutations import mutate
from orchestration.stewards.alerts import (
    IN_HANDS,
    Told,
    letter_of,
    look_and_tell,
    send_due,
    tell,
    week_of_digest,
    wording,
)
from orchestration.stewards.alerts_file import DIGEST, TEST, Alerts, Mail, read_alerts
from orchestration.stewards.incidents import (
    EVENTS,
    OF_CHECKS,
    OF_LEDGER,
    OF_RUNS,
    Problem,
    Seen,
    changes,
    plain,
    seen_in_ledger,
)
from orchestration.stewards.sending import WHY
from tests.conftest import Platform
from tests.deliveries.making import deliver, delivery_in
from tests.deliveries.test_canaries import CANARIES, _plant_everywhere
from tests.stewards.servers import STEWARDS, alerts_file, free_port, mail_server, webhook_server
from tests.test_cli import environment

AT = datetime(2026, 3, 3, 8)  # a Tuesday
NIGHT = timedelta(days=1)
RUNS = frozenset({"run_failed"})


def quiet(mail: Mail) -> Alerts:
    """Mail of everything but the digest."""
    return Alerts(language="en", mail=mail, people={"steward": STEWARDS}, quiet=frozenset({DIGEST}))


def failed(run: str, about: str = "deliver_rn 2025-10") -> Seen:
    return Seen(RUNS, (Problem("run_failed", about, {"job": "deliver_rn", "run": run}, run),))


NOTHING = Seen(RUNS, ())


# incidents ----------------------------------------------------------------------------------------------------------
def test_an_incident_is_told_once_counted_when_it_repeats_and_new_again_after_it_was_over(
    platform: Platform, tmp_path: Path
) -> None:
    with mail_server(tmp_path) as post:
        alerts = quiet(post.mail)
        came_of = [
            tell(platform.settings, platform.ledger, alerts, [seen], AT + number * NIGHT)
            for number, seen in enumerate([failed("a"), failed("a"), failed("b"), failed("c"), NOTHING, failed("d")])
        ]
    one = Told(opened=1, sent=1)
    again = Told(repeated=1)
    assert came_of == [one, Told(), again, again, Told(closed=1), one]
    assert [message["Subject"] for message in post.messages] == ["[delictvrij] run failed: deliver_rn 2025-10"] * 2
    old, new = platform.ledger.incidents()
    assert (old["times"], old["evidence"], old["opened_at"], old["closed_at"]) == (3, "c", AT, AT + 4 * NIGHT)
    assert (new["times"], new["closed_at"]) == (1, None)


def test_what_is_the_matter_elsewhere_stays_as_it_is(platform: Platform) -> None:
    both = Seen(RUNS, (*failed("a").problems, *failed("b", "fetch").problems))
    assert tell(platform.settings, platform.ledger, Alerts(), [both], AT) == Told(opened=2)
    assert tell(platform.settings, platform.ledger, Alerts(), [Seen(OF_CHECKS, ())], AT + NIGHT) == Told()
    assert tell(platform.settings, platform.ledger, Alerts(), [failed("a")], AT + NIGHT) == Told(closed=1)
    assert [row["about"] for row in platform.ledger.incidents(is_open=True)] == ["deliver_rn 2025-10"]


def test_two_who_look_at_once_open_one_incident(platform: Platform) -> None:
    problem = failed("a").problems[0]
    row = {"fingerprint": problem.fingerprint, "event": problem.event, "about": problem.about, "facts": {}, "evidence": "a", "stage": 0}  # fmt: skip
    message = [{"channel": "mail", "event": problem.event}]
    assert [platform.ledger.open_incident(row, AT, message) for _ in range(2)] == [True, False]
    assert len(platform.ledger.messages()) == 1


def test_a_late_delivery_is_reminded_of_after_1_7_and_14_days_and_once_when_nobody_looked(
    platform: Platform, contracts: Mapping[str, Organisation]
) -> None:
    settings = platform.settings.model_copy(update={"first_quarter": "2027-Q4", "first_registry_year": 2027})
    alerts = quiet(Mail(host="127.0.0.1", port=free_port(), security="none", sender="p@study.example"))
    due = date(2028, 2, 14)  # 45 days after 31 December, in a leap year

    def stages(days: int, ledger: Ledger) -> list[str]:
        at = datetime.combine(due + timedelta(days=days), datetime.min.time()) + timedelta(hours=9)
        seen = seen_in_ledger(settings, ledger, contracts, at.date(), 1.0)
        tell(settings, ledger, alerts, [seen], at, sleep=lambda _: None)
        return [row["event"] for row in ledger.messages() if row["about"] == "rn 2027-Q4"]

    found = {days: len(stages(days, platform.ledger)) for days in (0, 1, 2, 6, 7, 8, 13, 14)}
    assert found == {0: 0, 1: 1, 2: 1, 6: 1, 7: 2, 8: 2, 13: 2, 14: 3}
    assert stages(15, platform.ledger) == ["overdue", "reminder 7", "reminder 14"]

    other = Ledger(f"sqlite:///{settings.home_path / 'other.sqlite'}")
    other.create()
    assert [len(stages(days, other)) for days in (9, 20)] == [1, 2]  # the reminder of day 14, once


@pytest.mark.parametrize("event", sorted(OF_LEDGER | OF_RUNS | OF_CHECKS))
def test_changes_close_what_is_not_seen_and_touch_nothing_else(event: str) -> None:
    known = [{"id": 1, "fingerprint": Problem(event, "x").fingerprint, "event": event, "stage": 0, "evidence": ""}]
    assert changes(known, Seen(frozenset({event}), ())).closed == (1,)
    assert changes(known, Seen(EVENTS - {event}, ())).closed == ()
    assert changes(known, Seen(frozenset({event}), (Problem(event, "x"),))) == changes([], NOTHING)


# what the ledger tells ----------------------------------------------------------------------------------------------
def test_a_rejected_delivery_is_an_incident_until_a_good_one_comes(
    settled: Platform, contracts: Mapping[str, Organisation]
) -> None:
    settings, ledger = settled.settings, settled.ledger
    source = delivery_in(settings.inbox_path, "rn")

    def blocked() -> list[str]:
        seen = seen_in_ledger(settings, ledger, contracts, date(2026, 1, 10), 1.0)
        return [f"{one.about}: {one.facts['rules']}" for one in seen.problems if one.event == "gate_failed"]

    assert blocked() == []
    spoiled = deliver(source, settings.inbox_path, "spoiled", "2026-Q1")
    mutate(spoiled, "wrong_hash")
    assert ingest(spoiled, settings, ledger).status == "rejected"
    assert blocked() == ["rn 2026-Q1: file.hash"]
    assert ingest(deliver(source, settings.inbox_path, "good", "2026-Q1", 2), settings, ledger).status != "rejected"
    assert blocked() == []


def test_a_source_that_fails_is_an_incident_until_it_is_fetched_from(
    platform: Platform, contracts: Mapping[str, Organisation]
) -> None:
    found = []
    for trouble in ("source.timeout", "source.denied", None):
        platform.ledger.record_fetching("rn", AT, trouble, 0, 0)
        seen = seen_in_ledger(platform.settings, platform.ledger, contracts, date(2022, 1, 2), 1.0)
        found.append([one.facts["trouble"] for one in seen.problems])
    assert found == [["source.timeout"], ["source.denied"], []]


def test_a_fit_that_is_held_and_a_draft_that_waits_are_told_and_a_move_when_it_is_large_enough(
    platform: Platform, contracts: Mapping[str, Organisation]
) -> None:
    settings, ledger = platform.settings, platform.ledger

    def seen(move: float = 1.0) -> dict[str, str]:
        problems = seen_in_ledger(settings, ledger, contracts, date(2022, 1, 2), move).problems
        return {one.event: one.about for one in problems}

    ledger.record_fit("aaaa", "v1", "")
    write_json(settings.fits / "aaaa.changes.json", {"old_fit": "0000", "largest_move_in_std_errors": 1.4})
    swap_link(settings.fits / "current", "aaaa")
    assert seen() == {"material_change": "fit aaaa"}
    assert seen(1.5) == {}
    ledger.record_held_fit("bbbb", "v2", "a risk moved", ["reference_predictions"])
    ledger.record_draft(
        {"tag": "2026.1.0", "version_id": "v1", "fit_id": "aaaa", "after": None, "manifest_sha256": ""}, "x"
    )
    assert seen(1.5) == {"fit_held": "fit bbbb", "release_waiting": "release 2026.1.0"}
    ledger.decide_release("2026.1.0", "approved", "y", "")
    assert seen() == {"fit_held": "fit bbbb"}  # somebody has looked at what moved


# never lost ---------------------------------------------------------------------------------------------------------
def test_a_message_waits_for_a_server_that_is_away_longer_each_time_and_is_then_sent(
    platform: Platform, tmp_path: Path
) -> None:
    port = free_port()
    alerts = quiet(Mail(host="127.0.0.1", port=port, security="none", sender="p@study.example"))
    settings, ledger = platform.settings, platform.ledger
    waits, at = [], AT
    for seen in ([failed("a")], [], [], []):
        assert tell(settings, ledger, alerts, seen, at, sleep=lambda _: None).waiting == 1
        (row,) = ledger.messages(is_sent=False)
        assert row["trouble"] == "mail.unreachable"
        waits.append((row["next_at"] - at).total_seconds() / 60)
        assert send_due(settings, ledger, alerts, row["next_at"] - timedelta(seconds=1)) == 0
        at = row["next_at"]
    assert waits == [1, 2, 4, 8]
    with mail_server(tmp_path, port=port) as post:
        assert send_due(settings, ledger, alerts, at) == 1
    assert len(post.received) == 1
    (row,) = ledger.messages()
    assert (row["attempts"], row["sent_at"], row["trouble"]) == (5, at, None)


def test_what_was_refused_is_sent_once_the_file_is_another_and_not_before(platform: Platform, tmp_path: Path) -> None:
    settings, ledger = platform.settings, platform.ledger
    with mail_server(tmp_path) as post:
        post.refused = {STEWARDS[0]}
        alerts = quiet(post.mail).model_copy(update={"people": {"steward": STEWARDS[:1]}})
        assert tell(settings, ledger, alerts, [failed("a")], AT) == Told(opened=1, waiting=1)
        assert send_due(settings, ledger, alerts, AT + 30 * NIGHT) == 0
        assert ledger.messages()[0]["attempts"] == 1
        mended = alerts.model_copy(update={"people": {"steward": STEWARDS[1:]}})
        assert send_due(settings, ledger, mended, AT + 31 * NIGHT) == 1
    assert post.messages[0]["To"] == STEWARDS[1]


def test_who_has_a_message_in_hands_keeps_it_from_others_until_he_has_been_away_too_long(platform: Platform) -> None:
    alerts = quiet(Mail(host="127.0.0.1", port=free_port(), security="none", sender="p@study.example"))
    tell(platform.settings, platform.ledger, alerts.model_copy(update={"mail": None}), [], AT)
    platform.ledger.queue_messages([{"mark": "m", "channel": "mail", "event": TEST}], AT)
    claim = platform.ledger.claim_message
    later = AT + IN_HANDS
    assert [claim(1, AT, later), claim(1, AT + timedelta(minutes=1), later), claim(1, later, later + IN_HANDS)] == [True, False, True]  # fmt: skip


def test_a_secret_that_is_gone_keeps_messages_and_stops_nothing(platform: Platform, tmp_path: Path) -> None:
    with webhook_server(tmp_path) as hook:
        lost = Alerts(webhook=hook.webhook.model_copy(update={"secret_file": tmp_path / "gone"}))
        assert tell(platform.settings, platform.ledger, lost, [failed("a")], AT) == Told(opened=1, waiting=1)
        assert platform.ledger.messages()[0]["trouble"] == "alerts.secret"
        assert send_due(platform.settings, platform.ledger, Alerts(webhook=hook.webhook), AT + NIGHT) == 1
    assert [content["incident"] for content in hook.contents] == ["run_failed"]


# digest -------------------------------------------------------------------------------------------------------------
def test_a_digest_comes_each_monday_at_eight_over_summer_and_winter_time_once_for_weeks_that_nobody_looked(
    settled: Platform, contracts: Mapping[str, Organisation], tmp_path: Path
) -> None:
    weeks, at = [], datetime(2026, 1, 1)
    while at < datetime(2033, 1, 1):
        if not weeks or week_of_digest(at) != weeks[-1][0]:
            weeks.append((week_of_digest(at), at.replace(tzinfo=UTC).astimezone(ZONE)))
        at += timedelta(hours=1)
    assert {(local.weekday(), local.hour) for _, local in weeks[1:]} == {(0, 8)}
    assert len(weeks) == len({week for week, _ in weeks}) == 366  # 365 Mondays, and the week that ran

    with webhook_server(tmp_path) as hook:
        settings = settled.settings.model_copy(
            update={"alerts": alerts_file(tmp_path, webhook=hook.webhook, language="en")}
        )
        for when in (AT, AT + 3 * NIGHT, AT + 30 * NIGHT, AT + 30 * NIGHT):
            look_and_tell(settings, settled.ledger, contracts, at=when)
    digests = [content for content in hook.contents if content["incident"] == DIGEST]
    assert [content["about"] for content in digests] == ["2026-W10", "2026-W14"]
    assert digests[0]["facts"]["counts"]["open"] == len(settled.ledger.incidents())
    assert all("SIMULATED" in content["subject"] and content["simulated"] for content in hook.contents)


# wording, and nobody's data -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("language", ["nl", "en"])
def test_every_event_has_words_in_both_languages_and_every_fact_a_name(language: str) -> None:
    words, other = wording(language), wording("en")
    assert set(words["events"]) == EVENTS | {DIGEST, TEST}
    for part in ("facts", "values", "digest", "events"):
        assert set(words[part]) == set(other[part])
    assert all(set(said) == {"subject", "what", "do"} for said in words["events"].values())
    assert all(code.partition(".")[0] in ("mail", "webhook", "alerts") for code in WHY)


def test_a_mail_says_in_dutch_what_is_the_matter_and_what_to_do(platform: Platform) -> None:
    row = {
        "mark": "1", "incident": "overdue", "event": "reminder 7", "about": "rn 2025-Q4", "channel": "mail",
        "facts": {"organisation": "rn", "period": "2025-Q4", "days": 8, "state": "late"},
    }  # fmt: skip
    letter = letter_of(platform.settings, Alerts(), row, is_simulated=True)
    assert letter.subject == "[delictvrij] [SIMULATED] [herinnering, dag 7] levering te laat: rn 2025-Q4"
    assert "dagen te laat: 8\nstand: niet ontvangen" in letter.text
    assert "Vraag de organisatie wanneer zij komt" in letter.text


def test_names_that_are_no_codes_are_not_told() -> None:
    assert [plain(name) for name in ("rn-2025.1", "Jan\nJansen", "é", "")] == ["rn-2025.1", "?", "?", "?"]


def test_no_value_of_a_person_is_in_a_message_or_an_incident(
    settled: Platform, contracts: Mapping[str, Organisation], tmp_path: Path
) -> None:
    settings, ledger = settled.settings, settled.ledger
    for organisation, spoil in (
        ("rn", _plant_everywhere),
        ("registry", lambda planted: mutate(planted, "unknown_code")),
    ):
        planted = deliver(delivery_in(settings.inbox_path, organisation), settings.inbox_path, "planted", sequence=2)
        spoil(planted)
        assert ingest(planted, settings, ledger).status == "rejected"
    with mail_server(tmp_path) as post, webhook_server(tmp_path) as hook:
        file = alerts_file(tmp_path, post.mail, hook.webhook, language="en")
        told = look_and_tell(settings.model_copy(update={"alerts": file}), ledger, contracts, at=AT)
    assert told.opened >= 2 and told.sent == len(post.received) + len(hook.received) >= 6
    with sqlite3.connect(settings.ledger_file) as connection:
        kept = [str(row) for table in ("incident", "message") for row in connection.execute(f"select * from {table}")]
    sent = [message.as_string() + str(message.get_content()) for message in post.messages]  # type: ignore[attr-defined]
    texts = [*kept, *sent, *(json.dumps(content, ensure_ascii=False) for content in hook.contents)]
    assert [canary for canary in CANARIES if any(canary in text for text in texts if len(canary) > 6)] == []
    people = {name for path in settings.raw.rglob("*.parquet") for name in _pseudonyms(path)}
    assert len(people) > 20
    assert not any(person in text for text in texts for person in people)


def _pseudonyms(path: Path) -> set[str]:
    import pyarrow.parquet as pq

    values = (str(value) for column in pq.read_table(path).columns for value in column.to_pylist())
    return {value for value in values if re.fullmatch(r"[0-9a-f]{32}", value)}


# the commands -------------------------------------------------------------------------------------------------------
def test_people_try_out_their_alerts_and_see_what_is_open_and_what_was_not_sent(
    platform: Platform, tmp_path: Path
) -> None:
    def run(*words: str, **also: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["alerts", *words], env={**environment(platform.settings), **also})
        return result.exit_code, result.output

    code, said = run("test")
    assert code == 1 and "setting `alerts`" in said
    with mail_server(tmp_path) as post:
        post.refused = set(STEWARDS)
        file = {"DELICTVRIJ_ALERTS": str(alerts_file(tmp_path, post.mail, language="en"))}
        tell(platform.settings, platform.ledger, read_alerts(Path(file["DELICTVRIJ_ALERTS"])), [failed("a")], AT)
        assert run("test", **file) == (1, f"mail: mail.refused: {WHY['mail.refused']}\n")
        code, said = run("list")
        assert "run_failed" in said and "seen 1 times  open" in said
        assert "not sent by mail: run_failed deliver_rn 2025-10 (1 tries; mail.refused" in said
        post.refused = set()
        assert run("test", **file) == (0, "mail: sent\n")
    assert [message["Subject"] for message in post.messages] == [
        "[delictvrij] test message", "[delictvrij] run failed: deliver_rn 2025-10", "[delictvrij] test message",
    ]  # fmt: skip
    assert "not sent" not in run("list")[1]
    assert len(json.loads(run("list", "--json")[1])["messages"]) == 3
