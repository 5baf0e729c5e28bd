"""The server profile, whole: every process that `docs/server.md` names, started by hand on the loopback address, from Debian and from PyPI."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from orchestration.home import initialise
from orchestration.settings import CHECKOUT, Settings
from tests.server import provider as oidc
from tests.server.postgres import binaries, cluster, free_port
from tests.server.s3 import ENVIRONMENT, bucket_at, served

ACCOUNTS: Mapping[str, tuple[str, ...]] = {
    "petra": ("partners",), "sanne": ("stewards",), "rosa": ("researchers",), "otto": ("checkers",), "ada": ("administrators",),
    "nobody": (), "stranger": ("some other group",),
}  # fmt: skip
ROLES = {
    "accounts": {"sanne": ["steward"]},
    "groups": {"partners": ["partner"], "researchers": ["researcher"], "checkers": ["output_checker"], "administrators": ["administrator"]},
    "organisations": {"petra": "rn"},
}  # fmt: skip
WAIT_SECONDS = 420


@dataclass(frozen=True)
class Stack:
    """What runs: its settings, its environment, and where its doors are. `direct` are the addresses behind the proxy."""

    settings: Settings
    public: str
    authority: Path
    direct: Mapping[str, str]
    provider: oidc.Provider
    folder: Path
    processes: Mapping[str, subprocess.Popen[bytes]]

    def stop(self, *names: str) -> None:
        """End processes that nobody needs any more, with what they started."""
        for name in names:
            _end(self.processes[name])

    def browser(self, **terms: Any) -> httpx.Client:
        """Somebody's browser: it knows the authority that signed the certificate, and keeps cookies."""
        import ssl

        context = ssl.create_default_context(cafile=str(self.authority))
        return httpx.Client(verify=context, base_url=self.public, timeout=60, **terms)

    def signed_on(self, account: str) -> httpx.Client:
        """The browser of somebody who has signed on by way of the provider."""
        browser = self.browser()
        answer = browser.get("/signon/in?next=/")
        assert answer.status_code == 302, answer.text
        entered = browser.post(answer.headers["location"], data={"account": account, "password": oidc.PASSWORD})
        assert entered.status_code == 303, entered.text
        back = browser.get(entered.headers["location"])
        assert back.status_code == 303, back.text
        return browser


def lacking() -> list[str]:
    """What this machine lacks to run it all."""
    found = {"postgresql": binaries() is not None, "caddy": shutil.which("caddy") is not None}
    return [name for name, is_there in found.items() if not is_there]


@contextmanager
def running(folder: Path, key: Path, prepare: Callable[[Settings], None], *, with_code: bool = True) -> Iterator[Stack]:
    """Start everything; `prepare` is called once the home is made and before what looks at it starts.

    Without `with_code` neither the code server nor the daemon runs: enough for whoever asks what the pages let through.
    """
    with ExitStack() as stack:
        binary = binaries()
        assert binary is not None
        database = stack.enter_context(cluster(binary))
        endpoint = stack.enter_context(served())
        provided = stack.enter_context(oidc.provider(ACCOUNTS))
        ports = {name: free_port() for name in ("code", "operate", "view", "signon", "status", "caddy")}
        for name, value in ENVIRONMENT.items():
            os.environ[name] = value
        os.environ["PGPASSFILE"] = str(database.passfile)
        settings = _settings(folder, key, database.database("ledger"), database.database("dagster"), bucket_at(endpoint).settings, provided, ports)  # fmt: skip
        initialise(settings)
        prepare(settings)
        environment = {**os.environ, **_variables(settings, ports, folder)}
        bin_folder = Path(sys.executable).parent
        workspace = str(CHECKOUT / "deploy" / "workspace.server.yaml")
        webserver = [str(bin_folder / "dagster-webserver"), "-w", workspace, "-h", "127.0.0.1"]
        commands: dict[str, list[str]] = {
            "operate": [*webserver, "-p", str(ports["operate"]), "--path-prefix", "/operate"],
            "view": [*webserver, "-p", str(ports["view"]), "--path-prefix", "/view", "--read-only"],
            "signon": [sys.executable, "-m", "orchestration.signon", str(ports["signon"]), f"http://127.0.0.1:{ports['view']}"],
            "caddy": ["caddy", "run", "--config", str(CHECKOUT / "deploy" / "Caddyfile"), "--adapter", "caddyfile"],
        }  # fmt: skip
        if with_code:
            code = [str(bin_folder / "dagster"), "api", "grpc", "-m", "orchestration.definitions", "-h", "127.0.0.1", "-p", str(ports["code"])]  # fmt: skip
            commands = {"code": [*code, "--location-name", "delictvrij"], **commands}
            commands["daemon"] = [str(bin_folder / "dagster-daemon"), "run", "-w", workspace]
        stack.enter_context(oidc.serving(_echo(), ports["status"]))
        processes = {
            name: stack.enter_context(_process(name, command, environment, folder))
            for name, command in commands.items()
        }
        authority = folder / "caddy" / "caddy" / "pki" / "authorities" / "local" / "root.crt"
        direct = {name: f"http://127.0.0.1:{ports[name]}" for name in ("operate", "view", "signon")}
        made = Stack(settings, settings.public_url, authority, direct, provided, folder, processes)
        for name in ("operate", "view"):
            wait_for(lambda name=name: httpx.get(f"{direct[name]}/{name}/server_info").status_code == 200, name, folder)  # type: ignore[misc]
        wait_for(authority.is_file, "caddy", folder)
        wait_for(lambda: made.browser().get("/").status_code == 401, "signon", folder)
        yield made


def _echo() -> Starlette:
    """In the place of the status page, whose process is started elsewhere: says which headers came to it."""
    return Starlette(routes=[Route("/{path:path}", lambda request: JSONResponse(dict(request.headers)))])


def wait_for(is_there: Callable[[], bool], what: str, folder: Path, seconds: float = WAIT_SECONDS) -> None:
    """Ask until it is there. Raises TimeoutError with the end of that process's log."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if is_there():
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    log = folder / f"{what}.log"
    raise TimeoutError(f"{what}: {log.read_text()[-3000:] if log.is_file() else 'no log'}")


@contextmanager
def _process(
    name: str, command: list[str], environment: Mapping[str, str], folder: Path
) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=CHECKOUT, env=dict(environment), stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # the group: a code server has children of its own
    process.wait(10)


def _settings(
    folder: Path, key: Path, ledger: str, dagster: str, store: Mapping[str, str], provided: oidc.Provider, ports: Mapping[str, int]
) -> Settings:  # fmt: skip
    secrets_of = {"session_key_file": secrets.token_urlsafe(48), "oidc_client_secret_file": oidc.SECRET}
    for name, secret in secrets_of.items():
        (folder / name).write_text(secret + "\n")
        (folder / name).chmod(0o400)
    (folder / "roles.yml").write_text(yaml.safe_dump(ROLES))
    return Settings(
        profile="server", home=folder / "home", key_file=key, inbox=folder / "inbox", admit_test_numbers=True, imputations=2, look_seconds=60,
        ledger_url=ledger, dagster_url=dagster, roles=folder / "roles.yml", public_url=f"https://localhost:{ports['caddy']}",
        oidc_issuer=provided.issuer, **{name: folder / name for name in secrets_of}, **store,
    )  # type: ignore[arg-type]  # fmt: skip


def _variables(settings: Settings, ports: Mapping[str, int], folder: Path) -> dict[str, str]:
    """The settings as an environment has them, and what else the processes read."""
    said = settings.model_dump(exclude_defaults=True, mode="json")
    return {
        **{f"DELICTVRIJ_{name.upper()}": str(value) for name, value in said.items()},
        "DAGSTER_HOME": str(settings.dagster_home), "PYTHONPATH": str(CHECKOUT), "XDG_DATA_HOME": str(folder / "caddy"),
        "XDG_CONFIG_HOME": str(folder / "caddy"), "DELICTVRIJ_CODE_HOST": "127.0.0.1", "DELICTVRIJ_CODE_PORT": str(ports["code"]),
        **{f"DELICTVRIJ_{name.upper()}": f"127.0.0.1:{ports[name]}" for name in ("signon", "operate", "view", "status")},
    }  # fmt: skip
