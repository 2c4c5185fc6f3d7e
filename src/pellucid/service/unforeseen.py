"""Errors that nobody foresaw: the log has them whole under a number, whoever asked is told that number."""

from __future__ import annotations

import logging
import secrets

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pellucid.service.access.answers import refuse

log = logging.getLogger("pellucid.service")


def log_unforeseen(doing: str) -> str:
    """Log the exception that is being handled under a number; return a sentence with it.

    Args:
        doing: what was being done, for the log.
    """
    number = secrets.token_hex(4)
    log.exception("error %s, unforeseen: %s", number, doing)
    return f"Something went wrong in the service, and its log says what: error {number}."


class UnforeseenErrorMiddleware:
    """Answers what nobody foresaw like every other error: 500, a sentence, and the number it has in the log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        is_started = False

        async def send_noting(message: Message) -> None:
            nonlocal is_started
            is_started = True
            await send(message)

        try:
            await self._app(scope, receive, send_noting)
        except Exception:
            sentence = log_unforeseen(f"{scope.get('method', 'websocket')} {scope['path']!r}")
            if not is_started:
                await refuse(scope, send, 500, sentence)
            elif scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1011, "reason": sentence})
            else:
                raise ConnectionAbortedError(sentence) from None  # half an answer must not look like a whole one
