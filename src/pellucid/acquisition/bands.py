"""Images that never are whole in memory: bands of rows, one after the other, of the pixels that reading gives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pellucid.acquisition.images import Pixels, Values, as_colours, take_colours, to_floats, to_unit_range
from pellucid.errors import ParameterError

BAND_ROWS = 256  # of a band, unless a caller wants another height


class Band(NamedTuple):
    """Some rows of an image.

    Attributes:
        top: the image's row that the band begins at.
        values: (h, W, 3), RGB, or (h, W, 1) of a grey image, not to be written to: 8 bit, or float32 in [0, 1],
            in all bands of an image.
    """

    top: int
    values: Values

    @property
    def pixels(self) -> Pixels:
        """The values as (h, W, 3), float32 RGB in [0, 1], not to be written to; a grey image is one plane in memory."""
        return as_colours(to_floats(self.values))


@dataclass
class Remarks:
    """What was unusual about an image, as far as it was read.

    Attributes:
        warnings: what a person should know about it, a sentence each.
        peak: highest value of 16-bit pixels; None for others.
        filled: first row and number of rows that did not arrive, in order; each is as the row before it.
    """

    warnings: list[str] = field(default_factory=list)
    peak: int | None = None
    filled: list[tuple[int, int]] = field(default_factory=list)

    def add(self, *sentences: str) -> None:
        """Add sentences that do not stand there yet."""
        self.warnings += [sentence for sentence in sentences if sentence not in self.warnings]


class Bands(Protocol):
    """An image as bands of its rows, from the first to the last.

    Attributes:
        path: what messages call it.
        width: px.
        height: px; None: nobody knows before its last row.
        rows: height of every band but the last, which may be lower.
        remarks: what was unusual about it, as far as it was read.
    """

    @property
    def path(self) -> Path: ...

    @property
    def width(self) -> int: ...

    @property
    def height(self) -> int | None: ...

    @property
    def rows(self) -> int: ...

    @property
    def remarks(self) -> Remarks: ...

    def __iter__(self) -> Iterator[Band]: ...


def check_rows(rows: int) -> None:
    """Refuse what is no height of a band.

    Raises:
        ParameterError: it is less than one row.
    """
    if rows < 1:
        raise ParameterError(f"rows={rows} is not allowed: a band has at least 1 row.")


def regroup(parts: Iterable[NDArray[Any]], rows: int) -> Iterator[tuple[int, NDArray[Any]]]:
    """Cut consecutive parts of an image into bands of equal height.

    Args:
        parts: (h, ...) each, of any heights.
        rows: of a band, at least 1.

    Yields:
        The row that a band begins at and the band, (rows, ...); the last may be lower. It is a view where it lies in
        one part.
    """
    waiting: list[NDArray[Any]] = []
    top, count = 0, 0
    for part in parts:
        waiting.append(part)
        count += len(part)
        while count >= rows:
            yield top, _take(waiting, rows)
            top, count = top + rows, count - rows
    if count:
        yield top, _take(waiting, count)


def _take(waiting: list[NDArray[Any]], rows: int) -> NDArray[Any]:
    """Take the first rows off some parts that have as many."""
    taken: list[NDArray[Any]] = []
    while rows:
        first = waiting[0]
        taken.append(first[:rows])
        if len(first) > rows:
            waiting[0] = first[rows:]
        else:
            waiting.pop(0)
        rows -= len(taken[-1])
    return taken[0] if len(taken) == 1 else np.concatenate(taken)


def to_bands(parts: Iterable[NDArray[Any]], rows: int, path: Path, bits: int, remarks: Remarks) -> Iterator[Band]:
    """Make bands of pixels of the values that a file or a camera gives, by the rules for whole images.

    Args:
        parts: consecutive rows, (h, W) or (h, W, C) each, of uint8, uint16 or floats in [0, 1].
        rows: of a band.
        path: what messages call it.
        bits: significant bits of 16-bit values, 8 to 16.
        remarks: where to note what is unusual.

    Raises:
        DataError: as :func:`~pellucid.acquisition.images.to_unit_range` does.
    """
    for top, values in regroup(parts, rows):
        colours, warnings = take_colours(values)
        remarks.add(*warnings)
        if colours.dtype.newbyteorder("=") == np.uint16:
            remarks.peak = max(remarks.peak or 0, int(colours.max(initial=0)))
        known = colours if colours.dtype == np.uint8 else to_unit_range(colours, path, bits)
        yield Band(top, known[..., None] if known.ndim == 2 else known)
