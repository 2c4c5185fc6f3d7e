"""Whether pellucid works here."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import groupby

import typer

from pellucid.cli._console import err, out, print_line, print_text
from pellucid.cli._options import Json

STYLES = {"ok": "green", "missing": "dim", "broken": "bold red"}


def doctor(as_json: Json = False) -> None:
    """Look whether everything works on this machine: versions, processor, runtimes that agree, room, extras.

    Reads the installed packages and the embedded weights, fits and exports a small model in a temporary folder, and
    writes nothing else. Prints a line for everything that was looked at, and what to do where something is missing.
    Ends with 1 only if something is broken. Takes half a minute.

    ```
    pellucid doctor
    ```
    """
    from pellucid.doctor import examine

    findings = examine()
    broken = [found for found in findings if found.state == "broken"]
    if as_json:
        healthy = {"healthy": not broken, "findings": [asdict(found) for found in findings]}
        print(json.dumps(healthy, indent=2))
    else:
        for subject, members in groupby(findings, lambda found: found.subject):
            print_text(out, (subject, "bold"))
            for found in members:
                advice = f"   {found.advice}" if found.advice else ""
                state = (f"{found.state:<8}", STYLES[found.state])
                print_line(out, "  ", state, f"{found.name}: {found.value}{advice}")
    if broken:
        print_line(err, ("broken:", "bold red"), f" {', '.join(found.name for found in broken)}")
        raise typer.Exit(1)
    if not as_json:
        print_text(out, ("Everything that is installed works.", "bold"))
