"""Whether what was sent is an image worth decoding: found out from its first bytes, before memory is spent on it."""

from __future__ import annotations

import io
import warnings

import tifffile
from PIL import Image

from pellucid.acquisition.images import TIFF_SIGNATURES
from pellucid.errors import DataError

Image.MAX_IMAGE_PIXELS = None  # checked here, without a warning
KINDS = {"PNG": ".png", "JPEG": ".jpg", "MPO": ".jpg", "BMP": ".bmp", "TIFF": ".tif"}
SIDE = 32_767  # px, OpenCV's own limit for resizing


class RefusedError(DataError):
    """What was sent will not be inspected; ``status`` is HTTP's."""

    def __init__(self, message: str, status: int = 422) -> None:
        super().__init__(message)
        self.status = status


def check_upload(content: bytes, name: str, megapixels: float) -> str:
    """The suffix of a file of the kind that was sent.

    Raises:
        RefusedError: empty, no image, an image of another kind, of several frames, or too large.
    """
    if not content:
        raise RefusedError(f"'{name}' is empty (0 bytes).")
    kind, frames, (width, height) = (
        _tiff(content, name) if content.startswith(TIFF_SIGNATURES) else _other(content, name)
    )
    if kind not in KINDS:
        raise RefusedError(f"'{name}' is {kind}; png, jpg, bmp and tif can be read.", 415)
    if frames > 1:
        raise RefusedError(f"'{name}' holds {frames} images: send each in a file of its own.")
    if max(width, height) > SIDE:
        raise RefusedError(f"'{name}' is {width} x {height} pixels; sides of up to {SIDE} are allowed.", 413)
    if width * height > megapixels * 1e6:
        raise RefusedError(f"'{name}' is {width} x {height} pixels; up to {megapixels:g} megapixels are allowed.", 413)
    return KINDS[kind]


def _other(content: bytes, name: str) -> tuple[str, int, tuple[int, int]]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(content))
            frames = getattr(image, "n_frames", 1) if image.format not in ("JPEG", "MPO") else 1
    except Exception:  # Pillow raises whatever its parsing stumbles over, as tifffile does
        raise RefusedError(f"'{name}' is not an image that can be read (png, jpg, bmp and tif can).", 415) from None
    return str(image.format), frames, image.size


def _tiff(content: bytes, name: str) -> tuple[str, int, tuple[int, int]]:
    try:
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            page = file.pages.first
            return "TIFF", len(file.pages), (int(page.imagewidth), int(page.imagelength))
    except Exception:
        raise RefusedError(f"'{name}' is not a TIFF that can be read.", 422) from None
