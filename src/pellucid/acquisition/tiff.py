"""TIFF to pixels as they are stored; what is not read is named for what it is.

tifffile knows every kind of header, planes stored one after the other and every type, but few compressions; libtiff, in
OpenCV, knows every compression, but reads 16-bit planes as if they were pixels, and multiplies colours by alpha.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from pellucid.acquisition import _refusals
from pellucid.acquisition.orientation import ORIENTATION_TAG, turn_upright, valid_orientation
from pellucid.errors import DataError

EXTRA_SAMPLES_TAG, UNSPECIFIED_SAMPLE = 338, 0
OWN_COMPRESSIONS = (1, 8, 32773, 32946)  # none, Deflate, PackBits: that tifffile reads by itself
OWN_BITS = (1, 8, 16, 32, 64)
UNCOMPRESSED, LZW, FAX = 1, 5, (2, 3, 4)
MAX_COMPRESSION, MAX_FAX_COMPRESSION = 3000, 100_000  # bytes of pixels in a byte; fax codes a white line in a bit
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
AS_STORED = (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE)  # that need no colour conversion
TYPE_NAMES = {"i": "signed integers", "u": "integers", "c": "complex numbers"}
MAX_PAGES_LOOKED_AT = 16  # for one that is a smaller copy of the first


def decode_tiff(content: bytes, path: Path) -> NDArray[Any]:
    """Decode a TIFF that holds one image, upright.

    Args:
        content: all bytes of the file.
        path: what messages call it.

    Returns:
        (H, W) or (H, W, C), colours in RGB order, alpha last; uint8, uint16 or floats.

    Raises:
        DataError: it is truncated, damaged, holds several images, or is of a type that is not read.
    """
    try:
        with np.errstate(all="ignore"), tifffile.TiffFile(io.BytesIO(content)) as file:
            page = only_page(file, path, len(content))
            image = _read(page, content, path)
            if image.shape[:2] != (page.imagelength, page.imagewidth):
                raise _refusals.damaged(path, "its pixels are not as many as its header says")
            orientation = orientation_of(page)
    except DataError:
        raise
    except Exception:  # it raises whatever its parsing stumbles over
        raise _refusals.unreadable_tiff(path) from None
    return turn_upright(image, orientation)


def only_page(file: tifffile.TiffFile, path: Path, size: int) -> tifffile.TiffPage:
    """Return the page of a TIFF that holds one image, as far as its head tells whole and of a type that is read.

    Args:
        file: opened; what tifffile raises about it is not caught.
        path: what messages call it.
        size: of the file, bytes.

    Raises:
        DataError: it holds several images, is truncated, or of a type that is not read.
    """
    page = file.pages.first
    pages = max(len(file.pages), int((file.imagej_metadata or {}).get("images", 1)))  # ImageJ's may share a page
    others = list(islice(file.pages, 1, MAX_PAGES_LOOKED_AT))
    if pages > 1 and not (others and all(p.aspage().is_reduced or p.aspage().is_mask for p in others)):
        raise _refusals.several(path, pages)
    _check_type(page, path)
    _check_complete(page, size, path)
    return page


def orientation_of(page: tifffile.TiffPage) -> int:
    """Return how the camera was held, 1 to 8, as EXIF numbers it."""
    return valid_orientation(int(page.tags.valueof(ORIENTATION_TAG, default=1)))


def is_read_as_stored(page: tifffile.TiffPage) -> bool:
    """Whether tifffile reads its pixels by itself, and they need no conversion of colours."""
    return bool(
        page.compression in OWN_COMPRESSIONS and page.photometric in AS_STORED and page.bitspersample in OWN_BITS
    )


def _name(value: int) -> str:
    """What the standard calls a photometric or compression, as far as tifffile knows it."""
    return str(getattr(value, "name", value))


def _bits(page: tifffile.TiffPage) -> int:
    """Bits of a sample."""
    return page.bitspersample if isinstance(page.bitspersample, int) else max(page.bitspersample)


def _read(page: tifffile.TiffPage, content: bytes, path: Path) -> NDArray[Any]:
    if is_read_as_stored(page):
        samples = np.asarray(page.asarray())
        planes_first = page.axes.startswith("S")  # planes one after the other
        return to_colours(page, samples.transpose(1, 2, 0) if planes_first else samples)
    if _is_lzw_bytes(page):
        return to_colours(page, _read_lzw_bytes(page, content, path))
    return _read_by_opencv(page, content, path)


def _check_type(page: tifffile.TiffPage, path: Path) -> None:
    """Refuse what has no fixed range, or no colours that are known here."""
    kind = np.dtype(page.dtype)
    photometric = int(page.photometric)
    bits = _bits(page)
    if kind.kind in "ic" or (kind.kind == "u" and bits > 16):
        raise DataError(
            f"'{path}' is a TIFF of {bits}-bit {TYPE_NAMES[kind.kind]}, whose range is not known: save it"
            " with 8 or 16 bits, or as floats from 0 to 1."
        )
    if photometric not in (*AS_STORED, CMYK, YCBCR) or (photometric in (CMYK, YCBCR) and bits != 8):
        raise DataError(f"'{path}' is a TIFF of {bits}-bit {_name(page.photometric)} colours: save it as grey or RGB.")
    if page.imagedepth > 1 or not {*page.axes} <= {*"YXS"}:
        raise DataError(f"'{path}' is a TIFF of {page.imagedepth} layers: save each in a file of its own.")
    if not (page.imagewidth and page.imagelength):
        raise DataError(f"'{path}' is not an image that can be read: its TIFF has no pixels.")


def _check_complete(page: tifffile.TiffPage, size: int, path: Path) -> None:
    """Refuse what lacks a part, which tifffile fills with zeros, and what says more pixels than its data can hold."""
    offsets, counts, parts = page.dataoffsets, page.databytecounts, math.prod(page.chunked)
    if max(parts, len(offsets), len(counts)) > size:
        raise _refusals.oversized(path, page.imagewidth, page.imagelength)
    ends = [offset + count for offset, count in zip(offsets, counts, strict=False)]
    if len(ends) < parts or 0 in counts or max(ends) > size:
        raise _refusals.truncated(path)
    ratio = MAX_FAX_COMPRESSION if page.compression in FAX else MAX_COMPRESSION
    largest = sum(counts) * (1 if page.compression == UNCOMPRESSED else ratio)
    if page.imagewidth * page.imagelength * page.samplesperpixel * _bits(page) / 8 > largest:
        raise _refusals.oversized(path, page.imagewidth, page.imagelength)


def to_colours(page: tifffile.TiffPage, samples: NDArray[Any]) -> NDArray[Any]:
    """Return what samples as they are stored, (H, W) or (H, W, C), mean: grey or RGB, and what lies behind it."""
    if page.photometric == PALETTE:
        colours = (np.asarray(page.colormap) >> 8).astype(np.uint8).T
        return colours[samples] if samples.ndim == 2 else np.dstack([colours[samples[..., 0]], samples[..., 1:]])
    if samples.dtype.kind == "b":
        samples = samples.astype(np.uint8) * np.uint8(255)
    return _invert(samples) if page.photometric == WHITE_IS_ZERO else samples


def _read_lzw_bytes(page: tifffile.TiffPage, content: bytes, path: Path) -> NDArray[Any]:
    """Samples of 8 bits, compressed by LZW, as they are stored.

    OpenCV passes over damage in what has 8 bits and multiplies it by alpha, and does neither with 16: it is given
    another directory, by which every two bytes are one sample.
    """
    order = page.parent.byteorder
    tags: list[tuple[int, int | tuple[int, ...]]] = [
        *((256, page.imagewidth * page.samplesperpixel // 2), (257, page.imagelength), (258, 16), (259, LZW), (262, 1)),
        *((273, page.dataoffsets), (277, 1), (278, page.rowsperstrip), (279, page.databytecounts), (317, 1)),
    ]
    start = len(content) + len(content) % 2
    head = content[:2] + struct.pack(f"{order}HI", 42, start)
    changed = b"".join([head, content[8:], bytes(len(content) % 2), _directory(tags, start, order)])
    try:
        words = cv2.imdecode(np.frombuffer(changed, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        words = None
    if words is None:
        raise _refusals.damaged(path, "its compressed data are wrong")
    samples = words.astype(f"{order}u2").view(np.uint8).reshape(page.shape)
    return np.cumsum(samples, axis=1, dtype=np.uint8) if page.predictor == 2 else samples


def _directory(tags: Sequence[tuple[int, int | tuple[int, ...]]], start: int, order: str) -> bytes:
    """A directory of a TIFF, with the numbers that do not fit into it behind it.

    Args:
        tags: their numbers, rising, and values.
        start: its place in the file.
        order: of bytes, ``<`` or ``>``.
    """
    entries, behind = struct.pack(f"{order}H", len(tags)), b""
    for tag, value in tags:
        values = value if isinstance(value, tuple) else (value,)
        packed = struct.pack(f"{order}{len(values)}I", *values)
        if len(values) > 1:
            place = start + 2 + 12 * len(tags) + 4 + len(behind)
            packed, behind = struct.pack(f"{order}I", place), behind + packed
        entries += struct.pack(f"{order}HHI", tag, 4, len(values)) + packed
    return entries + bytes(4) + behind


def _is_lzw_bytes(page: tifffile.TiffPage) -> bool:
    """Whether :func:`_read_lzw_bytes` can read it: contiguous pixels, in strips, an even number of bytes a row."""
    return bool(
        page.compression == LZW
        and page.photometric in AS_STORED
        and (page.bitspersample, page.predictor in (1, 2)) == (8, True)
        and not (page.axes.startswith("S") or page.is_tiled or page.parent.is_bigtiff or page.fillorder != 1)
        and page.imagewidth * page.samplesperpixel % 2 == 0
    )


def _invert(image: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(1 - image if image.dtype.kind == "f" else np.iinfo(image.dtype).max - image)


def _read_by_opencv(page: tifffile.TiffPage, content: bytes, path: Path) -> NDArray[Any]:
    if page.axes.startswith("S") and page.bitspersample != 8:
        raise DataError(
            f"'{path}' is a TIFF of {page.bitspersample}-bit planes with compression"
            f" {_name(page.compression)}, which is not read: save it without compression."
        )
    changed = bytearray(content)
    for tag, value in ((EXTRA_SAMPLES_TAG, UNSPECIFIED_SAMPLE), (ORIENTATION_TAG, 1)):
        if (found := page.tags.get(tag)) is not None and found.count == 1:  # libtiff multiplies by alpha, OpenCV turns
            number = value.to_bytes(2, "little" if page.parent.byteorder == "<" else "big")
            changed[found.valueoffset : found.valueoffset + 2] = number
    flags = cv2.IMREAD_COLOR if page.photometric in (CMYK, YCBCR) else cv2.IMREAD_UNCHANGED
    try:
        image: NDArray[Any] | None = cv2.imdecode(np.frombuffer(changed, np.uint8), flags)
    except cv2.error:
        image = None
    if image is None:
        raise DataError(
            f"'{path}' is a TIFF of {page.bitspersample} bits with compression {_name(page.compression)}"
            " that cannot be read: it is damaged, or of an unusual sort."
        )
    if page.photometric == WHITE_IS_ZERO and image.dtype != np.uint8:  # of 8 bits and fewer, libtiff inverts it
        image = _invert(image)
    if image.ndim == 2:
        return image
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB if image.shape[2] == 3 else cv2.COLOR_BGRA2RGBA))
