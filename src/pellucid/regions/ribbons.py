"""Sheets one after the other, as ribbons: what of them is in step with a roller."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import DataError
from pellucid.records import Inspection
from pellucid.regions.chances import Numbers

Places = NDArray[np.float64]
Whole = NDArray[np.int64]
NEAR_TOLERANCES = 4  # defects nearer than so many tolerances to one another are one, in pieces
PHASE_KEPT_MM = 30_000.0  # glass and encoder stay in step with a roller so far; beyond, a new phase


@dataclass(frozen=True)
class SheetPlaces:
    """Where the defects of a sheet lie.

    Attributes:
        width_mm: of the sheet, across travel.
        height_mm: of the sheet, along travel.
        places: x and y of its defects, (n, 2) in mm from the sheet's first corner; y is along travel.
        start_mm: where along the ribbon the sheet begins; None: not known.
    """

    width_mm: float
    height_mm: float
    places: Places
    start_mm: float | None = None

    @classmethod
    def of(cls, found: Inspection, start_mm: float | None = None) -> Self:
        """Return where the defects of an inspection lie, by their centroids.

        Raises:
            DataError: the scale of the image is not known.
        """
        if found.sheet is None:
            raise DataError(
                f"'{found.path}' has no places in mm: inspect it with --mm-per-px, as pellucid calibrate measures it."
            )
        centroids = np.array([defect.centroid for defect in found.defects], np.float64).reshape(-1, 2)
        places = (centroids + 0.5) * found.sheet.mm_per_px  # a pixel's own lies in its middle
        corrected = [one.centre_mm for one in found.defects if one.centre_mm is not None]
        if corrected:
            places = np.array(corrected, np.float64)
        return cls(found.sheet.width_mm, found.sheet.height_mm, places, start_mm)


@dataclass(frozen=True)
class Ribbon:
    """Sheets in step with one another.

    Attributes:
        places: x and y of their defects, (n, 2); y along the ribbon.
        who: sheet and number of each, (n, 2).
        extents: where each sheet begins and ends, (s, 2).
    """

    places: Places
    who: Whole
    extents: Numbers

    def without(self, gone: NDArray[np.bool_]) -> Ribbon:
        return replace(self, places=self.places[~gone], who=self.who[~gone])

    def turns(self, anchor: float, period: float, tolerance_mm: float) -> Numbers:
        """How many ends of turns lie on each sheet, or within the tolerance beside it, (s,)."""
        starts, ends = self.extents[:, 0] - tolerance_mm - anchor, self.extents[:, 1] + tolerance_mm - anchor
        counted: Numbers = np.floor(ends / period) - np.ceil(starts / period) + 1
        return counted


def ribbons_of(sheets: Sequence[SheetPlaces], tolerance_mm: float) -> list[Ribbon]:
    """Sheets whose distance is known, as long as they stay in step, and each of the others, as ribbons."""
    ribbons: list[Ribbon] = []
    first_start: float | None = None  # of the ribbon that may go on
    for number, sheet in enumerate(sheets):
        start = sheet.start_mm
        kept = _whole(sheet.places, NEAR_TOLERANCES * tolerance_mm)
        one = Ribbon(
            sheet.places[kept] + (0.0, start or 0.0),
            np.stack([np.full(len(kept), number), kept], axis=1),
            np.array([[0.0, sheet.height_mm]]) + (start or 0.0),
        )
        if start is not None and first_start is not None and start + sheet.height_mm - first_start <= PHASE_KEPT_MM:
            last = ribbons.pop()
            one = Ribbon(*(np.concatenate(both) for both in zip(_parts(last), _parts(one), strict=True)))
        else:
            first_start = start
        ribbons.append(one)
    return ribbons


def _parts(one: Ribbon) -> tuple[Places, Whole, Numbers]:
    return one.places, one.who, one.extents


def _whole(places: Places, near_mm: float) -> Whole:
    """Which defects to keep, from the top: one that lies near to a kept one is a piece of it."""
    kept: list[int] = []
    for number in np.lexsort((places[:, 0], places[:, 1])):
        x, y = places[number]
        for other in reversed(kept):
            if y - places[other, 1] > near_mm:
                kept.append(int(number))
                break
            if math.hypot(x - places[other, 0], y - places[other, 1]) <= near_mm:
                break
        else:
            kept.append(int(number))
    return np.array(kept, np.int64)


def in_travel(who: Whole, along: Numbers) -> tuple[tuple[int, int], ...]:
    """Return defects in the order of travel.

    Args:
        who: sheet and number of each, (n, 2).
        along: where each lies on its ribbon, (n,).
    """
    return tuple((int(sheet), int(number)) for sheet, number in who[np.lexsort((along, who[:, 0]))])
