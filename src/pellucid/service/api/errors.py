"""Which error is answered by which status of HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException as StarletteHTTPException

from pellucid._io.files import DISK_FULL_ERRNOS
from pellucid.errors import (
    DataError,
    DiskFullError,
    ModelFileError,
    OutputError,
    ParameterError,
    PellucidError,
    RecordError,
)
from pellucid.service.access.accounts import RoleError, sentence_for
from pellucid.service.access.answers import problem
from pellucid.service.admission import BusyError
from pellucid.service.api.schemas import Problem
from pellucid.service.limit_check import UnconfirmedLimitError
from pellucid.service.uploads import RefusedError

RETRY_AFTER_S = 2  # that a client is told when the database is away
STATUS_BY_ERROR: tuple[tuple[type[PellucidError], int], ...] = (
    (RoleError, 403),
    (UnconfirmedLimitError, 409),
    (DiskFullError, 507),
    (RecordError, 503),
    (OutputError, 500),
    (ModelFileError, 409),
    (ParameterError, 422),
    (DataError, 422),
)


def responses(*statuses: int, **more: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    """Document answers beside the usual one: problems, and ``_200={...}`` for what differs."""
    own: dict[int | str, dict[str, Any]] = {int(status.strip("_")): answer for status, answer in more.items()}
    return own | {status: {"model": Problem} for status in (400, 401, 403, 413, 429, 500, *statuses)}


def binary(kind: str) -> dict[str, Any]:
    """Document an answer that is a file of a media type."""
    return {"content": {kind: {"schema": {"type": "string", "format": "binary"}}}}


def status_of(error: PellucidError | HTTPException) -> int:
    """Choose HTTP's status for an error."""
    if isinstance(error, HTTPException):
        return error.status_code
    if isinstance(error, RefusedError):
        return error.status
    return next((status for kind, status in STATUS_BY_ERROR if isinstance(error, kind)), 500)


def sentence_of(error: PellucidError | HTTPException) -> str:
    """Take the sentence of an error."""
    return str(error.detail) if isinstance(error, HTTPException) else str(error)


def explain_errors(app: FastAPI, routers: Sequence[APIRouter]) -> None:
    """Answer every error with its status and its sentence.

    Args:
        app: that is given the handlers.
        routers: of all routes, to name the methods that a path has.
    """

    async def foreseen(request: Request, error: Exception) -> Response:
        assert isinstance(error, PellucidError)
        status = status_of(error)
        headers = {"retry-after": str(RETRY_AFTER_S)} if status == 503 else None
        return problem(request, status, sentence_for(request.scope["account"], str(error)), headers)

    async def busy(request: Request, error: Exception) -> Response:
        assert isinstance(error, BusyError)
        request.app.state.service.metrics.refused.inc()
        return problem(request, 429, str(error), {"retry-after": str(error.seconds)})

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, StarletteHTTPException)
        headers = dict(error.headers or {})
        if error.status_code == 405:  # Starlette names the methods of the first route of this path only
            all_routes = [route for router in routers for route in router.routes]
            matching = [r for r in all_routes if isinstance(r, APIRoute) and r.path_regex.match(request.url.path)]
            headers["allow"] = ", ".join(sorted({method for route in matching for method in route.methods or ()}))
        return problem(request, error.status_code, sentence_for(request.scope["account"], str(error.detail)), headers)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return problem(request, 422, f"{where}: {first['msg']}.")

    async def not_written(request: Request, error: Exception) -> Response:
        assert isinstance(error, OSError)
        return problem(
            request,
            507 if error.errno in DISK_FULL_ERRNOS else 500,
            f"The service cannot read or write a file: {error.strerror or type(error).__name__}.",
        )

    app.add_exception_handler(PellucidError, foreseen)
    app.add_exception_handler(BusyError, busy)
    app.add_exception_handler(StarletteHTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(OSError, not_written)
