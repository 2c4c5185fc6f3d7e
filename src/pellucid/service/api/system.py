"""Routes of the service itself: whether it is alive and ready, its metrics, logging in and out."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from pellucid.service.access.sessions import SESSION_COOKIE, SESSION_S
from pellucid.service.api.dependencies import ServiceDep
from pellucid.service.api.schemas import Health, KeyIn, Ready, ThreadOut

STATIC_FOLDER = Path(__file__).parent.parent / "static"
router = APIRouter()


@router.get("/login", include_in_schema=False)
def login() -> FileResponse:
    """Show where a browser exchanges a key for a session."""
    return FileResponse(STATIC_FOLDER / "login.html", media_type="text/html")


@router.get("/health")
def health() -> Health:
    """Tell whether the process is alive."""
    return Health(status="ok")


@router.get("/ready", responses={503: {"model": Ready}})
def ready(service: ServiceDep, response: Response) -> Ready:
    """Tell whether an image would be inspected now, and which threads failed lately."""
    reasons = service.unready_reasons()
    if reasons:
        response.status_code = 503
    return Ready(
        status="not ready" if reasons else "ready",
        models=service.registry.loaded(),
        reasons=reasons,
        warnings=[*service.supervisor.warnings(), *service.loader.problems],
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
    account = service.accounts.with_key(login.key)
    if account is None:
        raise HTTPException(401, "No account has this key.")
    response = JSONResponse({"name": account.name, "role": account.role})
    secure = request.url.scheme == "https"
    response.set_cookie(
        SESSION_COOKIE,
        service.sessions.issue(account),
        max_age=SESSION_S,
        httponly=True,
        samesite="strict",
        secure=secure,
    )
    return response


@router.delete("/session", include_in_schema=False)
def log_out() -> Response:
    """Forget the cookie."""
    response = Response(status_code=204)
    response.delete_cookie(SESSION_COOKIE)
    return response
