"""Defects of a drawn sheet of glass: what they are, how large exactly in millimetres, and how a camera sees them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pellucid.synthesis.shapes import Places, Reach, Shape

DefectKind = Literal["seed", "stone", "tin drip", "scratch", "bold line", "roller mark", "chip", "dust"]
SUBSAMPLES = 8  # along each side of a pixel
CORE = 0.6  # of a seed's radius, inside of which it is a lens and outside of which its wall
BLUR_REACH = 3.0  # standard deviations


@dataclass(frozen=True)
class SheetDefect:
    """One drawn defect with its truth.

    Attributes:
        kind: what it is.
        shape: where it is and how large: its mask, exactly.
        contrast: of its strongest part to the light around, a share of that; below zero it is darker.
        halo: outer diameter of the distortion around it, in its own diameters; 1 without.
        softness_mm: standard deviation by which it is out of focus, beyond the camera's own.
        series: number of the roller that left it, or None.
        period_mm: from one mark of that roller to the next, or None.
    """

    kind: DefectKind
    shape: Shape
    contrast: float
    halo: float = 1.0
    softness_mm: float = 0.0
    series: int | None = None
    period_mm: float | None = None

    @property
    def centre_mm(self) -> tuple[float, float]:
        """Across and down of its centre of gravity."""
        return self.shape.centre_mm

    @property
    def area_mm2(self) -> float:
        """Area of what it covers, without halo."""
        return self.shape.area_mm2

    @property
    def diameter_mm(self) -> float:
        """Of the disc of equal area."""
        return math.sqrt(4 / math.pi * self.area_mm2)

    @property
    def length_mm(self) -> float:
        """Along the curve for lines, else the largest Feret diameter."""
        return self.shape.length_mm

    @property
    def width_mm(self) -> float:
        """Across the curve for lines, else the smallest Feret diameter."""
        return self.shape.width_mm

    @property
    def halo_mm(self) -> float:
        """Diameter of the disc as large as defect and halo together; 0 without."""
        return self.halo * self.diameter_mm if self.halo > 1 else 0.0

    @property
    def is_nuisance(self) -> bool:
        """Whether it lies on the glass and is not of it."""
        return self.kind == "dust"

    def covers(self, across: Places, down: Places) -> NDArray[np.bool_]:
        """Tell which places of a grid lie inside, (len(down), len(across)).

        Args:
            across: ascending, mm.
            down: ascending, mm.
        """
        return np.asarray(self.shape.reach(across, down) <= 1)


def _flat(reach: Reach, halo: float) -> Reach:  # noqa: ARG001 - as the others are called
    return (reach <= 1).astype(np.float32)


def _seed(reach: Reach, halo: float) -> Reach:
    """A dark wall around a bright core: the bubble is a lens; around it the glass is distorted faintly."""
    return np.where(reach <= CORE, -0.5, np.where(reach <= 1, 1.0, 0.15 * _fading(reach, halo))).astype(np.float32)


def _drip(reach: Reach, halo: float) -> Reach:
    """An opaque drop in a bright ring of distorted glass."""
    return np.where(reach <= 1, 1.0, -0.35 * _fading(reach, halo)).astype(np.float32)


def _fading(reach: Reach, halo: float) -> Reach:
    """From 1 at the rim to 0 at the halo's end."""
    return np.asarray(np.clip((halo - reach) / max(halo - 1, 1e-6), 0, 1), np.float32)


LOOKS: dict[str, Callable[[Reach, float], Reach]] = {"seed": _seed, "tin drip": _drip}  # the others are flat


class Stamp(NamedTuple):
    """What a defect changes of some rows of a sheet.

    Attributes:
        rows: of the sheet.
        columns: of the sheet.
        change: of the light, a share of it, (rows, columns).
    """

    rows: slice
    columns: slice
    change: NDArray[np.float32]


def stamp(
    defect: SheetDefect, top: int, bottom: int, columns: int, mm_per_px: tuple[float, float], blur_px: float
) -> Stamp | None:
    """Draw a defect as a camera sees it: averaged over every pixel, a little out of focus.

    Args:
        defect: to be drawn.
        top: first row.
        bottom: after the last row.
        columns: of the sheet.
        mm_per_px: across and down.
        blur_px: standard deviation of the camera's blur.

    Returns:
        What it changes of these rows; None if nothing.
    """
    sigmas = [math.hypot(blur_px, defect.softness_mm / scale) for scale in mm_per_px]
    margins = [math.ceil(BLUR_REACH * sigma) for sigma in sigmas]
    left, first, right, last = window_px(defect, mm_per_px)
    left, right = left - margins[0], right + margins[0]
    first, last = max(first - margins[1], top - margins[1]), min(last + margins[1], bottom + margins[1])
    rows, taken = slice(max(first, top), min(last, bottom)), slice(max(left, 0), min(right, columns))
    if rows.start >= rows.stop or taken.start >= taken.stop:
        return None
    look = LOOKS.get(defect.kind, _flat)
    fine = look(defect.shape.reach(_grid(left, right, mm_per_px[0]), _grid(first, last, mm_per_px[1])), defect.halo)
    drawn = _averaged(fine)
    if any(margins):
        kernel = (2 * margins[0] + 1, 2 * margins[1] + 1)
        blurred = cv2.GaussianBlur(drawn, kernel, sigmas[0], sigmaY=sigmas[1], borderType=cv2.BORDER_REPLICATE)
        drawn = np.asarray(blurred, np.float32)
    shown = drawn[rows.start - first : rows.stop - first, taken.start - left : taken.stop - left]
    return Stamp(rows, taken, np.asarray(shown * np.float32(defect.contrast), np.float32))


def window_px(defect: SheetDefect, mm_per_px: tuple[float, float]) -> tuple[int, int, int, int]:
    """Return the pixels that a defect and its halo reach: first column and row, and those after the last."""
    left, top, right, bottom = defect.shape.box_mm
    grown = (defect.halo - 1) / 2
    across, down = (right - left) * grown, (bottom - top) * grown
    return (
        math.floor((left - across) / mm_per_px[0]),
        math.floor((top - down) / mm_per_px[1]),
        math.ceil((right + across) / mm_per_px[0]),
        math.ceil((bottom + down) / mm_per_px[1]),
    )


def coverage(
    defect: SheetDefect, box: tuple[int, int, int, int], mm_per_px: tuple[float, float]
) -> NDArray[np.float32]:
    """Compute how much of each pixel a defect covers, without blur and halo.

    Args:
        defect: to look at.
        box: first column and row, and those after the last.
        mm_per_px: across and down.

    Returns:
        (rows, columns) in [0, 1].
    """
    left, top, right, bottom = box
    inside = defect.covers(_grid(left, right, mm_per_px[0]), _grid(top, bottom, mm_per_px[1]))
    return _averaged(inside.astype(np.float32))


def _grid(first: int, last: int, scale: float) -> Places:
    """The middles of the parts of pixels, mm."""
    return np.asarray((np.arange(first * SUBSAMPLES, last * SUBSAMPLES) + 0.5) * (scale / SUBSAMPLES), np.float64)


def _averaged(fine: NDArray[np.float32]) -> NDArray[np.float32]:
    rows, columns = (side // SUBSAMPLES for side in fine.shape)
    return np.asarray(fine.reshape(rows, SUBSAMPLES, columns, SUBSAMPLES).mean((1, 3)), np.float32)
