"""Flaws that are found to the gate's threshold, and how many are needed."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.errors import ParameterError
from pellucid.limits.gate_loss import choose_threshold, count_flaws


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=300), st.floats(0, 0.5))
def test_the_threshold_loses_at_most_what_is_allowed(strengths, loss):
    threshold = choose_threshold(strengths, loss)
    lost = sum(one <= threshold for one in strengths)
    allowed = math.floor(loss * (len(strengths) + 1) + 1e-9)
    assert lost <= max(allowed - 1, 0)
    if allowed:
        assert sum(one <= math.nextafter(threshold, math.inf) for one in strengths) >= allowed
    else:
        assert threshold == -math.inf


def test_the_promise_holds_on_average():
    """Of new flaws of the same kind, the share that is lost is at most the one allowed."""
    rng = np.random.default_rng(0)
    lost = [rng.normal() <= choose_threshold(rng.normal(size=99), 0.05) for _ in range(20_000)]
    assert 0.03 < np.mean(lost) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 20_000)
    assert choose_threshold(rng.normal(size=998), 0.001) == -math.inf
    assert choose_threshold(rng.normal(size=999), 0.001) > -math.inf


@pytest.mark.parametrize("loss", [-0.1, 1.0, math.nan])
def test_a_loss_that_is_no_share_is_refused(loss):
    with pytest.raises(ParameterError, match="a share of the flaws, from 0 to below 1"):
        choose_threshold([1.0], loss)


@pytest.mark.parametrize(
    ("loss", "count"),
    [(0, 0), (0.0001, 9999), (0.001, 999), (0.002, 999), (0.005, 999), (0.01, 499), (0.05, 99), (0.5, 9)],
)
def test_as_many_flaws_are_needed_as_promise_the_loss_and_five_may_be_lost_of_fewer(loss, count):
    assert count_flaws(loss) == count
    if loss:
        assert choose_threshold(np.arange(count), loss) >= -1  # the promise can be made
