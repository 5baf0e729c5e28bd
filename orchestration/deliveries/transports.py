"""One interface over the four transports: list a folder, copy a file, write a receipt. Everything goes through fsspec.

Nothing is deleted or changed at a source. What goes wrong comes out as `SourceTrouble` with a code, and whether another try
may help; what a server says is never repeated.
"""

from __future__ import annotations

import contextlib
import hashlib
import posixpath
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from urllib.parse import unquote, urlsplit

from orchestration.deliveries.sources import Source
from orchestration.trouble import Mendable

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

CHUNK_BYTES = 4 * 2**20

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class SourceTrouble(Mendable):
    """A source cannot be fetched from; `code` says why, `is_transient` whether it may pass by itself."""

    def __init__(self, code: str, *, is_transient: bool = False) -> None:
        self.code = code
        self.is_transient = is_transient
        super().__init__(f"{code}: {WHY[code]}")


WHY = {
    "source.unreachable": "the server does not answer, or the connection broke off",
    "source.timeout": "the server takes too long",
    "source.host_key": "the server's host key is not the one that is pinned; nothing was sent to it",
    "source.certificate": "the server's certificate is not valid or not trusted; nothing was sent to it",
    "source.denied": "the server does not let us in, or not into this folder",
    "source.folder": "the folder that the source names is not there",
    "source.changing": "a delivery changes while it is fetched",
    "source.resting": "three times in a row the source could not be fetched from; it is left alone for a while",
    "source.failed": "the server answers in a way that is not understood",
}


@dataclass(frozen=True)
class Patience:
    """How long is waited: for a connection, for one answer, for one delivery in all (seconds)."""

    connect: float = 10.0
    answer: float = 60.0
    total: float = 900.0


@dataclass(frozen=True)
class Clock:
    """The passing of time, so that tests need not wait for it."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Entry:
    """One name in a remote folder. `is_plain` is false for links and whatever else is not a file of its own."""

    name: str
    is_folder: bool
    is_plain: bool
    size: int
    changed: str


@dataclass
class Remote:
    """An open source. Paths are relative to its root."""

    _filesystem: AbstractFileSystem
    _root: str
    _opening: Mapping[str, Any]
    _patience: Patience
    _clock: Clock

    def entries(self, path: str = "") -> list[Entry]:
        """What lies in a folder, by name. Raises SourceTrouble."""
        with _told():
            try:
                found = _within(self._patience.answer, self._filesystem.ls, self._at(path), detail=True, **_UNCACHED)
            except FileNotFoundError:
                # In a bucket there are no folders: one in which nothing lies yet is not there.
                if path or "s3" not in self._filesystem.protocol:
                    raise
                _within(self._patience.answer, self._filesystem.ls, self._root.partition("/")[0], **_UNCACHED)
                return []
        entries = (_entry(info) for info in found)
        return sorted((entry for entry in entries if entry.name), key=lambda entry: entry.name)

    def read(self, path: str, most: int) -> bytes:
        """The first `most` bytes of a file. Raises SourceTrouble."""
        with _told(), self._opened(path) as stream:
            return _within(self._patience.answer, stream.read, most)

    def copy(self, path: str, target: Path, deadline: float) -> tuple[int, str]:
        """Copy a file; its size and SHA-256 as they arrived.

        Raises SourceTrouble, also past the deadline, and OSError when it cannot be written here.
        """
        digest, size = hashlib.sha256(), 0
        with target.open("wb") as out:
            for chunk in self._chunks(path):
                digest.update(chunk)
                size += out.write(chunk)
                if self._clock.monotonic() > deadline:
                    raise SourceTrouble("source.timeout", is_transient=True)
        return size, digest.hexdigest()

    def _chunks(self, path: str) -> Iterator[bytes]:
        with contextlib.ExitStack() as stack:
            with _told():
                stream = stack.enter_context(self._opened(path))
            while True:
                with _told():
                    chunk = _within(self._patience.answer, stream.read, CHUNK_BYTES)
                if not chunk:
                    return
                yield chunk

    def write(self, path: str, content: bytes) -> None:
        """Write a small file: a receipt. Raises SourceTrouble."""
        with _told():
            _within(self._patience.answer, self._filesystem.pipe_file, self._at(path), content)

    def close(self) -> None:
        """Close the connection; a transport that has none, or one that is broken, needs nothing."""
        if "sftp" in self._filesystem.protocol or "ssh" in self._filesystem.protocol:
            self._filesystem.loop.call_soon_threadsafe(self._filesystem.client.close)

    def _at(self, path: str) -> str:
        return posixpath.join(self._root, path) if path else self._root

    @contextmanager
    def _opened(self, path: str) -> Iterator[Any]:
        stream = _within(self._patience.answer, self._filesystem.open, self._at(path), "rb", **self._opening)
        try:
            yield stream
        finally:
            _within(self._patience.answer, stream.close)


_UNCACHED = {"refresh": True}  # what a listing said before says nothing about now


def _entry(info: dict[str, Any]) -> Entry:
    is_folder = info["type"] == "directory"
    changed = [info.get(name) for name in ("ETag", "etag", "mtime", "LastModified", "modified")]
    return Entry(
        name="" if is_folder and info["name"].endswith("//") else info["name"].rstrip("/").rpartition("/")[2],
        is_folder=is_folder,
        is_plain=info["type"] == "file" and not info.get("islink", False),
        size=int(info.get("size") or 0),
        changed=" ".join(str(value) for value in changed if value is not None),
    )


def open_source(source: Source, patience: Patience | None = None, clock: Clock | None = None) -> Remote:
    """Open a source; the caller closes it. Raises SourceTrouble, and SourceError for a secret that cannot be used."""
    patience = patience or Patience()
    with _told():
        filesystem, root = _within(patience.connect + 1, _FILESYSTEMS[source.scheme], source, patience)
    return Remote(filesystem, root, _OPENING.get(source.scheme, {}), patience, clock or Clock())


def _folder(source: Source, _: Patience) -> tuple[AbstractFileSystem, str]:
    from fsspec.implementations.local import LocalFileSystem

    return LocalFileSystem(auto_mkdir=False, skip_instance_cache=True), unquote(urlsplit(source.url).path)


def _sftp(source: Source, patience: Patience) -> tuple[AbstractFileSystem, str]:
    """fsspec's own SFTP accepts any host key; sshfs holds it against the pinned ones."""
    from sshfs import SSHFileSystem

    address = urlsplit(source.url)
    filesystem = SSHFileSystem(
        address.hostname,
        port=address.port or 22,
        username=source.user,
        password=source.secret(),
        client_keys=[str(source.key_file)] if source.key_file else None,
        known_hosts=str(source.known_hosts),
        encryption_algs="^aes128-gcm@openssh.com,aes256-gcm@openssh.com",  # twice as fast as the first that is offered
        agent_path=None,
        config=None,
        connect_timeout=patience.connect,
        login_timeout=patience.connect,
        keepalive_interval=patience.answer / 4,
        keepalive_count_max=3,
        skip_instance_cache=True,
    )
    return filesystem, unquote(address.path) or "."


def _s3(source: Source, patience: Patience) -> tuple[AbstractFileSystem, str]:
    from s3fs import S3FileSystem

    address = urlsplit(source.url)
    filesystem = S3FileSystem(
        key=source.user,
        secret=source.secret(),
        anon=False,
        endpoint_url=source.endpoint,
        client_kwargs={
            "region_name": source.region,
            "verify": str(source.authority_file) if source.authority_file else True,
        },
        config_kwargs={
            "connect_timeout": patience.connect,
            "read_timeout": patience.answer,
            "retries": {"total_max_attempts": 1},
        },
        use_listings_cache=False,
        skip_instance_cache=True,
    )
    filesystem.retries = 1  # trying again is decided in one place, and that is not here
    return filesystem, f"{address.netloc}/{unquote(address.path).strip('/')}".rstrip("/")


def _webdav(source: Source, patience: Patience) -> tuple[AbstractFileSystem, str]:
    import ssl

    import httpx
    from webdav4.fsspec import WebdavFileSystem

    trusted = ssl.create_default_context(cafile=str(source.authority_file) if source.authority_file else None)
    filesystem = WebdavFileSystem(
        source.url,
        auth=(source.user or "", source.secret() or ""),
        timeout=httpx.Timeout(patience.answer, connect=patience.connect),
        verify=trusted,
        retry=False,
        trust_env=False,
        chunk_size=CHUNK_BYTES,
    )
    return filesystem, ""


_FILESYSTEMS: dict[str, Callable[[Source, Patience], tuple[AbstractFileSystem, str]]] = {
    "file": _folder, "sftp": _sftp, "s3": _s3, "https": _webdav, "http": _webdav,
}  # fmt: skip


# SFTP: blocks as large as servers take, a third less time than with those of the library. S3: no reading ahead.
_OPENING: dict[str, dict[str, Any]] = {"sftp": {"block_size": 240 * 2**10}, "s3": {"cache_type": "none"}}


def _within(
    seconds: float, call: Callable[_Arguments, _Result], *args: _Arguments.args, **kwargs: _Arguments.kwargs
) -> _Result:
    """What a call returns, if it does so in time. One that hangs is left behind in a thread that ends with the process.

    Raises TimeoutError; a dead file server, for one, gives no other way out.
    """
    future: Future[_Result] = Future()

    def run() -> None:
        try:
            future.set_result(call(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future.result(timeout=seconds)


@contextmanager
def _told() -> Iterator[None]:
    """Turn whatever a library raises into SourceTrouble, without its text: a server may put anything into that."""
    try:
        yield
    except Mendable:
        raise
    except Exception as error:
        raise trouble_of(error) from None


def trouble_of(error: BaseException) -> SourceTrouble:
    """What an exception of a transport's library comes to."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    for code, is_transient, is_it in _TROUBLES:
        if any(is_it(item) for item in chain):
            return SourceTrouble(code, is_transient=is_transient)
    return SourceTrouble("source.failed")


def _named(*names: str) -> Callable[[BaseException], bool]:
    """Whether an exception is of a class, or derived from one, that has one of these names: no library is loaded for it."""
    return lambda error: any(kind.__name__ in names for kind in type(error).__mro__)


def _answered(*statuses: int) -> Callable[[BaseException], bool]:
    """Whether a server answered with one of these HTTP statuses."""

    def is_it(error: BaseException) -> bool:
        response = getattr(error, "response", None)
        if isinstance(response, dict):  # botocore
            return response.get("ResponseMetadata", {}).get("HTTPStatusCode") in statuses
        return getattr(response, "status_code", None) in statuses

    return is_it


# The first that fits any exception of the chain; the more particular come first.
_TROUBLES: tuple[tuple[str, bool, Callable[[BaseException], bool]], ...] = (
    ("source.host_key", False, _named("HostKeyNotVerifiable", "KeyExchangeFailed")),
    ("source.certificate", False, _named("SSLCertVerificationError", "CertificateError")),
    ("source.denied", False, _named("PermissionDenied", "PermissionError", "SFTPPermissionDenied", "NoCredentialsError")),
    ("source.denied", False, _answered(401, 403)),
    ("source.folder", False, _named("FileNotFoundError", "NotADirectoryError", "SFTPNoSuchFile", "SFTPNoSuchPath")),
    ("source.unreachable", True, _answered(408, 425, 429, 500, 502, 503, 504)),
    ("source.timeout", True, _named("TimeoutError", "FSTimeoutError", "TimeoutException", "ReadTimeoutError", "ConnectTimeoutError")),
    ("source.unreachable", True, _named(
        "ConnectionError", "gaierror", "DisconnectError", "SFTPConnectionLost", "SFTPNoConnection", "TransportError",
        "HTTPClientError", "ClientConnectionError", "ClientPayloadError", "IncompleteRead", "ChannelOpenError", "OSError",
    )),
)  # fmt: skip
