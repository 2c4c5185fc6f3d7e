"""The pages to work with (NiceGUI), in the process of the service.

Every page has two addresses, ``/ui/PAGE`` in English and ``/ui/fa/PAGE`` in Persian, because a page's language and
direction are set when it is sent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request
from nicegui import core, ui
from starlette.responses import RedirectResponse, Response

from pellucid.errors import PellucidError
from pellucid.service.access.accounts import sentence_for
from pellucid.service.access.answers import STATIC_FOLDER, problem
from pellucid.service.access.middleware import account_of
from pellucid.service.language.asked import translator_for
from pellucid.service.language.translator import Translator
from pellucid.service.pages import inspect, models, review, train, trends
from pellucid.service.pages.frame import THEMES, frame
from pellucid.service.pages.negotiation import PageRedirectMiddleware
from pellucid.service.pages.sockets import guard_sockets
from pellucid.service.pages.widgets import PAGE_QUERY, PAGE_TITLES, PAGES_PATH, Sentence, Visit, page_address
from pellucid.service.state import Service
from pellucid.service.unforeseen import log_unforeseen

PAGE_BUILDERS: dict[str, Callable[[Visit], Awaitable[None]]] = {
    "inspect": inspect.build,
    "review": review.build,
    "models": models.build,
    "train": train.build,
    "trends": trends.build,
}
BUILD_TIMEOUT_S = 30.0  # that a page may take to be built: the first one may have to load a model
RECONNECT_TIMEOUT_S = 30.0  # that a browser may be away before its page is forgotten


def add_pages(app: FastAPI, service: Service) -> None:
    """Add the pages to an application. NiceGUI is one per process: a second service takes the pages over."""
    for t in (Translator("en"), Translator("fa")):
        for page in PAGE_BUILDERS:
            _register(service, t, page)

    @app.get("/", include_in_schema=False)
    @app.get(PAGES_PATH, include_in_schema=False)
    @app.get(f"{PAGES_PATH}/", include_in_schema=False)
    @app.get(f"{PAGES_PATH}/fa", include_in_schema=False)
    def start(request: Request) -> RedirectResponse:
        return RedirectResponse(page_address(translator_for(request), "inspect"))

    guard_sockets()
    ui.run_with(
        app,
        mount_path=PAGES_PATH,
        title="pellucid",
        favicon=STATIC_FOLDER / "favicon.svg",
        dark=None,
        tailwind=False,
        reconnect_timeout=RECONNECT_TIMEOUT_S,
        show_welcome_message=False,
    )
    app.add_middleware(PageRedirectMiddleware)
    core.app.add_exception_handler(404, _not_found)  # NiceGUI's own answers are pages, with the error's text in them
    core.app.add_exception_handler(Exception, _raise)


async def _not_found(request: Request, error: Exception) -> Response:
    return problem(request, 404, str(getattr(error, "detail", "Not Found")))


async def _raise(_: Request, error: Exception) -> Response:
    raise error


def _register(service: Service, t: Translator, page: str) -> None:
    path = f"{t.prefix.removeprefix(PAGES_PATH)}/{page}"
    title = f"{t(PAGE_TITLES[page])} · pellucid"

    @ui.page(path, title=title, language="fa" if t.is_rtl else "en-US", response_timeout=BUILD_TIMEOUT_S)
    async def show(request: Request) -> None:
        theme = THEMES.get(request.cookies.get("theme", ""))
        query = {key: request.query_params[key] for key in PAGE_QUERY if key in request.query_params}
        is_first = "welcomed" not in request.cookies
        visit = Visit(service, translator_for(request), account_of(request), theme, query, is_first)
        with frame(visit, page):
            try:
                await PAGE_BUILDERS[page](visit)
            except PellucidError as error:
                Sentence(visit.t, sentence_for(visit.account, str(error)), role="alert")
            except Exception:
                Sentence(visit.t, log_unforeseen(f"the page {path}"), role="alert")
