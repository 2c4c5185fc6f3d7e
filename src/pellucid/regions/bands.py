"""A map that comes in bands to defects: united across bands, and measured as soon as they can no longer grow.

What is found depends on no band: a map in one piece and the same in bands of any height give the same defects, to the
last bit. That holds because all that is told of a defect is told by rows around it that its own size alone determines.
Memory is set by these rows, not by the image's height: what spans more of them is measured without the image around it.
"""

from __future__ import annotations

import bisect

import cv2
import numpy as np

from pellucid.acquisition.images import Values, without_repeated_channels
from pellucid.records import Defect
from pellucid.regions.background import Floats, Mask
from pellucid.regions.clusters import Cluster, Clusters
from pellucid.regions.measured import (
    MAX_SHAPE_PIXELS,
    SURROUNDINGS_PAD_PX,
    Found,
    Surroundings,
    list_region,
    measure_region,
    shape_pixels,
)
from pellucid.regions.outline import Outliner, Usual
from pellucid.regions.rows import MAX_KEPT_PIXELS, Rows, longest_rows
from pellucid.regions.scale import Scale

MAX_MEASURED_DEFECTS = 100  # of one image; the others are listed with box, area, peak and centroid alone
MAX_MEASURED_ON_SHEETS = 2000  # of an image of more pixels than are kept for one defect
BRIDGE_PX = 2  # parts of an outline whose gap is at most twice this are one flaw
SHAPES_IN_LONGEST = 64  # a defect of more rows than so many times those that are kept is listed

Rank = tuple[float, tuple[int, int]]  # minus the peak, first pixel: the lowest is the strongest, and none are equal


class DefectFinder:
    """Finds the defects of one image, band after band."""

    def __init__(
        self,
        width: int,
        limit: float,
        *,
        outline_by_image: bool = False,
        with_pixels: bool = True,
        margin_px: int = 8,
        mm_per_px: Scale | None = None,
        usual: Usual | None = None,
        least_peak: float = -np.inf,
        height: int | None = None,
    ) -> None:
        """Begin at the first row.

        Args:
            width: of the image, px.
            limit: in the unit of the map; defects lie in the regions above it.
            outline_by_image: whether the image outlines the defects in and around regions of the map, or these do.
            with_pixels: whether the image's pixels come with the map; without, there is no contrast, and the map
                outlines.
            margin_px: how far a defect in the image may reach beyond its region of the map.
            mm_per_px: scale of the image; None: it is not known.
            usual: what good parts show, where the image outlines; None: that is not known.
            least_peak: of the map on a region that counts by itself, as :func:`outline` has it.
            height: of the image, px; None: nobody knows before its last row.
        """
        self._width, self._height, self._limit, self._mm_per_px = width, height, limit, mm_per_px
        self._with_pixels = with_pixels
        self._longest = longest_rows(width)
        self._map, self._above, self._pixels = Rows(), Rows(), Rows()
        by_image = outline_by_image and with_pixels
        self._bridge_px = BRIDGE_PX if by_image else 0
        self._outliner = None
        if by_image:
            self._outliner = Outliner(self._pixels, self._above, width, margin_px, usual, self._map, least_peak)
        self._inside = self._above if self._outliner is None else self._outliner.found
        side = 2 * self._bridge_px + 1
        disc = np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)
        self._groups = Clusters(self._inside, width, disc, self._map)
        self._waiting: list[Cluster] = []
        self._found: dict[Rank, Found] = {}
        self._strongest: list[Rank] = []
        self._large: set[Rank] = set()

    def add(self, anomaly_map: Floats, pixels: Values | None = None, place: Mask | None = None) -> tuple[Defect, ...]:
        """Take the next rows; arrays that are given must not change any more.

        Args:
            anomaly_map: (h, W).
            pixels: (h, W, channels); None where they do not come with the map.
            place: where regions of the map are taken from, (h, W); everywhere by default.

        Returns:
            Defects that are complete now, the strongest first. While nobody knows where the image ends, they have no
            ``border_px``.
        """
        self._map.add(anomaly_map)
        above = anomaly_map > self._limit if place is None else (anomaly_map > self._limit) & place
        self._above.add(above)
        if pixels is not None and self._with_pixels:
            self._pixels.add(np.ascontiguousarray(without_repeated_channels(pixels)))
        new = self._advance(is_last=False)
        return tuple(found.complete(self._width, self._height, self._mm_per_px) for found in new)

    def end(self) -> tuple[Defect, ...]:
        """Take note that the image has ended; returns the defects that this completes, the strongest first."""
        self._height = self._map.end
        return tuple(one.complete(self._width, self._height, self._mm_per_px) for one in self._advance(is_last=True))

    def finish(self) -> tuple[Defect, ...]:
        """Return all defects of the image, the strongest first; only :func:`most_measured` of them are measured."""
        self.end()
        for rank in self._strongest[most_measured(self._width, self._height) :]:
            self._found[rank] = Found(self._found[rank].listed)
        ranked = sorted(self._found.items())
        return tuple(found.complete(self._width, self._height, self._mm_per_px) for _, found in ranked)

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence for everything that was left undone; complete once the image is."""
        notes = []
        long_areas = 0 if self._outliner is None else self._outliner.long_areas
        if long_areas:
            notes.append(
                f"{long_areas} of its regions span more than {self._longest} rows: the map alone outlines them."
            )
        heights = (found.listed.box[3] for found in self._found.values() if found.measured is not None)
        if self._with_pixels and (long := sum(height > self._longest for height in heights)):
            notes.append(f"{long} of its defects span more than {self._longest} rows: they have no contrast.")
        if self._large:
            notes.append(
                f"{len(self._large)} of its defects are too large to be measured: box, area and peak are listed."
            )
        most = most_measured(self._width, self._height)
        if (count := len(self._found)) > most:
            notes.append(f"Of its {count} defects, the {most} with the highest peaks are measured.")
        return tuple(notes)

    def _advance(self, is_last: bool) -> list[Found]:
        """Go on as far as the rows that came allow; returns what is complete now."""
        if self._outliner is not None:
            self._outliner.advance(is_last)
        final = self._above.end if self._outliner is None else self._outliner.final
        self._waiting += self._groups.advance(final, is_last)
        for cluster in self._groups.open:
            if cluster.rows > SHAPES_IN_LONGEST * self._longest:
                cluster.take()
        ready = [one for one in self._waiting if is_last or self._is_surrounded(one, final)]
        self._waiting = [one for one in self._waiting if not (is_last or self._is_surrounded(one, final))]
        new = [self._measure(cluster) for cluster in sorted(ready, key=_rank)]
        self._drop()
        return new

    def _is_surrounded(self, cluster: Cluster, final: int) -> bool:
        """Whether all is known that a defect is measured by."""
        return not self._is_compared(cluster) or cluster.window.bottom + SURROUNDINGS_PAD_PX <= final

    def _is_compared(self, cluster: Cluster) -> bool:
        """Whether a defect is compared with the image around it."""
        return self._with_pixels and cluster.rows <= self._longest

    def _measure(self, cluster: Cluster) -> Found:
        """Measure a defect if it is one of the strongest so far, or list it."""
        rank = _rank(cluster)
        place, most = bisect.bisect(self._strongest, rank), most_measured(self._width, self._height)
        self._strongest.insert(place, rank)
        for weakest in self._strongest[most:]:
            if weakest in self._found:
                self._found[weakest] = Found(self._found[weakest].listed)
        del self._strongest[most:]
        is_large = shape_pixels(cluster.window, self._mm_per_px) > MAX_SHAPE_PIXELS
        if is_large or cluster.rows > SHAPES_IN_LONGEST * self._longest:
            self._large.add(rank)
        if place >= most or rank in self._large:
            self._found[rank] = Found(list_region(cluster))
        else:
            compared = self._is_compared(cluster)
            around = Surroundings(self._pixels, self._inside, self._width, self._map.end) if compared else None
            self._found[rank] = measure_region(cluster, around, self._bridge_px, self._mm_per_px)
        return self._found[rank]

    def _drop(self) -> None:
        """Let go of the rows that nobody asks for any more."""
        compared = [cluster for cluster in (*self._groups.open, *self._waiting) if self._is_compared(cluster)]
        tops = [cluster.window.top if cluster.bounds else cluster.near_top for cluster in compared]
        needed = min([self._groups.needed_from, *tops]) - SURROUNDINGS_PAD_PX
        if self._outliner is not None:
            needed = min(needed, self._outliner.needed_from)
        for rows in {id(rows): rows for rows in (self._map, self._above, self._pixels, self._inside)}.values():
            rows.drop(needed)


def most_measured(width: int, height: int | None) -> int:
    """Return how many defects of an image are measured: the strongest.

    Args:
        width: px.
        height: px; None: not known yet, and taken to be high.
    """
    is_sheet = height is None or width * height > MAX_KEPT_PIXELS
    return MAX_MEASURED_ON_SHEETS if is_sheet else MAX_MEASURED_DEFECTS


def _rank(cluster: Cluster) -> Rank:
    return -cluster.peak, cluster.first
