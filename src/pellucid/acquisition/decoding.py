"""Bytes to pixels as they are stored: which kinds of files are read, by what, and what is refused as damaged."""

from __future__ import annotations

import logging
import re
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pellucid.acquisition import _refusals
from pellucid.acquisition.jpeg import decode_jpeg
from pellucid.acquisition.orientation import exif_orientation, turn_upright
from pellucid.acquisition.tiff import decode_tiff
from pellucid.errors import DataError

IMAGE_SUFFIXES = (  # of the files that are read
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".tif", ".tiff"),
    *(".webp", ".pgm", ".ppm", ".pbm", ".pnm", ".jp2", ".j2k"),
)
READABLE_KINDS = "png, jpg, bmp, tif, webp, pgm, ppm, pbm and jp2 can be"
SIGNATURES: tuple[tuple[str, str], ...] = (  # kind, expression that its first bytes match
    ("PNG", r"\x89PNG\r\n\x1a\n"),
    ("JPEG", r"\xff\xd8\xff"),
    ("TIFF", r"II[*+]\0|MM\0[*+]"),
    ("BMP", r"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"),
    ("WebP", r"RIFF.{4}WEBP"),
    ("PNM", r"P[1-6][\s#]"),
    ("JPEG 2000", r"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
)
UNREAD_SIGNATURES: tuple[tuple[str, str], ...] = (  # that messages name
    ("GIF", r"GIF8[79]a"),
    ("AVIF", r".{4}ftypavi[fs]"),
    ("HEIC", r".{4}ftyp(hei[cfmsx]|hev[cmsx]|mif1|msf1)"),
    ("JPEG XL", r"\xff\x0a|\0\0\0\x0cJXL "),
    ("OpenEXR", r"v/1\x01"),
    ("Radiance HDR", r"#\?(RADIANCE|RGBE)"),
    ("PFM", r"P[Ff]\s"),
    ("PAM", r"P7\s"),
    ("Photoshop", r"8BPS"),
    ("PDF", r"%PDF"),
    ("SVG", r"\s*<svg[\s>]"),
)
KINDS = tuple((kind, re.compile(signature.encode("latin-1"), re.DOTALL)) for kind, signature in SIGNATURES)
UNREAD_KINDS = tuple(
    (kind, re.compile(signature.encode("latin-1"), re.DOTALL)) for kind, signature in UNREAD_SIGNATURES
)
MAX_DEFLATE_RATIO = 1032  # bytes that Deflate can make of one
PNM_HEADER = re.compile(
    rb"P([1-6])" + 2 * rb"(?:\s+(?:#[^\n]*\n\s*)*)(\d{1,9})" + rb"(?:\s+(?:#[^\n]*\n\s*)*(\d{1,9}))?"
)
_quiet_lock = threading.Lock()
_quiet: list[Any] = [0, None]  # threads that decode, and what OpenCV printed before


def kind_of(content: bytes) -> str:
    """Find out by its first bytes of which kind a file is, whatever its name; empty for one that is not read.

    Args:
        content: at least its first 64 bytes.
    """
    return next((kind for kind, signature in KINDS if signature.match(content)), "")


def unread_kind_of(content: bytes) -> str:
    """Name the kind of an image file that is known and not read; empty for any other file.

    Args:
        content: at least its first 64 bytes.
    """
    return next((kind for kind, signature in UNREAD_KINDS if signature.match(content)), "")


def describe_unread(content: bytes, path: Path | str) -> str:
    """Return the sentence about a file of a kind that is not read.

    Args:
        content: at least its first 64 bytes.
        path: what the sentence calls it.
    """
    if other := unread_kind_of(content):
        return f"'{path}' is {other}, which is not read ({READABLE_KINDS}): convert it to PNG."
    return f"'{path}' is not an image that can be read ({READABLE_KINDS})."


def decode(content: bytes, path: Path) -> NDArray[Any]:
    """Decode the content of an image file: upright, channels as they are stored.

    Args:
        content: all bytes of the file.
        path: what messages call it.

    Returns:
        (H, W) or (H, W, C), colours in RGB order, alpha last; uint8, uint16 or floats.

    Raises:
        DataError: it is empty, no image, of a kind that is not read, truncated, damaged, or holds several images.
    """
    if not content:
        raise DataError(f"'{path}' is empty (0 bytes).")
    kind = kind_of(content)
    if kind == "JPEG":
        return decode_jpeg(content, path)
    if kind == "PNM":
        return _decode_pnm(content, path)
    if kind == "TIFF":
        with quiet_decoders():
            return decode_tiff(content, path)
    if kind:
        return _decode_by_opencv(content, path, kind)
    raise DataError(describe_unread(content, path))


@contextmanager
def quiet_decoders() -> Iterator[None]:
    """Keep what OpenCV and tifffile say about a damaged file off the console: an error of ours says it.

    Both have one setting for the process: it is put back when no thread decodes any more.
    """
    with _quiet_lock:
        if not _quiet[0]:
            _quiet[1] = cv2.utils.logging.getLogLevel(), logging.getLogger("tifffile").disabled
            cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
            logging.getLogger("tifffile").disabled = True
        _quiet[0] += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet[0] -= 1
            if not _quiet[0]:
                cv2.utils.logging.setLogLevel(_quiet[1][0])
                logging.getLogger("tifffile").disabled = _quiet[1][1]


def _decode_by_opencv(content: bytes, path: Path, kind: str) -> NDArray[Any]:
    checks = {"PNG": _check_png, "WebP": _check_webp, "BMP": _check_bmp}
    orientation = checks[kind](content, path) if kind in checks else 1
    buffer = np.frombuffer(content, np.uint8)
    image: NDArray[Any] | None = None
    with quiet_decoders():
        for flags in (cv2.IMREAD_UNCHANGED, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH):  # grey and alpha: colours only
            try:
                image = cv2.imdecode(buffer, flags)
            except cv2.error:
                continue
            if image is not None:
                break
    if image is None:
        raise DataError(f"'{path}' is {kind} that cannot be read: it is damaged, or of an unusual sort.")
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB if image.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)
    return image if orientation == 1 else turn_upright(image, orientation)


def _check_png(content: bytes, path: Path) -> int:
    """Check every chunk, which libpng would complain about on its own; returns the EXIF orientation."""
    at, kind, orientation, data_bytes = 8, b"", 1, 0
    view = memoryview(content)
    while kind != b"IEND":
        length, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        end = at + 12 + length
        if end > len(content):
            raise _refusals.truncated(path)
        if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(content[end - 4 : end], "big"):
            raise _refusals.damaged(path, "its checksums are wrong")
        if kind == b"acTL" and (frames := int.from_bytes(content[at + 8 : at + 12], "big")) > 1:
            raise _refusals.several(path, frames)
        data_bytes += length if kind == b"IDAT" else 0
        if kind == b"eXIf":
            orientation = exif_orientation(content[at + 8 : end - 4])
        at = end
    width, height, bits = (int.from_bytes(content[k : k + n], "big") for k, n in ((16, 4), (20, 4), (24, 1)))
    if width * height * bits / 8 > MAX_DEFLATE_RATIO * data_bytes:
        raise _refusals.oversized(path, width, height)
    return orientation


def _check_webp(content: bytes, path: Path) -> int:
    """Check that a WebP is whole and one image; returns the EXIF orientation."""
    end = 8 + int.from_bytes(content[4:8], "little")
    if end > len(content):
        raise _refusals.truncated(path)
    at, frames, orientation = 12, 0, 1
    while at + 8 <= end:
        kind, length = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "little")
        frames += kind == b"ANMF"
        if kind == b"EXIF":
            orientation = exif_orientation(content[at + 8 : at + 8 + length].removeprefix(b"Exif\0\0"))
        at += 8 + length + length % 2
    if frames > 1:
        raise _refusals.several(path, frames)
    return orientation


def _check_bmp(content: bytes, path: Path) -> int:
    if len(content) < int.from_bytes(content[2:6], "little"):
        raise _refusals.truncated(path)
    return 1


def _decode_pnm(content: bytes, path: Path) -> NDArray[Any]:
    """PBM, PGM and PPM, whose header says how high a value is white: cameras write 1023 and 4095 there."""
    header = PNM_HEADER.match(content)
    sort = int(content[1:2])
    bits = sort in (1, 4)
    if header is None or not (bits or header[4]):
        raise DataError(f"'{path}' is a PNM file whose header cannot be read.")
    width, height, white = int(header[2]), int(header[3]), 1 if bits else int(header[4])
    if not (0 < white < 65536 and width * height > 0):
        raise DataError(f"'{path}' is a PNM file of {width} x {height} px and values up to {white}.")
    data = content[header.end(3 if bits else 4) :]
    shape = (height, width, 3) if sort in (3, 6) else (height, width)
    values = _pnm_values(data, sort, shape, white, path)
    if bits:
        return (1 - values).astype(np.uint8) * np.uint8(255)  # a one is black
    if values.max() > white:
        raise DataError(f"'{path}' has values up to {values.max()}; its header says {white}.")
    return values if white in (255, 65535) else values / np.float32(white)


def _pnm_values(data: bytes, sort: int, shape: tuple[int, ...], white: int, path: Path) -> NDArray[Any]:
    """The numbers behind the header, written as text (1 to 3), as bits (4), or as bytes."""
    count = int(np.prod(shape))
    if sort <= 3:
        text = re.sub(rb"#[^\n]*", b"", data)
        numbers = re.findall(rb"[01]", text) if sort == 1 else text.split()
        try:
            values = np.array([int(number) for number in numbers[:count]])
        except ValueError:
            raise _refusals.damaged(path, "where numbers should be, there are none") from None
        if values.size and (values.min() < 0 or values.max() > 65535):
            raise DataError(f"'{path}' has values from {values.min()} to {values.max()}.")
        values = values.astype(np.uint8 if white == 255 else np.uint16)
    elif sort == 4:
        height, width = shape
        rows = np.frombuffer(data[1:], np.uint8)[: height * -(-width // 8)]
        if rows.size < height * -(-width // 8):
            raise _refusals.truncated(path)
        return np.unpackbits(rows.reshape(height, -1), axis=1)[:, :width]
    else:
        kind = np.dtype(">u2" if white > 255 else "u1")
        values = np.frombuffer(data[1:], kind, min(count, (len(data) - 1) // kind.itemsize))
    if values.size < count:
        raise _refusals.truncated(path)
    return values.reshape(shape)
