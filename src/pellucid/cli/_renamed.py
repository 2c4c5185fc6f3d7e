"""Commands and options that have another name by now: the old one goes on working for one version, with a note."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from typer.core import TyperGroup

from pellucid.cli._console import err, print_line

RENAMED_COMMANDS = {("study", "power"): "detectability"}  # until 0.2
RENAMED_OPTIONS = {"detectability": {"--each": "--flaws-per-cell"}}  # until 0.2, by the command's new name


class CommandGroup(TyperGroup):
    """Commands that can be called by the names that they had in the version before."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, with_new_names(args))


def with_new_names(arguments: Sequence[str]) -> list[str]:
    """Return a command line with the new name in place of each old one, and say so on standard error."""
    renamed = list(arguments)
    for old, new in RENAMED_COMMANDS.items():
        if tuple(renamed[: len(old)]) == old:
            _note(f"pellucid {' '.join(old)}", f"pellucid {new}")
            renamed[: len(old)] = [new]
    options = RENAMED_OPTIONS.get(renamed[0], {}) if renamed else {}
    end = renamed.index("--") if "--" in renamed else len(renamed)  # what follows is no option
    for number, argument in enumerate(renamed[:end]):
        option, equals, value = argument.partition("=")
        if option in options:
            _note(option, options[option])
            renamed[number] = options[option] + equals + value
    return renamed


def _note(old: str, new: str) -> None:
    print_line(err, ("note:", "yellow"), f" '{old}' is called '{new}' now; the old name goes with the next version.")
