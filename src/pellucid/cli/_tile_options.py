"""The options of tiled models; see :mod:`pellucid.cli._options`."""

from __future__ import annotations

from typing import Annotated

import typer

from pellucid.errors import ParameterError

TILE_HELP = (
    "Side of the tiles that images of any size are seen in, at their own scale, in pixels: a multiple of 64 from 256 to"
    " 4096; 0 sees them whole at the image size. Tiles of 1024 by default for images that would be shrunk 8 times or"
    " more, and none for others"
)
REDUCE_HELP = (
    "Whole factor that images are reduced by in each direction before they are cut into tiles, from 1, their own"
    " scale, to 16"
)
Tile = Annotated[int | None, typer.Option("--tile", metavar="PIXELS", help=f"{TILE_HELP}.")]
Reduce = Annotated[int | None, typer.Option("--reduce", metavar="FACTOR", help=f"{REDUCE_HELP}; 1 by default.")]
GateLoss = Annotated[
    float,
    typer.Option(
        "--gate-loss",
        metavar="SHARE",
        help="Share of the flaws that a tiled model finds, which may be lost to a gate: a quick look that passes over"
        " most tiles of good glass. Flaws planted into good images bound it; 0, the default, computes every tile.",
    ),
]
SmallestPx = Annotated[
    float | None,
    typer.Option(
        "--smallest-px",
        metavar="PIXELS",
        help="Size of the smallest flaw that has to be found, in pixels of the images: the scale of the tiles is then"
        " chosen by what each finds of such flaws, planted into good images; nothing by default, and the scale is that"
        " of --reduce.",
    ),
]
SmallestMm = Annotated[
    float | None,
    typer.Option(
        "--smallest-mm",
        metavar="MM",
        help="Size of the smallest flaw that has to be found, in millimetres, where --mm-per-px says the scale of the"
        " images; nothing by default.",
    ),
]
FalseAlarmsPerM2 = Annotated[
    float | None,
    typer.Option(
        "--false-alarms-per-m2",
        metavar="RATE",
        help="Promised false alarms per square metre of good glass, for a tiled model whose images may differ in size,"
        " in place of --false-reject, where --mm-per-px says their scale; by default the promise is by images.",
    ),
]
FalseAlarmsPerMpx = Annotated[
    float | None,
    typer.Option(
        "--false-alarms-per-mpx",
        metavar="RATE",
        help="The same per million pixels of the images' own, where their scale is not known; by default the promise"
        " is by images.",
    ),
]
DrawnSheet = Annotated[
    bool,
    typer.Option("--sheet", help="Draw, inspect, measure and grade a whole sheet instead of comparing detectors."),
]


def smallest_of(
    px: float | None,
    mm: float | None,
    mm_per_px: float | tuple[float, float] | None,
    tile: int | None,
    reduce: int | None,
) -> float | None:
    """Return the size of the smallest flaw that has to be found, px of the images; None where nobody says it.

    Raises:
        ParameterError: it is given twice, in mm without a scale, or beside what it would choose.
    """
    if px is None and mm is None:
        return None
    if px is not None and mm is not None:
        raise ParameterError("Give the smallest flaw in px or in mm, not both.")
    if reduce is not None or tile == 0:
        raise ParameterError("The smallest flaw chooses the scale of the tiles: leave --reduce and --tile 0 out.")
    if px is not None:
        return px
    if mm_per_px is None:
        raise ParameterError("--smallest-mm needs the scale of the images: give --mm-per-px as well.")
    return float(mm or 0) / (mm_per_px if isinstance(mm_per_px, float | int) else max(mm_per_px))
