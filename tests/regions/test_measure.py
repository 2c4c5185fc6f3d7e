"""Measures of shapes whose size is known, beside scikit-image's and OpenCV's."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist
from skimage.measure import label, regionprops
from skimage.morphology import skeletonize

from pellucid.errors import ParameterError
from pellucid.regions.defects import find_defects
from pellucid.regions.kinds import KINDS, kind_of
from pellucid.regions.measure import (
    MAX_OUTLINE_POINTS,
    in_millimetres,
    measure_appearance,
    measure_shape,
    perimeter_px,
    trace,
    with_square_pixels,
)
from pellucid.regions.scale import parse_scale
from pellucid.regions.skeleton import MAX_THICKNESS_PX, inscribed_widths, longest_line, thin

SIDE = 140
Y, X = np.mgrid[0:SIDE, 0:SIDE].astype(np.float64)
offsets = st.floats(-0.5, 0.5)
degrees = st.floats(0, 180)
blobs = st.integers(0, 10_000).map(
    lambda seed: cv2.GaussianBlur(np.random.default_rng(seed).random((40, 50)), (0, 0), 2.5) > 0.53
)


def bar(length, width, angle=0.0, dx=0.0, dy=0.0):
    """Pixels whose centre lies in a rectangle in the middle of a window."""
    radians = np.deg2rad(angle)
    x, y = X - SIDE / 2 - dx, Y - SIDE / 2 - dy
    along, across = x * np.cos(radians) + y * np.sin(radians), y * np.cos(radians) - x * np.sin(radians)
    return (along >= -length / 2) & (along < length / 2) & (across >= -width / 2) & (across < width / 2)


def disc(diameter, dx=0.0, dy=0.0):
    return np.hypot(X - SIDE / 2 - dx, Y - SIDE / 2 - dy) <= diameter / 2


@settings(max_examples=25)
@given(st.integers(1, 12), st.integers(30, 90))
def test_an_upright_bar_is_exact(width, length):
    mask = np.zeros((SIDE, SIDE), bool)
    mask[20 : 20 + width, 10 : 10 + length] = True
    shape = measure_shape(mask)
    assert shape.length_px == pytest.approx(length)
    assert (shape.width_px, shape.width_mean_px) == (pytest.approx(width, abs=0.05), pytest.approx(width))
    assert shape.rectangle == pytest.approx((10 + (length - 1) / 2, 20 + (width - 1) / 2, length, width, 0), abs=1e-3)


@settings(max_examples=40)
@given(st.floats(30, 90), st.floats(2, 12), degrees, offsets, offsets)
def test_a_turned_bar_is_measured_within_its_pixels(length, width, angle, dx, dy):
    shape = measure_shape(bar(length, width, angle, dx, dy))
    assert shape.length_px == pytest.approx(length, abs=1.5, rel=0.03)
    assert shape.width_px == pytest.approx(width, abs=1.5)
    assert shape.width_mean_px == pytest.approx(width, abs=1.3)
    assert shape.rectangle[2:4] == (pytest.approx(length, abs=1.6), pytest.approx(width, abs=1.6))
    turned = abs(shape.rectangle[4] - angle) % 180
    assert min(turned, 180 - turned) < 4


@settings(max_examples=25)
@given(st.floats(8, 100), offsets, offsets)
def test_a_disc_is_as_long_as_it_is_wide(diameter, dx, dy):
    shape = measure_shape(disc(diameter, dx, dy))
    for measured in (shape.length_px, shape.diameter_px, shape.feret_max_px, shape.feret_min_px):
        assert measured == pytest.approx(diameter, abs=1.2)
    assert 0.96 * diameter - 1.6 <= shape.width_px <= diameter + 0.8  # steps of the rim reach into it
    assert not shape.is_ring


@pytest.mark.parametrize("width", [2, 4, 8])
@pytest.mark.parametrize(("radius", "turn"), [(40, 240), (55, 90), (30, 300)])
def test_a_curve_is_as_long_as_its_arc(radius, turn, width):
    distance, angle = np.hypot(X - 70, Y - 70), np.rad2deg(np.arctan2(Y - 70, X - 70)) + 180
    mask = (np.abs(distance - radius) <= width / 2) & (angle <= turn)
    line = longest_line(mask)
    assert line.length == pytest.approx(np.deg2rad(turn) * radius, rel=0.03)
    assert line.width == pytest.approx(width, abs=0.8)


def test_a_thick_shape_is_shrunk_and_measured_alike():
    wide = cv2.resize(bar(100, 30, 20).astype(np.uint8), None, fx=6, fy=6, interpolation=cv2.INTER_NEAREST) > 0
    assert MAX_THICKNESS_PX < 6 * 30
    assert longest_line(wide) == pytest.approx(np.multiply(longest_line(bar(100, 30, 20)), 6), rel=0.05)


@settings(max_examples=25)
@given(blobs)
def test_diameters_are_those_of_scikit_image_and_of_every_pair_of_edges(mask):
    numbered = label(mask, connectivity=2)
    for region in regionprops(numbered):
        shape = measure_shape(numbered == region.label)
        edges = (region.coords[:, None] + [[-0.5, 0], [0.5, 0], [0, -0.5], [0, 0.5]]).reshape(-1, 2)
        assert shape.feret_max_px == pytest.approx(pdist(edges).max(), abs=1e-4)
        assert shape.feret_max_px == pytest.approx(region.feret_diameter_max, abs=1)  # which is that of its filled hull
        assert shape.diameter_px == pytest.approx(region.equivalent_diameter_area)
        directions = np.deg2rad(np.arange(0, 180, 0.5))
        slow = np.ptp(edges @ np.stack([np.sin(directions), np.cos(directions)]), axis=0).min()
        assert slow - 0.05 * len(region.coords) ** 0.5 <= shape.feret_min_px <= slow + 1e-6


@settings(max_examples=25)
@given(blobs)
def test_thinning_keeps_parts_and_holes_and_lies_where_that_of_scikit_image_does(mask):
    thinned, other = thin(mask), skeletonize(mask)
    assert not (thinned & ~mask).any()
    for connectivity, whole, line in ((2, mask, thinned), (1, ~mask, ~thinned)):
        padded = [np.pad(one, 1, constant_values=connectivity == 1) for one in (whole, line)]
        assert label(padded[0], connectivity=connectivity).max() == label(padded[1], connectivity=connectivity).max()
    if other.any():
        away = cv2.distanceTransform((~thinned).astype(np.uint8), cv2.DIST_L2, 5)
        assert np.quantile(away[other], 0.9) <= 2.5
    assert np.array_equal(thin(thinned), thinned)


@settings(max_examples=30)
@given(blobs)
def test_inscribed_widths_are_twice_the_distance_to_the_nearest_pixel_outside(mask):
    """Beside the slow way: from the best of a pixel's nine places to every square outside."""
    widths = inscribed_widths(mask)
    outside = np.argwhere(~np.pad(mask, 1)) - 1.0
    for y, x in np.argwhere(mask)[::97]:
        places = [(y + down / 2, x + right / 2) for down in (-1, 0, 1) for right in (-1, 0, 1)]
        reach = [np.hypot(*np.maximum(np.abs(outside - place) - 0.5, 0).T).min() for place in places]
        assert widths[y, x] == pytest.approx(2 * max(reach), rel=0.03, abs=0.05)


@settings(max_examples=40)
@given(st.floats(4, 60), offsets, offsets)
def test_the_uncertainty_holds_in_19_of_20_cases_and_scales(diameter, dx, dy):
    mask = disc(diameter, dx, dy)
    shape = measure_shape(mask)
    found = in_millimetres(shape, 0.05, mask.sum() * 0.05**2, 0.05 * perimeter_px(mask), 0.05)
    assert found["length_mm"] == pytest.approx(0.05 * shape.length_px)
    assert found["area_mm2"] == pytest.approx(mask.sum() * 0.0025)
    assert found["uncertainty_mm"] == pytest.approx(0.05 * 2 * np.sqrt(2 / 12))
    assert abs(found["area_mm2"] - np.pi / 4 * (0.05 * diameter) ** 2) <= found["area_uncertainty_mm2"]


def test_of_many_bars_19_of_20_widths_are_within_the_uncertainty():
    rng = np.random.default_rng(0)
    off = []
    for _ in range(150):
        width = rng.uniform(3, 12)
        shape = measure_shape(bar(60, width, rng.uniform(0, 180), *rng.uniform(-0.5, 0.5, 2)))
        off.append(abs(shape.width_px - width))
    assert np.mean(np.array(off) <= 2 * np.sqrt(2 / 12)) >= 0.95


def test_the_outline_draws_the_mask_again():
    mask = disc(30) & ~disc(12)
    mask[:8, :9] = True
    polygons = trace(mask, 100, 200)
    drawn = np.zeros((400, 400), np.uint8)
    cv2.drawContours(drawn, [np.array(polygon) for polygon in polygons], -1, 1, cv2.FILLED)
    assert len(polygons) == 3
    assert np.array_equal(drawn[200 : 200 + SIDE, 100 : 100 + SIDE] > 0, mask)


def test_a_ragged_outline_is_simplified_and_its_smallest_holes_left_out():
    mask = np.random.default_rng(0).random((300, 300)) < 0.9
    polygons = trace(mask, 0, 0)
    assert MAX_OUTLINE_POINTS / 2 < sum(map(len, polygons)) <= MAX_OUTLINE_POINTS
    assert cv2.contourArea(np.array(polygons[0])) > 0.9 * mask.size


@pytest.mark.parametrize("blur", [0.8, 1.5, 3.0])
@pytest.mark.parametrize("contrast", [-0.3, 0.1])
def test_contrast_and_sharpness_are_those_that_were_drawn(contrast, blur):
    """A blurred step rises by 1 / (blur sqrt(2 pi)) a px where it is steepest."""
    mask = disc(60)
    fine = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), blur)
    pixels = (np.float32(0.5) * (1 + contrast * fine))[..., None]
    found = measure_appearance(pixels, mask, np.zeros_like(mask))
    assert found.contrast == pytest.approx(contrast, rel=0.08)
    assert found.sharpness == pytest.approx(1 / (blur * np.sqrt(2 * np.pi)), rel=0.25)
    assert found.core_px == pytest.approx(mask.sum(), rel=0.02)
    assert found.halo_px == pytest.approx(np.pi * 60 * 2 * blur, rel=0.6)


def test_contrast_is_of_the_channel_that_shows_it_and_none_without_surroundings():
    mask = disc(20)
    pixels = np.full((SIDE, SIDE, 3), 0.5, np.float32)
    pixels[mask, 2] = 0.4
    assert measure_appearance(pixels, mask, np.zeros_like(mask)).contrast == pytest.approx(-0.2)
    assert measure_appearance(pixels, mask, ~mask) is None
    assert measure_appearance(np.zeros_like(pixels), mask, np.zeros_like(mask)) is None


@pytest.mark.parametrize(
    ("mask", "kind"),
    [
        (bar(60, 3, 40), "line"),
        (bar(40, 20, 10), "area"),
        (disc(6), "point"),
        (disc(50), "area"),
        (disc(30) & ~disc(24), "ring"),
        (bar(80, 12) & ~bar(70, 6), "line"),  # long, though it has a hole
    ],
)
def test_kinds_are_told_by_form_and_sign(mask, kind):
    shape = measure_shape(mask)
    found = [kind_of(shape, contrast, 256) for contrast in (None, 0.1, -0.1)]
    assert found == [kind, f"bright {kind}", f"dark {kind}"]
    assert set(found) <= set(KINDS)


def test_a_ring_is_measured_with_what_it_encloses():
    ring = measure_shape(disc(30) & ~disc(26))
    whole = measure_shape(disc(30))
    assert ring.is_ring
    assert (ring.length_px, ring.width_px) == (whole.length_px, whole.width_px)
    assert ring.diameter_px < whole.diameter_px


@settings(max_examples=30)
@given(st.floats(0.25, 1), st.floats(30, 60), st.floats(3, 10), degrees, offsets, st.booleans())
def test_pixels_that_are_not_square_are_measured_in_mm(ratio, length, width, angle, dx, turned):
    """A bar in mm, seen by pixels of 1 mm along one axis and less along the other."""
    axes = (1.0, ratio) if turned else (ratio, 1.0)
    radians = np.deg2rad(angle)
    rows, columns = np.mgrid[0 : round(SIDE / axes[1]), 0 : round(SIDE / axes[0])]
    x, y = (columns + 0.5) * axes[0] - SIDE / 2 - dx, (rows + 0.5) * axes[1] - SIDE / 2
    along, across = x * np.cos(radians) + y * np.sin(radians), y * np.cos(radians) - x * np.sin(radians)
    mask = (np.abs(along) < length / 2) & (np.abs(across) < width / 2)
    square, side = with_square_pixels(mask, axes)
    all_round = side * (length + width)  # half a pixel of the finer ones
    assert square.sum() * side**2 == pytest.approx(mask.sum() * ratio, abs=all_round)
    shape = measure_shape(square)
    assert shape.length_px * side == pytest.approx(length, abs=4.5)  # 3.7 in 999 of 1000; a skeleton runs into a corner
    assert shape.width_mean_px * side == pytest.approx(width, abs=1.5)
    assert shape.feret_max_px * side == pytest.approx(np.hypot(length, width), abs=2)


def test_square_pixels_stay_as_they_are():
    mask = disc(20)
    square, side = with_square_pixels(mask, (0.2, 0.2))
    assert square is mask
    assert side == 0.2
    assert len(measure_shape(mask)) == len(measure_shape(square))


def test_defects_of_pixels_that_are_not_square():
    """A disc in mm is an ellipse in px: of no length, and as far from the border as it is in mm."""
    x, y = (X + 0.5) * 0.1, (Y + 0.5) * 0.2
    anomaly_map = (np.hypot(x - 6, y - 14) <= 2).astype(np.float32)
    (found,) = find_defects(anomaly_map, 0.5, mm_per_px=(0.1, 0.2))
    assert found.length_px == pytest.approx(40, abs=1.5)
    for measured in (found.length_mm, found.feret_max_mm, found.feret_min_mm, found.diameter_mm):
        assert measured == pytest.approx(4, abs=0.25)
    assert found.area_mm2 == pytest.approx(4 * np.pi, rel=0.03)
    assert found.border_mm == pytest.approx(4, abs=0.2)
    assert found.uncertainty_mm == pytest.approx(0.2 * 2 * np.sqrt(2 / 12))
    assert find_defects(anomaly_map, 0.5, mm_per_px=(0.1, 0.1))[0].border_mm == pytest.approx(4, abs=0.2)
    thin = np.zeros((SIDE, SIDE), np.float32)
    thin[40:60, 50:54] = 1  # 4 by 20 px are 1.6 by 2 mm: no line
    assert find_defects(thin, 0.5, mm_per_px=(0.4, 0.1))[0].kind == "area"
    assert find_defects(thin, 0.5, mm_per_px=(0.1, 0.1))[0].kind == "line"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("wide", "mm_per_px=wide is not understood: write X or X,Y"),
        ("1,2,3", "is not understood"),
        ("0", "above 0"),
        ("1,-1", "mm_per_px=1,-1: a scale is a number above 0"),
        ("nan", "above 0"),
        ("1,4.1", "more than 4 times as long as wide cannot be measured"),
    ],
)
def test_what_is_no_scale(text, message):
    with pytest.raises(ParameterError, match=message):
        parse_scale(text)


def test_a_scale_is_one_number_or_two():
    assert parse_scale(None) is None
    assert parse_scale("0.05") == 0.05
    assert parse_scale("0.05,0.2") == (0.05, 0.2)
