"""How a camera was held: the EXIF orientation, and pixels turned by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # TIFF and BigTIFF, in either order of bytes
ORIENTATION_TAG = 274
UPRIGHT = 1
FIRST_MOVED = 3  # from this one on, the first row that is stored is not the image's first
FIRST_SIDEWAYS = 5  # from this one on, height and width change places
_HEAD_BYTES = 2**18  # EXIF stands before the pixels: at most 64 KB in a JPEG, anything in a PNG


def read_orientation(path: Path) -> int:
    """Read the EXIF orientation of a file, 1 to 8; 1 where it has none or cannot be read.

    Args:
        path: of an image.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            return find_orientation(head if not head.startswith(TIFF_SIGNATURES) else head + file.read())
    except (OSError, ValueError):
        return UPRIGHT


def find_orientation(content: bytes) -> int:
    """Find the EXIF orientation, 1 to 8, in the content of an image or its beginning; 1 where there is none.

    Args:
        content: of a JPEG, PNG, WebP or TIFF file; of a TIFF all of it.
    """
    if content.startswith(TIFF_SIGNATURES):
        return exif_orientation(content)
    if content.startswith(b"\xff\xd8"):
        return exif_orientation(content.partition(b"Exif\0\0")[2])
    if content.startswith(b"\x89PNG"):
        return exif_orientation(content.partition(b"IDAT")[0].partition(b"eXIf")[2])
    if content[8:12] == b"WEBP":
        return exif_orientation(content.partition(b"EXIF")[2][4:].removeprefix(b"Exif\0\0"))
    return UPRIGHT


def exif_orientation(exif: bytes) -> int:
    """Find the orientation in a block of EXIF data.

    Args:
        exif: the block, from its order of bytes on; a TIFF file is one.

    Returns:
        1 to 8; 1, upright, where none is given.
    """
    if exif[:4] not in TIFF_SIGNATURES[:2]:
        return UPRIGHT

    def number(at: int, size: int) -> int:
        return int.from_bytes(exif[at : at + size], "little" if exif[:2] == b"II" else "big")

    first = number(4, 4)
    for at in range(first + 2, min(first + 2 + 12 * number(first, 2), len(exif)), 12):
        if number(at, 2) == ORIENTATION_TAG:
            return valid_orientation(number(at + 8, 2))
    return UPRIGHT


def valid_orientation(value: int) -> int:
    """Return an orientation, or 1 for a number that is none."""
    return value if 1 <= value <= 8 else UPRIGHT


def turn_upright(image: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn pixels as they are stored to how the camera saw them.

    Args:
        image: (H, W) or (H, W, C).
        orientation: 1 to 8, as EXIF numbers them.
    """
    if orientation >= FIRST_SIDEWAYS:
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)
