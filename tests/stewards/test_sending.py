"""Messages over real servers: what arrives, what is refused, and what is tried again."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestration.stewards.alerts_file import Mail
from orchestration.stewards.sending import (
    MARK,
    SIGNATURE,
    STAMP,
    TRIES,
    Letter,
    NotSent,
    patiently,
    send_mail,
    send_webhook,
    signature,
)
from tests.certificates import certificate_in
from tests.stewards.servers import SECRET, STEWARDS, free_port, mail_server, secret_file, webhook_server

AT = datetime(2026, 3, 2, 8)
LETTER = Letter(
    "7 overdue mail", "[delictvrij] levering te laat: rn 2025-Q4", "Eén regel, hoe kort ook.\n", {"event": "overdue"}
)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate_in(tmp_path_factory.mktemp("tls"), datetime.now(UTC) + timedelta(days=20))


def code_of(send: Callable[[], object]) -> tuple[str, bool]:
    with pytest.raises(NotSent) as error:
        send()
    return error.value.code, error.value.is_transient


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_mail_arrives_encrypted_and_after_a_login(
    tmp_path: Path, certificate: tuple[Path, Path], security: str
) -> None:
    with mail_server(tmp_path, certificate, security) as post:
        assert send_mail(post.mail, STEWARDS, LETTER, AT) is None
    (message,) = post.messages
    assert (message["Subject"], message["To"]) == (LETTER.subject, ", ".join(STEWARDS))
    assert message["Auto-Submitted"] == "auto-generated"
    assert message.get_content().strip() == LETTER.text.strip()  # type: ignore[attr-defined]


def test_the_same_message_sent_twice_has_one_id(tmp_path: Path) -> None:
    with mail_server(tmp_path) as post:
        send_mail(post.mail, STEWARDS, LETTER, AT)
        send_mail(post.mail, STEWARDS, LETTER, AT + timedelta(hours=1))
    first, second = (message["Message-ID"] for message in post.messages)
    assert first == second


def test_what_stands_in_the_way_of_a_mail_is_told_by_a_code(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    with mail_server(tmp_path, certificate) as post:
        wrong = secret_file(tmp_path, "wrong", "not it")
        as_stranger = post.mail.model_copy(update={"password_file": wrong})
        assert code_of(lambda: send_mail(as_stranger, STEWARDS, LETTER, AT)) == ("mail.denied", False)
        untrusted = post.mail.model_copy(update={"authority_file": None})
        assert code_of(lambda: send_mail(untrusted, STEWARDS, LETTER, AT)) == ("mail.certificate", False)
        assert post.tries == 0
    with mail_server(tmp_path) as plain:
        asks_for_tls = plain.mail.model_copy(update={"security": "starttls"})
        assert code_of(lambda: send_mail(asks_for_tls, STEWARDS, LETTER, AT)) == ("mail.no_tls", False)
        plain.answers = ["451 4.7.1 greylisted", "554 5.7.1 no"]
        assert code_of(lambda: send_mail(plain.mail, STEWARDS, LETTER, AT)) == ("mail.later", True)
        assert code_of(lambda: send_mail(plain.mail, STEWARDS, LETTER, AT)) == ("mail.refused", False)
        plain.refused = {STEWARDS[0]}
        assert send_mail(plain.mail, STEWARDS, LETTER, AT) == "mail.some_refused"
        plain.refused = set(STEWARDS)
        assert code_of(lambda: send_mail(plain.mail, STEWARDS, LETTER, AT)) == ("mail.refused", False)
    nobody = Mail(host="127.0.0.1", port=free_port(), security="none", sender="platform@study.example")
    assert code_of(lambda: send_mail(nobody, STEWARDS, LETTER, AT)) == ("mail.unreachable", True)


def test_a_webhook_gets_json_that_it_can_check_came_from_here(tmp_path: Path) -> None:
    with webhook_server(tmp_path) as hook:
        send_webhook(hook.webhook, LETTER, AT)
        ((headers, body),) = hook.received
        assert json.loads(body) == {"event": "overdue"}
        assert headers[MARK] == LETTER.mark
        assert headers[STAMP] == str(int(AT.replace(tzinfo=UTC).timestamp()))
        assert headers[SIGNATURE] == f"sha256={signature(SECRET, headers[STAMP], body)}"
        assert headers[SIGNATURE] != f"sha256={signature('another', headers[STAMP], body)}"
        hook.answers = [503, 429, 403, 302]
        codes = [code_of(lambda: send_webhook(hook.webhook, LETTER, AT)) for _ in range(4)]
    later, refused = ("webhook.later", True), ("webhook.refused", False)
    assert codes == [later, later, refused, refused]  # it goes nowhere but where the file says
    assert code_of(lambda: send_webhook(hook.webhook, LETTER, AT)) == ("webhook.unreachable", True)


def test_only_what_may_pass_by_itself_is_tried_again_and_three_times_at_most() -> None:
    waited: list[float] = []
    for code, is_transient, tries in (("mail.later", True, TRIES), ("mail.refused", False, 1)):
        tried: list[int] = []

        def send(code: str = code, is_transient: bool = is_transient, tried: list[int] = tried) -> None:
            tried.append(1)
            raise NotSent(code, is_transient=is_transient)

        with pytest.raises(NotSent):
            patiently(send, waited.append)
        assert len(tried) == tries
    assert waited == [1.0, 2.0]
