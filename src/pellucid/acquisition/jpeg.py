"""JPEG to pixels, strictly: what libjpeg only warns about is damage, because it fills what is missing with grey."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from pellucid.acquisition import _refusals
from pellucid.acquisition.orientation import exif_orientation, turn_upright
from pellucid.errors import DataError

END_MARKER = b"\xff\xd9"
MIN_ZEROED_BYTES = 64  # in a row, of coded data: no encoder writes so many
HUFFMAN_TABLES, START_OF_SCAN, EXIF = 0xC4, 0xDA, 0xE1
SEQUENTIAL_FRAMES = (0xC0, 0xC1)
PROGRESSIVE_FRAME = 0xC2
FRAMES = (*SEQUENTIAL_FRAMES, PROGRESSIVE_FRAME)
MAX_PIXELS_PER_BYTE = 600  # a block of 64 pixels takes a bit at least
LUMINANCE_AC_TABLE = 0x10  # class 1, number 0
END_OF_BLOCK = b"\0"  # as a symbol of a table of AC coefficients
DAMAGE_SIGNS = ("corrupt", "premature", "bogus", "unexpected", "inconsistent")  # in what libjpeg says


def decode_jpeg(content: bytes, path: Path) -> NDArray[Any]:
    """Decode a JPEG, EXIF orientation applied.

    Args:
        content: all bytes of the file.
        path: what messages call it.

    Returns:
        (H, W) or (H, W, 3) in RGB order, uint8.

    Raises:
        DataError: it is truncated, damaged, or of a sort that cannot be read.
    """
    end = content.rfind(END_MARKER)  # coded data never holds an end marker: FF is always followed by 00
    if end < content.rfind(b"\xff\xda"):
        raise _refusals.truncated(path)
    segments = list(segments_of(content))
    for marker, payload in segments:
        if marker in FRAMES and len(payload) > 4:
            height, width = (int.from_bytes(payload[at : at + 2], "big") for at in (1, 3))
            if height * width > MAX_PIXELS_PER_BYTE * len(content):
                raise _refusals.oversized(path, width, height)
    if _holds_zeroed_data(content, segments):
        raise _refusals.damaged(path, "a part of its data is zeros")
    try:
        image = _decode(content)
    except ValueError as error:
        try:  # what cameras pad their data with is not damage, if the data are whole without it
            image = _decode(content[:end].rstrip(b"\0") + END_MARKER)
        except ValueError:
            raise _refusal(path, str(error)) from None
    exif = (payload[6:] for marker, payload in segments if marker == EXIF and payload.startswith(b"Exif\0\0"))
    return turn_upright(image, exif_orientation(next(exif, b"")))


def _decode(content: bytes) -> NDArray[Any]:
    """(H, W) or (H, W, 3); whatever is wrong with the file is a ValueError."""
    try:
        *_, colours, _ = simplejpeg.decode_jpeg_header(content)
        grey = str(colours).lower() == "gray"
        return np.asarray(simplejpeg.decode_jpeg(content, "GRAY" if grey else "RGB"))[..., 0 if grey else slice(None)]
    except ValueError as error:
        if any(sign in str(error).lower() for sign in (*DAMAGE_SIGNS, "unsupported")):
            raise
        return np.asarray(simplejpeg.decode_jpeg(content, "RGB", strict=False))  # an odd header, but whole


def _refusal(path: Path, message: str) -> DataError:
    if any(sign in message.lower() for sign in DAMAGE_SIGNS):
        return _refusals.damaged(path, f"a part of the picture is missing ({message})")
    return DataError(f"'{path}' is a JPEG that cannot be read ({message}): save it with 8 bits, or as PNG.")


def segments_of(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Every marker before the coded data of a JPEG, or its beginning, with what belongs to it."""
    at = 2
    while at + 4 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF:  # may fill the space before a marker
            at += 1
            continue
        length = int.from_bytes(content[at + 2 : at + 4], "big")
        yield marker, content[at + 4 : at + 2 + length]
        if marker == START_OF_SCAN:
            return
        at += 2 + length


def _holds_zeroed_data(content: bytes, segments: list[tuple[int, bytes]]) -> bool:
    """Whether a stretch of the coded data was zeroed, as by a lost sector; libjpeg often goes on after it.

    Zeros mean coefficient after coefficient of -1, unless the shortest code of the luminance's table ends a block: then
    flat areas are zeros, too.
    """
    start = content.find(b"\xff\xda")
    data = content[start : content.find(END_MARKER, start)].rstrip(b"\0")  # zeros behind the data are judged by libjpeg
    if bytes(MIN_ZEROED_BYTES) not in data or not any(marker in SEQUENTIAL_FRAMES for marker, _ in segments):
        return False
    tables = b"".join(payload for marker, payload in segments if marker == HUFFMAN_TABLES)
    at = 0
    while at + 17 < len(tables) and tables[at] != LUMINANCE_AC_TABLE:
        at += 17 + sum(tables[at + 1 : at + 17])
    return tables[at + 17 : at + 18] != END_OF_BLOCK
