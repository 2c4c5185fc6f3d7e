"""Answers that leave before a request reaches the routes: the same ``{"detail": "one sentence"}`` as theirs."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import Message, Scope, Send

MAX_CLOSE_REASON_BYTES = 120  # a websocket's control frame holds no more


async def refuse(scope: Scope, send: Send, status: int, sentence: str, more: Mapping[str, str] | None = None) -> None:
    """Answer a request or a websocket's handshake with an error; browsers without an account are led to the login.

    Args:
        scope: of the request.
        send: that takes the answer.
        status: of HTTP.
        sentence: for people.
        more: headers.
    """
    headers = dict(more or {})
    if status == 401 and scope["type"] == "http" and "text/html" in Headers(scope=scope).get("accept", ""):
        status, headers["location"] = 303, "/login"
    elif status == 401:
        headers["www-authenticate"] = "Bearer"
    answer = JSONResponse({"detail": sentence}, status, headers)
    if scope["type"] == "http":
        await answer(scope, _nothing, send)
    elif "websocket.http.response" in scope.get("extensions", {}):
        await send({"type": "websocket.http.response.start", "status": status, "headers": answer.raw_headers})
        await send({"type": "websocket.http.response.body", "body": answer.body})
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": sentence[:MAX_CLOSE_REASON_BYTES]})


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
