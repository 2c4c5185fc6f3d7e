"""Routes of decisions: what people say of inspections, its history, and all of it as a data set."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import StreamingResponse

from pellucid.errors import DataError
from pellucid.service.api.dependencies import (
    CurrentAccount,
    CurrentEngineer,
    ServiceDep,
    no_such_inspection,
    require_inspection,
)
from pellucid.service.api.errors import binary, responses
from pellucid.service.api.schemas import DecisionIn, DecisionOut, InspectionId, InspectionOut
from pellucid.service.decisions_export import MAX_ACCEPTED, decided_pictures, zip_decisions

router = APIRouter()


@router.get("/inspections/{number}/decisions", responses=responses(404, 422, 503))
def history(number: InspectionId, service: ServiceDep) -> list[DecisionOut]:
    """List what was decided on an inspection, oldest first; nothing is ever removed."""
    return [DecisionOut(**line) for line in service.database.decisions(require_inspection(service, number).id)]


@router.put("/inspections/{number}/decision", responses=responses(404, 422, 503, 507))
def decide(number: InspectionId, requested: DecisionIn, service: ServiceDep, account: CurrentAccount) -> InspectionOut:
    """Confirm or overrule a verdict."""
    row = service.database.decide(number, requested.decision, requested.type or None, account.name)
    if row is None:
        raise no_such_inspection(number)
    return InspectionOut.from_row(row)


@router.get(
    "/decisions.zip",
    response_class=StreamingResponse,
    responses=responses(404, 422, 429, 503, _200=binary("application/zip")),
)
def decisions(
    service: ServiceDep,
    account: CurrentEngineer,  # noqa: ARG001
    accepted: Annotated[
        int, Query(ge=0, le=MAX_ACCEPTED, description="so many accepted parts that nobody looked at, as normal")
    ] = 0,
) -> StreamingResponse:
    """Export everything that was decided as a data set (``data.csv`` and ``images/``) for the next training.

    For engineers: it reads every picture. It is packed while it is sent, one export at a time; 429 while there is one.
    """
    try:
        decided = decided_pictures(service.database, service.pictures, accepted=accepted)
    except DataError as error:
        raise HTTPException(404, str(error)) from None
    pieces = service.exports.hold(zip_decisions(decided))
    headers = {"content-disposition": 'attachment; filename="decisions.zip"'}
    return StreamingResponse(pieces, media_type="application/zip", headers=headers)
