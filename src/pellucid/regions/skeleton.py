"""Masks to lines: thinned to one pixel, and how long and how wide the longest line through a shape is."""

from __future__ import annotations

import heapq
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pellucid.regions.background import Mask

MAX_THICKNESS_PX = 64.0  # of a shape that is thinned as it is; a thicker one is first shrunk to it
CHORD_PX = 8  # a line of pixels is measured along chords of this many: their steps would lengthen it
CORNER_REACH = 1.45  # a branch that ends within so many radii of its root is a corner of the shape, no line of its own

Points = NDArray[np.float64]  # (n, 2), x and y in px


class Line(NamedTuple):
    """The longest line through a shape, px: its length up to the rim at both ends, and the shape's widest place."""

    length: float
    width: float


def longest_line(mask: Mask) -> Line:
    """Measure the longest line through a shape.

    It is the longest path along the skeleton, without branches into corners, and goes on straight to the rim. A shape
    with no such path, as a disc or a square, has the longer side of its smallest enclosing rectangle as its length.

    Args:
        mask: (h, w), true inside; with at least one pixel.
    """
    shrunk = MAX_THICKNESS_PX / thickness_px(mask)
    if shrunk >= 1:
        return _longest_line(mask)
    height, width = (max(1, round(side * shrunk)) for side in mask.shape)
    smaller = cv2.resize(mask.astype(np.uint8) * 255, (width, height), interpolation=cv2.INTER_AREA) > 127
    line = _longest_line(smaller)
    scale = float(np.sqrt(mask.size / smaller.size))
    return Line(line.length * scale, line.width * scale)


def _longest_line(mask: Mask) -> Line:
    widths = inscribed_widths(mask)
    widest = float(widths.max())
    path = _longest_path(thin(mask))
    ends = [_end(path, widths), _end(path[::-1], widths)]
    inner = path[ends[0] : len(path) - ends[1]]
    if len(inner) <= CHORD_PX:
        return Line(0.0, widest)
    knots = np.concatenate([inner[:-1:CHORD_PX], inner[-1:]]).astype(np.float64)
    if len(knots) > 2 and len(inner) % CHORD_PX < CHORD_PX // 2:  # the last chord would be short
        knots = np.delete(knots, -2, 0)
    length = float(np.hypot(*np.diff(knots, axis=0).T).sum())
    return Line(length + _to_rim(mask, knots[0], knots[1]) + _to_rim(mask, knots[-1], knots[-2]), widest)


def thickness_px(region: Mask) -> float:
    """Return about the diameter of the largest disc inside a region (h, w)."""
    return 2 * float(cv2.distanceTransform(np.pad(region, 1).astype(np.uint8), cv2.DIST_L2, 5).max())


def inscribed_widths(mask: Mask) -> NDArray[np.float32]:
    """Return the diameter in px of the largest disc inside a shape around each of its pixels, (h, w).

    Distances are those from the pixel's own centre, edges and corners, the largest, to the nearest square of a pixel
    outside: so a bar of n pixels is n wide, whether that is even or odd.
    """
    size = (2 * mask.shape[1] + 4, 2 * mask.shape[0] + 4)
    doubled = cv2.resize(np.pad(mask, 1).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    lattice = cv2.erode(doubled, np.ones((2, 2), np.uint8))  # of half pixels
    distances = cv2.distanceTransform(lattice, cv2.DIST_L2, 5)
    y, x = np.nonzero(mask)
    around = [distances[2 * y + 3 + down, 2 * x + 3 + right] for down in (-1, 0, 1) for right in (-1, 0, 1)]
    widths = np.zeros(mask.shape, np.float32)
    widths[y, x] = np.max(around, axis=0)
    return widths


def thin(mask: Mask) -> Mask:
    """Thin a shape to lines of one pixel, which keep its parts and holes.

    Z. Guo and R. W. Hall, "Parallel thinning with two-subiteration algorithms", CACM 1989, algorithm A1.

    Args:
        mask: (h, w).
    """
    padded = np.pad(mask, 1)
    left = padded.astype(np.uint8).ravel()
    width = padded.shape[1]
    neighbours = (-width, 1 - width, 1, width + 1, width, width - 1, -1, -width - 1)  # clockwise from north
    inside = np.flatnonzero(left)
    goes_on = True
    while goes_on:
        goes_on = False
        for removed in _REMOVED:
            codes = sum(left[inside + step] << k for k, step in enumerate(neighbours))
            goes = removed[codes]
            left[inside[goes]] = 0
            inside = inside[~goes]
            goes_on |= bool(goes.any())
    thinned: Mask = left.reshape(padded.shape)[1:-1, 1:-1].astype(np.bool_)
    return thinned


def _removed(iteration: int) -> Mask:
    """Whether a pixel goes, by the code of its neighbours, in Guo and Hall's notation."""
    bits = np.arange(256)[:, None] >> np.arange(8) & 1
    n, ne, e, se, s, sw, w, nw = bits.T
    connected = ((1 - n) & (ne | e)) + ((1 - e) & (se | s)) + ((1 - s) & (sw | w)) + ((1 - w) & (nw | n))
    pairs = np.minimum((nw | n) + (ne | e) + (se | s) + (sw | w), (n | ne) + (e | se) + (s | sw) + (w | nw))
    kept = (ne | n | (1 - se)) & e if iteration else (sw | s | (1 - nw)) & w
    removed: Mask = (connected == 1) & (pairs >= 2) & (pairs <= 3) & (kept == 0)
    return removed


_REMOVED = (_removed(0), _removed(1))


def _longest_path(skeleton: Mask) -> NDArray[np.intp]:
    """The longest of the shortest paths between two pixels of a skeleton, (n, 2), x and y; of its longest part."""
    y, x = np.nonzero(skeleton)
    waiting = set(zip(x.tolist(), y.tolist(), strict=True))
    best: tuple[float, list[tuple[int, int]]] = (-1.0, [])
    while waiting:
        distances, _ = _paths_from(min(waiting), waiting)
        start = max(distances, key=lambda p: (distances[p], p))
        distances, before = _paths_from(start, waiting)
        end = max(distances, key=lambda p: (distances[p], p))
        if distances[end] > best[0]:
            path = [end]
            while path[-1] != start:
                path.append(before[path[-1]])
            best = (distances[end], path)
        waiting -= distances.keys()
    return np.array(best[1], np.intp)


def _paths_from(
    start: tuple[int, int], pixels: set[tuple[int, int]]
) -> tuple[dict[tuple[int, int], float], dict[tuple[int, int], tuple[int, int]]]:
    """Dijkstra's shortest paths over 8-connected pixels: distance of each that is reached, and the one before it."""
    distances, before = {start: 0.0}, {start: start}
    heap = [(0.0, start)]
    while heap:
        distance, (x, y) = heapq.heappop(heap)
        if distance > distances[x, y]:
            continue
        for dx, dy, step in _STEPS:
            there = (x + dx, y + dy)
            if there in pixels and distance + step < distances.get(there, np.inf):
                distances[there], before[there] = distance + step, (x, y)
                heapq.heappush(heap, (distance + step, there))
    return distances, before


_STEPS = [(dx, dy, float(np.hypot(dx, dy))) for dx in (-1, 0, 1) for dy in (-1, 0, 1) if dx or dy]


def _end(path: NDArray[np.intp], widths: NDArray[np.float32]) -> int:
    """How many pixels at the start of a path lead into a corner: it lies within reach of the disc around the last."""
    radii = widths[path[:, 1], path[:, 0]] / 2
    within = np.hypot(*(path - path[0]).T) <= CORNER_REACH * radii
    return int(np.flatnonzero(within).max(initial=0))


def _to_rim(mask: Mask, end: Points, inner: Points) -> float:
    """How far it is from the end of a line straight on to the rim of its shape."""
    direction = (end - inner) / np.hypot(*(end - inner))
    steps = np.arange(0.125, sum(mask.shape), 0.25)
    columns, rows = np.rint(end + steps[:, None] * direction).astype(int).T
    inside = (columns >= 0) & (rows >= 0) & (columns < mask.shape[1]) & (rows < mask.shape[0])
    inside[inside] = mask[rows[inside], columns[inside]]
    return float(steps[int(inside.argmin())] - 0.125)  # the rim lies half a step before
