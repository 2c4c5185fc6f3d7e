"""What there is to choose from: detectors and backbones."""

from __future__ import annotations

import json

from pellucid.cli._console import out, print_text
from pellucid.cli._options import DetectorArgument, Json


def detectors(name: DetectorArgument = None, as_json: Json = False) -> None:
    """List the detectors, or one with its paper, hyper-parameters and defaults.

    Reads and writes nothing. A hyper-parameter is set by `pellucid fit --set KEY=VALUE`.

    ```
    pellucid detectors patchcore
    ```
    """
    from pellucid import detectors as catalogue

    chosen = [catalogue.describe(name)] if name else catalogue.descriptions()
    if as_json:
        entries = [{"name": d.name, "paper": d.paper, "parameters": dict(d.defaults)} for d in chosen]
        print(json.dumps(entries, indent=2))
        return
    for detector in chosen:
        brought_by = "" if detector.distribution == "pellucid" else f" (from {detector.distribution})"
        print_text(out, (detector.name, "bold"), f"  {detector.summary}{brought_by}")
    if name:
        from rich.table import Table

        print_text(out, chosen[0].paper)
        table = Table("parameter", "default")
        for key, value in chosen[0].defaults.items():
            table.add_row(key, json.dumps(value))
        out.print(table)


def backbones(as_json: Json = False) -> None:
    """List the backbones and where their weights come from.

    Reads and writes nothing. A backbone is chosen by `pellucid fit --backbone NAME`; beside those listed, timm/NAME is
    any network of the timm library.

    ```
    pellucid backbones
    ```
    """
    from pellucid import backbones as catalogue

    entries = [catalogue.entry(name) for name in catalogue.names()]
    if as_json:
        shown = ("full_name", "parameters", "licence", "teacher", "sha256", "source", "embedded")
        known = [{"name": entry.name} | {key: getattr(entry, key) for key in shown} for entry in entries]
        print(json.dumps(known, indent=2))
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table("backbone", "version", "parameters", "licence of the weights", "weights")
    for entry in entries:
        count = f"{entry.parameters / 1e6:.1f} M" if entry.parameters else "-"
        table.add_row(entry.name, entry.version or "-", count, escape(entry.licence), escape(entry.source))
    out.print(table)
