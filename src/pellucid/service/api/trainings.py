"""Routes of trainings and updates: start one, see how it is doing, cancel it."""

from __future__ import annotations

from dataclasses import replace

from fastapi import APIRouter, HTTPException

from pellucid import detectors
from pellucid.errors import ParameterError, unknown_name
from pellucid.limits.area import check_false_alarms, false_alarms_of
from pellucid.service.access.accounts import Account
from pellucid.service.api.dependencies import CurrentAccount, CurrentEngineer, ServiceDep, require_model
from pellucid.service.api.errors import responses
from pellucid.service.api.schemas import ModelName, TrainingIn, TrainingsOut, UpdateIn
from pellucid.service.state import Service
from pellucid.service.updates import ImagesToLearn, start_update

router = APIRouter()


@router.get("/trainings", responses=responses(503))
def trainings(service: ServiceDep, account: CurrentAccount) -> TrainingsOut:
    """List what is running or was the last training or update, its log for engineers, and what can be trained on."""
    return _trainings(service, account)


@router.post("/trainings", status_code=201, responses=responses(404, 409, 422, 507))
def start_training(requested: TrainingIn, service: ServiceDep, account: CurrentEngineer) -> TrainingsOut:
    """Start a training; one runs at a time."""
    data_sets = service.trainings.data_sets()
    if requested.data not in data_sets:
        raise HTTPException(404, f"'{requested.data}' is not a data set of this service.")
    for name in requested.detectors:
        if not detectors.is_known(name):
            raise HTTPException(404, str(unknown_name("detector", name, detectors.names())))
    try:
        false_alarms = false_alarms_of(requested.false_alarms_per_m2, requested.false_alarms_per_mpx)
        check_false_alarms(false_alarms, requested.mm_per_px is not None, "conformal")
    except ParameterError as error:
        raise HTTPException(422, str(error)) from None
    try:
        service.trainings.start(
            requested.data,
            requested.name,
            requested.detectors,
            requested.image_size,
            requested.false_reject,
            account,
            learn_defects=requested.learn_defects,
            false_alarms=false_alarms,
            mm_per_px=requested.mm_per_px,
        )
    except ParameterError as error:
        raise HTTPException(409, str(error)) from None
    return _trainings(service, account)


@router.post("/models/{name}/update", status_code=201, responses=responses(404, 409, 422, 503, 507))
def update_model(name: ModelName, requested: UpdateIn, service: ServiceDep, account: CurrentEngineer) -> TrainingsOut:
    """Let a model learn good images on top, as ``pellucid update`` does; one update or training runs at a time.

    What is accepted becomes a model of its own beside it, by the name of the item, and the change is kept.
    """
    require_model(service, name)
    if requested.source == "data set" and requested.data not in service.trainings.data_sets():
        raise HTTPException(404, f"'{requested.data}' is not a data set of this service.")
    images = ImagesToLearn(requested.source, requested.count, requested.data)
    parts = (service.trainings, service.registry, service.database, service.pictures)
    try:
        start_update(*parts, name, images, account, requested.reason)
    except ParameterError as error:
        raise HTTPException(409, str(error)) from None
    return _trainings(service, account)


@router.delete("/trainings", responses=responses(503))
def cancel_training(service: ServiceDep, account: CurrentEngineer) -> TrainingsOut:
    """Cancel what is running, if anything is; models that were finished stay."""
    service.trainings.cancel(account)
    return _trainings(service, account)


def _trainings(service: Service, account: Account) -> TrainingsOut:
    current = service.trainings.current()
    if current is not None and account.role != "engineer":
        current = replace(current, log="")
    return TrainingsOut(items=[] if current is None else [current], data_sets=service.trainings.data_sets())
