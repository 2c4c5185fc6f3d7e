"""What every request passes before the routes, outermost first: one concern a class (ASGI).

Starlette's ``TrustedHostMiddleware`` is not used: it cuts IPv6 addresses at their first colon, lets two Host headers
pass, and answers in plain text.
"""

from __future__ import annotations

import asyncio
import re
from typing import cast
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pellucid.service.access.accounts import Account, is_loopback
from pellucid.service.access.answers import refuse
from pellucid.service.access.brake import BrakedError
from pellucid.service.access.logins import Logins
from pellucid.service.access.sessions import Login

PUBLIC_PATHS = ("/health", "/ready", "/login", "/session")  # need no account; nor do the login page's files
STATIC_PREFIX = "/static/"
PAGE_PREFIXES = ("/ui", "/login")  # that a link on another site may lead to
STRANGERS_MAX_BODY_BYTES = 4_000
LOGIN_CHECK_PERIOD_S = 1.0  # between looks whether the login of an open websocket goes on
HOST_PATTERN = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(:\d{1,5})?", re.ASCII)
PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; frame-ancestors 'self';"
    " base-uri 'self'; form-action 'self'; object-src 'none'"
)
DATA_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"
SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


class SecurityHeadersMiddleware:
    """Tells browsers what an answer may do and who may embed it; every answer, of whatever part."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                headers = MutableHeaders(scope=message)
                is_page = headers.get("content-type", "").startswith("text/html")
                headers.setdefault("content-security-policy", PAGE_POLICY if is_page else DATA_POLICY)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class HostMiddleware:
    """Refuses requests for another host: a page of a name that was pointed at this machine (DNS rebinding).

    Args:
        app: that requests are passed on to.
        local_only: whether only this machine's own names are answered, which is so where no accounts keep others out.
    """

    def __init__(self, app: ASGIApp, local_only: bool) -> None:
        self._app, self._local_only = app, local_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            hosts = Headers(scope=scope).getlist("host")
            if len(hosts) > 1:
                await refuse(scope, send, 400, "The request names several hosts: send one Host header.")
                return
            named = HOST_PATTERN.fullmatch(hosts[0]) if hosts else None
            if hosts and named is None:
                await refuse(scope, send, 400, "The Host header is no name or address of a host.")
                return
            if self._local_only and not (named and is_loopback(named[1].lower())):
                sentence = (
                    f"This service is for its own machine: ask for 127.0.0.1 or localhost, not '{named and named[1]}'."
                )
                await refuse(scope, send, 403, sentence)
                return
        await self._app(scope, receive, send)


class OriginMiddleware:
    """Refuses what another site's page asks for, whatever it asks; only links may lead to the pages."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            headers = Headers(scope=scope)
            refusal = _foreign_origin(headers) or _foreign_fetch(scope, headers)
            if refusal is not None:
                await refuse(scope, send, *refusal)
                return
        await self._app(scope, receive, send)


def _foreign_origin(headers: Headers) -> tuple[int, str] | None:
    for origin in headers.getlist("origin"):
        try:
            parsed = urlsplit(origin)
        except ValueError:
            return 400, "The Origin header is no address of a site."
        if origin != "null" and not (parsed.scheme and HOST_PATTERN.fullmatch(parsed.netloc)):
            return 400, "The Origin header is no address of a site."
        if parsed.netloc.lower() != headers.get("host", "").lower():
            return 403, f"A page of '{origin}' may not use this service."
    return None


def _foreign_fetch(scope: Scope, headers: Headers) -> tuple[int, str] | None:
    site = headers.get("sec-fetch-site", "none")
    if site in ("same-origin", "none"):
        return None
    goes_to_page = scope["path"] == "/" or scope["path"].startswith(PAGE_PREFIXES)
    kind = (scope.get("method"), headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest"))
    if goes_to_page and kind == ("GET", "navigate", "document"):
        return None
    return 403, "A page of another site may not use this service; a link may lead to its pages."


class LoginMiddleware:
    """Finds out who asks, and asks strangers to log in; an open websocket ends with its login.

    Args:
        app: that requests are passed on to, with ``login`` and ``account`` in their scope.
        logins: that know who asks.
    """

    def __init__(self, app: ASGIApp, logins: Logins) -> None:
        self._app, self._logins = app, logins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        address = scope["client"][0] if scope.get("client") else ""
        is_public = scope["path"] in PUBLIC_PATHS or scope["path"].startswith(STATIC_PREFIX)
        login: Login | None = None
        try:
            login = self._logins.of_request(Headers(scope=scope), address)
        except BrakedError as error:
            if not is_public:
                await refuse(scope, send, 429, str(error), {"retry-after": str(error.seconds)})
                return
        if login is None and not is_public:
            await refuse(
                scope, send, 401, "This needs an account: send 'Authorization: Bearer KEY', or log in at /login."
            )
            return
        scope["login"], scope["account"] = login, login and login.account
        if scope["type"] == "websocket" and login is not None:
            socket = _LoggedInSocket(receive, send, self._logins, login)
            await self._app(scope, socket.receive, socket.send)
        else:
            await self._app(scope, receive, send)


class _LoggedInSocket:
    """A websocket's messages, both ways, for as long as its login goes on."""

    def __init__(self, receive: Receive, send: Send, logins: Logins, login: Login) -> None:
        self._receive, self._send, self._logins, self._login = receive, send, logins, login
        self._closed = False

    async def receive(self) -> Message:
        """Receive a message; a disconnection as soon as the login has ended."""
        message = asyncio.ensure_future(self._receive())
        try:
            while await self._goes_on():
                done, _ = await asyncio.wait({message}, timeout=LOGIN_CHECK_PERIOD_S)
                if done and await self._goes_on():
                    return message.result()
        finally:
            message.cancel()
        return {"type": "websocket.disconnect", "code": 1008, "reason": "The login has ended."}

    async def send(self, message: Message) -> None:
        """Send a message; nothing once the login has ended."""
        if await self._goes_on():
            self._closed = message["type"] == "websocket.close"
            await self._send(message)

    async def _goes_on(self) -> bool:
        if not self._closed and not self._logins.holds(self._login):
            self._closed = True
            await self._send({"type": "websocket.close", "code": 1008, "reason": "The login has ended."})
        return not self._closed


class BodyLimitMiddleware:
    """Refuses bodies that are too big: as they are declared, and as they come.

    Args:
        app: that requests are passed on to.
        max_body_bytes: that a request of an account may have; one without has 4 kB.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self._app, self._max_body_bytes = app, max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        allowed = STRANGERS_MAX_BODY_BYTES if scope["account"] is None else self._max_body_bytes
        sentence = f"The request is larger than the {allowed / 1e6:g} MB allowed: send fewer or smaller files."
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared[:20]) > allowed:
            await refuse(scope, send, 413, sentence, {"connection": "close"})
            return
        received_bytes = 0

        async def receive_limited() -> Message:
            nonlocal received_bytes
            message = await receive()
            received_bytes += len(message.get("body", b""))
            if received_bytes > allowed:
                raise HTTPException(413, sentence, {"connection": "close"})
            return message

        await self._app(scope, receive_limited, send)


def account_of(request: Request) -> Account:
    """Return who asks, as the middleware found out."""
    return cast(Account, request.scope["account"])
