"""Tiles of a detector: of what it computes on one, only the inside counts."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from pellucid.acquisition.looks import MARGIN_STEP_PX
from pellucid.detectors._maps import image_score

SMOOTHED_PX = 32  # beyond the interior of a tile, that enlarging and smoothing a map look at


class Reach(NamedTuple):
    """How much farther a detector's map looks than its backbone; ``tests/test_reach.py`` measures it.

    Attributes:
        context_px: beyond where features no longer change; what lies farther moves a map by less than a thousandth of
            its peak on good parts.
        cell_px: side of its coarsest cells, at least 32, that margins of tiles are multiples of.
    """

    context_px: int = SMOOTHED_PX
    cell_px: int = MARGIN_STEP_PX


class Tile(NamedTuple):
    """What a detector sees at a time, and how much of it its map is about.

    Attributes:
        height: px.
        width: px.
        margin: px on every side that the map is not about; None: it is a whole image, and the map is about all of it.
    """

    height: int
    width: int
    margin: int | None

    def inner(self, maps: Tensor, beyond_px: int = SMOOTHED_PX) -> Tensor:
        """Crop maps (..., h, w) of any stride to the interior and what lies ``beyond_px`` around it.

        Nothing that is computed near a tile's own border, where zeros were padded, is learned from or scored.
        """
        cut = self._cut(beyond_px)
        rows, columns = cut * maps.shape[-2] // self.height, cut * maps.shape[-1] // self.width
        return maps[..., rows : maps.shape[-2] - rows, columns : maps.shape[-1] - columns] if cut else maps

    def inner_size(self, beyond_px: int = SMOOTHED_PX) -> tuple[int, int]:
        """Return height and width, px, of what :meth:`inner` leaves."""
        cut = self._cut(beyond_px)
        return self.height - 2 * cut, self.width - 2 * cut

    def _cut(self, beyond_px: int) -> int:
        return 0 if self.margin is None else max(0, self.margin - beyond_px)

    def finish(self, maps: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Crop maps (B, H, W) to the interior, whose highest value is the score (B,); leave those of whole images."""
        if self.margin is None:
            return maps, scores
        height, width = self.inner_size(0)
        top, left = (maps.shape[1] - height) // 2, (maps.shape[2] - width) // 2
        inner = maps[:, top : top + height, left : left + width]
        return inner, image_score(inner)
