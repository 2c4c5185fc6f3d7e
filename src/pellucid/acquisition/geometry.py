"""Pixels to places on the sheet in mm: through a lens that distorts, in perspective, or across several line cameras.

The pixels that are scored stay as they are. What is told in mm goes through the inverse of what the cameras do: places
exactly, sizes by how much the map from px to mm stretches along and across the defect, from end to end.

A lens is corrected by a radial polynomial towards its image's middle, and then a homography (Brown, "Close-range camera
calibration", Photogrammetric Engineering 1971, without the tangential part; the polynomial goes from the distorted to
the true place, so that nothing has to be inverted). Line cameras side by side have seams: columns that two of them see,
an offset along travel, and an angle between their lines.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pellucid._io.toml import read_toml_or_json
from pellucid.errors import DataError, ParameterError
from pellucid.records import Defect

Points = NDArray[np.float64]  # (n, 2)
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Row = tuple[Finite, Finite, Finite]
ALONG = ("length_mm", "feret_max_mm")
ACROSS = ("width_mm", "width_mean_mm", "feret_min_mm")
MIN_LENS_CORNERS = 16  # that a lens of two parameters and a homography is fitted to


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Lens(_Part):
    """An area camera.

    Attributes:
        centre_px: that the distortion is radial about, x and y.
        radius_px: that distances from it are divided by.
        k1: a place at distance r, in radii, truly lies at r (1 + k1 r^2 + k2 r^4).
        k2: see there.
        homography: from true places in px to mm, (3, 3).
    """

    centre_px: tuple[Finite, Finite]
    radius_px: Positive
    k1: Finite
    k2: Finite
    homography: tuple[Row, Row, Row]

    def to_mm(self, places: Points) -> Points:
        """Return where places in px lie, mm, (n, 2)."""
        ideal = _undistorted(places, np.array(self.centre_px), self.radius_px, self.k1, self.k2)
        return _projected(np.array(self.homography), ideal)


class LineCamera(_Part):
    """One of several line cameras, whose columns lie side by side in the image.

    Attributes:
        width_px: its columns.
        overlap_px: its first columns, which show glass that the camera before it shows, too.
        offset_mm: along travel, from the row that the image has it in to where its first column looks.
        skew_degrees: angle of its line with the direction across, positive where its last column looks further along.
        mm_per_px: across; the scale of the image by default.
    """

    width_px: Annotated[int, Field(gt=0)]
    overlap_px: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    offset_mm: Finite = 0.0
    skew_degrees: Annotated[float, Field(gt=-45, lt=45)] = 0.0
    mm_per_px: Positive | None = None


class Geometry(_Part):
    """A scale, and what corrects it.

    Attributes:
        mm_per_px: along x and along y, in the middle of the image; what the correction is none of, has.
        lens: of an area camera; or
        cameras: of a line, from left to right; all columns of the image are theirs.
    """

    mm_per_px: tuple[Positive, Positive]
    lens: Lens | None = None
    cameras: tuple[LineCamera, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.lens is None) == (not self.cameras):
            raise ValueError("give either a lens or cameras")
        for before, one in zip(self.cameras, self.cameras[1:], strict=False):
            if one.overlap_px >= min(before.width_px, one.width_px):
                raise ValueError(f"an overlap of {one.overlap_px:g} px is as wide as a camera")
        if self.cameras and self.cameras[0].overlap_px:
            raise ValueError("the first camera overlaps none: leave its overlap_px out")
        return self

    def check_width(self, width: int) -> None:
        """Refuse an image that is not as wide as the cameras together.

        Raises:
            DataError: it is not.
        """
        if self.cameras and (known := sum(one.width_px for one in self.cameras)) != width:
            raise DataError(f"The image is {width} px wide, and the cameras of the scale file are {known} px together.")

    def to_mm(self, places: Points) -> Points:
        """Return where places lie, mm from where the image begins, x across and y along travel.

        Args:
            places: x and y in px, (n, 2); the middle of the first pixel is (0.5, 0.5).
        """
        if self.lens is not None:
            return self.lens.to_mm(places)
        firsts = np.cumsum([0, *(one.width_px for one in self.cameras[:-1])])
        which = np.clip(np.searchsorted(firsts, places[:, 0], "right") - 1, 0, len(firsts) - 1)
        scales = np.array([one.mm_per_px or self.mm_per_px[0] for one in self.cameras])
        angles = np.radians([one.skew_degrees for one in self.cameras])
        steps = [
            (before.width_px - one.overlap_px) * scale * math.cos(angle)
            for before, one, scale, angle in zip(self.cameras, self.cameras[1:], scales, angles, strict=False)
        ]
        begins = np.cumsum([0.0, *steps])
        offsets = np.array([one.offset_mm for one in self.cameras])
        along = (places[:, 0] - firsts[which]) * scales[which]
        x = begins[which] + along * np.cos(angles[which])
        y = places[:, 1] * self.mm_per_px[1] + offsets[which] + along * np.sin(angles[which])
        return np.stack([x, y], 1)

    def placed(self, defect: Defect) -> Defect:
        """Return a defect with its place in mm and its sizes corrected.

        Args:
            defect: with sizes in mm by the constant scale, where it was measured.
        """
        left, top, width, height = defect.box
        corners = np.array([(left, top), (left + width, top), (left + width, top + height), (left, top + height)])
        around = self.to_mm(corners.astype(np.float64))
        centre = self.to_mm(np.array([defect.centroid]) + 0.5)[0]
        (left_mm, top_mm), (right_mm, bottom_mm) = around.min(0).tolist(), around.max(0).tolist()
        found = replace(
            defect,
            centre_mm=(float(centre[0]), float(centre[1])),
            box_mm=(left_mm, top_mm, right_mm, bottom_mm),
        )
        return found if defect.rectangle is None else replace(found, **self._sizes(defect, defect.rectangle))

    def _sizes(self, defect: Defect, rectangle: tuple[float, float, float, float, float]) -> dict[str, Any]:
        """Sizes by how much longer the rectangle's two axes are than the constant scale has them."""
        x, y, longer, shorter, degrees = rectangle
        turn = math.radians(degrees)
        direction = np.array([math.cos(turn), math.sin(turn)])
        axes = [max(longer, 1.0) * direction, max(shorter, 1.0) * np.array([-direction[1], direction[0]])]
        middle = np.array([x, y]) + 0.5
        true = [np.diff(self.to_mm(np.stack([middle - axis / 2, middle + axis / 2])), axis=0)[0] for axis in axes]
        constant = [axis * self.mm_per_px for axis in axes]
        along, across = (math.hypot(*one) / math.hypot(*other) for one, other in zip(true, constant, strict=True))
        area = abs(_cross(true[0], true[1]) / _cross(constant[0], constant[1]))
        factors = dict.fromkeys(ALONG, along) | dict.fromkeys(ACROSS, across)
        factors |= {"diameter_mm": math.sqrt(area), "area_mm2": area, "area_uncertainty_mm2": area}
        factors["uncertainty_mm"] = max(along, across)
        sizes = {name: getattr(defect, name) for name in factors}
        return {name: size * factors[name] for name, size in sizes.items() if size is not None}


def read_geometry(path: Path) -> Geometry:
    """Read a scale file, as ``pellucid calibrate -o`` writes it or people do.

    Args:
        path: of a file that ends in .json, or else is TOML.

    Raises:
        DataError: the file cannot be read.
        ParameterError: it is no scale file.
    """
    values = read_toml_or_json(path)
    try:
        return Geometry.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        said = first["msg"].removeprefix("Value error, ")
        raise ParameterError(f"'{path}' is no scale file: {where + ': ' if where else ''}{said}.") from None


def fit_lens(corners: Points, places: Points, size: tuple[int, int]) -> tuple[Geometry, float]:
    """Fit a lens to the corners of a chart.

    Args:
        corners: x and y in px, (n, 2), the middle of the first pixel being (0.5, 0.5).
        places: the same corners on the chart, mm, (n, 2).
        size: of the image, height and width, px.

    Returns:
        The geometry, whose mm begin where the image does and go along its axes, the chart turned however it was; and
        how far the farthest corner is off after it, mm.
    """
    from scipy.optimize import least_squares

    centre = np.array([size[1], size[0]]) / 2
    radius = float(np.hypot(*centre))
    scaled = (places - places.mean(0)) / np.ptp(places)

    def project(values: NDArray[np.float64], points: Points) -> Points:
        ideal = (_undistorted(points, centre, radius, values[0], values[1]) - centre) / radius
        return _projected(np.append(values[2:], 1.0).reshape(3, 3), ideal)

    start = np.concatenate([[0.0, 0.0], _affine((corners - centre) / radius, scaled)])
    fitted = least_squares(lambda values: (project(values, corners) - scaled).ravel(), start, method="lm").x
    step = np.eye(2) / 2
    slopes = np.stack([np.diff(project(fitted, np.stack([centre - d, centre + d])), axis=0)[0] for d in step], 1)
    mm_per_px = np.hypot(*slopes) * np.ptp(places)
    left, _, right = np.linalg.svd(slopes)
    turn = (left @ right).T  # from the chart's axes to the image's
    rigid = np.eye(3)
    rigid[:2, :2] = turn * np.ptp(places)
    rigid[:2, 2] = centre * mm_per_px - rigid[:2, :2] @ project(fitted, centre[None])[0]
    shift = np.diag([1 / radius, 1 / radius, 1.0])
    shift[:2, 2] = -centre / radius
    homography = rigid @ np.append(fitted[2:], 1.0).reshape(3, 3) @ shift
    rows: list[Row] = [(row[0], row[1], row[2]) for row in (homography / homography[2, 2]).tolist()]
    lens = Lens(
        centre_px=(float(centre[0]), float(centre[1])),
        radius_px=radius,
        k1=float(fitted[0]),
        k2=float(fitted[1]),
        homography=(rows[0], rows[1], rows[2]),
    )
    error = np.hypot(*(project(fitted, corners) - scaled).T).max() * np.ptp(places)
    return Geometry(mm_per_px=(float(mm_per_px[0]), float(mm_per_px[1])), lens=lens), float(error)


def _affine(points: Points, places: Points) -> NDArray[np.float64]:
    """The first eight entries of the homography that is the best affine map."""
    columns = np.column_stack([points, np.ones(len(points))])
    entries = np.linalg.lstsq(columns, places, rcond=None)[0].T  # (2, 3)
    return np.concatenate([entries.ravel(), [0.0, 0.0]])


def _undistorted(places: Points, centre: Points, radius: float, k1: float, k2: float) -> Points:
    around = (places - centre) / radius
    square = (around**2).sum(1, keepdims=True)
    return np.asarray(centre + radius * around * (1 + k1 * square + k2 * square**2))


def _projected(homography: NDArray[np.float64], places: Points) -> Points:
    columns = np.column_stack([places, np.ones(len(places))]) @ homography.T
    return np.asarray(columns[:, :2] / columns[:, 2:])


def _cross(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(one[0] * other[1] - one[1] * other[0])
