"""Requests straight into an application: headers as they are on the wire, that no client would send."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

LOCAL_HOST = (b"host", b"127.0.0.1:8000")


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    app,
    path: str = "/models",
    method: str = "GET",
    headers: list[tuple[bytes, bytes]] | None = None,
    *,
    body: bytes = b"",
    chunks: int = 1,
    client: str = "127.0.0.1",
    **more: str,
) -> Answer:
    """Ask once; ``more`` are headers by name, ``headers`` replaces all of them."""
    own = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in more.items()]
    sent = [LOCAL_HOST, *own] if headers is None else headers
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path.partition("?")[0],
        "raw_path": path.encode(),
        "query_string": path.partition("?")[2].encode(),
        "root_path": "",
        "headers": sent,
        "client": (client, 1234),
        "server": ("127.0.0.1", 8000),
    }
    parts = [body] * chunks
    started: dict[str, Any] = {}
    content = b""

    async def receive() -> dict[str, Any]:
        if parts:
            return {"type": "http.request", "body": parts.pop(), "more_body": bool(parts)}
        await asyncio.sleep(30)
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        nonlocal content
        if message["type"] == "http.response.start":
            started.update(message)
        content += message.get("body", b"")

    asyncio.run(app(scope, receive, send))
    answered = {name.decode(): value.decode("latin-1") for name, value in started["headers"]}
    return Answer(started["status"], answered, content)


def bearer(key: str) -> str:
    """The value of an Authorization header."""
    return f"Bearer {key}"
