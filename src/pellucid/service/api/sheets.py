"""Routes of large pictures: a page that zooms to their own pixels, and the tiles that it asks for."""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, HTTPException, Response
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse, HTMLResponse
from pydantic import TypeAdapter

from pellucid.errors import DataError, ParameterError
from pellucid.records import Defect, Ignored, Inspection
from pellucid.records.grades import Grade, Sheet
from pellucid.reports.leaflet import Leaflet, read_leaflet
from pellucid.service.api.dependencies import ServiceDep, require_inspection
from pellucid.service.api.errors import binary, responses
from pellucid.service.api.inspections import PICTURE_HEADERS
from pellucid.service.api.schemas import InspectionId
from pellucid.service.storage.tables import InspectionRow

MEASURES = {column.name for column in fields(Defect)}
MAX_TILE = 2**20  # of a row or a column of tiles
Level = Annotated[int, PathParameter(ge=0, le=32)]
TileNumber = Annotated[int, PathParameter(ge=0, le=MAX_TILE)]
router = APIRouter()


@router.get(
    "/inspections/{number}/sheet",
    response_class=Response,
    responses=responses(404, 422, 429, 503, 507, _200=binary("text/html")),
)
def sheet(number: InspectionId, service: ServiceDep) -> HTMLResponse:
    """Show a picture of any size on a page that zooms, with its defects; tiles are made when it is first asked for."""
    from pellucid.reports.sheet import render_sheet

    row = require_inspection(service, number)
    try:
        with service.queue.drawing(service.pictures.drawing_bytes(row)):
            picture = service.pictures.large_picture(row)
            service.pictures.make_tiles(row, picture)
            back = (f"Inspection {row.id}", f"/ui/review?inspection={row.id}")
            tiles = f"/inspections/{row.id}/tiles"
            page = render_sheet(as_inspection(row), picture, tiles, _leaflet(), back=back)
    except DataError as error:
        raise HTTPException(404, str(error)) from None
    except ParameterError as error:  # what is not installed
        raise HTTPException(503, str(error)) from None
    return HTMLResponse(page)


@router.get(
    "/inspections/{number}/tiles/{level}/{column}_{line}.jpg",
    response_class=Response,
    responses=responses(404, 422, 503, _200=binary("image/jpeg")),
)
def tile(number: InspectionId, level: Level, column: TileNumber, line: TileNumber, service: ServiceDep) -> FileResponse:
    """Show a tile of a picture whose page was asked for: 256 pixels a side, level 0 is the whole in one tile."""
    row = require_inspection(service, number)
    try:
        path = service.pictures.tile(row, level, column, line)
    except DataError as error:
        raise HTTPException(404, str(error)) from None
    return FileResponse(path, media_type="image/jpeg", headers=PICTURE_HEADERS)


def as_inspection(row: InspectionRow) -> Inspection:
    """Return what the record holds of an inspection as one, without map and pixels."""
    pane = None
    if row.sheet is not None:
        across, down = row.sheet["mm_per_px"]
        pane = Sheet(row.sheet["width_mm"], row.sheet["height_mm"], (across, down), row.sheet["outline"])
    return Inspection(
        Path(row.file),
        row.score,
        row.limit,
        row.p_value,
        row.verdict,
        np.empty((0, 0), np.float32),
        tuple(_defect(one) for one in row.defects),
        reason=row.reason,
        warnings=tuple(row.warnings),
        ignored=tuple(Ignored(_defect(one), one["reason"]) for one in row.ignored),
        sheet=pane,
        grade=None if row.grade is None else TypeAdapter(Grade).validate_python(row.grade),
    )


def _defect(stored: Any) -> Defect:
    """A defect of the record; what an earlier pellucid did not measure stays open."""
    return Defect(**{name: value for name, value in stored.items() if name in MEASURES})


@cache
def _leaflet() -> Leaflet:
    return read_leaflet()
