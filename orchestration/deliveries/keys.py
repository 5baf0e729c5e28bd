"""The secret key behind the pseudonyms: how it is made, read and named. It lies outside the home and is never made twice.

A pseudonym is the first 128 bits of HMAC-SHA-256 over project, purpose and the normalised number, as 32 hexadecimal
characters. The same person has the same pseudonym in every source; other purposes and projects give other pseudonyms.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestration.trouble import Mendable

KEY_BYTES = 32


class PseudonymKeyError(Mendable):
    """The pseudonym key cannot be used; says why and what to do. The key is never made anew in silence."""


@dataclass(frozen=True)
class PseudonymKey:
    """The secret key and the project that it serves. `repr` shows only the key's id."""

    _secret: bytes
    project: str

    def __post_init__(self) -> None:
        if len(self._secret) < KEY_BYTES:
            raise PseudonymKeyError(f"the pseudonym key has {len(self._secret)} bytes; at least {KEY_BYTES} are needed")

    def __repr__(self) -> str:
        return f"PseudonymKey({self.key_id})"

    @property
    def key_id(self) -> str:
        """An id of the key from which the key cannot be found: 16 hexadecimal characters."""
        return hmac.new(self._secret, b"delictvrij key id", hashlib.sha256).hexdigest()[:16]

    def pseudonym(self, purpose: str, number: str) -> str:
        """The pseudonym of one number for one purpose, 32 hexadecimal characters."""
        return self.pseudonyms(purpose, [number])[0]

    def pseudonyms(self, purpose: str, numbers: Sequence[str]) -> list[str]:
        """The pseudonyms of numbers for one purpose; what all messages begin with is worked through once."""
        begun = hmac.new(self._secret, b"\x00".join((self.project.encode(), purpose.encode(), b"")), hashlib.sha256)
        found = []
        for number in numbers:
            one = begun.copy()
            one.update((number if number.isascii() else unicodedata.normalize("NFKC", number)).strip().encode())
            found.append(one.hexdigest()[:32])
        return found


def make_key(path: Path) -> None:
    """Make a new key file, readable by its owner only. Raises FileExistsError when there is one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(secrets.token_bytes(KEY_BYTES).hex() + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def read_key(path: Path, project: str) -> PseudonymKey:
    """Read the key file. Raises PseudonymKeyError when it is missing, readable by others, or not a key."""
    if not path.is_file():
        raise PseudonymKeyError(
            f"there is no pseudonym key at {path}: put back the key that this home was made with (only a home that holds nothing gets a new one, by `delictvrij init`)"
        )
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise PseudonymKeyError(f"the pseudonym key at {path} can be read by others; set its mode to 0400")
    try:
        secret = bytes.fromhex(path.read_text().strip())
    except ValueError:
        raise PseudonymKeyError(f"the file at {path} does not hold a key in hexadecimal") from None
    return PseudonymKey(secret, project)
