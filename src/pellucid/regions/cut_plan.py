"""Panes that a sheet is cut into, each with zones of its own, from a plan in mm.

A plan is TOML or JSON: panes by name, as rectangles or polygons, from the corner where the image begins, x across and y
along travel. ``docs/grading.md`` shows one. Without a plan, the image is one pane from border to border.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, ValidationError, model_validator

from pellucid._io.toml import read_toml_or_json
from pellucid.errors import ParameterError
from pellucid.records.grades import Sheet
from pellucid.regions.rules import Number, Rules, Table, Text, Zone, first_error

Point = tuple[float, float]  # x and y, mm
Box = tuple[float, float, float, float]  # left, top, right and bottom in mm
Coordinate = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Length = Annotated[Number, Field(gt=0)]


@dataclass(frozen=True)
class Pane:
    """A pane on a sheet.

    Attributes:
        name: of it; empty where it is the whole image.
        corners: in order around it, mm.
    """

    name: str
    corners: tuple[Point, ...]

    @classmethod
    def of_box(cls, name: str, box: Box) -> Self:
        """Return a rectangle."""
        left, top, right, bottom = box
        return cls(name, ((left, top), (right, top), (right, bottom), (left, bottom)))

    @property
    def box(self) -> Box:
        """The smallest around it."""
        x, y = zip(*self.corners, strict=True)
        return min(x), min(y), max(x), max(y)

    @property
    def is_rectangle(self) -> bool:
        """Whether its sides lie along the image's."""
        return len(self.corners) == 4 and set(self.corners) == set(Pane.of_box("", self.box).corners)

    @property
    def area_m2(self) -> float:
        """Of the glass."""
        return abs(sum(x * v - u * y for (x, y), (u, v) in self._sides())) / 2e6

    @property
    def perimeter_m(self) -> float:
        """All sides."""
        return math.fsum(math.dist(one, other) for one, other in self._sides()) / 1e3

    def _sides(self) -> Iterator[tuple[Point, Point]]:
        return pairwise((*self.corners, self.corners[0]))

    def depth(self, place: Point) -> float:
        """Return how far a place lies from the rim, mm; below 0 it is outside."""
        x, y = place
        crossings = sum(
            (one[1] > y) != (other[1] > y) and x < (other[0] - one[0]) * (y - one[1]) / (other[1] - one[1]) + one[0]
            for one, other in self._sides()
        )
        nearest = min(_distance(place, one, other) for one, other in self._sides())
        return nearest if crossings % 2 else -nearest

    def holds(self, place: Point) -> bool:
        """Tell whether a place lies on it; its rim is part of it."""
        return self.depth(place) >= -1e-9

    def reaches(self, box: Box) -> bool:
        """Tell whether a box may touch it; surely, if it is a rectangle."""
        left, top, right, bottom = self.box
        near = box[0] <= right and box[2] >= left and box[1] <= bottom and box[3] >= top
        return near and (self.is_rectangle or self.depth(_middle(box)) >= -_radius(box))

    def encloses(self, box: Box) -> bool:
        """Tell whether a box surely lies within."""
        return _lies_in(box, self.box) if self.is_rectangle else self.depth(_middle(box)) >= _radius(box)

    def borders(self, rules: Rules) -> Iterator[tuple[str, Box, Box | None]]:
        """Return the zones of a rule on a rectangle: name, outer border, inner border; the last has no inner one."""
        outer = self.box
        width, height = outer[2] - outer[0], outer[3] - outer[1]
        for zone in rules.zones:
            across, down = _inset(zone, width, height)
            inner = (outer[0] + across, outer[1] + down, outer[2] - across, outer[3] - down)
            yield zone.name, outer, None if zone is rules.zones[-1] else inner
            outer = inner

    def zones(self, centre: Point, box: Box, rules: Rules, uncertainty: float) -> Iterator[tuple[str, bool, bool]]:
        """Return every zone with whether it holds a centre, and whether a box, as far as it is known, reaches it."""
        grown = (box[0] - uncertainty, box[1] - uncertainty, box[2] + uncertainty, box[3] + uncertainty)
        placed = self._by_border if self.is_rectangle else self._by_depth
        held = False
        for name, lies_outside_of_inner, reaches in placed(centre, grown, rules):
            holds = not held and lies_outside_of_inner
            yield name, holds, holds or reaches
            held |= holds

    def _by_border(self, centre: Point, grown: Box, rules: Rules) -> Iterator[tuple[str, bool, bool]]:
        for name, outer, inner in self.borders(rules):
            meets = grown[0] <= outer[2] and grown[2] >= outer[0] and grown[1] <= outer[3] and grown[3] >= outer[1]
            within = inner is not None and (
                inner[0] < grown[0] and inner[1] < grown[1] and grown[2] < inner[2] and grown[3] < inner[3]
            )
            yield name, inner is None or not _lies_in((*centre, *centre), inner), meets and not within

    def _by_depth(self, centre: Point, grown: Box, rules: Rules) -> Iterator[tuple[str, bool, bool]]:
        """The same by the distance from the rim; no point of a box is farther from its middle than a corner is."""
        depth, middle, radius = self.depth(centre), self.depth(_middle(grown)), _radius(grown)
        outer = 0.0
        for zone in rules.zones:
            inner = math.inf if zone is rules.zones[-1] else outer + (zone.width_mm or 0.0)
            yield zone.name, depth < inner, middle + radius >= outer and middle - radius <= inner
            outer = inner


class PlannedPane(Table):
    """A pane of a plan.

    Attributes:
        name: by which its grade is told.
        rectangle_mm: left, top, width and height; or
        polygon_mm: corners, x and y, in order around it.
    """

    name: Text
    rectangle_mm: tuple[Coordinate, Coordinate, Length, Length] | None = None
    polygon_mm: Annotated[tuple[tuple[Coordinate, Coordinate], ...], Field(min_length=3)] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.rectangle_mm is None) == (self.polygon_mm is None):
            raise ValueError(f"pane '{self.name}': give either rectangle_mm or polygon_mm")
        if self.placed((0.0, 0.0)).area_m2 <= 0:
            raise ValueError(f"pane '{self.name}' has no area")
        return self

    def placed(self, origin: Point) -> Pane:
        """Return the pane on a sheet whose plan begins at a place, mm."""
        dx, dy = origin
        if self.rectangle_mm is not None:
            left, top, width, height = self.rectangle_mm
            return Pane.of_box(self.name, (left + dx, top + dy, left + dx + width, top + dy + height))
        return Pane(self.name, tuple((x + dx, y + dy) for x, y in self.polygon_mm or ()))


class CutPlan(Table):
    """What a sheet is cut into.

    Attributes:
        origin_mm: where on the image the plan begins, x and y.
        panes: of the plan; what lies on none of them is cut away, and does not count.
    """

    origin_mm: tuple[Coordinate, Coordinate] = (0.0, 0.0)
    panes: tuple[PlannedPane, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [pane.name for pane in self.panes]
        for name in {name for name in names if names.count(name) > 1}:
            raise ValueError(f"there are two panes '{name}'")
        placed = [pane for pane in self.placed() if pane.is_rectangle]
        for number, one in enumerate(placed):
            for other in placed[:number]:
                width, height = _overlap(one.box, other.box)
                if width > 1e-6 and height > 1e-6:
                    raise ValueError(f"panes '{other.name}' and '{one.name}' overlap by {width:g} x {height:g} mm")
        return self

    def placed(self) -> tuple[Pane, ...]:
        """Return the panes, in mm from where the image begins."""
        return tuple(pane.placed(self.origin_mm) for pane in self.panes)

    def check_rules(self, rules: Rules) -> None:
        """Refuse a rule whose zones are a share of a pane's sides, where a pane has none along the image.

        Raises:
            ParameterError: it is such a rule.
        """
        odd = [pane.name for pane in self.placed() if not pane.is_rectangle]
        if odd and any(zone.width_percent is not None for zone in rules.zones):
            raise ParameterError(
                f"The zones of '{rules.name}' are in percent of a rectangle's sides, and pane '{odd[0]}' is none: give"
                " width_mm in the rule."
            )


def whole_pane(sheet: Sheet) -> Pane:
    """Return an image that is one pane, from border to border."""
    return Pane.of_box("", (0.0, 0.0, sheet.width_mm, sheet.height_mm))


def read_cut_plan(path: Path) -> CutPlan:
    """Read a plan.

    Args:
        path: of a file that ends in .json, or else is TOML.

    Raises:
        DataError: the file cannot be read.
        ParameterError: it is no plan.
    """
    values = read_toml_or_json(path)
    try:
        return CutPlan.model_validate(values)
    except ValidationError as error:
        raise ParameterError(f"'{path}': {first_error(error, CutPlan, {'panes': PlannedPane})}") from None


def _inset(zone: Zone, width: float, height: float) -> Point:
    if zone.width_percent is not None:
        return width * zone.width_percent / 100, height * zone.width_percent / 100
    return zone.width_mm or 0.0, zone.width_mm or 0.0


def _overlap(one: Box, other: Box) -> Point:
    return min(one[2], other[2]) - max(one[0], other[0]), min(one[3], other[3]) - max(one[1], other[1])


def _lies_in(box: Box, other: Box) -> bool:
    """Whether a box lies in another one, whose rim is part of it."""
    return other[0] <= box[0] and other[1] <= box[1] and box[2] <= other[2] and box[3] <= other[3]


def _middle(box: Box) -> Point:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _radius(box: Box) -> float:
    return math.hypot(box[2] - box[0], box[3] - box[1]) / 2


def _distance(place: Point, one: Point, other: Point) -> float:
    """From a place to a side."""
    (x, y), (u, v) = place, (other[0] - one[0], other[1] - one[1])
    length = u * u + v * v
    share = 0.0 if length == 0 else min(1.0, max(0.0, ((x - one[0]) * u + (y - one[1]) * v) / length))
    return math.hypot(x - one[0] - share * u, y - one[1] - share * v)
