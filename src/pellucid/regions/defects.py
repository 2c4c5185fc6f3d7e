"""Map, limit and pixels to defects: outlined, measured, and of a kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from pellucid.errors import DataError
from pellucid.records import Defect
from pellucid.records.grades import Sheet
from pellucid.regions.background import Floats, Mask
from pellucid.regions.bands import DefectFinder
from pellucid.regions.outline import Usual, least_peak_of
from pellucid.regions.scale import Scale, scale_axes

OutlineSource = Literal["image", "map"]
MARGIN_PX = 8  # that a defect may reach beyond its region of the map, in pixels of the size that was seen
MIN_MARGIN_PX = 4  # in the image's own


class Measuring(BaseModel):
    """How a model outlines and measures defects.

    Attributes:
        outline: what outlines them: the 8-connected regions of the map, or the image in and around them.
        chosen_by: how that was chosen: on ``labelled defects`` with masks, on ``planted flaws``, or by the ``user``;
            empty in models of an earlier pellucid.
        chosen_on: number of images that it was chosen on.
        image_iou: mean over these of the intersection by the union of what the image outlines and the mask.
        map_iou: the same of what the map outlines.
        mm_per_px: scale of the images, along both axes or along x and along y; None: it is not known.
        usual: what good parts show, which is no defect beside one; None in models of an earlier pellucid.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    outline: OutlineSource = "map"
    chosen_by: Literal["", "labelled defects", "planted flaws", "user"] = ""
    chosen_on: int = 0
    image_iou: float | None = None
    map_iou: float | None = None
    mm_per_px: Scale | None = None
    usual: Usual | None = None

    def sheet(self, size: tuple[int, ...]) -> Sheet | None:
        """Return what an image of (height, width) px shows, in mm; None where the scale is not known."""
        if self.mm_per_px is None:
            return None
        across, down = scale_axes(self.mm_per_px)
        return Sheet(size[1] * across, size[0] * down, (across, down), self.outline)


class Defects(NamedTuple):
    """The defects of an image, the highest peak first, and a sentence for everything that was left undone."""

    defects: tuple[Defect, ...] = ()
    notes: tuple[str, ...] = ()


def find_measured(
    anomaly_map: Floats,
    limit: float,
    read: Callable[[], Floats],
    measuring: Measuring,
    margin_px: int,
    place: Mask | None = None,
    *,
    tiled: bool = False,
) -> Defects:
    """Find the defects of a rejected image as a model does, and say what was left undone.

    Args:
        anomaly_map: (H, W).
        limit: in the unit of the map; defects lie in the regions above it.
        read: gives the image's pixels, (H, W, channels) in [0, 1].
        measuring: of the model.
        margin_px: how far a defect in the image may reach beyond its region of the map.
        place: where regions of the map are taken from, (H, W); everywhere by default.
        tiled: whether what is found in one place must not depend on any other.
    """
    above = anomaly_map > limit if place is None else (anomaly_map > limit) & place
    if not above.any():
        return Defects()
    unread: tuple[str, ...] = ()
    pixels = None
    try:
        pixels = read()
    except DataError as error:
        unread = (f"Its defects are outlined by the map alone, without contrast: {error}",)
    source, usual = measuring.outline, measuring.usual
    least_peak = -np.inf if tiled else least_peak_of(anomaly_map[above])
    found = _find(anomaly_map, limit, pixels, place, source, margin_px, measuring.mm_per_px, usual, least_peak)
    return Defects(found.defects, unread + found.notes)


def margin_of(image_size: tuple[int, ...], seen_size: tuple[int, int]) -> int:
    """Return how far a defect may reach beyond its region of the map, px of an image of (height, width)."""
    return margin_at(max(own / network for own, network in zip(image_size, seen_size, strict=True)))


def margin_at(reduction: float) -> int:
    """Return the same for an image that is reduced by a factor, in each direction, before the network sees it."""
    return max(MIN_MARGIN_PX, round(MARGIN_PX * reduction))


def find_defects(
    anomaly_map: Floats,
    limit: float,
    pixels: Floats | None = None,
    *,
    place: Mask | None = None,
    source: OutlineSource = "map",
    margin_px: int = 8,
    mm_per_px: Scale | None = None,
    usual: Usual | None = None,
) -> tuple[Defect, ...]:
    """Return the defects of a rejected image, the highest peak first; more than a hundred are not all measured.

    Args:
        anomaly_map: (H, W).
        limit: in the unit of the map; defects lie in the regions above it.
        pixels: of the image, (H, W, channels) in [0, 1]; without them there is no contrast, and the map outlines.
        place: where regions of the map are taken from, (H, W); everywhere by default.
        source: what outlines the defects: the 8-connected regions of the map, or the image in and around them.
        margin_px: how far a defect in the image may reach beyond its region of the map.
        mm_per_px: scale of the image, above 0; None: it is not known.
        usual: what good parts show, where the image outlines; None: that is not known.
    """
    return _find(anomaly_map, limit, pixels, place, source, margin_px, mm_per_px, usual).defects


def _find(
    anomaly_map: Floats,
    limit: float,
    pixels: Floats | None,
    place: Mask | None,
    source: OutlineSource,
    margin_px: int,
    mm_per_px: Scale | None,
    usual: Usual | None,
    least_peak: float = -np.inf,
) -> Defects:
    """The defects of an image that is in memory: it is one band."""
    finder = DefectFinder(
        anomaly_map.shape[1],
        limit,
        outline_by_image=source == "image",
        with_pixels=pixels is not None,
        margin_px=margin_px,
        mm_per_px=mm_per_px,
        usual=usual,
        least_peak=least_peak,
        height=len(anomaly_map),
    )
    finder.add(anomaly_map, pixels, place)
    return Defects(finder.finish(), finder.notes)
