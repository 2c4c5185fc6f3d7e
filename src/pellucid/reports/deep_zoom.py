"""A picture of any size as tiles on every level from one tile to its own pixels (deep zoom), by libvips."""

from __future__ import annotations

import errno
import math
import os
import secrets
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from pellucid._io.files import TEMPORARY_PREFIX, make_folder
from pellucid.acquisition.images import read_image
from pellucid.errors import DataError, OutputError, ParameterError, missing_extra
from pellucid.records import Inspection

if TYPE_CHECKING:
    import pyvips

TILE_PX = 256  # of a tile's sides
JPEG_QUALITY = 88  # of 100, of tiles
MAX_WHOLE_PIXELS = 2**27  # of a file that is read as inspecting reads it; libvips reads larger ones row by row
BLOCK_ROWS = 1024  # that are converted at a time


def levels_of(width: int, height: int) -> int:
    """Count the levels of a picture: on the first it is one tile, on the last it has its own pixels."""
    return max(0, math.ceil(math.log2(max(width, height) / TILE_PX))) + 1


@dataclass(frozen=True)
class Picture:
    """An image as libvips draws it: 8-bit, grey or RGB, upright.

    Attributes:
        path: of the image.
        pixels: (H, W, 1) or (H, W, 3); None: libvips reads the file, row by row.
        bits: significant bits of 16-bit values in that file.
    """

    path: Path
    pixels: NDArray[np.uint8] | None
    bits: int

    @classmethod
    def of(cls, found: Inspection) -> Self:
        """Return the picture of an inspected image, which is read again where its pixels were let go of.

        Raises:
            DataError: it cannot be read.
            ParameterError: pyvips is not installed.
        """
        check_installed()
        if found.pixels is not None:
            return cls(found.path, _bytes_of(found.pixels), found.bits)
        if found.map.size and found.map.size <= MAX_WHOLE_PIXELS:
            return cls(found.path, _bytes_of(read_image(found.path, found.bits)), found.bits)
        picture = cls(found.path, None, found.bits)
        picture.open()
        return picture

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, px."""
        if self.pixels is not None:
            return self.pixels.shape[1], self.pixels.shape[0]
        opened = self.open()
        return opened.width, opened.height

    def open(self) -> pyvips.Image:
        """Return it as libvips has it, to be read once from the top.

        Raises:
            DataError: its file cannot be read.
        """
        vips = _import_vips()
        if self.pixels is not None:
            height, width, channels = self.pixels.shape
            return vips.Image.new_from_memory(self.pixels.data, width, height, channels, "uchar")
        try:
            opened = vips.Image.new_from_file(str(self.path), access="sequential", fail_on="truncated").autorot()
            opened = opened[: opened.bands - 1] if opened.hasalpha() else opened
            if opened.format != "uchar":
                scaled = (opened * (255 / (2**self.bits - 1))).rint().cast("uchar")
                opened = scaled.copy(interpretation="srgb" if scaled.bands > 2 else "b-w")
            return opened
        except (UnicodeEncodeError, vips.Error) as error:
            raise DataError(f"Cannot make a picture of '{self.path}': {_reason(error)}.") from None


def write_tiles(picture: Picture, folder: Path) -> None:
    """Write the tiles of a picture: ``LEVEL/COLUMN_ROW.jpg``, those at the right and below cropped.

    A kill leaves the folder that was there, or the new one.

    Args:
        picture: of any size.
        folder: for the tiles; one that exists is replaced.

    Raises:
        DataError: the picture cannot be read.
        OutputError: the folder cannot be written to.
    """
    opened, vips = picture.open(), _import_vips()
    make_folder(folder.parent)
    temporary = _place_for(folder) / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
    made = temporary.with_name(f"{temporary.name}_files")  # libvips calls it so
    suffix = f".jpg[Q={JPEG_QUALITY},strip]"
    try:
        opened.dzsave(str(temporary), layout="dz", tile_size=TILE_PX, overlap=0, depth="onetile", suffix=suffix)
        (made / "vips-properties.xml").unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        shutil.move(made, folder)  # a rename, unless it was made elsewhere
    except OSError as error:
        raise OutputError(f"Cannot write '{folder}': {error.strerror or error}.") from None
    except vips.Error as error:
        raise OutputError(f"Cannot write the tiles of '{picture.path}' to '{folder}': {_reason(error)}.") from None
    finally:
        shutil.rmtree(made, ignore_errors=True)
        temporary.with_name(f"{temporary.name}.dzi").unlink(missing_ok=True)


def _place_for(folder: Path) -> Path:
    """Where libvips can write what becomes this folder: beside it, if its name is one that libvips takes."""
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        return Path(tempfile.gettempdir())
    return folder.parent


def overview(picture: Picture, side: int) -> bytes:
    """Return a JPEG of a picture whose longer side has so many px, or its own size if that is smaller.

    Raises:
        DataError: the picture cannot be read.
    """
    try:
        small = picture.open().thumbnail_image(side, height=side, size="down")
        return bytes(small.write_to_buffer(f".jpg[Q={JPEG_QUALITY},strip]"))
    except _import_vips().Error as error:
        raise DataError(f"Cannot make a picture of '{picture.path}': {_reason(error)}.") from None


def check_installed() -> None:
    """Find out before any work whether tiles can be made.

    Raises:
        ParameterError: pyvips is not installed.
    """
    _import_vips()


def _bytes_of(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Pixels (H, W, 3) in [0, 1] as 8-bit values, (H, W, 3), or (H, W, 1) where one plane is all three channels."""
    shown = pixels[..., :1] if pixels.strides[2] == 0 else pixels
    out = np.empty(shown.shape, np.uint8)
    for top in range(0, len(shown), BLOCK_ROWS):
        rows = slice(top, top + BLOCK_ROWS)
        out[rows] = (shown[rows] * 255).round()
    return out


def _import_vips() -> Any:
    try:
        import pyvips
    except (ModuleNotFoundError, OSError):  # OSError: without its binary, it looks for libvips on the system
        raise ParameterError(missing_extra(None, "'pyvips[binary]'", "A page of a large image")) from None
    return pyvips


def _reason(error: Exception) -> str:
    """The last line of what libvips says, which is the most particular one."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip().rstrip(".") if lines else type(error).__name__
