"""The sources file is refused where it would be unsafe, and what a server raises comes out as a code without its text."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestration.deliveries.sources import Source, SourceError, read_sources
from orchestration.deliveries.transports import WHY, SourceTrouble, open_source, trouble_of
from tests.certificates import certificate_in
from tests.deliveries.servers import served


def _written(folder: Path, text: str) -> Path:
    path = folder / "sources.yml"
    path.write_text(text)
    return path


def test_without_a_file_there_are_no_sources() -> None:
    assert read_sources(None) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rn: {url: 'ftp://somewhere'}", "url begins with"),
        ("rn: {url: 'sftp://somebody:hunter2@there/x', known_hosts: KNOWN}", "holds a user or a password"),
        ("rn: {url: 'sftp://there/x'}", "host key"),
        ("rn: {url: 'sftp://there/x', known_hosts: missing}", "host key"),
        ("rn: {url: 'https://there.example/dav'}", "user is needed"),
        ("rn: {url: 'http://there.example/dav', user: me}", "only https"),
        ("rn: {url: 's3://bucket/x', user: me, endpoint: 'http://there.example'}", "only https"),
        ("rn: {url: 'https://there.example/dav', password: hunter2}", "not usable: password"),
        ("rn: [1]", "not usable"),
        ("- rn", "names an organisation"),
        ("rn: {url: !!python/name:os.system }", "cannot be read as YAML"),
        ("rn: {url: 'sftp://there/x', user: me, known_hosts: KNOWN, key_file: OPEN}", "read by others"),
    ],
)
def test_a_source_that_is_not_safe_is_refused_without_repeating_it(tmp_path: Path, text: str, said: str) -> None:
    known, readable = tmp_path / "known", tmp_path / "open"
    known.write_text("there ssh-ed25519 AAAA")
    readable.write_text("key")
    readable.chmod(0o644)
    text = text.replace("KNOWN", str(known)).replace("OPEN", str(readable))
    with pytest.raises(SourceError, match=said) as error:
        read_sources(_written(tmp_path, text))
    assert "hunter2" not in str(error.value)


def test_a_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    secret.chmod(0o640)
    source = Source(url="https://there.example/dav", user="me", secret_file=secret)
    with pytest.raises(SourceError, match="0400") as error:
        source.secret()
    assert "hunter2" not in str(error.value) + repr(source)


@pytest.mark.parametrize(("days", "is_trusted", "code"), [(20, True, ""), (20, False, "source.certificate"), (-1, True, "source.certificate")])  # fmt: skip
def test_a_certificate_must_be_valid_and_trusted(tmp_path: Path, days: int, is_trusted: bool, code: str) -> None:
    certificate, key = certificate_in(tmp_path, datetime.now(UTC) + timedelta(days=days))
    with served("WebDAV", tmp_path / "root", tmp_path / "aside", certificate=(certificate, key)) as partner:
        terms = {"authority_file": certificate} if is_trusted else {}
        remote = open_source(partner.source.model_copy(update=terms))
        if not code:
            assert remote.entries() == []
            return
        with pytest.raises(SourceTrouble) as trouble:
            remote.entries()
        assert (trouble.value.code, trouble.value.is_transient) == (code, False)


@pytest.mark.parametrize(
    ("error", "code", "is_transient"),
    [
        (TimeoutError("hunter2"), "source.timeout", True),
        (ConnectionResetError("hunter2"), "source.unreachable", True),
        (OSError("hunter2"), "source.unreachable", True),
        (PermissionError("hunter2"), "source.denied", False),
        (FileNotFoundError("hunter2"), "source.folder", False),
        (ssl.SSLCertVerificationError("hunter2"), "source.certificate", False),
        (ValueError("hunter2"), "source.failed", False),
    ],
)
def test_only_what_may_pass_by_itself_is_tried_again(error: Exception, code: str, is_transient: bool) -> None:
    trouble = trouble_of(error)
    assert (trouble.code, trouble.is_transient) == (code, is_transient)
    assert "hunter2" not in str(trouble) and WHY[code] in str(trouble)


def test_a_server_whose_name_is_not_known_is_unreachable(tmp_path: Path) -> None:
    known = tmp_path / "known"
    known.write_text("")
    with pytest.raises(SourceTrouble) as trouble:
        open_source(Source(url="sftp://no-such-host.invalid/x", user="me", known_hosts=known))
    assert (trouble.value.code, trouble.value.is_transient) == ("source.unreachable", True)
