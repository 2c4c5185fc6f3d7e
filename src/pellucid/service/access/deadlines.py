"""Deadlines: a request has to come whole in its time, a connection has to ask for something.

uvicorn has none for headers or bodies, so that a sender who stops in the middle, as one without power does, would keep
what it holds for ever.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, cast

from fastapi import HTTPException, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

log = logging.getLogger("pellucid.service")
STALL_TIMEOUT_S = 10.0  # that a body may pause
HEADERS_TIMEOUT_S = 10.0  # until a connection has sent the headers of a request
MAX_CONNECTIONS = 1_000
RESERVED_FILES = 100  # of those that the process may have open, for all but connections
WARNING_PERIOD_S = 60.0  # between two warnings that all connections are taken
DEADLINE = "pellucid.deadline"  # in a request's scope, on the clock of its loop


class BodyDeadline:
    """Answers 408 to a request whose body does not come in time, and closes its connection (ASGI).

    Args:
        app: that requests are passed on to.
        seconds: that a request has, from its headers on.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app, self._seconds = app, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        clock = asyncio.get_running_loop().time
        deadline = scope[DEADLINE] = clock() + self._seconds
        is_whole = False

        async def receive_in_time() -> Message:
            nonlocal is_whole
            if is_whole:
                return await receive()  # that the client has gone
            try:
                async with asyncio.timeout_at(min(deadline, clock() + STALL_TIMEOUT_S)):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(
                    408,
                    f"The rest of the request did not come: it has {self._seconds:g} s from its start, and may pause"
                    f" for {STALL_TIMEOUT_S:g} s.",
                    {"connection": "close"},
                ) from None
            is_whole = not message.get("more_body", False)
            return message

        await self._app(scope, receive_in_time, send)


def remaining_seconds(request: Request) -> float:
    """Compute how long a request still has."""
    return max(0.0, float(request.scope[DEADLINE]) - asyncio.get_running_loop().time())


class ConnectionLimit:
    """Keeps so many connections at most: when one more comes, the oldest that waits for a request is closed.

    Args:
        max_connections: that may be open.
    """

    def __init__(self, max_connections: int) -> None:
        self._max_connections = max_connections
        self._open: dict[GuardedConnection, None] = {}  # the oldest first
        self._warned_at = -WARNING_PERIOD_S

    def add(self, connection: GuardedConnection) -> None:
        """Count a connection that was opened, and make room for it."""
        self._open[connection] = None
        if len(self._open) <= self._max_connections:
            return
        if time.monotonic() - self._warned_at >= WARNING_PERIOD_S:
            self._warned_at = time.monotonic()
            log.warning(
                "%d connections are open, as many as may be: those that send no request are closed",
                self._max_connections,
            )
        next((c for c in self._open if not c.is_asking()), connection).abort()

    def remove(self, connection: GuardedConnection) -> None:
        """Forget a connection that was closed."""
        self._open.pop(connection, None)


class GuardedConnection(asyncio.Protocol):
    """uvicorn's protocol, for a connection that is closed when it sends no request.

    Args:
        limit: that it counts towards.
        arguments: of uvicorn's own.
    """

    def __init__(self, limit: ConnectionLimit, **arguments: Any) -> None:
        self._limit = limit
        self._inner = cast(Callable[..., asyncio.Protocol], AutoHTTPProtocol)(**arguments)
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, and wait for the headers of a request."""
        self._transport = cast(asyncio.Transport, transport)
        self._inner.connection_made(transport)
        self._watch()
        self._limit.add(self)

    def data_received(self, data: bytes) -> None:
        """Pass on what came."""
        self._inner.data_received(data)
        self._watch()

    def eof_received(self) -> bool | None:
        """Pass on that no more will come."""
        return self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._limit.remove(self)
        self._stop_timer()
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        """Pass on that the client reads too slowly."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Pass on that it has read."""
        self._inner.resume_writing()

    def is_asking(self) -> bool:
        """Tell whether a request is being answered."""
        cycle = getattr(self._inner, "cycle", None)
        return cycle is not None and not cycle.response_complete

    def abort(self) -> None:
        """Close, now."""
        if self._transport is not None:
            self._transport.abort()

    def _watch(self) -> None:
        """Have a timer exactly while headers are waited for."""
        transport = self._transport
        if transport is None or self.is_asking():
            self._stop_timer()
        elif transport.get_protocol() is not self:  # a websocket took over
            self._limit.remove(self)
            self._stop_timer()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(HEADERS_TIMEOUT_S, self._give_up)

    def _give_up(self) -> None:
        self._timer = None
        if not self.is_asking():
            self.abort()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def max_connections() -> int:
    """Find out how many connections this process can have without running out of open files."""
    try:
        import resource
    except ImportError:  # Windows
        return MAX_CONNECTIONS
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return max(16, min(MAX_CONNECTIONS, allowed - RESERVED_FILES))
