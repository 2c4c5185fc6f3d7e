"""A folder of frames that overlap to one image in bands: frames follow one another along the travel."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pellucid._io.pipeline import Operation, run_pipeline
from pellucid.acquisition.bands import BAND_ROWS, Band, Remarks, check_rows, regroup
from pellucid.acquisition.files import list_images
from pellucid.acquisition.images import FULL_BITS, DecodedImage, decode_image, read_content
from pellucid.errors import DataError, ParameterError

READ_AHEAD_THREADS = 2
LAST_NUMBER = re.compile(r"(\d+)\D*$")


class FrameBands:
    """The frames of a folder, in the order of the numbers in their names, as one image.

    Of rows that two frames share, those of the earlier one are taken.

    Attributes:
        path: of the folder.
        frames: of the image files, in order.
        overlap: rows at the end of a frame that the next one begins with.
        width: px.
        height: px.
        rows: of a band.
        bits: significant bits of 16-bit values, 8 to 16.
        remarks: what was unusual about it, as far as it was read.
    """

    def __init__(self, folder: Path, overlap: int = 0, rows: int = BAND_ROWS, bits: int = FULL_BITS) -> None:
        """List the frames, and read the first.

        Raises:
            DataError: there are none, or the first cannot be read.
            ParameterError: they cannot overlap by so many rows.
        """
        check_rows(rows)
        self.path, self.overlap, self.rows, self.bits = folder, overlap, rows, bits
        self.frames = tuple(sorted(list_images(folder).images, key=_natural))
        self.remarks = Remarks()
        if not self.frames:
            raise DataError(f"'{folder}' holds no image that can be read.")
        height, self.width = decode_image(read_content(self.frames[0]), self.frames[0], bits).pixels.shape[:2]
        if not 0 <= overlap < height:
            raise ParameterError(f"overlap={overlap} is not allowed: the frames have {height} rows, give fewer.")
        self.frame_rows = height
        self.height = height + (len(self.frames) - 1) * (height - overlap)

    def __iter__(self) -> Iterator[Band]:
        for top, pixels in regroup(self._parts(), self.rows):
            yield Band(top, pixels)

    def _parts(self) -> Iterator[NDArray[Any]]:
        """What each frame adds."""
        seen: dict[bytes, Path] = {}
        number = None
        for frame, read in zip(
            self.frames, run_pipeline(self.frames, Operation(self._read, READ_AHEAD_THREADS)), strict=True
        ):
            digest, image = read.result()
            if (twin := seen.setdefault(digest, frame)) != frame:
                raise DataError(f"'{frame}' has the same content as '{twin}': every frame is needed once.")
            if image.pixels.shape[:2] != (self.frame_rows, self.width):
                height, width = image.pixels.shape[:2]
                raise DataError(
                    f"'{frame}' has {width}x{height} px, but '{self.frames[0]}' has {self.width}x{self.frame_rows}: the"
                    " frames of an image are of one size."
                )
            number = self._note_gap(frame, number)
            self.remarks.add(*image.warnings)
            if image.peak is not None:
                self.remarks.peak = max(self.remarks.peak or 0, image.peak)
            yield image.pixels if len(seen) == 1 else image.pixels[self.overlap :]

    def _read(self, frame: Path) -> tuple[bytes, DecodedImage]:
        content = read_content(frame)
        return hashlib.sha256(content).digest(), decode_image(content, frame, self.bits)

    def _note_gap(self, frame: Path, before: int | None) -> int | None:
        """Say that a number is missing in the names; returns the one of this frame."""
        found = LAST_NUMBER.search(frame.stem)
        number = int(found[1]) if found else None
        if number is not None and before is not None and number != before + 1:
            self.remarks.add(
                f"The numbers in the names of its frames go from {before} to {number}: frames may be missing."
            )
        return number


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """An order in which frame 9 comes before frame 10."""
    parts = re.split(r"(\d+)", str(path))
    return [(0, 0, part) if k % 2 == 0 else (1, int(part), part) for k, part in enumerate(parts)]
