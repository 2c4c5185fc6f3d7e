"""Strips: rows of tiles of an image, what of them a detector computes, and their map; images as several of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pellucid.acquisition.contrast import Grey, to_grey
from pellucid.acquisition.gate import Gating
from pellucid.acquisition.images import Pixels, Planes, to_floats, without_repeated_channels
from pellucid.acquisition.layouts import mirrored
from pellucid.acquisition.looks import Look
from pellucid.acquisition.tiles import Map, Tiling, enlarge_by, reduce_by
from pellucid.regions.rows import Rows, Window, span
from pellucid.runtimes import Floats, Runtime

JOINED_ROWS = 256  # of a map that are joined at a time: whoever takes them need not keep those of all of the tiles


class Strip:
    """A row of tiles of an image.

    Attributes:
        top: first row of its map, px of the reduced image.
        bottom: the row behind the last.
        looks: what a detector has to compute of it.
    """

    def __init__(self, seen: Rows, top: int, width: int, tiling: Tiling, gating: Gating | None) -> None:
        """Take a row of tiles of an image that ends where its rows do, as far as its tiles can see.

        Args:
            seen: rows of the reduced image, (h, W, 1 or 3); what is let go of there is kept here.
            top: first row of the map.
            width: of the reduced image, px.
            tiling: of the model.
            gating: passes over tiles of good glass; None: all are computed.
        """
        self.top, self.bottom = top, min(top + tiling.interior, seen.end)
        self._seen, self._width, self._tiling = seen.kept(), width, tiling
        self._level = 0.0 if gating is None else gating.level
        columns = range(0, width, tiling.interior)
        self.looks: Sequence[Look] = [Look(top, column, tiling.interior, tiling.interior) for column in columns]
        if gating is not None:
            rows = mirrored(top - tiling.margin, self.bottom - top + 2 * tiling.margin, seen.end)
            looks = gating.gate.looks(self._grey(rows), tiling.margin, self.bottom - top)
            self.looks = [look._replace(row=top + look.row) for look in looks]

    def _grey(self, rows: slice | NDArray[np.intp]) -> Grey:
        """Some rows as the gate sees them, band by band, so that few of them are floats twice."""
        first, last = span(rows)
        grey = np.concatenate([to_grey(part) for _, part in self._seen.parts(Window(first, last, 0, self._width))])
        return grey if isinstance(rows, slice) else grey[rows - first]

    def planes(self, look: Look) -> Planes:
        """Return what a detector sees to compute a part, (3, height, width) with the margin.

        Beyond the image's borders it is mirrored. It has always the same order of memory: the bytes of what is computed
        may depend on it.
        """
        margin = self._tiling.margin
        height, width = (side + 2 * margin for side in look.size)
        rows = mirrored(look.row - margin, height, self._seen.end)
        columns = mirrored(look.column - margin, width, self._width)
        planes = np.empty((3, height, width), np.float32)
        if isinstance(rows, slice) and isinstance(columns, slice):
            for at, part in self._seen.parts(Window(rows.start, rows.stop, columns.start, columns.stop)):
                planes[:, at - rows.start : at - rows.start + len(part)] = to_floats(part.transpose(2, 0, 1))
        else:
            planes[:] = to_floats(self._seen.pick(rows, columns).transpose(2, 0, 1))
        return planes

    def join(self, found: Iterable[Map]) -> Iterator[Map]:
        """Join the maps of all looks, in order, to that of the strip; yields some of its rows at a time, (h, W)."""
        maps = list(zip(self.looks, found, strict=True))
        for top in range(self.top, self.bottom, JOINED_ROWS):
            joined = np.full((min(JOINED_ROWS, self.bottom - top), self._width), self._level, np.float32)
            for look, found_map in maps:
                first, last = max(look.row, top), min(look.row + look.height, top + len(joined))
                if first < last:
                    place = joined[first - top : last - top, look.column : look.column + look.width]
                    place[:] = found_map[first - look.row : last - look.row, : place.shape[1]]
            yield joined


class Place(NamedTuple):
    """What a detector computes at a time, and the strip that it lies in."""

    strip: Strip
    look: Look


def compute(runtime: Runtime, places: Sequence[Place]) -> Floats:
    """Compute the maps, (B, height, width), of some parts of one size in one call.

    Args:
        runtime: of tiles of any size.
        places: of the parts, at least one.
    """
    planes = [strip.planes(look) for strip, look in places]
    _, height, width = planes[0].shape
    sized = runtime.for_tiles((height, width))
    return sized.score(planes[0][None] if len(planes) == 1 else np.stack(planes))[0]


def batches(strips: Sequence[Strip], size: int) -> Iterator[Sequence[Place]]:
    """Cut what has to be computed of some strips into calls, at most so many parts of one size in each."""
    every = (Place(strip, look) for strip in strips for look in strip.looks)
    for _, places in groupby(every, lambda place: place.look.size):
        while batch := list(islice(places, size)):
            yield batch


class TiledImage:
    """An image in memory that a detector sees in tiles."""

    def __init__(self, pixels: Pixels, tiling: Tiling, gating: Gating | None = None) -> None:
        """Cut it, and let the gate look at it.

        Args:
            pixels: (H, W, 3) in [0, 1].
            tiling: of the model.
            gating: passes over tiles of good glass; None: all are computed.
        """
        self._size, self._reduce = (pixels.shape[0], pixels.shape[1]), tiling.reduce
        content = reduce_by(without_repeated_channels(pixels), tiling.reduce)
        tops = range(0, len(content), tiling.interior)
        self._strips = [Strip(Rows.of(content), top, content.shape[1], tiling, gating) for top in tops]

    def score(self, runtime: Runtime) -> tuple[float, Map]:
        """Compute its score, the highest value of its map, and the map, of the image's own size."""
        found = (one for places in batches(self._strips, runtime.batch_size) for one in compute(runtime, places))
        maps = [rows for strip in self._strips for rows in strip.join(islice(found, len(strip.looks)))]
        joined = enlarge_by(maps[0] if len(maps) == 1 else np.concatenate(maps), self._reduce, self._size)
        return float(joined.max()), joined
