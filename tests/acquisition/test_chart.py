"""Charts drawn at a known scale, turned, skewed and distorted."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from commands import pellucid_here

from pellucid.acquisition.chart import calibrate, measure_scale, parse_pattern
from pellucid.errors import DataError, ParameterError

SIZE = (450, 600)  # height and width, px
SUBPIXELS = 4


def draw(path, scale, *, angle=7.0, square=10.0, corners=(9, 6), barrel=0.0, circles=False):
    """Draw a chart through a lens; ``barrel`` is how much a place at the left or right border is moved, as a share."""
    height, width = SIZE
    y, x = np.mgrid[0 : height * SUBPIXELS, 0 : width * SUBPIXELS] / SUBPIXELS
    x, y = x - width / 2, y - height / 2
    stretch = 1 + barrel * (x**2 + y**2) / (width / 2) ** 2
    x, y = x * stretch * scale[0], y * stretch * scale[1]
    turn = np.deg2rad(angle)
    u = (np.cos(turn) * x + np.sin(turn) * y) / square + (corners[0] + 1) / 2
    v = (np.cos(turn) * y - np.sin(turn) * x) / square + (corners[1] + 1) / 2
    inside = (u > 0) & (u < corners[0] + 1) & (v > 0) & (v < corners[1] + 1)
    dark = (np.hypot(u % 1 - 0.5, v % 1 - 0.5) < 0.3) if circles else (np.floor(u) + np.floor(v)) % 2 == 0
    fine = np.where(inside & dark, 0.15, 0.85).reshape(height, SUBPIXELS, width, SUBPIXELS).mean((1, 3))
    noisy = cv2.GaussianBlur(fine, (0, 0), 0.8) + np.random.default_rng(0).normal(0, 0.004, fine.shape)
    cv2.imwrite(str(path), (noisy.clip(0, 1) * 255).round().astype(np.uint8))
    return path


@pytest.mark.parametrize(
    ("scale", "angle"), [((0.2, 0.2), 7), ((0.2, 0.24), 33), ((0.2, 0.2), 90), ((0.25, 0.2), 178), ((0.2, 0.2), 0)]
)
def test_the_scale_is_found_within_its_uncertainty(scale, angle, tmp_path):
    found = calibrate(draw(tmp_path / "c.png", scale, angle=angle), 10.0)
    assert sorted(found.corners) == [6, 9]  # and none of the rim
    for measured, uncertainty, true in zip(found.mm_per_px, found.uncertainty, scale, strict=True):
        assert abs(measured - true) <= 2 * uncertainty  # four standard deviations: this has to hold each time
        assert uncertainty < 5e-4 * true
    assert abs(found.skew_degrees) < 0.02
    assert found.position_error_mm < 0.05
    assert found.length_error_percent < 0.2
    assert ("," in found.option) == (scale[0] != scale[1])


def test_circles_and_a_pattern(tmp_path):
    file = draw(tmp_path / "c.png", (0.2, 0.21), circles=True)
    found = calibrate(file, 10.0, "circles", (10, 7))
    np.testing.assert_allclose(found.mm_per_px, (0.2, 0.21), rtol=1e-3)
    cv2.imwrite(str(file), 255 - cv2.imread(str(file)))
    np.testing.assert_allclose(calibrate(file, 10.0, "circles", (10, 7)).mm_per_px, (0.2, 0.21), rtol=1e-3)
    board = calibrate(draw(tmp_path / "b.png", (0.2, 0.2)), 10.0, pattern=(9, 6))
    assert board.corners == (9, 6)


def test_what_the_lens_leaves_is_said(tmp_path):
    """Of a length that lies at the border, the scale is off by what the lens adds there to the mean over the chart."""
    straight = calibrate(draw(tmp_path / "s.png", (0.2, 0.2)), 10.0)
    bent = calibrate(draw(tmp_path / "b.png", (0.2, 0.2), barrel=0.03), 10.0)
    assert bent.length_error_percent > 20 * straight.length_error_percent
    assert 0.5 < bent.length_error_percent < 5
    assert bent.position_error_mm > 0.1


def grid(columns=9, rows=6):
    y, x = np.mgrid[:rows, :columns]
    return np.stack([x.ravel(), y.ravel()], 1) * 10.0  # mm


def test_a_skew_is_the_angle_that_is_missing_to_a_right_one():
    for degrees in (-2.0, 0.0, 1.5):
        lean = np.tan(np.deg2rad(degrees))  # rows of the sensor lie askew to its columns: x of the chart leans
        corners = (grid() - [lean * 0, 0]) / 0.1
        corners[:, 0] += lean * corners[:, 1]
        found = measure_scale(corners, (9, 6), 10.0)
        assert found.skew_degrees == pytest.approx(degrees, abs=1e-6)
        assert found.mm_per_px[0] == pytest.approx(0.1)
        assert (found.length_error_percent > 0.5) == bool(degrees)


def test_uncertainty_is_that_of_many_noisy_charts():
    rng = np.random.default_rng(0)
    found = [measure_scale(grid() / 0.1 + rng.normal(0, 0.3, (54, 2)), (9, 6), 10.0) for _ in range(300)]
    scales = np.array([one.mm_per_px for one in found])
    np.testing.assert_allclose(2 * scales.std(0), np.mean([one.uncertainty for one in found], 0), rtol=0.15)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"shows no chessboard: it has to be in sharp focus"),
        ({"pattern": (9, 6)}, r"shows no chessboard of 9x6"),
        ({"chart": "circles", "pattern": (9, 6)}, r"shows no grid of circles of 9x6"),
    ],
)
def test_a_picture_without_a_chart(options, message, tmp_path):
    noise = np.random.default_rng(0).integers(90, 110, (200, 200), np.uint8)
    cv2.imwrite(str(tmp_path / "c.png"), noise)
    with pytest.raises(DataError, match=message):
        calibrate(tmp_path / "c.png", 10.0, **options)


@pytest.mark.parametrize(
    ("square", "options", "message"),
    [
        (0.0, {}, "square_mm=0 is not allowed"),
        (float("nan"), {}, "square_mm=nan is not allowed"),
        (1.0, {"pattern": (2, 6)}, "A chart of 2x6 is too small: at least 3x3"),
        (1.0, {"chart": "circles"}, "needs its columns and rows: give --pattern"),
    ],
)
def test_what_is_no_chart(square, options, message, tmp_path):
    with pytest.raises(ParameterError, match=message):
        calibrate(tmp_path / "c.png", square, **options)


def test_what_is_no_pattern():
    assert parse_pattern("9x6") == (9, 6)
    assert parse_pattern(None) is None
    with pytest.raises(ParameterError, match="pattern '9' is not understood: write columns x rows, as in 9x6"):
        parse_pattern("9")


def test_the_command_says_what_to_type_next(tmp_path):
    file = draw(tmp_path / "c.png", (0.2, 0.24))
    shown = pellucid_here("calibrate", file, "--square-mm", 10).stdout
    assert "along y: 0.24" in shown
    assert "a constant scale leaves: positions are off by up to" in shown
    assert "to measure with it: --mm-per-px 0.2" in shown
    printed = json.loads(pellucid_here("calibrate", file, "--square-mm", 10, "--json").stdout)
    assert printed["mm_per_px"] == pytest.approx([0.2, 0.24], rel=1e-3)
    assert "is not an image" in pellucid_here("calibrate", __file__, "--square-mm", 10, check=1).stderr
