"""Repeats beside slow, obvious references, on drawn sheets with and without a cause, and how often they are found."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from pellucid.errors import DataError, ParameterError
from pellucid.records import Inspection
from pellucid.regions.chances import binomial_tails, chance_of_sum, own_chances, phase_chances
from pellucid.regions.repeats import KINDS, Repeat, find_repeats
from pellucid.regions.ribbons import SheetPlaces, ribbons_of
from pellucid.regions.rollers import _at_ends, _in_phase, _Strip, find_roller

WIDTH, HEIGHT = 3210.0, 6000.0  # mm, of a jumbo
TOLERANCE = 3.0


def anywhere(random, count):
    return random.random((count, 2)) * (WIDTH, HEIGHT)


def marks(random, period, count=8, scatter=1.0):
    """Marks of a roller at a place and a phase of its own, one after the other."""
    x, first = random.uniform(50, WIDTH - 50), random.uniform(0, HEIGHT - (count - 1) * period)
    return np.stack([np.full(count, x), first + period * np.arange(count)], 1) + random.normal(0, scatter, (count, 2))


def sheet(*places, start=None):
    return SheetPlaces(WIDTH, HEIGHT, np.concatenate(places), start)


def marked_sheets(random, period, known, count=8, others=50):
    """Marks of a roller on four sheets that follow each other, or of which each begins anywhere."""
    x, y, sheets = random.uniform(50, WIDTH - 50), random.uniform(0, period), []
    for number in range(4):
        along = np.arange(y, HEIGHT, period)[:count]
        count -= len(along)
        own = np.stack([np.full(len(along), x), along], 1) + random.normal(0, 1, (len(along), 2))
        sheets.append(sheet(anywhere(random, others), own, start=number * HEIGHT if known else None))
        y = along[-1] + period - HEIGHT if known and len(along) else random.uniform(0, period)
    return sheets


# --- numbers --------------------------------------------------------------------------------------------------------


@given(st.integers(0, 30), st.integers(1, 30), st.floats(0, 1))
def test_tails_are_scipys(hits, count, share):
    hits = min(hits, count)
    assert binomial_tails(np.array([hits]), count, share)[0] == pytest.approx(binom.sf(hits - 1, count, share))


@given(st.lists(st.tuples(st.integers(1, 4), st.floats(0.001, 1)), min_size=1, max_size=3), st.integers(0, 8))
def test_sums_are_those_of_all_cases(counts, least):
    chances = [own_chances(count, share) for count, share in counts]
    slow = sum(
        math.prod(binom.pmf(hit, count, share) for hit, (count, share) in zip(hits, counts, strict=True))
        for hits in itertools.product(*(range(count + 1) for count, _ in counts))
        if sum(hits) >= least
    )
    assert chance_of_sum(chances, least) == pytest.approx(slow, abs=1e-12)


@pytest.mark.parametrize(("count", "period"), [(2, 300), (4, 300), (4, 1400), (7, 100)])
def test_no_more_are_in_phase_than_the_bound_says(count, period):
    random, drawn = np.random.default_rng(0), 20_000
    along = random.random((drawn, count)) * HEIGHT
    away = (along[:, :, None] - along[:, None]) / period
    near = np.abs(away - np.round(away)) * period <= TOLERANCE
    most = near.sum(2).max(1) - 1
    bounds = phase_chances(count, (HEIGHT + 2 * TOLERANCE) // period * 2 * TOLERANCE / HEIGHT)
    for hits, bound in enumerate(bounds):
        share = (most >= hits).mean()
        assert share <= bound + 3 * math.sqrt(bound / drawn)


@settings(max_examples=60)
@given(st.lists(st.lists(st.integers(0, 400), min_size=2, max_size=6, unique=True), min_size=1, max_size=4), st.data())
def test_phases_are_those_of_all_pairs(ribbons, data):
    periods = np.array(data.draw(st.lists(st.integers(50, 3000), min_size=1, max_size=5, unique=True)), np.float64)
    along = [np.array(one, np.float64) * 15 for one in ribbons]  # no two are one
    strip = _Strip.of(np.concatenate(along), np.repeat(np.arange(len(along)), [*map(len, along)]), -1, (0.0, 1.0))
    found = _in_phase(strip, periods, TOLERANCE)
    for (number, period), (ribbon, places) in itertools.product(enumerate(periods), enumerate(along)):
        slow = 0
        for anchor in places:
            rests = [(place - anchor) % period for place in places]
            slow = max(slow, sum(min(rest, period - rest) <= TOLERANCE for rest in rests))
        assert found[number, ribbon] == slow


def slow_chance(places, periods_mm):
    """The chance of the roller of one sheet that is least likely, by trying all pairs and all numbers of turns."""
    near = [
        (places[i], places[j])
        for i, j in itertools.combinations(range(len(places)), 2)
        if abs(places[i, 0] - places[j, 0]) <= TOLERANCE
    ]
    best = 1.0
    for one, other in near:
        (_, top), (_, bottom) = sorted((one, other), key=lambda place: place[1])
        middle = (one[0] + other[0]) / 2
        tried = [n for n in range(1, 1000) if periods_mm[0] <= (bottom - top) / n <= periods_mm[1]]
        strip = [
            y
            for x, y in places
            if middle - TOLERANCE <= x < middle + TOLERANCE and not any(np.array_equal((x, y), p) for p in (one, other))
        ]
        for n in tried:
            period = (bottom - top) / n
            ends = [top + k * period for k in range(-200, 200) if k not in (0, n)]
            windows = sum(-TOLERANCE <= end <= HEIGHT + TOLERANCE for end in ends)
            hits = sum(any(abs(y - end) <= TOLERANCE for end in ends) for y in strip)
            share = min(1.0, windows * 2 * TOLERANCE / HEIGHT)
            best = min(best, KINDS * len(near) * len(tried) * binom.sf(hits - 1, len(strip), share))
    return best


@pytest.mark.parametrize("seed", range(3))
def test_the_chance_is_that_of_trying_everything(seed):
    random = np.random.default_rng(seed)
    places = np.concatenate([anywhere(random, 60), marks(random, 700.0, 7)])
    ribbons = ribbons_of([sheet(places)], TOLERANCE)
    found = find_roller(ribbons, TOLERANCE, (300.0, 3000.0), 0.05, KINDS)
    assert found.false_alarm_rate == pytest.approx(slow_chance(ribbons[0].places, (300.0, 3000.0)), rel=1e-6)


def test_the_anchor_is_no_hit_of_its_own():
    near = _at_ends(np.array([100.0, 399.0, 404.0, 700.0]), 100.0, np.array([300.0]), TOLERANCE)
    assert near[:, 0].tolist() == [0, 1, 0, 1]


# --- false alarms ---------------------------------------------------------------------------------------------------


def edged(random):
    return np.concatenate([anywhere(random, 120), random.random((80, 2)) * (100, HEIGHT)])


@pytest.mark.parametrize(
    ("drawn", "searches"),
    [
        (lambda random: [sheet(anywhere(random, 200))], 400),
        (lambda random: [sheet(anywhere(random, 20))], 400),
        (lambda random: [sheet(anywhere(random, 60)) for _ in range(4)], 100),
        (lambda random: [sheet(anywhere(random, 60), start=n * HEIGHT) for n in range(4)], 100),
        (lambda random: [sheet(edged(random))], 150),
    ],
    ids=["200", "20", "four sheets", "four sheets of a ribbon", "dirty edge"],
)
def test_false_alarms_keep_their_rate(drawn, searches):
    alarms = sum(bool(find_repeats(drawn(np.random.default_rng(seed)))) for seed in range(searches))
    assert alarms <= binom.ppf(0.999, searches, 0.05)


def test_a_higher_rate_is_kept_too():
    alarms = sum(
        bool(find_repeats([sheet(anywhere(np.random.default_rng(seed), 100))], false_alarm_rate=0.5))
        for seed in range(100)
    )
    assert alarms <= binom.ppf(0.999, 100, 0.5)


# --- rollers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("period", [150.0, 237.0, 300.0, 450.0, 628.3, 750.0])
def test_eight_marks_among_two_hundred_defects_are_found(period):
    exact = 0
    for seed in range(20):
        random = np.random.default_rng(seed)
        (first, *_) = find_repeats([sheet(anywhere(random, 200), marks(random, period))])
        assert first.kind == "roller"
        exact += abs(first.period_mm / period - 1) <= 0.005
    assert exact >= 19  # of 20; the others are fractions or multiples


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
@pytest.mark.parametrize("period", [750.0, 1000.0, 1500.0])
def test_marks_are_found_over_sheets(period, known):
    exact = 0
    for seed in range(10):
        found = find_repeats(marked_sheets(np.random.default_rng(seed), period, known))
        exact += bool(found) and abs(found[0].period_mm / period - 1) <= 0.005
    assert exact >= 9


def test_the_uncertainty_holds_as_often_as_it_says():
    within = 0
    for seed in range(100):
        random = np.random.default_rng(seed)
        (first, *_) = find_repeats([sheet(anywhere(random, 30), marks(random, 500.0, 9))])
        within += abs(first.period_mm - 500) <= first.period_uncertainty_mm
    assert within >= binom.ppf(0.01, 100, 0.95)


def test_members_are_the_marks_in_order():
    random = np.random.default_rng(3)
    own = marks(random, 600.0, 9, scatter=0.3)
    order = random.permutation(9)
    (found, *more) = find_repeats([sheet(anywhere(random, 50), own[order])])
    assert not more
    assert [number - 50 for _, number in found.members] == np.argsort(order).tolist()
    assert found.x_mm == pytest.approx(own[:, 0].mean(), abs=0.01)
    assert found.expected in (10, 11)


def test_two_rollers_are_two():
    random = np.random.default_rng(4)
    found = find_repeats([sheet(anywhere(random, 100), marks(random, 411.0, 12), marks(random, 733.0, 8))])
    assert sorted(round(one.period_mm) for one in found) == [411, 733]


def test_marks_in_pieces_are_marks():
    random = np.random.default_rng(5)
    own = marks(random, 500.0, 10)
    pieces = np.concatenate([own, own + np.array([0.5, 6.0]), own + np.array([-0.5, 9.0])])
    (found,) = find_repeats([sheet(anywhere(random, 100), pieces)])
    assert (found.kind, len(found.members)) == ("roller", 10)
    assert found.period_mm == pytest.approx(500, abs=1)


def test_a_scratch_in_pieces_is_one_defect():
    pieces = np.stack([np.full(12, 1000.0), 2000 + 8.0 * np.arange(12)], 1)
    apart = find_repeats([sheet(anywhere(np.random.default_rng(0), 100), pieces)])
    assert not [one for one in apart if one.kind == "roller"]


def test_a_mark_far_off_is_not_the_rollers():
    along = [*(100 + 200.0 * np.arange(8)), 5501.0]  # the last would be 27 turns away, nothing in between
    places = np.stack([np.full(9, 700.0), along], 1)
    (found, *_) = find_repeats([sheet(places, anywhere(np.random.default_rng(1), 20))])
    assert found.members == tuple((0, number) for number in range(8))


def test_ribbons_longer_than_glass_stays_in_step_have_a_phase_each():
    sheets = [sheet(np.empty((0, 2)), start=number * HEIGHT) for number in range(12)]
    assert [len(one.extents) for one in ribbons_of(sheets, TOLERANCE)] == [5, 5, 2]


# --- places ---------------------------------------------------------------------------------------------------------


def test_defects_at_one_place_across_are_a_place():
    for seed in range(20):
        random = np.random.default_rng(seed)
        x = random.uniform(10, WIDTH - 10)
        own = np.stack([x + random.normal(0, 1, 10), random.random(10) * HEIGHT], 1)
        (found, *_) = find_repeats([sheet(anywhere(random, 200), own)])
        assert found.kind == "place"
        assert found.x_mm == pytest.approx(x, abs=2)
        assert found.period_mm is None


def test_a_place_is_found_over_sheets_that_each_have_one():
    random = np.random.default_rng(0)
    own = [np.array([[1234 + random.normal(0, 1), random.random() * HEIGHT]]) for _ in range(10)]
    (found,) = find_repeats([sheet(anywhere(random, 20), one) for one in own])
    assert found == Repeat("place", found.x_mm, tuple((number, 20) for number in range(10)), found.false_alarm_rate)
    assert found.x_mm == pytest.approx(1234, abs=1)


def test_where_narrower_sheets_end_is_no_place():
    alarms = 0
    for seed in range(100):
        random = np.random.default_rng(seed)
        narrow = SheetPlaces(1000, HEIGHT, random.random((200, 2)) * (1000, HEIGHT))
        alarms += bool(find_repeats([sheet(anywhere(random, 100)), narrow, replace(narrow, places=narrow.places[:0])]))
    assert alarms <= binom.ppf(0.999, 100, 0.05)


# --- what is asked for ----------------------------------------------------------------------------------------------


def test_nothing_repeats_on_nothing():
    assert find_repeats([]) == ()
    assert find_repeats([sheet(np.empty((0, 2))), sheet(np.array([[1.0, 1.0]]))]) == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance_mm": 0}, "tolerance_mm=0 is not allowed"),
        ({"tolerance_mm": math.nan}, "tolerance_mm=nan is not allowed"),
        ({"false_alarm_rate": 1}, "false_alarm_rate=1 is not allowed: it lies between 0 and 1"),
        ({"periods_mm": (20, 3000)}, "at least 8 times the tolerance, 24 mm"),
        ({"periods_mm": (300, 200)}, "periods_mm=300,200 is not allowed"),
        ({"periods_mm": (300, math.inf)}, "periods_mm=300,inf is not allowed"),
    ],
)
def test_what_cannot_be_searched_is_refused(options, message):
    with pytest.raises(ParameterError, match=message):
        find_repeats([sheet(np.empty((0, 2)))], **options)


def test_sheets_that_overlap_are_refused():
    with pytest.raises(ParameterError, match=r"A sheet begins at 5990 mm, before the one that comes before it ends"):
        find_repeats([sheet(np.empty((0, 2)), start=0.0), sheet(np.empty((0, 2)), start=5990.0)])


def test_places_need_a_scale():
    found = Inspection(Path("a.png"), 1.0, 2.0, 0.5, "ok", np.empty((0, 0), np.float32))
    with pytest.raises(DataError, match=r"'a.png' has no places in mm: inspect it with --mm-per-px"):
        SheetPlaces.of(found)
