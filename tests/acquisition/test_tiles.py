"""Tiles against slow references: where they lie, what they show, how images are reduced and maps enlarged."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.acquisition.layouts import mirrored
from pellucid.acquisition.tiles import Tiling, check_tile, enlarge_by, reduce_by
from pellucid.acquisition.views import describe_view, views_of
from pellucid.errors import ParameterError
from pellucid.runtimes.scoring import merge_views

SIDES = st.integers(1, 700)


@given(st.integers(-900, 900), st.integers(1, 300), st.integers(1, 200))
def test_lines_are_mirrored_as_opencv_mirrors_them(first, count, length):
    found = np.arange(length)[mirrored(first, count, length)]
    assert found.tolist() == [
        cv2.borderInterpolate(at, length, cv2.BORDER_REFLECT_101) for at in range(first, first + count)
    ]


@settings(max_examples=20)
@given(SIDES, SIDES, st.sampled_from([(256, 0), (256, 64), (320, 128)]), st.integers(1, 3))
def test_tiles_show_every_place_once(height, width, sides, reduce):
    """Each tile's interior is put where the layout says: that is the reduced image again."""
    tiling = Tiling(tile=sides[0], margin=sides[1], reduce=reduce)
    pixels = np.random.default_rng(0).random((height, width, 3), np.float32)
    views = views_of(pixels, (tiling.tile, tiling.tile), tiling)
    inner = np.s_[tiling.margin : tiling.margin + tiling.interior]
    found = [(0.0, planes[0, inner, inner]) for planes in views]
    assert len(found) == len(views)
    assert all(part.shape == views.layout.mapped for _, part in found)
    reduced = reduce_by(pixels, reduce)[..., 0]
    score, whole = merge_views(views.layout, found, "peak", (height, width))
    assert np.array_equal(whole, enlarge_by(reduced, reduce, (height, width)))
    assert score == whole.max()


def test_a_tile_sees_the_neighbours_and_beyond_the_border_a_mirror():
    tiling = Tiling(tile=256, margin=64)
    pixels = np.random.default_rng(0).random((200, 300, 3), np.float32)
    padded = cv2.copyMakeBorder(pixels, 64, 400, 64, 400, cv2.BORDER_REFLECT_101)
    seen = list(views_of(pixels, (256, 256), tiling))
    corners = [(row, column) for row in (0, 128) for column in (0, 128, 256)]
    assert len(seen) == len(corners)
    for planes, (row, column) in zip(seen, corners, strict=True):
        assert np.array_equal(planes, padded[row : row + 256, column : column + 256].transpose(2, 0, 1))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 5))
def test_reducing_averages_squares(height, width, factor):
    pixels = np.random.default_rng(0).random((height, width, 3), np.float32)
    found = reduce_by(pixels, factor)
    rows, columns = (np.minimum(np.arange(-(-side // factor) * factor), side - 1) for side in (height, width))
    for y in range(found.shape[0]):
        for x in range(found.shape[1]):
            square = pixels[rows[y * factor : (y + 1) * factor]][:, columns[x * factor : (x + 1) * factor]]
            assert found[y, x] == pytest.approx(square.mean((0, 1)), rel=1e-5)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 5), st.data())
def test_enlarging_is_linear_and_local(height, width, factor, data):
    """As OpenCV does it up to rounding; and any part of the rows gives the same bytes."""
    small = np.random.default_rng(0).random((height, width), np.float32)
    size = (data.draw(st.integers(1, height * factor)), data.draw(st.integers(1, width * factor)))
    found = enlarge_by(small, factor, size)
    whole = cv2.resize(small, (width * factor, height * factor), interpolation=cv2.INTER_LINEAR)
    assert found == pytest.approx(whole[: size[0], : size[1]], abs=1e-6)
    first = data.draw(st.integers(0, height - 1))
    above = max(first - 1, 0)
    part = enlarge_by(small[above:], factor, ((height - above) * factor, size[1]))[(first - above) * factor :]
    assert np.array_equal(part, enlarge_by(small, factor, (height * factor, size[1]))[first * factor :])


@pytest.mark.parametrize("tile", [-64, 1, 100, 192, 4160])
def test_sides_that_are_not_allowed(tile):
    with pytest.raises(ParameterError, match="give a multiple of 64 from 256 to 4096, in px, or 0 to see images whole"):
        check_tile(tile, 1)


@pytest.mark.parametrize("reduce", [0, -1, 17])
def test_factors_that_are_not_allowed(reduce):
    with pytest.raises(ParameterError, match="give a whole number from 1 to 16"):
        check_tile(None, reduce)


def test_images_that_are_seen_whole_are_not_reduced():
    with pytest.raises(ParameterError, match="only before they are cut into tiles, and tile=0 asks for none"):
        check_tile(0, 2)
    check_tile(512, 2)
    check_tile(None, 2)


def test_what_is_seen_is_said():
    tiling = Tiling(tile=1024, margin=128, reduce=2)
    assert describe_view((1024, 1024), tiling) == "reduced 2 times, in tiles of 1024 px of which the inner 768 count"
    assert describe_view((1024, 1024), Tiling(tile=1024, margin=0)).startswith("at their own scale, in tiles of 1024")


def test_a_margin_that_leaves_nothing_is_refused():
    with pytest.raises(ValueError, match="a margin of 128 px leaves nothing of a tile of 256 px"):
        Tiling(tile=256, margin=128)
