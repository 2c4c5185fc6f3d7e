"""Masks to measures: how large a flaw is, of what form, and how it differs from the light around it."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pellucid.records import Polygon
from pellucid.regions.background import Floats, Mask, noise_level
from pellucid.regions.skeleton import longest_line, thickness_px

RING_HOLE_SHARE = 0.25  # of what a ring encloses, itself included, that is no part of it
RING_ELONGATION = 2.0  # largest by smallest Feret diameter, that a ring stays below
MAX_OUTLINE_POINTS = 400  # of one defect: an outline of more corners is simplified
MAX_SIMPLIFICATION_PX = 4.0  # that corners may move by
EDGE_UNCERTAINTY_PX = 1 / np.sqrt(12)  # standard uncertainty of an edge that lies anywhere in its pixel
COVERAGE_FACTOR = 2.0  # expanded uncertainties hold in 19 of 20 cases
SURROUNDINGS_PX = (
    4,
    16,
)  # least and most of how far a halo is looked for; beyond it, as far again, is the light around
HALO_NOISES = 3.0  # noise levels of the light around, that a halo deviates by
CORE_SHARE = 0.5  # of a flaw's contrast, that its core has at least
HALF_COVERED = 0.49  # pixels that touch at a corner have a half there, and stay one shape
STRONGEST_QUANTILE = 0.9  # of a flaw's deviations, that its contrast is told by


class Shape(NamedTuple):
    """Size and form in px; see :class:`pellucid.records.Defect`."""

    length_px: float
    width_px: float
    width_mean_px: float
    diameter_px: float
    feret_max_px: float
    feret_min_px: float
    rectangle: tuple[float, float, float, float, float]
    is_ring: bool


class Appearance(NamedTuple):
    """Contrast and edge; see :class:`pellucid.records.Defect`."""

    contrast: float
    sharpness: float
    core_px: int
    halo_px: int


def measure_shape(mask: Mask, bridge_px: int = 0) -> Shape:
    """Measure size and form.

    Args:
        mask: (h, w), true inside; with at least one pixel.
        bridge_px: half of the gaps that the length goes across.
    """
    area = int(mask.sum())
    hull = _hull(mask)
    feret_max = float(np.hypot(*(hull[:, None] - hull[None]).transpose(2, 0, 1)).max())
    sides = np.roll(hull, -1, 0) - hull
    normals = np.stack([-sides[:, 1], sides[:, 0]], 1) / np.hypot(*sides.T)[:, None]
    along = hull @ normals.T
    feret_min = float(np.ptp(along, axis=0).min())
    rectangle = _rectangle(hull)
    whole = _filled(mask)
    enclosed = int(whole.sum())
    is_ring = enclosed - area > RING_HOLE_SHARE * enclosed and feret_max < RING_ELONGATION * feret_min
    if bridge_px:
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * bridge_px + 1, 2 * bridge_px + 1))
        padded = np.pad(mask, 2 * bridge_px).astype(np.uint8)
        mask = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, disc) > 0
    line = longest_line(whole if is_ring else mask)
    length = max(line.length, rectangle[2])
    return Shape(
        length_px=length,
        width_px=line.width,
        width_mean_px=(enclosed if is_ring else area) / length,
        diameter_px=float(np.sqrt(4 * area / np.pi)),
        feret_max_px=feret_max,
        feret_min_px=feret_min,
        rectangle=rectangle,
        is_ring=is_ring,
    )


def _hull(mask: Mask) -> NDArray[np.float64]:
    """The convex hull of the middles of all pixel edges, (n, 2), x and y, where a pixel's centre is a whole number."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    rim = np.concatenate(contours)[:, 0].astype(np.float32)
    edges = np.array([[-0.5, 0], [0.5, 0], [0, -0.5], [0, 0.5]], np.float32)
    return np.asarray(cv2.convexHull((rim[:, None] + edges).reshape(-1, 2))[:, 0], np.float64)


def _rectangle(hull: NDArray[np.float64]) -> tuple[float, float, float, float, float]:
    (x, y), (first, second), angle = cv2.minAreaRect(hull.astype(np.float32))
    turned = angle if first >= second else angle + 90
    return float(x), float(y), float(max(first, second)), float(min(first, second)), float(turned % 180)


def _filled(mask: Mask) -> Mask:
    """A mask with its holes filled."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.zeros(mask.shape, np.uint8), contours, -1, 1, cv2.FILLED) > 0


def trace(mask: Mask, left: int, top: int) -> tuple[Polygon, ...]:
    """Return the outline of a mask (h, w) as closed polygons through its outermost pixels, and those of its holes.

    Args:
        mask: (h, w).
        left: column of the image that the mask begins at.
        top: its row.
    """
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    tolerance, simple = 0.5, list(contours)
    while sum(map(len, simple)) > MAX_OUTLINE_POINTS and tolerance <= MAX_SIMPLIFICATION_PX:
        simple = [cv2.approxPolyDP(contour, tolerance, True) for contour in contours]
        tolerance *= 2
    if sum(map(len, simple)) > MAX_OUTLINE_POINTS:  # the smallest holes and parts are left out
        simple.sort(key=cv2.contourArea, reverse=True)
        simple = simple[
            : int(np.searchsorted(np.cumsum([len(polygon) for polygon in simple]), MAX_OUTLINE_POINTS, "right"))
        ]
    return tuple(tuple((int(x) + left, int(y) + top) for x, y in polygon[:, 0]) for polygon in simple)


def perimeter_px(mask: Mask) -> float:
    """Return the length of the outline of a mask, through the centres of its outermost pixels."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return float(sum(cv2.arcLength(contour, True) for contour in contours))


def measure_appearance(pixels: Floats, mask: Mask, others: Mask) -> Appearance | None:
    """Measure contrast, edge, core and halo, in the channel where the contrast is largest.

    Args:
        pixels: (h, w, channels) in [0, 1], with the flaw's surroundings.
        mask: (h, w), where the flaw is.
        others: (h, w), where other flaws are.

    Returns:
        None where nothing of the surroundings is left, or they are black.
    """
    reach = int(np.clip(round(thickness_px(mask)), *SURROUNDINGS_PX))
    away = _distances(~mask)
    around = (away > reach) & (away <= 2 * reach) & ~others
    if not around.any():
        return None
    best: Appearance | None = None
    for channel in np.moveaxis(pixels, 2, 0):
        light = float(np.median(channel[around]))
        if light <= 0:
            continue
        near = (away > 0) & (away <= reach) & ~others
        found = _appearance(channel - np.float32(light), light, mask, around, near, away)
        if best is None or abs(found.contrast) > abs(best.contrast):
            best = found
    return best


def _appearance(deviation: Floats, light: float, mask: Mask, around: Mask, near: Mask, away: Floats) -> Appearance:
    inside = deviation[mask]
    sign = np.float32(1 if inside.mean() >= 0 else -1)
    strongest = float(np.quantile(sign * inside, STRONGEST_QUANTILE))
    core = mask & (sign * deviation >= CORE_SHARE * strongest)
    level = float(deviation[core].mean()) if core.any() else float(inside.mean())
    noise = noise_level(deviation[around])
    signed = _distances(mask) - away  # rises by 1 a px into the flaw
    right, down = _slope(signed)
    rise, sink = _slope(deviation)
    edge = np.abs(signed) <= 1
    along_normal = ((rise * right + sink * down) / np.maximum(np.hypot(right, down), 1e-6))[edge]
    return Appearance(
        contrast=level / light,
        sharpness=max(0.0, float(along_normal.mean()) / level) if level else 0.0,
        core_px=int(core.sum()),
        halo_px=int((near & (np.abs(deviation) > HALO_NOISES * noise)).sum()),
    )


def _distances(mask: Mask) -> Floats:
    """Distance of each pixel of a mask from the nearest one outside."""
    return np.asarray(cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5), np.float32)


def _slope(values: Floats) -> tuple[Floats, Floats]:
    """Central differences to the right and down."""
    right, down = (cv2.Sobel(values, cv2.CV_32F, dx, 1 - dx, ksize=1, scale=0.5) for dx in (1, 0))
    return np.asarray(right, np.float32), np.asarray(down, np.float32)


def with_square_pixels(mask: Mask, mm_per_px: tuple[float, float]) -> tuple[Mask, float]:
    """Return a mask with pixels that are as wide as high, and how many mm that is.

    One whose pixels are so already stays; another is stretched onto pixels of half the shorter side, so that its size
    is rounded to a quarter of a pixel, and interpolated, so that its rim has no steps for a skeleton to run into.

    Args:
        mask: (h, w).
        mm_per_px: along x and along y.
    """
    across, down = mm_per_px
    if across == down:
        return mask, across
    side = min(mm_per_px) / 2
    size = (round(mask.shape[1] * across / side), round(mask.shape[0] * down / side))
    padded = np.pad(mask, 1).astype(np.float32)  # what lies at the rim ends half a pixel beyond it, as elsewhere
    grown = (size[0] + 2 * round(across / side), size[1] + 2 * round(down / side))
    stretched = cv2.resize(padded, grown, interpolation=cv2.INTER_LINEAR)
    return stretched > HALF_COVERED, side


def in_millimetres(
    shape: Shape, side_mm: float, area_mm2: float, perimeter_mm: float, coarsest_mm: float
) -> dict[str, float]:
    """Return the measures in mm, with the uncertainty that comes of pixels.

    The true edge lies anywhere in its pixel, so its standard uncertainty is 1/sqrt(12) px, and that of a length between
    two edges sqrt(2) times as much; twice that, 0.82 px, holds in 19 of 20 cases. An area is as uncertain as if each
    point of the outline were off by half of that. The scale itself is taken as exact.

    Args:
        shape: measured in square pixels.
        side_mm: of these.
        area_mm2: of the defect.
        perimeter_mm: of its outline.
        coarsest_mm: the image's pixels along the axis that shows less.
    """
    uncertainty_mm = float(COVERAGE_FACTOR * np.sqrt(2) * EDGE_UNCERTAINTY_PX) * coarsest_mm
    lengths = {name.removesuffix("_px"): value for name, value in shape._asdict().items() if name.endswith("_px")}
    return {
        **{f"{name}_mm": value * side_mm for name, value in lengths.items()},
        "diameter_mm": float(np.sqrt(4 * area_mm2 / np.pi)),
        "area_mm2": area_mm2,
        "uncertainty_mm": uncertainty_mm,
        "area_uncertainty_mm2": perimeter_mm / 2 * uncertainty_mm,
    }
