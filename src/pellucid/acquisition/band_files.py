"""Image files of any size to bands: TIFF by tifffile, PNG, JPEG, WebP and other TIFFs by libvips, as they come."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pellucid.acquisition import _refusals
from pellucid.acquisition.bands import BAND_ROWS, Band, Bands, Remarks, check_rows, to_bands
from pellucid.acquisition.decoding import describe_unread, kind_of
from pellucid.acquisition.images import FULL_BITS, check_regular
from pellucid.acquisition.jpeg import PROGRESSIVE_FRAME, segments_of
from pellucid.acquisition.orientation import FIRST_MOVED, read_orientation, turn_upright
from pellucid.acquisition.tiff_bands import TiffBands
from pellucid.errors import DataError, ParameterError, missing_extra

if TYPE_CHECKING:
    import pyvips

BANDED_KINDS = ("TIFF", "PNG", "JPEG", "WebP")
HEAD_BYTES = 2**16  # that tell of which kind a file is, and whether its rows lie one after the other
INTERLACED_AT = 28  # the byte of a PNG that says so
PART_ROWS = 64  # that are decoded at a time


def open_bands(path: Path, rows: int = BAND_ROWS, bits: int = FULL_BITS) -> Bands:
    """Open an image file of any size, to be read in bands; its pixels are those of ``read_image``.

    Args:
        path: of a TIFF, BigTIFF, PNG, JPEG or WebP file, whatever its name.
        rows: of a band, at least 1.
        bits: significant bits of 16-bit values, 8 to 16.

    Returns:
        Bands that can be read again; the file's size is known.

    Raises:
        DataError: it is missing, damaged, of a kind that is not read in bands, or its rows are stored turned.
        ParameterError: pyvips is needed and not installed; or ``rows`` is less than 1.
    """
    head = _read_head(path)
    kind = kind_of(head)
    if kind not in BANDED_KINDS:
        if kind:
            raise DataError(
                f"'{path}' is {kind}, which is not read in bands ({', '.join(BANDED_KINDS)} are): save it as TIFF."
            )
        raise DataError(describe_unread(head, path))
    if kind == "TIFF":
        bands = TiffBands(path, rows, bits)
        if bands.can_be_read:
            return bands
    return VipsBands(path, rows, bits)


class VipsBands:
    """The image of a file that libvips decodes row after row.

    Attributes:
        path: of the file.
        width: px.
        height: px.
        rows: of a band.
        bits: significant bits of 16-bit values, 8 to 16.
        remarks: what was unusual about it, as far as it was read.
    """

    def __init__(self, path: Path, rows: int = BAND_ROWS, bits: int = FULL_BITS) -> None:
        """Read the head of a file.

        Raises:
            DataError: it cannot be read, or its colours are neither grey nor RGB.
            ParameterError: pyvips is not installed, or ``rows`` is no height of a band.
        """
        check_rows(rows)
        self.path, self.rows, self.bits = path, rows, bits
        self.remarks = Remarks()
        kind = kind_of(head := _read_head(path))
        self.orientation = 1 if kind == "TIFF" else read_orientation(path)  # of a TIFF it was looked at before
        if self.orientation >= FIRST_MOVED:
            raise _refusals.turned(path, self.orientation)
        image = self._open()
        self.width, self.height = int(image.width), int(image.height)
        if image.interpretation in ("cmyk", "lab", "labs"):
            raise DataError(f"'{path}' has colours of {image.interpretation.upper()}: save it as grey or RGB.")
        is_interlaced = kind == "PNG" and head[INTERLACED_AT] != 0
        if is_interlaced or (kind == "JPEG" and any(marker == PROGRESSIVE_FRAME for marker, _ in segments_of(head))):
            self.remarks.add("It is stored progressively, so that decoding it takes memory for all of it.")

    def _open(self) -> pyvips.Image:
        try:
            import pyvips
        except (ImportError, OSError):
            raise ParameterError(missing_extra(None, "'pyvips[binary]'", f"Reading '{self.path}' in bands")) from None
        try:
            return pyvips.Image.new_from_file(str(self.path), access="sequential", fail_on="error")
        except pyvips.Error as error:
            raise _damage(self.path, error) from None

    def __iter__(self) -> Iterator[Band]:
        yield from to_bands(self._parts(), self.rows, self.path, self.bits, self.remarks)

    def _parts(self) -> Iterator[NDArray[Any]]:
        import pyvips

        image = self._open()
        region = pyvips.Region.new(image)
        kind = {"uchar": np.uint8, "ushort": np.uint16, "float": np.float32, "double": np.float64}.get(image.format)
        if kind is None:
            raise DataError(f"'{self.path}' has pixels of type {image.format}; 8 bit, 16 bit and float can be read.")
        for top in range(0, self.height, PART_ROWS):
            rows = min(PART_ROWS, self.height - top)
            try:
                fetched = region.fetch(0, top, self.width, rows)
            except pyvips.Error as error:
                raise _damage(self.path, error) from None
            values = np.frombuffer(fetched, kind).reshape(rows, self.width, image.bands)
            yield turn_upright(values, self.orientation)


def _read_head(path: Path) -> bytes:
    check_regular(path)
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
    except OSError as error:
        raise DataError(f"Cannot read '{path}': {error.strerror or error}.") from None
    if not head:
        raise DataError(f"'{path}' is empty (0 bytes).")
    return head


def _damage(path: Path, error: Exception) -> DataError:
    """What libvips says about a file, in one line."""
    said = " ".join(str(error).split()).rstrip(".")
    return _refusals.damaged(path, f"it cannot be decoded ({said})")
