"""Where each organisation's deliveries are fetched from, read from the sources file (setting `sources`).

An organisation without a source puts its deliveries into the inbox itself. Secrets stand in files of their own, which
only their owner may read; no secret is part of an address, a message or a `repr`.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from orchestration.trouble import Mendable

SCHEMES: Mapping[str, str] = {"file": "folder", "sftp": "SFTP", "s3": "S3", "https": "WebDAV", "http": "WebDAV"}
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class SourceError(Mendable):
    """The sources file cannot be used; says which organisation and which field."""


class Source(BaseModel):
    """One place to fetch from.

    `url` is `file:///folder`, `sftp://host:port/folder`, `s3://bucket/prefix` or `https://host/folder` (WebDAV). Below it lies
    `<period>/<delivery>/`. `secret_file` holds the password (SFTP, WebDAV) or the secret key (S3), `key_file` a private
    key (SFTP). `known_hosts` pins the host key of an SFTP server. `authority_file` holds the certificates that are trusted
    instead of the machine's. Only where `writes_receipts` is set is anything ever written at the source.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    user: str | None = None
    secret_file: Path | None = None
    key_file: Path | None = None
    known_hosts: Path | None = None
    endpoint: str | None = None
    region: str = "eu-west-1"
    authority_file: Path | None = None
    writes_receipts: bool = False

    @property
    def scheme(self) -> str:
        return urlsplit(self.url).scheme

    @property
    def transport(self) -> str:
        """What people call it: folder, SFTP, S3 or WebDAV."""
        return SCHEMES[self.scheme]

    def secret(self) -> str | None:
        """The password or secret key, without the line end. Raises SourceError."""
        if self.secret_file is None:
            return None
        _require_private(self.secret_file)
        return self.secret_file.read_text(encoding="utf-8").strip("\r\n")


def _require_private(path: Path) -> None:
    if not path.is_file():
        raise SourceError(f"there is no file {path}, which the sources file names")
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise SourceError(f"{path} can be read by others; set its mode to 0400")


def read_sources(path: Path | None) -> dict[str, Source]:
    """The sources by organisation; none where no file is set. Raises SourceError without repeating what the file says."""
    if path is None:
        return {}
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        raise SourceError(f"the sources file {path} cannot be read as YAML") from None
    if not isinstance(entries, dict):
        raise SourceError(f"the sources file {path} names an organisation and, below it, its source")
    return {str(name): _source(entry, f"{path.name}, {name}") for name, entry in entries.items()}


def _source(entry: object, where: str) -> Source:
    try:
        source = Source.model_validate(entry)
    except ValidationError as error:
        fields = sorted({".".join(map(str, item["loc"])) or "all" for item in error.errors()})
        raise SourceError(f"{where}: not usable: {', '.join(fields)}") from None
    address = urlsplit(source.url)
    if address.scheme not in SCHEMES:
        raise SourceError(f"{where}: url begins with one of {', '.join(f'{scheme}://' for scheme in SCHEMES)}")
    if address.password is not None or address.username is not None:
        raise SourceError(f"{where}: url holds a user or a password; `user` and `secret_file` are for that")
    if source.scheme == "sftp" and (source.known_hosts is None or not source.known_hosts.is_file()):
        raise SourceError(
            f"{where}: an SFTP server is only trusted by its host key: known_hosts names a file that holds it"
        )
    if source.scheme != "file" and not source.user:
        raise SourceError(f"{where}: user is needed: nothing is fetched under a name that a machine happens to have")
    for plain in (source.url, source.endpoint or ""):
        if urlsplit(plain).scheme == "http" and urlsplit(plain).hostname not in _LOOPBACK:
            raise SourceError(f"{where}: over a network only https")
    if source.key_file:
        _require_private(source.key_file)
    return source
