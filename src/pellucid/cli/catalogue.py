"""What there is to choose from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from pellucid import backbones as backbone_catalogue
from pellucid import detectors as detector_catalogue
from pellucid.cli._console import out
from pellucid.cli._options import (
    Json,
)

if TYPE_CHECKING:
    pass


def detectors(name: Annotated[str | None, typer.Argument()] = None, as_json: Json = False) -> None:
    """What detectors there are, with their parameters and defaults."""
    chosen = [detector_catalogue.describe(name)] if name else detector_catalogue.descriptions()
    if as_json:
        print(
            json.dumps([{"name": d.name, "paper": d.paper, "parameters": dict(d.defaults)} for d in chosen], indent=2)
        )
        return
    for d in chosen:
        brought_by = "" if d.distribution == "pellucid" else f" (from {d.distribution})"
        out.print(f"[bold]{d.name}[/]  {escape(d.summary)}{brought_by}", highlight=False)
        if name:
            out.print(escape(d.paper), highlight=False)
            table = Table("parameter", "default")
            for key, value in d.defaults.items():
                table.add_row(key, json.dumps(value))
            out.print(table)


def backbones(as_json: Json = False) -> None:
    """What backbones there are and where their weights come from."""
    entries = [backbone_catalogue.entry(n) for n in backbone_catalogue.names()]
    if as_json:
        print(json.dumps([{"name": e.name, "weights": e.source} for e in entries], indent=2))
        return
    table = Table("backbone", "weights")
    for e in entries:
        table.add_row(e.name, escape(e.source))
    out.print(table)
