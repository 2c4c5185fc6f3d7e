"""What was found on a drawn sheet, against its truth: which defects, where and how large, in millimetres."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from pellucid.records import Defect
from pellucid.synthesis.shapes import Streak, Stroke
from pellucid.synthesis.sheet_defects import SheetDefect

REACH_MM = 0.5  # from the box of a true defect to that of one that was found, at most
Box = tuple[float, float, float, float]  # left, top, right, bottom in mm


class TruthMatch(NamedTuple):
    """A true defect, and the largest of those that were found there; None if none was.

    Attributes:
        truth: what was drawn.
        found: what was found of it.
        number: of what was found, from 0.
    """

    truth: SheetDefect
    found: Defect | None
    number: int | None

    @property
    def true_size_mm(self) -> float:
        """Length along the curve of lines, diameter of the disc of equal area of all others."""
        return self.truth.length_mm if _is_line(self.truth) else self.truth.diameter_mm

    @property
    def found_size_mm(self) -> float | None:
        """The same of what was found; None where nothing was, or it was not measured."""
        if self.found is None:
            return None
        return self.found.length_mm if _is_line(self.truth) else self.found.diameter_mm


@dataclass(frozen=True)
class SheetMatch:
    """All that was drawn and all that was found.

    Attributes:
        matches: one for each true defect, in its order.
        false_alarms: numbers of what was found where nothing was drawn.
        fragments: numbers of what was found of a defect beside its largest part.
    """

    matches: tuple[TruthMatch, ...]
    false_alarms: tuple[int, ...]
    fragments: tuple[int, ...]

    @property
    def sentence(self) -> str:
        """What was found, in one sentence."""
        found = [one for one in self.matches if one.found is not None]
        errors = [abs(one.found_size_mm - one.true_size_mm) for one in found if one.found_size_mm is not None]
        sizes = f", sizes off by {median(errors):.2f} mm (median)" if errors else ""
        alarms = len(self.false_alarms)
        return (
            f"{len(found)} of {len(self.matches)} drawn defects were found{sizes}; {alarms} more"
            f" {'place was' if alarms == 1 else 'places were'} marked where nothing was drawn."
        )


def match_truth(truth: Sequence[SheetDefect], found: Sequence[Defect], mm_per_px: tuple[float, float]) -> SheetMatch:
    """Match what was found on a drawn sheet with its truth, by where boxes overlap.

    Args:
        truth: what was drawn; these do not touch.
        found: with measures in mm.
        mm_per_px: across and down.
    """
    parts: list[list[int]] = [[] for _ in truth]
    false_alarms = []
    boxes = [_grown(one.shape.box_mm) for one in truth]
    for number, one in enumerate(found):
        left, top, width, height = one.box
        across, down = mm_per_px
        here = (left * across, top * down, (left + width) * across, (top + height) * down)
        overlaps = [_overlap(here, box) for box in boxes]
        best = max(range(len(overlaps)), key=overlaps.__getitem__, default=None)
        if best is None or overlaps[best] <= 0:
            false_alarms.append(number)
        else:
            parts[best].append(number)
    matches: list[TruthMatch] = []
    fragments: list[int] = []
    for drawn, numbers in zip(truth, parts, strict=True):
        ordered = sorted(numbers, key=lambda n: -found[n].area_px)
        fragments += ordered[1:]
        largest = ordered[0] if ordered else None
        matches.append(TruthMatch(drawn, None if largest is None else found[largest], largest))
    return SheetMatch(tuple(matches), tuple(false_alarms), tuple(sorted(fragments)))


def place_error_mm(match: TruthMatch, mm_per_px: tuple[float, float]) -> float | None:
    """Return how far the centre of what was found lies from the true one; None where nothing was found."""
    if match.found is None:
        return None
    place = [(c + 0.5) * scale for c, scale in zip(match.found.centroid, mm_per_px, strict=True)]
    return math.dist(place, match.truth.centre_mm)


def _is_line(one: SheetDefect) -> bool:
    return isinstance(one.shape, (Stroke, Streak))


def _grown(box: Box) -> Box:
    return box[0] - REACH_MM, box[1] - REACH_MM, box[2] + REACH_MM, box[3] + REACH_MM


def _overlap(one: Box, other: Box) -> float:
    """Area that two boxes share, mm2."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0.0) * max(height, 0.0)
