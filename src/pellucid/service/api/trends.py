"""Route of trends: how the line is doing."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from pellucid.service.api.dependencies import ServiceDep, require_known_model, require_model
from pellucid.service.api.errors import responses
from pellucid.service.api.schemas import HourOut, ShortText, TrendsOut, TypeOut
from pellucid.service.trends import Trends, read_trends

MAX_TREND_HOURS = 24 * 90
router = APIRouter()


def _found(
    service: ServiceDep,
    model: Annotated[ShortText | None, Query(description="its name; may be left out when there is only one")] = None,
    hours: Annotated[int, Query(ge=1, le=MAX_TREND_HOURS, description="so many, up to now, for rejects by hour")] = 48,
) -> Trends:
    """Read the trends that a request is about."""
    if model is not None:
        require_model(service, model)
    return read_trends(service.database, require_known_model(service, service.registry.choose(model)), hours=hours)


TrendsDep = Annotated[Trends, Depends(_found)]


@router.get("/trends", responses=responses(404, 409, 422, 503))
def trends(found: TrendsDep) -> TrendsOut:
    """Read how the line is doing: rejects by hour, drift of the scores, types of defects, and where they lie."""
    return TrendsOut(
        hours=[HourOut(hour=hour, inspected=inspected, rejected=rejected) for hour, inspected, rejected in found.hours],
        drift=found.drift,
        types=[TypeOut(type=name, count=count) for name, count in found.types],
        positions=[list(row) for row in found.positions],
    )
