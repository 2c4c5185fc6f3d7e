"""Files that are no images, or odd ones, and what is answered to them."""

from __future__ import annotations

import io
import zlib

import cv2
import numpy as np
from PIL import Image


def png_bytes(array: np.ndarray) -> bytes:
    return cv2.imencode(".png", array)[1].tobytes()


def saved_bytes(image: Image.Image, kind: str, **more: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **more)
    return out.getvalue()


def _bomb(side: int) -> bytes:
    """A PNG of a few bytes that says that it is huge."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = side.to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    rows = zlib.compress(bytes(1_000_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _closed(jpeg: bytes) -> bytes:
    """A JPEG without its last third, closed as if it were whole."""
    return jpeg[: len(jpeg) * 2 // 3] + b"\xff\xd9"


def _flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


GREY = np.full((40, 40, 3), 90, np.uint8)


FRAMES = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]


REFUSED = {
    "empty": (b"", 422, "empty"),
    "text": (b"not an image at all", 415, "not an image"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", 415, "SVG"),
    "html": (b"<html><script>alert(1)</script></html>", 415, "not an image"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3", 415, "PDF"),
    "zip": (b"PK\x03\x04" + bytes(60), 415, "not an image"),
    "truncated png": (
        png_bytes(np.random.default_rng(0).integers(0, 255, (60, 60, 3), np.uint8))[:2000],
        422,
        "truncated",
    ),
    "truncated jpeg": (saved_bytes(Image.effect_noise((80, 80), 50), "JPEG")[:900], 422, "truncated"),
    "truncated bmp": (saved_bytes(FRAMES[0], "BMP")[:900], 422, "truncated"),
    "truncated tiff": (saved_bytes(FRAMES[0], "TIFF")[:90], 422, "TIFF"),
    "gif that ends in its second image": (  # where Pillow raises IndexError
        saved_bytes(FRAMES[0], "GIF").rstrip(b";") + b"," + bytes(4) + b"\x28\0\x28\0\0",
        415,
        "GIF",
    ),
    "heic": (b"\0\0\0\x18ftypheic" + bytes(40), 415, "HEIC"),
    "png with a wrong checksum": (_flipped(png_bytes(GREY), 45), 422, "checksums"),
    "jpeg cut and closed": (_closed(saved_bytes(Image.effect_noise((80, 80), 50), "JPEG")), 422, "damaged"),
    "bomb": (_bomb(30_000), 413, "megapixels"),
    "60,000 px wide": (png_bytes(np.zeros((2, 60_000), np.uint8)), 413, "32767"),
    "animated gif": (saved_bytes(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:]), 415, "GIF"),
    "animated png": (saved_bytes(FRAMES[0], "PNG", save_all=True, append_images=FRAMES[1:]), 422, "2 images"),
    "tiff of pages": (saved_bytes(FRAMES[0], "TIFF", save_all=True, append_images=FRAMES[1:]), 422, "2 images"),
    "animated webp": (saved_bytes(FRAMES[0], "WEBP", save_all=True, append_images=FRAMES[1:]), 422, "2 images"),
    "float tiff": (None, 422, "NaN"),
}
