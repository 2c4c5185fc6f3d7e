"""Sheets of drawn glass of any size, as a line-scan camera records them: in bands of rows, with truth in millimetres.

A sheet is drawn in blocks of ``BLOCK_ROWS`` rows, each by a random stream of its own, and bands are cut from them: so
the pixels are the same whatever the bands' height, and memory holds one block and one band. What belongs to the line
and not to the sheet, its cameras, lamps and draw lines, is decided by ``line_seed``: good sheets to learn from and the
sheet to inspect share it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pellucid.errors import ParameterError
from pellucid.synthesis.sheet_defects import SheetDefect, coverage, stamp, window_px

BLOCK_ROWS = 64
NOISE_STREAM, LIGHT_STREAM = 1, 2  # of the sheet's seed
CAMERA_STREAM, LINE_STREAM = 1, 2  # of the line's seed
LINE_REACH = 4.0  # standard deviations of a draw line's profile
RIM_MM = 0.6  # how far light from the rim reaches into the glass
BACKGROUND = 0.05  # light of the conveyor where there is no glass
Pixels = NDArray[np.uint8 | np.uint16]  # (rows, columns), grey


class Area(NamedTuple):
    """A piece of glass, mm."""

    left: float
    top: float
    right: float
    bottom: float

    def holds(self, across: float, down: float, reach: float) -> bool:
        """Whether a place lies on it, so far from its rims."""
        return self.left + reach <= across <= self.right - reach and self.top + reach <= down <= self.bottom - reach


@dataclass(frozen=True)
class SheetPlan:
    """What is drawn, without defects.

    Attributes:
        width_mm: that the cameras see.
        length_mm: along the travel.
        mm_per_px: across and down.
        seed: of the sheet, at least 0: its noise, the wander of its lines, the drift of its lamp.
        line_seed: of the line, at least 0: its cameras and draw lines.
        bits: of a grey value, 8 to 16.
        light: in the middle of a camera's view, in (0, 1).
        cameras: side by side; their light falls off to the sides, and their seams show.
        vignetting: share of the light that a camera loses at its sides.
        lines_per_m: draw lines.
        line_contrast: their standard deviation, a share of the light.
        noise: standard deviation of a pixel at ``light``, in shares of the full range.
        lamp_drift: standard deviation of the light along the travel, a share of it.
        blur_px: standard deviation of the cameras' blur.
        edge_mm: from the image's sides to the glass; 0: the cameras see glass alone.
        piece_mm: length of the pieces that the glass is cut into; None: it is not.
        gap_mm: between two pieces, and before the first.
    """

    width_mm: float
    length_mm: float
    mm_per_px: tuple[float, float] = (0.2, 0.2)
    seed: int = 0
    line_seed: int = 0
    bits: int = 8
    light: float = 0.55
    cameras: int = 2
    vignetting: float = 0.15
    lines_per_m: float = 40.0
    line_contrast: float = 0.02
    noise: float = 0.006
    lamp_drift: float = 0.005
    blur_px: float = 0.5
    edge_mm: float = 0.0
    piece_mm: float | None = None
    gap_mm: float = 30.0

    def __post_init__(self) -> None:
        if min(self.shape) < 1:
            raise ParameterError(
                f"A sheet of {self.width_mm:g}x{self.length_mm:g} mm at {self.mm_per_px[0]:g}x{self.mm_per_px[1]:g} mm"
                " per px has no pixel: give larger sides."
            )
        if not 8 <= self.bits <= 16:
            raise ParameterError(f"bits={self.bits} is not allowed: a grey value has 8 to 16.")
        if 2 * self.edge_mm >= self.width_mm or (self.piece_mm is not None and self.piece_mm <= 0):
            raise ParameterError("There is no glass between the edges: make edge_mm smaller or the pieces longer.")

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the image."""
        return round(self.length_mm / self.mm_per_px[1]), round(self.width_mm / self.mm_per_px[0])

    @property
    def area_m2(self) -> float:
        """Of the glass."""
        return sum((right - left) * (bottom - top) for left, top, right, bottom in self.glass_mm) / 1e6

    @cached_property
    def glass_mm(self) -> tuple[Area, ...]:
        """Pieces of glass, from top to bottom."""
        left, right = self.edge_mm, self.width_mm - self.edge_mm
        if self.piece_mm is None:
            return (Area(left, 0.0, right, self.length_mm),)
        tops = np.arange(self.gap_mm, self.length_mm, self.piece_mm + self.gap_mm)
        return tuple(Area(left, float(top), right, min(float(top) + self.piece_mm, self.length_mm)) for top in tops)


class SheetBand(NamedTuple):
    """Some rows of a sheet: the first one's number, and (rows, columns) grey."""

    top: int
    pixels: Pixels


class _Lines(NamedTuple):
    """Draw lines: the first three belong to the line, the others to the sheet."""

    across_mm: NDArray[np.float64]
    sigma_px: NDArray[np.float64]
    strength: NDArray[np.float64]
    slope: NDArray[np.float64]
    phase: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sheet:
    """A drawn sheet: a plan, and defects on it. Rows are drawn when they are asked for.

    Attributes:
        plan: of the clean glass.
        defects: on it.
    """

    plan: SheetPlan
    defects: Sequence[SheetDefect] = field(default=())

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.plan.shape

    def bands(self, height: int) -> Iterator[SheetBand]:
        """Yield the sheet from top to bottom.

        Args:
            height: of a band, rows, at least 1; the last one may be lower.
        """
        total, columns = self.shape
        block_number, block = -1, np.empty((0, columns), self.dtype)
        for top in range(0, total, height):
            pixels = np.empty((min(height, total - top), columns), self.dtype)
            for number in range(top // BLOCK_ROWS, (top + len(pixels) - 1) // BLOCK_ROWS + 1):
                if number != block_number:
                    block_number, block = number, self._block(number)
                begin, end = max(top, number * BLOCK_ROWS), min(top + len(pixels), number * BLOCK_ROWS + len(block))
                pixels[begin - top : end - top] = block[begin - number * BLOCK_ROWS : end - number * BLOCK_ROWS]
            yield SheetBand(top, pixels)

    def rows(self, top: int, bottom: int) -> Pixels:
        """Draw some rows, (bottom - top, columns).

        Args:
            top: first one.
            bottom: after the last one; at most the sheet's.
        """
        first, last = top // BLOCK_ROWS, math.ceil(bottom / BLOCK_ROWS)
        drawn = np.concatenate([self._block(number) for number in range(first, last)])
        return np.asarray(drawn[top - first * BLOCK_ROWS : bottom - first * BLOCK_ROWS])

    def mask(self, top: int, bottom: int) -> NDArray[np.bool_]:
        """Tell which pixels of some rows are covered by a defect, by half or more; (bottom - top, columns).

        Args:
            top: first row.
            bottom: after the last one.
        """
        mask = np.zeros((bottom - top, self.shape[1]), bool)
        for defect in self.defects:
            left, first, right, last = window_px(defect, self.plan.mm_per_px)
            left, first, right, last = max(left, 0), max(first, top), min(right, self.shape[1]), min(last, bottom)
            if left < right and first < last:
                covered = coverage(defect, (left, first, right, last), self.plan.mm_per_px)
                mask[first - top : last - top, left:right] |= covered >= 0.5
        return mask

    @property
    def dtype(self) -> type[np.uint8] | type[np.uint16]:
        """Of a grey value."""
        return np.uint8 if self.plan.bits == 8 else np.uint16

    @cached_property
    def _noise_by_column(self) -> NDArray[np.float32]:
        """Shot noise: it grows with the root of the light."""
        light = self.light_by_column / self.plan.light
        return np.asarray(self.plan.noise * np.sqrt(light), np.float32)

    @cached_property
    def _glass_by_column(self) -> NDArray[np.float64]:
        """How much of every column is glass."""
        return _covered(
            self.shape[1], self.plan.mm_per_px[0], self.plan.edge_mm, self.plan.width_mm - self.plan.edge_mm
        )

    @cached_property
    def light_by_column(self) -> NDArray[np.float64]:
        """Light of every column without lines, in [0, 1]; the conveyor beside the glass and the dark rim included."""
        plan, glass = self.plan, self._glass_by_column
        level = _light_of_cameras(plan)
        if plan.edge_mm > 0:
            place = (np.arange(len(level)) + 0.5) * plan.mm_per_px[0]
            inside = np.minimum(place - plan.edge_mm, plan.width_mm - plan.edge_mm - place)
            level = level * (1 - 0.5 * np.exp(-np.maximum(inside, 0) / RIM_MM))
        return np.asarray(level * glass + BACKGROUND * (1 - glass))

    @cached_property
    def _lines(self) -> _Lines:
        plan = self.plan
        count = round(plan.lines_per_m * plan.width_mm / 1000)
        line, sheet = (
            np.random.default_rng(seeds) for seeds in ((plan.line_seed, LINE_STREAM, 1), (plan.seed, LIGHT_STREAM, 1))
        )
        across, sigma = line.uniform(0, plan.width_mm, count), np.exp(line.uniform(np.log(0.1), np.log(0.6), count))
        strength = line.normal(0, plan.line_contrast, count)
        across = across + sheet.normal(0, 0.2)  # the ribbon lies a little elsewhere
        sigma_px = np.hypot(sigma / plan.mm_per_px[0], plan.blur_px)
        strength = strength * sheet.normal(1, 0.1, count) * sigma / plan.mm_per_px[0] / sigma_px
        return _Lines(across, sigma_px, strength, sheet.normal(0, 0.0003, count), sheet.uniform(0, 2 * np.pi, count))

    def _line_profile(self, row: int) -> NDArray[np.float32]:
        """What the draw lines change of the light at one row, shares of it."""
        lines, plan = self._lines, self.plan
        profile = np.zeros(self.shape[1], np.float32)
        if not len(lines.across_mm):
            return profile
        down = row * plan.mm_per_px[1]
        wander = 0.3 * np.sin(down * (2 * np.pi / 1500) + lines.phase[0])  # of all of them together
        middle = (lines.across_mm + lines.slope * down + wander) / plan.mm_per_px[0]
        strength = lines.strength * (1 + 0.3 * np.sin(down * (2 * np.pi / 2100) + lines.phase))
        reach = math.ceil(LINE_REACH * float(lines.sigma_px.max()))
        columns = np.floor(middle).astype(int)[:, None] + np.arange(-reach, reach + 1)
        off = (columns + 0.5 - middle[:, None]) / lines.sigma_px[:, None]
        drawn = strength[:, None] * np.exp(-0.5 * off**2)
        within = (columns >= 0) & (columns < len(profile))
        np.add.at(profile, columns[within], drawn[within].astype(np.float32))
        return profile

    def _lamp(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Light along the travel, around 1."""
        phases = np.random.default_rng((self.plan.seed, LIGHT_STREAM, 2)).uniform(0, 2 * np.pi, 2)
        down = rows * self.plan.mm_per_px[1]
        waves = sum(np.sin(down * (2 * np.pi / length) + p) for length, p in zip((1700, 610), phases, strict=True))
        return np.asarray(1 + self.plan.lamp_drift * waves, np.float32)

    def _clean(self, top: int, count: int) -> NDArray[np.float32]:
        """Glass without defects and noise, (count, columns)."""
        lamp = self._lamp(np.arange(top, top + BLOCK_ROWS))[:count, None]
        base = self.light_by_column.astype(np.float32)
        at_top, at_bottom = (
            base * (1 + self._line_profile(row) * self._glass_by_column.astype(np.float32))
            for row in (top, top + BLOCK_ROWS)
        )
        weight = (np.arange(count, dtype=np.float32) / np.float32(BLOCK_ROWS))[:, None]
        drawn = weight * (at_bottom - at_top)
        drawn += at_top
        drawn *= lamp
        if self.plan.piece_mm is not None:
            glass = sum(_covered(count, self.plan.mm_per_px[1], one.top, one.bottom, top) for one in self.plan.glass_mm)
            share = np.asarray(glass, np.float32)[:, None]
            if share.min() < 1:
                drawn = drawn * share + np.float32(BACKGROUND) * (1 - share)
        return drawn

    def _block(self, number: int) -> Pixels:
        """Draw one block of rows, the last one of the sheet maybe cut."""
        total, columns = self.shape
        top = number * BLOCK_ROWS
        count = min(BLOCK_ROWS, total - top)
        drawn = self._clean(top, count)
        for defect in self._defects_by_block.get(number, ()):
            found = stamp(defect, top, top + count, columns, self.plan.mm_per_px, self.plan.blur_px)
            if found is not None:
                drawn[found.rows.start - top : found.rows.stop - top, found.columns] *= 1 + found.change
        stream = np.random.Generator(np.random.SFC64([self.plan.seed, NOISE_STREAM, number, 1]))
        noise = stream.standard_normal((count, columns), dtype=np.float32)
        noise *= self._noise_by_column
        drawn += noise
        return self._digitised(drawn)

    def _digitised(self, drawn: NDArray[np.float32]) -> Pixels:
        """Grey values of as many bits."""
        highest = 2**self.plan.bits - 1
        if highest == 255:  # rounds and clips at once
            return np.asarray(cv2.convertScaleAbs(np.maximum(drawn, 0, out=drawn), alpha=highest), np.uint8)
        return np.asarray(np.clip(np.rint(drawn * np.float32(highest)), 0, highest), np.uint16)

    @cached_property
    def _defects_by_block(self) -> dict[int, list[SheetDefect]]:
        """Which defects reach into every block: a sheet may have thousands."""
        found: dict[int, list[SheetDefect]] = {}
        total = self.shape[0]
        for defect in self.defects:
            _, first, _, last = window_px(defect, self.plan.mm_per_px)
            margin = math.ceil(3 * (self.plan.blur_px + defect.softness_mm / self.plan.mm_per_px[1])) + 1
            for number in range(max(first - margin, 0) // BLOCK_ROWS, min(last + margin, total - 1) // BLOCK_ROWS + 1):
                found.setdefault(number, []).append(defect)
        return found


def _covered(count: int, scale: float, begin: float, end: float, first: int = 0) -> NDArray[np.float64]:
    """How much of every row or column from ``first`` on lies between two places in mm."""
    low = (first + np.arange(count)) * scale
    return np.asarray(np.clip((np.minimum(low + scale, end) - np.maximum(low, begin)) / scale, 0, 1), np.float64)


def _light_of_cameras(plan: SheetPlan) -> NDArray[np.float64]:
    """Light of every column as if all were clean glass without lines."""
    columns = plan.shape[1]
    rng = np.random.default_rng((plan.line_seed, CAMERA_STREAM, 1))
    place = (np.arange(columns) + 0.5) / columns * plan.cameras
    camera = np.minimum(place.astype(int), plan.cameras - 1)
    off = 2 * (place - camera) - 1
    gain = rng.normal(1, 0.02, plan.cameras)[camera] * rng.normal(1, 0.004, columns)
    return np.asarray(plan.light * gain * (1 - plan.vignetting * off**2))
