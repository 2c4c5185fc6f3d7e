"""Where the views of a network lie on an image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pellucid.acquisition.images import Pixels, Size


@dataclass(frozen=True)
class Layout:
    """Where the network's views lie on an image.

    Attributes:
        view: height and width of each, px.
        content: height and width that the image is resized to, px.
        corners: row and column, on the resized image, of the first pixel that the map of each view is about; negative
            where padding comes first.
        margin: px around those, on every side, that a view sees and its map is not about.
        reduce: exact factor that the image is reduced by, where it is tiled; 0: its size is that of ``content``.
    """

    view: Size
    content: Size
    corners: tuple[tuple[int, int], ...]
    margin: int = field(default=0, kw_only=True)
    reduce: int = field(default=0, kw_only=True)

    @property
    def is_whole(self) -> bool:
        """Whether the image fills one view."""
        return self.content == self.view

    @property
    def is_tiled(self) -> bool:
        """Whether maps of views are joined side by side, as those of a tiled model are."""
        return self.reduce > 0

    @property
    def mapped(self) -> Size:
        """Height and width, px, of what the map of a view is about."""
        return self.view[0] - 2 * self.margin, self.view[1] - 2 * self.margin

    @property
    def treatment(self) -> str:
        """What became of the image, and what that means, as the end of a sentence; empty where it fills one view."""
        if self.is_tiled:
            return ""
        if (tiles := len(self.corners)) > 1:
            return (
                f"it was scored in {tiles} overlapping tiles of which the highest counts, so that up to {tiles} times"
                " as many good images as promised may be rejected"
            )
        return "" if self.is_whole else "it was padded to the shape that the model takes"

    def parts(self) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice]]]:
        """Yield, for every view's map, its rows and columns that show the image, and theirs on the resized image."""
        for corner in self.corners:
            spans = []
            for first, seen, length in zip(corner, self.mapped, self.content, strict=True):
                begin, end = max(first, 0), min(first + seen, length)
                spans.append((slice(begin - first, end - first), slice(begin, end)))
            (rows, content_rows), (columns, content_columns) = spans
            yield (rows, columns), (content_rows, content_columns)

    def look(self, content: Pixels) -> Iterator[Pixels]:
        """Yield the views (height, width, 3) of a resized image, mirrored into what lies beyond its borders."""
        for row, column in self.corners:
            rows = mirrored(row - self.margin, self.view[0], content.shape[0])
            columns = mirrored(column - self.margin, self.view[1], content.shape[1])
            yield content[rows][:, columns]


def mirrored(first: int, count: int, length: int) -> slice | NDArray[np.intp]:
    """Return the indices of ``count`` pixels of a line of ``length``, beginning at ``first``.

    What lies beyond its ends is mirrored at the first and the last pixel, which are not repeated.
    """
    if first >= 0 and first + count <= length:
        return slice(first, first + count)
    if length == 1:
        return np.zeros(count, np.intp)
    period = 2 * (length - 1)
    folded = np.arange(first, first + count, dtype=np.intp) % period
    return np.minimum(folded, period - folded)
