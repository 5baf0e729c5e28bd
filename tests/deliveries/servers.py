"""Real servers in this process, one for each transport, over a folder: what a partner would run, on the loopback address."""

from __future__ import annotations

import asyncio
import logging
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh

from orchestration.deliveries.sources import Source

TRANSPORTS = ("folder", "SFTP", "S3", "WebDAV")
USER, SECRET = "delictvrij", "a secret of the tests only"


@dataclass(frozen=True)
class Served:
    """A server over `root`: how to reach it, and how to bring it up to date after `root` has changed."""

    root: Path
    source: Source
    sync: Callable[[], None]


def _secret_in(folder: Path) -> Path:
    path = folder / "secret"
    if not path.exists():
        path.write_text(SECRET + "\n")
        path.chmod(0o400)
    return path


@contextmanager
def served(transport: str, root: Path, aside: Path, **terms: Any) -> Iterator[Served]:
    """Serve the folder `root` over a transport; keys and secrets lie in `aside`."""
    root.mkdir(parents=True, exist_ok=True)
    aside.mkdir(parents=True, exist_ok=True)
    with _SERVERS[transport](root, aside, **terms) as found:
        yield found


@contextmanager
def _folder(root: Path, aside: Path, **terms: Any) -> Iterator[Served]:
    yield Served(root, Source(url=root.as_uri(), **terms), lambda: None)


# SFTP ---------------------------------------------------------------------------------------------------------------
class _Server(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == (USER, SECRET)


class Files(asyncssh.SFTPServer):
    """The served folder as the root; a test may derive one that misbehaves."""

    root: Path
    is_read_only = False

    def __init__(self, channel: Any) -> None:
        super().__init__(channel, chroot=str(self.root))

    def open(self, path: bytes, pflags: int, attrs: Any) -> Any:
        if self.is_read_only and pflags & (asyncssh.FXF_WRITE | asyncssh.FXF_CREAT | asyncssh.FXF_APPEND):
            raise asyncssh.SFTPPermissionDenied("read only")
        return super().open(path, pflags, attrs)

    def remove(self, path: bytes) -> None:
        raise AssertionError("nothing is ever deleted at a source")

    def rename(self, oldpath: bytes, newpath: bytes) -> None:
        raise AssertionError("nothing is ever renamed at a source")


@contextmanager
def _sftp(root: Path, aside: Path, files: type[Files] = Files, **terms: Any) -> Iterator[Served]:
    kind = type("Serving", (files,), {"root": root})
    host_key = asyncssh.generate_private_key("ssh-ed25519")
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def listen() -> Any:
        return await asyncssh.listen(
            "127.0.0.1", 0, server_factory=_Server, server_host_keys=[host_key], sftp_factory=kind, allow_scp=False
        )

    server = asyncio.run_coroutine_threadsafe(listen(), loop).result(30)
    port = server.sockets[0].getsockname()[1]
    known = aside / "known_hosts"
    known.write_text(f"[127.0.0.1]:{port} {host_key.export_public_key().decode()}")
    given = {"user": USER, "secret_file": _secret_in(aside), "known_hosts": known, **terms}
    try:
        yield Served(root, Source(url=f"sftp://127.0.0.1:{port}/", **given), lambda: None)
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _end(server: Any) -> None:
    server.close()
    running = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


# S3 -----------------------------------------------------------------------------------------------------------------
@contextmanager
def _s3(root: Path, aside: Path, **terms: Any) -> Iterator[Served]:
    import boto3
    from moto.moto_api import state_manager  # noqa: F401 - moto is loaded here, not by every test
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name="eu-west-1", aws_access_key_id=USER, aws_secret_access_key=SECRET
    )
    bucket = f"deliveries-{uuid.uuid4().hex}"  # what servers of one process hold, they hold together
    client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})

    def sync() -> None:
        here = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="out/")
        there = {item["Key"].removeprefix("out/") for page in pages for item in page.get("Contents", [])}
        for name in there - set(here):
            client.delete_object(Bucket=bucket, Key=f"out/{name}")
        for name, path in here.items():
            client.put_object(Bucket=bucket, Key=f"out/{name}", Body=path.read_bytes())

    sync()
    given = {"user": USER, "secret_file": _secret_in(aside), "endpoint": endpoint, **terms}
    try:
        yield Served(root, Source(url=f"s3://{bucket}/out", **given), sync)
    finally:
        server.stop()


# WebDAV -------------------------------------------------------------------------------------------------------------
@contextmanager
def _webdav(
    root: Path, aside: Path, certificate: tuple[Path, Path] | None = None, is_read_only: bool = False, **terms: Any
) -> Iterator[Served]:
    from cheroot.ssl.builtin import BuiltinSSLAdapter
    from cheroot.wsgi import Server
    from wsgidav.fs_dav_provider import FilesystemProvider
    from wsgidav.wsgidav_app import WsgiDAVApp

    application = WsgiDAVApp(
        {
            "provider_mapping": {"/dav": FilesystemProvider(str(root), readonly=is_read_only, fs_opts={})},
            "simple_dc": {"user_mapping": {"*": {USER: {"password": SECRET}}}},
            "http_authenticator": {"accept_basic": True, "accept_digest": False, "default_to_digest": False},
            "verbose": 0,
            "logging": {"enable": False},
            "lock_storage": True,
        }
    )
    server = Server(("127.0.0.1", 0), application, numthreads=4)
    if certificate:
        server.ssl_adapter = BuiltinSSLAdapter(*map(str, certificate))
    server.prepare()
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    port = server.bind_addr[1]
    scheme = "https" if certificate else "http"
    given = {"user": USER, "secret_file": _secret_in(aside), **terms}
    try:
        yield Served(root, Source(url=f"{scheme}://127.0.0.1:{port}/dav", **given), lambda: None)
    finally:
        server.stop()
        thread.join(10)


_SERVERS: dict[str, Callable[..., Any]] = {"folder": _folder, "SFTP": _sftp, "S3": _s3, "WebDAV": _webdav}


def put(delivery: Path, root: Path) -> Path:
    """A copy of a delivery where a source has it: `<period>/<delivery>`; links stay links."""
    target = root / delivery.parent.name / delivery.name
    shutil.copytree(delivery, target, symlinks=True)
    return target
