"""Routes of decisions: what people say of inspections, its history, and all of it as a data set."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from pellucid.errors import DataError
from pellucid.service.api.dependencies import CurrentAccount, ServiceDep, no_such_inspection, require_inspection
from pellucid.service.api.errors import binary, responses
from pellucid.service.api.schemas import DecisionIn, DecisionOut, InspectionId, InspectionOut
from pellucid.service.decisions_export import export_decisions

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
    response_class=FileResponse,
    responses=responses(404, 422, 503, 507, _200=binary("application/zip")),
)
def decisions(
    service: ServiceDep,
    accepted: Annotated[
        int, Query(ge=0, le=100_000, description="so many accepted parts that nobody looked at, as normal")
    ] = 0,
) -> FileResponse:
    """Export everything that was decided as a data set (``data.csv`` and ``images/``) for the next training."""
    service.settings.record.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=service.settings.record, prefix=".export-") as temporary:
        folder = Path(temporary)
        try:
            export_decisions(service.database, service.pictures, folder, accepted=accepted)
        except DataError as error:
            raise HTTPException(404, str(error)) from None
        with tempfile.NamedTemporaryFile(
            dir=service.settings.record, prefix=".decisions-", suffix=".zip", delete=False
        ) as packed:
            archive = Path(packed.name)
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as zipped:
                for path in sorted(p for p in folder.rglob("*") if p.is_file()):
                    zipped.write(path, path.relative_to(folder).as_posix())
    done = BackgroundTask(archive.unlink, missing_ok=True)
    return FileResponse(archive, media_type="application/zip", filename="decisions.zip", background=done)
