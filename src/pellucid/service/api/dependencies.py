"""What routes ask for: the service, account asks, an inspection or a model that has to exist."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, HTTPException, Request

from pellucid.errors import ParameterError
from pellucid.service.access.accounts import Account
from pellucid.service.access.middleware import account_of
from pellucid.service.served_model import KnownModel
from pellucid.service.state import Service
from pellucid.service.storage.tables import InspectionRow


def _service(request: Request) -> Service:
    return cast(Service, request.app.state.service)


def _engineer(request: Request) -> Account:
    account = account_of(request)
    account.require_engineer()
    return account


ServiceDep = Annotated[Service, Depends(_service)]
CurrentAccount = Annotated[Account, Depends(account_of)]
CurrentEngineer = Annotated[Account, Depends(_engineer)]


def require_inspection(service: Service, number: int) -> InspectionRow:
    """Read an inspection; answer 404 if there is none."""
    row = service.database.get(number)
    if row is None:
        raise no_such_inspection(number)
    return row


def no_such_inspection(number: int) -> HTTPException:
    """Make the answer to a number that no inspection has."""
    return HTTPException(404, f"There is no inspection {number}.")


def require_model(service: Service, name: str) -> None:
    """Answer 404 if there is no model of a name."""
    try:
        service.registry.choose(name)
    except ParameterError as error:
        raise HTTPException(404, str(error)) from None


def require_known_model(service: Service, name: str) -> KnownModel:
    """Tell what is known of a model, which need not be loaded; answer 404 if there is none of that name."""
    require_model(service, name)
    return service.registry.known(name)
