"""The service and its accounts."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer
from typer.core import TyperCommand

from pellucid.cli._console import out
from pellucid.errors import ParameterError, missing_extra

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo


class ServeCommand(TyperCommand):
    """A command whose options are the fields of the service's settings, read when they are first needed."""

    def get_params(self, ctx: Any) -> list[Any]:
        """List the options; the service's packages are imported for it, which other commands do not wait for."""
        if not self.params:
            self.params = _options()
        return super().get_params(ctx)

    def invoke(self, ctx: Any) -> Any:
        """Hand the options that were given to the command as its context's object."""
        ctx.obj = {name: value for name, value in ctx.params.items() if value is not None}
        ctx.params = {}
        return super().invoke(ctx)


def serve(ctx: typer.Context) -> None:
    """Inspect what is sent, keep a record of everything, and show pages to work with.

    Reads models from a folder, images over HTTP and from a watched folder. Writes every inspection into a database,
    and its picture beside it, before the answer leaves. Settings are options, environment variables or a TOML file. It
    runs until it is stopped.

    ```
    pellucid serve --models . --data .
    ```
    """
    options: dict[str, Any] = dict(ctx.obj)
    config = options.pop("config", None)
    try:
        from pellucid.service.app import serve as run
        from pellucid.service.settings import read_settings
    except ModuleNotFoundError as error:
        raise ParameterError(missing_extra("serve", str(error.name), "The service")) from None
    run(read_settings(options, config))


def _options() -> list[Any]:
    """Make an option of every field of the settings that is no secret."""
    try:
        from pellucid.service.settings import SECRET_FIELDS, Settings
    except ModuleNotFoundError as error:
        raise ParameterError(missing_extra("serve", str(error.name), "The service")) from None
    config = typer.Option(
        "--config", help="TOML file of settings; options and environment variables win over it; none by default."
    )
    parameters = [_parameter("config", Path, config)]
    fields = {name: field for name, field in Settings.model_fields.items() if name not in SECRET_FIELDS}
    parameters += [_parameter(name, *_option(name, field)) for name, field in fields.items()]

    def command() -> None: ...

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    app = typer.Typer(add_completion=False)
    app.command()(command)
    return list(typer.main.get_command(app).params)


def _parameter(name: str, kind: Any, option: Any) -> inspect.Parameter:
    """Make the parameter of an option that is None unless it is given."""
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )


def _option(name: str, field: FieldInfo) -> tuple[Any, Any]:
    """Make the type and the option of a field: its name, its default and its description."""
    from pellucid.service.settings import default_text, option_name

    kind = _value_type(field)
    spelled = f"{option_name(name)}/{option_name('no_' + name)}" if kind is bool else option_name(name)
    return kind, typer.Option(spelled, help=field.description, show_default=default_text(field) or False)


def _value_type(field: FieldInfo) -> Any:
    """Take the type of a field without its None."""
    if type(None) in get_args(field.annotation):
        return next(kind for kind in get_args(field.annotation) if kind is not type(None))
    return field.annotation


def account(
    name: Annotated[str, typer.Argument(help="Name of a person or a machine.")],
    file: Annotated[Path, typer.Option("-f", "--file", help="File of accounts; it is made if there is none.")],
    role: Annotated[
        Literal["operator", "engineer"],
        typer.Option(help="Operators inspect and review; engineers also move limits, reload models and train."),
    ] = "operator",
) -> None:
    """Make an account for the service, or give one a new key; the key is shown once.

    Reads and writes the file of accounts, which holds no key, only what recognises it.

    ```
    pellucid account sara -f accounts.toml --role engineer
    ```
    """
    from pellucid.service.access.accounts import add_account

    key = add_account(file, name, role)
    out.print(f"{role} '{name}' has this key, which is kept nowhere: log in with it, or send it as a bearer token")
    print(key)
