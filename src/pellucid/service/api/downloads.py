"""Routes of tables as CSV files: what the pages show, and all of what they show a part of.

Times are in UTC, numbers as they are kept, whatever a page's language is; no cell is one that a spreadsheet computes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, fields
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import StreamingResponse

from pellucid._io.files import csv_rows, csv_text, plain_cell
from pellucid.errors import ParameterError
from pellucid.service.api.dependencies import ServiceDep, require_known_model
from pellucid.service.api.errors import binary, responses
from pellucid.service.api.inspections import InspectionFilter
from pellucid.service.api.schemas import ModelName, ShortText
from pellucid.service.api.trends import TrendsDep
from pellucid.service.limit_preview import LimitPreview, ScoreHistory
from pellucid.service.storage.tables import InspectionRow, ModelChange
from pellucid.service.trends import Trends

LINES_AT_ONCE = 500  # that are sent together
MAX_CHANGES = 100_000  # of models, in one table
INSPECTION_COLUMNS = (
    *("id", "time", "part_id", "file", "model", "model_sha256", "runtime", "milliseconds", "score", "limit", "p_value"),
    *("verdict", "reason", "defects", "ignored", "width", "height", "decision", "type", "decided_by", "decided_at"),
    *("source", "account"),
)
DECISION_COLUMNS = ("time", "inspection_id", "part_id", "who", "decision", "type")
TABLE_ROUTE: dict[str, Any] = {"response_class": StreamingResponse}
TrendsTable = Literal["hours", "scores", "types", "positions"]
router = APIRouter()


def _responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return responses(422, 503, *statuses, _200=binary("text/csv"))


@router.get("/inspections.csv", responses=_responses(), **TABLE_ROUTE)
def inspections(service: ServiceDep, where: InspectionFilter) -> StreamingResponse:
    """Download inspections, the newest first: all that a filter lets through, a line each."""
    return _table("inspections", INSPECTION_COLUMNS, map(_inspection_line, service.database.iterate(where)))


@router.get("/decisions.csv", responses=_responses(), **TABLE_ROUTE)
def decisions(service: ServiceDep) -> StreamingResponse:
    """Download every decision that was ever made, those that were taken back too, the oldest first."""
    lines = ([line[name] for name in DECISION_COLUMNS] for line in service.database.iterate_decisions())
    return _table("decisions", DECISION_COLUMNS, lines)


@router.get("/trends.csv", responses=_responses(404, 409), **TABLE_ROUTE)
def trends(
    found: TrendsDep, table: Annotated[TrendsTable, Query(description="which of the page's tables")] = "hours"
) -> StreamingResponse:
    """Download what a chart of trends shows."""
    columns, lines = _trends_table(found, table)
    return _table(f"trends-{table}", columns, lines)


@router.get("/changes.csv", responses=_responses(), **TABLE_ROUTE)
def changes(service: ServiceDep, model: Annotated[ShortText | None, Query()] = None) -> StreamingResponse:
    """Download who moved which limit, set which zones and read which model again, the newest first."""
    found = service.database.changes(model=model, count=MAX_CHANGES)
    return _table("changes", [column.name for column in fields(ModelChange)], map(astuple, found))


@router.get("/models/{name}/limit/preview.csv", responses=_responses(404, 409), **TABLE_ROUTE)
def preview(
    name: ModelName,
    service: ServiceDep,
    value: Annotated[float, Query(allow_inf_nan=False, description="a limit to try")],
) -> StreamingResponse:
    """Download what the limit in force and another one do to every kind of image."""
    model = require_known_model(service, name)
    history = ScoreHistory(model, service.database)
    tried = [(limit, history.preview(limit)) for limit in (model.limit.value, value)]
    kinds = [field.name for field in fields(LimitPreview) if field.name != "limit"]
    lines = [(limit, kind, *astuple(getattr(counts, kind))) for limit, counts in tried for kind in kinds]
    return _table("limit", ("limit", "images", "count", "of"), lines)


@router.get("/comparisons/{name}/leaderboard.csv", responses=_responses(404), **TABLE_ROUTE)
def leaderboard(name: ModelName, service: ServiceDep) -> StreamingResponse:
    """Download the results of a comparison, a line for each model."""
    try:
        service.registry.comparison(name)
    except ParameterError as error:
        raise HTTPException(404, str(error)) from None
    rows = service.registry.leaderboard(name)
    columns = list(dict.fromkeys(chain.from_iterable(rows)))
    return _table("leaderboard", columns, ([row.get(column) for column in columns] for row in rows))


def _table(name: str, columns: Sequence[str], lines: Iterable[Sequence[object]]) -> StreamingResponse:
    """Send a table while it is made, a few hundred lines in memory at a time."""
    lines = iter(lines)
    first = list(islice(lines, LINES_AT_ONCE))  # so that an error is still an answer

    def pieces() -> Iterator[str]:
        yield csv_text(columns, map(_cells, first))
        while more := list(islice(lines, LINES_AT_ONCE)):
            yield csv_rows(map(_cells, more))

    headers = {"content-disposition": f'attachment; filename="{name}.csv"'}
    return StreamingResponse(pieces(), media_type="text/csv; charset=utf-8", headers=headers)


def _cells(line: Sequence[object]) -> list[object]:
    return [_cell(value) for value in line]


def _cell(value: object) -> object:
    """A value as it stands in a table: text that no spreadsheet computes, moments in UTC, nothing for no number."""
    if isinstance(value, str):
        return plain_cell(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, (bool, int, float)) else plain_cell(str(value))


def _inspection_line(row: InspectionRow) -> list[object]:
    values = {name: getattr(row, name) for name in INSPECTION_COLUMNS}
    values |= {"defects": len(row.defects), "ignored": len(row.ignored)}
    return list(values.values())


def _trends_table(found: Trends, table: TrendsTable) -> tuple[Sequence[str], Iterable[Sequence[object]]]:
    if table == "hours":
        return ("hour", "inspected", "rejected"), found.hours
    if table == "types":
        return ("type", "count"), found.types
    if table == "positions":
        cells = ((y, x, count) for y, row in enumerate(found.positions) for x, count in enumerate(row))
        return ("row", "column", "defects"), cells
    drift = found.drift
    points = () if drift is None else zip(drift.ends, drift.win_rates, strict=True)
    return ("until", "share_of_pairs_higher", "low", "high"), ((*point, drift.low, drift.high) for point in points)  # type: ignore[union-attr]
