"""How a camera was held: the EXIF orientation, and pixels turned by it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ORIENTATION_TAG = 274


def exif_orientation(exif: bytes) -> int:
    """Find the orientation in a block of EXIF data.

    Args:
        exif: the block, from its order of bytes on.

    Returns:
        1 to 8; 1, upright, where none is given.
    """
    if exif[:2] not in (b"II", b"MM"):
        return 1

    def number(at: int, size: int) -> int:
        return int.from_bytes(exif[at : at + size], "little" if exif[:2] == b"II" else "big")

    first = number(4, 4)
    for at in range(first + 2, min(first + 2 + 12 * number(first, 2), len(exif)), 12):
        if number(at, 2) == ORIENTATION_TAG:
            return valid_orientation(number(at + 8, 2))
    return 1


def valid_orientation(value: int) -> int:
    """Return an orientation, or 1 for a number that is none."""
    return value if 1 <= value <= 8 else 1


def turn_upright(image: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn pixels as they are stored to how the camera saw them.

    Args:
        image: (H, W) or (H, W, C).
        orientation: 1 to 8, as EXIF numbers them.
    """
    if orientation >= 5:  # rows and columns change places
        image = image.swapaxes(0, 1)
        orientation = {5: 1, 6: 2, 7: 3, 8: 4}[orientation]
    rows, columns = {1: (1, 1), 2: (1, -1), 3: (-1, -1), 4: (-1, 1)}[orientation]
    return np.ascontiguousarray(image[::rows, ::columns])
