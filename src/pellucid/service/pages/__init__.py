"""The pages to work with (NiceGUI), in the process of the service.

Every page has two addresses, ``/ui/PAGE`` in English and ``/ui/fa/PAGE`` in Persian, because a page's language and
direction are set when it is sent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from nicegui import ui
from starlette.responses import RedirectResponse

from pellucid.errors import PellucidError
from pellucid.service.access import account_of
from pellucid.service.pages import inspect, models, review, train, trends
from pellucid.service.pages.frame import MOUNT, NAMES, THEMES, Tag, Visit, address, frame
from pellucid.service.pages.texts import Say

if TYPE_CHECKING:
    from pellucid.service.app import Service

BUILD: dict[str, Callable[[Visit], Awaitable[None]]] = {
    "inspect": inspect.build,
    "review": review.build,
    "models": models.build,
    "train": train.build,
    "trends": trends.build,
}
PATIENCE = 30.0  # seconds that a page may take to be built: the first one may have to load a model
AWAY = 30.0  # seconds that a browser may be away before its page is forgotten


def add_pages(app: FastAPI, service: Service) -> None:
    """Add the pages to an application. NiceGUI is one per process: a second service takes the pages over."""
    for say in (Say("en"), Say("fa")):
        for page in BUILD:
            _register(service, say, page)

    @app.get("/", include_in_schema=False)
    @app.get(MOUNT, include_in_schema=False)
    @app.get(f"{MOUNT}/", include_in_schema=False)
    @app.get(f"{MOUNT}/fa", include_in_schema=False)
    def start(request: Request) -> RedirectResponse:
        return RedirectResponse(address(_wished(request), "inspect"))

    ui.run_with(
        app,
        mount_path=MOUNT,
        title="pellucid",
        favicon=Path(__file__).parent.parent / "static" / "favicon.svg",
        dark=None,
        tailwind=False,
        reconnect_timeout=AWAY,
        show_welcome_message=False,
    )


def _register(service: Service, say: Say, page: str) -> None:
    path = f"{say.prefix.removeprefix(MOUNT)}/{page}"
    title = f"{say(NAMES[page])} · pellucid"

    @ui.page(path, title=title, language="fa" if say.is_rtl else "en-US", response_timeout=PATIENCE)
    async def shown(request: Request) -> None:
        theme = THEMES.get(request.cookies.get("theme", ""))
        query = {key: request.query_params[key] for key in ("inspection", "model") if key in request.query_params}
        visit = Visit(service, say, account_of(request), theme, query)
        with frame(visit, page):
            try:
                await BUILD[page](visit)
            except PellucidError as error:
                Tag("p", str(error), "trouble", role="alert")


def _wished(request: Request) -> Say:
    """The language of the cookie, or the first of the browser's that there is."""
    chosen = request.cookies.get("language")
    offered = [part.partition(";")[0].strip()[:2] for part in request.headers.get("accept-language", "").split(",")]
    first = next((language for language in (chosen, *offered) if language in ("en", "fa")), "en")
    return Say("fa" if first == "fa" else "en")
