"""The audit of packages: what is known is a failure unless somebody accepted it, and silence is said to be silence."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.upkeep.audit import ACCEPTED, Accepted, NotAccepted, accepted, judged, look_up, pinned

LOCK = "bad-package==1.0 \\\n    --hash=sha256:{0}\ngood-package==2.0 \\\n    --hash=sha256:{0}\n".format("0" * 64)
TODAY = date(2026, 6, 1)


@contextmanager
def osv_service() -> Iterator[str]:
    """A service of the OSV form on this machine, which knows one thing against `bad-package`."""

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known = [{"id": "PYSEC-1", "affected": [], "details": "", "aliases": []}]
            content = json.dumps({"vulns": known} if asked["package"]["name"] == "bad-package" else {}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_what_is_known_is_found_and_what_cannot_be_asked_is_said(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text(LOCK)
    with osv_service() as url:
        found = look_up(lock, "--vulnerability-service", "osv", "--osv-url", url)
    assert (found.asked, found.unanswered, found.known) == (2, (), (("bad-package", "PYSEC-1"),))
    silent = look_up(lock, "--vulnerability-service", "osv", "--osv-url", url)  # nobody is there any more
    assert (silent.asked, silent.unanswered, silent.known) == (2, ("bad-package", "good-package"), ())
    for until, wrong in ((date(2026, 6, 1), 0), (date(2026, 5, 31), 1)):
        assert len(judged(found, [Accepted("PYSEC-1", "unused", until)], TODAY)) == wrong
    assert judged(found, [], TODAY) == ["bad-package: PYSEC-1"]


@pytest.mark.parametrize(
    "entry",
    [
        "- vulnerability: X",
        "- {vulnerability: X, reason: '', until: 2027-01-01}",
        "- {vulnerability: X, reason: why, until: soon}",
        "- X",
    ],
)
def test_nothing_is_accepted_without_a_reason_and_a_day(tmp_path: Path, entry: str) -> None:
    (tmp_path / "accepted.yml").write_text(entry)
    with pytest.raises(NotAccepted, match="entry 1"):
        accepted(tmp_path / "accepted.yml")


def test_what_is_accepted_today_is_well_formed_and_the_lock_is_read_whole() -> None:
    accepted(ACCEPTED)
    lock = ACCEPTED.parents[1] / "requirements.lock"
    assert sum(map(len, pinned(lock).values())) == sum(line[:1].isalnum() for line in lock.read_text().splitlines())
