"""Routes of inspections: sending images, finding results, looking at pictures."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends, Header, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.types import Message

from pellucid.errors import DataError, PellucidError
from pellucid.records import Verdict
from pellucid.service.access.accounts import Account, sentence_for
from pellucid.service.access.deadlines import remaining_seconds
from pellucid.service.admission import AdmittedRequest
from pellucid.service.api.dependencies import CurrentAccount, ServiceDep, require_inspection, require_model
from pellucid.service.api.errors import binary, responses, sentence_of, status_of
from pellucid.service.api.schemas import (
    AwareMoment,
    InspectionId,
    InspectionOut,
    InspectionPage,
    InspectionResults,
    RejectedFile,
    ShortText,
)
from pellucid.service.queue import InspectionJob
from pellucid.service.state import Service
from pellucid.service.storage.pictures import BROWSER_MEDIA_TYPES
from pellucid.service.storage.record import Filter
from pellucid.service.storage.tables import Decision, InspectionRow

MAX_FILES_PER_REQUEST = 64  # that one request may hold
PAGE_ROWS = 100  # inspections in an answer of GET /inspections
IMAGE_MEDIA_TYPES = ("image/png", "image/jpeg", "image/bmp", "image/tiff")
BINARY_SCHEMA = {"type": "string", "format": "binary"}
INSPECT_FORM = {
    "schema": {
        "type": "object",
        "properties": {
            "files": {"type": "array", "items": BINARY_SCHEMA, "minItems": 1, "maxItems": MAX_FILES_PER_REQUEST}
        },
        "required": ["files"],
    },
    "encoding": {"files": {"contentType": ", ".join(IMAGE_MEDIA_TYPES)}},
}
INSPECT_BODY = {
    "content": {"multipart/form-data": INSPECT_FORM, **{kind: {"schema": BINARY_SCHEMA} for kind in IMAGE_MEDIA_TYPES}},
    "required": True,
}
Drawn = TypeVar("Drawn")
router = APIRouter()


@router.post(
    "/inspect",
    openapi_extra={"requestBody": INSPECT_BODY},
    response_model=InspectionResults,
    responses=responses(
        *(404, 408, 409, 415, 422, 429, 503, 504, 507),
        _207={"model": InspectionResults, "description": "Some files could not be inspected"},
    ),
)
async def inspect(
    request: Request,
    service: ServiceDep,
    account: CurrentAccount,
    model: Annotated[ShortText | None, Query(description="its name; may be left out when there is only one")] = None,
    part_id: Annotated[
        ShortText | None, Query(description="of all files of the request; else each file's name")
    ] = None,
    idempotency_key: Annotated[
        str | None,
        Header(
            max_length=200,
            pattern=r"^[\x20-\x7e]+$",
            description="the same request with the same key gives the same answer again, and nothing is inspected"
            " twice; another request with it is refused (422). It is free again after key_hours (24), and at once"
            " when nothing could be inspected.",
        ),
    ] = None,
) -> Response:
    """Inspect images: multipart field ``files``, one or several, or one image as the body, whatever its content type.

    An image is a png, jpg, bmp, tif, webp, pgm, ppm, pbm or jp2 file of 8 or 16 bits, grey or in colours.

    The answer leaves when every result is in the record. 429 with Retry-After when too much is under way.
    """
    with service.queue.admitted() as admitted:
        if model is not None:
            require_model(service, model)
        name = service.registry.choose(model)
        uploads = await _uploads(_counted(request, admitted))
        admitted.begin()
        source = "page" if request.headers.get("x-pellucid-page") else "http"
        parts = [Path(file).stem if part_id is None else part_id for file, _ in uploads]
        jobs = [
            InspectionJob(content, file, part, name, source, account.name)
            for (file, content), part in zip(uploads, parts, strict=True)
        ]
        if idempotency_key is not None:
            if len(request.headers.getlist("idempotency-key")) > 1:
                raise HTTPException(422, "There are several Idempotency-Keys: send one.")
            jobs = await run_in_threadpool(_with_key, jobs, idempotency_key)
            for job in jobs:  # before any is inspected: all of a request are refused, or none
                await run_in_threadpool(service.queue.answered, job)
        futures = await asyncio.to_thread(lambda: [service.queue.submit(job, admitted) for job in jobs])
        items, worst = await _results(
            futures, [file for file, _ in uploads], remaining_seconds(request), service.settings.timeout, account
        )
    if len(worst) == len(items):
        raise worst[0]
    answer = InspectionResults(items=items).model_dump_json()
    return Response(answer, 207 if worst else 200, media_type="application/json")


def _with_key(jobs: list[InspectionJob], key: str) -> list[InspectionJob]:
    """Put a sender's key on the images of a request, and the SHA-256 of all that was sent under it.

    A key that a person sends begins with "http:" and an account, so it never is one of the watched folder's.
    """
    sent = hashlib.sha256()
    for job in jobs:
        fields = (job.model, job.part_id, hashlib.sha256(job.content).hexdigest())
        sent.update(json.dumps(fields).encode())
    return [
        replace(job, key=f"http:{job.account}:{key}:{number}", request_sha256=sent.hexdigest())
        for number, job in enumerate(jobs)
    ]


def _counted(request: Request, admitted: AdmittedRequest) -> Request:
    """Return the request, with its body counted as it comes."""

    async def receive() -> Message:
        message = await request.receive()
        admitted.add_bytes(len(message.get("body", b"")))
        return message

    return Request(request.scope, receive)


async def _uploads(request: Request) -> list[tuple[str, bytes]]:
    """Read names and contents of what was sent."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        return [("image", await request.body())]
    async with request.form(max_files=MAX_FILES_PER_REQUEST) as form:
        sent = [item for item in form.getlist("files") if isinstance(item, UploadFile)]
        if not sent:
            raise HTTPException(422, "There is no file in the field 'files': send one or several.")
        return [(_file_name(item.filename or ""), await item.read()) for item in sent]


def _file_name(sent: str) -> str:
    """Take the last part of a sent name, without what could be mistaken for anything but a name."""
    return re.sub(r"[\x00-\x1f\x7f]", "", re.split(r"[/\\]", sent)[-1])[-200:] or "image"


async def _results(
    futures: Sequence[Future[InspectionRow]], files: Sequence[str], seconds: float, timeout: float, account: Account
) -> tuple[list[InspectionOut | RejectedFile], list[PellucidError | HTTPException]]:
    """Wait for what becomes of each file, ``seconds`` more; returns that, and the errors among it."""
    wrapped = [asyncio.wrap_future(future) for future in futures]
    await asyncio.wait(wrapped, timeout=seconds)
    items: list[InspectionOut | RejectedFile] = []
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
            items.append(InspectionOut.from_row(task.result()))
        elif isinstance(error, (PellucidError, HTTPException)):
            errors.append(error)
            items.append(
                RejectedFile(file=file, status=status_of(error), error=sentence_for(account, sentence_of(error)))
            )
        else:
            raise error
    return items, errors


def _filter(
    since: Annotated[AwareMoment | None, Query(description="not before this moment, with its zone")] = None,
    until: Annotated[AwareMoment | None, Query(description="before this moment, with its zone")] = None,
    verdict: Verdict | None = None,
    model: Annotated[ShortText | None, Query()] = None,
    part_id: Annotated[ShortText | None, Query()] = None,
    decision: Annotated[
        Decision | Literal["none", "any"] | None, Query(description="what a person said; none, any")
    ] = None,
    near: Annotated[bool, Query(description="only rejects and near calls")] = False,
    before: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="only ids below this one")] = None,
) -> Filter:
    """Read from a request which inspections it is about."""
    for moment in (since, until):
        if moment is not None and not 1 < moment.year < 9999:
            raise HTTPException(422, "A moment lies outside the years 2 to 9998.")
    return Filter(
        since=since,
        until=until,
        verdict=verdict,
        model=model,
        part_id=part_id,
        decision=decision,
        near=near or None,
        before=before,
    )


InspectionFilter = Annotated[Filter, Depends(_filter)]


@router.get("/inspections", responses=responses(422, 503))
def inspections(
    service: ServiceDep,
    where: InspectionFilter,
    count: Annotated[int, Query(ge=1, le=500, description="at most so many")] = PAGE_ROWS,
) -> InspectionPage:
    """List what was inspected, the newest first."""
    rows = service.database.find(where, count + 1)
    more = len(rows) > count
    return InspectionPage(
        items=[InspectionOut.from_row(row) for row in rows[:count]], next=rows[count - 1].id if more else None
    )


@router.get("/inspections/{number}", responses=responses(404, 422, 503))
def inspection(number: InspectionId, service: ServiceDep) -> InspectionOut:
    """Read one inspection."""
    return InspectionOut.from_row(require_inspection(service, number))


PICTURE_ROUTE: dict[str, Any] = {
    "response_class": Response,
    "responses": responses(404, 422, 429, 503, _200=binary("image/*")),
}
PICTURE_HEADERS = {"cache-control": "private, max-age=86400, immutable"}


@router.get("/inspections/{number}/picture", **PICTURE_ROUTE)
def picture(number: InspectionId, service: ServiceDep) -> Response:
    """Show the picture as it was sent; TIFF as PNG."""
    row = require_inspection(service, number)
    path = _kept(service.pictures.for_browser, row)
    if path is not None:
        return FileResponse(path, media_type=BROWSER_MEDIA_TYPES[path.suffix], headers=PICTURE_HEADERS)
    return _image(_drawn(service, service.pictures.as_png, row), "image/png")


@router.get("/inspections/{number}/map", **PICTURE_ROUTE)
def anomaly_map(number: InspectionId, service: ServiceDep) -> Response:
    """Show the anomaly map in colours that span zero to twice the pixel limit."""
    return _image(_kept(service.pictures.heat, require_inspection(service, number)), "image/png")


@router.get("/inspections/{number}/overlay", **PICTURE_ROUTE)
def overlay(number: InspectionId, service: ServiceDep) -> Response:
    """Show the picture under its map, with the boxes of its defects; a side has at most 2,000 pixels."""
    return _image(_drawn(service, service.pictures.overlay, require_inspection(service, number)), "image/png")


@router.get("/inspections/{number}/thumbnail", **PICTURE_ROUTE)
def thumbnail(number: InspectionId, service: ServiceDep) -> Response:
    """Show the picture, small."""
    row = require_inspection(service, number)
    small = _kept(service.pictures.thumbnail, row)
    return _image(_drawn(service, service.pictures.make_thumbnail, row) if small is None else small, "image/jpeg")


def _kept(read: Callable[[InspectionRow], Drawn], row: InspectionRow) -> Drawn:
    """Read what is kept of an inspection; answer 404 once it was removed."""
    try:
        return read(row)
    except DataError as error:
        raise HTTPException(404, str(error)) from None


def _drawn(service: Service, draw: Callable[[InspectionRow], bytes], row: InspectionRow) -> bytes:
    """Draw a picture when it is its turn, in memory that is counted; answer 404 once it was removed."""
    with service.queue.drawing(_kept(service.pictures.drawing_bytes, row)):
        return _kept(draw, row)


def _image(content: bytes, media: str) -> Response:
    return Response(content, media_type=media, headers=PICTURE_HEADERS)
