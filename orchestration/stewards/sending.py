"""Sends one message by mail or webhook. What goes wrong comes out as `NotSent` with a code, and whether it may pass by itself; what
a server says is never repeated."""

from __future__ import annotations

import hashlib
import hmac
import json
import smtplib
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import Any

from orchestration.stewards.alerts_file import AlertsError, Mail, Webhook, secret_in

TRIES = 3
SECONDS = 5.0  # for one answer: what starts this has a minute for everything
SIGNATURE, STAMP, MARK = "X-Delictvrij-Signature", "X-Delictvrij-Timestamp", "X-Delictvrij-Message"

WHY = {
    "mail.unreachable": "the mail server does not answer, or the connection broke off",
    "mail.later": "the mail server asks to try again later",
    "mail.certificate": "the mail server's certificate is not valid or not trusted; nothing was sent to it",
    "mail.no_tls": "the mail server does not encrypt; nothing was sent to it",
    "mail.denied": "the mail server does not accept the user or the password",
    "mail.refused": "the mail server refuses the message, its sender or every recipient",
    "mail.some_refused": "sent, but the mail server refuses some of the recipients",
    "webhook.unreachable": "the webhook does not answer, or the connection broke off",
    "webhook.later": "the webhook asks to try again later",
    "webhook.certificate": "the webhook's certificate is not valid or not trusted; nothing was sent to it",
    "webhook.refused": "the webhook refuses the message",
    "alerts.secret": "the secret file cannot be used",
}


class NotSent(Exception):
    """A message was not sent; `code` says why, `is_transient` whether another try may help."""

    def __init__(self, code: str, *, is_transient: bool = False) -> None:
        self.code, self.is_transient = code, is_transient
        super().__init__(f"{code}: {WHY[code]}")


@dataclass(frozen=True)
class Letter:
    """What is sent: a mark that is this message's alone, subject and text for people, content for machines."""

    mark: str
    subject: str
    text: str
    content: Mapping[str, Any]


def patiently(send: Callable[[], str | None], sleep: Callable[[float], None] = time.sleep) -> str | None:
    """Send, and try again after 1 and 2 seconds where that may help. Raises NotSent after the third try, or at once."""
    from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

    may_pass = retry_if_exception(lambda error: isinstance(error, NotSent) and error.is_transient)
    return Retrying(
        retry=may_pass, stop=stop_after_attempt(TRIES), wait=wait_exponential(multiplier=1, max=30), sleep=sleep, reraise=True,
    )(send)  # fmt: skip


# mail ---------------------------------------------------------------------------------------------------------------
def send_mail(mail: Mail, to: tuple[str, ...], letter: Letter, at: datetime) -> str | None:
    """Send a letter to addresses; a code where some of them were refused. Raises NotSent and AlertsError."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = mail.sender, ", ".join(to), letter.subject
    message["Date"] = format_datetime(at.replace(tzinfo=UTC))
    message["Message-ID"] = (
        f"<{hashlib.sha256(letter.mark.encode()).hexdigest()[:32]}@{mail.sender.rpartition('@')[2]}>"
    )
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(letter.text)
    password = secret_in(mail.password_file) if mail.password_file else None
    trusted = _trusted(mail.authority_file)
    with (
        _mail_told(),
        (
            smtplib.SMTP_SSL(mail.host, mail.port, timeout=SECONDS, context=trusted)
            if mail.security == "tls"
            else smtplib.SMTP(mail.host, mail.port, timeout=SECONDS)
        ) as server,
    ):
        if mail.security == "starttls":
            server.starttls(context=trusted)
        if mail.user is not None and password is not None:
            server.login(mail.user, password)
        return "mail.some_refused" if server.send_message(message) else None


@contextmanager
def _mail_told() -> Iterator[None]:
    """What smtplib raises, as a code."""
    try:
        yield
    except ssl.SSLCertVerificationError:
        raise NotSent("mail.certificate") from None
    except smtplib.SMTPNotSupportedError:
        raise NotSent("mail.no_tls") from None
    except smtplib.SMTPRecipientsRefused as refused:
        later = any(400 <= code < 500 for code, _ in refused.recipients.values())
        raise NotSent("mail.later" if later else "mail.refused", is_transient=later) from None
    except smtplib.SMTPResponseException as answered:
        if 400 <= answered.smtp_code < 500:
            raise NotSent("mail.later", is_transient=True) from None
        is_login = isinstance(answered, smtplib.SMTPAuthenticationError)
        raise NotSent("mail.denied" if is_login else "mail.refused") from None
    except (smtplib.SMTPException, OSError):
        raise NotSent("mail.unreachable", is_transient=True) from None


# webhook ------------------------------------------------------------------------------------------------------------
def send_webhook(webhook: Webhook, letter: Letter, at: datetime) -> None:
    """Post a letter's content as JSON, signed with its moment. Raises NotSent and AlertsError."""
    import httpx

    body = json.dumps(dict(letter.content), sort_keys=True, ensure_ascii=False).encode()
    stamp = str(int(at.replace(tzinfo=UTC).timestamp()))
    headers = {
        "Content-Type": "application/json", MARK: letter.mark, STAMP: stamp,
        SIGNATURE: f"sha256={signature(secret_in(webhook.secret_file), stamp, body)}",
    }  # fmt: skip
    try:
        answer = httpx.post(
            webhook.url, content=body, headers=headers, timeout=SECONDS, follow_redirects=False, trust_env=False,
            verify=_trusted(webhook.authority_file),
        )  # fmt: skip
    except httpx.TransportError as error:
        if _is_certificate(error):
            raise NotSent("webhook.certificate") from None
        raise NotSent("webhook.unreachable", is_transient=True) from None
    if not answer.is_success:
        later = answer.status_code in (408, 425, 429) or answer.status_code >= 500
        raise NotSent("webhook.later" if later else "webhook.refused", is_transient=later)


def signature(secret: str, stamp: str, body: bytes) -> str:
    """HMAC-SHA-256 over the moment (seconds since 1970), a point and the body, in hex: what the receiver computes too."""
    return hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _trusted(authority: Path | None) -> ssl.SSLContext:
    if authority is not None and not authority.is_file():
        raise AlertsError(f"there is no file {authority}, which the alerts file names")
    return ssl.create_default_context(cafile=None if authority is None else str(authority))


def _is_certificate(error: BaseException | None) -> bool:
    """Whether a certificate is at the bottom of an error."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
