"""The scale of colours: one for every picture of a model, on which a good part looks as it is."""

from __future__ import annotations

from statistics import median

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import colormaps

import pellucid
from pellucid.acquisition.images import read_image
from pellucid.records.limits import Limit
from pellucid.reports import colours, pictures

LEVELS = [(0.0, 1.0), (3.7, 5.7), (-250.0, -3.0), (-40.0, 0.0), (0.0, 1e-6), (-1.0, 2e6)]  # of good pixels, and limits
IMAGE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def a_map(way: np.ndarray | float, level: float, limit: float) -> np.ndarray:
    """A map that lies a share of the way from the level of good pixels to the limit."""
    return np.broadcast_to(level + (limit - level) * np.asarray(way), (24, 32)).astype(np.float32)


@pytest.mark.parametrize(("level", "limit"), LEVELS)
@given(seed=st.integers(0, 999))
def test_below_half_of_the_limit_a_picture_is_the_image(level, limit, seed):
    way = np.random.default_rng(seed).uniform(-3, 0.4999, (24, 32))
    coloured = colours.colour_map(a_map(way, level, limit), level, limit)
    np.testing.assert_array_equal(colours.lay_over(IMAGE, coloured), IMAGE)


def test_half_of_the_limit_of_a_map_without_negative_values_is_transparent():
    for level in (0.0, 1.0, 5.0):
        coloured = colours.colour_map(a_map(0, 2.99, 1), level, 6.0)
        assert not coloured[..., 3].any()


@pytest.mark.parametrize(("level", "limit"), LEVELS)
@given(way=st.floats(-5, 5))
def test_a_colour_says_how_far_the_limit_is(level, limit, way):
    """A slow reference: matplotlib's inferno in 256 steps, an opacity that rises as a square from half-way on."""
    found = colours.lay_over(IMAGE, colours.colour_map(a_map(way, level, limit), level, limit))
    place = max(way / 2, 0.0) if way < 1 else 1 - 0.5 / way
    red, green, blue, _ = colormaps["inferno"](place)
    opacity = 0.75 * min(max((way - 0.5) / 0.5, 0), 1) ** 2
    expected = IMAGE * (1 - opacity) + np.array([blue, green, red]) * 255 * opacity
    np.testing.assert_allclose(found, expected, atol=6)  # a step of the colours, and one of the opacity


def test_two_models_whose_maps_mean_the_same_look_the_same():
    way = np.linspace(-1, 3, 24 * 32).reshape(24, 32)
    first, *others = (colours.colour_map(a_map(way, *pair), *pair) for pair in LEVELS)
    for other in others:
        assert (np.abs(first.astype(int) - other).max(axis=2) <= 12).all()


@pytest.mark.parametrize(
    ("pixel", "pixel_median", "level"),
    [
        (5.0, 3.5, 3.5),
        (-3.0, -250.0, -250.0),
        (0.0, -40.0, -40.0),
        (5.0, None, 0.0),
        (-3.0, None, -6.0),
        (0.0, None, 0.0),
        (5.0, 6.0, 0.0),
    ],
)
def test_the_scale_begins_at_what_good_pixels_score(pixel, pixel_median, level):
    limit = Limit(1.0, pixel, 0.05, (0.5,), pixel_median=pixel_median)
    assert limit.good_level == level
    assert limit.good_level <= limit.pixel


@pytest.mark.parametrize("detector", ["stfpm", "fastflow"])  # distances, and negative log-likelihoods
def test_a_fit_remembers_what_good_pixels_score(detector, glass, make):
    parameters = make(detector).parameters()
    plan = pellucid.Plan.from_data(glass, false_reject=0.1)
    inspector = pellucid.fit(plan, detector, image_size=64, false_reject=0.1, **parameters)
    maps = [inspector.runtime.score(planes_of(sample.path))[0] for sample in plan.split.calibrate]
    expected = median(float(np.median(one)) for one in maps)
    assert inspector.limit.pixel_median == pytest.approx(expected, rel=1e-5)
    good = [inspector.inspect(sample.path) for sample in plan.split.calibrate]
    shown = [colours.colour_map(one.map, one.good_level, one.pixel_limit)[..., 3] > 0 for one in good]
    assert np.mean(shown) < 0.2, "a good part looks good"


def planes_of(path):
    from pellucid.acquisition.images import as_planes

    return as_planes(read_image(path), (64, 64))[None]


def test_the_picture_of_a_good_part_shows_the_part_and_the_scale():
    pane = np.random.default_rng(0).random((256, 300, 3), np.float32)
    flat = np.full((256, 300), 4.0, np.float32)
    drawn = pictures.result_picture(pane, flat, 3.0, 5.01, boxes=[], caption="", rejected=False)
    top = pictures.CAPTION_PX + pictures.TITLE_PX
    panels = [drawn[top : top + 256, 304 * k + 2 : 304 * k + 302] for k in range(3)]
    for panel in panels:
        np.testing.assert_array_equal(panel, pictures.as_bgr(pane))
    title = drawn[pictures.CAPTION_PX : top, 304:608]
    width, height = pictures.SCALE_PX
    left = 304 - width - pictures.SCALE_TEXT_PX - 4
    row = title[(len(title) - height) // 2 + 1, left : left + width]
    bar = colours.lay_over(np.full((1, width, 3), 255, np.uint8), colours.scale_bar(width, 1))[0]
    tick = [width // 2, width // 2 + 1]
    assert (row[tick] == pictures.DARK).all(), "the tick is in the middle, where the limit is"
    np.testing.assert_array_equal(np.delete(row, tick, axis=0), np.delete(bar, tick, axis=0))


def test_a_narrow_picture_has_no_room_for_the_scale():
    pane = np.full((256, 100, 3), 0.5, np.float32)
    drawn = pictures.result_picture(pane, pane[..., 0], 0.0, 2.0, boxes=[], caption="", rejected=False)
    titles = drawn[pictures.CAPTION_PX : pictures.CAPTION_PX + pictures.TITLE_PX]
    assert titles.shape[1] == 3 * 104
    assert np.abs(titles.astype(int) - titles.mean(axis=2, keepdims=True)).max() < 1, "no colour"


def test_the_scale_bar_has_the_limit_in_its_middle():
    bar = colours.scale_bar(101, 3)
    at_limit = colours.colour_map(np.ones((1, 1), np.float32), 0.0, 1.0)[0, 0]
    assert (bar[:, 50] == at_limit).all()
    assert not bar[:, :25, 3].any()
    assert bar.shape == (3, 101, 4)
    grey = cv2.cvtColor(bar, cv2.COLOR_BGRA2GRAY)[0].astype(int)
    assert (np.diff(grey) >= -1).all(), "higher is brighter, to the end"
    assert grey[-1] > 200


def test_of_two_defects_the_worse_one_looks_worse():
    ways = np.array([[1, 2, 4, 8, 16]], np.float32)
    grey = cv2.cvtColor(colours.colour_map(ways, 0.0, 1.0), cv2.COLOR_BGRA2GRAY)[0].astype(int)
    assert (np.diff(grey) > 5).all()
