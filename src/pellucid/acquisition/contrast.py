"""Local contrast of a strip of glass at several scales, a few operations a pixel, as its strongest values by column.

A strip is as high as a row of tiles, with some rows above and below that are looked at and not judged. Whatever has to
be learned of good glass, light, camera seams, draw lines, belongs to columns; so it is enough to know the strongest
value of every column over a few rows, and all that is compared with what was learned is done on those few numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]  # (rows, columns)
Floats = NDArray[np.float32]
LEVELS = 4  # each half the size of the one before
SURROUNDINGS_PX = 15  # of a level, that a pixel is compared with
PATCH_PX = (
    5  # of the next level, whose deviations are added up: a faint line through it shows where no pixel of it does
)
SEGMENT_ROWS = 32  # whose strongest values are taken together: a line leans by a pixel in as many
LINE_WIDTHS_PX = (1, 3, 9)
LINE_SURROUNDINGS = 7  # of a line, in its widths
CHUNK_COLUMNS = 2048  # that are looked at together: larger ones leave the processor's cache
CHUNK_MARGIN = 64  # columns on both sides of them, further than any channel looks
BLOCK_PX = 2 ** (LEVELS - 1)  # strips are cut on a grid of so many pixels
CHANNELS = (
    *((kind, level) for level in range(LEVELS) for kind in ("bright", "dark")),
    *(("texture", level) for level in range(1, LEVELS)),
    *((kind, 0) for _ in LINE_WIDTHS_PX for kind in ("bright line", "dark line")),
)  # what is looked for, and at which level


class Contrast(NamedTuple):
    """What stands out in a strip.

    Attributes:
        strongest: of every channel, (segments, columns of its level), grey levels; squared for ``texture``.
        light: mean of every column, (columns,), grey levels.
    """

    strongest: tuple[Floats, ...]
    light: Floats


def to_grey(pixels: NDArray[Any]) -> Grey:
    """Reduce pixels to 8-bit grey: finer values are noise where a line's contrast is concerned.

    Args:
        pixels: (H, W), (H, W, 1) or (H, W, 3); 8 bit, 16 bit over its whole range, or floats in [0, 1].
    """
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.dtype == np.uint16:
        grey = cv2.convertScaleAbs(pixels, alpha=255 / 65535)
    elif pixels.dtype != np.uint8:
        grey = cv2.convertScaleAbs(np.maximum(pixels, 0), alpha=255)
    else:
        grey = pixels
    return np.asarray(grey if grey.ndim == 2 else cv2.cvtColor(grey, cv2.COLOR_RGB2GRAY), np.uint8)


def measure_contrast(strip: Grey, above: int, below: int) -> Contrast:
    """Measure what stands out from its surroundings in a strip.

    Args:
        strip: (above + rows + below, columns).
        above: rows above those that are judged, a multiple of ``BLOCK_PX``.
        below: rows below them.
    """
    columns, last = strip.shape[1], len(strip) - below
    edges = segment_edges(last - above) + above
    aligned = cv2.copyMakeBorder(strip, 0, -len(strip) % BLOCK_PX, 0, -columns % BLOCK_PX, cv2.BORDER_REFLECT_101)
    parts: list[list[Floats]] = []
    for left in range(0, columns, CHUNK_COLUMNS):
        right = min(left + CHUNK_COLUMNS, aligned.shape[1])
        first, end = max(left - CHUNK_MARGIN, 0), min(right + CHUNK_MARGIN, aligned.shape[1])
        found = _channels(np.asarray(aligned[:, first:end], np.uint8), edges)
        levels = [level for _, level in CHANNELS[: len(found)]]
        parts.append([one[:, (left - first) >> k : (right - first) >> k] for one, k in zip(found, levels, strict=True)])
    joined = [np.concatenate(one, axis=1) for one in zip(*parts, strict=True)]
    sums = [cv2.reduce(strip[top:bottom], 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[0] for top, bottom in pairwise(edges)]
    means = np.stack(sums)
    rows = np.diff(edges).astype(np.float32)[:, None]
    strongest = (*joined, *_lines(means.astype(np.float32) / rows))
    cut = tuple(one[:, : -(-columns // 2**level)] for one, (_, level) in zip(strongest, CHANNELS, strict=True))
    return Contrast(cut, np.asarray(means.sum(0) / np.float32(last - above), np.float32))


def _channels(part: Grey, edges: NDArray[np.int64]) -> list[Floats]:
    """All channels but those of lines, of a part of a strip that fits the processor's cache."""
    contrasts, textures = _finest(part, edges)
    reduced: Floats = part.astype(np.float32)
    for level in range(1, LEVELS):
        reduced = _halved(reduced)
        off = reduced - cv2.blur(reduced, (SURROUNDINGS_PX, SURROUNDINGS_PX))
        contrasts += _extremes(off, edges, level)
        if level < LEVELS - 1:
            textures.append(_texture(off * off, edges, level))
    return [*contrasts, *textures]


def segment_edges(rows: int) -> NDArray[np.int64]:
    """Cut so many rows into segments of about ``SEGMENT_ROWS``; return their edges, one more than there are."""
    count = max(1, round(rows / SEGMENT_ROWS))
    return np.arange(count + 1) * rows // count


def _finest(strip: Grey, edges: NDArray[np.int64]) -> tuple[list[Floats], list[Floats]]:
    """Contrasts and texture of the pixels as they are, in whole numbers."""
    around = cv2.blur(strip, (SURROUNDINGS_PX, SURROUNDINGS_PX))
    difference = cv2.absdiff(strip, around)
    power = np.multiply(difference, difference, dtype=np.uint16)  # three times as fast as OpenCV
    off = np.subtract(strip, around, dtype=np.int16)
    return _extremes(off, edges, 0), [_texture(power, edges, 0)]


def _halved(values: NDArray[Any]) -> NDArray[Any]:
    size = values.shape[1] // 2, len(values) // 2
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA))


def _extremes(off: NDArray[Any], edges: NDArray[np.int64], level: int) -> list[Floats]:
    """How far the brightest and the darkest place of every column are off in a segment, (segments, columns) each."""
    spans = _spans(edges, level)
    bright = np.stack([off[top:bottom].max(0) for top, bottom in spans]).astype(np.float32)
    dark = np.stack([off[top:bottom].min(0) for top, bottom in spans]).astype(np.float32)
    return [bright, -dark]


def _texture(power: NDArray[Any], edges: NDArray[np.int64], level: int) -> Floats:
    """Mean square of what is off around the most uneven place of every column of the next level."""
    mean = cv2.boxFilter(_halved(power), cv2.CV_32F, (PATCH_PX, PATCH_PX))
    return np.stack([np.asarray(mean[top:bottom].max(0), np.float32) for top, bottom in _spans(edges, level + 1)])


def _spans(edges: NDArray[np.int64], level: int) -> list[tuple[int, int]]:
    """Rows of a level that segments reach, at least one for each."""
    return [(top >> level, max(-(-bottom >> level), (top >> level) + 1)) for top, bottom in pairwise(edges.tolist())]


def _lines(means: Floats) -> list[Floats]:
    """How much brighter, and darker, than what is beside them columns are on average over a segment."""
    found: list[Floats] = []
    for width in LINE_WIDTHS_PX:
        beside = cv2.blur(means, (LINE_SURROUNDINGS * width, 1))
        line = (means if width == 1 else cv2.blur(means, (width, 1))) - beside
        found += [line, -line]
    return found


def cut_strips(pixels: Grey, height: int, context: int) -> Sequence[tuple[Grey, int, int]]:
    """Cut a whole image into strips; beyond its borders it is mirrored.

    Args:
        pixels: (rows, columns).
        height: of what is judged, rows.
        context: rows above and below that are looked at.

    Returns:
        For each strip its pixels and the rows above and below those that are judged.
    """
    rows = len(pixels)
    padded = cv2.copyMakeBorder(pixels, context, context, 0, 0, cv2.BORDER_REFLECT_101)
    return [
        (np.asarray(padded[top : min(top + height, rows) + 2 * context]), context, context)
        for top in range(0, rows, height)
    ]
