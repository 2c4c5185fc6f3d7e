"""Looks: the squares of an image that a detector computes at a time, and how few of them cover what it has to see."""

from __future__ import annotations

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


def cover(marked: NDArray[np.bool_], cells: int) -> list[tuple[int, int]]:
    """Cover marked cells with squares, greedily: each takes as many new ones as it can beside the first that is left.

    Args:
        marked: (rows, columns).
        cells: side of a square; those of an image that is less high reach beyond it.

    Returns:
        Row and column of the first cell of every square.
    """
    left, corners = marked.copy(), []
    lowest = max(len(marked) - cells, 0)
    for row, column in np.argwhere(marked).tolist():
        if left[row, column]:
            top = min(row, lowest)
            starts = range(max(column - cells + 1, 0), column + 1)
            start = max(
                starts, key=lambda first: (np.count_nonzero(left[top : top + cells, first : first + cells]), first)
            )
            corners.append((top, start))
            left[top : top + cells, start : start + cells] = False
    return corners
