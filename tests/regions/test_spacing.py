"""Circles and separations beside slow, obvious references."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from pellucid.regions.spacing import most_in_circle, nearest_gaps

points = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=14).map(
    lambda pairs: np.array(pairs, np.float64)
)


def circles(places, diameter):
    """Centres of every circle that has a point in its middle, or two of them on its rim."""
    yield from places
    for first, second in itertools.permutations(places, 2):
        half = (second - first) / 2
        away = np.hypot(*half)
        if 0 < away <= diameter / 2:
            across = np.array([-half[1], half[0]]) / away
            yield first + half + across * np.sqrt((diameter / 2) ** 2 - away**2)


@settings(max_examples=150)
@given(points, st.integers(1, 50))
def test_the_fullest_circle_is_that_of_all_circles_through_pairs(places, diameter):
    found = most_in_circle(places, diameter)
    slow = max((np.hypot(*(places - centre).T) <= diameter / 2 + 1e-6).sum() for centre in circles(places, diameter))
    assert len(found) == slow
    assert len(set(found)) == len(found)


@settings(max_examples=25)
@given(points, st.integers(5, 50))
def test_no_circle_of_a_fine_grid_is_fuller(places, diameter):
    y, x = np.mgrid[-5:45:0.5, -5:45:0.5]
    grid = np.stack([x.ravel(), y.ravel()], 1)
    inside = (cdist(grid, places) <= diameter / 2).sum(1)
    found = most_in_circle(places, diameter)
    assert len(found) >= inside.max()


@settings(max_examples=50)
@given(points, st.integers(1, 50))
def test_the_points_named_fit_into_one_circle(places, diameter):
    inside = places[list(most_in_circle(places, diameter))]
    assert any((np.hypot(*(inside - centre).T) <= diameter / 2 + 1e-5).all() for centre in circles(inside, diameter))


@pytest.mark.parametrize(("apart", "count"), [(199.9, 2), (200.0, 2), (200.1, 1)])
def test_the_rim_is_part_of_the_circle(apart, count):
    assert len(most_in_circle(np.array([[0.0, 0.0], [apart, 0.0]]), 200)) == count


def test_points_in_one_place_are_counted_each():
    assert most_in_circle(np.zeros((4, 2)), 1) == (0, 1, 2, 3)


@settings(max_examples=50)
@given(points)
def test_gaps_between_points_are_distances(places):
    away = cdist(places, places)
    np.fill_diagonal(away, np.inf)
    np.testing.assert_allclose(nearest_gaps(np.tile(places, 2)), away.min(1))


def test_gaps_between_boxes_are_between_their_nearest_points():
    boxes = np.array([[0, 0, 2, 2], [5, 6, 7, 7], [1, 1, 9, 1.5]], np.float64)
    np.testing.assert_allclose(nearest_gaps(boxes), [0, 4.5, 0])
    np.testing.assert_allclose(nearest_gaps(boxes[:2]), [5, 5])
