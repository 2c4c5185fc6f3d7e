"""A limit from a fitted tail: what is expected of it, against order statistics, by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pellucid.limits.conformal import calibrate, conformal_limit
from pellucid.limits.tail import needs_tail, tail_limit

REPEATS = 1000
DISTRIBUTIONS = {  # of scores; the rate of a limit is what they have beyond it
    "gumbel of logarithms": stats.invweibull(5),
    "gumbel": stats.gumbel_r(loc=5),
    "log-normal": stats.lognorm(0.3),
    "gamma": stats.gamma(2),
    "normal": stats.norm(loc=10),
    "heavy": stats.lomax(3, loc=1),
    "may be negative": stats.gumbel_r(loc=0),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize(("count", "rate"), [(20, 0.05), (40, 0.05), (59, 0.05), (29, 0.1), (100, 0.01)])
def test_the_rate_is_near_the_asked_one_and_less_spread_than_a_ranks(name, count, rate):
    scores = DISTRIBUTIONS[name].rvs((REPEATS, count), random_state=0)
    by_tail = DISTRIBUTIONS[name].sf([tail_limit(s, rate, np.ones(count)) for s in scores])
    by_rank = DISTRIBUTIONS[name].sf([conformal_limit(s, rate) for s in scores])
    assert rate - 0.02 < by_tail.mean() < rate + 0.01
    if rate * (count + 1) > 1.9 or by_rank.mean() > 0.9 * rate:  # else the rank's own rate is lower, and so its spread
        assert by_tail.std() < by_rank.std()
        assert (by_tail > 2 * rate).mean() < (by_rank > 2 * rate).mean()


@pytest.mark.parametrize(("count", "rate"), [(19, 0.05), (40, 0.05), (100, 0.01)])
def test_exponential_tails_have_the_asked_rate_exactly(count, rate):
    scores = np.exp(np.random.default_rng(0).exponential(0.2, (8000, count)))
    rates = np.array([tail_limit(s, rate, np.ones(count)) for s in scores]) ** -5.0
    assert rates.mean() == pytest.approx(rate, abs=4 * rates.std() / np.sqrt(len(rates)))


@pytest.mark.parametrize("count", [19, 20, 21, 40, 58])
@pytest.mark.parametrize(("copies", "unit"), [(2, 0.1), (3, 7.0), (4, 1e6)])
def test_a_group_has_one_voice_and_the_unit_does_not_matter(count, copies, unit):
    scores = np.random.default_rng(count).gamma(2.0, size=count).tolist()
    limit = calibrate(scores, scores, 0.05)
    groups = [str(n) for n in range(len(scores))]
    repeated = calibrate(scores * copies, scores * copies, 0.05, groups=groups * copies)
    assert (limit.method, repeated.method) == ("tail", "tail")
    assert repeated.value == pytest.approx(limit.value)
    scaled = [unit * score for score in scores]
    assert calibrate(scaled, scaled, 0.05).value == pytest.approx(unit * limit.value)


@pytest.mark.parametrize(
    ("groups", "rate", "held_out", "expected"),
    [
        (18, 0.05, True, False),
        (19, 0.05, True, True),
        (59, 0.05, True, True),
        (60, 0.05, True, False),
        (60, 0.05, False, True),
        (199, 0.05, False, True),
        (200, 0.05, False, False),
        (98, 0.01, False, False),
    ],
)
def test_who_needs_it(groups, rate, held_out, expected):
    assert needs_tail(groups, rate, held_out=held_out) == expected


def test_a_promise_with_confidence_is_never_of_a_tail():
    scores = np.random.default_rng(0).gamma(2.0, size=100)
    limit = calibrate(scores, scores, 0.05, method="leave-one-out", confidence=0.95)
    assert (limit.method, limit.value) == ("leave-one-out", conformal_limit(scores, 0.05, confidence=0.95))
    assert calibrate(scores, scores, 0.05, method="leave-one-out").method == "tail"


@pytest.mark.parametrize("ties", [np.full(40, 2.0), np.r_[np.full(30, 0.5), np.linspace(1, 2, 10)]])
def test_scores_that_are_tied_where_the_tail_begins_give_a_rank(ties):
    assert tail_limit(ties, 0.05, np.ones(40)) is None
    limit = calibrate(ties, ties, 0.05)
    assert (limit.method, limit.value) == ("conformal", conformal_limit(ties, 0.05))


def test_no_tail_for_a_high_rate_or_of_two_scores():
    assert tail_limit(np.arange(20.0), 0.45, np.ones(20)) is None
    assert tail_limit(np.array([1.0, 2.0]), 0.33, np.ones(2)) is None
