"""Image files of every kind, made in memory from one picture."""

from __future__ import annotations

import io
import struct

import cv2
import numpy as np
import tifffile
from PIL import Image

PICTURE = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8), (0, 0), 2)  # RGB
GREY = np.ascontiguousarray(PICTURE[..., 0])
RAMP = np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))  # an alpha that is not opaque
RGBA = np.dstack([PICTURE, RAMP])
OPAQUE = np.dstack([PICTURE, np.full_like(RAMP, 255)])


def pillow(array: np.ndarray, kind: str, mode: str | None = None, **more: object) -> bytes:
    image, out = Image.fromarray(array), io.BytesIO()
    (image if mode is None else image.convert(mode)).save(out, kind, **more)
    return out.getvalue()


def tiff(array: np.ndarray, **more: object) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, array, **more)
    return out.getvalue()


def opencv(array: np.ndarray, suffix: str) -> bytes:
    order = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}.get(array.shape[2] if array.ndim == 3 else 1)
    return cv2.imencode(suffix, array if order is None else cv2.cvtColor(array, order))[1].tobytes()


def sixteen(array: np.ndarray) -> np.ndarray:
    return array.astype(np.uint16) * 257


def planes(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array.transpose(2, 0, 1))


def bare_tiff(bits: int, data: bytes) -> bytes:
    """Grey of any number of bits, PICTURE's size, packed."""
    tags = [(256, 64), (257, 48), (258, bits), (259, 1), (262, 1), (273, 200), (277, 1), (278, 48), (279, len(data))]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    return head.ljust(200, b"\0") + data


def twelve_bits() -> bytes:
    """GREY as a camera packs 12 bits: two pixels in three bytes."""
    pairs = (GREY.astype(np.uint32) * 4095 // 255).reshape(-1, 2)
    words = pairs[:, 0] << 12 | pairs[:, 1]
    return bare_tiff(12, b"".join(int(word).to_bytes(3, "big") for word in words))


def thumbnailed() -> bytes:
    """A TIFF whose second page is a small copy of the first."""
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as writer:
        writer.write(PICTURE, photometric="rgb")
        writer.write(PICTURE[::4, ::4].copy(), photometric="rgb", subfiletype=1)
    return out.getvalue()
