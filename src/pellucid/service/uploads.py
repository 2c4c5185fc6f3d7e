"""Whether what was sent is an image worth decoding: found out from its first bytes, before memory is spent on it."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

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
MAX_CHANNELS = 4  # of what Pillow recognises, 16 bits each at most
MAX_SIDE_PX = 32_767  # OpenCV's own limit for resizing
_pillow_lock = threading.Lock()  # of Pillow's global limit and of the warnings' filters


@dataclass(frozen=True)
class UploadHead:
    """What the first bytes of an upload say of it.

    Attributes:
        suffix: of a file of its kind.
        width: px.
        height: px.
        decoded_bytes: that its values take as they are in the file, decompressed.
    """

    suffix: str
    width: int
    height: int
    decoded_bytes: int


class RefusedError(DataError):
    """What was sent will not be inspected; ``status`` is HTTP's."""

    def __init__(self, message: str, status: int = 422) -> None:
        super().__init__(message)
        self.status = status


def check_upload(content: bytes, name: str, megapixels: float) -> UploadHead:
    """Check an upload; returns what its head says. That it is whole and one image, decoding finds out.

    Raises:
        RefusedError: empty, no image, an image of another kind, or too large.
    """
    if not content:
        raise RefusedError(f"'{name}' is empty (0 bytes).")
    kind = kind_of(content)
    if not kind:
        raise RefusedError(describe_unread(content, name), 415)
    (width, height), decoded_bytes = (
        _read_tiff_head(content, name) if kind == "TIFF" else _read_head(content, name, kind)
    )
    if max(width, height) > MAX_SIDE_PX:
        raise RefusedError(f"'{name}' is {width} x {height} pixels; sides of up to {MAX_SIDE_PX} are allowed.", 413)
    if width * height > megapixels * 1e6:
        raise RefusedError(f"'{name}' is {width} x {height} pixels; up to {megapixels:g} megapixels are allowed.", 413)
    return UploadHead(SUFFIX_BY_KIND[kind], width, height, decoded_bytes)


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


Head = tuple[tuple[int, int], int]  # width and height, px, and the bytes that its values take, decompressed


def _read_head(content: bytes, name: str, kind: str) -> Head:
    try:
        with _without_pillow_limit():
            size = Image.open(io.BytesIO(content)).size
    except Exception:  # Pillow raises whatever its parsing stumbles over, as tifffile does
        raise RefusedError(f"'{name}' is not a {kind} that can be read.") from None
    width, height = size
    return size, width * height * MAX_CHANNELS * 2


def _read_tiff_head(content: bytes, name: str) -> Head:
    try:
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            page = file.pages.first
            return (int(page.imagewidth), int(page.imagelength)), int(page.nbytes)
    except Exception:
        raise RefusedError(f"'{name}' is not a TIFF that can be read.") from None
