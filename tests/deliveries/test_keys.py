"""The pseudonym key: made once, kept outside, never guessed; and the pseudonyms that it gives."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from orchestration.deliveries.ingest import check_delivery, ingest
from orchestration.deliveries.keys import PseudonymKey, PseudonymKeyError, make_key, read_key
from orchestration.deliveries.pseudonyms import Known, is_eleven_proof, is_test_number, pseudonyms
from orchestration.home import initialise
from tests.conftest import Platform
from tests.deliveries.making import deliver, delivery_in, digests

SECRET = bytes(range(32))
KEY = PseudonymKey(SECRET, "delictvrij")


def _write_key(path: Path, text: str, mode: int = 0o400) -> Path:
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


# pseudonyms ----------------------------------------------------------------------------------------------------------
def test_a_pseudonym_is_the_first_128_bits_of_hmac_sha_256_over_project_purpose_and_number() -> None:
    expected = hmac.new(SECRET, b"delictvrij\x00client\x00900000013", hashlib.sha256).hexdigest()[:32]
    assert KEY.pseudonym("client", "900000013") == expected
    # The same by RFC 2104, step by step, and as a literal: pseudonyms must survive every change of code.
    padded = SECRET.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded) + b"delictvrij\x00client\x00900000013").digest()
    assert hashlib.sha256(bytes(byte ^ 0x5C for byte in padded) + inner).hexdigest()[:32] == expected
    assert expected == "2ef4f82233417b67763761f7029490ab"


def test_purposes_projects_keys_and_numbers_give_different_pseudonyms() -> None:
    given = {
        KEY.pseudonym("client", "1"),
        KEY.pseudonym("officer", "1"),
        KEY.pseudonym("client", "2"),
        PseudonymKey(SECRET, "another").pseudonym("client", "1"),
        PseudonymKey(SECRET[::-1], "delictvrij").pseudonym("client", "1"),
        PseudonymKey(SECRET, "delict").pseudonym("vrijclient", "1"),
    }
    assert len(given) == 6


def test_the_same_number_in_another_spelling_has_the_same_pseudonym() -> None:
    assert (
        KEY.pseudonym("client", " 900000013 ")
        == KEY.pseudonym("client", "９０００００013")
        == KEY.pseudonym("client", "900000013")
    )


def test_a_column_of_pseudonyms_keeps_missing_missing_and_scopes_apart() -> None:
    numbers = pa.array(["1", None, "1", "2"]).dictionary_encode()
    found = pseudonyms(KEY, "officer", numbers, "rn/").to_pylist()
    assert found == [KEY.pseudonym("officer", "rn/1"), None, found[0], KEY.pseudonym("officer", "rn/2")]
    assert pseudonyms(KEY, "officer", numbers, "svg/")[0].as_py() != found[0]


def test_what_is_known_of_a_delivery_so_far_is_the_same_as_worked_out_anew() -> None:
    known = Known()
    columns = [["1", "2", None, "1"], ["2", "3"], [" 3", "3", "1"], [], [None], ["4", "2"]]
    for purpose, scope in (("officer", "rn/"), ("officer", "svg/"), ("client", "")):
        for column in columns:
            numbers = pa.array(column, pa.string()).dictionary_encode()
            found = pseudonyms(KEY, purpose, numbers, scope, known)
            assert found.to_pylist() == [None if one is None else KEY.pseudonym(purpose, scope + one) for one in column]
            assert len(found.dictionary) == len(set(found.dictionary.to_pylist()))


def test_the_same_person_is_the_same_in_every_source_and_an_officer_only_in_one(settled: Platform) -> None:
    import pyarrow.parquet as pq

    def column(organisation: str, table: str, name: str) -> set[str]:
        (record,) = settled.ledger.deliveries(status="accepted", organisation=organisation)
        path = settled.settings.raw / organisation / str(record.content_hash) / f"{table}.parquet"
        return set(pq.read_table(path).column(name).to_pylist())

    searched, rn = column("registry", "linkage", "bsn"), column("rn", "clients", "BSN")
    assert rn <= searched
    assert column("rn", "assignments", "Werkernummer") <= column("rn", "officers", "Werkernummer")
    assert all(len(value) == 32 and set(value) <= set("0123456789abcdef") for value in searched)


# the eleven test -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("number", "passes"),
    [
        ("111222333", True),
        ("123456782", True),
        ("900000009", False),
        ("123456789", False),
        ("000000000", False),
        ("12345678", False),
        ("1234567820", False),
        ("12345678a", False),
        (" 123456782", False),
        ("١٢٣٤٥٦٧٨٢", False),
        (None, True),
    ],
)
def test_the_eleven_test_knows_a_national_number(number: str | None, passes: bool) -> None:
    numbers = pd.Series(["111222333", number], dtype=object)
    assert is_eleven_proof(numbers).tolist() == [True, passes]


def test_one_wrong_or_two_swapped_digits_never_pass_the_eleven_test() -> None:
    good = "123456782"
    typos = [good[:i] + digit + good[i + 1 :] for i in range(9) for digit in "0123456789" if digit != good[i]]
    swaps = [good[:i] + good[i + 1] + good[i] + good[i + 2 :] for i in range(8)]
    assert not is_eleven_proof(pd.Series(typos)).any()
    assert not is_eleven_proof(pd.Series([number for number in swaps if number != good])).any()


def test_numbers_that_are_not_issued_are_known() -> None:
    assert is_test_number(pd.Series(["899999999", "900000000", "999999990", None])).tolist() == [
        False,
        True,
        True,
        False,
    ]


# the key file --------------------------------------------------------------------------------------------------------
def test_only_init_makes_a_key_and_it_makes_one(platform: Platform) -> None:
    path = platform.settings.key_path
    assert path.stat().st_mode & 0o777 == 0o400
    assert len(bytes.fromhex(path.read_text())) == 32
    before = path.read_bytes()
    again = initialise(platform.settings)
    assert not again.is_new_key
    assert path.read_bytes() == before
    with pytest.raises(FileExistsError):
        make_key(path)


def test_two_homes_have_two_keys(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_key(tmp_path / name)
    assert (tmp_path / "a").read_bytes() != (tmp_path / "b").read_bytes()


def _missing(path: Path) -> None:
    path.unlink()


def _other(path: Path) -> None:
    _write_key(path, os.urandom(32).hex())


def _readable(path: Path) -> None:
    path.chmod(0o440)


def _short(path: Path) -> None:
    _write_key(path, os.urandom(31).hex())


def _no_key(path: Path) -> None:
    _write_key(path, "this is no key at all, whatever it says")


def _binary(path: Path) -> None:
    path.unlink()
    path.write_bytes(b"\xff" * 64)
    path.chmod(0o400)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_missing, "no pseudonym key"),
        (_other, "not the one"),
        (_readable, "read by others"),
        (_short, "31 bytes"),
        (_no_key, "does not hold a key"),
        (_binary, "does not hold a key"),
    ],
)
def test_a_key_that_cannot_be_trusted_stops_everything_and_is_never_replaced(
    platform: Platform, simulated: Path, spoil: object, says: str
) -> None:
    settings, ledger = platform.settings, platform.ledger
    fresh = deliver(delivery_in(simulated, "rn"), settings.inbox_path)
    spoil(settings.key_path)  # type: ignore[operator]
    before, home = digests(settings.key_path.parent, leave_out="home"), digests(settings.home_path)
    for action in (ingest, check_delivery):
        with pytest.raises(PseudonymKeyError, match=says) as caught:
            action(fresh, settings, ledger)
        assert "this is no key" not in str(caught.value)
    with pytest.raises(PseudonymKeyError, match=says):
        initialise(settings)
    assert digests(settings.key_path.parent, leave_out="home") == before
    assert digests(settings.home_path) == home
    assert ledger.deliveries() == []


def test_the_key_shows_itself_nowhere(settled: Platform) -> None:
    secret = bytes.fromhex(settled.settings.key_path.read_text())
    key = read_key(settled.settings.key_path, "delictvrij")
    shown = [
        secret,
        secret.hex().encode(),
        secret.hex().upper().encode(),
        base64.b64encode(secret).rstrip(b"="),
        base64.urlsafe_b64encode(secret).rstrip(b"="),
    ]
    files = [path for path in settled.settings.home_path.rglob("*") if path.is_file()]
    assert len(files) > 50
    for path in files:
        content = path.read_bytes()
        assert not any(form in content for form in shown), path
    for text in (repr(key), str(key), f"{key!r}"):
        assert key.key_id in text
        assert secret.hex() not in text
        assert repr(secret) not in text
    assert key.key_id not in secret.hex()
