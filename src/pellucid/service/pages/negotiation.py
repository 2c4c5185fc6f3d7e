"""Addresses of data that a browser opens lead to the page that shows it: content negotiation by ``Accept``."""

from __future__ import annotations

import re
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pellucid.service.access.answers import VARY_DATA, VARY_PAGE, wants_page
from pellucid.service.language.asked import translator_for
from pellucid.service.pages.widgets import PAGE_QUERY, page_address

PAGES_OF_DATA = {  # address of data or of a page without its language, and the page; groups are of the page's query
    r"/inspect": "inspect",
    r"/review": "review",
    r"/inspections": "review",
    r"/inspections/(?P<inspection>\d{1,9})(/decisions)?": "review",
    r"/models": "models",
    r"/models/(?P<model>[^/]+)(/limit|/zones)?": "models",
    r"/comparisons|/changes": "models",
    r"/train|/trainings": "train",
    r"/trends": "trends",
}


class PageRedirectMiddleware:
    """Leads browsers to pages, and says that the answer to others depends on what they accept."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        page, named = _page_of(scope["path"])
        if page is None:
            await self._app(scope, receive, send)
        elif wants_page(Headers(scope=scope)):
            query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode("latin-1")).items()}
            query = {name: value for name, value in (query | named).items() if name in PAGE_QUERY}
            address = page_address(translator_for(HTTPConnection(scope)), page, **query)
            await RedirectResponse(address, 303, {"vary": VARY_PAGE})(scope, receive, send)
        else:
            await self._app(scope, receive, _with_vary(send))


def _page_of(path: str) -> tuple[str | None, dict[str, str]]:
    """Find the page that shows what is at an address, and what its query has to name."""
    for pattern, page in PAGES_OF_DATA.items():
        if found := re.fullmatch(f"(?:{pattern})/?", path):
            return page, found.groupdict()
    return None, {}


def _with_vary(send: Send) -> Send:
    async def send_with_vary(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).setdefault("vary", VARY_DATA)
        await send(message)

    return send_with_vary
