"""What a page's websocket may do: act on the pages that its own login has opened, and on nothing else.

NiceGUI takes an event for any page whose number it names, and writes into the log what a page sends. The login itself
is checked with every message (:class:`pellucid.service.access.middleware.LoginMiddleware`).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import cache
from inspect import isawaitable
from typing import Any
from urllib.parse import parse_qs

from nicegui import core
from nicegui.client import Client
from socketio.exceptions import ConnectionRefusedError  # type: ignore[import-untyped]

log = logging.getLogger("pellucid.service")
PAGE_EVENTS = ("event", "javascript_response", "ack")  # of a page that the socket has introduced itself for
NAMESPACE = "/"


@cache
def guard_sockets() -> None:
    """Put the checks before NiceGUI's own handlers, once in a process."""
    sio = core.sio
    sio.eio.transports = ["websocket"]  # requests that wait for events would outlive their login
    handlers = sio.handlers[NAMESPACE]
    del handlers["log"]  # pages have no business in the log
    connect = handlers["connect"]

    async def connect_own(sid: str, environ: dict[str, Any], auth: Any = None) -> None:
        page = parse_qs(str(environ.get("QUERY_STRING", ""))).get("client_id", [None])[0]
        if page is not None and not _is_own(environ, page):
            raise ConnectionRefusedError("Implicit handshake failed")  # by which NiceGUI's script loads the page anew
        await connect(sid, environ, auth)

    sio.on("connect", connect_own)
    sio.on("handshake", _checked(handlers["handshake"], lambda sid, page: _is_own(sio.get_environ(sid), page)))
    for event in PAGE_EVENTS:
        sio.on(event, _checked(handlers[event], lambda sid, page: page in sio.rooms(sid)))


def _is_own(environ: dict[str, Any], page: object) -> bool:
    """Find out whether a page was opened by the very account that a socket is of."""
    client = Client.instances.get(page) if isinstance(page, str) else None
    return client is not None and client.request.scope["account"] == environ["asgi.scope"]["account"]


def _checked(handler: Callable[..., Any], may: Callable[[str, Any], bool]) -> Callable[..., Awaitable[Any]]:
    """Make a handler of messages that name a page: of another page, they are passed over.

    What no page of ours sends ends the socket: one line in the log, whatever else comes on it.
    """

    async def handle(sid: str, *messages: Any) -> Any:
        try:
            (message,) = messages
            if not may(sid, message["client_id"]):
                return False
            answer = handler(sid, message)
            return await answer if isawaitable(answer) else answer
        except Exception as error:
            log.warning("a page's socket was closed: it sent what no page sends (%s)", type(error).__name__)
            await core.sio.disconnect(sid)
            return False

    return handle
