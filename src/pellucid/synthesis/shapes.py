"""Shapes in millimetres whose area, length and width are known by formula, and whose mask is exact at any resolution.

Millimetres are counted from the corner of the image's first pixel, ``across`` along a row and ``down`` along the
travel. A shape tells for every place of a grid how far from its middle that lies, as a share of the way to the rim: up
to 1 is inside.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.float64]  # (n,), mm along one direction, ascending
Reach = NDArray[np.float32]  # (len(down), len(across)), 1 at the rim
OUTLINE_POINTS = 720  # of a blot, that its diameters are measured on


@dataclass(frozen=True)
class Ellipse:
    """An ellipse, or its half on one side of a straight rim of glass.

    Attributes:
        across_mm: of its middle.
        down_mm: of its middle.
        axis_mm: diameter along ``angle``.
        other_axis_mm: diameter across that.
        angle: radians from across towards down.
        glass_side: where its other half lies beyond the rim: the side that the glass is on, 1 for higher ``across``,
            -1 for lower; 0 where it is whole.
    """

    across_mm: float
    down_mm: float
    axis_mm: float
    other_axis_mm: float
    angle: float = 0.0
    glass_side: Literal[-1, 0, 1] = 0

    @property
    def centre_mm(self) -> tuple[float, float]:
        """Centre of gravity."""
        shift = self.glass_side * 2 / (3 * math.pi) * self._extent_mm[0]  # that of half a disc; only upright ones
        return self.across_mm + shift, self.down_mm

    @property
    def area_mm2(self) -> float:
        """Area."""
        return math.pi / 4 * self.axis_mm * self.other_axis_mm / (2 if self.glass_side else 1)

    @property
    def length_mm(self) -> float:
        """Largest Feret diameter."""
        return max(self._sides)

    @property
    def width_mm(self) -> float:
        """Smallest Feret diameter."""
        return min(self._sides)

    @property
    def _sides(self) -> tuple[float, float]:
        if not self.glass_side:
            return self.axis_mm, self.other_axis_mm
        across, down = self._extent_mm
        return across / 2, down

    @property
    def _extent_mm(self) -> tuple[float, float]:
        """Of the whole ellipse, across and down."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return (
            math.hypot(self.axis_mm * cos, self.other_axis_mm * sin),
            math.hypot(self.axis_mm * sin, self.other_axis_mm * cos),
        )

    @property
    def box_mm(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the whole ellipse."""
        across, down = (extent / 2 for extent in self._extent_mm)
        return self.across_mm - across, self.down_mm - down, self.across_mm + across, self.down_mm + down

    def reach(self, across: Places, down: Places) -> Reach:
        """Tell for every place of a grid how far out it lies; 1 is the rim."""
        x, y = across - self.across_mm, (down - self.down_mm)[:, None]
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        u, v = (x * cos + y * sin) / (self.axis_mm / 2), (y * cos - x * sin) / (self.other_axis_mm / 2)
        reach = np.sqrt(u * u + v * v)
        return (
            np.where(x * self.glass_side < 0, np.inf, reach).astype(np.float32) if self.glass_side else _floats(reach)
        )


@dataclass(frozen=True)
class Blot:
    """A ragged blot: its radius changes with the direction, by a few waves.

    Attributes:
        across_mm: of its middle.
        down_mm: of its middle.
        radius_mm: on average over directions.
        waves: order, height as a share of the radius, and phase in radians; heights add up to less than 1.
    """

    across_mm: float
    down_mm: float
    radius_mm: float
    waves: tuple[tuple[int, float, float], ...]

    @property
    def area_mm2(self) -> float:
        """Area: half the integral of the squared radius over the directions."""
        return math.pi * self.radius_mm**2 * (1 + sum(height**2 for _, height, _ in self.waves) / 2)

    @cached_property
    def _outline(self) -> NDArray[np.float64]:
        angles = np.linspace(0, 2 * np.pi, OUTLINE_POINTS, endpoint=False)
        return np.stack([np.cos(angles), np.sin(angles)], 1) * self._radius(angles)[:, None]

    @cached_property
    def centre_mm(self) -> tuple[float, float]:
        """Centre of gravity, by the outline's polygon."""
        x, y = self._outline.T
        cross = x * np.roll(y, -1) - np.roll(x, -1) * y
        shift = [float(((v + np.roll(v, -1)) * cross).sum() / (3 * cross.sum())) for v in (x, y)]
        return self.across_mm + shift[0], self.down_mm + shift[1]

    @cached_property
    def _ferets(self) -> NDArray[np.float64]:
        """Widths in every direction."""
        angles = np.linspace(0, np.pi, OUTLINE_POINTS // 2, endpoint=False)
        return np.asarray(np.ptp(self._outline @ np.stack([np.cos(angles), np.sin(angles)]), axis=0))

    @property
    def length_mm(self) -> float:
        """Largest Feret diameter."""
        return float(self._ferets.max())

    @property
    def width_mm(self) -> float:
        """Smallest Feret diameter."""
        return float(self._ferets.min())

    @property
    def box_mm(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom."""
        (left, top), (right, bottom) = self._outline.min(0), self._outline.max(0)
        return self.across_mm + left, self.down_mm + top, self.across_mm + right, self.down_mm + bottom

    def _radius(self, angles: NDArray[np.float64]) -> NDArray[np.float64]:
        waves = sum((height * np.cos(order * angles + phase) for order, height, phase in self.waves), np.zeros(1))
        return np.asarray(self.radius_mm * (1 + waves))

    def reach(self, across: Places, down: Places) -> Reach:
        """Tell for every place of a grid how far out it lies; 1 is the rim."""
        x, y = np.broadcast_arrays(across - self.across_mm, (down - self.down_mm)[:, None])
        return _floats(np.hypot(x, y) / self._radius(np.arctan2(y, x)))


@dataclass(frozen=True)
class Stroke:
    """A bent line of one width with round ends.

    Attributes:
        points_mm: across and down of its corners, at least two; it turns so little at each that it does not cross
            itself.
        width_mm: across the line.
    """

    points_mm: tuple[tuple[float, float], ...]
    width_mm: float

    @cached_property
    def _steps(self) -> NDArray[np.float64]:
        return np.diff(np.array(self.points_mm), axis=0)

    @property
    def _line_mm(self) -> float:
        return float(np.hypot(*self._steps.T).sum())

    @property
    def length_mm(self) -> float:
        """Along the curve, from end to end of what is covered."""
        return self._line_mm + self.width_mm

    @cached_property
    def area_mm2(self) -> float:
        """Area: of the segments and round ends, less what neighbouring segments share."""
        angles = np.arctan2(*self._steps.T[::-1])
        turns = np.abs((np.diff(angles) + np.pi) % (2 * np.pi) - np.pi)
        radius = self.width_mm / 2
        shared = radius**2 * float((np.tan(turns / 2) - turns / 2).sum())
        return self._line_mm * self.width_mm + math.pi * radius**2 - shared

    @property
    def centre_mm(self) -> tuple[float, float]:
        """Centre of gravity of its middle line."""
        points, lengths = np.array(self.points_mm), np.hypot(*self._steps.T)
        across, down = (lengths[:, None] * (points[1:] + points[:-1]) / 2).sum(0) / lengths.sum()
        return float(across), float(down)

    @property
    def box_mm(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom."""
        radius = self.width_mm / 2
        (left, top), (right, bottom) = (
            np.array(self.points_mm).min(0) - radius,
            np.array(self.points_mm).max(0) + radius,
        )
        return float(left), float(top), float(right), float(bottom)

    def reach(self, across: Places, down: Places) -> Reach:
        """Tell for every place of a grid how far out it lies; 1 is the rim. Places beyond 1 may be told as infinite."""
        reach = np.full((len(down), len(across)), np.inf, np.float32)
        radius = self.width_mm / 2
        for start, step in zip(np.array(self.points_mm), self._steps, strict=False):
            low, high = np.minimum(start, start + step) - radius, np.maximum(start, start + step) + radius
            columns = slice(*np.searchsorted(across, (low[0], high[0])))
            rows = slice(*np.searchsorted(down, (low[1], high[1])))
            x, y = across[columns] - start[0], (down[rows] - start[1])[:, None]
            along = np.clip((x * step[0] + y * step[1]) / (step @ step), 0, 1)
            here = np.hypot(x - along * step[0], y - along * step[1]) / radius
            reach[rows, columns] = np.minimum(reach[rows, columns], here)
        return reach


@dataclass(frozen=True)
class Streak:
    """A line along the travel that drifts a little, cut straight at both ends.

    Attributes:
        points_mm: across and down of its knots, at least two, from top to bottom.
        width_mm: across the line.
    """

    points_mm: tuple[tuple[float, float], ...]
    width_mm: float

    @cached_property
    def _knots(self) -> NDArray[np.float64]:
        return np.array(self.points_mm).T

    @property
    def length_mm(self) -> float:
        """Along the line."""
        return float(np.hypot(*np.diff(self._knots)).sum())

    @property
    def area_mm2(self) -> float:
        """Area."""
        return self.length_mm * self.width_mm

    @property
    def centre_mm(self) -> tuple[float, float]:
        """Centre of gravity."""
        return Stroke(self.points_mm, self.width_mm).centre_mm

    @property
    def box_mm(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom."""
        across, down = self._knots
        radius = self.width_mm  # generous: it leans
        return float(across.min()) - radius, float(down[0]), float(across.max()) + radius, float(down[-1])

    def reach(self, across: Places, down: Places) -> Reach:
        """Tell for every place of a grid how far out it lies; 1 is the rim."""
        centres, knots = self._knots
        leaning = np.diff(centres) / np.diff(knots)
        upright = 1 / np.hypot(1, leaning[np.clip(np.searchsorted(knots, down) - 1, 0, len(leaning) - 1)])
        here = np.abs(across - np.interp(down, knots, centres)[:, None]) * upright[:, None] / (self.width_mm / 2)
        outside = (down < knots[0]) | (down > knots[-1])
        return np.where(outside[:, None], np.inf, here).astype(np.float32)


Shape = Ellipse | Blot | Stroke | Streak


def _floats(values: NDArray[np.float64]) -> Reach:
    return values.astype(np.float32)
