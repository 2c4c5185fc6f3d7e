"""Images, masks and photos for the tests of what is known about defects."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

SIZE = (40, 60)  # height, width, px


def disc(size=SIZE, at=(14, 22), radius=9):
    """A region that no turn leaves as it was; ``at`` is row, column."""
    rows, columns = np.ogrid[: size[0], : size[1]]
    region = (rows - at[0]) ** 2 + (columns - at[1]) ** 2 <= radius**2
    region[at[0] : at[0] + 2, at[1] : at[1] + radius + 5] = True
    return region


def write(path: Path, pixels) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.asarray(pixels))
    return path


def pane(path: Path, size=SIZE) -> Path:
    rng = np.random.default_rng(list(str(path).encode()))
    return write(path, rng.integers(80, 180, size, np.uint8))


def mask(path: Path, region=None) -> Path:
    return write(path, (disc() if region is None else region).astype(np.uint8) * 255)


def photo(path: Path, size=SIZE, orientation=1) -> Path:
    """A photo whose stored pixels have a size, and an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(list(path.name.encode())).integers(80, 180, size, np.uint8)
    Image.fromarray(noise).save(path, exif=exif)
    return path


def normals(folder: Path, count=3) -> None:
    for n in range(count):
        pane(folder / f"good{n}.png")
