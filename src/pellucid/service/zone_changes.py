"""What counts for a model of the service: set by an engineer, with who and why in the record."""

from __future__ import annotations

from datetime import UTC, datetime

from pellucid.errors import ParameterError
from pellucid.regions.zones import Zones
from pellucid.service.access.accounts import Account
from pellucid.service.registry import ModelRegistry
from pellucid.service.served_model import LoadedModel
from pellucid.service.storage.record import Database, Filter
from pellucid.service.storage.tables import ModelChange


def set_zones(
    registry: ModelRegistry, database: Database, name: str, zones: Zones | None, account: Account, reason: str
) -> LoadedModel:
    """Set what counts for a model, or go back to what its file says; the next inspection goes by it.

    Args:
        registry: of models.
        database: with what the model inspected last: the zones have to fit it.
        name: of the model.
        zones: in place of those in force; None for those of its file.
        account: of whoever sets them, an engineer.
        reason: in their words.

    Raises:
        DataError: the zones do not fit the image that the model inspected last.
        ModelFileError: the model's file cannot be used.
        ParameterError: there is no such model, or no reason is given.
        RoleError: the account is an operator's.
    """
    account.require_engineer()
    if not reason.strip():
        raise ParameterError("What counts decides what is rejected: give a reason for changing it.")

    def change(before: LoadedModel) -> tuple[LoadedModel, ModelChange]:
        target = before.header.zones if zones is None else zones
        for row in database.find(Filter(model=name), 1):
            target.counted((row.height, row.width))
        old, new = before.inspector.zones.model_dump_json(), target.model_dump_json()
        made = ModelChange(datetime.now(UTC), account.name, name, before.sha256, "zones", old, new, reason)
        return before.with_zones(target), made

    return registry.change(name, change)
