"""The arguments and options of trends; see :mod:`pellucid.cli._options`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

TrendsResults = Annotated[
    list[Path],
    typer.Argument(
        metavar="RESULTS",
        help="Folders that `pellucid inspect -o` wrote, and files of what `inspect --json` printed, in the order in"
        " which the sheets came; each image is a sheet, and travel is down.",
    ),
]
Gap = Annotated[
    float | None,
    typer.Option(
        "--gap-mm",
        min=0,
        metavar="MM",
        help="Distance between one sheet's end and the next one's beginning on the ribbon, in mm, 0 or more, where it"
        " is always the same; by default it is not known, and any may lie between them.",
    ),
]
Tolerance = Annotated[
    float,
    typer.Option(
        "--tolerance-mm", metavar="MM", help="How far from its place a repeat may lie, across and along, mm, above 0."
    ),
]
Periods = Annotated[
    str,
    typer.Option(
        "--periods-mm",
        metavar="MIN,MAX",
        help="Smallest and largest distance of repeats to look for, in mm; the smallest is at least 8 times the"
        " tolerance.",
    ),
]
FalseAlarmRate = Annotated[
    float,
    typer.Option(
        metavar="RATE",
        help="How often sheets whose defects lie anywhere may raise an alarm at most, between 0 and 1, for all that is"
        " searched together.",
    ),
]
