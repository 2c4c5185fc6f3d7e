"""Limits and defects, against slow references."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from pellucid.acquisition.splits import check_rate
from pellucid.errors import DataError, ParameterError
from pellucid.limits.conformal import calibrate, conformal_limit, f1_optimal, realised_rate
from pellucid.limits.segmentation import segmentation_threshold
from pellucid.records import Limit
from pellucid.regions.defects import find_defects
from pellucid.study import metrics


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.1])
@pytest.mark.parametrize("tied", [False, True])
def test_false_rejects_keep_the_promise(rate, tied):
    """Over 200 random splits of exchangeable normals the realised rate is the promise, within Monte-Carlo error."""
    rng = np.random.default_rng(0)
    realised = []
    for _ in range(200):
        scores = rng.gamma(2.0, size=120 + 600)  # new images every time: splits of one set would not be independent
        scores = np.round(scores, 1) if tied else scores
        realised.append((scores[120:] > conformal_limit(scores[:120], rate)).mean())
    expected = 1 - np.ceil(121 * (1 - rate) - 1e-9) / 121
    error = 4 * np.std(realised) / np.sqrt(200)
    assert np.mean(realised) - expected < error
    assert tied or expected - np.mean(realised) < error  # ties can only reject less
    assert expected <= rate


@pytest.mark.parametrize(("count", "rate"), [(19, 0.05), (100, 0.05), (30, 0.1)])
def test_the_realised_rate_lies_where_it_is_said_to(count, rate):
    rng = np.random.default_rng(1)
    realised = [1 - conformal_limit(rng.random(count), rate) for _ in range(4000)]  # uniform scores: rate = 1 - limit
    np.testing.assert_allclose(realised_rate(count, rate), np.quantile(realised, [0.05, 0.95]), atol=0.01)


@given(st.lists(st.floats(-100, 100), min_size=19, max_size=60), st.floats(-120, 120))
def test_p_value_and_verdict_agree(scores, score):
    limit = calibrate(scores, scores, 0.05)
    assert limit.p_value(score) == (1 + sum(s >= score for s in scores)) / (len(scores) + 1)
    if score > limit.value:
        assert limit.p_value(score) <= 0.05 + 1e-12


def test_too_few_scores_and_rates_out_of_range():
    with pytest.raises(DataError, match="18 normal scores cannot promise"):
        conformal_limit(np.zeros(18), 0.05)
    assert conformal_limit(np.arange(19.0), 0.05) == 18
    with pytest.raises(ParameterError, match="between 0 and 1"):
        check_rate(1.0)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=30), st.lists(st.integers(0, 20), min_size=1, max_size=30))
def test_f1_optimal_is_the_best_of_all_limits(normal, defects):
    limit = Limit(0, 0, 0.05, tuple(sorted(float(s) for s in normal)))
    moved = f1_optimal(limit, [float(s) for s in defects])

    def f1(t):
        return metrics.at_limit([False] * len(normal) + [True] * len(defects), [*normal, *defects], t)["image_f1"]

    assert f1(moved.value) == pytest.approx(max(f1(t) for t in np.arange(-1, 21, 0.5)))
    assert moved.method == "f1"


def test_f1_needs_defects():
    with pytest.raises(DataError, match="needs labelled defects"):
        f1_optimal(Limit(0, 0, 0.05, (1.0,)), [])


@given(st.integers(0, 1000))
def test_defects_are_scipys_regions(seed):
    m = np.random.default_rng(seed).random((20, 30)).astype(np.float32)
    labels, count = ndimage.label(m > 0.7, np.ones((3, 3)))
    found = find_defects(m, 0.7)
    assert len(found) == count
    assert sorted(d.area_px for d in found) == sorted(int((labels == k).sum()) for k in range(1, count + 1))
    if found:
        assert found[0].peak == m.max()
        x, y, w, h = found[0].box
        assert m[y : y + h, x : x + w].max() == m.max()


def test_a_rejected_map_always_has_a_region():
    m = np.zeros((8, 8), np.float32)
    m[2, 3] = 1
    assert find_defects(m, segmentation_threshold(m, 5.0))[0].centroid == (3.0, 2.0)
