"""EXIF orientation: how a photo is turned before anybody sees it."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.acquisition.images import TIFF_SIGNATURES

ORIENTATION_TAG = 0x0112
UPRIGHT = 1
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
        block = content
    elif content.startswith(b"\xff\xd8"):
        block = content.partition(b"Exif\0\0")[2]
    elif content.startswith(b"\x89PNG"):
        block = content.partition(b"IDAT")[0].partition(b"eXIf")[2]
    else:
        block = content.partition(b"EXIF")[2][4:].removeprefix(b"Exif\0\0") if content[8:12] == b"WEBP" else b""
    try:
        value = _first_directory(block).get(ORIENTATION_TAG, UPRIGHT)
    except struct.error:  # it ends too early
        return UPRIGHT
    return value if 1 <= value <= 8 else UPRIGHT


def _first_directory(block: bytes) -> dict[int, int]:
    """The short numbers of the first directory of a TIFF, by their tags; EXIF is one."""
    if not block.startswith((b"II*\0", b"MM\0*")):
        return {}
    order = "<" if block.startswith(b"II") else ">"
    (start,) = struct.unpack_from(f"{order}I", block, 4)
    (entries,) = struct.unpack_from(f"{order}H", block, start)
    fields = (struct.unpack_from(f"{order}HHIH", block, start + 2 + 12 * n) for n in range(entries))
    return {tag: value for tag, _, _, value in fields}


def turn(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn stored pixels as their orientation says, so that they stand upright.

    Args:
        pixels: (H, W) or (H, W, channels).
        orientation: EXIF's, 1 to 8.
    """
    if orientation >= FIRST_SIDEWAYS:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
