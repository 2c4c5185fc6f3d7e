"""Rows of an image that comes in bands: those that somebody may still ask for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_KEPT_PIXELS = 2**24  # of rows that are kept for one defect: memory is bounded
MIN_LONGEST_ROWS = 256
PADS_IN_LONGEST = 4


class Window(NamedTuple):
    """Rows ``top`` to ``bottom`` and columns ``left`` to ``right`` of an image, the last of each left out."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, px."""
        return self.bottom - self.top, self.right - self.left

    @property
    def size(self) -> int:
        """Number of pixels."""
        return (self.bottom - self.top) * (self.right - self.left)

    def grown(self, by: int, width: int) -> Window:
        """Return it with a margin on every side that lies in an image of such a width and of any height, px."""
        return Window(max(self.top - by, 0), self.bottom + by, max(self.left - by, 0), min(self.right + by, width))

    def ending_at(self, height: int) -> Window:
        """Return what of it lies in an image of such a height, px."""
        return self._replace(bottom=min(self.bottom, height))


def longest_rows(width: int) -> int:
    """Return the rows that a defect of an image of such a width spans at most to be compared with the image.

    It depends on the image's width alone, so that a sheet and a stream of the same give the same. An image of 16
    million pixels is always within it.
    """
    return max(MIN_LONGEST_ROWS, MAX_KEPT_PIXELS // width)


def widest_pad(width: int) -> int:
    """Return the most rows above and below a region, of an image of such a width, that it is compared with."""
    return longest_rows(width) // PADS_IN_LONGEST


class Rows:
    """Consecutive rows of an image, (h, W) or (h, W, channels): added at the end, let go of at the beginning.

    Attributes:
        end: number of rows that were added so far.
    """

    def __init__(self) -> None:
        self.end = 0
        self._bands: deque[tuple[int, NDArray[Any]]] = deque()

    @classmethod
    def of(cls, image: NDArray[Any]) -> Rows:
        """Return the rows of an image that is in memory; they are kept as they are, not copied."""
        rows = cls()
        rows.add(image)
        return rows

    def add(self, band: NDArray[Any]) -> None:
        """Add rows; they are kept as they are, not copied."""
        if len(band):
            self._bands.append((self.end, band))
            self.end += len(band)

    def drop(self, before: int) -> None:
        """Let go of the bands that end at a row or before it."""
        while self._bands and self._bands[0][0] + len(self._bands[0][1]) <= before:
            self._bands.popleft()

    @property
    def start(self) -> int:
        """The first row that is kept; ``end`` where none is."""
        return self._bands[0][0] if self._bands else self.end

    def cut(self, window: Window) -> NDArray[Any]:
        """Return a window, (h, w) or (h, w, channels), contiguous; it lies in rows that are still kept."""
        return np.ascontiguousarray(self.between(window.top, window.bottom, slice(window.left, window.right)))

    def between(self, first: int, last: int, columns: slice = slice(None)) -> NDArray[Any]:
        """Return some columns of rows ``first`` to ``last``, without the latter, copied only where bands are joined."""
        parts = [
            band[max(first - top, 0) : last - top, columns]
            for top, band in self._bands
            if top < last and top + len(band) > first
        ]
        if len(parts) != 1 and parts[0].ndim == 3:
            shape = max(part.shape[1:] for part in parts)  # where one is grey and one coloured, that of colours
            parts = [np.broadcast_to(part, (len(part), *shape)) for part in parts]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def kept(self) -> Rows:
        """Return the same rows, which stay whatever is added or let go of here; nothing is copied."""
        rows = Rows()
        rows.end, rows._bands = self.end, self._bands.copy()
        return rows

    def parts(self, window: Window) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield a window part by part, each with its first row, as views of the bands that it lies in."""
        for top, band in self._bands:
            first, last = max(top, window.top), min(top + len(band), window.bottom)
            if first < last:
                yield first, band[first - top : last - top, window.left : window.right]

    def pick(self, rows: slice | NDArray[np.intp], columns: slice | NDArray[np.intp] = slice(None)) -> NDArray[Any]:
        """Return some rows and columns in any order, (n, w) or (n, w, channels); the rows are still kept."""
        first, last = span(rows)
        picked = self.between(first, last, columns if isinstance(columns, slice) else slice(*span(columns)))
        if not isinstance(rows, slice):
            picked = picked[rows - first]
        return picked if isinstance(columns, slice) else picked[:, columns - int(columns.min())]

    def mark(self, top: int, left: int, mask: NDArray[np.bool_]) -> None:
        """Make those pixels true that a mask (h, w) whose first pixel is at ``top`` and ``left`` marks."""
        bottom = top + len(mask)
        for start, band in self._bands:
            first, last = max(top, start), min(bottom, start + len(band))
            if first < last:
                band[first - start : last - start, left : left + mask.shape[1]] |= mask[first - top : last - top]


def span(indices: slice | NDArray[np.intp]) -> tuple[int, int]:
    """The first index, and the one behind the last."""
    return (indices.start, indices.stop) if isinstance(indices, slice) else (int(indices.min()), int(indices.max()) + 1)
