"""The service's HTTP interface. Every error is ``{"detail": "one sentence"}``."""

from __future__ import annotations

import asyncio
import re
import tempfile
import zipfile
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import asdict
from datetime import datetime
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from starlette.background import BackgroundTask
from starlette.datastructures import UploadFile
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
from pellucid.records import Verdict
from pellucid.service.access import COOKIE, SESSION, Account, account_of
from pellucid.service.decisions_export import export_decisions
from pellucid.service.limit_preview import Recount, Scores
from pellucid.service.queue import BusyError, Job
from pellucid.service.registry import Loaded
from pellucid.service.storage.record import Decision, Entry, Filter
from pellucid.service.uploads import RefusedError

if TYPE_CHECKING:
    from pellucid.service.app import Service

STATIC = FilePath(__file__).parent / "static"
FILES = 64  # that one request may hold
PAGE = 100  # inspections in an answer of GET /inspections
Text = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f]*$")]
Number = Annotated[int, Path(ge=1, le=2**31 - 1, description="of the inspection")]
Moment = Annotated[AwareDatetime, BeforeValidator(lambda text: datetime.fromisoformat(text))]  # no bare numbers
Name = Annotated[str, Path(max_length=200, pattern=r"^[^\x00-\x1f/]+$", description="of the model")]
STATUS: tuple[tuple[type[PellucidError], int], ...] = (
    (DiskFullError, 507),
    (RecordError, 503),
    (OutputError, 500),
    (ModelFileError, 409),
    (ParameterError, 422),
    (DataError, 422),
)


class Problem(BaseModel):
    """What went wrong, in one sentence."""

    detail: str


class DefectOut(BaseModel):
    """One region above the pixel limit, in pixels of the image."""

    box: tuple[int, int, int, int] = Field(description="x, y, width, height")
    area_px: int
    peak: float
    centroid: tuple[float, float] = Field(description="x, y")


class InspectionOut(BaseModel):
    """One inspection as it is kept."""

    id: int
    time: datetime
    file: str
    part_id: str
    model: str
    model_sha256: str
    runtime: str
    milliseconds: float
    score: float
    limit: float
    p_value: float
    verdict: Verdict
    width: int
    height: int
    defects: list[DefectOut]
    source: str
    account: str
    decision: Decision | None
    type: str | None
    decided_by: str | None
    decided_at: datetime | None
    picture: str | None = Field(description="address of the picture; none once it has expired")
    map: str | None = Field(description="address of the anomaly map in colours")
    overlay: str | None = Field(description="address of the picture under its map, with boxes")


class NotInspected(BaseModel):
    """A file of a request that could not be inspected."""

    file: str
    status: int
    error: str


class Inspected(BaseModel):
    """Results in the order of the files."""

    items: list[InspectionOut | NotInspected]


class Found(BaseModel):
    """A page of inspections, the newest first."""

    items: list[InspectionOut]
    next: int | None = Field(description="give it as 'before' for the next page; none on the last one")


class DecisionIn(BaseModel):
    """What a person says; null takes an earlier decision back."""

    model_config = ConfigDict(extra="forbid")

    decision: Decision | None
    type: Text | None = Field(None, description="of the defect")


class DecisionOut(BaseModel):
    """One line of an inspection's history."""

    time: datetime
    who: str
    decision: Decision | None
    type: str | None


class ModelOut(BaseModel):
    """One model on the shelf."""

    name: str
    detector: str | None = None
    backbone: str | None = None
    image_size: tuple[int, int] | None = None
    sha256: str | None = None
    loaded: bool
    error: str | None = None  # why its file cannot be used


class Models(BaseModel):
    """All models on the shelf."""

    items: list[ModelOut]


class LimitOut(BaseModel):
    """A model's limit in force."""

    model: str
    value: float
    calibrated: float = Field(description="the limit that the model file holds")
    normals_rejected: float | None = Field(description="share of the held-out normal images above the limit in force")
    changed_by: str | None
    changed_at: datetime | None


class LimitIn(BaseModel):
    """A new limit, in the score's own unit; null for the calibrated one."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    value: float | None
    reason: Text = ""


class Reloaded(BaseModel):
    """A model that was read again."""

    model: str
    sha256: str
    value: float = Field(description="of its limit")


class ChangeOut(BaseModel):
    """Something that was done to a model."""

    id: int
    time: datetime
    who: str
    model: str
    model_sha256: str
    kind: str
    before: str
    after: str
    reason: str


class Changes(BaseModel):
    """The newest changes first."""

    items: list[ChangeOut]


class Health(BaseModel):
    """Whether the service is alive."""

    status: Literal["ok"]


class Ready(BaseModel):
    """Whether the service can inspect now."""

    status: Literal["ready", "not ready"]
    models: list[str]
    reasons: list[str]


def _answers(*statuses: int, **more: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    """Documented answers beside the usual one: problems, and ``_200={...}`` for what differs."""
    own: dict[int | str, dict[str, Any]] = {int(status.strip("_")): told for status, told in more.items()}
    return own | {status: {"model": Problem} for status in (400, 401, 403, 413, *statuses)}


def _binary(kind: str) -> dict[str, Any]:
    return {"content": {kind: {"schema": {"type": "string", "format": "binary"}}}}


IMAGES = ("image/png", "image/jpeg", "image/bmp", "image/tiff")
BINARY = {"type": "string", "format": "binary"}
FORM = {
    "schema": {
        "type": "object",
        "properties": {"files": {"type": "array", "items": BINARY, "minItems": 1, "maxItems": FILES}},
        "required": ["files"],
    },
    "encoding": {"files": {"contentType": ", ".join(IMAGES)}},
}
BODY = {"content": {"multipart/form-data": FORM, **{kind: {"schema": BINARY} for kind in IMAGES}}, "required": True}


def _service(request: Request) -> Service:
    return cast("Service", request.app.state.service)


def _engineer(request: Request) -> Account:
    account = account_of(request)
    if account.role != "engineer":
        raise HTTPException(403, f"'{account.name}' is an operator: an engineer has to do this.")
    return account


Its = Annotated["Service", Depends(_service)]
Who = Annotated[Account, Depends(account_of)]
Engineer = Annotated[Account, Depends(_engineer)]
router = APIRouter()


@router.post(
    "/inspect",
    openapi_extra={"requestBody": BODY},
    response_model=Inspected,
    responses=_answers(
        *(404, 409, 415, 422, 429, 503, 504, 507),
        _207={"model": Inspected, "description": "Some files could not be inspected"},
    ),
)
async def inspect(
    request: Request,
    its: Its,
    who: Who,
    model: Annotated[Text | None, Query(description="its name; may be left out when there is only one")] = None,
    part_id: Annotated[Text | None, Query(description="of all files of the request; else each file's name")] = None,
    idempotency_key: Annotated[
        str | None,
        Header(
            max_length=200,
            pattern=r"^[\x20-\x7e]+$",
            description="the same key gives the same answer again, and nothing is inspected twice",
        ),
    ] = None,
) -> Response:
    """Inspect images: multipart field ``files``, one or several, or one image as the body, whatever its content type.

    An image is a png, jpg, bmp or tif file of 8 or 16 bits, grey or in colours.

    The answer leaves when every result is in the record. 429 with Retry-After when too much is under way.
    """
    declared = request.headers.get("content-length", "")
    size = int(declared) if declared.isdigit() else its.settings.request_mb * 1_000_000
    with its.desk.admitted(size):
        if model is not None:
            _known(its, model)
        name = its.shelf.chosen(model)
        uploads = await _uploads(request)
        source = "page" if request.headers.get("x-pellucid-page") else "http"
        futures = []
        for number, (file, content) in enumerate(uploads):
            part = FilePath(file).stem if part_id is None else part_id
            key = None if idempotency_key is None else f"http:{who.name}:{idempotency_key}:{number}"
            futures.append(its.desk.submit(Job(content, file, part, name, source, who.name, key)))
        items, worst = await _results(futures, [file for file, _ in uploads], its.settings.timeout)
    if len(worst) == len(items):
        raise worst[0]
    answer = Inspected(items=items).model_dump_json()
    return Response(answer, 207 if worst else 200, media_type="application/json")


async def _uploads(request: Request) -> list[tuple[str, bytes]]:
    """Names and contents of what was sent."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        return [("image", await request.body())]
    async with request.form(max_files=FILES) as form:
        sent = [item for item in form.getlist("files") if isinstance(item, UploadFile)]
        if not sent:
            raise HTTPException(422, "There is no file in the field 'files': send one or several.")
        return [(_file_name(item.filename or ""), await item.read()) for item in sent]


def _file_name(sent: str) -> str:
    """The last part of a sent name, without what could be mistaken for anything but a name."""
    return re.sub(r"[\x00-\x1f\x7f]", "", re.split(r"[/\\]", sent)[-1])[-200:] or "image"


async def _results(
    futures: Sequence[Future[Entry]], files: Sequence[str], timeout: float
) -> tuple[list[InspectionOut | NotInspected], list[PellucidError | HTTPException]]:
    """What became of each file, and the errors among that."""
    wrapped = [asyncio.wrap_future(future) for future in futures]
    await asyncio.wait(wrapped, timeout=timeout)
    items: list[InspectionOut | NotInspected] = []
    errors: list[PellucidError | HTTPException] = []
    for file, future, task in zip(files, futures, wrapped, strict=True):
        error: BaseException | None
        if not task.done():
            future.cancel()
            task.cancel()
            error = HTTPException(504, f"There was no result for '{file}' within {timeout:g} s.")
        else:
            error = task.exception()
        if error is None:
            items.append(shown(task.result()))
        elif isinstance(error, (PellucidError, HTTPException)):
            errors.append(error)
            items.append(NotInspected(file=file, status=status_of(error), error=_sentence(error)))
        else:
            raise error
    return items, errors


@router.get("/inspections", responses=_answers(422, 503))
def inspections(
    its: Its,
    since: Annotated[Moment | None, Query(description="not before this moment, with its zone")] = None,
    until: Annotated[Moment | None, Query(description="before this moment, with its zone")] = None,
    verdict: Verdict | None = None,
    model: Annotated[Text | None, Query()] = None,
    part_id: Annotated[Text | None, Query()] = None,
    decision: Annotated[
        Decision | Literal["none", "any"] | None, Query(description="what a person said; none, any")
    ] = None,
    near: Annotated[bool, Query(description="only rejects and near calls")] = False,
    before: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="only ids below this one")] = None,
    count: Annotated[int, Query(ge=1, le=500, description="at most so many")] = PAGE,
) -> Found:
    """What was inspected, the newest first."""
    for moment in (since, until):
        if moment is not None and not 1 < moment.year < 9999:
            raise HTTPException(422, "A moment lies outside the years 2 to 9998.")
    where = Filter(
        since=since,
        until=until,
        verdict=verdict,
        model=model,
        part_id=part_id,
        decision=decision,
        near=near,
        before=before,
    )
    entries = its.record.find(where, count + 1)
    more = len(entries) > count
    return Found(items=[shown(entry) for entry in entries[:count]], next=entries[count - 1].id if more else None)


@router.get("/inspections/{number}", responses=_answers(404, 422, 503))
def inspection(number: Number, its: Its) -> InspectionOut:
    """One inspection."""
    return shown(_entry(its, number))


PICTURE: dict[str, Any] = {
    "response_class": Response,
    "responses": _answers(404, 422, 503, _200=_binary("image/*")),
}


@router.get("/inspections/{number}/picture", **PICTURE)
def picture(number: Number, its: Its) -> Response:
    """The picture as it was sent; TIFF as PNG."""
    content, media = _kept(its.store.as_shown, its, number)
    return _image(content, media)


@router.get("/inspections/{number}/map", **PICTURE)
def anomaly_map(number: Number, its: Its) -> Response:
    """The anomaly map in colours that span zero to twice the pixel limit."""
    return _image(_kept(its.store.heat, its, number), "image/png")


@router.get("/inspections/{number}/overlay", **PICTURE)
def overlay(number: Number, its: Its) -> Response:
    """The picture under its map, with the boxes of its defects."""
    return _image(_kept(its.store.overlay, its, number), "image/png")


@router.get("/inspections/{number}/thumbnail", **PICTURE)
def thumbnail(number: Number, its: Its) -> Response:
    """The picture, small."""
    return _image(_kept(its.store.thumbnail, its, number), "image/jpeg")


@router.get("/inspections/{number}/decisions", responses=_answers(404, 422, 503))
def history(number: Number, its: Its) -> list[DecisionOut]:
    """What was decided on an inspection, oldest first; nothing is ever removed."""
    return [DecisionOut(**line) for line in its.record.decided(_entry(its, number).id)]


@router.put("/inspections/{number}/decision", responses=_answers(404, 422, 503, 507))
def decide(number: Number, said: DecisionIn, its: Its, who: Who) -> InspectionOut:
    """Confirm or overrule a verdict."""
    entry = its.record.decide(number, said.decision, said.type or None, who.name)
    if entry is None:
        raise _no_such(number)
    return shown(entry)


@router.get(
    "/decisions.zip",
    response_class=FileResponse,
    responses=_answers(404, 422, 503, 507, _200=_binary("application/zip")),
)
def decisions(
    its: Its,
    accepted: Annotated[
        int, Query(ge=0, le=100_000, description="so many accepted parts that nobody looked at, as normal")
    ] = 0,
) -> FileResponse:
    """Everything that was decided as a data set (``data.csv`` and ``images/``) for the next training."""
    its.settings.record.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=its.settings.record, prefix=".export-") as made:
        folder = FilePath(made)
        try:
            export_decisions(its.record, its.store, folder, accepted=accepted)
        except DataError as error:
            raise HTTPException(404, str(error)) from None
        with tempfile.NamedTemporaryFile(dir=its.settings.record, suffix=".zip", delete=False) as packed:
            archive = FilePath(packed.name)
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as zipped:
                for path in sorted(p for p in folder.rglob("*") if p.is_file()):
                    zipped.write(path, path.relative_to(folder).as_posix())
    done = BackgroundTask(archive.unlink, missing_ok=True)
    return FileResponse(archive, media_type="application/zip", filename="decisions.zip", background=done)


@router.get("/models", responses=_answers(503))
def models(its: Its) -> Models:
    """The models on the shelf."""
    return Models(items=[_model(its, name) for name in its.shelf.paths()])


@router.get("/models/{name}/limit", responses=_answers(404, 409, 422, 503))
def limit(name: Name, its: Its) -> LimitOut:
    """A model's limit in force."""
    return _limit(its, _loaded(its, name))


@router.put("/models/{name}/limit", responses=_answers(404, 409, 422, 503, 507))
def set_limit(name: Name, asked: LimitIn, its: Its, who: Engineer) -> LimitOut:
    """Move a model's limit; who, when, from and to are kept."""
    _loaded(its, name)
    return _limit(its, its.shelf.set_limit(name, asked.value, who.name, asked.reason))


@router.get("/models/{name}/limit/preview", responses=_answers(404, 409, 422, 503))
def preview(
    name: Name, its: Its, value: Annotated[float, Query(allow_inf_nan=False, description="a limit to try")]
) -> Recount:
    """What another limit would have done: false rejects and escapes counted again from stored scores."""
    return Scores(_loaded(its, name), its.record).at(value)


@router.post("/models/{name}/reload", responses=_answers(404, 409, 422, 503, 507))
def reload(name: Name, its: Its, who: Engineer) -> Reloaded:
    """Read a model's file again. A file that cannot be used is refused with 409, and the model serves on as it was."""
    _known(its, name)
    model = its.shelf.reload(name, who.name)
    return Reloaded(model=name, sha256=model.sha256, value=model.inspector.limit.value)


@router.get("/changes", responses=_answers(422, 503))
def changes(its: Its, model: Annotated[Text | None, Query()] = None) -> Changes:
    """Who moved which limit and read which model again, the newest first."""
    return Changes(items=[ChangeOut(**asdict(change)) for change in its.record.changed(model=model)])


@router.get(
    "/comparisons/{name}/report",
    response_class=FileResponse,
    responses=_answers(404, 422, _200=_binary("text/html")),
)
def report(name: Name, its: Its) -> FileResponse:
    """The report of a comparison, a page that needs nothing else."""
    try:
        file = its.shelf.comparison(name) / "report.html"
    except ParameterError as error:
        raise HTTPException(404, str(error)) from None
    if not file.is_file():
        raise HTTPException(404, f"The comparison '{name}' has no report yet.")
    return FileResponse(file, media_type="text/html")


@router.get("/login", include_in_schema=False)
def login() -> FileResponse:
    """Where a browser exchanges a key for a session."""
    return FileResponse(STATIC / "login.html", media_type="text/html")


@router.get("/health")
def health() -> Health:
    """Whether the process is alive."""
    return Health(status="ok")


@router.get("/ready", responses={503: {"model": Ready}})
def ready(its: Its, response: Response) -> Ready:
    """Whether an image would be inspected now."""
    reasons = its.not_ready()
    if reasons:
        response.status_code = 503
    return Ready(status="not ready" if reasons else "ready", models=its.shelf.loaded(), reasons=reasons)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(its: Its) -> Response:
    """For Prometheus."""
    return Response(generate_latest(its.metrics.registry), media_type=CONTENT_TYPE_LATEST)


class KeyIn(BaseModel):
    """An account's key."""

    key: str = Field(max_length=200)


@router.post("/session", include_in_schema=False)
def log_in(given: KeyIn, request: Request, its: Its) -> Response:
    """Exchange a key for a cookie that scripts cannot read and other sites cannot use."""
    account = its.settings.accounts.with_key(given.key)
    if account is None:
        raise HTTPException(401, "No account has this key.")
    response = JSONResponse({"name": account.name, "role": account.role})
    secure = request.url.scheme == "https"
    response.set_cookie(
        COOKIE, its.sessions.issue(account), max_age=SESSION, httponly=True, samesite="strict", secure=secure
    )
    return response


@router.delete("/session", include_in_schema=False)
def log_out() -> Response:
    """Forget the cookie."""
    response = Response(status_code=204)
    response.delete_cookie(COOKIE)
    return response


# --- what routes share ----------------------------------------------------------------------------------------------


def shown(entry: Entry) -> InspectionOut:
    """An entry as it is answered."""
    values = asdict(entry)
    address = f"/inspections/{entry.id}/" if entry.picture else None
    values |= {part: address and address + part for part in ("picture", "map", "overlay")}
    return InspectionOut.model_validate(values)


def _entry(its: Service, number: int) -> Entry:
    entry = its.record.get(number)
    if entry is None:
        raise _no_such(number)
    return entry


def _no_such(number: int) -> HTTPException:
    return HTTPException(404, f"There is no inspection {number}.")


def _kept(draw: Any, its: Service, number: int) -> Any:
    try:
        return draw(_entry(its, number))
    except DataError as error:
        raise HTTPException(404, str(error)) from None


def _image(content: bytes, media: str) -> Response:
    return Response(content, media_type=media, headers={"cache-control": "private, max-age=86400, immutable"})


def _known(its: Service, name: str) -> None:
    try:
        its.shelf.chosen(name)
    except ParameterError as error:
        raise HTTPException(404, str(error)) from None


def _loaded(its: Service, name: str) -> Loaded:
    _known(its, name)
    return its.shelf.get(name)


def _limit(its: Service, model: Loaded) -> LimitOut:
    change = its.record.limit_of(model.name, model.sha256)
    value, scores = model.inspector.limit.value, model.calibrated.scores
    return LimitOut(
        model=model.name,
        value=value,
        calibrated=model.calibrated.value,
        normals_rejected=sum(s > value for s in scores) / len(scores) if scores else None,
        changed_by=change.who if change else None,
        changed_at=change.time if change else None,
    )


def _model(its: Service, name: str) -> ModelOut:
    model = ModelOut(name=name, loaded=name in its.shelf.loaded())
    try:
        header, digest = its.shelf.header(name)
    except PellucidError as error:
        return model.model_copy(update={"error": str(error)})
    known = {"detector": header.detector, "backbone": header.backbone, "image_size": header.image_size}
    return model.model_copy(update=known | {"sha256": digest})


# --- errors ---------------------------------------------------------------------------------------------------------


def status_of(error: PellucidError | HTTPException) -> int:
    """HTTP's status for an error of ours."""
    if isinstance(error, HTTPException):
        return error.status_code
    if isinstance(error, RefusedError):
        return error.status
    return next((status for kind, status in STATUS if isinstance(error, kind)), 500)


def _sentence(error: PellucidError | HTTPException) -> str:
    return str(error.detail) if isinstance(error, HTTPException) else str(error)


def explain_errors(app: FastAPI) -> None:
    """Answer every error with its status and its sentence."""

    async def ours(_: Request, error: Exception) -> Response:
        assert isinstance(error, PellucidError)
        status = status_of(error)
        return _problem(status, str(error), {"retry-after": "2"} if status == 503 else None)

    async def busy(request: Request, error: Exception) -> Response:
        assert isinstance(error, BusyError)
        _service(request).metrics.refused.inc()
        return _problem(429, str(error), {"retry-after": str(error.seconds)})

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, StarletteHTTPException)
        headers = dict(error.headers or {})
        if error.status_code == 405:  # Starlette names the methods of the first route of this path only
            there = [r for r in router.routes if isinstance(r, APIRoute) and r.path_regex.match(request.url.path)]
            headers["allow"] = ", ".join(sorted({method for route in there for method in route.methods or ()}))
        return _problem(error.status_code, str(error.detail), headers)

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return _problem(422, f"{where}: {first['msg']}.")

    async def full(_: Request, error: Exception) -> Response:
        assert isinstance(error, OSError)
        return _problem(
            507 if error.errno in DISK_FULL_ERRNOS else 500, f"The service cannot write: {error.strerror or error}."
        )

    app.add_exception_handler(PellucidError, ours)
    app.add_exception_handler(BusyError, busy)
    app.add_exception_handler(StarletteHTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(OSError, full)


def _problem(status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"detail": sentence}, status, headers)
