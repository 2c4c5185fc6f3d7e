"""Regions of a map to areas: those whose surroundings touch, with the window of the image that they are compared with.

Every area is told by the rows and columns around it alone, however the image is cut into bands.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from pellucid.acquisition.images import to_floats, without_repeated_channels
from pellucid.regions.background import Deviation, Mask, deviate
from pellucid.regions.clusters import Cluster, Clusters
from pellucid.regions.rows import Rows, Window, longest_rows, widest_pad
from pellucid.regions.skeleton import thickness_px

MAX_WINDOW_PIXELS = (
    4_000_000  # of a region with its surroundings: a larger one keeps its outline, and memory is bounded
)


class Compared(NamedTuple):
    """A window of an image beside its background.

    Attributes:
        deviation: what is expected there, and how far every pixel is from it.
        region: (h, w), true where the map is above its limit.
        near: (h, w), true there and in the margin around.
    """

    deviation: Deviation
    region: Mask
    near: Mask


class Area(NamedTuple):
    """Some regions with what is around them.

    Attributes:
        bounds: of the regions with their margin; they may reach beyond the image's last row.
        region: true where the map is above its limit, in these bounds.
        near: true there and in the margin around.
        thickness: of the widest region, px.
        window: that is compared with the image, in the image once the area is complete.
    """

    bounds: Window
    region: Mask
    near: Mask
    thickness: float
    window: Window

    @property
    def is_large(self) -> bool:
        """Whether it has more pixels than are compared with an image."""
        return self.window.size > MAX_WINDOW_PIXELS

    def compare(self, pixels: Rows, above: Rows) -> Compared:
        """Compare it with the rows of an image, (h, W, channels), and of where the map is above, (h, W)."""
        top, left = self.bounds.top - self.window.top, self.bounds.left - self.window.left
        region, near = (np.zeros(self.window.shape, np.bool_) for _ in range(2))
        for mask, part in ((region, self.region), (near, self.near)):
            place = mask[top : top + part.shape[0], left : left + part.shape[1]]
            place[:] = part[: place.shape[0]]
        image = to_floats(without_repeated_channels(pixels.cut(self.window)))
        return Compared(deviate(image, above.cut(self.window), self.thickness), region, near)


class Areas:
    """The areas of a map whose rows come one after the other.

    Attributes:
        long: how many were complete that span too many rows to be compared with the image, so that few are kept.
    """

    def __init__(self, above: Rows, width: int, margin_px: int) -> None:
        """Begin at the first row.

        Args:
            above: (h, W), true where the map is above its limit.
            width: of the image, px.
            margin_px: how far what is looked for may reach beyond the region that shows it.
        """
        self.long = 0
        self._above, self._width, self._margin_px = above, width, margin_px
        self._longest, self._widest_pad = longest_rows(width), widest_pad(width)
        side = 2 * margin_px + 1
        self._square = np.ones((side, side), np.uint8)
        self._clusters = Clusters(above, width, self._square)
        self._waiting: list[Area] = []

    @property
    def needed_from(self) -> int:
        """The first row of the image, and of its map, that an area may still ask for."""
        tops = [area.window.top for area in self._waiting]
        tops += [top - self._widest_pad for top in self._open_tops()]
        return max(0, min([self._clusters.done - self._widest_pad, self._clusters.needed_from, *tops]))

    @property
    def final(self) -> int:
        """Rows, from the first, that no area reaches which is not complete yet."""
        return min([self._clusters.done, *self._open_tops(), *(area.bounds.top for area in self._waiting)])

    def advance(self, is_last: bool) -> tuple[list[Area], list[tuple[int, int, Mask]]]:
        """Go on as far as the rows that were added allow.

        Args:
            is_last: whether the image ends with them.

        Returns:
            The areas that are complete now, and of those that are too long for that, open ones as well, what is new:
            mask by mask, (h, w), with its row and column.
        """
        known = self._above.end
        complete = self._clusters.advance(known, is_last)
        too_long = [one for one in (*self._clusters.open, *complete) if self._is_long(one)]
        self.long += sum(self._is_long(cluster) for cluster in complete)
        self._waiting += [self._around(cluster) for cluster in complete if not self._is_long(cluster)]
        ready = [area for area in self._waiting if is_last or area.window.bottom <= known]
        self._waiting = [area for area in self._waiting if not (is_last or area.window.bottom <= known)]
        ended = [area._replace(window=area.window.ending_at(known)) for area in ready]
        return ended, [piece for cluster in too_long for piece in cluster.take()]

    def _is_long(self, cluster: Cluster) -> bool:
        return cluster.rows > self._longest

    def _open_tops(self) -> list[int]:
        """Where those begin that may still grow and are compared with the image."""
        return [cluster.near_top for cluster in self._clusters.open if not self._is_long(cluster)]

    def _around(self, cluster: Cluster) -> Area:
        bounds = cluster.window.grown(self._margin_px, self._width)
        own, region = cluster.window, np.zeros(bounds.shape, np.bool_)
        top, left = own.top - bounds.top, own.left - bounds.left
        region[top : top + own.shape[0], left : left + own.shape[1]] = cluster.mask()
        near = cv2.dilate(region.view(np.uint8), self._square).view(np.bool_)
        thickness = thickness_px(region)
        window = bounds.grown(min(round(thickness), self._widest_pad), self._width)
        return Area(bounds, region, near, thickness, window)
