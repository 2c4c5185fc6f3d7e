"""The command line. Exit codes: 0 done, 1 the user's error with one sentence, 2 usage, 3 something was rejected."""

from __future__ import annotations

import sys

import typer

from pellucid.cli import catalogue, inspect, serve, study, train
from pellucid.cli._console import err, print_line
from pellucid.errors import PellucidError

ABSENT = ("torch", "scipy", "sklearn", "matplotlib", "safetensors")  # from the slim runtime, see slim/pyproject.toml

app = typer.Typer(no_args_is_help=True, add_completion=False, help="pellucid finds the flaw in the glass.")
app.command()(train.fit)
app.command()(inspect.inspect)
app.command()(inspect.export)
app.command()(study.evaluate)
app.command()(train.compare)
app.command()(study.detectability)
app.command(cls=serve.ServeCommand)(serve.serve)
app.command()(serve.account)
app.command()(train.demo)
app.command(name="detectors")(catalogue.detectors)
app.command(name="backbones")(catalogue.backbones)

study_group = typer.Typer(no_args_is_help=True)
app.add_typer(study_group, name="study", hidden=True)
study_group.command(name="power")(study.detectability)


def main() -> None:
    """Entry point: a user's error becomes one sentence and exit code 1."""
    try:
        app()
    except PellucidError as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        if error.name not in ABSENT:
            raise
        _fail(f"The slim runtime only inspects exported models; this needs {error.name}: pip install pellucid.")


def _fail(message: str) -> None:
    print_line(err, ("error:", "bold red"), f" {message}")
    sys.exit(1)
