"""Outlines to pixels: polygons, ellipses and run lengths. A pixel is inside when its centre is.

Coordinates are continuous, x to the right and y down, with (0, 0) at the outer corner of the first pixel: the centre of
pixel (row, column) lies at (column + 0.5, row + 0.5).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from pellucid.acquisition.images import Size

Corners = NDArray[np.float64]  # (N, 2): x, y
Region = NDArray[np.bool_]  # (H, W)


def fill_polygon(corners: Corners, size: Size) -> Region:
    """Fill a polygon by the even-odd rule; parts outside the image are cut off.

    Args:
        corners: (N, 2), in order; the last is joined to the first.
        size: height and width of the image, px.
    """
    height, width = size
    crossed = np.zeros(
        (height, width + 1), bool
    )  # an odd number of edges between this pixel's centre and the one before
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        first, end = (min(max(math.ceil(y - 0.5), 0), height) for y in sorted((y0, y1)))
        if first < end:
            rows = np.arange(first, end)
            x = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
            crossed[rows, np.clip(np.ceil(x - 0.5), 0, width).astype(int)] ^= True
    return np.logical_xor.accumulate(crossed, axis=1)[:, :width]


def unite(regions: Iterable[Region], size: Size) -> Region:
    """Return where any of some regions of an image (H, W) is.

    Args:
        regions: (H, W) each; of none, nothing is there.
        size: height and width of the image, px.
    """
    united = np.zeros(size, bool)
    for region in regions:
        united |= region
    return united


def fill_normalised_polygon(corners: Corners, size: Size) -> Region:
    """Fill a polygon whose coordinates are shares of the image's width and height; see :func:`fill_polygon`."""
    return fill_polygon(corners * size[::-1], size)


def fill_ellipse(centre: Sequence[float], radii: Sequence[float], degrees: float, size: Size) -> Region:
    """Fill an ellipse.

    Args:
        centre: x, y.
        radii: along its own x and y.
        degrees: turned by, clockwise as one sees it.
        size: height and width of the image, px.
    """
    rows, columns = np.ogrid[: size[0], : size[1]]
    x, y = columns + 0.5 - centre[0], rows + 0.5 - centre[1]
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    along, across = x * cos + y * sin, y * cos - x * sin
    return np.asarray((along * radii[1]) ** 2 + (across * radii[0]) ** 2 <= (radii[0] * radii[1]) ** 2)


def fill_bitmap(bitmap: Region, corner: tuple[int, int], size: Size) -> Region:
    """Put a bitmap (h, w) into an image; parts outside are cut off.

    Args:
        bitmap: true where the shape is.
        corner: column and row of its first pixel.
        size: height and width of the image, px.
    """
    region = np.zeros(size, bool)
    left, top = corner
    shown = bitmap[max(-top, 0) : max(size[0] - top, 0), max(-left, 0) : max(size[1] - left, 0)]
    region[max(top, 0) :, max(left, 0) :][: shown.shape[0], : shown.shape[1]] = shown
    return region


def fill_runs(
    counts: Sequence[int], bitmap_size: Size, size: Size, *, by_columns: bool, corner: tuple[int, int] = (0, 0)
) -> Region:
    """Put a bitmap into an image that is given by run lengths, the first of which counts pixels that are outside.

    Args:
        counts: as :func:`checked_runs` returns them.
        bitmap_size: height and width of the bitmap, px.
        size: height and width of the image, px.
        by_columns: True: pixels follow one another downwards, as in COCO; False: to the right, as in CVAT.
        corner: column and row of the bitmap's first pixel.
    """
    pixels = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return fill_bitmap(pixels.reshape(bitmap_size, order="F" if by_columns else "C"), corner, size)


def checked_runs(counts: Sequence[int], size: Size) -> Sequence[int]:
    """Return run lengths as they are.

    Args:
        counts: of outside and inside pixels in turn.
        size: height and width of their bitmap, px.

    Raises:
        ValueError: there are more or fewer pixels than the size has, or a count is negative.
    """
    if min(counts, default=0) < 0 or sum(counts) != size[0] * size[1]:
        raise ValueError(f"run lengths of {sum(counts)} pixels do not make {size[1]}x{size[0]}")
    return counts


def decode_run_string(text: str) -> list[int]:
    """Decode COCO's compressed run lengths: six bits a character, each count from the third on as a difference.

    Args:
        text: as pycocotools writes it.

    Raises:
        ValueError: it ends within a number.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (1 << shift) if bits & 16 else 0
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("its run lengths end within a number")
    return counts


def box_corners(x0: float, y0: float, x1: float, y1: float, degrees: float = 0) -> Corners:
    """Return the corners of a box, turned clockwise about its centre.

    Args:
        x0: left.
        y0: top.
        x1: right.
        y1: bottom.
        degrees: turned by.
    """
    centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    upright = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], float) - centre
    return np.asarray(upright @ np.array([(cos, sin), (-sin, cos)]) + centre)
