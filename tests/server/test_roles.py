"""Roles: the full matrix against what each role is for, deny by default, and the commands themselves."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable
from pathlib import Path

import click
import httpx
import pytest
import yaml
from itsdangerous import TimestampSigner

from orchestration import audit, roles
from orchestration.cli import main as delictvrij
from orchestration.roles import NotAllowed, RolesWrong, is_plain, read_matrix, read_members, require, require_own
from orchestration.settings import Settings
from orchestration.signon import COOKIE, SignOnUnfit, app, decide, only_reads
from tests.server.roles import MAY, commands
from tests.server.stack import ROLES

COMMANDS = dict(commands())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "roles.yml"
    path.write_text(yaml.safe_dump({"accounts": {role: [role] for role in MAY} | {"two": ["partner", "researcher"]}, "organisations": {"partner": "rn"}}))  # fmt: skip
    return path


@pytest.fixture
def settings(tmp_path: Path, file: Path) -> Settings:
    return Settings(home=tmp_path / "home", roles=file)


def test_every_role_may_do_what_it_is_for_and_nothing_else() -> None:
    matrix = read_matrix()
    assert matrix.roles == set(MAY)
    for role, may in MAY.items():
        assert {action for action in matrix.actions if matrix.allows([role], action)} == may
    assert set(matrix.actions) == set(COMMANDS) | {page.action for page in matrix.pages}


def test_what_or_who_is_not_known_is_denied() -> None:
    matrix = read_matrix()
    for role in (*MAY, "root", ""):
        assert not matrix.allows([role], "ledger.rewrite")
        assert not matrix.allows([role], "")
    for action in matrix.actions:
        assert not matrix.allows(["root"], action)
        assert not matrix.allows([], action)


def test_a_matrix_that_names_a_role_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "roles.yml"
    path.write_text(yaml.safe_dump({"roles": {"steward": {}}, "commands": {"check": ["stewart"]}, "pages": []}))
    with pytest.raises(RolesWrong, match="stewart"):
        read_matrix(path)


@pytest.mark.parametrize("role", [*MAY, "nobody"])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_lets_in_who_may_and_nobody_else(
    name: str, role: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "signed_on", lambda: role)
    monkeypatch.setattr(roles, "signed_on", lambda: role)
    monkeypatch.setenv("DELICTVRIJ_HOME", str(settings.home))
    monkeypatch.setenv("DELICTVRIJ_ROLES", str(settings.roles))
    monkeypatch.setenv("DELICTVRIJ_OPENING_KEY_FILE", str(settings.home / "opening"))
    context = click.Context(delictvrij, info_name="delictvrij")
    for part in name.split(".")[:-1]:
        context = click.Context(delictvrij.commands[part], info_name=part, parent=context)
    command = COMMANDS[name]
    context = click.Context(command, info_name=name.split(".")[-1], parent=context)
    assert command.callback is not None
    denied = _refused(context, command.callback)
    assert denied == (name not in MAY.get(role, ()))


def _refused(context: click.Context, callback: Callable[..., object]) -> bool:
    """Whether a command refuses before it looks at what it is given: it is given nothing that it could take."""
    try:
        with context:
            callback(nothing_of_that_name=None)
    except click.ClickException as error:
        return "may not do this" in error.message
    except TypeError as error:
        assert "nothing_of_that_name" in str(error)
    return False


def test_without_a_file_of_roles_the_one_account_there_is_may_do_all(tmp_path: Path) -> None:
    embedded = Settings(home=tmp_path / "home")
    for action in read_matrix().actions:
        require(embedded, action)
    require_own(embedded, "rn")


def test_the_server_profile_is_not_without_a_file_of_roles_nor_with_a_password_in_a_setting(tmp_path: Path) -> None:
    urls = {"ledger_url": "postgresql://one@127.0.0.1/ledger", "dagster_url": "postgresql://one@127.0.0.1/dagster"}
    with pytest.raises(ValueError, match="roles"):
        Settings(home=tmp_path, profile="server", **urls)
    with pytest.raises(ValueError, match="PGPASSFILE") as told:
        Settings(home=tmp_path, ledger_url="postgresql://one:hush@127.0.0.1/ledger")
    assert "hush" not in str(told.value).split("input_value")[0]


def test_a_partner_asks_about_its_own_organisation_only(settings: Settings) -> None:
    require_own(settings, "rn", "partner")
    require_own(settings, "svg", "steward")
    with pytest.raises(NotAllowed, match="own organisation"):
        require_own(settings, "svg", "partner")


def test_the_groups_of_an_account_bring_its_roles(tmp_path: Path) -> None:
    path = tmp_path / "roles.yml"
    path.write_text(yaml.safe_dump(ROLES))
    members = read_members(path)
    assert members.roles_of("petra", ["partners", "others"]) == {"partner"}
    assert members.roles_of("sanne", ["researchers"]) == {"steward", "researcher"}
    assert members.roles_of("petra") == members.roles_of("stranger", ["others"]) == frozenset()
    assert roles.groups_of("no such account") == ()
    assert "root" in roles.groups_of("root")


@pytest.mark.parametrize(
    "content", ["accounts: {a: [king]}", "a: [", "accounts: 3", "people: {a: [steward]}", "accounts: {a: 5}"]
)
def test_a_file_of_roles_that_is_wrong_gives_nobody_anything(content: str, tmp_path: Path) -> None:
    path = tmp_path / "roles.yml"
    path.write_text(content)
    with pytest.raises(RolesWrong, match="nobody may do anything"):
        read_members(path)
    assert decide(path, "a", (), "/", "GET", None).status == 403
    with pytest.raises(RolesWrong):
        read_members(tmp_path / "not-there.yml")


def test_who_signed_on_counts_and_not_the_account_that_is_acted_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = audit.signed_on()
    for content, expected in (("0", "root"), (str(audit.NOBODY), None), ("4123456", "uid 4123456"), ("torn", None)):
        (tmp_path / "loginuid").write_text(content)
        monkeypatch.setattr(audit, "LOGIN", tmp_path / "loginuid")
        monkeypatch.setattr("os.getuid", lambda: 0)
        assert audit.signed_on() == (expected or "root")
    monkeypatch.undo()
    assert audit.signed_on() == here


@pytest.mark.parametrize(
    "path", ["/a//b", "/a/../b", "/a/./b", "/a/..", "/a%2fb", "/a\\b", "/a b", "/a\nb", "a", "", "/a\x7f"]
)
def test_a_path_that_does_not_mean_what_it_says_is_none(path: str) -> None:
    assert not is_plain(path)
    assert read_matrix().page(path, "GET", "approved") is None


def test_nobody_is_asked_to_sign_on_and_a_stranger_is_turned_away(file: Path) -> None:
    assert decide(file, None, (), "/view/runs", "GET", None).status == 401
    assert decide(file, "stranger", (), "/view/runs", "GET", None).status == 403
    assert decide(file, "researcher", (), "/view/runs", "GET", None).status == 200
    assert decide(file, "researcher", (), "/view/runs", "POST", None).status == 403
    assert decide(file, "two", (), "/releases/2026.1.0/public/", "GET", None).status == 403


@pytest.mark.parametrize(
    ("document", "reads"),
    [("{ a }", True), ("query A { a } query B { b }", True), ("query A { a } mutation B { b }", False), ("mutation { a }", False),
     ("subscription { a }", False), ("fragment f on A { a }", False), ("{" * 5000, False), (None, False)],
)  # fmt: skip
def test_a_document_reads_when_all_that_it_does_is_ask(document: object, reads: bool) -> None:
    assert only_reads(document) is reads


@pytest.fixture
def door(settings: Settings, tmp_path: Path) -> Settings:
    for name in ("session_key_file", "oidc_client_secret_file"):
        (tmp_path / name).write_text("k" * 40)
        (tmp_path / name).chmod(0o400)
    return settings.model_copy(
        update={"oidc_issuer": "https://sign.example", "public_url": "https://testserver",
                "session_key_file": tmp_path / "session_key_file", "oidc_client_secret_file": tmp_path / "oidc_client_secret_file"}
    )  # fmt: skip


def test_a_session_ends_when_its_time_is_over_whatever_the_browser_keeps(door: Settings) -> None:
    def status(until: float) -> int:
        who = {"who": {"account": "researcher", "groups": [], "until": until}}
        signed = TimestampSigner("k" * 40).sign(base64.b64encode(json.dumps(who).encode())).decode()
        asked = {"x-forwarded-uri": "/view/runs?x=1", "x-forwarded-method": "GET", "cookie": f"{COOKIE}={signed}"}

        async def ask() -> int:
            transport = httpx.ASGITransport(app(door))
            async with httpx.AsyncClient(transport=transport, base_url="https://testserver") as proxy:
                return (await proxy.get("/signon/check", headers=asked)).status_code

        return asyncio.run(ask())

    assert status(time.time() + 60) == 200
    assert status(time.time() - 1) == 401


@pytest.mark.parametrize(
    "spoilt",
    [{"oidc_issuer": None}, {"oidc_issuer": "http://sign.example"}, {"session_key_file": None}, {"oidc_client_secret_file": None}, {"roles": None}],
    ids=lambda given: next(iter(given)),
)  # fmt: skip
def test_a_sign_on_that_is_not_set_is_not_served(door: Settings, spoilt: dict[str, object]) -> None:
    with pytest.raises(SignOnUnfit):
        app(door.model_copy(update=spoilt))


def test_a_secret_that_others_can_read_or_that_is_short_is_not_used(door: Settings) -> None:
    assert door.session_key_file is not None
    door.session_key_file.chmod(0o444)
    with pytest.raises(SignOnUnfit, match="0400"):
        app(door)
    door.session_key_file.chmod(0o600)
    door.session_key_file.write_text("short")
    with pytest.raises(SignOnUnfit, match="at least"):
        app(door)
