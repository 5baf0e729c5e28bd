"""The one place from which people are told: what is seen becomes incidents on record, and those become messages that are sent.

One message for each incident, in the transaction that opens it; a repeat is counted. A message waits in the ledger until it is sent.
Nothing here starts anything else, and what cannot be sent stops nothing. Dagster is not known here: `automation.py` looks for it.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from orchestration.deliveries.contracts import Organisation
from orchestration.deliveries.periods import ZONE, local_day
from orchestration.ledger import now
from orchestration.releases.follow_up import follow_ups
from orchestration.stewards.alerts_file import DIGEST, TEST, Alerts, AlertsError, read_alerts
from orchestration.stewards.incidents import Problem, Seen, changes, seen_in_ledger
from orchestration.stewards.sending import Letter, NotSent, patiently, send_mail, send_webhook

if TYPE_CHECKING:
    from orchestration.ledger import Ledger
    from orchestration.settings import Settings

REMINDER = "reminder"
DIGEST_AT = (0, 8)  # weekday (Monday) and hour, in the Netherlands
IN_HANDS = timedelta(minutes=5)  # how long one who sends has for it before another tries
LONGEST_WAIT = timedelta(hours=1)
BUDGET_SECONDS = 30.0


@dataclass(frozen=True)
class Told:
    """What a look came to: incidents opened, repeated and closed, messages sent, and those that wait with a trouble."""

    opened: int = 0
    repeated: int = 0
    closed: int = 0
    sent: int = 0
    waiting: int = 0


def look_and_tell(
    settings: Settings,
    ledger: Ledger,
    contracts: Mapping[str, Organisation],
    also: Sequence[Seen] = (),
    at: datetime | None = None,
    sleep: Callable[[float], None] | None = None,
) -> Told:
    """Look at what the ledger says, and at what was seen elsewhere (`also`), and tell who is to be told. Raises AlertsError."""
    at = at or now()
    alerts = read_alerts(settings.alerts_file)
    seen = seen_in_ledger(settings, ledger, contracts, local_day(at), alerts.material_move)
    return tell(settings, ledger, alerts, (seen, *also), at, sleep, contracts)


def tell(
    settings: Settings,
    ledger: Ledger,
    alerts: Alerts,
    seen: Sequence[Seen],
    at: datetime,
    sleep: Callable[[float], None] | None = None,
    contracts: Mapping[str, Organisation] | None = None,
) -> Told:
    """Put what was seen on record, queue what is to be sent, and send what is due. With `contracts` the digest too."""
    opened = repeated = closed = 0
    for one in seen:
        found = changes(ledger.incidents(is_open=True), one)
        for problem in found.opened:
            opened += ledger.open_incident(_row(problem), at, _messages(alerts, problem.event, problem.event))
        rows = {row["id"]: row for row in ledger.incidents(is_open=True)}
        for incident, problem in (*found.repeated, *found.reminded):
            if incident not in rows:
                continue  # another process has just closed it
            is_repeat = problem.evidence != rows[incident]["evidence"]
            changed = {
                "facts": dict(problem.facts), "evidence": problem.evidence, "stage": max(problem.stage, rows[incident]["stage"]),
                "times": rows[incident]["times"] + is_repeat,
            }  # fmt: skip
            is_due = problem.stage > rows[incident]["stage"]
            reminder = _messages(alerts, problem.event, f"{REMINDER} {problem.stage}") if is_due else []
            ledger.repeat_incident(incident, changed, at, reminder)
            repeated += is_repeat
        for incident in found.closed:
            ledger.close_incident(incident, at)
            closed += 1
    if contracts is not None:
        _queue_digest(ledger, alerts, contracts, at)
    sent = send_due(settings, ledger, alerts, at, sleep)
    return Told(opened, repeated, closed, sent, len(ledger.messages(is_sent=False)))


def _row(problem: Problem) -> dict[str, Any]:
    return {
        "fingerprint": problem.fingerprint, "event": problem.event, "about": problem.about, "facts": dict(problem.facts),
        "evidence": problem.evidence, "stage": problem.stage,
    }  # fmt: skip


def _messages(alerts: Alerts, event: str, what: str) -> list[dict[str, Any]]:
    return [{"channel": channel, "event": what} for channel in alerts.channels(event)]


# sending ------------------------------------------------------------------------------------------------------------
def send_due(
    settings: Settings,
    ledger: Ledger,
    alerts: Alerts,
    at: datetime,
    sleep: Callable[[float], None] | None = None,
) -> int:
    """Send the messages that are due, oldest first; how many were sent.

    After a trouble that may pass, the rest of that channel waits too: 1, 2, 4 … minutes, at most an hour, for as long as it takes.
    What was refused is tried again once the alerts file is another, or a test message has gone the same way.
    """
    sent, resting, ends = 0, set[str](), time.monotonic() + BUDGET_SECONDS
    is_simulated = any(record.is_simulated for record in ledger.deliveries())
    for row in ledger.messages(is_sent=False):
        if row["next_at"] is None and row["tried_with"] != alerts.mark:
            ledger.requeue_message(row["id"], at)
        elif row["next_at"] is None or row["next_at"] > at:
            continue
        has_way = alerts.mail if row["channel"] == "mail" else alerts.webhook
        if has_way is None or row["channel"] in resting or time.monotonic() > ends:
            continue
        if not ledger.claim_message(row["id"], at, at + IN_HANDS):
            continue
        try:
            partly = patiently(functools.partial(_send, settings, alerts, row, is_simulated, at), sleep or time.sleep)
        except NotSent as trouble:
            again = at + min(timedelta(minutes=2 ** min(row["attempts"], 6)), LONGEST_WAIT)
            ledger.record_sending(row["id"], at, trouble.code, alerts.mark, again if trouble.is_transient else None)
            if trouble.is_transient:
                resting.add(row["channel"])
        except AlertsError:
            ledger.record_sending(row["id"], at, "alerts.secret", alerts.mark)
            resting.add(row["channel"])
        else:
            ledger.record_sending(row["id"], at, partly, alerts.mark, is_sent=True)
            sent += 1
    return sent


def _send(settings: Settings, alerts: Alerts, row: Mapping[str, Any], is_simulated: bool, at: datetime) -> str | None:
    """Send one message; a code where it reached some of its readers only. Raises NotSent and AlertsError."""
    letter = letter_of(settings, alerts, row, is_simulated)
    if row["channel"] == "mail":
        assert alerts.mail is not None  # noqa: S101 - `send_due` has looked
        return send_mail(alerts.mail, alerts.addresses(row["incident"] or row["event"]), letter, at)
    assert alerts.webhook is not None  # noqa: S101 - `send_due` has looked
    send_webhook(alerts.webhook, letter, at)
    return None


# wording ------------------------------------------------------------------------------------------------------------
@functools.cache
def wording(language: str) -> Mapping[str, Any]:
    """What messages say in a language (nl, en)."""
    content: Mapping[str, Any] = yaml.safe_load(
        (Path(__file__).parent / f"alerts.{language}.yml").read_text(encoding="utf-8")
    )
    return content


def letter_of(settings: Settings, alerts: Alerts, row: Mapping[str, Any], is_simulated: bool) -> Letter:
    """What is sent of a row of `message`: subject, text and content, from codes and the words of `alerts.<language>.yml`."""
    words, facts = wording(alerts.language), row["facts"]
    event = row["incident"] or row["event"]
    said = words["events"][event]
    about = row["about"] or facts.get("week", "")
    reminder = words["reminder"].format(days=row["event"].split()[1]) if row["event"].startswith(REMINDER) else ""
    marked = words["simulated"] if is_simulated else ""
    subject = " ".join(filter(None, (f"[{settings.project}]", marked, reminder, said["subject"].format(about=about))))
    lines = _digest_lines(words, facts) if event == DIGEST else list(_fact_lines(words, facts))
    where = words["where"].format(pages=alerts.pages or words["no_pages"])
    text = "\n\n".join(
        filter(None, (said["what"], "\n".join(lines), said["do"], marked and words["simulated_said"], where))
    )
    content = {
        "message": row["mark"], "project": settings.project, "event": row["event"], "incident": event, "about": about,
        "subject": subject, "facts": facts, "simulated": is_simulated,
    }  # fmt: skip
    return Letter(row["mark"], subject, text + "\n", content)


def _fact_lines(words: Mapping[str, Any], facts: Mapping[str, Any]) -> Iterator[str]:
    for name, value in facts.items():
        yield f"{words['facts'].get(name, name)}: {words['values'].get(str(value), value)}"


def _digest_lines(words: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    said = [words["digest"]["counts"].format(**facts["counts"])]
    for one in facts["open"]:
        what = words["events"][one["event"]]["subject"].format(about=one["about"])
        said.append(words["digest"]["open"].format(what=what, since=one["since"], times=one["times"]))
    said += [words["digest"]["follow_up"].format(**one, stands=words["values"].get(one["state"], one["state"])) for one in facts["follow_ups"]]  # fmt: skip
    return said


# digest, and trying it out ------------------------------------------------------------------------------------------
def week_of_digest(at: datetime) -> str:
    """The week whose digest is the last one due: it is written on Monday at eight, in the Netherlands, summer and winter."""
    local = at.replace(tzinfo=UTC).astimezone(ZONE)
    weekday, hour = DIGEST_AT
    is_early = local.weekday() == weekday and local.hour < hour
    year, week, _ = (local.date() - timedelta(days=1) if is_early else local.date()).isocalendar()
    return f"{year}-W{week:02d}"


def _queue_digest(ledger: Ledger, alerts: Alerts, contracts: Mapping[str, Organisation], at: datetime) -> None:
    """Queue the digest of the week where it is not yet on record: once, however many Mondays nobody looked."""
    week, channels = week_of_digest(at), alerts.channels(DIGEST)
    marks = {channel: f"{DIGEST} {week} {channel}" for channel in channels}
    if set(marks.values()) <= {row["mark"] for row in ledger.messages()}:
        return
    facts = digest(ledger, contracts, week, at)
    ledger.queue_messages(
        [{"mark": mark, "channel": channel, "event": DIGEST, "facts": facts} for channel, mark in marks.items()], at
    )


def digest(ledger: Ledger, contracts: Mapping[str, Organisation], week: str, at: datetime) -> dict[str, Any]:
    """What a week came to: counts of deliveries and incidents, what is open, and how far the yearly follow-up is."""
    since = at - timedelta(days=7)
    decided = [one for one in ledger.deliveries() if one.decided_at is not None and one.decided_at > since]
    is_open = ledger.incidents(is_open=True)
    closed = [row for row in ledger.incidents(is_open=False) if row["closed_at"] > since]
    asked = follow_ups(ledger, contracts)[-1:]
    return {
        "week": week,
        "counts": {
            "accepted": sum(one.status in ("accepted", "duplicate") for one in decided),
            "rejected": sum(one.status == "rejected" for one in decided),
            "open": len(is_open), "closed": len(closed), "unsent": len(ledger.messages(is_sent=False)),
        },
        "open": [
            {"event": row["event"], "about": row["about"], "since": row["opened_at"].date().isoformat(), "times": row["times"]}
            for row in is_open
        ],
        "follow_ups": [
            {"year": one.year, "asked_on": one.asked_at.date().isoformat(), "state": one.state} for one in asked
        ],
    }  # fmt: skip


def send_test(
    settings: Settings, ledger: Ledger, at: datetime | None = None, sleep: Callable[[float], None] | None = None
) -> list[tuple[str, str | None]]:
    """Send a test message by every way that is set, now: the way, and the code of what went wrong, or None. Raises AlertsError.

    Where it arrives, what was refused before is sent too: somebody has mended it.
    """
    at = at or now()
    alerts = read_alerts(settings.alerts_file)
    channels = alerts.channels(TEST)
    if not channels:
        raise AlertsError(
            "nobody is told anything: the setting `alerts` names a file with `mail` and `people`, or a `webhook`"
        )
    marks = {channel: f"{TEST} {at.isoformat()} {channel}" for channel in channels}
    ledger.queue_messages([{"mark": mark, "channel": channel, "event": TEST} for channel, mark in marks.items()], at)
    send_due(settings, ledger, alerts, at, sleep)
    came_of = {row["mark"]: row for row in ledger.messages()}
    arrived = {channel for channel, mark in marks.items() if came_of[mark]["sent_at"] is not None}
    for row in came_of.values():
        if row["channel"] in arrived:
            ledger.requeue_message(row["id"], at)
    send_due(settings, ledger, alerts, at, sleep)
    return [(channel, came_of[mark]["trouble"]) for channel, mark in marks.items()]
