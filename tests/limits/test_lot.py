"""A limit that goes where a new lot scores, against the slow way: many lots, and how many of their parts it rejects."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.limits.conformal import calibrate
from pellucid.limits.lot import move_to_lot
from pellucid.limits.promise import kept_sentence, promise_of, promise_sentence

RATE = 0.05


def limit_of(scores, **more):
    return calibrate(list(scores), list(scores), RATE, method="leave-one-out", **more)


@pytest.mark.parametrize("count", [4, 8, 30])
def test_the_mean_rate_over_lots_is_the_asked_one(count):
    """Of normal scores, for a lot far off; without the widening four images would reject 7 %."""
    rng = np.random.default_rng(count)
    limit = limit_of(rng.normal(20, 1, 2000))
    lots = rng.normal(28, 1, (4000, count))
    new = np.sort(rng.normal(28, 1, 100_000))
    values = [move_to_lot(limit, lot.tolist(), range(count)).value for lot in lots]
    rejected = 1 - np.searchsorted(new, values) / len(new)
    assert rejected.mean() == pytest.approx(RATE, abs=0.006)


def test_where_lots_differ_little_it_is_nearer_than_the_mean_of_a_few_images():
    """The mean squared error of where lots lie, over lots whose means are spread half as much as their scores."""
    rng = np.random.default_rng(0)
    limit = limit_of(rng.normal(20, 1, 2000))
    means = rng.normal(20, 0.5, 2000)
    lots = rng.normal(means[:, None], 1, (2000, 8))
    placed = np.array([np.mean(move_to_lot(limit, lot.tolist(), range(8)).scores) for lot in lots])
    assert ((placed - means) ** 2).mean() < 0.85 * ((lots.mean(1) - means) ** 2).mean()


@given(st.floats(-50, 50), st.lists(st.floats(-1, 1), min_size=4, max_size=30, unique=True))
def test_it_goes_all_the_way_to_a_lot_far_off_and_two_thirds_to_a_near_one(shift, spread):
    limit, m = limit_of(np.linspace(10, 20, 300)), len(spread)
    scores = [15 + shift + by - float(np.mean(spread)) for by in spread]
    moved = move_to_lot(limit, scores, range(m))
    variance = np.var(limit.scores)
    share = (np.mean(moved.scores) - 15) / shift if abs(shift) > 1e-3 else 1.0
    lowest = 0.25 / (0.25 + 1 / m)
    assert lowest - 1e-6 <= share <= 1 + 1e-6
    if shift**2 < variance * (0.25 + 1 / m) and abs(shift) > 1e-3:
        assert share == pytest.approx(lowest)
    if abs(shift) > 10 * np.sqrt(variance):
        assert share > 0.99
    assert np.std(moved.scores) == pytest.approx(np.std(limit.scores))
    above = (moved.value - np.mean(moved.scores)) / (limit.value - 15)
    assert above == pytest.approx(np.sqrt(1 + 1 / m))


def test_a_second_lot_does_not_widen_twice():
    limit = limit_of(np.linspace(10, 20, 300))
    first = move_to_lot(limit, [22.0, 23, 24, 25], range(4))
    second = move_to_lot(first, [30.0, 31, 32, 33, 34], range(5))
    above = (second.value - np.mean(second.scores)) / (limit.value - 15)
    assert above == pytest.approx(np.sqrt(1 + 1 / 5))
    assert second.lot_images == 5


def test_scores_that_are_all_one_move_with_the_lot():
    limit = limit_of([10.0] * 30)
    moved = move_to_lot(limit, [11.0, 12, 12, 13], range(4))
    assert (moved.value, moved.scores) == (12.0, (12.0,) * 30)


def test_a_group_has_one_voice():
    limit = limit_of(np.linspace(10, 20, 300))
    frames = move_to_lot(limit, [30.0, 30, 30, 10, 12, 14], [0, 0, 0, 1, 2, 3])
    parts = move_to_lot(limit, [30.0, 10, 12, 14], range(4))
    assert (frames.value, frames.lot_images) == (pytest.approx(parts.value), 4)


def test_earlier_groups_have_one_voice_each():
    scores = [*np.linspace(10, 20, 40), *[100.0] * 40]
    grouped = limit_of(scores, groups=[*map(str, range(40)), *["one"] * 40])
    moved = move_to_lot(grouped, [50.0, 52, 54, 56], range(4))
    before = np.average(grouped.scores, weights=grouped.weights)
    assert before == pytest.approx((40 * 15 + 100) / 41)
    shift = np.average(moved.scores, weights=moved.weights) - before
    assert 0.9 * (53 - before) < shift < 53 - before


def test_the_limit_of_pixels_moves_in_proportion_where_scores_are_distances():
    limit = limit_of(np.linspace(10, 20, 300))
    moved = move_to_lot(limit, [21.0, 22, 23, 24], range(4))
    assert moved.pixel / limit.pixel == pytest.approx(moved.value / limit.value)
    likelihoods = limit_of(np.linspace(-20, -10, 300))
    assert move_to_lot(likelihoods, [-2.0, -1, 0, 1], range(4)).pixel == likelihoods.pixel


def test_what_it_promises():
    moved = move_to_lot(limit_of(np.linspace(10, 20, 300)), [21.0, 22, 23, 24, 25, 26, 27, 28], range(8))
    assert promise_of(moved) is None
    assert kept_sentence(moved, moved.value + 1) == ""
    assert promise_sentence(moved, RATE) == (
        "No promise: the limit was moved to where 8 images of a new lot score, so that 5.0% of that lot's good parts"
        " rejected is expected if their scores are spread like the earlier ones, not guaranteed; the next better"
        " promise, at most 5.0% in 19 of 20 models (--confidence 0.95), needs 59 good parts of that lot, 51 more than"
        " there are."
    )
