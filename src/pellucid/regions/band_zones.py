"""Defects of an image that comes in bands, those that count and those that do not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from pellucid.acquisition.images import Values, without_repeated_channels
from pellucid.records import Defect, Ignored, IgnoreReason
from pellucid.regions.background import Floats, Mask
from pellucid.regions.bands import DefectFinder
from pellucid.regions.rows import Rows, Window
from pellucid.regions.zones import EVERYTHING, Zones

Finding = Defect | Ignored
FindersMaker = Callable[[], DefectFinder]


class SortedDefects(NamedTuple):
    """The defects of an image, as :meth:`Zones.sort` gives them, and a sentence for what was left undone."""

    defects: tuple[Defect, ...]
    ignored: tuple[Ignored, ...]
    notes: tuple[str, ...]


class ZonedFinder:
    """Finds the defects of one image, band after band, and tells which of them count.

    What lies in different zones is found by itself, so that a defect on the border of two is two. Rows wait until it
    is known that they are farther from the image's end than the margin.
    """

    def __init__(
        self, make_finder: FindersMaker, width: int, zones: Zones = EVERYTHING, height: int | None = None
    ) -> None:
        """Begin at the first row.

        Args:
            make_finder: makes a finder of the image, for each zone.
            width: of the image, px.
            zones: where and from what size on a defect counts.
            height: of the image, px; None: nobody knows before its last row.

        Raises:
            DataError: there is no place in the image for a defect that counts.
            ParameterError: regions were drawn, and the image's height is not known.
        """
        zones.rows_of(width, height, 0, 0)  # that they fit is found out before the first row
        self._width, self._height, self._zones = width, height, zones
        self._counting = make_finder()
        reasons: tuple[tuple[IgnoreReason, bool], ...] = (
            ("region", zones.drawn_size is not None),
            ("margin", zones.margin > 0),
        )
        self._ignoring = {reason: make_finder() for reason, is_needed in reasons if is_needed}
        self._map, self._pixels, self._taken = Rows(), Rows(), 0

    def add(self, anomaly_map: Floats, pixels: Values | None = None) -> list[Finding]:
        """Take the next rows; arrays that are given must not change any more.

        Args:
            anomaly_map: (h, W).
            pixels: (h, W, channels); None where they do not come with the map.

        Returns:
            Defects that are complete now; :class:`Ignored` are those that do not count.
        """
        self._map.add(anomaly_map)
        if pixels is not None:
            self._pixels.add(without_repeated_channels(pixels))
        waiting = 0 if self._height is not None else self._zones.margin
        return list(self._take(max(self._taken, self._map.end - waiting)))

    def end(self) -> list[Finding]:
        """Take note that the image has ended; returns what this completes.

        Raises:
            DataError: there is no place in the image for a defect that counts.
        """
        self._height = self._map.end
        found = list(self._take(self._height))
        for reason, finder in self._ignoring.items():
            found += [Ignored(defect, reason) for defect in finder.end()]
        return found + [self._told(defect) for defect in self._counting.end()]

    def finish(self) -> SortedDefects:
        """Return all defects, both kinds with the highest peak first.

        Raises:
            DataError: there is no place in the image for a defect that counts.
        """
        self.end()
        found = [self._told(defect) for defect in self._counting.finish()]
        ignored = [one for one in found if isinstance(one, Ignored)]
        for reason, finder in self._ignoring.items():
            ignored += [Ignored(defect, reason) for defect in finder.finish()]
        notes = (note for finder in (self._counting, *self._ignoring.values()) for note in finder.notes)
        return SortedDefects(
            tuple(one for one in found if isinstance(one, Defect)),
            tuple(sorted(ignored, key=lambda one: -one.defect.peak)),
            tuple(dict.fromkeys(notes)),
        )

    def _take(self, to: int) -> Iterator[Finding]:
        """Give the finders the rows up to one."""
        if to == self._taken:
            return
        window = Window(self._taken, to, 0, self._width)
        anomaly_map = self._map.cut(window)
        pixels = self._pixels.cut(window) if self._pixels.end else None
        counted: Mask | None = None  # everything
        if self._ignoring:
            counted, region = self._zones.rows_of(self._width, self._height, self._taken, to)
            places: dict[str, Mask] = {"region": ~region, "margin": region & ~counted}
        self._taken = to
        for rows in (self._map, self._pixels):
            rows.drop(to)
        for reason, finder in self._ignoring.items():
            yield from (Ignored(defect, reason) for defect in finder.add(anomaly_map, pixels, places[reason]))
        yield from map(self._told, self._counting.add(anomaly_map, pixels, counted))

    def _told(self, defect: Defect) -> Finding:
        return Ignored(defect, "area") if defect.area_px < self._zones.min_area else defect
