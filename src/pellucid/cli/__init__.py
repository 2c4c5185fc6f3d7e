"""The command line. Exit codes: 0 done, 1 the user's error with one sentence, 2 usage, 3 something was rejected."""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

import pellucid
from pellucid.cli import catalogue, compare, doctor, export, fit, grading, inspect, serve, study, trends, update
from pellucid.cli._console import err, print_line
from pellucid.cli._renamed import CommandGroup
from pellucid.errors import PellucidError

ABSENT_FROM_SLIM_RUNTIME = ("torch", "scipy", "sklearn", "matplotlib", "safetensors")  # see slim/pyproject.toml
EXIT_CODES = "Exit codes: 0 done; 1 an error, told in one sentence; 2 a command line that is not understood."
DOCTOR_EXIT_CODES = EXIT_CODES.replace("sentence;", "sentence, or something that is broken;")
INSPECT_EXIT_CODES = f"{EXIT_CODES[:-1]}; 3 an image was rejected and --fail-on-reject was given."
START, CHOOSE, LEARN, INSPECT, TEST, SERVE = (
    *("Start here", "What there is to choose from", "Learn what good parts look like"),
    *("Inspect", "Find out how good a model is", "Serve a line and its people"),
)

app = typer.Typer(
    cls=CommandGroup, no_args_is_help=True, add_completion=False, rich_markup_mode="markdown", epilog=EXIT_CODES
)
app.command(rich_help_panel=START, epilog=EXIT_CODES)(compare.demo)
app.command(rich_help_panel=START, epilog=DOCTOR_EXIT_CODES)(doctor.doctor)
app.command(rich_help_panel=CHOOSE, epilog=EXIT_CODES)(catalogue.backbones)
app.command(rich_help_panel=CHOOSE, epilog=EXIT_CODES)(catalogue.detectors)
app.command(rich_help_panel=CHOOSE, epilog=EXIT_CODES)(grading.rules)
app.command(rich_help_panel=LEARN, epilog=EXIT_CODES)(grading.calibrate)
app.command(rich_help_panel=LEARN, epilog=EXIT_CODES)(fit.fit)
app.command(rich_help_panel=LEARN, epilog=EXIT_CODES)(compare.compare)
app.command(rich_help_panel=LEARN, epilog=EXIT_CODES)(update.update)
app.command(rich_help_panel=INSPECT, epilog=INSPECT_EXIT_CODES)(inspect.inspect)
app.command(rich_help_panel=INSPECT, epilog=EXIT_CODES)(grading.regrade)
app.command(rich_help_panel=INSPECT, epilog=EXIT_CODES)(trends.trends)
app.command(rich_help_panel=INSPECT, epilog=EXIT_CODES)(export.export)
app.command(rich_help_panel=TEST, epilog=EXIT_CODES)(study.evaluate)
app.command(rich_help_panel=TEST, epilog=EXIT_CODES)(study.detectability)
app.command(cls=serve.ServeCommand, rich_help_panel=SERVE, epilog=EXIT_CODES)(serve.serve)
app.command(rich_help_panel=SERVE, epilog=EXIT_CODES)(serve.account)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"pellucid {pellucid.__version__}")
        raise typer.Exit


@app.callback()
def pellucid_command(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and end.")
    ] = False,
) -> None:
    """pellucid finds the flaw in the glass: it learns from images of good parts what normal looks like, scores new
    images, shows where the flaw is, and decides. `pellucid COMMAND --help` explains a command.

    ```
    pellucid demo
    ```
    """


def main() -> None:
    """Run a command; a user's error becomes one sentence and exit code 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what a console's alphabet lacks does not stop a command
    try:
        app()
    except PellucidError as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        if error.name not in ABSENT_FROM_SLIM_RUNTIME:
            raise
        _fail(f"The slim runtime only inspects exported models; this needs {error.name}: pip install pellucid.")
    except Exception as error:
        if not _lacks_memory(error):
            raise
        _fail("There is not enough memory for this: give a smaller --image-size, or close other programs.")


def _lacks_memory(error: Exception) -> bool:
    """Whether Python, NumPy, OpenCV or torch, on a CPU or a GPU, could not get the memory that it asked for."""
    message = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(sign in message for sign in ("insufficient memory", "can't allocate memory", "not enough memory"))
    )


def _fail(message: str) -> None:
    first, *more = message.split("\n")
    print_line(err, ("error:", "bold red"), f" {first}")
    for line in more:
        print_line(err, line)
    sys.exit(1)
