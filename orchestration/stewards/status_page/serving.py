"""The status page beside Dagster, on the loopback address, in a process of its own: read anew at each request, never written.

`python -m orchestration.stewards.status_page.serving PORT` serves the home of the environment until the pipe that is its standard input is
closed, which happens when whoever started it ends, in whatever way; without a pipe, until it is stopped. Neither Dagster nor Great Expectations is loaded here.
"""

from __future__ import annotations

import os
import stat
import sys
import threading
from datetime import datetime
from typing import TYPE_CHECKING

from orchestration.deliveries.contracts import read_organisations
from orchestration.home import home_settings, readings
from orchestration.settings import Settings
from orchestration.stewards.status_page.overview import overview
from orchestration.stewards.status_page.page import LANGUAGES, file_name, page, policy
from orchestration.trouble import Mendable

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

LOOPBACK = "127.0.0.1"


def headers() -> dict[str, str]:
    """What goes with every page: nothing from elsewhere, nothing kept, in nobody's frame."""
    return {
        "Content-Security-Policy": policy(),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }


def app(settings: Settings) -> Starlette:
    """`/status.nl.html` and `/status.en.html`; `/` goes to the language that the browser asks for, Dutch where it asks for neither.

    Only requests to the loopback address by its own names are answered.
    """
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse
    from starlette.routing import Route

    def first(request: Request) -> Response:
        asked = request.headers.get("accept-language", "").lower()
        language = "en" if asked.startswith("en") else "nl"
        return RedirectResponse(f"/{file_name(language)}", status_code=307)

    def shown(request: Request) -> Response:
        language = request.url.path.removeprefix("/status.").removesuffix(".html")
        try:
            seen = overview(
                settings, readings(settings), read_organisations(settings.expectations), datetime.now().astimezone()
            )
        except Mendable as error:
            return PlainTextResponse(f"delictvrij: {error}\n", status_code=503, headers=headers())
        return HTMLResponse(page(seen, language), headers=headers())

    pages = [Route(f"/{file_name(language)}", shown) for language in LANGUAGES]
    return Starlette(
        routes=[Route("/", first), *pages],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[LOOPBACK, "localhost"])],
    )


def main() -> None:
    """Serve the home of the environment on the port that is given: as long as whoever started it holds the other end of a pipe to it,
    or, started by a service manager, until it is stopped."""
    import uvicorn

    port = int(sys.argv[1])
    config = uvicorn.Config(app(home_settings()), host=LOOPBACK, port=port, log_level="warning", access_log=False)
    server = uvicorn.Server(config)

    def wait() -> None:
        sys.stdin.read()
        server.should_exit = True

    if stat.S_ISFIFO(os.fstat(sys.stdin.fileno()).st_mode):
        threading.Thread(target=wait, daemon=True).start()
    server.run()


if __name__ == "__main__":
    main()
