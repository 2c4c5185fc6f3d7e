"""The options of tiled models; see :mod:`pellucid.cli._options`."""

from __future__ import annotations

from typing import Annotated

import typer

TILE_HELP = (
    "Side of the tiles that images of any size are seen in, at their own scale, in pixels: a multiple of 64 from 256 to"
    " 4096; 0 sees them whole at the image size. By default, images that would be shrunk 8 times or more are seen in"
    " tiles of 1024"
)
REDUCE_HELP = (
    "Whole factor that images are reduced by in each direction before they are cut into tiles, from 1, their own"
    " scale, to 16"
)
Tile = Annotated[int | None, typer.Option("--tile", metavar="PIXELS", help=f"{TILE_HELP}.")]
Reduce = Annotated[int, typer.Option("--reduce", metavar="FACTOR", help=f"{REDUCE_HELP}.")]
ComparedReduce = Annotated[int | None, typer.Option("--reduce", metavar="FACTOR", help=f"{REDUCE_HELP}; 1 by default.")]
