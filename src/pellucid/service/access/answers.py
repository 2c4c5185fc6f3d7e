"""Errors as answers: ``{"detail": "one sentence"}`` for programs, a page with that sentence for browsers."""

from __future__ import annotations

import html
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from string import Template

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import Message, Scope, Send

from pellucid.service.language.asked import translator_for

STATIC_FOLDER = Path(__file__).parent.parent / "static"
MAX_CLOSE_REASON_BYTES = 120  # a websocket's control frame holds no more
VARY_DATA = "Accept"  # the same address answers a page to browsers
VARY_PAGE = "Accept, Accept-Language, Cookie"
TITLES = {
    403: "This is not allowed",
    404: "There is nothing at this address",
    429: "The service is busy",
    500: "Something went wrong",
    503: "The service cannot do this now",
}
OTHER_TITLE = "This did not work"


def wants_page(headers: Headers) -> bool:
    """Find out whether who asks prefers a page to data: a browser names ``text/html``, programs name what they read."""
    weights = {"text/html": 0.0, "application/json": 0.0}
    for part in headers.get("accept", "").split(","):
        kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
        if kind in weights:
            weights[kind] = _weight(parameters)
    return 0 < weights["text/html"] >= weights["application/json"]


def problem(
    connection: HTTPConnection, status: int, sentence: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Make the answer that says what went wrong.

    Args:
        connection: the request, or a websocket's handshake.
        status: of HTTP.
        sentence: for people, in English; a page says it in the language that was asked for, where it is known in it.
        headers: more ones.
    """
    if connection.scope["type"] != "http" or not wants_page(connection.headers):
        return JSONResponse({"detail": sentence}, status, {"vary": VARY_DATA, **(headers or {})})
    t = translator_for(connection)
    said = t.sentence(sentence)
    page = _problem_page().substitute(
        language=t.language,
        direction="rtl" if t.is_rtl else "ltr",
        theme=f"body--{theme}" if (theme := connection.cookies.get("theme")) in ("dark", "light") else "",
        title=t(TITLES.get(status, OTHER_TITLE)),
        attributes=" ".join(f'{name}="{value}"' for name, value in said.attributes.items()),
        sentence=html.escape(said.text),
        status=t.number(status),
        home=t("To the pages"),
    )
    return HTMLResponse(page, status, {"vary": VARY_PAGE, **(headers or {})})


async def refuse(scope: Scope, send: Send, status: int, sentence: str, more: Mapping[str, str] | None = None) -> None:
    """Answer a request or a websocket's handshake with an error; browsers without an account are led to the login.

    Args:
        scope: of the request.
        send: that takes the answer.
        status: of HTTP.
        sentence: for people.
        more: headers.
    """
    connection, headers = HTTPConnection(scope), dict(more or {})
    answer: Response
    if status == 401 and scope["type"] == "http" and wants_page(connection.headers):
        answer = RedirectResponse("/login", 303, {"vary": VARY_DATA})
    else:
        if status == 401:
            headers["www-authenticate"] = "Bearer"
        answer = problem(connection, status, sentence, headers)
    if scope["type"] == "http":
        await answer(scope, _nothing, send)
    elif "websocket.http.response" in scope.get("extensions", {}):
        await send({"type": "websocket.http.response.start", "status": status, "headers": answer.raw_headers})
        await send({"type": "websocket.http.response.body", "body": answer.body})
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": sentence[:MAX_CLOSE_REASON_BYTES]})


def _weight(parameters: list[str]) -> float:
    """How much a kind of answer is wanted, 0 to 1 (RFC 9110); 0 where that is no number."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            value = value.strip()
            return float(value) if value.replace(".", "", 1).isdecimal() and value.isascii() else 0.0
    return 1.0


@cache
def _problem_page() -> Template:
    return Template((STATIC_FOLDER / "problem.html").read_text("utf-8"))


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
