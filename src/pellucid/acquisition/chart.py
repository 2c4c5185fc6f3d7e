"""A picture of a chart to the scale of a camera: mm per px along both axes, and what error is left."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from pellucid.acquisition.geometry import MIN_LENS_CORNERS, Geometry, fit_lens
from pellucid.acquisition.images import read_image
from pellucid.errors import DataError, ParameterError

ChartKind = Literal["chessboard", "circles"]
Points = NDArray[np.float64]  # (n, 2)
Grey = NDArray[np.uint8]  # (H, W)
MIN_CORNERS = 3  # inner corners along each side
MIN_SPAN = 3.0  # squares between two corners, for the error of a length in percent
COVERAGE_FACTOR = 2.0  # expanded uncertainties hold in 19 of 20 cases
NEAR_SHARE = 0.35  # of a square: from a corner towards the middle of the squares around it
MIN_CROSSING_SHARE = 0.5  # of the corners of a row that are inner ones
STEP = 1e-6  # relative, of numerical derivatives


@dataclass(frozen=True)
class Calibration:
    """The scale of a camera, and what it leaves out.

    Attributes:
        mm_per_px: along x and along y of the image.
        uncertainty: of both, for 19 of 20 charts; by the scatter of the corners, the chart itself taken as exact.
        skew_degrees: by how much the angle between the image's axes differs from 90 on the chart.
        position_error_mm: largest distance of a corner from where two constant scales put it.
        length_error_percent: largest error of a length of at least three squares between two corners.
        corners: columns and rows of corners, or circles, that were found.
        geometry: what corrects lens and perspective; None where too few corners show for one.
        corrected_error_mm: largest distance of a corner from where that puts it.
    """

    mm_per_px: tuple[float, float]
    uncertainty: tuple[float, float]
    skew_degrees: float
    position_error_mm: float
    length_error_percent: float
    corners: tuple[int, int]
    geometry: Geometry | None = None
    corrected_error_mm: float | None = None

    @property
    def option(self) -> str:
        """What ``--mm-per-px`` takes: one number where the two differ by less than lengths are off anyway."""
        x, y = self.mm_per_px
        if abs(x - y) <= self.length_error_percent / 100 * (x + y) / 2:
            return f"{(x + y) / 2:.6g}"
        return f"{x:.6g},{y:.6g}"


def parse_pattern(text: str | None) -> tuple[int, int] | None:
    """Read the columns and rows of a chart, as ``9x6``.

    Raises:
        ParameterError: it is something else.
    """
    if text is None:
        return None
    columns, _, rows = text.lower().partition("x")
    if not (columns.isascii() and columns.isdigit() and rows.isascii() and rows.isdigit()):
        raise ParameterError(f"pattern '{text}' is not understood: write columns x rows, as in 9x6.")
    return int(columns), int(rows)


def calibrate(
    image: Path, square_mm: float, chart: ChartKind = "chessboard", pattern: tuple[int, int] | None = None
) -> Calibration:
    """Measure the scale of a camera by a picture of a chart, which may be turned.

    Args:
        image: file of the picture.
        square_mm: side of a square of the chessboard, or distance of two circles' centres.
        chart: what the chart is.
        pattern: columns and rows of inner corners, or of circles; of a chessboard, None finds all that show.

    Raises:
        DataError: the file cannot be read, or shows no such chart.
        ParameterError: the side is no length, or there is no pattern where one is needed.
    """
    if not (np.isfinite(square_mm) and square_mm > 0):
        raise ParameterError(f"square_mm={square_mm:g} is not allowed: it is a length above 0.")
    if pattern is not None and min(pattern) < MIN_CORNERS:
        raise ParameterError(
            f"A chart of {pattern[0]}x{pattern[1]} is too small: at least {MIN_CORNERS}x{MIN_CORNERS}."
        )
    if chart == "circles" and pattern is None:
        raise ParameterError("A grid of circles needs its columns and rows: give --pattern, as in 11x7.")
    grey = np.rint(read_image(image).mean(2) * 255).astype(np.uint8)
    found = _circles(grey, pattern) if chart == "circles" and pattern else _chessboard(grey, pattern)
    if found is None:
        size = "" if pattern is None else f" of {pattern[0]}x{pattern[1]}"
        raise DataError(
            f"'{image}' shows no {'grid of circles' if chart == 'circles' else 'chessboard'}{size}: it has to be in"
            " sharp focus, evenly lit, and wholly in the picture with a bright rim."
        )
    measured = measure_scale(*found, square_mm)
    if len(found[0]) < MIN_LENS_CORNERS:
        return measured
    geometry, error = fit_lens(found[0] + 0.5, _places(found[1], square_mm), (grey.shape[0], grey.shape[1]))
    return replace(measured, geometry=geometry, corrected_error_mm=error)


def _places(size: tuple[int, int], square_mm: float) -> Points:
    """Corners on the chart, mm, row by row, (columns * rows, 2)."""
    rows, columns = np.mgrid[: size[1], : size[0]]
    places = np.stack([columns.ravel(), rows.ravel()], 1) * square_mm
    return np.asarray(places - places.mean(0))


def measure_scale(corners: Points, size: tuple[int, int], square_mm: float) -> Calibration:
    """Fit the scale to the corners of a chart.

    Args:
        corners: x and y in px, row by row, (columns * rows, 2).
        size: columns and rows.
        square_mm: distance of neighbours.
    """
    places = _places(size, square_mm)
    centred = corners - corners.mean(0)
    inverse = np.linalg.inv(places.T @ places)
    px_per_mm = (inverse @ places.T @ centred).T  # (2, 2): px = px_per_mm @ mm
    residuals = centred - places @ px_per_mm.T
    variances = (residuals**2).sum(0) / (len(corners) - 3)  # px2, of x and of y
    scale = _scales(px_per_mm)
    spread = np.zeros(2)
    for axis in range(2):
        slopes = np.stack([_slope(px_per_mm, axis, column) for column in range(2)], 1)  # (2 scales, 2 entries)
        spread += variances[axis] * np.einsum("ij,jk,ik->i", slopes, inverse, slopes)
    mm_per_px = np.linalg.inv(px_per_mm)
    cosine = mm_per_px[:, 0] @ mm_per_px[:, 1] / scale.prod()
    measured = centred * scale  # mm, as two constant scales have it
    left, _, right = np.linalg.svd(measured.T @ places)
    turned = measured @ left @ right  # onto the chart, mirrored where it is
    distances = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
    errors = np.abs(np.hypot(*(measured[:, None] - measured[None]).transpose(2, 0, 1)) - distances)
    long = distances >= min(MIN_SPAN, min(size) - 1) * square_mm
    return Calibration(
        (float(scale[0]), float(scale[1])),
        (float(COVERAGE_FACTOR * np.sqrt(spread[0])), float(COVERAGE_FACTOR * np.sqrt(spread[1]))),
        float(np.degrees(np.arccos(cosine)) - 90),
        float(np.hypot(*(turned - places).T).max()),
        float(100 * (errors[long] / distances[long]).max()),
        size,
    )


def _scales(px_per_mm: NDArray[np.float64]) -> Points:
    """Mm that one px along x, and one along y, is on the chart, (2,)."""
    return np.asarray(np.hypot(*np.linalg.inv(px_per_mm)), np.float64)


def _slope(px_per_mm: NDArray[np.float64], axis: int, column: int) -> Points:
    """How both scales change with an entry of the matrix, (2,)."""
    step = np.zeros((2, 2))
    step[axis, column] = STEP * np.abs(px_per_mm).max()
    change = _scales(px_per_mm + step) - _scales(px_per_mm - step)
    return np.asarray(change / (2 * step[axis, column]))


def _chessboard(grey: Grey, pattern: tuple[int, int] | None) -> tuple[Points, tuple[int, int]] | None:
    flags = cv2.CALIB_CB_EXHAUSTIVE | cv2.CALIB_CB_ACCURACY | (0 if pattern else cv2.CALIB_CB_LARGER)
    least = pattern or (MIN_CORNERS, MIN_CORNERS)
    shown, corners, meta = cv2.findChessboardCornersSBWithMeta(grey, least, flags)
    if not shown:
        return None
    grid = np.asarray(corners, np.float64).reshape(*meta.shape[:2], 2)
    grid = grid if pattern else _crossings(grey, grid)
    return (
        (np.asarray(grid.reshape(-1, 2)), (grid.shape[1], grid.shape[0]))
        if min(grid.shape[:2]) >= MIN_CORNERS
        else None
    )


def _crossings(grey: Grey, grid: Points) -> Points:
    """A grid of corners (rows, columns, 2) without those at the chessboard's rim, which OpenCV may take for its own.

    Around an inner corner two dark squares and two bright ones touch; at the rim, one dark square and the paper.
    """
    right, down = (np.gradient(grid, axis=axis) * NEAR_SHARE for axis in (1, 0))
    pairs = ((grid + right + down, grid - right - down), (grid + right - down, grid - right + down))
    (first, second), (third, fourth) = ((_at(grey, places) for places in pair) for pair in pairs)
    low, high = np.minimum(first, second), np.maximum(first, second)
    crossing = (low > np.maximum(third, fourth)) | (high < np.minimum(third, fourth))
    rows, columns = (np.flatnonzero(crossing.mean(axis) > MIN_CROSSING_SHARE) for axis in (1, 0))
    return np.asarray(grid[rows][:, columns])


def _at(grey: Grey, places: Points) -> Grey:
    """Grey values (rows, columns) at places (rows, columns, 2)."""
    x, y = np.rint(np.moveaxis(places, 2, 0)).astype(int)
    return np.asarray(grey[y.clip(0, grey.shape[0] - 1), x.clip(0, grey.shape[1] - 1)])


def _circles(grey: Grey, pattern: tuple[int, int]) -> tuple[Points, tuple[int, int]] | None:
    for picture in (grey, 255 - grey):  # dark circles, or bright ones
        shown, centres = cv2.findCirclesGrid(picture, pattern, flags=cv2.CALIB_CB_SYMMETRIC_GRID)
        if shown:
            return np.asarray(centres, np.float64).reshape(-1, 2), pattern
    return None
