"""Map, limit and pixels to defects: outlined, measured, and of a kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict

from pellucid.errors import DataError
from pellucid.records import Defect
from pellucid.records.grades import Sheet
from pellucid.regions.background import Floats, Mask, without_repeated_channels
from pellucid.regions.kinds import kind_of
from pellucid.regions.measure import (
    SURROUNDINGS_PX,
    in_millimetres,
    measure_appearance,
    measure_shape,
    perimeter_px,
    trace,
    with_square_pixels,
)
from pellucid.regions.outline import Usual, outline
from pellucid.regions.scale import Scale, scale_axes

OutlineSource = Literal["image", "map"]
MAX_MEASURED_DEFECTS = 100  # of one image; the others are listed with box, area, peak and centroid alone
MARGIN_PX = 8  # that a defect may reach beyond its region of the map, in pixels of the size that was seen
MIN_MARGIN_PX = 4  # in the image's own
BRIDGE_PX = 2  # parts of an outline whose gap is at most twice this are one flaw


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


class _Region(NamedTuple):
    """One defect's pixels: a mask (h, w) whose first pixel is column ``left`` and row ``top`` of the image."""

    mask: Mask
    left: int
    top: int
    peak: float


def find_measured(
    anomaly_map: Floats,
    limit: float,
    read: Callable[[], Floats],
    measuring: Measuring,
    seen_size: tuple[int, int],
    place: Mask | None = None,
) -> Defects:
    """Find the defects of a rejected image as a model does, and say what was left undone.

    Args:
        anomaly_map: (H, W).
        limit: in the unit of the map; defects lie in the regions above it.
        read: gives the image's pixels, (H, W, channels) in [0, 1].
        measuring: of the model.
        seen_size: height and width that the image was brought to for the network, px.
        place: where regions of the map are taken from, (H, W); everywhere by default.
    """
    above = _above(anomaly_map, limit, place)
    if not above.any():
        return Defects()
    notes = []
    pixels = None
    try:
        pixels = read()
    except DataError as error:
        notes.append(f"Its defects are outlined by the map alone, without contrast: {error}")
    margin_px = margin_of(anomaly_map.shape, seen_size)
    defects = _outlined(anomaly_map, above, pixels, measuring.outline, margin_px, measuring.mm_per_px, measuring.usual)
    if len(defects) > MAX_MEASURED_DEFECTS:
        notes.append(f"Of its {len(defects)} defects, the {MAX_MEASURED_DEFECTS} with the highest peaks are measured.")
    return Defects(defects, tuple(notes))


def margin_of(image_size: tuple[int, ...], seen_size: tuple[int, int]) -> int:
    """Return how far a defect may reach beyond its region of the map, px of an image of (height, width)."""
    scale = max(own / network for own, network in zip(image_size, seen_size, strict=True))
    return max(MIN_MARGIN_PX, round(MARGIN_PX * scale))


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
    return _outlined(anomaly_map, _above(anomaly_map, limit, place), pixels, source, margin_px, mm_per_px, usual)


def _above(anomaly_map: Floats, limit: float, place: Mask | None) -> Mask:
    above = anomaly_map > limit
    return above if place is None else above & place


def _outlined(
    anomaly_map: Floats,
    above: Mask,
    pixels: Floats | None,
    source: OutlineSource,
    margin_px: int,
    mm_per_px: Scale | None,
    usual: Usual | None,
) -> tuple[Defect, ...]:
    """The defects in and around some regions of a map, the highest peak first."""
    bridge_px = 0
    if pixels is not None:
        pixels = without_repeated_channels(pixels)
        if source == "image":
            above, bridge_px = outline(pixels, above, margin_px, usual, anomaly_map), BRIDGE_PX
    regions = sorted(_regions(anomaly_map, above, bridge_px), key=lambda region: -region.peak)
    return tuple(
        _measured(region, above, pixels, bridge_px, mm_per_px) if k < MAX_MEASURED_DEFECTS else _listed(region)
        for k, region in enumerate(regions)
    )


def _regions(anomaly_map: Floats, inside: Mask, bridge_px: int) -> Iterator[_Region]:
    """Every 8-connected region, or group of regions with no more than small gaps between them."""
    side = 2 * bridge_px + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    joined = cv2.dilate(inside.astype(np.uint8), disc)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    for k in range(1, count):  # 0 is the background
        x, y, width, height = (int(value) for value in stats[k, :4])
        window = np.s_[y : y + height, x : x + width]
        mask = inside[window] & (labels[window] == k)
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        cropped = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        yield _Region(cropped, x + int(columns[0]), y + int(rows[0]), float(anomaly_map[window][mask].max()))


def _listed(region: _Region) -> Defect:
    """A defect with what costs nothing."""
    height, width = region.mask.shape
    columns, rows = region.mask.sum(0), region.mask.sum(1)
    area = int(rows.sum())
    x, y = (float(counts @ np.arange(len(counts))) / area for counts in (columns, rows))
    return Defect((region.left, region.top, width, height), area, region.peak, (region.left + x, region.top + y))


def _measured(region: _Region, inside: Mask, pixels: Floats | None, bridge_px: int, mm_per_px: Scale | None) -> Defect:
    """A defect with all its measures."""
    listed = _listed(region)
    left, top, width, height = listed.box
    shape = measure_shape(region.mask, bridge_px)
    border_px = min(left, top, inside.shape[1] - left - width, inside.shape[0] - top - height)
    appearance = None
    if pixels is not None:
        pad = 2 * SURROUNDINGS_PX[1] + 1
        low = (max(top - pad, 0), max(left - pad, 0))
        window = np.s_[low[0] : top + height + pad, low[1] : left + width + pad]
        mask = np.zeros(inside[window].shape, np.bool_)
        mask[top - low[0] : top - low[0] + height, left - low[1] : left - low[1] + width] = region.mask
        appearance = measure_appearance(pixels[window], mask, inside[window] & ~mask)
    in_mm: dict[str, Any] = {}
    form, shorter_side = shape, float(min(inside.shape))
    if mm_per_px is not None:
        across, down = scale_axes(mm_per_px)
        square, side = with_square_pixels(region.mask, (across, down))
        if square is not region.mask:
            form = measure_shape(square, round(bridge_px * max(across, down) / side))
            shorter_side = min(inside.shape[1] * across, inside.shape[0] * down) / side
        border_mm = min(
            min(left, inside.shape[1] - left - width) * across, min(top, inside.shape[0] - top - height) * down
        )
        area_mm2 = listed.area_px * across * down
        in_mm = in_millimetres(form, side, area_mm2, border_mm, perimeter_px(square) * side, max(across, down))
    return Defect(
        listed.box,
        listed.area_px,
        listed.peak,
        listed.centroid,
        kind=kind_of(form, None if appearance is None else appearance.contrast, shorter_side),
        outline=trace(region.mask, left, top),
        border_px=border_px,
        **{name: value for name, value in shape._asdict().items() if name != "is_ring"},
        **({} if appearance is None else appearance._asdict()),
        **in_mm,
    )
