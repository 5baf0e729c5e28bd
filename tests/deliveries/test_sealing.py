"""A sealed delivery is opened for us alone; what is not for us, was changed, or comes again is refused by a code of its own."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pyrage
import pytest
from click.testing import CliRunner

from orchestration.cli import main
from orchestration.deliveries.contracts import FileLimits, Organisation
from orchestration.deliveries.inbox import waiting
from orchestration.deliveries.ingest import Receipt, check_delivery, ingest
from orchestration.deliveries.judgement import Refused
from orchestration.deliveries.retraction import retract
from orchestration.deliveries.sealing import (
    SEAL,
    SEALED,
    OpeningKeyError,
    make_opening_key,
    recipient,
    seal,
    unseal,
)
from orchestration.hashing import sha256_file
from orchestration.settings import Settings
from tests.conftest import Platform
from tests.deliveries.making import change_rows, deliver, delivery_in, digests

Contracts = dict[str, Organisation]


@pytest.fixture
def home(settled: Platform) -> Platform:
    make_opening_key(settled.settings.opening_key_path)
    return settled


def _sealed(home: Platform, plain: Path, key: str | None = None, name: str = "next") -> Path:
    """A sealed copy in the inbox of a plain delivery."""
    out = home.settings.inbox_path / plain.parent.parent.name / plain.parent.name / name
    seal(plain, key or recipient(home.settings.opening_key_path), out)
    return out


def _plain(home: Platform, tmp_path: Path, name: str = "next", sequence: int = 1) -> Path:
    return deliver(
        delivery_in(home.settings.inbox_path, "rn"), tmp_path / f"made-{name}-{sequence}", name, "2026-Q1", sequence
    )


def _sign(sealed: Path) -> None:
    (sealed / SEAL).write_text(f"{sha256_file(sealed / SEALED)}  {SEALED}\n")


def _rules(receipt: Receipt) -> list[str]:
    return [reason.rule for reason in receipt.reasons]


def test_a_sealed_delivery_has_the_verdict_of_the_plain_one(
    home: Platform, contracts: Contracts, tmp_path: Path
) -> None:
    plain = _plain(home, tmp_path)
    sealed = _sealed(home, plain)
    (waits,) = waiting(home.settings, home.ledger, contracts)
    assert waits.path == sealed
    before = digests(home.settings.home_path)
    assert check_delivery(sealed, home.settings, home.ledger).status == "accepted"
    assert digests(home.settings.home_path) == before
    receipt = ingest(sealed, home.settings, home.ledger)
    assert receipt.status == "accepted"
    assert waiting(home.settings, home.ledger, contracts) == []
    assert ingest(sealed, home.settings, home.ledger).status == "accepted"
    assert (
        ingest(deliver(plain, home.settings.inbox_path, "next-plain"), home.settings, home.ledger).status == "duplicate"
    )
    landed = home.settings.landing / "rn" / "2026-Q1" / f"next-{receipt.sha256[:8]}"
    assert digests(landed) == digests(plain)


def test_a_bad_delivery_is_as_bad_when_it_is_sealed(home: Platform, tmp_path: Path) -> None:
    plain = _plain(home, tmp_path)
    change_rows(plain, "waves", lambda rows: rows[: len(rows) // 2])
    sealed = _sealed(home, plain)
    found = [
        _rules(check_delivery(sealed, home.settings, home.ledger)),
        _rules(ingest(sealed, home.settings, home.ledger)),
    ]
    assert found[0] == found[1] == ["rows.shrunk"]


def test_one_that_is_sealed_for_somebody_else_is_refused(home: Platform, tmp_path: Path) -> None:
    other = str(pyrage.x25519.Identity.generate().to_public())
    sealed = _sealed(home, _plain(home, tmp_path), other)
    assert _rules(check_delivery(sealed, home.settings, home.ledger)) == ["archive.recipient"]
    assert _rules(ingest(sealed, home.settings, home.ledger)) == ["archive.recipient"]


def test_a_byte_that_was_changed_is_refused_wherever_it_is(home: Platform, tmp_path: Path) -> None:
    sealed = _sealed(home, _plain(home, tmp_path))
    content = (sealed / SEALED).read_bytes()
    header = content.index(b"\n---") + 10
    for place in (header, header + 60, len(content) // 2, len(content) - 1):
        changed = bytearray(content)
        changed[place] ^= 1
        (sealed / SEALED).write_bytes(changed)
        assert _rules(check_delivery(sealed, home.settings, home.ledger)) == ["file.hash"]
        _sign(sealed)
        assert _rules(ingest(sealed, home.settings, home.ledger)) == ["archive.tampered"]
    (sealed / SEALED).write_bytes(content[: len(content) // 2])
    _sign(sealed)
    assert _rules(ingest(sealed, home.settings, home.ledger)) == ["archive.tampered"]
    assert not list(home.settings.landing.glob("*/*/.*"))


def test_an_older_delivery_that_comes_again_is_refused(home: Platform, tmp_path: Path) -> None:
    first = _plain(home, tmp_path)
    assert ingest(_sealed(home, first), home.settings, home.ledger).status == "accepted"
    again = _sealed(home, first, name="elsewhere")
    assert _rules(check_delivery(again, home.settings, home.ledger)) == ["archive.replayed"]
    assert _rules(ingest(again, home.settings, home.ledger)) == ["archive.replayed"]
    # The newest one, sealed anew in its place, changes nothing; once it is superseded it is a replay.
    assert ingest(_sealed(home, first), home.settings, home.ledger).status == "duplicate"
    second = _plain(home, tmp_path, "corrected", 2)
    change_rows(second, "covariates", lambda rows: rows[:-1])
    assert ingest(_sealed(home, second, name="corrected"), home.settings, home.ledger).status == "accepted"
    assert _rules(ingest(_sealed(home, first), home.settings, home.ledger)) == ["archive.replayed"]
    retract(home.ledger, "rn/2026-Q1/corrected", "sent by mistake")
    assert _rules(ingest(_sealed(home, second, name="corrected"), home.settings, home.ledger)) == ["archive.replayed"]


@pytest.mark.parametrize(
    "member", ["link", "hard link", "device", "parent", "absolute", "folder", "twice", "nothing", "noise"]
)
def test_an_archive_holds_plain_files_with_bare_names_and_nothing_else(tmp_path: Path, member: str) -> None:
    key = tmp_path / "key"
    make_opening_key(key)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:

        def add(name: str, kind: bytes = tarfile.REGTYPE, linked: str = "") -> None:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, linked
            archive.addfile(entry, io.BytesIO(b""))

        add("clients.csv")
        if member != "nothing":
            add("manifest.json")
        kinds = {
            "link": tarfile.SYMTYPE,
            "hard link": tarfile.LNKTYPE,
            "device": tarfile.CHRTYPE,
            "folder": tarfile.DIRTYPE,
        }
        if member in kinds:
            add("extra", kinds[member], "clients.csv")
        if member == "parent":
            add("../escaped.csv")
        if member == "absolute":
            add(str(tmp_path / "escaped.csv"))
        if member == "twice":
            add("clients.csv")
    content = b"noise" * 500 if member == "noise" else packed.getvalue()
    sealed, opened = tmp_path / "in" / "sealed", tmp_path / "in" / "opened"
    sealed.mkdir(parents=True)
    opened.mkdir()
    (sealed / SEALED).write_bytes(pyrage.encrypt(content, [pyrage.x25519.Recipient.from_str(recipient(key))]))
    _sign(sealed)
    with pytest.raises(Refused) as refusal:
        unseal(sealed, key, opened, FileLimits())
    assert [judgement.rule for judgement in refusal.value.judgements] == ["archive.member"]
    assert not list(tmp_path.rglob("escaped*"))


def test_the_key_is_kept_private_and_never_made_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DELICTVRIJ_HOME", str(tmp_path / "home"))
    said = [CliRunner().invoke(main, ["recipient"]) for _ in range(2)]
    assert [result.exit_code for result in said] == [0, 0]
    assert said[0].stdout == said[1].stdout and said[0].stdout.startswith("age1")
    path = Settings().opening_key_path
    assert path.stat().st_mode & 0o777 == 0o400 and not path.is_relative_to(tmp_path / "home")
    with pytest.raises(FileExistsError):
        make_opening_key(path)
    path.chmod(0o440)
    with pytest.raises(OpeningKeyError, match="0400"):
        recipient(path)
    path.chmod(0o600)
    path.write_text("AGE-SECRET-KEY-1BROKEN")
    with pytest.raises(OpeningKeyError) as error:
        recipient(path)
    assert "BROKEN" not in str(error.value)


def test_a_partner_seals_by_command(home: Platform, tmp_path: Path) -> None:
    plain = _plain(home, tmp_path)
    out = home.settings.inbox_path / "rn" / "2026-Q1" / "next"
    key = recipient(home.settings.opening_key_path)
    assert CliRunner().invoke(main, ["seal", str(plain), str(out), "--to", key]).exit_code == 0
    assert sorted(path.name for path in out.iterdir()) == [SEALED, SEAL]
    assert ingest(out, home.settings, home.ledger).status == "accepted"
    assert CliRunner().invoke(main, ["seal", str(plain), str(out), "--to", "age1nonsense"]).exit_code == 1
    assert CliRunner().invoke(main, ["seal", str(tmp_path), str(out), "--to", key]).exit_code == 2
