"""Close-ups: the parts of a tile that a detector can compute alone around what a gate lets pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pellucid.acquisition.images import Planes, Size
from pellucid.acquisition.looks import STEP_PX
from pellucid.acquisition.tiles import Map
from pellucid.errors import ParameterError, WeightsError

if TYPE_CHECKING:
    from pellucid.runtimes import Runtime

SQUARES_PX = (2 * STEP_PX, 3 * STEP_PX)  # sides of those around spots
COLUMN_PX = 2 * STEP_PX  # width of those along lines, which are as high as a tile's interior
CLOSE_UPS_IN_TILE = 3  # side by side, that a tile has room for at least
MAX_CHANGE = 1e-3  # of the map's peak, that a close-up may differ from the tile by


def close_up_sizes(interior: int) -> list[Size]:
    """List heights and widths of the parts of a tile that are so small that they are worth while.

    Args:
        interior: side of what the map of a tile is about, px.
    """
    sizes = [*((side, side) for side in SQUARES_PX), (interior, COLUMN_PX)]
    return [(height, width) for height, width in sizes if CLOSE_UPS_IN_TILE * width <= interior]


def close_ups_of(runtime: Runtime, tile: Planes, margin: int) -> list[Size]:
    """Measure of which of :func:`close_up_sizes` the map is that of the tile.

    Args:
        runtime: of the detector.
        tile: of good glass, (3, T, T) in [0, 1].
        margin: on every side of what its map is about, px.
    """
    sizes = close_up_sizes(tile.shape[1] - 2 * margin)
    if not sizes:
        return []
    whole = runtime.score(tile[None])[0][0]
    return [size for size in sizes if _is_part_of(whole, runtime, tile, size, margin)]


def _is_part_of(whole: Map, runtime: Runtime, tile: Planes, size: Size, margin: int) -> bool:
    """Whether the map of the middle of a tile, computed alone, is that of the whole tile there."""
    (height, width), (top, left) = size, ((len(whole) - side) // 2 // STEP_PX * STEP_PX for side in size)
    seen = height + 2 * margin, width + 2 * margin
    part = np.ascontiguousarray(tile[:, top : top + seen[0], left : left + seen[1]])
    try:
        found = runtime.for_tiles(seen).score(part[None])[0][0]
    except (ParameterError, WeightsError):
        return False
    inside = whole[top : top + height, left : left + width]
    return found.shape == inside.shape and bool(np.abs(found - inside).max() <= MAX_CHANGE * np.abs(whole).max())
