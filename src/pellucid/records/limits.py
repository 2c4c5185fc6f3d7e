"""Where normal ends."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from math import fsum
from typing import Literal

LimitMethod = Literal["conformal", "gap", "f1"]  # that a limit can be asked for by
PlacedBy = Literal[
    "conformal", "leave-one-out", "cross-conformal", "tail", "f1", "area"
]  # how one came about, unless moved


AreaUnit = Literal["m2", "megapixel"]


@dataclass(frozen=True)
class FalseAlarms:
    """How many false alarms an area of good glass may raise.

    Attributes:
        rate: of them per unit of area, above 0.
        unit: ``m2``, or ``megapixel`` of the images' own pixels where their scale is not known.
    """

    rate: float
    unit: AreaUnit = "m2"


@dataclass(frozen=True)
class Limit:
    """Where normal ends, in the score's own unit, and the normal scores that it was chosen from.

    Attributes:
        value: an image is rejected when its score is higher.
        pixel: a pixel of a rejected image is defective where the map is higher.
        false_reject_rate: asked, in (0, 1), as low as the groups of normal images allow; for ``f1`` the rate
            and ``area`` the rate realised on ``scores``.
        scores: of normal images that were not fitted on, ascending.
        method: how it was chosen; ``tail``: by a tail fitted to the highest scores, so that the rate is expected,
            not promised; ``gap``: from labelled defects too, never below what the normals promise; ``area``: by
            false alarms on an area of good glass.
        weights: of each score, 1 / (size of the image's group); empty where every image is a group of its own.
        pixel_median: median over the pixels of a normal image, of these images the one in the middle; None in models of
            an earlier pellucid.
        left_out: the scores are of images that were fitted on, each as if its group had been left out.
        folds: the scores are of so many detectors, each without a fold of the images that were fitted on; None: they
            are of the one that is kept.
        confidence: share of models made in this way that keep the rate, in (0, 1); None: they keep it on average.
        moved_from: the value that the normals alone gave, of one that was moved into the gap.
        moved_method: how that one was chosen.
        cost_ratio: what the escapes of all defects would cost over the rejects of all good parts, where that placed it.
        lot_images: of so many independent images of a new lot, to where those score all of this was moved; None: not.
        taught: labelled defects taught the detector, and these images also chose by how much.
        alarm_rate: false alarms that were asked for, per unit of area, of one that was placed by area.
        alarm_unit: of area.
        normal_area: of the good glass that placed it, in that unit; glass that images of a group share counts once.
    """

    value: float
    pixel: float
    false_reject_rate: float
    scores: tuple[float, ...]
    method: PlacedBy | Literal["gap"] = "conformal"
    weights: tuple[float, ...] = ()
    pixel_median: float | None = None
    left_out: bool = False
    folds: int | None = None
    confidence: float | None = None
    moved_from: float | None = None
    moved_method: PlacedBy | None = None
    cost_ratio: float | None = None
    lot_images: int | None = None
    taught: bool = False
    alarm_rate: float | None = None
    alarm_unit: AreaUnit | None = None
    normal_area: float | None = None

    def __repr__(self) -> str:
        if self.false_alarms is not None:
            said = f"{self.alarm_rate:g} false alarms per {self.alarm_unit} from {self.normal_area:.4g}"
            return f"Limit({self.value:.6g}, {said})"
        normals = f"{len(self.scores)} normals{f' in {self.groups} groups' if self.weights else ''}"
        sure = "" if self.confidence is None else f" with confidence {self.confidence:g}"
        return f"Limit({self.value:.6g}, {self.method} at {self.false_reject_rate:.2%}{sure} from {normals})"

    @property
    def false_alarms(self) -> FalseAlarms | None:
        """The rate by area that placed it; None: it was placed by images."""
        if self.alarm_rate is None or self.alarm_unit is None:
            return None
        return FalseAlarms(self.alarm_rate, self.alarm_unit)

    @property
    def groups(self) -> int:
        """How many independent groups the normal scores are of; an image without one is its own."""
        return round(fsum(self.weights)) if self.weights else len(self.scores)

    @property
    def good_level(self) -> float:
        """What a pixel of a good part usually scores, below the pixel limit: where the scale of colours begins."""
        if self.pixel_median is not None and self.pixel_median < self.pixel:
            return self.pixel_median
        return min(0.0, 2 * self.pixel)  # distances begin at 0; what may be negative, as far below 0 as it may be

    def p_value(self, score: float) -> float:
        """Return the conformal p-value: (1 + number of normal scores >= score) / (n + 1), in (0, 1].

        Where images form groups, every group counts as one: by the share of its scores.
        """
        first = bisect_left(self.scores, score)
        at_least = fsum(self.weights[first:]) if self.weights else len(self.scores) - first
        return (1 + at_least) / (self.groups + 1)
