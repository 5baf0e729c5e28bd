"""Who may do what, tried: every role on every command and every page of a running server, and every mutation of the UI's schema.

`python -m tests.server.roles` prints the matrix and how many mutations a viewer is denied.
"""

from __future__ import annotations

import secrets
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import click
import httpx

from orchestration.cli import main as delictvrij
from orchestration.roles import read_matrix
from tests.server import graphql
from tests.server.stack import Stack, running

# Written a second time, by role, from what each role is for; `roles.yml` has it by action.
MAY: Mapping[str, frozenset[str]] = {
    "partner": frozenset(["simulate", "check", "specification", "seal", "page.portal", "page.shelf", "page.start"]),
    "steward": frozenset(
        ["simulate", "check", "specification", "seal", "recipient", "refresh", "correct", "retract", "waive", "sign-off", "status", "rules", "versions", "diff", "revisions", "reproduce", "known-on", "reproduce-fit", "permission.grant", "permission.revoke", "permission.list", "consent.take", "consent.list", "withdraw", "release.draft", "release.list", "release.downloads", "follow-up", "checklist", "alerts.test", "alerts.list", "page.operate", "page.view", "page.query", "page.status", "page.draft", "page.portal", "page.shelf", "page.start"]
    ),
    "researcher": frozenset(
        ["simulate", "sign-off", "status", "rules", "versions", "diff", "revisions", "reproduce", "known-on", "outcome", "fit", "multiverse", "reproduce-fit", "release.draft", "release.list", "follow-up", "checklist", "page.view", "page.query", "page.status", "page.draft", "page.portal", "page.shelf", "page.start"]
    ),
    "output_checker": frozenset(
        ["status", "versions", "permission.grant", "permission.revoke", "permission.list", "consent.list", "release.approve", "release.reject", "release.list", "release.hand-over", "release.downloads", "follow-up", "checklist", "audit", "page.view", "page.query", "page.status", "page.verdict", "page.draft", "page.portal", "page.shelf", "page.start"]
    ),
    "administrator": frozenset(
        ["init", "demo", "simulate", "recipient", "status", "versions", "release.list", "audit", "follow-up", "checklist", "alerts.test", "alerts.list", "backup", "restore", "ui", "store.push", "store.pull", "store.verify", "page.operate", "page.view", "page.query", "page.status", "page.portal", "page.shelf", "page.start"]
    ),
}  # fmt: skip
WHO: Mapping[str, str | None] = {
    "petra": "partner", "sanne": "steward", "rosa": "researcher", "otto": "output_checker", "ada": "administrator",
    "nobody": None, "stranger": None,
}  # fmt: skip
TAG, DRAFTED, STRANGE = "2026.1.0", "2026.2.0", "2026.9.9"
# Requests and the action that each is; None: no page at all.
REQUESTS: tuple[tuple[str, str, str | None], ...] = (
    ("GET", "/", "page.start"), ("GET", "/operate/runs", "page.operate"), ("POST", "/operate/graphql", "page.operate"),
    ("GET", "/view/runs", "page.view"), ("POST", "/view/graphql", "page.query"), ("GET", "/view/graphql?query={__typename}", None),
    ("POST", "/view/report_asset_materialization/x", None), ("GET", "/status", "page.status"), ("GET", "/status.nl.html", "page.status"),
    ("GET", "/releases/", "page.shelf"), ("GET", f"/releases/{TAG}/public/index.html", "page.portal"),
    ("GET", f"/releases/{DRAFTED}/public/index.html", "page.draft"), ("GET", f"/releases/{STRANGE}/public/index.html", None),
    ("GET", f"/releases/{TAG}/zone/parquet/client.parquet", "page.zone"), ("GET", f"/releases/{TAG}/disclosure.json", "page.verdict"),
    ("GET", f"/releases/{TAG}/release.json", None), ("GET", "/ledger.sqlite", None), ("GET", "/raw/", None), ("DELETE", "/view/runs", None),
    ("GET", "/signon/check", None), ("GET", "/VIEW/runs", None), ("GET", f"/releases/{TAG}/public/..%2fzone/parquet/client.parquet", None),
    ("GET", f"/releases/{TAG}/public//index.html", None),
)  # fmt: skip


def commands(group: click.Group = delictvrij, above: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command with the name that it has in `roles.yml`."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{above}{name}.")
        else:
            yield f"{above}{name}", command


@dataclass(frozen=True)
class Tried:
    """One request of one account: what came of it, and whether it was to be let through."""

    account: str
    method: str
    path: str
    action: str | None
    status: int
    is_expected: bool

    @property
    def is_denied(self) -> bool:
        return self.status in (401, 403)

    @property
    def is_right(self) -> bool:
        return self.is_denied != self.is_expected


def prepare_releases(settings: object) -> None:
    """Put an approved and a drafted release on record, each with a page, so that there is something to be denied."""
    from orchestration.home import opened
    from orchestration.settings import Settings

    assert isinstance(settings, Settings)
    ledger = opened(settings)
    for tag in (TAG, DRAFTED, STRANGE):
        for name in ("public/index.html", "zone/parquet/client.parquet", "disclosure.json", "release.json"):
            path = settings.releases / tag / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("something")
    (settings.releases / "index.html").write_text("the shelf")
    made = {"version_id": "v", "fit_id": "f", "after": None, "manifest_sha256": "0" * 64}
    ledger.record_draft({"tag": TAG, **made}, "rosa")
    ledger.record_draft({"tag": DRAFTED, **made}, "rosa")
    assert ledger.decide_release(TAG, "approved", "otto", "looked at")
    ledger.close()


def pages_tried(stack: Stack) -> list[Tried]:
    """Every request by every account, and by nobody."""
    found = []
    for account, role in (*WHO.items(), ("", None)):
        with closing(stack.signed_on(account) if account else stack.browser()) as browser:
            for method, path, action in REQUESTS:
                may = action is not None and action in MAY.get(role or "", frozenset())
                status = _status(browser, method, path)
                found.append(Tried(account or "(nobody signed on)", method, path, action, status, may))
    return found


def _status(browser: httpx.Client, method: str, path: str) -> int:
    body = {"json": {"query": "{ version }"}} if method == "POST" else {}
    return browser.request(method, path, **body).status_code  # type: ignore[arg-type]


@dataclass(frozen=True)
class Denied:
    """How many mutations there are, how many a viewer is denied at the door, and how many the read-only webserver denies by itself."""

    mutations: int
    at_the_door: Mapping[str, int]
    by_dagster: int
    let_by_dagster: tuple[str, ...]


def mutations_tried(stack: Stack, *, also_behind: bool = False) -> Denied:
    """Every mutation of the schema by everybody who may look; `also_behind` tries the read-only webserver by itself, too."""
    with closing(stack.signed_on("sanne")) as steward:
        known = list(graphql.mutations(steward, "/operate/graphql"))
    viewers = [account for account, role in WHO.items() if role and "page.query" in MAY[role]]
    denied = {}
    for account in viewers:
        with closing(stack.signed_on(account)) as browser:
            answers = [browser.post("/view/graphql", json={"query": one.document}) for one in known]
            assert browser.post("/view/graphql", json={"query": "{ version }"}).json()["data"]["version"]
        denied[account] = sum(answer.status_code == 403 and answer.json()["data"] is None for answer in answers)
    let = []
    for one in known if also_behind else ():
        answer = httpx.post(f"{stack.direct['view']}/view/graphql", json={"query": one.document}, timeout=60)
        if not graphql.is_denied_by_dagster(answer):
            let.append(one.name)
    return Denied(len(known), denied, len(known) - len(let), tuple(let))


def main() -> int:
    matrix = read_matrix()
    names = [name for name, _ in commands()]
    print(f"{'action':20}{''.join(f'{role:>16}' for role in sorted(matrix.roles))}")
    for action in sorted(matrix.actions):
        marks = ("yes" if matrix.allows([role], action) else "-" for role in sorted(matrix.roles))
        print(f"{action:20}{''.join(f'{mark:>16}' for mark in marks)}")
    print(f"{len(names)} commands, {sum(name not in matrix.actions for name in names)} of them without a row")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "key").write_text(secrets.token_hex(32))
        (folder / "key").chmod(0o400)
        with running(folder, folder / "key", prepare_releases, with_code=False) as stack:
            tried = pages_tried(stack)
            denied = mutations_tried(stack, also_behind=True)
    wrong = [one for one in tried if not one.is_right]
    print(f"{len(tried)} requests by {len(WHO)} accounts and nobody: {len(wrong)} not as expected")
    for one in wrong:
        print(f"  {one.account} {one.method} {one.path}: {one.status}")
    for account, count in denied.at_the_door.items():
        print(f"mutations denied to {account} ({WHO[account]}) who looks: {count} of {denied.mutations}")
    print(
        f"denied by the read-only webserver alone: {denied.by_dagster} of {denied.mutations}; not: {', '.join(denied.let_by_dagster)}"
    )
    is_right = not wrong and set(denied.at_the_door.values()) == {denied.mutations}
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
