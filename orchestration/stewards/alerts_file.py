"""Who is told what, read from the alerts file (setting `alerts`): mail, webhook, roles and their addresses, quiet events.

Secrets stand in files of their own, which only their owner may read; no secret is part of a message or a `repr`.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from orchestration.hashing import combined_hash
from orchestration.stewards.incidents import EVENTS
from orchestration.trouble import Mendable

LOOPBACK = ("127.0.0.1", "localhost", "::1")
DIGEST, TEST = "digest", "test"
STEWARD = "steward"
_ADDRESS = r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,190}$"


class AlertsError(Mendable):
    """The alerts file cannot be used; says which field."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Mail(_Strict):
    """A mail server. Without TLS only on the loopback address, and a password never without TLS.

    `authority_file` holds the certificates that are trusted instead of the machine's.
    """

    host: str
    port: int = Field(587, ge=1, le=65535)
    security: Literal["starttls", "tls", "none"] = "starttls"
    sender: str = Field(pattern=_ADDRESS)
    user: str | None = None
    password_file: Path | None = None
    authority_file: Path | None = None

    @model_validator(mode="after")
    def _is_safe(self) -> Mail:
        if self.security == "none" and (self.host not in LOOPBACK or self.user):
            raise ValueError("security none is for the loopback address, without a user")
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user and password_file go together")
        return self


class Webhook(_Strict):
    """An address that takes JSON, signed with the secret in `secret_file` (HMAC-SHA-256)."""

    url: str
    secret_file: Path
    authority_file: Path | None = None

    @field_validator("url")
    @classmethod
    def _is_safe(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
            raise ValueError("over a network only https")
        if parts.username is not None or parts.password is not None:
            raise ValueError("no user or password in an address")
        return url


class Alerts(_Strict):
    """The alerts file: `people` are addresses by role, `to` the roles that an event goes to (by default the steward).

    `material_move` is how far an estimate must move, in standard errors of the fit before, to be told of. `pages` is where people
    reach Dagster. Events that are `quiet` are on record and in the digest, and not sent.
    """

    language: Literal["nl", "en"] = "nl"
    mail: Mail | None = None
    webhook: Webhook | None = None
    people: Mapping[str, tuple[str, ...]] = {}
    to: Mapping[str, tuple[str, ...]] = {}
    quiet: frozenset[str] = frozenset()
    material_move: float = Field(1.0, gt=0, le=100)
    pages: str | None = None

    @model_validator(mode="after")
    def _is_coherent(self) -> Alerts:
        import re

        if any(not re.match(_ADDRESS, address) for addresses in self.people.values() for address in addresses):
            raise ValueError("people: an address is none")
        if set(self.to) - {*EVENTS, DIGEST, TEST} or set(self.quiet) - {*EVENTS, DIGEST}:
            raise ValueError(f"to and quiet: the events are {', '.join(sorted(EVENTS))} and {DIGEST}")
        if unknown := {role for roles in self.to.values() for role in roles} - set(self.people):
            raise ValueError(f"to: no people for {len(unknown)} of the roles")
        if self.mail is not None and not self.people.get(STEWARD):
            raise ValueError(f"people: {STEWARD} is needed: what goes to nobody else goes there")
        return self

    def addresses(self, event: str) -> tuple[str, ...]:
        """Who gets mail about an event: each address once, in the order of the file."""
        found = [address for role in self.to.get(event, (STEWARD,)) for address in self.people[role]]
        return tuple(dict.fromkeys(found))

    def channels(self, event: str) -> tuple[str, ...]:
        """By which ways an event is told: mail, webhook, both, or none where it is quiet."""
        if event in self.quiet:
            return ()
        mail = ("mail",) if self.mail is not None and self.addresses(event) else ()
        return (*mail, *(("webhook",) if self.webhook is not None else ()))

    @property
    def mark(self) -> str:
        """A hash of what stands here: what was refused is tried again once it is another."""
        return combined_hash({"alerts": self.model_dump_json()})


def read_alerts(path: Path | None) -> Alerts:
    """The alerts file; where none is set, nobody is told. Raises AlertsError without repeating what the file says."""
    if path is None:
        return Alerts()
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        raise AlertsError(f"the alerts file {path} cannot be read as YAML") from None
    try:
        return Alerts.model_validate(content)
    except ValidationError as error:
        raise AlertsError(
            f"the alerts file {path} is not usable: {'; '.join(sorted(map(_said, error.errors())))}"
        ) from None


def _said(item: Mapping[str, object]) -> str:
    """A field and, where the words are ours, what is wrong with it; never what stands there."""
    where = ".".join(map(str, item["loc"])) or "all"  # type: ignore[call-overload]
    return f"{where}: {str(item['msg']).removeprefix('Value error, ')}" if item["type"] == "value_error" else where


def secret_in(path: Path) -> str:
    """What a secret file holds, without the line end. Raises AlertsError."""
    if not path.is_file():
        raise AlertsError(f"there is no file {path}, which the alerts file names")
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise AlertsError(f"{path} can be read by others; set its mode to 0400")
    return path.read_text(encoding="utf-8").strip("\r\n")
