"""A small OpenID Connect provider: the code flow with PKCE over real HTTP, for accounts of the tests. What a university or ministry would run."""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode

import uvicorn
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.server.postgres import free_port

CLIENT, SECRET, PASSWORD = "delictvrij", "the secret of the client in tests", "a password of the tests only"


@dataclass
class Provider:
    """A provider and what it hands out. `spoils` changes the claims of every token that it signs, as a wrong provider would."""

    issuer: str
    accounts: Mapping[str, tuple[str, ...]]
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, parameters={"kid": "one"}))
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    spoils: dict[str, Any] = field(default_factory=dict)

    def configuration(self, _: Request) -> Response:
        return JSONResponse(
            {
                "issuer": self.issuer, "authorization_endpoint": f"{self.issuer}/authorize", "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys", "response_types_supported": ["code"], "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"], "code_challenge_methods_supported": ["S256"],
            }
        )  # fmt: skip

    def keys(self, _: Request) -> Response:
        return JSONResponse({"keys": [self.key.as_dict(private=False)]})

    async def authorize(self, request: Request) -> Response:
        if request.method == "GET":
            return HTMLResponse("<form method=post><input name=account><input name=password type=password></form>")
        given = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        asked = dict(request.query_params)
        if given.get("account") not in self.accounts or given.get("password") != PASSWORD:
            return PlainTextResponse("no", 403)
        if asked.get("client_id") != CLIENT or asked.get("code_challenge_method") != "S256":
            return PlainTextResponse("not a client, or without PKCE", 400)
        code = secrets.token_urlsafe(16)
        self.codes[code] = {**asked, "account": given["account"]}
        back = urlencode({"code": code, "state": asked["state"]})
        return RedirectResponse(f"{asked['redirect_uri']}?{back}", 303)

    async def token(self, request: Request) -> Response:
        given = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        asked = self.codes.pop(given.get("code", ""), None)
        expected = "Basic " + base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        verifier = hashlib.sha256(given.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(verifier).rstrip(b"=").decode()
        if asked is None or request.headers.get("authorization") != expected or challenge != asked["code_challenge"]:
            return JSONResponse({"error": "invalid_grant"}, 400)
        now = int(time.time())
        claims = {
            "iss": self.issuer, "aud": CLIENT, "sub": f"id of {asked['account']}", "nonce": asked["nonce"], "iat": now, "exp": now + 300,
            "preferred_username": asked["account"], "groups": list(self.accounts[asked["account"]]), **self.spoils,
        }  # fmt: skip
        signed = jwt.encode({"alg": "RS256", "kid": "one"}, claims, self.key)
        return JSONResponse({"access_token": secrets.token_urlsafe(16), "token_type": "Bearer", "id_token": signed})

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self.configuration), Route("/keys", self.keys),
                Route("/authorize", self.authorize, methods=["GET", "POST"]), Route("/token", self.token, methods=["POST"]),
            ]
        )  # fmt: skip


@contextmanager
def provider(accounts: Mapping[str, tuple[str, ...]]) -> Iterator[Provider]:
    """A provider that serves these accounts, each with its groups."""
    port = free_port()
    made = Provider(f"http://127.0.0.1:{port}", accounts)
    with serving(made.app(), port):
        yield made


@contextmanager
def serving(app: Starlette, port: int) -> Iterator[None]:
    """Serve an application from a thread of this process."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(10)
