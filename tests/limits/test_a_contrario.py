"""The number of false alarms against every region one by one, and against what it promises of noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import label
from scipy.stats import chi2

from pellucid.limits.a_contrario import log_nfa, log_tail, log_tests

MAPS = st.tuples(st.integers(1, 6), st.integers(1, 6)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.integers(0, 6).map(float))  # so that many are equal
)


def regions(U):
    """Every component of every upper level set, as a mask."""
    for u in np.unique(U):
        components, count = label(u <= U)
        for k in range(1, count + 1):
            yield components == k


def slow_log_nfa(latents, tests):
    """By every region, its probability bounded by Chernoff's for each of its positions."""
    grids = [level[0].size for level in latents]
    polyominoes = [0.316915 * 4.062570**r / r for r in range(1, max(grids) + 1)]
    total = sum(cells * sum(polyominoes[:cells]) for cells in grids)
    found = []
    for level in latents:
        degrees, U = len(level), (level**2).sum(0)
        lowest = np.full(U.shape, np.inf)
        for region in regions(U):
            size, x = int(region.sum()), max(1.0, U[region].min() / degrees)
            probability = math.exp(-degrees / 2 * (x - 1 - math.log(x))) ** size
            count = total if tests == "total" else len(grids) * U.size * U.size * polyominoes[size - 1]
            lowest[region] = np.minimum(lowest[region], math.log10(count * probability))
        found.append(lowest)
    return found


@pytest.mark.parametrize("tests", ["total", "by_size"])
@given(MAPS, MAPS, st.integers(1, 4))
def test_the_lowest_nfa_is_that_of_every_region_one_by_one(tests, fine, coarse, channels):
    generator = np.random.default_rng(0)
    latents = [U * generator.choice([-0.7, 0.7], (channels, *U.shape)) for U in (fine, coarse)]
    for found, expected in zip(log_nfa(latents, tests), slow_log_nfa(latents, tests), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@given(st.integers(1, 300), st.floats(0, 20))
def test_the_tail_is_bounded_from_above(degrees, share):
    u = np.array([share * degrees])
    assert log_tail(u, degrees)[0] >= chi2.logsf(u, degrees)[0] / math.log(10) - 1e-9
    assert (log_tail(u, degrees)[0] == 0) == (share <= 1)


def test_the_bound_follows_the_tail():
    u = np.linspace(200, 900, 50)
    ratio = log_tail(u, 50) * math.log(10) / chi2.logsf(u, 50)
    assert (ratio > 0.85).all()
    assert (ratio <= 1).all()


def test_regions_are_counted_as_polyominoes_are():
    fixed = [1, 2, 6, 19, 63, 216, 760, 2725, 9910, 36446]  # of 1 to 10 cells (OEIS A001168)
    found = 10 ** log_tests(100)[:10] / 100
    assert (found > fixed).all()
    assert found[-1] / fixed[-1] < 1.07


def test_large_numbers_of_regions_do_not_overflow():
    found = log_nfa([np.zeros((8, 64, 64)), np.zeros((8, 32, 32))])[0]
    assert np.isfinite(found).all()
    assert found.min() == pytest.approx(4096 * math.log10(4.062570) + math.log10(0.316915), abs=1)


@pytest.mark.parametrize("tests", ["total", "by_size"])
def test_of_noise_at_most_one_false_alarm_an_image_is_expected(tests):
    """The hypothesis itself: 200 images, and fewer alarms than that; Chernoff's bound leaves much room."""
    generator = np.random.default_rng(0)
    images = [[generator.standard_normal((c, n, n)) for c, n in ((8, 16), (16, 8))] for _ in range(200)]
    assert sum(min(level.min() for level in log_nfa(latents, tests)) < 0 for latents in images) < 20


def test_a_small_region_raises_an_alarm_by_the_count_of_its_own_size_alone():
    generator = np.random.default_rng(0)
    latents = generator.standard_normal((16, 32, 32))
    latents[:, 10:12, 20:23] *= 3.0
    by_size, total = (log_nfa([latents], tests)[0] for tests in ("by_size", "total"))
    assert by_size.min() < -10
    assert (by_size < 0)[10:12, 20:23].all()
    assert (by_size < 0).sum() < 20
    assert total.min() > 0
    latents[:, 8:20, 8:20] *= 4.0
    assert log_nfa([latents], "total")[0].min() < 0


def test_what_is_not_a_number_raises_an_alarm():
    latents = np.random.default_rng(0).standard_normal((4, 5, 5))
    latents[2, 1, 1] = np.nan
    found = log_nfa([latents])[0]
    assert found[1, 1] == -np.inf
    assert not np.isnan(found).any()
    assert (found[3:] > 0).all()
