"""Who may do what, and what never gets in: accounts, sessions of browsers, other sites' pages, bodies that are too big.

An account is a name, a role and the SHA-256 of a key of 256 random bits; programs send the key, browsers log in with it
once. Without accounts the service listens to this machine only, and whoever sits at it is an engineer.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import secrets
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, cast
from urllib.parse import urlsplit

import tomli_w
from itsdangerous import BadSignature, URLSafeTimedSerializer
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import Headers
from starlette.requests import Request, cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pellucid._io.files import write_text
from pellucid.errors import DataError, ParameterError
from pellucid.models.file import first_validation_error

Role = Literal["operator", "engineer"]
COOKIE = "pellucid"
SESSION = 12 * 3600  # seconds that a browser stays logged in: a shift
OPEN = ("/health", "/ready", "/login", "/session", "/static/")  # need no account
SAFE = ("GET", "HEAD", "OPTIONS")
HEADERS = {
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline';"
        " img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; frame-ancestors 'self';"
        " base-uri 'self'; form-action 'self'; object-src 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
    "referrer-policy": "same-origin",
}


class Account(BaseModel):
    """One line of the accounts' file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[\w.@-]{1,64}$")
    role: Role
    key_sha256: str = Field(pattern="^[0-9a-f]{64}$")


LOCAL = Account(name="local", role="engineer", key_sha256="0" * 64)  # whoever sits at this machine


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    account: list[Account] = []


@dataclass(frozen=True)
class Accounts:
    """Everybody who may use a service from elsewhere."""

    members: tuple[Account, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.members)

    @classmethod
    def read(cls, path: Path) -> Self:
        """The accounts of a TOML file, none when it does not exist.

        Raises:
            DataError: the file cannot be read or understood.
        """
        try:
            content = tomllib.loads(path.read_text("utf-8")) if path.exists() else {}
            return cls(tuple(_File.model_validate(content).account))
        except (OSError, ValueError) as error:
            said = first_validation_error(error) if isinstance(error, ValidationError) else str(error)
            raise DataError(f"The accounts in '{path}' cannot be understood: {said}.") from None

    def with_key(self, key: str) -> Account | None:
        """Whose key this is; takes the same time for any wrong one."""
        digest = hashlib.sha256(key.encode()).hexdigest()
        found = [a for a in self.members if hmac.compare_digest(a.key_sha256, digest)]
        return found[0] if found else None

    def named(self, name: str) -> Account | None:
        """The account of a name."""
        return next((a for a in self.members if a.name == name), None)


def of_token(token: str) -> Account:
    """The account of a single token, as the environment variable PELLUCID_TOKEN gives it.

    Raises:
        ParameterError: it is so short that it could be guessed.
    """
    if len(token) < 16:
        raise ParameterError("PELLUCID_TOKEN is shorter than 16 characters: it could be guessed.")
    return Account(name="token", role="engineer", key_sha256=hashlib.sha256(token.encode()).hexdigest())


def add_account(path: Path, name: str, role: Role) -> str:
    """Write an account to a file, in place of an earlier one of that name; returns its new key, which is kept nowhere.

    Raises:
        DataError: the file cannot be understood.
        OutputError: the file cannot be written.
        ParameterError: the name is not allowed.
    """
    key = secrets.token_urlsafe(32)
    digest = hashlib.sha256(key.encode()).hexdigest()
    others = [a for a in Accounts.read(path).members if a.name != name]
    try:
        members = [*others, Account(name=name, role=role, key_sha256=digest)]
    except ValidationError:
        raise ParameterError(f"'{name}' is not allowed: give up to 64 letters, digits, '.', '_', '@' or '-'.") from None
    write_text(path, tomli_w.dumps({"account": [a.model_dump() for a in members]}))
    return key


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own, that no other machine reaches."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class Sessions:
    """Signed names in cookies.

    Args:
        folder: where the key that signs is kept, so that a restart logs nobody out.
    """

    def __init__(self, folder: Path) -> None:
        file = folder / "session.key"
        if not file.exists():
            write_text(file, secrets.token_urlsafe(32))
            file.chmod(0o600)
        self._signer = URLSafeTimedSerializer(file.read_text("utf-8"), salt="pellucid-session")

    def issue(self, account: Account) -> str:
        """The value of a cookie; it ends with a change of the account's key."""
        return self._signer.dumps([account.name, account.key_sha256[:16]])

    def read(self, value: str, accounts: Accounts) -> Account | None:
        """Whose cookie this is."""
        try:
            name, key = self._signer.loads(value, max_age=SESSION)
        except (BadSignature, ValueError, TypeError):
            return None
        account = accounts.named(name)
        return account if account is not None and account.key_sha256[:16] == key else None


class Guard:
    """ASGI: the first and last to see every request.

    Args:
        app: what is guarded.
        accounts: who may use it; with none, requests have to be for this machine by name.
        sessions: of browsers.
        body: bytes that a request may have.
    """

    def __init__(self, app: ASGIApp, accounts: Accounts, sessions: Sessions, body: int) -> None:
        self._app, self._accounts, self._sessions, self._body = app, accounts, sessions, body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refused = self._refuse(scope, headers)
        if refused is not None:
            await _answer(scope, send, *refused)
            return
        read = started = 0

        async def limited() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if scope["type"] == "http" and read > self._body:
                raise _TooLargeError
            return message

        async def finished(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = 1
                own = {name for name, _ in message["headers"]}
                more = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in own]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        try:
            await self._app(scope, limited, finished)
        except _TooLargeError:
            if not started:
                await _answer(scope, send, 413, self._too_large())

    def _refuse(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        """Status and sentence of a request that goes no further."""
        host = headers.get("host", "")
        if not self._accounts and not is_loopback(urlsplit(f"//{host}").hostname or ""):
            return 403, f"This service is for its own machine: ask for 127.0.0.1 or localhost, not '{host}'."
        unsafe = scope["type"] == "websocket" or scope["method"] not in SAFE
        origin = headers.get("origin")
        if unsafe and origin is not None and urlsplit(origin).netloc != host:
            return 403, f"A page of '{origin}' may not use this service."
        account = self._account(headers) if self._accounts else LOCAL
        if account is None and not scope["path"].startswith(OPEN):
            return 401, "This needs an account: send 'Authorization: Bearer KEY', or log in at /login."
        scope["account"] = account
        declared = headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > self._body:
            return 413, self._too_large()
        return None

    def _too_large(self) -> str:
        return f"The request is larger than the {self._body / 1e6:g} MB allowed: send fewer or smaller files."

    def _account(self, headers: Headers) -> Account | None:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._accounts.with_key(key.strip())
        cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE)
        return self._sessions.read(cookie, self._accounts) if cookie else None


def account_of(request: Request) -> Account:
    """Who asks, as the guard found out."""
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
    raw = _encoded([*headers, *HEADERS.items()])
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def _encoded(headers: Sequence[tuple[str, Any]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), str(value).encode()) for name, value in headers]
