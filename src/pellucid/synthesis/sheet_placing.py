"""Defects at random places of a drawn sheet, in a number, size and contrast that are asked for or usual."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.random import Generator

from pellucid.errors import ParameterError, unknown_name
from pellucid.synthesis.fields import log_uniform
from pellucid.synthesis.shapes import Blot, Ellipse, Shape, Streak, Stroke
from pellucid.synthesis.sheet import Area, SheetPlan
from pellucid.synthesis.sheet_defects import DefectKind, SheetDefect

PLACE_STREAM = 3  # of the sheet's seed
TRIES = 200  # to find a free place for one defect
SPACING_MM = 3.0  # that is left free around each defect and its halo
PERIOD_MM = (300.0, 1200.0)  # between the marks of one roller, whose circumference it is
MARK_SLIP = 0.0005  # of a period, by which marks of one roller are off
STROKE_STEPS = 24


@dataclass(frozen=True)
class Usual:
    """How one kind of defect usually is.

    Attributes:
        size_mm: smallest and largest: width of lines, diameter of the others.
        contrast: weakest and strongest, shares of the light.
        signs: of the contrast, one is drawn.
        halo: smallest and largest, in diameters of the defect.
    """

    size_mm: tuple[float, float]
    contrast: tuple[float, float]
    signs: tuple[int, ...] = (-1,)
    halo: tuple[float, float] = (1.0, 1.0)


USUAL: dict[DefectKind, Usual] = {
    "seed": Usual((0.4, 4.0), (0.08, 0.4), halo=(1.6, 2.4)),
    "stone": Usual((0.4, 5.0), (0.2, 0.7)),
    "tin drip": Usual((1.0, 6.0), (0.3, 0.8), halo=(2.0, 3.0)),
    "scratch": Usual((0.1, 0.5), (0.1, 0.4), signs=(-1, 1)),
    "bold line": Usual((0.6, 3.0), (0.06, 0.15), signs=(-1, 1)),
    "roller mark": Usual((1.0, 3.0), (0.06, 0.15), signs=(-1, 1)),
    "chip": Usual((2.0, 8.0), (0.8, 0.9)),
    "dust": Usual((0.2, 1.0), (0.05, 0.3)),
}
KINDS: tuple[DefectKind, ...] = get_args(DefectKind)


def place_defects(
    plan: SheetPlan,
    counts: Mapping[str, int],
    *,
    sizes_mm: Mapping[str, tuple[float, float]] | None = None,
    contrasts: Mapping[str, tuple[float, float]] | None = None,
) -> tuple[SheetDefect, ...]:
    """Draw defects at random places that do not touch one another.

    Args:
        plan: of the sheet; its seed decides everything.
        counts: of each kind; of ``roller mark`` the number of rollers, each of which leaves a mark at every turn.
        sizes_mm: smallest and largest of a kind, width of lines and diameter of the others, instead of the usual.
        contrasts: weakest and strongest of a kind, in (0, 1], instead of the usual.

    Returns:
        From top to bottom.

    Raises:
        ParameterError: a kind that does not exist; chips without a rim in the image; or there is no room for so many.
    """
    for kind in {*counts, *(sizes_mm or {}), *(contrasts or {})}:
        if kind not in KINDS:
            raise unknown_name("defect", kind, KINDS)
    placed: list[SheetDefect] = []
    taken = _Taken()
    for number, kind in enumerate(KINDS):
        usual = USUAL[kind]
        size_range = (sizes_mm or {}).get(kind, usual.size_mm)
        contrast_range = (contrasts or {}).get(kind, usual.contrast)
        for n in range(counts.get(kind, 0)):
            rng = np.random.default_rng((plan.seed, PLACE_STREAM, number, n, 1))
            size, contrast = (
                log_uniform(rng, *size_range),
                float(rng.choice(usual.signs)) * log_uniform(rng, *contrast_range),
            )
            halo = float(rng.uniform(*usual.halo))
            for _ in range(TRIES):
                if kind == "roller mark":
                    drawn = _roller(rng, plan, size, contrast, n)
                else:
                    softness = float(rng.uniform(0, 0.3)) * size if kind == "dust" else 0.0
                    drawn = [SheetDefect(kind, DRAW[kind](rng, plan, size), contrast, halo, softness)]
                if drawn and taken.add(drawn):
                    break
            else:
                raise ParameterError(f"There is no room for {counts[kind]} defects of the kind '{kind}' on this sheet.")
            placed += drawn
    return tuple(sorted(placed, key=lambda one: one.centre_mm[1]))


class _Taken:
    """Boxes that defects lie in, in mm; lines that cross the sheet are met by nobody."""

    def __init__(self) -> None:
        self._boxes: list[tuple[float, float, float, float]] = []

    def add(self, drawn: list[SheetDefect]) -> bool:
        boxes = [self._box(one) for one in drawn]
        if self._boxes and any(self._meets(box) for box in boxes):
            return False
        self._boxes += boxes
        return True

    def _meets(self, box: tuple[float, float, float, float]) -> bool:
        left, top, right, bottom = np.array(self._boxes).T
        return bool(((left < box[2]) & (box[0] < right) & (top < box[3]) & (box[1] < bottom)).any())

    @staticmethod
    def _box(one: SheetDefect) -> tuple[float, float, float, float]:
        left, top, right, bottom = one.shape.box_mm
        grown = (one.halo - 1) / 2 * max(right - left, bottom - top) + SPACING_MM / 2
        return left - grown, top - grown, right + grown, bottom + grown


def _inside(rng: Generator, plan: SheetPlan, reach_mm: float) -> tuple[float, float]:
    """A place on one of the pieces of glass, so far from its rims where it is large enough."""
    pieces = plan.glass_mm
    left, top, right, bottom = pieces[int(rng.integers(len(pieces)))]
    across, down = min(reach_mm, (right - left) / 2), min(reach_mm, (bottom - top) / 2)
    return float(rng.uniform(left + across, right - across)), float(rng.uniform(top + down, bottom - down))


def _blot(rng: Generator, plan: SheetPlan, size: float, ragged: float) -> Shape:
    across, down = _inside(rng, plan, size)
    heights = rng.uniform(0.2, 1.0, 5) / np.arange(2, 7)  # coarse waves are the higher ones
    heights *= ragged * rng.uniform(0.5, 1) / heights.sum()
    phases = rng.uniform(0, 2 * np.pi, 5)
    waves = tuple((order, float(h), float(p)) for order, h, p in zip(range(2, 7), heights, phases, strict=True))
    mean = size / 2 / math.sqrt(1 + float((heights**2).sum()) / 2)  # of the disc of equal area, as asked
    return Blot(across, down, mean, waves)


def _stone(rng: Generator, plan: SheetPlan, size: float) -> Shape:
    return _blot(rng, plan, size, ragged=0.5)


def _dust(rng: Generator, plan: SheetPlan, size: float) -> Shape:
    """A grain, or a fibre of lint."""
    if rng.random() < 0.6:
        return _blot(rng, plan, size, ragged=0.4)
    return _stroke(rng, plan, width=max(size / 6, 0.05), length=size * rng.uniform(2, 5), bend=0.25)


def _seed(rng: Generator, plan: SheetPlan, size: float) -> Shape:
    """A bubble is drawn out along the travel."""
    slim = rng.uniform(0.6, 1.0)
    across, down = _inside(rng, plan, size)
    lean = np.pi / 2 + rng.normal(0, 0.05)
    return Ellipse(across, down, size / math.sqrt(slim), size * math.sqrt(slim), float(lean))


def _drip(rng: Generator, plan: SheetPlan, size: float) -> Shape:
    across, down = _inside(rng, plan, 2 * size)
    slim = rng.uniform(0.85, 1.0)
    return Ellipse(across, down, size / math.sqrt(slim), size * math.sqrt(slim), float(rng.uniform(0, np.pi)))


def _scratch(rng: Generator, plan: SheetPlan, size: float) -> Shape:
    longest = min(min(one.right - one.left, one.bottom - one.top) for one in plan.glass_mm) / 2  # it stays on the glass
    return _stroke(rng, plan, width=size, length=min(size * log_uniform(rng, 30, 300), longest), bend=0.06)


def _stroke(rng: Generator, plan: SheetPlan, width: float, length: float, bend: float) -> Shape:
    angles = rng.uniform(0, 2 * np.pi) + rng.normal(0, bend, STROKE_STEPS).cumsum()
    path = np.stack([np.cos(angles), np.sin(angles)], 1).cumsum(0) * (length / STROKE_STEPS)
    points = path - (path.min(0) + path.max(0)) / 2 + _inside(rng, plan, length / 2)
    return Stroke(tuple((float(x), float(y)) for x, y in points), width)


def _bold_line(rng: Generator, plan: SheetPlan, size: float) -> Shape:
    """From end to end of a piece of glass, or over a part of it."""
    pieces = plan.glass_mm
    left, top, right, bottom = pieces[int(rng.integers(len(pieces)))]
    if rng.random() < 0.5:
        top, bottom = np.sort(rng.uniform(top, bottom, 2))
        bottom = max(bottom, top + 20 * size)
        bottom = min(bottom, plan.length_mm)
    knots = np.linspace(top, bottom, 2 + int((bottom - top) / 200))
    drift = rng.normal(0, 0.0005) * (knots - top) + rng.normal(0, 0.05, len(knots)).cumsum()
    across = np.clip(rng.uniform(left + 10 * size, right - 10 * size) + drift, left, right)
    return Streak(tuple((float(x), float(y)) for x, y in zip(across, knots, strict=True)), size)


def _chip(rng: Generator, plan: SheetPlan, size: float) -> Shape:
    """Half of an ellipse that is missing from one of the rims along the travel."""
    if plan.edge_mm <= 0:
        raise ParameterError("There is no rim to be chipped: draw the sheet with edge_mm above 0.")
    left, top, right, bottom = plan.glass_mm[int(rng.integers(len(plan.glass_mm)))]
    down = float(rng.uniform(top + size, bottom - size))
    at_left = rng.random() < 0.5
    return Ellipse(left if at_left else right, down, size, size * rng.uniform(0.8, 2), glass_side=1 if at_left else -1)


def _roller(rng: Generator, plan: SheetPlan, size: float, contrast: float, number: int) -> list[SheetDefect]:
    """The marks of one roller, at every turn where there is glass."""
    period = float(rng.uniform(PERIOD_MM[0], min(PERIOD_MM[1], max(plan.length_mm / 3, PERIOD_MM[0] * 1.01))))
    across, _ = _inside(rng, plan, 2 * size)
    slim, lean = rng.uniform(0.5, 1.0), float(rng.uniform(0, np.pi))
    marks = []
    for turn in np.arange(float(rng.uniform(0, period)), plan.length_mm, period):
        down = float(turn + rng.normal(0, MARK_SLIP * period))
        if any(Area(*piece).holds(across, down, size) for piece in plan.glass_mm):
            shape = Ellipse(across, down, size / math.sqrt(slim), size * math.sqrt(slim), lean)
            marks.append(SheetDefect("roller mark", shape, contrast, series=number, period_mm=period))
    return marks


DRAW: dict[str, Callable[[Generator, SheetPlan, float], Shape]] = {
    "seed": _seed,
    "stone": _stone,
    "tin drip": _drip,
    "scratch": _scratch,
    "bold line": _bold_line,
    "chip": _chip,
    "dust": _dust,
}
