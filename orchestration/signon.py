"""Sign-on in front of the pages: the OpenID Connect code flow, a short signed session, and the answer to the proxy whether a request may pass.

`python -m orchestration.signon PORT` serves it on the loopback address. It also gives out the pages of releases, and lets through to the
read-only webserver only what reads. What each role may see is in `roles.yml`; who has which role, in the file of the setting `roles`.
"""

from __future__ import annotations

import html
import re
import stat
import sys
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from orchestration.roles import DRAFT, KNOWN, RolesWrong, is_plain, read_matrix, read_members
from orchestration.settings import Settings
from orchestration.trouble import Mendable

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

LOOPBACK = "127.0.0.1"
USER, ROLES = (
    "X-Delictvrij-User",
    "X-Delictvrij-Roles",
)  # what the proxy passes on; what a client sends of these, it takes away
COOKIE = "__Host-delictvrij"
KEY_BYTES = 32
SAFE = frozenset({"GET", "HEAD"})
_RELEASE = re.compile(r"/releases/([^/]+)/")
_ACCOUNT = re.compile(r"[\w.@-]{1,63}")
_START = (
    ("page.status", "/status", "Status of deliveries"), ("page.operate", "/operate/", "Dagster, to operate"),
    ("page.view", "/view/", "Dagster, to look"), ("page.shelf", "/releases/", "Releases"),
)  # fmt: skip
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin",
}  # fmt: skip


class SignOnUnfit(Mendable):
    """The sign-on cannot be served as it is set; says which setting, and what to do."""


@dataclass(frozen=True)
class Decision:
    """What is decided about a request: 200, 401 (nobody is signed on) or 403; and who it is, with which roles."""

    status: int
    account: str = ""
    roles: tuple[str, ...] = ()
    action: str = ""


def decide(
    roles_file: Path, account: str | None, groups: Collection[str], path: str, method: str, state: str | None
) -> Decision:
    """Whether an account may make a request. What is not allowed is denied, also when the file of roles cannot be read.

    `state`: that of the release which the path names, `draft` or `approved`.
    """
    if not account:
        return Decision(401)
    matrix = read_matrix()
    try:
        roles = read_members(roles_file).roles_of(account, groups)
    except RolesWrong:
        roles = frozenset()
    page = matrix.page(path, method, state)
    if page is None or not matrix.allows(roles, page.action):
        return Decision(403, account, tuple(sorted(roles)), page.action if page else "")
    return Decision(200, account, tuple(sorted(roles)), page.action)


def state_of(settings: Settings, path: str) -> str | None:
    """The state of the release whose pages a path names: a draft, or one that is or was approved; None for any other."""
    found = _RELEASE.match(path)
    if found is None:
        return None
    from orchestration.home import readings
    from orchestration.releases.approval import LEFT, releases

    states = {release.tag: release.state for release in releases(readings(settings))}
    state = states.get(found[1])
    return KNOWN if state in LEFT else DRAFT if state == DRAFT else None


def only_reads(document: object) -> bool:
    """Whether a GraphQL document holds nothing but queries; False for one that cannot be read."""
    from graphql import GraphQLError, OperationDefinitionNode, OperationType, parse

    if not isinstance(document, str):
        return False
    try:
        parsed = parse(document, no_location=True)
    except (GraphQLError, RecursionError):
        return False
    operations = [one for one in parsed.definitions if isinstance(one, OperationDefinitionNode)]
    return bool(operations) and all(one.operation is OperationType.QUERY for one in operations)


def secret_in(path: Path | None, setting: str) -> str:
    """The secret in a file that nobody else can read. Raises SignOnUnfit."""
    if path is None or not path.expanduser().is_file():
        raise SignOnUnfit(f"the sign-on needs {setting}: a file with the secret, mode 0400")
    path = path.expanduser()
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise SignOnUnfit(f"the file of {setting} can be read by others; set its mode to 0400")
    return path.read_text(encoding="utf-8").strip()


def app(settings: Settings, viewer: str = "http://127.0.0.1:3001") -> Starlette:
    """The sign-on over the settings; `viewer` is where the read-only webserver is. Raises SignOnUnfit."""
    import httpx
    from authlib.integrations.base_client import OAuthError
    from authlib.integrations.starlette_client import OAuth
    from joserfc.errors import JoseError
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.sessions import SessionMiddleware
    from starlette.responses import (
        FileResponse,
        HTMLResponse,
        JSONResponse,
        PlainTextResponse,
        RedirectResponse,
        Response,
    )
    from starlette.routing import Route

    issuer, roles_file, public = _issuer(settings), settings.roles, settings.public_url.rstrip("/")
    if roles_file is None:
        raise SignOnUnfit("the sign-on needs the setting roles: the file that says who may do what")
    key = secret_in(settings.session_key_file, "session_key_file")
    if len(key) < KEY_BYTES:
        raise SignOnUnfit(f"the key of the sessions has {len(key)} characters; at least {KEY_BYTES} are needed")
    oauth = OAuth()
    oauth.register(
        "provider", client_id=settings.oidc_client_id, client_secret=secret_in(settings.oidc_client_secret_file, "oidc_client_secret_file"),
        server_metadata_url=f"{issuer.rstrip('/')}/.well-known/openid-configuration",
        client_kwargs={"scope": "openid profile", "code_challenge_method": "S256"},
    )  # fmt: skip
    provider = oauth.create_client("provider")

    def decided(request: Request, path: str, method: str) -> Decision:
        who = request.session.get("who") or {}
        is_over = time.time() > float(who.get("until", 0))
        account = None if is_over else str(who.get("account", ""))
        origin = request.headers.get("origin")
        if account and method not in SAFE and origin not in (None, public):
            return Decision(403, account)
        state = state_of(settings, path) if account and is_plain(path) else None
        return decide(roles_file, account, who.get("groups", ()), path, method, state)

    def refused(decision: Decision, request: Request, path: str, method: str) -> Response:
        if decision.status == 401 and method in SAFE and "text/html" in request.headers.get("accept", ""):
            return RedirectResponse(f"{public}/signon/in?next={path if is_plain(path) else '/'}", 302, HEADERS)
        said = "nobody is signed on" if decision.status == 401 else "this account may not do this"
        return PlainTextResponse(said + "\n", decision.status, HEADERS)

    def check(request: Request) -> Response:
        path = urlsplit(request.headers.get("x-forwarded-uri", "")).path
        method = request.headers.get("x-forwarded-method", "")
        decision = decided(request, path, method)
        if decision.status != 200:
            return refused(decision, request, path, method)
        return Response(status_code=200, headers={USER: decision.account, ROLES: ",".join(decision.roles)})

    async def sign_in(request: Request) -> Response:
        asked = request.query_params.get("next", "/")
        request.session.clear()
        request.session["next"] = asked if is_plain(asked) else "/"
        try:
            return await provider.authorize_redirect(request, f"{public}/signon/back")
        except (httpx.HTTPError, RuntimeError):
            return PlainTextResponse("the provider of the sign-on cannot be reached\n", 503, HEADERS)

    async def back(request: Request) -> Response:
        target = request.session.get("next", "/")
        try:
            token = await provider.authorize_access_token(
                request, claims_options={"iss": {"essential": True, "value": issuer}}
            )
            claims: Mapping[str, Any] = token["userinfo"]
        except (OAuthError, JoseError, httpx.HTTPError, KeyError, ValueError):
            request.session.clear()
            return PlainTextResponse("the sign-on did not succeed; try again\n", 403, HEADERS)
        request.session.clear()
        account = str(claims.get("preferred_username", ""))
        if not _ACCOUNT.fullmatch(account):
            return PlainTextResponse("the provider names no account\n", 403, HEADERS)
        groups = claims.get("groups")
        request.session["who"] = {
            "account": account, "groups": [str(one) for one in groups][:50] if isinstance(groups, list) else [],
            "until": time.time() + 60 * settings.session_minutes,
        }  # fmt: skip
        return RedirectResponse(public + target, 303, HEADERS)

    def sign_out(request: Request) -> Response:
        if request.headers.get("origin") not in (None, public):
            return PlainTextResponse("this account may not do this\n", 403, HEADERS)
        request.session.clear()
        return PlainTextResponse("signed off\n", 200, HEADERS)

    async def query(request: Request) -> Response:
        from starlette.concurrency import run_in_threadpool

        decision = await run_in_threadpool(decided, request, request.url.path, request.method)
        if decision.status != 200:
            return refused(decision, request, request.url.path, request.method)
        try:
            asked = await request.json()
        except ValueError:
            asked = None
        is_one = isinstance(asked, dict) and request.headers.get("content-type", "").startswith("application/json")
        if not is_one or not only_reads(asked.get("query")):
            denied = "whoever only looks may not change anything"
            return JSONResponse({"data": None, "errors": [{"message": denied}]}, 403, HEADERS)
        async with httpx.AsyncClient(timeout=60) as client:
            answer = await client.post(f"{viewer}/view/graphql", json=asked)
        return Response(answer.content, answer.status_code, media_type="application/json")

    def shown(request: Request) -> Response:
        path = request.url.path
        decision = decided(request, path, request.method)
        if decision.status != 200:
            return refused(decision, request, path, request.method)
        root = settings.releases.resolve()
        file = (root / path.removeprefix("/releases").lstrip("/")).resolve()
        if file.is_dir() and not path.endswith("/"):
            return RedirectResponse(f"{public}{path}/", 307, HEADERS)
        file = file / "index.html" if file.is_dir() else file
        if not file.is_relative_to(root) or not file.is_file():
            return PlainTextResponse("there is no such page\n", 404, HEADERS)
        return FileResponse(file, headers={name: HEADERS[name] for name in ("Cache-Control", "X-Content-Type-Options")})

    def start(request: Request) -> Response:
        decision = decided(request, "/", request.method)
        if decision.status != 200:
            return refused(decision, request, "/", request.method)
        matrix = read_matrix()
        links = "".join(
            f'<li><a href="{path}">{html.escape(said)}</a></li>'
            for action, path, said in _START
            if matrix.allows(decision.roles, action)
        )
        who = html.escape(f"{decision.account} ({', '.join(decision.roles)})")
        page = (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>delictvrij</title><h1>delictvrij</h1><p>{who}</p>'
            f'<ul>{links}</ul><form method="post" action="/signon/out"><button>sign off</button></form></html>'
        )
        return HTMLResponse(page, 200, HEADERS)

    return Starlette(
        routes=[
            Route("/signon/check", check, methods=["GET", "HEAD", "POST"]),
            Route("/signon/in", sign_in), Route("/signon/back", back), Route("/signon/out", sign_out, methods=["POST"]),
            Route("/view/graphql", query, methods=["POST"]), Route("/releases", shown), Route("/releases/{path:path}", shown),
            Route("/", start),
        ],
        middleware=[
            Middleware(
                SessionMiddleware, secret_key=key, session_cookie=COOKIE, max_age=60 * settings.session_minutes, https_only=True,
                same_site="lax",
            )
        ],
    )  # fmt: skip


def _issuer(settings: Settings) -> str:
    """The issuer, which is reached over TLS or on this machine. Raises SignOnUnfit."""
    issuer = settings.oidc_issuer or ""
    where = urlsplit(issuer)
    if where.scheme != "https" and not (where.scheme == "http" and where.hostname in (LOOPBACK, "localhost")):
        raise SignOnUnfit("the sign-on needs oidc_issuer: the https address of the OpenID Connect provider")
    return issuer


def main() -> None:
    """Serve the sign-on of the environment's settings: `PORT [ADDRESS OF THE READ-ONLY WEBSERVER]`."""
    import uvicorn

    from orchestration.home import home_settings

    try:
        served = app(home_settings(), *sys.argv[2:3])
    except Mendable as error:
        print(f"delictvrij: {error}", file=sys.stderr)
        sys.exit(1)
    uvicorn.run(served, host=LOOPBACK, port=int(sys.argv[1]), log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
