"""Inspecting what had better not be in memory: raw rows as they come, frames of one image, very large files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.cli._console import out, print_line
from pellucid.errors import ParameterError, PellucidError

if TYPE_CHECKING:
    from pellucid.acquisition.bands import Bands
    from pellucid.inspector import Inspector
    from pellucid.records import Inspection
    from pellucid.regions.band_zones import Finding

MAX_PIXELS_IN_MEMORY = 2**26  # of an image file; a tiled model inspects larger ones in bands
STANDARD_INPUT = "-"
ADDRESS = re.compile(r"tcp:/+(.*)")  # a path has one slash where two were typed


@dataclass(frozen=True)
class Stream:
    """What options say about an image that comes in bands; each as its option says.

    Attributes:
        width: of raw rows, px; None: it is none of these.
        height: of their image, px.
        bits: of a value.
        channels: of a pixel.
        line_numbers: whether rows are numbered.
        overlap: rows that frames share; None: there are no frames.
        quiet_seconds: that a file has not grown for when it is complete.
    """

    width: int | None = None
    height: int | None = None
    bits: int = 8
    channels: int = 1
    line_numbers: bool = False
    overlap: int | None = None
    quiet_seconds: float = 5.0

    def opener(self, places: list[Path]) -> Callable[[Inspector], Bands] | None:
        """Return what opens the image of a place for a model; None where places are image files and folders.

        Raises:
            ParameterError: the options do not fit together, or the place.
        """
        if self.overlap is not None and self.width is not None:
            raise ParameterError("Give --width for raw rows, or --overlap for a folder of frames, not both.")
        is_stream = [str(place) == STANDARD_INPUT or ADDRESS.match(place.as_posix()) is not None for place in places]
        if self.width is None and self.overlap is None:
            if any(is_stream):
                raise ParameterError(
                    f"'{places[is_stream.index(True)]}' gives raw rows, which do not say what they are: give --width,"
                    " and --bits unless that is 8."
                )
            if self != Stream():
                raise ParameterError(
                    "--height, --bits, --channels, --line-numbers and --quiet-seconds describe raw rows: give --width"
                    " as well."
                )
            return None
        if len(places) != 1:
            raise ParameterError(f"With --width or --overlap one place is inspected, not {len(places)}: give one.")
        (place,) = places
        if self.overlap is None:
            return lambda _: self._raw_rows(place)
        overlap = self.overlap
        return lambda inspector: _frames(place, overlap, inspector)

    def _raw_rows(self, place: Path) -> Bands:
        from pellucid.acquisition.row_streams import RawRows, open_stream

        address = ADDRESS.match(place.as_posix())
        text = f"tcp://{address[1]}" if address else str(place)
        return RawRows(
            open_stream(text, self.quiet_seconds),
            place,
            self.width or 0,
            bits=self.bits,
            channels=self.channels,
            line_numbers=self.line_numbers,
            height=self.height,
        )


def _frames(place: Path, overlap: int, inspector: Inspector) -> Bands:
    from pellucid.acquisition.frames import FrameBands

    return FrameBands(place, overlap, bits=inspector.fitted_images.bits)


def large_bands(path: Path, inspector: Inspector) -> Bands | None:
    """Return an image file in bands, if it is so large that a tiled model had better not hold it in memory."""
    from pellucid.acquisition.band_files import open_bands

    if not inspector.fitted_images.are_tiled:
        return None
    try:
        bands = open_bands(path, bits=inspector.fitted_images.bits)
    except PellucidError:  # reading it as any other file tells what is wrong with it
        return None
    return bands if bands.width * (bands.height or 0) > MAX_PIXELS_IN_MEMORY else None


def inspect_passing(inspector: Inspector, bands: Bands, as_json: bool) -> Inspection:
    """Inspect an image in bands and print its defects as they are found."""
    from pellucid.passing import inspect_bands

    return inspect_bands(inspector, bands, lambda finding: _tell(bands.path, finding, as_json))


def _tell(path: Path, finding: Finding, as_json: bool) -> None:
    from pellucid._io.names import printable
    from pellucid.records import Ignored

    is_ignored = isinstance(finding, Ignored)
    if as_json:
        found = finding.to_dict() if isinstance(finding, Ignored) else asdict(finding)
        print(json.dumps({"passing": printable(str(path)), "ignored" if is_ignored else "defect": found}), flush=True)
    elif isinstance(finding, Ignored):
        print_line(out, f"{path}: ", ("ignored", "yellow"), f" ({finding.reason}): {finding.defect}")
    else:
        print_line(out, f"{path}: ", ("defect", "red"), f": {finding}")
