"""Where the network's views lie on an image of any shape: the geometry, without a network."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from statistics import median_low

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pellucid.acquisition.images import as_planes
from pellucid.acquisition.views import (
    CELL_PX,
    MAX_ELONGATION,
    MIN_OVERLAP,
    Framing,
    choose_view,
    describe_view,
    framing_of,
    lay_out,
    note_shapes,
    views_of,
)
from pellucid.errors import ParameterError

SIDES = st.integers(1, 3000)
SIZES = st.tuples(SIDES, SIDES)


def framing(height, width):
    return framing_of([(height, width)])


@st.composite
def fitted_views(draw):
    """The framing of a set of images of one shape, and the view that is chosen for it."""
    sides = st.integers(20, 2000)
    height, width = draw(sides), draw(sides)
    return choose_view(draw(st.sampled_from([64, 128, 256])), framing(height, width))


@given(st.lists(st.tuples(st.integers(1, 99), st.integers(1, 99)), min_size=1, max_size=12))
def test_the_middle_image_stands_for_all(sizes):
    found, middle = framing_of(sizes), float(median_low(Fraction(w, h) for h, w in sizes))
    alike = sum(max(w / h / middle, middle * h / w) <= 1.25 * (1 + 1e-12) for h, w in sizes)
    assert (found is None) == (alike < 0.8 * len(sizes))
    if found is None:
        return
    assert found.width / found.height == pytest.approx(middle)
    assert found.width * found.height == pytest.approx(median_low(h * w for h, w in sizes))
    assert (found.lowest_aspect, found.highest_aspect) == (min(w / h for h, w in sizes), max(w / h for h, w in sizes))


def test_the_odd_one_in_fifty_says_nothing_about_shapes():
    found = framing_of([(100, 100)] * 98 + [(100, 900), (900, 100)])
    assert (found.lowest_aspect, found.highest_aspect) == (1, 1)


@given(st.integers(32, 1024), st.integers(1, 5000))
def test_square_images_have_a_square_view(asked, side):
    assert choose_view(asked, framing(side, side))[0] == (asked, asked)


@pytest.mark.parametrize(
    ("size", "view"),
    [
        ((1000, 2500), (256, 640)),
        ((2500, 1000), (640, 256)),
        ((480, 640), (256, 352)),
        ((1000, 1030), (256, 256)),
        ((1000, 4000), (256, 1024)),
        ((1000, 9000), (256, 1024)),
        ((9000, 1000), (1024, 256)),
    ],
)
def test_the_shorter_side_is_asked_for_and_the_longer_one_follows(size, view):
    assert choose_view(256, framing(*size))[0] == choose_view("256", framing(*size))[0] == view


@given(SIZES, st.sampled_from([32, 64, 100, 128, 256, 512]))
def test_a_view_keeps_the_shape_within_seven_per_cent_and_four_times_the_shorter_side(size, asked):
    (height, width), filling = choose_view(asked, framing(*size))
    assert min(height, width) == asked
    assert max(height, width) <= MAX_ELONGATION * asked
    assert max(height, width) % 32 == 0 or asked % 32 or asked < 256
    assert (width / height) / (filling.width / filling.height) == pytest.approx(1, abs=0.07)
    assert min(filling.height, filling.width) == pytest.approx(min(framing(*size).height, framing(*size).width))


@pytest.mark.parametrize("exact", ["192x320", (192, 320), [192, 320]])
def test_height_and_width_are_taken_as_they_are(exact):
    fitted = framing(1000, 9000)
    assert choose_view(exact, fitted) == ((192, 320), fitted)


def test_without_framing_a_number_is_a_square():
    assert choose_view(96, None) == ((96, 96), None)


@pytest.mark.parametrize("wrong", [0, 31, "", "big", "64x", (1, 2, 3), "64x64x64"])
def test_a_size_that_is_not_allowed_says_what_is(wrong):
    with pytest.raises(ParameterError, match="give N or HxW with sides of at least 32, as in 256"):
        choose_view(wrong, framing(1, 2))


@given(SIZES, fitted_views())
@example((8, 3000), choose_view(256, framing(256, 256)))
@example((3000, 8), choose_view(256, framing(40, 100)))
@example((20, 1000), choose_view(256, framing(20, 20)))
@example((1, 1), choose_view(256, framing(2000, 20)))
def test_all_of_an_image_is_seen_at_one_scale(size, chosen):
    view, fitted = chosen
    layout = lay_out(size, view, fitted)
    seen = np.zeros(layout.content, int)
    for (rows, columns), shown in layout.parts():
        assert seen[shown].shape == np.empty(view)[rows, columns].shape
        assert min(rows.start, columns.start) >= 0
        assert rows.stop <= view[0]
        assert columns.stop <= view[1]
        seen[shown] += 1
    assert seen.min() >= 1
    relative = size[0] / fitted.height, size[1] / fitted.width
    if layout.is_whole:  # stretched by less than a cell
        assert view[relative.index(min(relative))] * (1 - min(relative) / max(relative)) < CELL_PX
        return
    at_fitted_scale = [side * r for side, r in zip(view, relative, strict=True)]
    longer = layout.content.index(max(layout.content))
    scale = layout.content[longer] / at_fitted_scale[longer]
    assert layout.content[1 - longer] == pytest.approx(max(1, at_fitted_scale[1 - longer] * scale), abs=1)
    if len(layout.corners) > 1:  # never larger than the fitted images were
        assert scale <= 1 + 1 / max(layout.content)


@given(SIZES, fitted_views())
def test_tiles_overlap_and_there_are_no_more_than_needed(size, chosen):
    layout = lay_out(size, *chosen)
    for axis, length in enumerate(layout.content):
        starts = sorted({corner[axis] for corner in layout.corners})
        seen, overlap = layout.view[axis], layout.view[axis] * MIN_OVERLAP
        if length <= seen:
            assert starts == [(length - seen) // 2]
            continue
        assert (starts[0], starts[-1]) == (0, length - seen)
        assert max(b - a for a, b in pairwise(starts)) <= seen - overlap + 1
        assert (len(starts) - 2) * (seen - overlap) + seen < length


@given(SIZES, SIZES)
def test_without_framing_every_image_is_squeezed_as_it_was(size, view):
    assert lay_out(size, view, None).content == view
    assert lay_out(size, view, None).treatment == ""


@given(st.floats(0.2, 5), fitted_views())
def test_an_image_of_the_fitted_shape_is_seen_as_a_whole_at_any_scale(zoom, chosen):
    view, fitted = chosen
    size = fitted.height * zoom, fitted.width * zoom
    assert lay_out(size, view, fitted).is_whole


@pytest.mark.parametrize("size", [(64, 64), (50, 80), (300, 20), (8, 700), (1, 64)])
def test_views_show_the_image_and_mirror_it_outside(size):
    """Against indices that are reflected one by one."""
    pixels = np.random.default_rng(0).random((*size, 3), dtype=np.float32)
    view, fitted = choose_view(64, framing(64, 64))
    views = views_of(pixels, view, fitted)
    seen = list(views)
    assert len(seen) == len(views) == len(views.layout.corners)
    for planes, ((rows, columns), (content_rows, content_columns)) in zip(seen, views.layout.parts(), strict=True):
        assert planes.shape == (3, *view)
        part = views.content[content_rows, content_columns]
        expected = part[
            np.ix_(_reflected(rows.start, view[0], len(part)), _reflected(columns.start, view[1], part.shape[1]))
        ]
        np.testing.assert_array_equal(planes, expected.transpose(2, 0, 1))


def _reflected(start, seen, length):
    """Index of the mirrored pixel at every place of a row: 0 1 2 1 0 1 2 ..."""
    period = max(1, 2 * (length - 1))
    walk = [k if k < length else period - k for k in range(period)]
    return [walk[(place - start) % period] for place in range(seen)]


def test_a_square_image_is_what_it_was():
    pixels = np.random.default_rng(0).random((100, 100, 3), dtype=np.float32)
    (planes,) = views_of(pixels, *choose_view(64, framing(80, 80)))
    assert planes.tobytes() == as_planes(pixels, (64, 64)).tobytes()


def test_notes_on_shapes():
    assert note_shapes([(100, 100), (200, 201)]) == ()
    (mixed,) = note_shapes([(100, 100)] * 5 + [(100, 300)])
    assert mixed.startswith("1 of 6 images to learn from have another shape than most (width by height 1.00 to 3.00;")
    (none,) = note_shapes([(100, 100)] * 5 + [(100, 300)] * 5)
    assert none.startswith("The images to learn from have no common shape (width by height 1.00 to 3.00): each, and")
    (long,) = note_shapes([(100, 900)] * 5)
    assert long.startswith("The images (900x100 px) are longer than 4 times their shorter side")


def test_what_a_view_does_to_images_is_said():
    assert describe_view((256, 640), framing(1000, 2500)) == "at 256x640 px"
    squeezed = describe_view((256, 256), framing(1000, 2500))
    assert squeezed == "at 256x256 px, 2.5 times as high as they are: --image-size 256 keeps their shape"
    assert "2 times as wide" in describe_view((256, 512), framing(100, 100))
    assert describe_view((64, 64), None) == "at 64x64 px, stretched to that whatever their shape"


def test_a_framing_is_of_images():
    with pytest.raises(ValueError, match="greater than 0"):
        Framing(height=0, width=1, lowest_aspect=1, highest_aspect=1)
