"""A mail server and a webhook in this process, on the loopback address: what arrives is kept as it came."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult

from orchestration.stewards.alerts_file import STEWARD, Mail, Webhook
from tests.server.postgres import free_port

USER, PASSWORD, SECRET = "alerts", "a password of the tests only", "a secret of the tests only"
STEWARDS = ("steward@study.example", "second@study.example")
RECIPIENTS = {STEWARD: STEWARDS}


@dataclass
class Post:
    """What came to a server, in order; `answers` are given first, one for each try, before everything is accepted."""

    mail: Mail
    received: list[bytes] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    tries: int = 0
    refused: set[str] = field(default_factory=set)

    @property
    def messages(self) -> list[Message]:
        return [message_from_bytes(content, policy=default) for content in self.received]

    async def handle_RCPT(  # noqa: N802 - the name that aiosmtpd calls
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any
    ) -> str:
        if address in self.refused:
            return "550 5.1.1 nobody of that name"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802 - the name that aiosmtpd calls
        self, _server: Any, _session: Any, envelope: Any
    ) -> str:
        self.tries += 1
        if self.answers:
            return self.answers.pop(0)
        self.received.append(envelope.content)
        return "250 OK"


def secret_file(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    if not path.exists():
        path.write_text(content + "\n")
        path.chmod(0o400)
    return path


@contextmanager
def mail_server(
    folder: Path, certificate: tuple[Path, Path] | None = None, security: str = "starttls", port: int | None = None
) -> Iterator[Post]:
    """An SMTP server; with a certificate it asks for TLS and for a login, as a real one does."""
    port = port or free_port()
    terms: dict[str, Any] = {"host": "127.0.0.1", "port": port, "sender": "platform@study.example", "security": "none"}
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        terms |= {
            "security": security, "authority_file": certificate[0], "user": USER,
            "password_file": secret_file(folder, "password", PASSWORD),
        }  # fmt: skip
    post = Post(Mail(**terms))

    def login(_server: SMTP, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        return AuthResult(handled=False, success=(data.login, data.password) == (USER.encode(), PASSWORD.encode()))

    is_later = security == "starttls"
    controller = Controller(
        post, hostname="127.0.0.1", port=port, authenticator=login if context else None, auth_required=bool(context),
        tls_context=context if is_later else None, require_starttls=bool(context) and is_later,
        ssl_context=None if is_later else context, auth_require_tls=is_later,
    )  # fmt: skip
    controller.start()
    try:
        yield post
    finally:
        controller.stop()


@dataclass
class Hook:
    """What was posted to a webhook: headers and body; `answers` are status codes given first."""

    webhook: Webhook
    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)

    @property
    def contents(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.received]


@contextmanager
def webhook_server(folder: Path) -> Iterator[Hook]:
    """An HTTP server that takes what is posted."""

    class Taking(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = hook.answers.pop(0) if hook.answers else 204
            if status == 204:
                hook.received.append((dict(self.headers), body))
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/elsewhere")
            self.end_headers()

        def do_GET(self) -> None:  # where a redirect leads
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Taking)
    url = f"http://127.0.0.1:{server.server_address[1]}/alerts"
    hook = Hook(Webhook(url=url, secret_file=secret_file(folder, "secret", SECRET)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hook
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def alerts_file(folder: Path, mail: Mail | None = None, webhook: Webhook | None = None, **also: Any) -> Path:
    """An alerts file as a person writes it."""
    import yaml

    content: dict[str, Any] = {"people": {name: list(addresses) for name, addresses in RECIPIENTS.items()}, **also}
    for name, way in (("mail", mail), ("webhook", webhook)):
        if way is not None:
            content[name] = way.model_dump(mode="json", exclude_none=True)
    path = folder / "alerts.yml"
    path.write_text(yaml.safe_dump(content))
    return path
