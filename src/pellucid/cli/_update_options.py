"""The arguments and options of updates; see :mod:`pellucid.cli._options`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

LearnedImages = Annotated[
    list[Path],
    typer.Argument(
        metavar="IMAGE|FOLDER|DATA",
        help="Images of good parts, and folders of them; or data sets in a known layout or as a CSV file, whose images"
        " of good parts that are not for testing are taken.",
    ),
]
FalseAlarms = Annotated[
    bool,
    typer.Option(
        "--false-alarms",
        help="The model rejected these images, and people passed them: they are learned, and the limit stays, because"
        " images that were picked by their scores cannot place it.",
    ),
]
