"""Tiles: images of any size, seen at one scale, in tiles whose maps join without a seam.

Of every tile the map is about its interior alone. Around that lies a margin, as wide as the detector looks, so that the
map is that of one large image (``docs/decisions/0046-tiles.md``). Interiors lie on a grid that begins at the image's
first pixel, whatever part of the image is in memory.
"""

from __future__ import annotations

from itertools import product
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from pellucid.acquisition.images import Pixels, Planes, Size
from pellucid.acquisition.layouts import Layout
from pellucid.acquisition.looks import MARGIN_STEP_PX, STEP_PX
from pellucid.errors import ParameterError

MIN_TILE_PX = 256
MAX_TILE_PX = 4096
MAX_REDUCTION = 16

Map = NDArray[np.float32]  # (H, W)


class Tiling(BaseModel):
    """How images of any size are cut into tiles.

    Attributes:
        tile: side of a tile, px of the reduced image.
        margin: px on every side of a tile that its map is not about.
        reduce: factor that images are reduced by in each direction, averaging areas, before they are cut; 1: none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tile: Annotated[int, Field(ge=MIN_TILE_PX, le=MAX_TILE_PX, multiple_of=STEP_PX)]
    margin: Annotated[int, Field(ge=0, multiple_of=MARGIN_STEP_PX)]
    reduce: Annotated[int, Field(ge=1, le=MAX_REDUCTION)] = 1

    @model_validator(mode="after")
    def _has_interior(self) -> Self:
        if self.interior < STEP_PX:
            raise ValueError(f"a margin of {self.margin} px leaves nothing of a tile of {self.tile} px")
        return self

    @property
    def interior(self) -> int:
        """Side of what the map of a tile is about, px of the reduced image."""
        return self.tile - 2 * self.margin

    def is_filled(self, view: Size) -> bool:  # noqa: ARG002 - as that of a framing
        """Whether every fitted image is seen once: of tiles, as many as it takes."""
        return False

    def lay_out(self, size: tuple[float, float]) -> Layout:
        """Return where the tiles lie on an image of (height, width) px."""
        height, width = (-(-round(side) // self.reduce) for side in size)
        rows, columns = (range(0, side, self.interior) for side in (height, width))
        corners = tuple(product(rows, columns))
        return Layout((self.tile, self.tile), (height, width), corners, margin=self.margin, reduce=self.reduce)

    def __str__(self) -> str:
        return f"{scale_text(self.reduce)}, in tiles of {self.tile} px of which the inner {self.interior} count"


def scale_text(reduce: int) -> str:
    """Say at which scale images are seen that are reduced by a factor."""
    return "at their own scale" if reduce == 1 else f"reduced {reduce} times"


def reduce_by(pixels: Pixels, factor: int) -> Pixels:
    """Average squares of ``factor`` px; those at the far borders repeat the last pixels.

    Args:
        pixels: (H, W, C).
        factor: at least 1.

    Returns:
        (ceil(H / factor), ceil(W / factor), C); ``pixels`` itself for 1.
    """
    if factor == 1:
        return pixels
    height, width = pixels.shape[:2]
    rows, columns = (np.minimum(np.arange(-(-side // factor) * factor), side - 1) for side in (height, width))
    total = np.zeros((len(rows) // factor, len(columns) // factor, pixels.shape[2]), np.float32)
    for row, column in product(range(factor), repeat=2):  # always in this order, of one channel or three
        total += pixels[rows[row::factor]][:, columns[column::factor]]
    return np.asarray(total / np.float32(factor * factor), np.float32)


def enlarge_by(anomaly_map: Map, factor: int, size: Size) -> Map:
    """Enlarge a map linearly by a whole factor; every value depends on its four neighbours alone, and on no position.

    Args:
        anomaly_map: (h, w).
        factor: at least 1.
        size: height and width wanted, at most ``factor`` times those of the map, px.

    Returns:
        (height, width); ``anomaly_map`` itself for 1.
    """
    if factor == 1:
        return anomaly_map[: size[0], : size[1]]
    for axis, side in enumerate(size):
        anomaly_map = np.moveaxis(_enlarge_rows(np.moveaxis(anomaly_map, axis, 0), factor)[:side], 0, axis)
    return np.ascontiguousarray(anomaly_map)


def _enlarge_rows(rows: Map, factor: int) -> Map:
    """(n, w) to (n * factor, w)."""
    before, after = np.concatenate([rows[:1], rows[:-1]]), np.concatenate([rows[1:], rows[-1:]])
    enlarged = np.empty((len(rows), factor, *rows.shape[1:]), np.float32)
    for phase in range(factor):
        offset = np.float32((phase + 0.5) / factor - 0.5)  # of the pixel's centre from that of the row
        other = after if offset > 0 else before
        enlarged[:, phase] = rows + np.abs(offset) * (other - rows)
    return enlarged.reshape(-1, *rows.shape[1:])


def tile_planes(pixels: Pixels) -> Planes:
    """Put the channels of a tile (H, W, 1 or 3) first, (3, H, W), always in the same order of memory: the bytes of what
    is computed may depend on it."""
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)).transpose(2, 0, 1))


def check_tile(tile: int | None, reduce: int) -> None:
    """Refuse sides of tiles and reductions that are not allowed.

    Args:
        tile: px; 0: images are seen whole; None: to be chosen.
        reduce: factor.

    Raises:
        ParameterError: one is not.
    """
    if tile and not (MIN_TILE_PX <= tile <= MAX_TILE_PX and tile % STEP_PX == 0):
        raise ParameterError(
            f"tile={tile} is not allowed: give a multiple of {STEP_PX} from {MIN_TILE_PX} to {MAX_TILE_PX}, in px, or"
            " 0 to see images whole."
        )
    if not 1 <= reduce <= MAX_REDUCTION:
        raise ParameterError(f"reduce={reduce} is not allowed: give a whole number from 1 to {MAX_REDUCTION}.")
    if reduce > 1 and tile == 0:
        raise ParameterError("Images are reduced only before they are cut into tiles, and tile=0 asks for none.")
