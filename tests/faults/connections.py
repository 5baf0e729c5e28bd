"""Connections that break: a proxy that lets so many bytes through and then nothing, between us and a real SFTP, S3 or database server.

Each break is at the first, a middle and the last answer of the server. What must hold: nothing half-done is in sight, the trouble is
said by its code, and once the connection is whole again the delivery is processed exactly once.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import sqlalchemy as sa

from orchestration.deliveries.contracts import read_contracts
from orchestration.deliveries.fetching import fetch
from orchestration.deliveries.inbox import waiting
from orchestration.deliveries.ingest import ingest
from orchestration.deliveries.sources import Source
from orchestration.deliveries.transports import Clock, Patience
from orchestration.home import initialise, opened
from orchestration.settings import Settings
from orchestration.store import Store, StoreTrouble, damaged, push_all
from tests.conftest import settings_in
from tests.deliveries.making import delivery_in
from tests.deliveries.servers import put, served

QUICK = Patience(connect=5, answer=5, total=60)
MOMENTS = ("first", "middle", "last")


@dataclass
class Wire:
    """What passes between us and a server: `limit` bytes of its answers, then every connection is cut and none is taken any more."""

    port: int
    limit: int | None = None
    passed: int = 0
    open: list[socket.socket] = field(default_factory=list)
    guard: threading.Lock = field(default_factory=threading.Lock)

    def mend(self, limit: int | None = None) -> None:
        self.limit, self.passed = limit, 0

    def let(self, count: int) -> bool:
        """Whether so many bytes more may pass."""
        with self.guard:
            self.passed += count
            return self.limit is None or self.passed <= self.limit


@contextmanager
def wire(port: int) -> Iterator[Wire]:
    """A proxy before the server at `port` on the loopback address."""
    listener = socket.create_server(("127.0.0.1", 0))
    made = Wire(listener.getsockname()[1])

    def carry(source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        with suppress(OSError):
            while content := source.recv(65536):
                if is_answer and not made.let(len(content)):
                    break
                target.sendall(content)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                here, _ = listener.accept()
                if made.limit is not None and made.passed >= made.limit:
                    here.close()
                    continue
                there = socket.create_connection(("127.0.0.1", port))
                made.open += [here, there]
                for pair in ((here, there, False), (there, here, True)):
                    threading.Thread(target=carry, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield made
    finally:
        listener.close()
        for end in made.open:
            end.close()


def through(source: Source, port: int, aside: Path) -> Source:
    """The same source, reached by way of the proxy at `port`."""
    if source.endpoint:
        return source.model_copy(update={"endpoint": f"http://127.0.0.1:{port}"})
    at = urlsplit(source.url)
    assert source.known_hosts is not None
    known = aside / "known_hosts_of_the_wire"
    known.write_text(source.known_hosts.read_text().replace(f":{at.port} ", f":{port} "))
    return source.model_copy(update={"url": source.url.replace(f":{at.port}", f":{port}"), "known_hosts": known})


def limits(whole: int) -> dict[str, int]:
    """How many bytes pass before the first, a middle and the last of so many."""
    return {"first": 0, "middle": whole // 2, "last": whole - 1}


@dataclass(frozen=True)
class Broke:
    """One break: where, what was said of it, what was in sight after it, and how often the delivery counts in the end."""

    what: str
    moment: str
    said: str
    in_sight: int
    accepted: int
    seconds: float

    @property
    def is_good(self) -> bool:
        return bool(self.said) and self.in_sight == 0 and self.accepted == 1


def sources_cut(transport: str, simulated: Path, folder: Path) -> list[Broke]:
    """Fetching a delivery of a partner whose connection breaks; what is in sight is what waits in the inbox."""
    contracts = read_contracts(Settings().expectations)
    found = []
    with served(transport, folder / "served", folder / "secrets") as partner:
        put(delivery_in(simulated, "rn"), partner.root)
        partner.sync()
        port = urlsplit(partner.source.endpoint or partner.source.url).port
        assert port is not None
        with wire(port) as line:
            source = through(partner.source, line.port, folder)
            whole = _fetched(source, folder / "whole", contracts, line)
            for moment, limit in limits(whole).items():
                settings = settings_in(_made(folder / f"home-{moment}"))
                initialise(settings)
                with closing(opened(settings)) as ledger:
                    line.mend(limit)
                    began = time.monotonic()
                    broken = fetch(source, contracts["rn"], settings, ledger, QUICK, Clock(sleep=lambda _: None))
                    in_sight = len(waiting(settings, ledger, contracts))
                    line.mend()
                    fetch(source, contracts["rn"], settings, ledger, QUICK, Clock())
                    for item in waiting(settings, ledger, contracts):
                        ingest(item.path, settings, ledger)
                    accepted = len(ledger.deliveries(status="accepted"))
                found.append(Broke(f"{transport} of a partner cut", moment, broken.trouble or "", in_sight, accepted, time.monotonic() - began))  # fmt: skip
    return found


def _fetched(source: Source, folder: Path, contracts: dict[str, object], line: Wire) -> int:
    """How many bytes the server answers when all goes well."""
    settings = settings_in(_made(folder))
    initialise(settings)
    with closing(opened(settings)) as ledger:
        line.mend()
        done = fetch(source, contracts["rn"], settings, ledger, QUICK, Clock())  # type: ignore[arg-type]
        assert done.taken == 1, done
    return line.passed


def store_cut(simulated: Path, folder: Path) -> list[Broke]:
    """Accepted content goes to a bucket whose connection breaks; what is in sight is what the bucket shows that is not whole."""
    from tests.server.s3 import ENVIRONMENT, bucket_at
    from tests.server.s3 import served as bucket_served

    found, whole = [], 0
    os.environ.update(ENVIRONMENT)
    with bucket_served() as endpoint, wire(int(str(urlsplit(endpoint).port))) as line:
        for moment in ("whole", *MOMENTS):
            bucket = bucket_at(endpoint)
            settings = settings_in(_made(folder / f"store-{moment}"))
            initialise(settings)
            with closing(opened(settings)) as ledger:
                put_in = delivery_in(simulated, "rn")
                target = settings.inbox_path / "rn" / put_in.parent.name / put_in.name
                shutil.copytree(put_in, target)
                assert ingest(target, settings, ledger).status == "accepted"
                kept = settings.model_copy(
                    update={**bucket.settings, "store_endpoint": f"http://127.0.0.1:{line.port}"}
                )
                line.mend(None if moment == "whole" else limits(whole)[moment])
                began, said = time.monotonic(), ""
                try:
                    push_all(kept)
                except StoreTrouble as trouble:
                    said = type(trouble).__name__
                if moment == "whole":
                    whole = line.passed
                    continue
                line.mend()
                seen = Store.of(kept)
                assert seen is not None
                in_sight = sum(bool(seen.damage(name)) for name in seen.folders("raw"))
                push_all(kept)
                is_whole = damaged(kept) == {} and len(seen.folders("raw")) == 1
                found.append(
                    Broke("S3 of the store cut", moment, said, in_sight, int(is_whole), time.monotonic() - began)
                )
    return found


def database_restarted(simulated: Path, folder: Path) -> list[Broke]:
    """PostgreSQL is killed at once and started again while deliveries are taken in: before, in the middle of, and after one."""
    from tests.server.postgres import binaries, cluster

    binary = binaries()
    assert binary is not None, "PostgreSQL is not installed (Debian: apt-get install postgresql)"
    found = []
    with ExitStack() as stack:
        database = stack.enter_context(cluster(binary))
        os.environ["PGPASSFILE"] = str(database.passfile)
        for moment in MOMENTS:
            settings = Settings(
                **{**settings_in(_made(folder / f"database-{moment}")).model_dump(), "ledger_url": database.database()}
            )
            initialise(settings)
            source = delivery_in(simulated, "rn")
            target = settings.inbox_path / "rn" / source.parent.name / source.name
            shutil.copytree(source, target)
            began, said = time.monotonic(), ""
            with (
                closing(opened(settings)) as ledger,
                _dying_at(MOMENTS.index(moment), lambda: restart(database.folder, binary)) as count,
            ):
                try:
                    ingest(target, settings, ledger)
                except sa.exc.OperationalError as error:
                    said = type(error).__name__
                assert count[0] > 0
            with closing(opened(settings)) as ledger:
                in_sight = sum(record.status == "accepted" for record in ledger.deliveries()) if said else 0
                for item in waiting(settings, ledger, read_contracts(settings.expectations)):
                    ingest(item.path, settings, ledger)
                accepted = len(ledger.deliveries(status="accepted"))
            found.append(Broke("PostgreSQL restarted", moment, said or "nothing: it was connected anew", in_sight, accepted, time.monotonic() - began))  # fmt: skip
    return found


@contextmanager
def _dying_at(third: int, die: Callable[[], None]) -> Iterator[list[int]]:
    """Call `die` once, at the first, a middle or the last statement that a delivery sends to a ledger; gives how many were sent."""
    count, at = [0], (1, 6, 11)[third]

    def before(connection: sa.Connection, *rest: object) -> None:
        count[0] += 1
        if count[0] == at:
            die()

    sa.event.listen(sa.engine.Engine, "before_cursor_execute", before)
    try:
        yield count
    finally:
        sa.event.remove(sa.engine.Engine, "before_cursor_execute", before)


def restart(folder: Path, binary: Path) -> None:
    """Kill the server of a cluster as a crash does, and start it again over what it left."""
    from tests.server import postgres

    data = folder / "data"
    number = int((data / "postmaster.pid").read_text().splitlines()[0])
    options = (data / "postmaster.opts").read_text().split('"')[1::2]
    os.kill(number, signal.SIGQUIT)
    for _ in range(200):
        with suppress(ChildProcessError):
            os.waitpid(number, os.WNOHANG)
        if not Path(f"/proc/{number}").exists() or Path(f"/proc/{number}/stat").read_text().split()[2] == "Z":
            break
        time.sleep(0.05)
    (data / "postmaster.pid").unlink(missing_ok=True)
    port = int(next(word for word in options if word.isdigit()))
    with (folder / "log-again").open("wb") as log:
        server = subprocess.Popen(
            [binary / "postgres", *options], stdout=log, stderr=log, cwd="/",
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}, **postgres._unprivileged(),
        )  # fmt: skip
    postgres._wait(server, port)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder
