"""The service and its accounts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pellucid.cli._console import out
from pellucid.cli._options import (
    Runtime,
)
from pellucid.errors import ParameterError

if TYPE_CHECKING:
    pass


def serve(
    models: Annotated[Path, typer.Option(help="folder of model files, exported models and results of compare")] = Path(
        "models"
    ),
    record: Annotated[Path, typer.Option(help="folder of the database and the pictures")] = Path("record"),
    database: Annotated[
        str | None, typer.Option(metavar="URL", help="postgresql://USER:PASSWORD@HOST/NAME; SQLite in the record else")
    ] = None,
    host: Annotated[str, typer.Option(help="address to listen on; others than this machine's need accounts")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    accounts: Annotated[Path | None, typer.Option(help="file of 'pellucid account'")] = None,
    watch: Annotated[Path | None, typer.Option(help="folder whose new images are inspected")] = None,
    watch_model: Annotated[str | None, typer.Option(help="model for them, if there are several")] = None,
    data: Annotated[Path | None, typer.Option(help="folder of data sets that the pages may train on")] = None,
    runtime: Runtime = "auto",
    waiting: Annotated[int, typer.Option(help="requests under way; one more is answered by 429")] = 64,
    waiting_mb: Annotated[int, typer.Option(help="megabytes of uploads under way")] = 256,
    request_mb: Annotated[int, typer.Option(help="megabytes that one request may have")] = 64,
    megapixels: Annotated[float, typer.Option(help="that one image may have")] = 50.0,
    timeout: Annotated[float, typer.Option(help="seconds until a request is given up")] = 30.0,
    keep_ok: Annotated[int, typer.Option(help="days that pictures of accepted parts are kept")] = 30,
    keep_reject: Annotated[int, typer.Option(help="days for those of rejected and of reviewed parts")] = 365,
    pages: Annotated[bool, typer.Option("--pages/--no-pages", help="the pages to work with, or HTTP alone")] = True,
) -> None:
    """Inspect what is sent, keep a record of everything, and show pages to work with."""
    try:
        from pellucid.service.access import Accounts, of_token
        from pellucid.service.app import serve as run
        from pellucid.service.settings import Settings
    except ModuleNotFoundError as error:
        raise ParameterError(f"The service needs {error.name}: pip install 'pellucid[serve]'.") from None

    members = () if accounts is None else Accounts.read(accounts).members
    if token := os.environ.get("PELLUCID_TOKEN"):
        members = (*members, of_token(token))
    run(
        Settings(
            models=models,
            record=record,
            database=database or os.environ.get("PELLUCID_DATABASE"),
            host=host,
            port=port,
            runtime=runtime,
            watch=watch,
            watch_model=watch_model,
            data=data,
            accounts=Accounts(members),
            waiting=waiting,
            waiting_mb=waiting_mb,
            request_mb=request_mb,
            megapixels=megapixels,
            timeout=timeout,
            keep_ok=keep_ok,
            keep_reject=keep_reject,
            pages=pages,
        )
    )


def account(
    name: Annotated[str, typer.Argument(help="of a person or a machine")],
    file: Annotated[Path, typer.Option("-f", "--file", help="of accounts; made if need be")],
    role: Annotated[
        Literal["operator", "engineer"],
        typer.Option(help="operators inspect and review, engineers also move limits, reload and train"),
    ] = "operator",
) -> None:
    """Make an account for the service, or give one a new key; the key is shown once."""
    from pellucid.service.access import add_account

    key = add_account(file, name, role)
    out.print(f"{role} '{name}' has this key, which is kept nowhere: log in with it, or send it as a bearer token")
    print(key)
