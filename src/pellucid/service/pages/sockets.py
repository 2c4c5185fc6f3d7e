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
    connect, handshake = handlers["connect"], handlers["handshake"]

    async def connect_own(sid: str, environ: dict[str, Any], auth: Any = None) -> None:
        page = parse_qs(str(environ.get("QUERY_STRING", ""))).get("client_id", [None])[0]
        if page is not None and not _is_own(environ, page):
            raise ConnectionRefusedError("this page is not of this login")
        await connect(sid, environ, auth)

    async def handshake_own(sid: str, message: Any) -> bool:
        if not (isinstance(message, dict) and _is_own(sio.get_environ(sid), message.get("client_id"))):
            return False
        return bool(await handshake(sid, message))

    sio.on("connect", connect_own)
    sio.on("handshake", handshake_own)
    for event in PAGE_EVENTS:
        sio.on(event, _for_own_page(handlers[event]))


def _is_own(environ: dict[str, Any], page: object) -> bool:
    """Find out whether a page was opened by the very account that a socket is of."""
    client = Client.instances.get(page) if isinstance(page, str) else None
    return client is not None and client.request.scope["account"] == environ["asgi.scope"]["account"]


def _for_own_page(handler: Callable[[str, dict[str, Any]], object]) -> Callable[[str, Any], Awaitable[None]]:
    async def checked(sid: str, message: Any) -> None:
        try:
            if message["client_id"] not in core.sio.rooms(sid):
                raise ValueError("another page")
            answer = handler(sid, message)
            if isawaitable(answer):
                await answer
        except Exception as error:  # what no page of ours sends: one line, and whoever sends it starts anew
            log.warning("a page's socket was closed: it sent what no page sends (%s)", type(error).__name__)
            await core.sio.disconnect(sid)

    return checked
