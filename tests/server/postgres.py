"""A PostgreSQL cluster of the tests' own, from Debian's binaries: on the loopback address, in a temporary folder, with passwords asked for."""

from __future__ import annotations

import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

PLACES = Path("/usr/lib/postgresql")
OWNER, PASSWORD = "delictvrij", "a password of the tests only"
WAIT_SECONDS = 30


def binaries() -> Path | None:
    """The folder with the newest installed server; None where there is none."""
    found = [path.parent for path in PLACES.glob("*/bin/initdb")]
    return max(found, key=lambda path: int(re.sub(r"\D", "", path.parent.name) or 0), default=None)


@dataclass(frozen=True)
class Cluster:
    """A running cluster. URLs have no password: that stands in `passfile`, as libpq reads it (`PGPASSFILE`)."""

    folder: Path
    port: int
    passfile: Path

    def url(self, database: str) -> str:
        return f"postgresql+psycopg2://{OWNER}@127.0.0.1:{self.port}/{database}"

    def database(self, name: str | None = None, locale: str = "C") -> str:
        """Make a database, whose rows are in the order of their bytes unless another locale is asked for; gives its URL."""
        name = name or f"test_{secrets.token_hex(6)}"
        secret = self.url("postgres").replace(f"{OWNER}@", f"{OWNER}:{PASSWORD}@")
        engine = sa.create_engine(secret, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sa.text(f"create database {name} template template0 encoding 'UTF8' locale '{locale}'"))
        engine.dispose()
        return self.url(name)


def empty(url: str) -> None:
    """Remove every row of every table: a tenth of what a new database takes."""
    engine = sa.create_engine(url)
    tables = sa.MetaData()
    tables.reflect(engine)
    with engine.begin() as connection:
        for table in reversed(tables.sorted_tables):
            connection.execute(table.delete())
    engine.dispose()


def free_port() -> int:
    """A port on the loopback address that nobody listens to."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _unprivileged() -> dict[str, object]:
    """How a process is started that must not be root's: PostgreSQL refuses to serve as root."""
    if os.geteuid() != 0:
        return {}
    account = pwd.getpwnam("postgres")
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


@contextmanager
def cluster(binary: Path) -> Iterator[Cluster]:
    """Make a cluster in a folder that is its own account's, and serve it; it is stopped and removed on leaving."""
    with tempfile.TemporaryDirectory(prefix="delictvrij-postgresql-") as folder, _serving(Path(folder), binary) as made:
        yield made


@contextmanager
def _serving(folder: Path, binary: Path) -> Iterator[Cluster]:
    terms = _unprivileged()
    data, given, port = folder / "data", folder / "given", free_port()
    given.write_text(PASSWORD + "\n")
    if terms:
        shutil.chown(folder, int(str(terms["user"])), int(str(terms["group"])))
        shutil.chown(given, int(str(terms["user"])))
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    subprocess.run(
        [binary / "initdb", "--pgdata", data, "--username", OWNER, "--pwfile", given, "--auth", "scram-sha-256",
         "--encoding", "UTF8", "--locale", "C", "--no-sync"],
        check=True, capture_output=True, env=environment, cwd="/", **terms,
    )  # fmt: skip
    given.unlink()
    passfile = folder / "pgpass"
    passfile.write_text(f"127.0.0.1:{port}:*:{OWNER}:{PASSWORD}\n")
    passfile.chmod(0o600)
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [binary / "postgres", "-D", data, "-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off",
             "-c", "unix_socket_directories=", "-c", "max_connections=200"],
            stdout=log, stderr=log, env=environment, cwd="/", **terms,
        )  # fmt: skip
    try:
        _wait(server, port)
        yield Cluster(folder, port, passfile)
    finally:
        server.send_signal(signal.SIGQUIT)  # at once: nothing of it is needed any more
        server.wait(WAIT_SECONDS)


def _wait(server: subprocess.Popen[bytes], port: int) -> None:
    """Until it takes connections: an attempt is made until one succeeds."""
    until = time.monotonic() + WAIT_SECONDS
    while server.poll() is None and time.monotonic() < until:
        engine = sa.create_engine(f"postgresql+psycopg2://{OWNER}:{PASSWORD}@127.0.0.1:{port}/postgres")
        try:
            with engine.connect():
                return
        except sa.exc.OperationalError:
            time.sleep(0.05)
        finally:
            engine.dispose()
    raise RuntimeError("PostgreSQL did not start")
