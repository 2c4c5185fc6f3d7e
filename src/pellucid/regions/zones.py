"""What counts: regions of the image, a margin along its border and a smallest size; other defects reject nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from pellucid.acquisition.images import Size, read_image
from pellucid.acquisition.shapes import Region, checked_runs, fill_runs, unite
from pellucid.errors import DataError, ParameterError
from pellucid.records import Defect, Ignored, IgnoreReason

ALL_ROWS = slice(None)
MAX_DRAWN_PIXELS = 2**30  # of a drawing; more than any image that is read


class Zones(BaseModel):
    """Where and from what size on a defect counts. Everything does by default.

    Attributes:
        drawn_size: height and width, px, of the image that the regions were drawn on; None without regions.
        runs: run lengths of that drawing, row by row, of pixels that do not count and that do, in turn.
        margin: pixels nearer to the image's border than so many do not count; of the inspected image's own.
        min_area: defects of fewer pixels do not count; of the inspected image's own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    drawn_size: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] | None = None
    runs: tuple[int, ...] = ()
    margin: Annotated[int, Field(ge=0)] = 0
    min_area: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _check(self) -> Self:
        height, width = self.drawn_size or (0, 0)
        if height * width > MAX_DRAWN_PIXELS:
            raise ValueError(f"regions drawn on {width}x{height} px are larger than any image")
        checked_runs(self.runs, (height, width))
        return self

    @classmethod
    def read(
        cls,
        *,
        ignore: Iterable[Path] = (),
        only: Iterable[Path] = (),
        margin: int = 0,
        min_area: int = 0,
        image: Path | None = None,
    ) -> Self:
        """Read drawings of what counts.

        Args:
            ignore: mask images, or annotations of one image each: what they mark does not count.
            only: the same: what none of them marks does not count; without any, all does that is not ignored.
            margin: as the attribute.
            min_area: as the attribute.
            image: one to take the size from where a drawing does not say it, as YOLO's annotations.

        Raises:
            DataError: a file cannot be read, marks nothing, or is of another shape than the others; or nothing is left
                that counts.
        """
        scored, ignored = ([_read_drawing(path, image) for path in paths] for paths in (only, ignore))
        zones = cls(margin=margin, min_area=min_area)
        if scored or ignored:
            size = _size_of((*scored, *ignored)[0])
            counted = unite((_scale(region, size) for region in scored), size) if scored else np.ones(size, bool)
            zones = cls._drawn(
                counted & ~unite((_scale(region, size) for region in ignored), size), margin=margin, min_area=min_area
            )
        if zones.drawn_size is not None:
            zones.counted(zones.drawn_size)  # something is left
        return zones

    @classmethod
    def _drawn(cls, counted: Region, *, margin: int, min_area: int) -> Self:
        changes = np.flatnonzero(np.diff(counted.ravel())) + 1
        runs = np.diff([0, *changes, counted.size]).tolist()
        runs = [0, *runs] if counted.flat[0] else runs
        return cls(drawn_size=_size_of(counted), runs=tuple(runs), margin=margin, min_area=min_area)

    def __str__(self) -> str:
        parts = [] if self.share is None else [f"{self.share:.1%} of the image"]
        parts += [f"what is at least {self.margin} px from its border"] * bool(self.margin)
        parts += [f"defects of at least {self.min_area} px"] * bool(self.min_area)
        return ", ".join(parts) or "everything"

    @property
    def share(self) -> float | None:
        """How much of the image the drawings let count, in (0, 1]; None without any."""
        return None if self.drawn_size is None else sum(self.runs[1::2]) / sum(self.runs)

    @property
    def are_everything(self) -> bool:
        """Whether nothing is ignored."""
        return self == EVERYTHING

    def and_ignore(self, others: Zones) -> Zones:
        """Return zones that ignore what either of the two does.

        Raises:
            DataError: their regions were drawn on images of different shapes, or nothing is left that counts.
        """
        zones = Zones(margin=max(self.margin, others.margin), min_area=max(self.min_area, others.min_area))
        drawn = [one for one in (self, others) if one.drawn_size is not None]
        if drawn:
            size = drawn[0].drawn_size or (0, 0)
            counted = np.all([one._region(size) for one in drawn], axis=0)
            zones = Zones._drawn(counted, margin=zones.margin, min_area=zones.min_area)
            zones.counted(size)
        return zones

    def counted(self, size: Size) -> Region:
        """Return which pixels of an image count, (H, W).

        Args:
            size: its height and width, px.

        Raises:
            DataError: the regions were drawn on an image of another shape, or there is no place in it for a defect that
                counts.
        """
        return _counted(self, size)

    def rows_of(self, width: int, height: int | None, top: int, bottom: int) -> tuple[Region, Region]:
        """Return which pixels of some rows count, and which do whatever the margin, (bottom - top, W) each.

        Args:
            width: of the image, px.
            height: of the image, px; None: these rows are farther from its end than the margin.
            top: first row.
            bottom: the row behind the last.

        Raises:
            DataError: the regions were drawn on an image of another shape, or there is no place in it for a defect that
                counts.
            ParameterError: there are regions, and the height is not known.
        """
        region = np.ones((bottom - top, width), bool)
        if self.drawn_size is not None:
            if height is None:
                raise ParameterError(
                    "The regions that count were drawn on an image of a known height, but nobody knows the height of a"
                    " stream before it ends: give its height, or use a model and options without drawn regions."
                )
            region = _scale(_decoded(self.drawn_size, self.runs, self.drawn_size), (height, width), slice(top, bottom))
        counted = region.copy()
        if margin := self.margin:
            counted[:, :margin] = counted[:, max(0, width - margin) :] = False
            counted[: max(0, margin - top)] = False
            if height is not None:
                counted[max(0, height - margin - top) :] = False
        if width <= 2 * margin or (height is not None and height <= 2 * margin):
            raise _no_place(width, height)
        return counted, region

    def sort(
        self, size: Size, find: Callable[[Region], tuple[Defect, ...]]
    ) -> tuple[tuple[Defect, ...], tuple[Ignored, ...]]:
        """Find the defects of an image, those that count and those that do not; one on a zone's border is two.

        Args:
            size: of the image, height and width, px.
            find: finds the defects whose regions of the map lie in a part (H, W) of the image.

        Returns:
            Both with the highest peak first.

        Raises:
            DataError: as :meth:`counted`.
        """
        counted, region = self.counted(size), self._region(size)
        defects: list[Defect] = []
        ignored: list[Ignored] = []
        for defect in find(counted):
            if defect.area_px < self.min_area:
                ignored.append(Ignored(defect, "area"))
            else:
                defects.append(defect)
        reasons: tuple[tuple[IgnoreReason, Region], ...] = (("region", ~region), ("margin", region & ~counted))
        for reason, place in reasons:
            ignored += [Ignored(defect, reason) for defect in find(place)] if place.any() else []
        return tuple(defects), tuple(sorted(ignored, key=lambda one: -one.defect.peak))

    def highest(self, anomaly_map: NDArray[np.float32]) -> float:
        """Return the highest value of a map that a defect which counts reaches.

        There is such a defect at a threshold exactly when this value is higher than that.

        Args:
            anomaly_map: (H, W) of the image's own size.

        Raises:
            DataError: as :meth:`counted`.
        """
        if self.are_everything:
            return float(anomaly_map.max())
        counted = self.counted(_size_of(anomaly_map))
        if self.min_area <= 1:
            return float(anomaly_map[counted].max())
        inside, values = _within(anomaly_map, counted), np.unique(anomaly_map[counted])
        low, high = 0, len(values)  # at the lowest value all that counts is one region, and one is large enough
        while high - low > 1:
            middle = (low + high) // 2
            if _largest_area(inside >= values[middle]) >= self.min_area:
                low = middle
            else:
                high = middle
        return float(values[low])

    def _region(self, size: Size) -> Region:
        """Which pixels the drawings let count, whatever the margin."""
        return np.ones(size, bool) if self.drawn_size is None else _decoded(self.drawn_size, self.runs, size)


EVERYTHING = Zones()  # nothing is ignored


@lru_cache(16)
def _decoded(drawn_size: Size, runs: tuple[int, ...], size: Size) -> Region:
    return _scale(fill_runs(runs, drawn_size, drawn_size, by_columns=False), size)


@lru_cache(16)
def _counted(zones: Zones, size: Size) -> Region:
    counted, margin = zones._region(size).copy(), zones.margin
    if margin:
        inner = counted[margin:-margin, margin:-margin].copy()
        counted[:] = False
        counted[margin:-margin, margin:-margin] = inner
    if _largest_area(counted) < max(zones.min_area, 1):
        raise _no_place(size[1], size[0])
    counted.flags.writeable = False
    return counted


def _no_place(width: int, height: int | None) -> DataError:
    image = f"of {width}x{height} px" if height is not None else f"that is {width} px wide"
    return DataError(
        f"In an image {image} there is no place for a defect that counts: ignore less, or make the margin or the"
        " smallest area smaller."
    )


def _within(anomaly_map: NDArray[np.float32], region: Region) -> NDArray[np.float32]:
    """A map that is lower than any threshold outside of a region."""
    return np.where(region, anomaly_map, np.float32(-np.inf))


def _largest_area(region: Region) -> int:
    stats = cv2.connectedComponentsWithStats(region.astype(np.uint8), connectivity=8)[2]
    return int(stats[1:, cv2.CC_STAT_AREA].max(initial=0))


def _read_drawing(path: Path, image: Path | None) -> Region:
    """What a mask image, or the annotations of one image, mark."""
    from pellucid.acquisition.annotations import read_annotations  # they need SciPy, which the slim runtime lacks
    from pellucid.acquisition.masks import is_annotation, read_mask

    if is_annotation(path):
        annotations = read_annotations(path)
        if len(annotations) != 1:
            raise DataError(f"'{path}' annotates {len(annotations)} images: draw what counts, or does not, on one.")
        (annotation,) = annotations
        size = annotation.size or (None if image is None else _size_of(read_image(image)))
        if annotation.problem or size is None:
            problem = annotation.problem or "it does not say how large its image is"
            raise DataError(f"'{path}' cannot be used to say what counts: {problem}.")
        region = annotation.region(size)
    else:
        region = read_mask(path)
    if not region.any():
        raise DataError(f"'{path}' marks nothing: it should mark, as a mask or by polygons, what counts or does not.")
    return region


def _scale(region: Region, size: Size, part: slice = ALL_ROWS) -> Region:
    """Bring a drawing, or some rows of it, to another size of the same shape, to a rounded pixel."""
    (height, width), (drawn_height, drawn_width) = size, region.shape
    if size == region.shape:
        return region[part]
    off = abs(width * drawn_height - height * drawn_width)
    if 2 * off > max(height + width, drawn_height + drawn_width):
        raise DataError(
            f"What counts was drawn on {drawn_width}x{drawn_height} px, which is of another shape than {width}x{height}"
            " px: draw it on such an image."
        )
    rows, columns = (
        ((np.arange(n) + 0.5) * drawn / n).astype(int) for n, drawn in zip(size, region.shape, strict=True)
    )
    return np.asarray(region[rows[part]][:, columns])  # a pixel is what lies under its centre


def _size_of(pixels: NDArray[Any]) -> Size:
    return pixels.shape[0], pixels.shape[1]
