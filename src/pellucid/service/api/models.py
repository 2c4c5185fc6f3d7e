"""Routes of models: their limits, their files, what was changed, and the comparisons that they come from."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import FileResponse

from pellucid.errors import ParameterError, PellucidError
from pellucid.limits.promise import kept_sentence, promise_sentence
from pellucid.service.access.accounts import Account, sentence_for
from pellucid.service.api.dependencies import (
    CurrentAccount,
    CurrentEngineer,
    ServiceDep,
    require_known_model,
    require_model,
)
from pellucid.service.api.errors import binary, responses
from pellucid.service.api.schemas import (
    ChangeList,
    ChangeOut,
    ComparisonList,
    ComparisonOut,
    LimitIn,
    LimitOut,
    ModelList,
    ModelName,
    ModelOut,
    ReloadedModel,
    ShortText,
    ZonesIn,
    ZonesOut,
)
from pellucid.service.limit_preview import LimitPreview, ScoreHistory
from pellucid.service.served_model import KnownModel
from pellucid.service.state import Service
from pellucid.service.zone_changes import set_zones

router = APIRouter()


@router.get("/models", responses=responses(503))
def models(service: ServiceDep, account: CurrentAccount) -> ModelList:
    """List the models."""
    return ModelList(items=[_model(service, name, account) for name in service.registry.paths()])


@router.get("/models/{name}/limit", responses=responses(404, 409, 422, 503))
def limit(name: ModelName, service: ServiceDep) -> LimitOut:
    """Read a model's limit in force."""
    return _limit(service, require_known_model(service, name))


@router.put("/models/{name}/limit", responses=responses(404, 409, 422, 503, 507))
def set_limit(name: ModelName, requested: LimitIn, service: ServiceDep, account: CurrentEngineer) -> LimitOut:
    """Move a model's limit; who, when, from and to are kept.

    One that would reject all good parts or none is answered by 409 until it is confirmed, with a reason.
    """
    require_model(service, name)
    moved = service.registry.set_limit(name, requested.value, account, requested.reason, confirmed=requested.confirm)
    return _limit(service, moved.known())


@router.get("/models/{name}/zones", responses=responses(404, 409, 422, 503))
def zones(name: ModelName, service: ServiceDep) -> ZonesOut:
    """Read what counts for a model: regions, border margin and smallest area in force."""
    return _zones(service, require_known_model(service, name))


@router.put("/models/{name}/zones", responses=responses(404, 409, 422, 503, 507))
def put_zones(name: ModelName, requested: ZonesIn, service: ServiceDep, account: CurrentEngineer) -> ZonesOut:
    """Set what counts for a model; who, when, why, from and to are kept.

    ``pellucid.Zones.read(only=["glass.png"], margin=8).model_dump()`` makes them of a drawing.
    """
    require_model(service, name)
    changed = set_zones(service.registry, service.database, name, requested.zones, account, requested.reason)
    return _zones(service, changed.known())


@router.get("/models/{name}/limit/preview", responses=responses(404, 409, 422, 503))
def preview(
    name: ModelName,
    service: ServiceDep,
    value: Annotated[float, Query(allow_inf_nan=False, description="a limit to try")],
) -> LimitPreview:
    """Count what another limit would have done: false rejects and escapes counted again from stored scores."""
    return ScoreHistory(require_known_model(service, name), service.database).preview(value)


@router.post("/models/{name}/reload", responses=responses(404, 409, 422, 503, 507))
def reload(name: ModelName, service: ServiceDep, account: CurrentEngineer) -> ReloadedModel:
    """Read a model's file again. A file that cannot be used is refused with 409, and the model serves on as it was."""
    require_model(service, name)
    model = service.registry.reload(name, account)
    return ReloadedModel(model=name, sha256=model.sha256, value=model.inspector.limit.value)


@router.get("/changes", responses=responses(422, 503))
def changes(service: ServiceDep, model: Annotated[ShortText | None, Query()] = None) -> ChangeList:
    """List who moved which limit, set which zones and read which model again, the newest first."""
    return ChangeList(items=[ChangeOut(**asdict(change)) for change in service.database.changes(model=model)])


@router.get("/comparisons", responses=responses(503))
def comparisons(service: ServiceDep) -> ComparisonList:
    """List the comparisons with their results, the newest first."""
    registry = service.registry
    return ComparisonList(
        items=[ComparisonOut(name=name, rows=registry.leaderboard(name)) for name in registry.comparisons()]
    )


@router.get(
    "/comparisons/{name}/report",
    response_class=FileResponse,
    responses=responses(404, 422, _200=binary("text/html")),
)
def report(name: ModelName, service: ServiceDep) -> FileResponse:
    """Show the report of a comparison, a page that needs nothing else."""
    try:
        file = service.registry.comparison(name) / "report.html"
    except ParameterError as error:
        raise HTTPException(404, str(error)) from None
    if not file.is_file():
        raise HTTPException(404, f"The comparison '{name}' has no report yet.")
    return FileResponse(file, media_type="text/html")


def _limit(service: Service, model: KnownModel) -> LimitOut:
    change = service.database.last_change(model.name, model.sha256, "limit")
    value, scores = model.limit.value, model.calibrated.scores
    said = (promise_sentence(model.calibrated, model.header.false_reject), kept_sentence(model.calibrated, value))
    return LimitOut(
        model=model.name,
        value=value,
        calibrated=model.calibrated.value,
        normals_rejected=sum(s > value for s in scores) / len(scores) if scores else None,
        promise=" ".join(filter(None, said)),
        changed_by=change.who if change else None,
        changed_at=change.time if change else None,
    )


def _zones(service: Service, model: KnownModel) -> ZonesOut:
    change = service.database.last_change(model.name, model.sha256, "zones")
    return ZonesOut(
        model=model.name,
        zones=model.zones,
        zones_of_file=model.header.zones,
        changed_by=change.who if change else None,
        changed_at=change.time if change else None,
    )


def _model(service: Service, name: str, account: Account) -> ModelOut:
    """Show a model: what computes if it is in memory, what its file says otherwise, and whether the two agree."""
    loaded = service.registry.in_memory(name)
    file_sha256, error = None, None
    known = None if loaded is None else (loaded.header, loaded.sha256)
    try:
        lying = service.registry.header(name)
        known, file_sha256 = known or lying, lying[1]
    except PellucidError as reason:
        error = sentence_for(account, str(reason))
    model = ModelOut(name=name, loaded=loaded is not None, file_sha256=file_sha256, error=error)
    if known is None:
        return model
    header, digest = known
    described = {"detector": header.detector, "backbone": header.backbone, "image_size": header.image_size}
    return model.model_copy(update=described | {"sha256": digest, "changed": file_sha256 != digest})
