"""Whether what was sent is an image worth decoding: found out from its first bytes, before memory is spent on it."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import tifffile
from PIL import Image

from pellucid.acquisition.decoding import describe_unread, kind_of
from pellucid.errors import DataError

SUFFIX_BY_KIND = {
    "PNG": ".png",
    "JPEG": ".jpg",
    "BMP": ".bmp",
    "TIFF": ".tif",
    "WebP": ".webp",
    "PNM": ".pnm",
    "JPEG 2000": ".jp2",
}
MAX_SIDE_PX = 32_767  # OpenCV's own limit for resizing
_pillow_lock = threading.Lock()  # of Pillow's global limit and of the warnings' filters


class RefusedError(DataError):
    """What was sent will not be inspected; ``status`` is HTTP's."""

    def __init__(self, message: str, status: int = 422) -> None:
        super().__init__(message)
        self.status = status


def check_upload(content: bytes, name: str, megapixels: float) -> str:
    """Check an upload; returns the suffix of a file of its kind. That it is whole and one image, decoding finds out.

    Raises:
        RefusedError: empty, no image, an image of another kind, or too large.
    """
    if not content:
        raise RefusedError(f"'{name}' is empty (0 bytes).")
    kind = kind_of(content)
    if not kind:
        raise RefusedError(describe_unread(content, name), 415)
    width, height = _read_tiff_size(content, name) if kind == "TIFF" else _read_size(content, name, kind)
    if max(width, height) > MAX_SIDE_PX:
        raise RefusedError(f"'{name}' is {width} x {height} pixels; sides of up to {MAX_SIDE_PX} are allowed.", 413)
    if width * height > megapixels * 1e6:
        raise RefusedError(f"'{name}' is {width} x {height} pixels; up to {megapixels:g} megapixels are allowed.", 413)
    return SUFFIX_BY_KIND[kind]


@contextmanager
def _without_pillow_limit() -> Iterator[None]:
    """Open images of any size, without a warning: sizes are checked here. Pillow's own limit is one for the process."""
    with _pillow_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _read_size(content: bytes, name: str, kind: str) -> tuple[int, int]:
    try:
        with _without_pillow_limit():
            return Image.open(io.BytesIO(content)).size
    except Exception:  # Pillow raises whatever its parsing stumbles over, as tifffile does
        raise RefusedError(f"'{name}' is not a {kind} that can be read.") from None


def _read_tiff_size(content: bytes, name: str) -> tuple[int, int]:
    try:
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            page = file.pages.first
            return int(page.imagewidth), int(page.imagelength)
    except Exception:
        raise RefusedError(f"'{name}' is not a TIFF that can be read.") from None
