"""Maps to colours, on one scale per model: every picture, page and notebook colours by it and by nothing else.

The scale begins at what pixels of good parts usually score and has the pixel limit in its middle. Up to half of the way
between the two nothing is drawn, so that a good part looks good; from there on colour comes in, purple below the limit,
red at it, orange and yellow above. The upper half has no end: twice as far as the limit is half of it, four times as
far three quarters, so that of two defects the worse one is seen to be worse.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

Bgr = NDArray[np.uint8]  # (H, W, 3)
Bgra = NDArray[np.uint8]  # (H, W, 4)
Map = NDArray[np.float32]  # (H, W)
FIRST_SHOWN = 0.5  # of the way from the level of good pixels to the limit: up to here a map is transparent
OPACITY_AT_LIMIT = 0.75  # and above; the image stays visible under the highest anomaly
SMALLEST_SPAN = 1e-12  # of a scale
BLOCK_PIXELS = 2**17  # that are coloured at a time


def colour_map(anomaly_map: Map, good_level: float, pixel_limit: float) -> Bgra:
    """Colour a map, to be laid over its image.

    Args:
        anomaly_map: (H, W).
        good_level: what pixels of good parts usually score, the scale's beginning.
        pixel_limit: that good parts stay below, the scale's middle.

    Returns:
        (H, W, 4), opacity last: 0 up to half of the way from ``good_level`` to ``pixel_limit``.
    """
    coloured = np.empty((*anomaly_map.shape, 4), np.uint8)
    span = np.float32(max(pixel_limit - good_level, SMALLEST_SPAN))
    for rows in _blocks(anomaly_map.shape):
        way = (anomaly_map[rows] - np.float32(good_level)) / span
        place = np.where(way < 1, way / 2, 1 - 1 / (2 * np.maximum(way, 1)))  # where the two halves meet evenly
        levels = (np.clip(place, 0, 1) * 255).astype(np.uint8)
        coloured[rows, :, :3] = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)
        opacity = np.clip((way - FIRST_SHOWN) / (1 - FIRST_SHOWN), 0, 1) ** 2 * OPACITY_AT_LIMIT  # slowly at first
        coloured[rows, :, 3] = (opacity * 255).round()
    return coloured


def lay_over(image: Bgr, coloured: Bgra) -> Bgr:
    """Lay a coloured map over its image, both of one size; where the map is transparent, the image stays to the bit."""
    out = image.copy()
    for rows in _blocks(image.shape):
        shown = coloured[rows, :, 3] > 0
        above, below = coloured[rows][shown], image[rows][shown]
        opacity = above[:, 3:] / np.float32(255)
        out[rows][shown] = (below * (1 - opacity) + above[:, :3] * opacity).round()
    return out


def _blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Rows of an image, a few at a time: a large one takes no more memory than its pixels."""
    count = max(1, BLOCK_PIXELS // max(shape[1], 1))
    return (slice(first, first + count) for first in range(0, shape[0], count))


def scale_bar(width: int, height: int) -> Bgra:
    """Draw the scale from left to right, (height, width, 4), with the pixel limit in its middle."""
    place = np.linspace(0, 1, width, endpoint=False, dtype=np.float32) + np.float32(0.5 / width)
    way = np.where(place < 0.5, 2 * place, 1 / (2 * (1 - place)))
    return colour_map(np.tile(way, (height, 1)), 0.0, 1.0)
