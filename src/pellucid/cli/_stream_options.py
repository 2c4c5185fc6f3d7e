"""The options of images that come in bands; see :mod:`pellucid.cli._options`."""

from __future__ import annotations

from typing import Annotated

import typer

Width = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="PX",
        help="Read raw rows of so many pixels, without a head, of one image, from standard input (-), a socket"
        " (tcp://HOST:PORT), or a file that may still grow; image files by default.",
    ),
]
Height = Annotated[
    int | None,
    typer.Option(min=1, metavar="PX", help="Rows that the image of raw rows has; by default all that come."),
]
Bits = Annotated[
    int,
    typer.Option(
        min=8, max=16, metavar="COUNT", help="Bits of a raw value; above 8 it is two bytes, the lower one first."
    ),
]
Channels = Annotated[
    int, typer.Option(min=1, max=3, metavar="1|3", help="Raw values of a pixel: 1, or 3 for red, green and blue.")
]
LineNumbers = Annotated[
    bool,
    typer.Option(
        "--line-numbers",
        help="Each raw row begins with its number, four bytes, the lowest first: rows that did not arrive are told, and"
        " filled with the row before them.",
    ),
]
QuietSeconds = Annotated[
    float,
    typer.Option(min=0, metavar="SECONDS", help="A file of raw rows is complete when it has not grown for so long."),
]
Overlap = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="ROWS",
        help="Take the images of one folder as frames of a single image, in the order of the numbers in their names,"
        " each beginning with so many last rows of the one before; by default every image is one of its own.",
    ),
]
