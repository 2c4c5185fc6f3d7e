"""Looks: the squares of an image that a detector computes at a time, and how few of them cover what it has to see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

STEP_PX = 64  # that tiles and squares are multiples of: the coarsest cells of any detector
MARGIN_STEP_PX = STEP_PX // 2  # that margins are multiples of, so that what they leave of a tile still is one of 64


class Look(NamedTuple):
    """A square that a detector computes, without the margin around it that it sees as well.

    Attributes:
        row: its first, px of the reduced image.
        column: its first.
        side: px.
    """

    row: int
    column: int
    side: int

    def work(self, margin: int) -> int:
        """Pixels that are computed for it, of which the margin is on every side."""
        return (self.side + 2 * margin) ** 2


def cover(marked: NDArray[np.bool_], sides: Sequence[int], margin: int) -> list[Look]:
    """Cover marked cells of ``STEP_PX`` with squares, greedily.

    Each covers the first cell that is left, with the side and at the place where it covers most others for its work.

    Args:
        marked: (rows, columns).
        sides: that squares may have, px, multiples of ``STEP_PX``; squares of an image that is less high reach beyond.
        margin: around every square, px.
    """
    left, looks = marked.copy(), []
    for row, column in np.argwhere(marked).tolist():
        if left[row, column]:
            beside = _beside(row, column, sides, len(left))
            best = max(beside, key=lambda look: (np.count_nonzero(left[_cells(look)]) / look.work(margin), look.column))
            looks.append(best)
            left[_cells(best)] = False
    return looks


def _beside(row: int, column: int, sides: Sequence[int], rows: int) -> Iterator[Look]:
    """Squares that cover a cell, and others above it only where so many rows of cells leave no room below."""
    for side in sides:
        cells = side // STEP_PX
        top = min(row, max(rows - cells, 0))
        for start in range(max(column - cells + 1, 0), column + 1):
            yield Look(top * STEP_PX, start * STEP_PX, side)


def _cells(look: Look) -> tuple[slice, slice]:
    row, column, cells = (px // STEP_PX for px in look)
    return slice(row, row + cells), slice(column, column + cells)
