"""What a service is started with: one class, from which options, environment variables, the file and the docs come.

A value comes from the first of these that has it: an option of ``pellucid serve``, the environment variable
``PELLUCID_NAME``, the TOML file of ``--config``, the default. ``python -m pellucid.service.settings`` prints
``docs/settings.md``.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from pellucid._io.device_names import DEVICE_PATTERN
from pellucid._io.space import total_memory_bytes
from pellucid.errors import DataError, ParameterError, join_names, unknown_name
from pellucid.regions.cut_plan import read_cut_plan
from pellucid.regions.grading import Grading
from pellucid.regions.rules import read_rules
from pellucid.service.access.accounts import is_loopback
from pellucid.service.access.live_accounts import LiveAccounts

ENVIRONMENT_PREFIX = "PELLUCID_"
SECRET_FIELDS = ("token",)  # no options: other users of a machine see its command lines
MEMORY_SHARE = 0.5  # of the machine's, for images
UNKNOWN_MEMORY_BYTES = 4_000_000_000  # taken for the machine's where it does not say
MIN_PORT, MAX_PORT = 1, 65535
PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Settings(BaseSettings):
    """Holds everything that ``pellucid serve`` can be told; :func:`read_settings` makes one."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, validate_default=False
    )

    models: Path = Field(
        Path("models"), description="Folder of model files, exported models and results of 'pellucid compare'."
    )
    record: Path = Field(Path("record"), description="Folder that the pictures and the SQLite database are kept in.")
    database: str | None = Field(
        None,
        description="Database's URL, postgresql://USER:PASSWORD@HOST/NAME; by default SQLite in the record's folder.",
    )
    host: str = Field(
        "127.0.0.1", description="Address to listen on; any other than this machine's own needs accounts."
    )
    port: int = Field(8000, ge=MIN_PORT, le=MAX_PORT, description="Port to listen on.")
    accounts: Path | None = Field(
        None,
        description="File of the accounts that 'pellucid account' made; by default none, for this machine alone. It is"
        " read again when it changes.",
    )
    token: SecretStr | None = Field(
        None, description="Key of a single account, an engineer, instead of a file of accounts; 16 characters or more."
    )
    watch: Path | None = Field(None, description="Folder whose new images are inspected; none by default.")
    watch_model: str | None = Field(
        None, description="Name of the model for the watched folder; by default the newest comparison's choice."
    )
    watch_settle: PositiveFloat = Field(
        0.5, description="Seconds that a file in the watched folder must not have changed before it is inspected."
    )
    watch_patience: PositiveFloat = Field(
        10.0,
        description="Seconds without change until a watched file that looks unfinished is taken as it is, or refused;"
        " six times as many while a program has it open for writing.",
    )
    watch_done: Path | None = Field(
        None,
        description="Folder that inspected files of the watched folder are moved to, in one for each day; by default"
        " they stay where they are.",
    )
    data: Path | None = Field(
        None,
        description="Folder of data sets that the pages may train on; by default none, and nothing can be trained.",
    )
    grade: str | None = Field(
        None,
        description="Rule of 'pellucid rules', or a TOML file, that grades what models with a scale find; a file"
        " NAME.rules.toml beside NAME.pellucid is that model's own; nothing is graded by default.",
    )
    cut_plan: Path | None = Field(
        None,
        description="File of the panes that every sheet is cut into, each graded by itself; by default an image is one"
        " pane.",
    )
    runtime: Literal["auto", "torch", "openvino", "onnx"] = Field(
        "auto", description="Library that computes; auto takes the fastest that is installed and agrees with torch."
    )
    device: str = Field(
        "auto",
        pattern=rf"^({DEVICE_PATTERN})$",
        description="Device that torch computes on: auto, cpu, cuda, cuda:N or mps.",
    )
    max_requests: PositiveInt = Field(
        64, description="Requests that may be under way at a time; one more is answered by 429."
    )
    max_queued_mb: PositiveInt = Field(256, description="Megabytes of uploads that may be under way at a time.")
    request_mb: PositiveInt = Field(64, description="Megabytes that one request may have.")
    megapixels: PositiveFloat = Field(50.0, description="Megapixels that one image may have.")
    memory_mb: int | None = Field(
        None,
        gt=0,
        description="Megabytes of memory that images may take together while they are inspected or drawn; by default"
        " half of what the machine or its container has.",
    )
    max_models: PositiveInt = Field(
        8,
        description="Models that stay loaded; beyond that, the one that was not used for longest is loaded anew when"
        " it is asked for.",
    )
    timeout: PositiveFloat = Field(
        30.0,
        description="Seconds from the start of a request until it is given up: answered by 408 when it has not come"
        " whole by then, else by 504.",
    )
    key_hours: PositiveFloat = Field(
        24.0, description="Hours that an Idempotency-Key stands for its answer; then it may be used again."
    )
    keep_ok: PositiveInt = Field(30, description="Days that pictures of accepted parts are kept.")
    keep_reject: PositiveInt = Field(365, description="Days that pictures of rejected and of reviewed parts are kept.")
    pages: bool = Field(True, description="Whether there are pages to work with, or HTTP alone.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Say where values come from, the strongest first."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    def memory_bytes(self) -> int:
        """Return how much memory images may take together."""
        if self.memory_mb is not None:
            return self.memory_mb * 1_000_000
        return int((total_memory_bytes() or UNKNOWN_MEMORY_BYTES) * MEMORY_SHARE)

    def database_url(self) -> str:
        """Return the database's URL: a file in the record's folder unless another was named."""
        return self.database or f"sqlite:///{(self.record / 'record.db').resolve().as_posix()}"

    def grading(self) -> Grading | None:
        """Read the rule of the models that have none of their own; None where there is none.

        Raises:
            DataError: a file cannot be read.
            ParameterError: the rule or the plan cannot be understood, or there is a plan without a rule.
        """
        if self.grade is None:
            if self.cut_plan is not None:
                raise ParameterError("--cut-plan says what is graded: give --grade as well, the rule to grade it by.")
            return None
        plan = None if self.cut_plan is None else read_cut_plan(self.cut_plan)
        return Grading(read_rules(self.grade), plan=plan)

    def live_accounts(self) -> LiveAccounts:
        """Read everybody who may use the service.

        Raises:
            DataError: the file of accounts cannot be read or understood, or holds none.
            ParameterError: the token could be guessed.
        """
        return LiveAccounts(self.accounts, None if self.token is None else self.token.get_secret_value())


def read_settings(options: Mapping[str, Any] | None = None, config: Path | None = None) -> Settings:
    """Read the settings from options, the environment and a file, and check them.

    Args:
        options: values by field name that beat all others; none by default.
        config: TOML file of ``field = value`` lines; none by default.

    Raises:
        DataError: the file, or the one of accounts, cannot be read or understood.
        ParameterError: a name is unknown, a value is not allowed, or other machines would be let in without accounts.

    Example:
        >>> read_settings({"port": 9000}).port
        9000
    """
    options = options or {}
    if config is not None:
        _check_file(config)

    class Configured(Settings):
        model_config = SettingsConfigDict(toml_file=config)

    try:
        settings: Settings = Configured(**options)
    except ValidationError as error:
        raise _explained(error, options, config) from None
    if not is_loopback(settings.host) and not settings.live_accounts().required:
        raise ParameterError(
            f"Listening on {settings.host} lets other machines in, so it needs accounts: 'pellucid account NAME"
            " -f accounts.toml' makes one, --accounts accounts.toml uses it (or set PELLUCID_TOKEN)."
        )
    return settings


def _check_file(config: Path) -> None:
    """Find out whether a file can be read, and whether all its names are known."""
    try:
        content = tomllib.loads(config.read_bytes().decode())  # as pydantic reads it: line ends as they are
    except OSError as error:
        raise DataError(f"The settings in '{config}' cannot be read: {error.strerror or error}.") from None
    except (ValueError, RecursionError) as error:  # neither UTF-8 nor TOML
        raise DataError(f"The settings in '{config}' cannot be understood: {error}.") from None
    for name in content:
        if name not in Settings.model_fields:
            unknown = unknown_name("setting", name, Settings.model_fields)
            raise ParameterError(f"'{config}': {unknown}")


def _explained(error: ValidationError, options: Mapping[str, Any], config: Path | None) -> ParameterError:
    """Say in one sentence which value is not allowed, where it stands, and what is allowed there."""
    first = error.errors()[0]
    name, kind = str(first["loc"][0]), first["type"]
    if kind == "extra_forbidden":
        return unknown_name("setting", name, Settings.model_fields)
    variable = ENVIRONMENT_PREFIX + name.upper()
    value = "***" if name in SECRET_FIELDS else first["input"]
    if name in options:
        given = f"{option_name(name)} {value}"
    elif os.environ.get(variable):
        given = f"{variable}={value}"
    else:
        given = f"{name} = {value!r} in '{config}'"
    return ParameterError(f"{given} is not allowed: give {_allowed(Settings.model_fields[name], kind)}.")


def _allowed(field: FieldInfo, error_kind: str) -> str:
    """Say what may be given instead of a value that was refused."""
    kind = next((kind for kind in get_args(field.annotation) if kind in (int, float)), field.annotation)
    if kind in (int, float) and error_kind in ("greater_than", "finite_number"):
        return "a number above zero"
    if error_kind == "string_pattern_mismatch":
        return "auto, cpu, cuda, cuda:N or mps"
    if error_kind == "literal_error":
        return join_names(get_args(kind))
    if error_kind in ("greater_than_equal", "less_than_equal"):
        return f"a number from {MIN_PORT} to {MAX_PORT}"
    names = {int: "a whole number", float: "a number", bool: "true or false"}
    return names.get(kind, "a text") if isinstance(kind, type) else "a text"


def option_name(field: str) -> str:
    """Spell a field as the option of ``pellucid serve``."""
    return f"--{field.replace('_', '-')}"


def default_text(field: FieldInfo) -> str:
    """Spell a field's default as one would type it; empty when there is none."""
    if field.default is None:
        return ""
    return str(field.default).lower() if isinstance(field.default, bool) else f"{field.default}"


def settings_document() -> str:
    """Render the table of all settings, ``docs/settings.md``, as markdown."""
    lines = [
        "# Settings of `pellucid serve`",
        "",
        "<!-- Generated by `python -m pellucid.service.settings > docs/settings.md`; a test compares. -->",
        "",
        "A value comes from the first of these that has it: the option, the environment variable, the line",
        "`name = value` in the TOML file that `pellucid serve --config FILE` names, the default. Paths are relative to",
        "the folder that the service is started in.",
        "",
        "| in the file | option | environment variable | default | what it is |",
        "|---|---|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        option = "" if name in SECRET_FIELDS else f"`{option_name(name)}`"
        if field.annotation is bool:
            option += f", `{option_name('no_' + name)}`"
        default = default_text(field)
        shown = f"`{default}`" if default else ""
        variable = ENVIRONMENT_PREFIX + name.upper()
        lines.append(f"| `{name}` | {option} | `{variable}` | {shown} | {field.description} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(settings_document(), end="")
