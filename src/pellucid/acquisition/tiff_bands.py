"""TIFF and BigTIFF in bands: only the strips or tiles of a band are read and decoded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from pellucid.acquisition import _refusals
from pellucid.acquisition.bands import BAND_ROWS, Band, Remarks, check_rows, to_bands
from pellucid.acquisition.decoding import quiet_decoders
from pellucid.acquisition.images import FULL_BITS, check_regular
from pellucid.acquisition.orientation import FIRST_MOVED, turn_upright
from pellucid.acquisition.tiff import UNCOMPRESSED, is_read_as_stored, only_page, orientation_of, to_colours
from pellucid.errors import DataError

MAX_SEGMENT_VALUES = 2**26  # of a compressed strip or tile, which is decoded as a whole


class TiffBands:
    """The image of a TIFF that is stored without compression, by Deflate or PackBits, in bands.

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
            DataError: it is missing, truncated, damaged, holds several images, or is of a type that is not read.
            ParameterError: ``rows`` is no height of a band.
        """
        check_rows(rows)
        self.path, self.rows, self.bits = path, rows, bits
        self.remarks = Remarks()
        with _opened(path) as page:
            self.width, self.height = int(page.imagewidth), int(page.imagelength)
            self.orientation = orientation_of(page)
            self.can_be_read = is_read_as_stored(page) and (_has_plain_rows(page) or _are_small(page))
        if self.orientation >= FIRST_MOVED:
            raise _refusals.turned(path, self.orientation)

    def __iter__(self) -> Iterator[Band]:
        yield from to_bands(self._parts(), self.rows, self.path, self.bits, self.remarks)

    def _parts(self) -> Iterator[NDArray[Any]]:
        """Rows as they are stored, as many as lie in whole strips or tiles."""
        with _opened(self.path) as page:
            is_plain = _has_plain_rows(page)
            height = 1 if is_plain else _segment_rows(page)
            step = height * max(1, self.rows // height)
            for top in range(0, self.height, step):
                rows = min(step, self.height - top)
                try:
                    with quiet_decoders():
                        values = _plain_rows(page, top, rows) if is_plain else _segments(page, top, rows)
                except Exception:  # it raises whatever its decoders stumble over
                    raise _refusals.damaged(self.path, f"rows {top} to {top + rows - 1} cannot be decoded") from None
                yield turn_upright(to_colours(page, values), self.orientation)


@contextmanager
def _opened(path: Path) -> Iterator[tifffile.TiffPage]:
    """The page of a file."""
    check_regular(path)
    with ExitStack() as stack:
        try:
            with quiet_decoders(), np.errstate(all="ignore"):
                file = stack.enter_context(tifffile.TiffFile(path))
                page = only_page(file, path, path.stat().st_size)
        except DataError:
            raise
        except OSError as error:
            raise DataError(f"Cannot read '{path}': {error.strerror or error}.") from None
        except Exception:  # it raises whatever its parsing stumbles over
            raise _refusals.unreadable_tiff(path) from None
        yield page


def _segment_rows(page: tifffile.TiffPage) -> int:
    """Height of a strip or tile, px."""
    return int(page.tilelength if page.is_tiled else min(page.rowsperstrip, page.imagelength))


def _are_small(page: tifffile.TiffPage) -> bool:
    """Whether a strip or tile may be decoded as a whole."""
    width = page.tilewidth if page.is_tiled else page.imagewidth
    return bool(_segment_rows(page) * width * page.samplesperpixel <= MAX_SEGMENT_VALUES)


def _has_plain_rows(page: tifffile.TiffPage) -> bool:
    """Whether the values of any rows can be read without the rest of their strip."""
    return bool(
        page.compression == UNCOMPRESSED
        and page.predictor == 1
        and not page.is_tiled
        and page.fillorder == 1
        and page.bitspersample in (8, 16, 32, 64)
        and (page.planarconfig == 1 or page.samplesperpixel == 1)
    )


def _plain_rows(page: tifffile.TiffPage, top: int, rows: int) -> NDArray[Any]:
    """Rows without compression, (rows, W) or (rows, W, C)."""
    kind = np.dtype(page.dtype).newbyteorder(page.parent.byteorder)
    shape = (page.imagewidth,) if page.samplesperpixel == 1 else (page.imagewidth, page.samplesperpixel)
    row_bytes = int(np.prod(shape)) * kind.itemsize
    height, handle = _segment_rows(page), page.parent.filehandle
    read = b""
    for at in range(top - top % height, top + rows, height):
        first, last = max(top, at), min(top + rows, at + height)
        handle.seek(page.dataoffsets[at // height] + (first - at) * row_bytes)
        read += handle.read((last - first) * row_bytes)
    values = np.frombuffer(read, kind).reshape(rows, *shape)
    return values.astype(kind.newbyteorder("="), copy=False)


def _segments(page: tifffile.TiffPage, top: int, rows: int) -> NDArray[Any]:
    """The strips or tiles of some rows, decoded and laid side by side, (rows, W) or (rows, W, C)."""
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    across = -(-page.imagewidth // page.tilewidth) if page.is_tiled else 1
    height = _segment_rows(page)
    down, first, last = -(-page.imagelength // height), top // height, -(-(top + rows) // height)
    values: NDArray[Any] = np.empty((planes, rows, page.imagewidth, page.samplesperpixel // planes), page.dtype)
    handle = page.parent.filehandle
    for plane in range(planes):
        for index in range((plane * down + first) * across, (plane * down + last) * across):
            handle.seek(page.dataoffsets[index])
            decoded, (_, _, y, x, _), _ = page.decode(handle.read(page.databytecounts[index]), index)
            if decoded is None:
                raise ValueError("nothing in it")
            place = values[plane, y - top : y - top + height, x : x + decoded.shape[2]]
            part = decoded[0, : place.shape[0], : place.shape[1]]
            if part.shape != place.shape:
                raise ValueError("fewer rows than its head says")
            place[:] = part
    image = values.transpose(1, 2, 0, 3).reshape(rows, page.imagewidth, page.samplesperpixel)
    return image[..., 0] if page.samplesperpixel == 1 else image
