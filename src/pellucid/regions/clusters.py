"""Masks that come in bands to clusters of their pixels: which are connected, whatever band they came in.

Pixels belong together if they do in the dilated mask, 8-connected. Every band is labelled on its own, and labels that
touch across the seam of two bands are united (union-find); a cluster that does not reach the last row that is known can
no longer grow.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from pellucid.regions.background import Mask
from pellucid.regions.rows import Rows, Window


@dataclass
class Cluster:
    """Pixels that belong together.

    Attributes:
        near_top: first row of the dilated mask that belongs to it.
        bounds: of its pixels.
        first: row and column of its first pixel, row by row; no two clusters have the same.
        area: number of its pixels.
        sums: of their columns and of their rows.
        peak: highest of the values under them; minus infinity where there are none.
    """

    near_top: int
    bounds: Window | None = None
    first: tuple[int, int] = (2**62, 0)
    area: int = 0
    sums: tuple[int, int] = (0, 0)
    peak: float = -np.inf
    _pieces: list[tuple[int, int, int, NDArray[np.uint8]]] = field(default_factory=list, repr=False)

    @property
    def rows(self) -> int:
        """How many rows it spans, px."""
        return 0 if self.bounds is None else self.bounds.shape[0]

    @property
    def window(self) -> Window:
        """Its bounds, of a cluster that is complete."""
        assert self.bounds is not None, "a cluster is around pixels"
        return self.bounds

    def add(self, top: int, left: int, mask: Mask, values: NDArray[np.float32] | None) -> None:
        """Add the pixels of a mask (h, w) that begins at some row and column, with the values (h, w) under it."""
        rows, columns = mask.sum(1), mask.sum(0)
        (y, last_y), (x, last_x) = (np.flatnonzero(counts)[[0, -1]].tolist() for counts in (rows, columns))
        cropped = mask[y : last_y + 1, x : last_x + 1]
        area = int(rows.sum())
        self._unite(
            Window(top + y, top + last_y + 1, left + x, left + last_x + 1),
            (top + y, left + x + int(cropped[0].argmax())),
            area,
            (int(columns @ np.arange(len(columns))) + left * area, int(rows @ np.arange(len(rows))) + top * area),
            -np.inf if values is None else float(values[mask].max()),
        )
        self._pieces.append((top + y, left + x, cropped.shape[1], np.packbits(cropped, axis=1)))

    def unite(self, other: Cluster) -> None:
        """Add all of another one."""
        self.near_top = min(self.near_top, other.near_top)
        if other.bounds is not None:
            self._unite(other.bounds, other.first, other.area, other.sums, other.peak)
            more, fewer = sorted((self._pieces, other._pieces), key=len, reverse=True)
            more.extend(fewer)
            self._pieces = more

    def _unite(self, bounds: Window, first: tuple[int, int], area: int, sums: tuple[int, int], peak: float) -> None:
        own = self.bounds or bounds
        self.bounds = Window(
            min(own.top, bounds.top),
            max(own.bottom, bounds.bottom),
            min(own.left, bounds.left),
            max(own.right, bounds.right),
        )
        self.first = min(self.first, first)
        self.area += area
        self.sums = (self.sums[0] + sums[0], self.sums[1] + sums[1])
        self.peak = max(self.peak, peak)

    def mask(self) -> Mask:
        """Return where its pixels lie in its bounds, (h, w)."""
        window = self.window
        mask = np.zeros(window.shape, np.bool_)
        for top, left, piece in self._unpacked():
            y, x = top - window.top, left - window.left
            mask[y : y + piece.shape[0], x : x + piece.shape[1]] |= piece
        return mask

    def take(self) -> list[tuple[int, int, Mask]]:
        """Take out where its pixels lie, mask by mask with its row and column, and keep no more than its numbers."""
        pieces = list(self._unpacked())
        self._pieces = []
        return pieces

    def _unpacked(self) -> Iterable[tuple[int, int, Mask]]:
        for top, left, width, packed in self._pieces:
            yield top, left, np.unpackbits(packed, axis=1, count=width).view(np.bool_)


class Clusters:
    """The clusters of a mask whose rows come one after the other.

    Attributes:
        done: rows, from the first, whose pixels belong to a cluster.
    """

    def __init__(self, mask: Rows, width: int, shape: NDArray[np.uint8], values: Rows | None = None) -> None:
        """Begin at the first row.

        Args:
            mask: bool, (h, W); rows are needed from half of the shape's height before ``done`` on.
            width: of the image, px.
            shape: what the mask is dilated by, of odd sides.
            values: float32, (h, W), whose peaks are wanted, needed from ``done`` on.
        """
        self.done = 0
        self._mask, self._values, self._width, self._shape = mask, values, width, shape
        self._reach = int(shape.shape[0]) // 2
        self._open: dict[int, Cluster] = {}
        self._seam = np.zeros(width, np.int64)  # which open cluster holds each pixel of the last row; 0: none
        self._count = 0

    @property
    def open(self) -> Iterable[Cluster]:
        """Those that may still grow."""
        return self._open.values()

    @property
    def needed_from(self) -> int:
        """The first row of the mask that is still asked for."""
        return max(0, self.done - self._reach)

    def advance(self, known: int, is_last: bool) -> list[Cluster]:
        """Go on as far as the mask is known.

        Args:
            known: rows of the mask, from the first, that no longer change.
            is_last: whether the image ends there.

        Returns:
            The clusters that are complete now, in the order of their first pixels.
        """
        end = known if is_last else max(self.done, known - self._reach)
        if end > self.done:
            self._label(known, end)
            self.done = end
        at_seam = set() if is_last else set(np.unique(self._seam).tolist())
        closed = [cluster for number, cluster in self._open.items() if number not in at_seam]
        self._open = {number: cluster for number, cluster in self._open.items() if number in at_seam}
        return sorted(closed, key=lambda cluster: cluster.first)

    def _label(self, known: int, end: int) -> None:
        """Add the rows of the mask from ``done`` to ``end``."""
        first_row, seam = np.zeros_like(self._seam), np.zeros_like(self._seam)
        for columns in self._occupied(known):
            labels = self._label_part(Window(self.needed_from, known, *columns), end)
            first_row[slice(*columns)], seam[slice(*columns)] = labels[0], labels[-1]
        united: dict[int, int] = {}
        for one, other in _touching(self._seam, first_row):
            one, other = _root(united, one), _root(united, other)
            if one != other:
                self._open[other].unite(self._open.pop(one))
                united[one] = other
        self._seam = seam
        for number in np.unique(seam).tolist():
            if (root := _root(united, number)) != number:
                seam[seam == number] = root

    def _occupied(self, known: int) -> list[tuple[int, int]]:
        """First and last columns, the latter left out, of the runs in which the dilated mask is not empty.

        No pixel of one run touches another; most of an image lies in none.
        """
        occupied = np.zeros(self._width, np.bool_)
        for _, part in self._mask.parts(Window(self.needed_from, known, 0, self._width)):
            occupied |= part.any(0)  # thirty times as fast as cv2.reduce
        near = cv2.dilate(occupied.view(np.uint8)[None], np.ones((1, self._shape.shape[1]), np.uint8))
        edges = np.flatnonzero(np.diff(near[0], prepend=0, append=0)).tolist()
        return list(zip(edges[::2], edges[1::2], strict=True))

    def _label_part(self, window: Window, end: int) -> NDArray[np.int64]:
        """Make clusters of some columns from ``done`` to ``end``; return those of the first and last row, (2, w)."""
        mask = self._mask.cut(window)
        rows = slice(self.done - window.top, end - window.top)
        near = np.ascontiguousarray(cv2.dilate(mask.view(np.uint8), self._shape)[rows])
        mask = mask[rows]
        count, labels, stats, _ = cv2.connectedComponentsWithStats(near, connectivity=8)
        numbers = np.arange(count) + self._count  # of the clusters that labels belong to
        numbers[0] = 0
        self._count += count - 1
        for k in range(1, count):  # 0 is the background
            x, y, width, height = (int(value) for value in stats[k, :4])
            inside = mask[y : y + height, x : x + width] & (labels[y : y + height, x : x + width] == k)
            cluster = self._open[int(numbers[k])] = Cluster(self.done + y)
            if inside.any():
                place = Window(self.done + y, self.done + y + height, window.left + x, window.left + x + width)
                cluster.add(place.top, place.left, inside, None if self._values is None else self._values.cut(place))
        return np.asarray(numbers[labels[[0, -1]]], np.int64)


def _touching(above: NDArray[np.int64], below: NDArray[np.int64]) -> Iterable[tuple[int, int]]:
    """Every pair of numbers that touch, 8-connected, in two rows, (W,) each; 0 is no number."""
    pairs = [
        np.stack([above[max(0, -step) : len(above) - max(0, step)], below[max(0, step) : len(below) - max(0, -step)]])
        for step in (-1, 0, 1)
    ]
    together = np.concatenate(pairs, axis=1)
    together = together[:, (together > 0).all(0)]
    return [(int(one), int(other)) for one, other in np.unique(together, axis=1).T]


def _root(united: dict[int, int], number: int) -> int:
    """What a cluster was united into."""
    while number in united:
        number = united[number]
    return number
