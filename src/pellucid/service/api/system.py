"""Routes of the service itself: whether it is alive and ready, its metrics, logging in and out."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from pellucid.service.access.accounts import Account, sentence_for
from pellucid.service.access.answers import STATIC_FOLDER
from pellucid.service.access.brake import BrakedError
from pellucid.service.access.sessions import SESSION_COOKIE, SESSION_S, Login
from pellucid.service.api.dependencies import ServiceDep
from pellucid.service.api.schemas import Health, KeyIn, Ready, ThreadOut

router = APIRouter()


@router.get("/login", include_in_schema=False)
def login() -> FileResponse:
    """Show where a browser exchanges a key for a session."""
    return FileResponse(STATIC_FOLDER / "login.html", media_type="text/html")


@router.head("/health", include_in_schema=False)
@router.get("/health")
def health() -> Health:
    """Tell whether the process is alive."""
    return Health(status="ok")


@router.head("/ready", include_in_schema=False)
@router.get("/ready", responses={503: {"model": Ready}})
def ready(request: Request, service: ServiceDep, response: Response) -> Ready:
    """Tell whether an image would be inspected now; to accounts also why not, and what failed lately."""
    reasons = service.unready_reasons()
    if reasons:
        response.status_code = 503
    status: Literal["ready", "not ready"] = "not ready" if reasons else "ready"
    account: Account | None = request.scope["account"]
    if account is None:
        return Ready(status=status)
    return Ready(
        status=status,
        models=service.registry.loaded(),
        reasons=[sentence_for(account, reason) for reason in reasons],
        warnings=[sentence_for(account, warning) for warning in service.warnings()],
        threads=[
            ThreadOut(name=state.name, works=state.trouble() is None, last=state.done_at, failures=state.failures)
            for state in service.supervisor.threads()
        ],
    )


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(service: ServiceDep) -> Response:
    """Count for Prometheus."""
    service.metrics.show_threads({state.name: state.trouble() is None for state in service.supervisor.threads()})
    return Response(generate_latest(service.metrics.collectors), media_type=CONTENT_TYPE_LATEST)


@router.post("/session", include_in_schema=False)
def log_in(login: KeyIn, request: Request, service: ServiceDep) -> Response:
    """Exchange a key for a cookie that scripts cannot read and other sites cannot use."""
    try:
        account = service.logins.of_key(login.key, request.client.host if request.client else "")
    except BrakedError as error:
        raise HTTPException(429, str(error), {"retry-after": str(error.seconds)}) from None
    if account is None:
        raise HTTPException(401, "No account has this key.", {"www-authenticate": "Bearer"})
    response = JSONResponse({"name": account.name, "role": account.role})
    secure = request.url.scheme == "https"
    response.set_cookie(
        SESSION_COOKIE,
        service.logins.begin(account),
        max_age=SESSION_S,
        httponly=True,
        samesite="strict",
        secure=secure,
    )
    return response


@router.delete("/session", include_in_schema=False)
def log_out(request: Request, service: ServiceDep) -> Response:
    """End the session: the cookie, wherever it was copied to, and the pages that are open with it."""
    login: Login | None = request.scope["login"]
    if login is not None:
        service.logins.end(login)
    response = Response(status_code=204)
    response.delete_cookie(SESSION_COOKIE, httponly=True, samesite="strict")
    return response
