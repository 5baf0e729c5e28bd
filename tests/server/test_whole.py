"""The server profile as it runs: every process of it, real sign-on in front, one small delivery through, and nobody gets what is not theirs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from orchestration.settings import Settings
from orchestration.signon import COOKIE, ROLES, USER
from orchestration.warehouse.versions import current_id
from tests.conftest import settings_in
from tests.server import roles, whole
from tests.server.stack import Stack, lacking, running


@pytest.fixture(scope="module")
def embedded(_published_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The embedded home that published the same deliveries."""
    folder = tmp_path_factory.mktemp("embedded")
    shutil.copytree(_published_once, folder, dirs_exist_ok=True, symlinks=True)
    return settings_in(folder)


@pytest.fixture(scope="module")
def stack(embedded: Settings, simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    if lacking():
        pytest.skip(f"not installed: {', '.join(lacking())} (Debian packages)")

    def prepare(settings: Settings) -> None:
        whole.prepare(settings, simulated)
        roles.prepare_releases(settings)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("PGPASSFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED"):
            patch.delenv(name, raising=False)  # what the stack sets is put back afterwards
        with running(tmp_path_factory.mktemp("server"), embedded.key_path, prepare) as made:
            yield made


def test_a_delivery_through_the_server_gives_the_version_of_the_embedded_profile_also_on_another_machine(
    stack: Stack, embedded: Settings
) -> None:
    done = whole.through(stack)
    assert done.version == done.elsewhere == current_id(embedded)


def test_every_request_of_every_role_is_let_through_or_denied_as_the_matrix_says(stack: Stack) -> None:
    tried = roles.pages_tried(stack)
    assert [(one.account, one.method, one.path, one.status) for one in tried if not one.is_right] == []
    assert {one.action for one in tried if one.is_expected} == {"page.start", "page.operate", "page.view", "page.query", "page.status",
                                                                "page.shelf", "page.portal", "page.draft", "page.verdict"}  # fmt: skip
    assert sum(one.is_denied for one in tried) > 100


def test_every_mutation_of_the_schema_is_denied_to_whoever_looks(stack: Stack) -> None:
    denied = roles.mutations_tried(stack)
    assert denied.mutations > 30
    assert dict(denied.at_the_door) == dict.fromkeys(("sanne", "rosa", "otto", "ada"), denied.mutations)


@pytest.mark.parametrize(
    "document",
    ["query A { version } mutation B { setNuxSeen }", "subscription { __typename }", "{", "", None, ["{ version }"],
     "fragment f on Query { version }"],
)  # fmt: skip
def test_what_is_not_plainly_a_query_is_denied_to_whoever_looks(stack: Stack, document: object) -> None:
    with closing(stack.signed_on("rosa")) as viewer:
        assert viewer.post("/view/graphql", json={"query": document, "operationName": "A"}).status_code == 403
        assert viewer.post("/view/graphql", content=b"{ version }", headers={"content-type": "application/graphql"}).status_code == 403  # fmt: skip
        batch = [{"query": "{ version }"}, {"query": "mutation { setNuxSeen }"}]
        assert viewer.post("/view/graphql", json=batch).status_code == 403


def test_what_a_client_says_of_itself_is_taken_away_before_it_reaches_a_page(stack: Stack) -> None:
    forged = {USER: "ada", ROLES: "administrator"}
    with closing(stack.signed_on("rosa")) as viewer:
        came = viewer.get("/status", headers=forged).json()
    assert (came[USER.lower()], came[ROLES.lower()]) == ("rosa", "researcher")
    with closing(stack.browser()) as nobody:
        assert nobody.get("/status", headers=forged).status_code == 401
        for name in ("X-Forwarded-Uri", "X-Forwarded-Method"):
            assert nobody.get("/operate/", headers={name: "/", **forged}).status_code == 401
    with closing(stack.signed_on("petra")) as partner:
        assert (
            partner.get(
                "/operate/runs", headers={"X-Forwarded-Uri": "/", "X-Forwarded-Method": "GET", **forged}
            ).status_code
            == 403
        )


def test_a_session_that_was_changed_or_made_with_another_key_is_nobodys(stack: Stack) -> None:
    with closing(stack.signed_on("rosa")) as viewer:
        session = viewer.cookies[COOKIE]
    data, _, rest = session.partition(".")
    for changed in (data[:-4] + "AAAA." + rest, session[:-2] + "xx", "null", ""):
        with closing(stack.browser(cookies={COOKIE: changed})) as browser:
            assert browser.get("/view/runs").status_code == 401


@pytest.mark.parametrize(
    "spoilt", [{"iss": "http://elsewhere"}, {"aud": "another client"}, {"nonce": "another"}, {"exp": 1}, {"preferred_username": "a b"}],
    ids=lambda given: next(iter(given)),
)  # fmt: skip
def test_a_token_that_is_not_for_us_signs_nobody_on(stack: Stack, spoilt: dict[str, object]) -> None:
    stack.provider.spoils.update(spoilt)
    try:
        with pytest.raises(AssertionError):
            stack.signed_on("rosa")
    finally:
        stack.provider.spoils.clear()


def test_whoever_comes_back_without_having_been_sent_is_not_signed_on(stack: Stack) -> None:
    with closing(stack.browser()) as browser:
        assert browser.get("/signon/back?code=x&state=y").status_code == 403
        assert browser.get("/view/runs").status_code == 401


def test_a_browser_is_sent_to_sign_on_and_comes_back_to_where_it_was_and_nowhere_else(stack: Stack) -> None:
    page = {"accept": "text/html"}
    with closing(stack.browser()) as browser:
        sent = browser.get("/view/runs", headers=page)
        assert (sent.status_code, sent.headers["location"]) == (302, f"{stack.public}/signon/in?next=/view/runs")
    for elsewhere in ("https://elsewhere.example/", "//elsewhere.example/", "/\\elsewhere.example"):
        with closing(stack.browser()) as browser:
            answer = browser.get("/signon/in", params={"next": elsewhere})
            entered = browser.post(
                answer.headers["location"], data={"account": "rosa", "password": "a password of the tests only"}
            )
            assert browser.get(entered.headers["location"]).headers["location"] == f"{stack.public}/"


def test_another_site_cannot_act_in_the_name_of_who_is_signed_on(stack: Stack) -> None:
    with closing(stack.signed_on("sanne")) as steward:
        ask = {"query": "{ version }"}
        assert steward.post("/operate/graphql", json=ask).status_code == 200
        assert (
            steward.post("/operate/graphql", json=ask, headers={"origin": "https://elsewhere.example"}).status_code
            == 403
        )
        assert steward.post("/operate/graphql", json=ask, headers={"origin": stack.public}).status_code == 200
        assert steward.get("/operate/graphql", headers={"origin": "https://elsewhere.example"}).status_code == 403


def test_whoever_signs_off_is_nobody(stack: Stack) -> None:
    with closing(stack.signed_on("rosa")) as viewer:
        assert viewer.get("/view/runs").status_code == 200
        assert viewer.post("/signon/out").status_code == 200
        assert viewer.get("/view/runs").status_code == 401


def test_the_cookie_is_for_this_host_over_tls_alone_and_no_script_reads_it(stack: Stack) -> None:
    with closing(stack.browser()) as browser:
        cookie = browser.get("/signon/in").headers["set-cookie"].lower()
    assert cookie.startswith("__host-") and {"httponly", "secure", "path=/", "samesite=lax"} <= set(
        cookie.replace("; ", ";").split(";")
    )
    assert "domain" not in cookie


def test_no_process_has_a_secret_among_its_arguments_and_none_listens_beyond_this_machine(stack: Stack) -> None:
    words = [
        "a password of the tests only", "a secret of the tests only", "the secret of the client in tests",
        (stack.folder / "session_key_file").read_text().strip(),
    ]  # fmt: skip
    ours = {str(process.pid) for process in stack.processes.values()}
    seen = set()
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            said = process.read_bytes().decode(errors="replace")
        except OSError:
            continue
        seen |= {process.parent.name} & ours
        assert not [word for word in words if word in said]
    assert len(seen) >= 4  # those that are still needed: both webservers, sign-on and proxy
    for address in stack.direct.values():
        assert httpx.URL(address).host == "127.0.0.1"
    mine = {int(httpx.URL(address).port or 0) for address in stack.direct.values()}
    listening = [
        line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"
    ]
    hosts = {int(one.split(":")[1], 16): one.split(":")[0] for one in listening}
    assert {hosts[port] for port in mine} == {"0100007F"}
