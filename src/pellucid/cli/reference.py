"""The commands as a page of documentation: ``python -m pellucid.cli.reference > docs/cli.md``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from inspect import cleandoc
from itertools import groupby
from typing import Any

import typer
from typer.main import get_group

from pellucid.cli import app

REFERENCE_HEAD = """# Commands

Written by `python -m pellucid.cli.reference > docs/cli.md` from the commands themselves: `pellucid COMMAND --help` says
the same. What can be chosen stands in angle brackets, what has to be replaced in capital letters.
"""


def reference() -> str:
    """Return the page, Markdown text; it does not depend on the terminal."""
    group = get_group(app)
    commands: list[Any] = [command for command in group.commands.values() if not command.hidden]
    parts = [REFERENCE_HEAD]
    for panel, members in groupby(commands, key=lambda command: command.rich_help_panel):
        parts.append(f"## {panel}\n")
        parts += ["\n".join(_command(command)) for command in members]
    return "\n".join(parts)


def _command(command: Any) -> Iterator[str]:
    """Lines about one command; it and its parameters are Click's, of which Typer brings its own."""
    context = typer.Context(command)
    parameters = [parameter for parameter in command.get_params(context) if parameter.name != "help"]
    arguments = [parameter for parameter in parameters if parameter.param_type_name == "argument"]
    options = [parameter for parameter in parameters if parameter.param_type_name == "option"]
    yield f"### pellucid {command.name}\n"
    yield f"{cleandoc(command.help)}\n"
    if arguments:
        yield "| argument | what it is |\n|---|---|"
        yield from (_row(f"`{a.metavar or a.name}`", a.help or "") for a in arguments)
        yield ""
    yield "| option | value | what it does | default |\n|---|---|---|---|"
    for option in options:
        names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
        value = "" if option.is_flag else f"`{option.metavar or option.display_type(context)}`"
        yield _row(names, value, option.help or "", _default(option))
    yield f"\n{command.epilog}\n"


def _default(option: Any) -> str:
    if option.required:
        return "required"
    if isinstance(option.show_default, str):  # the command finds it out itself
        return f"`{option.show_default}`"
    if option.default is None or option.is_flag:
        return ""
    return f"`{option.default}`" + (f", or what {option.envvar} says" if option.envvar else "")


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    print(reference(), end="")
