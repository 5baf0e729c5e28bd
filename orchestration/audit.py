"""The audit trail: who did what, when, about what and why, as a chain in which every entry holds the hash of the one before.

How an entry is put into the ledger is in `ledger.py`. Here is what an entry is, the seal that is kept in a second place, and the check
that names what was changed, deleted, inserted, moved or cut off. Entries hold names of people who act, never a value of a client.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import pwd
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestration.files import write_json
from orchestration.trouble import Mendable

if TYPE_CHECKING:
    from orchestration.ledger import Ledger
    from orchestration.settings import Settings

BEGINNING = "0" * 64  # what stands before the first entry
_ACT = re.compile(r"[a-z_]+\.[a-z_]+")
_FIELDS = ("number", "at", "who", "what", "about", "why", "before")


class NotAnAct(Mendable):
    """What was done is not named as the audit trail names it: `thing.done`, about something."""


@dataclass(frozen=True)
class Entry:
    """One act: `what` (`thing.done`), `about` which thing, `at` UTC as ISO text; `before` is the hash of entry `number` - 1."""

    number: int
    at: str
    who: str
    what: str
    about: str
    why: str
    before: str
    hash: str


@dataclass(frozen=True)
class Finding:
    """What is wrong with one entry; `number` 0 for the seal itself."""

    number: int
    said: str


@dataclass(frozen=True)
class Seal:
    """How far the chain had come when it was last added to: number and hash of that entry, and which entries were there
    already when the next one came, without having been sealed themselves."""

    number: int = 0
    hash: str = BEGINNING
    unsealed: tuple[int, ...] = ()


@dataclass(frozen=True)
class Sealing:
    """Where the seal lies, by which key it is made, and the lock under which entries are added."""

    key_file: Path
    seal_file: Path
    lock_file: Path

    @classmethod
    def of(cls, settings: Settings) -> Sealing:
        return cls(settings.key_path, settings.audit_seal_path, settings.home_path / "audit.lock")

    def key(self) -> bytes | None:
        """The key of the seal, derived from that of the pseudonyms; None where this process may not read it."""
        try:
            return hmac.digest(self.key_file.read_bytes().strip(), b"delictvrij audit seal", "sha256")
        except OSError:
            return None

    def read(self) -> Seal | None:
        """The seal; None where there is none, or none that the key made."""
        key = self.key()
        try:
            content = json.loads(self.seal_file.read_text(encoding="utf-8"))
            seal = Seal(int(content["number"]), str(content["hash"]), tuple(content["unsealed"]))
            is_ours = key is not None and hmac.compare_digest(str(content["mac"]), _mac(key, seal))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return seal if is_ours else None

    def write(self, before: int, entry: Entry) -> None:
        """Seal `entry`; `before` is the number of the one that was last until now. Without the key nothing is written."""
        key = self.key()
        if key is None:
            return
        last = self.read()
        if last is None and self.seal_file.exists():
            return  # one that was tampered with is not put right by the next act: the check must find it
        last = last or Seal()
        late = tuple(range(last.number + 1, before + 1))
        seal = Seal(entry.number, entry.hash, (*last.unsealed, *late))
        write_json(self.seal_file, {**asdict(seal), "mac": _mac(key, seal)})


def _mac(key: bytes, seal: Seal) -> str:
    return hmac.new(key, json.dumps([seal.number, seal.hash, list(seal.unsealed)]).encode(), hashlib.sha256).hexdigest()


LOGIN = Path("/proc/self/loginuid")  # who signed on to this machine; becoming another account does not change it
NOBODY = 2**32 - 1


def signed_on() -> str:
    """Who the operating system says is at work: not a name that is typed or set in the environment.

    Where the kernel keeps who signed on, that counts, also of somebody who acts through the account of the platform.
    """
    try:
        number = int(LOGIN.read_text())
    except (OSError, ValueError):
        number = NOBODY
    number = os.getuid() if number == NOBODY else number
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"uid {number}"


def record(ledger: Ledger, what: str, about: str, why: str = "", who: str | None = None) -> Entry:
    """Put an act on record, in the name of who is signed on. `about` and `why` hold no value of a client.

    Raises NotAnAct. The acts of the platform itself are recorded where they are done, in the same transaction.
    """
    if not _ACT.fullmatch(what) or not about.strip():
        raise NotAnAct("an act is named as `thing.done` in small letters, and is about something")
    return ledger.act(what, about, why, who)


def entry_of(row: Mapping[str, Any]) -> Entry:
    """An entry as the ledger gives it."""
    return Entry(int(row["number"]), *(str(row[name]) for name in (*_FIELDS[1:], "hash")))


def next_entry(last: Entry | None, at: str, who: str, what: str, about: str, why: str) -> Entry:
    """The entry that comes after `last`. What is not printed (ends of lines) becomes a space: nothing that is typed makes a second line."""
    who, about, why = ("".join(one if one.isprintable() else " " for one in text) for text in (who, about, why))
    number, before = (last.number + 1, last.hash) if last else (1, BEGINNING)
    return Entry(number, at, who, what, about, why, before, _hash((number, at, who, what, about, why, before)))


def _hash(fields: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(list(fields), ensure_ascii=True).encode()).hexdigest()


def findings(entries: Sequence[Entry], sealing: Sealing | None = None) -> list[Finding]:
    """What is wrong with the chain (entries by number), by entry; nothing where every entry is as it was written."""
    found: list[Finding] = []
    last, before = 0, BEGINNING
    for entry in entries:
        if entry.number > last + 1:
            found.append(_gap(last + 1, entry.number - 1, "not there: deleted"))
        if entry.hash != _hash([getattr(entry, name) for name in _FIELDS]):
            found.append(Finding(entry.number, "is not as it was written: changed, or moved from another place"))
        if entry.number == last + 1 and entry.before != before:
            found.append(
                Finding(entry.number, "does not follow the entry before it: one was changed, inserted or moved")
            )
        last, before = entry.number, entry.hash
    return found if sealing is None else [*found, *_against_seal(entries, sealing)]


def _gap(first: int, last: int, said: str) -> Finding:
    return Finding(first, f"is {said}" if first == last else f"to {last} are {said}")


def _against_seal(entries: Sequence[Entry], sealing: Sealing) -> list[Finding]:
    if sealing.key() is None:
        return [Finding(0, "the seal cannot be checked: the key cannot be read from here")]
    seal = sealing.read()
    if seal is None:
        return [Finding(0, "the seal is not there, or was not made with this key")] if entries else []
    found = []
    last = entries[-1].number if entries else 0
    if last < seal.number:
        found.append(_gap(last + 1, seal.number, "cut off the end"))
    sealed = {entry.number: entry.hash for entry in entries}.get(seal.number)
    if sealed is not None and sealed != seal.hash:
        found.append(Finding(seal.number, "is not the entry that was sealed: it, or some before it, were written anew"))
    late = [*seal.unsealed, *range(seal.number + 1, last + 1)]
    said = "was not sealed when it was written: its process was killed or had no key, or somebody added it by hand"
    return [*found, *(Finding(number, said) for number in late)]
