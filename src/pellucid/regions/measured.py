"""One region of an image to a defect: listed with what costs nothing, or measured with its surroundings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from pellucid.acquisition.images import to_floats, without_repeated_channels
from pellucid.records import Defect
from pellucid.regions.background import Mask
from pellucid.regions.clusters import Cluster
from pellucid.regions.kinds import kind_of
from pellucid.regions.measure import (
    SURROUNDINGS_PX,
    Shape,
    in_millimetres,
    measure_appearance,
    measure_shape,
    perimeter_px,
    trace,
    with_square_pixels,
)
from pellucid.regions.rows import Rows, Window
from pellucid.regions.scale import Scale, scale_axes

SURROUNDINGS_PAD_PX = 2 * SURROUNDINGS_PX[1] + 1  # around a defect, that its contrast is measured by
MAX_SHAPE_PIXELS = 2**24  # of a defect's bounds, of square pixels: a larger one is listed


class Surroundings(NamedTuple):
    """What a defect's appearance is measured by.

    Attributes:
        pixels: rows of the image, (h, W, channels).
        inside: rows of all defects, (h, W).
        width: of the image, px.
        height: rows that are known, px; where a window ends at the latest.
    """

    pixels: Rows
    inside: Rows
    width: int
    height: int


class Found(NamedTuple):
    """A defect whose image may not have ended yet.

    Attributes:
        listed: with box, area, peak and centroid alone.
        measured: with all its measures but its kind and how far it lies from the border; None where it is only listed.
        form: that tells its kind, in square pixels.
        side_mm: of these, where they are not the image's own.
    """

    listed: Defect
    measured: Defect | None = None
    form: Shape | None = None
    side_mm: float | None = None

    def complete(self, width: int, height: int | None, mm_per_px: Scale | None) -> Defect:
        """Return the defect, with what the size of its image tells.

        Args:
            width: of the image, px.
            height: of the image, px; None: nobody knows yet. It is then taken to be longer than it is wide, and how far
                away its border is stays open.
            mm_per_px: of the image; None: it is not known.
        """
        if self.measured is None or self.form is None:
            return self.listed
        left, top, box_width, box_height = self.listed.box
        across, down = (1.0, 1.0) if mm_per_px is None or self.side_mm is None else scale_axes(mm_per_px)
        shorter = width * across if height is None else min(height * down, width * across)
        kind = kind_of(self.form, self.measured.contrast, shorter if self.side_mm is None else shorter / self.side_mm)
        if height is None:
            return replace(self.measured, kind=kind)
        beside, behind = min(left, width - left - box_width), min(top, height - top - box_height)
        found = replace(self.measured, kind=kind, border_px=min(beside, behind))
        if mm_per_px is None:
            return found
        across, down = scale_axes(mm_per_px)
        return replace(found, border_mm=min(beside * across, behind * down))


def list_region(cluster: Cluster) -> Defect:
    """Return a defect with what costs nothing."""
    top, bottom, left, right = cluster.window
    x, y = (
        start + float(total - start * cluster.area) / cluster.area
        for start, total in zip((left, top), cluster.sums, strict=True)
    )
    return Defect((left, top, right - left, bottom - top), cluster.area, cluster.peak, (x, y))


def shape_pixels(window: Window, mm_per_px: Scale | None) -> float:
    """Return how many square pixels the bounds of a defect have, as :func:`with_square_pixels` makes them."""
    across, down = (1.0, 1.0) if mm_per_px is None else scale_axes(mm_per_px)
    return window.size if across == down else window.size * across * down / (min(across, down) / 2) ** 2


def measure_region(cluster: Cluster, around: Surroundings | None, bridge_px: int, mm_per_px: Scale | None) -> Found:
    """Measure a defect.

    Args:
        cluster: its pixels.
        around: the image around it; None: there is none, and so no contrast.
        bridge_px: half of the gaps that its length goes across.
        mm_per_px: of the image; None: it is not known.
    """
    listed, mask = list_region(cluster), cluster.mask()
    top, _, left, _ = cluster.window
    shape = measure_shape(mask, bridge_px)
    appearance = None
    if around is not None:
        window = cluster.window.grown(SURROUNDINGS_PAD_PX, around.width).ending_at(around.height)
        own = np.zeros(window.shape, np.bool_)
        y, x = top - window.top, left - window.left
        own[y : y + mask.shape[0], x : x + mask.shape[1]] = mask
        pixels = to_floats(without_repeated_channels(around.pixels.cut(window)))
        others: Mask = around.inside.cut(window) & ~own
        appearance = measure_appearance(pixels, own, others)
    in_mm: dict[str, Any] = {}
    form, side_mm = shape, None
    if mm_per_px is not None:
        across, down = scale_axes(mm_per_px)
        square, side = with_square_pixels(mask, (across, down))
        if square is not mask:
            side_mm = side
            form = measure_shape(square, round(bridge_px * max(across, down) / side))
        area_mm2 = listed.area_px * across * down
        in_mm = in_millimetres(form, side, area_mm2, perimeter_px(square) * side, max(across, down))
    middle_x, middle_y, longer, shorter, degrees = shape.rectangle  # of the mask; the image's, as the outline is:
    shape = shape._replace(rectangle=(middle_x + left, middle_y + top, longer, shorter, degrees))
    measured = replace(
        listed,
        outline=trace(mask, left, top),
        **{name: value for name, value in shape._asdict().items() if name != "is_ring"},
        **({} if appearance is None else appearance._asdict()),
        **in_mm,
    )
    return Found(listed, measured, form, side_mm)
