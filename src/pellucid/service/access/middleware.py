"""The first and last to see every request: who asks, other sites' pages, bodies that are too big, security headers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request, cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pellucid.service.access.accounts import LOCAL_ACCOUNT, Account, Accounts, is_loopback
from pellucid.service.access.sessions import SESSION_COOKIE, Sessions

PUBLIC_PATHS = ("/health", "/ready", "/login", "/session", "/static/")  # need no account
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline';"
        " img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; frame-ancestors 'self';"
        " base-uri 'self'; form-action 'self'; object-src 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
    "referrer-policy": "same-origin",
}


class AccessMiddleware:
    """Lets requests in or refuses them (ASGI).

    Args:
        app: that requests are passed on to.
        accounts: who may use it; with none, requests have to be for this machine by name.
        sessions: of browsers.
        max_body_bytes: that a request may have.
    """

    def __init__(self, app: ASGIApp, accounts: Accounts, sessions: Sessions, max_body_bytes: int) -> None:
        self._app, self._accounts, self._sessions, self._max_body_bytes = app, accounts, sessions, max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _answer(scope, send, *refusal)
            return
        received_bytes = 0
        started = False

        async def receive_limited() -> Message:
            nonlocal received_bytes
            message = await receive()
            received_bytes += len(message.get("body", b""))
            if scope["type"] == "http" and received_bytes > self._max_body_bytes:
                raise _TooLargeError
            return message

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                own = {name for name, _ in message["headers"]}
                added = [(k.encode(), v.encode()) for k, v in SECURITY_HEADERS.items() if k.encode() not in own]
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        try:
            await self._app(scope, receive_limited, send_with_headers)
        except _TooLargeError:
            if not started:
                await _answer(scope, send, 413, self._too_large())

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        """Choose status and sentence of a request that goes no further."""
        host = headers.get("host", "")
        if not self._accounts and not is_loopback(urlsplit(f"//{host}").hostname or ""):
            return 403, f"This service is for its own machine: ask for 127.0.0.1 or localhost, not '{host}'."
        unsafe = scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS
        origin = headers.get("origin")
        if unsafe and origin is not None and urlsplit(origin).netloc != host:
            return 403, f"A page of '{origin}' may not use this service."
        account = self._account(headers) if self._accounts else LOCAL_ACCOUNT
        if account is None and not scope["path"].startswith(PUBLIC_PATHS):
            return 401, "This needs an account: send 'Authorization: Bearer KEY', or log in at /login."
        scope["account"] = account
        declared = headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > self._max_body_bytes:
            return 413, self._too_large()
        return None

    def _too_large(self) -> str:
        return f"The request is larger than the {self._max_body_bytes / 1e6:g} MB allowed: send fewer or smaller files."

    def _account(self, headers: Headers) -> Account | None:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._accounts.with_key(key.strip())
        cookie = cookie_parser(headers.get("cookie", "")).get(SESSION_COOKIE)
        return self._sessions.read(cookie, self._accounts) if cookie else None


def account_of(request: Request) -> Account:
    """Return who asks, as the middleware found out."""
    return cast(Account, request.scope["account"])


class _TooLargeError(Exception):
    """A body went on beyond what is allowed."""


async def _answer(scope: Scope, send: Send, status: int, sentence: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": sentence[:100]})
        return
    body = json.dumps({"detail": sentence}).encode()
    headers: list[tuple[str, str]] = [("content-type", "application/json"), ("content-length", str(len(body)))]
    wants_page = "text/html" in Headers(scope=scope).get("accept", "")
    if status == 401 and wants_page:
        status, headers = 303, [*headers, ("location", "/login")]
    elif status == 401:
        headers.append(("www-authenticate", "Bearer"))
    if status == 413:
        headers.append(("connection", "close"))
    raw = _encoded([*headers, *SECURITY_HEADERS.items()])
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def _encoded(headers: Sequence[tuple[str, Any]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), str(value).encode()) for name, value in headers]
