"""What cameras do to places and sizes is undone: lenses by charts, seams by what is known of the cameras."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from commands import pellucid_here
from hypothesis import given
from hypothesis import strategies as st
from test_chart import SIZE, draw

from pellucid.acquisition.chart import calibrate
from pellucid.acquisition.geometry import Geometry, LineCamera, fit_lens, read_geometry
from pellucid.errors import DataError, ParameterError
from pellucid.regions.defects import find_defects
from pellucid.synthesis.shapes import Ellipse
from pellucid.synthesis.sheet import Sheet, SheetPlan
from pellucid.synthesis.sheet_defects import SheetDefect

BARREL = 0.03
CENTRE = np.array([SIZE[1], SIZE[0]]) / 2
SCALE = 0.2


def through_lens(places):
    """Where pixels of a chart drawn with that barrel truly lie, mm: the formula of ``test_chart.draw``."""
    around = places - CENTRE
    stretch = 1 + BARREL * (around**2).sum(1, keepdims=True) / CENTRE[0] ** 2
    return (around * stretch + CENTRE) * SCALE


@pytest.fixture(scope="module")
def lens(tmp_path_factory):
    chart = draw(tmp_path_factory.mktemp("chart") / "c.png", (SCALE, SCALE), barrel=BARREL, square=11.0, angle=7.0)
    return calibrate(chart, 11.0)


def test_a_chart_through_a_lens_gives_true_places(lens):
    y, x = np.mgrid[40:420:12j, 40:560:12j]
    places = np.stack([x.ravel(), y.ravel()], 1)
    true = through_lens(places)
    constant = places * lens.geometry.mm_per_px
    corrected = lens.geometry.to_mm(places)
    assert np.hypot(*(constant - true).T).max() > 1.0
    assert np.hypot(*(corrected - true).T).max() < 0.06
    np.testing.assert_allclose(lens.geometry.mm_per_px, SCALE, rtol=1e-3)
    assert lens.corrected_error_mm < 0.05 < lens.position_error_mm


def test_perspective_is_undone_whatever_the_chart_is_turned_by():
    columns, rows = np.meshgrid(np.arange(12) * 8.0, np.arange(9) * 8.0)
    places = np.stack([columns.ravel(), rows.ravel()], 1)
    for degrees in (0, 33, 90, 200):
        turn = np.radians(degrees)
        turned = places @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        tilted = np.array([[4.0, 0.1, 200.0], [0.05, 4.2, 150.0], [2e-4, 1e-4, 1.0]])
        seen = np.column_stack([turned, np.ones(len(turned))]) @ tilted.T
        seen = seen[:, :2] / seen[:, 2:]
        size = (int(seen[:, 1].max()) + 20, int(seen[:, 0].max()) + 20)
        geometry, error = fit_lens(seen, places, size)
        assert error < 1e-5
        found = geometry.to_mm(seen)
        distances, true = (np.hypot(*(one[:, None] - one[None]).T) for one in (found, places))
        np.testing.assert_allclose(distances, true, atol=1e-4)
        centre = np.array([[size[1] / 2, size[0] / 2]])
        np.testing.assert_allclose(geometry.to_mm(centre)[0], centre[0] * geometry.mm_per_px, atol=1e-6)


def disc(place_mm, radius_mm):
    """A map, 1 where a disc on the glass shows through the lens."""
    y, x = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    true = through_lens(np.stack([x.ravel() + 0.5, y.ravel() + 0.5], 1))
    inside = np.hypot(*(true - place_mm).T) <= radius_mm
    return inside.reshape(SIZE).astype(np.float32)


@pytest.mark.parametrize("place", [(60.0, 45.0), (15.0, 12.0), (107.0, 79.0), (108.0, 45.0)])
def test_sizes_and_places_of_a_defect_are_those_on_the_glass(lens, place):
    (found,) = find_defects(disc(place, 4.0), 0.5, mm_per_px=lens.geometry.mm_per_px)
    corrected = lens.geometry.placed(found)
    np.testing.assert_allclose(corrected.centre_mm, place, atol=0.1)
    np.testing.assert_allclose(found.rectangle[:2], found.centroid, atol=1)
    assert corrected.diameter_mm == pytest.approx(8.0, rel=0.012)
    assert corrected.area_mm2 == pytest.approx(np.pi * 16, rel=0.025)
    assert corrected.length_mm == pytest.approx(8.0, abs=0.4)  # two edges, each in its pixel of 0.2 mm
    assert corrected.box_mm == pytest.approx((place[0] - 4, place[1] - 4, place[0] + 4, place[1] + 4), abs=0.35)
    if place != (60.0, 45.0):
        assert abs(found.area_mm2 / (np.pi * 16) - 1) > 0.06  # as a constant scale has it
    unmeasured = replace(found, rectangle=None)
    assert lens.geometry.placed(unmeasured).diameter_mm == found.diameter_mm


CAMERAS = Geometry(
    mm_per_px=(0.2, 0.2),
    cameras=(
        LineCamera(width_px=300),
        LineCamera(width_px=300, overlap_px=40, offset_mm=-3.0),
        LineCamera(width_px=200, overlap_px=25.5, offset_mm=1.4, skew_degrees=0.6, mm_per_px=0.21),
    ),
)


@given(st.floats(0, 799.9), st.floats(0, 5000))
def test_a_camera_is_placed_by_what_lies_left_of_it(x, y):
    (found,) = CAMERAS.to_mm(np.array([[x, y]]))
    begins, column, along = (0, 300, 600), (0.0, 52.0, 52.0 + 0.2 * 274.5), (0.2, 0.2, 0.21)
    k = 0 if x < 300 else 1 if x < 600 else 2
    off, angle = (x - begins[k]) * along[k], (0, 0, np.radians(0.6))[k]
    expected = (column[k] + off * np.cos(angle), y * 0.2 + (0, -3.0, 1.4)[k] + off * np.sin(angle))
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_a_place_on_a_drawn_sheet_is_right_across_a_seam():
    """Two cameras see a drawn sheet, 40 columns twice, the second 15 rows late: spots lie where they were drawn."""
    plan = SheetPlan(112, 60, lines_per_m=0, cameras=1, noise=0.002)
    centres = [(20.0, 20.0), (51.0, 30.0), (58.5, 30.0), (61.5, 45.0), (90.0, 25.0)]
    spots = [SheetDefect("stone", Ellipse(x, y, 1.2, 1.2), -0.5) for x, y in centres]
    pixels = Sheet(plan, spots).rows(0, plan.shape[0]).astype(np.float32) / 255
    seen = np.concatenate([pixels[:, :300], np.roll(pixels[:, 260:], 15, 0)], 1)
    geometry = Geometry(
        mm_per_px=(0.2, 0.2),
        cameras=(LineCamera(width_px=300), LineCamera(width_px=300, overlap_px=40, offset_mm=-3.0)),
    )
    geometry.check_width(seen.shape[1])
    dark = (cv2.GaussianBlur(seen, (0, 0), 1) < 0.4).astype(np.float32)
    found = [geometry.placed(one).centre_mm for one in find_defects(dark, 0.5, mm_per_px=0.2)]
    for centre in centres:
        near = [np.hypot(x - centre[0], y - centre[1]) for x, y in found]
        assert min(near) < 0.2
        assert sum(distance < 1 for distance in near) == (2 if 52 < centre[0] < 60 else 1)  # what both cameras see


def test_calibrate_writes_what_inspect_reads(tmp_path):
    chart, file = draw(tmp_path / "c.png", (SCALE, SCALE), barrel=BARREL, square=11.0), tmp_path / "scale.json"
    told = pellucid_here("calibrate", chart, "--square-mm", 11, "-o", file)
    assert "corrected for lens and perspective: 0.0" in told.stdout
    assert "--scale-file" in told.stdout
    geometry = read_geometry(file)
    assert geometry == calibrate(chart, 11.0).geometry
    shown = json.loads(pellucid_here("calibrate", chart, "--square-mm", 11, "--json").stdout)
    assert Geometry.model_validate(shown["geometry"]) == geometry


WRONG = {
    "neither": ("mm_per_px = [0.2, 0.2]", "is no scale file: give either a lens or cameras"),
    "first": (
        "mm_per_px = [0.2, 0.2]\n[[cameras]]\nwidth_px = 9\noverlap_px = 2",
        "the first camera overlaps none: leave its overlap_px out",
    ),
    "wide": (
        "mm_per_px = [0.2, 0.2]\n[[cameras]]\nwidth_px = 9\n[[cameras]]\nwidth_px = 9\noverlap_px = 9",
        "an overlap of 9 px is as wide as a camera",
    ),
    "scale": ("mm_per_px = [0, 0.2]\n[[cameras]]\nwidth_px = 9", r"mm_per_px.0: Input should be greater than 0"),
    "text": ("mm", "is not a TOML file"),
}


@pytest.mark.parametrize(("text", "sentence"), WRONG.values(), ids=WRONG)
def test_a_scale_file_that_cannot_be_understood_says_why(text, sentence, tmp_path):
    (tmp_path / "scale.toml").write_text(text, "utf-8")
    with pytest.raises((ParameterError, DataError), match=sentence):
        read_geometry(tmp_path / "scale.toml")


def test_what_does_not_go_together_is_refused(tmp_path):
    with pytest.raises(DataError, match="is 700 px wide, and the cameras of the scale file are 800 px together"):
        CAMERAS.check_width(700)
    with pytest.raises(DataError, match=r"Cannot read '.*none.json'"):
        read_geometry(tmp_path / "none.json")
    (tmp_path / "a.png").write_bytes(b"")
    options = ("--mm-per-px", "0.2", "--scale-file", tmp_path / "scale.toml")
    done = pellucid_here("inspect", "no.pellucid", tmp_path / "a.png", *options, check=1)
    assert "Give --mm-per-px or --scale-file, not both" in " ".join(done.stderr.split())
