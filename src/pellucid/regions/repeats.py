"""Defects that repeat: at an even distance along travel (a roller), or at one place across it (a nozzle, a camera).

Both are found a contrario: a pattern is told of where defects that lie anywhere would hardly ever form one like it, and
how rarely is said. The tests count what was tried, so that all of them together raise a false alarm at most at the rate
that was asked for (Desolneux, Moisan and Morel, *From Gestalt Theory to Image Analysis*, 2008, for the idea).

Rollers are in :mod:`pellucid.regions.rollers`. Of a place across, the defects within a strip around each defect are
compared with those of a neighbourhood to either side of it, 50 times as wide as half of the strip: if they lie evenly
there, so many in the strip have a binomial tail. It is multiplied by the defects, which are the strips that were tried.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import ParameterError
from pellucid.regions.chances import Numbers, binomial_tails
from pellucid.regions.ribbons import Ribbon, SheetPlaces, in_travel, ribbons_of
from pellucid.regions.rollers import find_roller

NEIGHBOURHOOD_TOLERANCES = 50  # to either side of a place, that it is compared with
SMALLEST_SIDE_TOLERANCES = 10  # of such a side; a narrower one is not looked at
KINDS = 2  # of alarms, which share the rate
MAX_FOUND = 20  # of either kind
SMALLEST_PERIOD_TOLERANCES = 8  # at smaller periods, most places are near to a turn's end


@dataclass(frozen=True)
class Repeat:
    """Defects that have a cause in common.

    Attributes:
        kind: ``roller``: they return at an even distance along travel; ``place``: they lie at one place across it.
        x_mm: that place, of either kind.
        members: the defects by number of their sheet and number on it, both from 0, in the order of travel. Of a defect
            in pieces, the first.
        false_alarm_rate: how often defects that lie anywhere show such a pattern, or a clearer one, somewhere in all
            that was searched, at most.
        period_mm: of a roller, its circumference.
        period_uncertainty_mm: of the period, for 19 of 20, by how its defects scatter.
        expected: of a roller, how often it touched these sheets.
    """

    kind: Literal["roller", "place"]
    x_mm: float
    members: tuple[tuple[int, int], ...]
    false_alarm_rate: float
    period_mm: float | None = None
    period_uncertainty_mm: float | None = None
    expected: int | None = None


def find_repeats(
    sheets: Sequence[SheetPlaces],
    *,
    tolerance_mm: float = 3.0,
    periods_mm: tuple[float, float] = (50.0, 3000.0),
    false_alarm_rate: float = 0.05,
) -> tuple[Repeat, ...]:
    """Find defects that repeat, on one sheet or over several.

    Args:
        sheets: in the order of travel.
        tolerance_mm: how far from its place, across and along, a repeat may lie.
        periods_mm: the smallest and the largest period to look for.
        false_alarm_rate: how often sheets whose defects lie anywhere may raise an alarm, in (0, 1).

    Returns:
        Rollers, then places, each with the least likely first. Defects of a roller are no place.

    Raises:
        ParameterError: a number is not allowed, or sheets whose start is known overlap.
    """
    _check(sheets, tolerance_mm, periods_mm, false_alarm_rate)
    if not sheets:
        return ()
    ribbons = ribbons_of(sheets, tolerance_mm)
    rollers: list[Repeat] = []
    while len(rollers) < MAX_FOUND:
        one = find_roller(ribbons, tolerance_mm, periods_mm, false_alarm_rate, KINDS)
        if one is None:
            break
        measured = (one.period_mm, one.period_uncertainty_mm, one.expected)
        rollers.append(Repeat("roller", one.x_mm, one.members, one.false_alarm_rate, *measured))
        ribbons = [ribbon.without(gone) for ribbon, gone in zip(ribbons, one.explained, strict=True)]
    widths = np.unique([sheet.width_mm for sheet in sheets])
    return (*rollers, *_find_places(ribbons, widths, tolerance_mm, false_alarm_rate))


def _check(
    sheets: Sequence[SheetPlaces], tolerance_mm: float, periods_mm: tuple[float, float], false_alarm_rate: float
) -> None:
    if not 0 < tolerance_mm < math.inf:
        raise ParameterError(f"tolerance_mm={tolerance_mm:g} is not allowed: it is a number above 0.")
    if not 0 < false_alarm_rate < 1:
        raise ParameterError(f"false_alarm_rate={false_alarm_rate:g} is not allowed: it lies between 0 and 1.")
    smallest, largest = periods_mm
    if not SMALLEST_PERIOD_TOLERANCES * tolerance_mm <= smallest < largest < math.inf:
        raise ParameterError(
            f"periods_mm={smallest:g},{largest:g} is not allowed: the smaller one is at least"
            f" {SMALLEST_PERIOD_TOLERANCES} times the tolerance, {SMALLEST_PERIOD_TOLERANCES * tolerance_mm:g} mm, and"
            " smaller than the larger one."
        )
    known = [(one.start_mm, one.start_mm + one.height_mm) for one in sheets if one.start_mm is not None]
    for (_, end), (start, _) in pairwise(known):
        if start < end - tolerance_mm:
            raise ParameterError(f"A sheet begins at {start:g} mm, before the one that comes before it ends.")


# --- places across --------------------------------------------------------------------------------------------------


def _find_places(ribbons: Sequence[Ribbon], widths: Numbers, tolerance_mm: float, rate: float) -> Iterator[Repeat]:
    """Places across that have more defects than their neighbourhood explains, the least likely first."""
    places, who = np.concatenate([one.places for one in ribbons]), np.concatenate([one.who for one in ribbons])
    order = np.argsort(places[:, 0], kind="stable")
    x, who, along = places[order, 0], who[order], places[order, 1]
    for _ in range(MAX_FOUND):
        chances = KINDS * len(x) * _crowding(x, widths, tolerance_mm)
        if not (chances <= rate).any():
            return
        middle = float(np.median(x[np.abs(x - x[chances.argmin()]) <= tolerance_mm]))
        inside = np.abs(x - middle) <= tolerance_mm
        members = in_travel(who[inside], along[inside])
        yield Repeat("place", float(x[inside].mean()), members, float(chances.min()))
        left = np.abs(x - middle) > 2 * tolerance_mm  # what lies a little beside it is no other place
        x, who, along = x[left], who[left], along[left]


def _crowding(x: Numbers, widths: Numbers, tolerance_mm: float) -> Numbers:
    """The chance that as many lie as near to each as do, or more, if those around lie evenly, (n,).

    The neighbourhood to the left and the one to the right are looked at on their own, and the higher chance counts:
    where the dirty edge of a sheet ends, one of them is clean.

    Args:
        x: places across, which rise.
        widths: of the sheets, which rise: a neighbourhood ends where narrower sheets do.
        tolerance_mm: half of the strip's width.
    """
    borders = np.array([0.0, *widths])
    segment = np.clip(np.searchsorted(borders, x, "right") - 1, 0, len(widths) - 1)
    first, last = np.minimum(borders[segment], x), np.maximum(borders[segment + 1], x)
    low, high = np.maximum(x - tolerance_mm, first), np.minimum(x + tolerance_mm, last)
    reach = NEIGHBOURHOOD_TOLERANCES * tolerance_mm
    far_low, far_high = np.maximum(x - reach, first), np.minimum(x + reach, last)

    def count(left: Numbers, right: Numbers) -> NDArray[np.int64]:
        return np.asarray(np.searchsorted(x, right, "right") - np.searchsorted(x, left, "left"))

    near = count(low, high) - 1
    chances = np.zeros(len(x))
    for left, right, room in ((far_low, high, low - far_low), (low, far_high, far_high - high)):
        share = np.clip((high - low) / np.maximum(right - left, 1e-9), 0, 1)
        side = binomial_tails(near, count(left, right) - 1, share)
        narrow = room < SMALLEST_SIDE_TOLERANCES * tolerance_mm  # the sheet ends there: the other side decides
        chances = np.maximum(chances, np.where(narrow, 0.0, side))
    return np.where(last - first < 2 * SMALLEST_SIDE_TOLERANCES * tolerance_mm, 1.0, chances)
