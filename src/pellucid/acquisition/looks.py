"""Looks: the parts of an image that a detector computes at a time, and how little of them covers what it has to see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pellucid.acquisition.images import Size

STEP_PX = 64  # that tiles and their parts are multiples of: the coarsest cells of any detector
MARGIN_STEP_PX = STEP_PX // 2  # that margins are multiples of, so that what they leave of a tile still is one of 64


class Look(NamedTuple):
    """A rectangle that a detector computes, without the margin around it that it sees as well.

    Attributes:
        row: its first, px of the reduced image.
        column: its first.
        height: px.
        width: px.
    """

    row: int
    column: int
    height: int
    width: int

    @property
    def size(self) -> Size:
        """Height and width, px."""
        return self.height, self.width

    def work(self, margin: int) -> int:
        """Pixels that are computed for it, of which the margin is on every side."""
        return (self.height + 2 * margin) * (self.width + 2 * margin)


def cover(marked: NDArray[np.bool_], sizes: Sequence[Size], margin: int) -> list[Look]:
    """Cover marked cells of ``STEP_PX`` with rectangles, greedily.

    Each covers the first cell that is left, with the size and at the place where it covers most others for its work.

    Args:
        marked: (rows, columns).
        sizes: that they may have, px, multiples of ``STEP_PX``; what is higher than the image reaches beyond it.
        margin: around each, px.
    """
    left, looks = marked.copy(), []
    for row, column in np.argwhere(marked).tolist():
        if left[row, column]:
            beside = _beside(row, column, sizes, len(left))
            best = max(beside, key=lambda look: (np.count_nonzero(left[_cells(look)]) / look.work(margin), look.column))
            looks.append(best)
            left[_cells(best)] = False
    return looks


def _beside(row: int, column: int, sizes: Sequence[Size], rows: int) -> Iterator[Look]:
    """What covers a cell, and others above it only where so many rows of cells leave no room below."""
    for height, width in sizes:
        top = min(row, max(rows - height // STEP_PX, 0))
        for start in range(max(column - width // STEP_PX + 1, 0), column + 1):
            yield Look(top * STEP_PX, start * STEP_PX, height, width)


def _cells(look: Look) -> tuple[slice, slice]:
    row, column, height, width = (px // STEP_PX for px in look)
    return slice(row, row + height), slice(column, column + width)
