"""Limits and defects, against slow references."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage, stats

from pellucid.acquisition.splits import check_rate, min_calibration_images, plan_split
from pellucid.errors import DataError, ParameterError
from pellucid.limits.conformal import calibrate, conformal_limit, f1_optimal, realised_rate
from pellucid.limits.segmentation import segmentation_threshold
from pellucid.records import Sample, Samples
from pellucid.records.limits import Limit
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


@given(st.lists(st.floats(-100, 100), min_size=60, max_size=90), st.floats(-120, 120))
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


@pytest.mark.parametrize("highest", [1.0, 1e-30, 0.0, -1e-30, -1.0, -250.0, 1e30])
@pytest.mark.parametrize("limit", [5.0, 0.0, -5.0, 1e35])
def test_a_rejected_map_always_has_a_region(highest, limit):
    """Some detectors' maps are log-likelihoods, which may be negative everywhere."""
    m = np.full((8, 8), np.float32(highest) - np.float32(1 + abs(highest)), np.float32)
    m[2, 3] = highest
    found = find_defects(m, segmentation_threshold(m, limit))
    assert found
    assert found[0].peak == np.float32(highest)
    if limit > highest:
        assert found[0].centroid == (3.0, 2.0)


def test_a_flat_map_that_is_rejected_is_one_region():
    for level in (-3.0, 0.0, 3.0):
        m = np.full((4, 6), level, np.float32)
        assert find_defects(m, segmentation_threshold(m, 9.0))[0].area_px == 24


# --- confidence ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "rate"), [(59, 0.05), (92, 0.05), (93, 0.05), (150, 0.02), (200, 0.1)])
def test_a_limit_with_confidence_is_that_of_the_beta_distribution(count, rate):
    """The true rate of the k-th of n scores is Beta(n + 1 - k, k): the lowest k that is sure enough, searched for."""
    sure = [k for k in range(1, count + 1) if stats.beta.cdf(rate, count + 1 - k, k) >= 0.95]
    assert conformal_limit(np.arange(1.0, count + 1), rate, confidence=0.95) == min(sure)


def test_nineteen_of_twenty_limits_keep_their_promise():
    rng = np.random.default_rng(3)
    kept = [1 - conformal_limit(rng.random(100), 0.05, confidence=0.95) <= 0.05 for _ in range(2000)]
    assert 0.95 <= np.mean(kept) <= 0.99


@pytest.mark.parametrize(("rate", "need"), [(0.05, 59), (0.02, 149), (0.01, 299)])
def test_how_many_are_needed_for_confidence(rate, need):
    assert min_calibration_images(rate, 0.95) == need
    assert conformal_limit(np.arange(float(need)), rate, confidence=0.95) == need - 1
    with pytest.raises(DataError, match=f"{need - 1} normal scores cannot promise .* with confidence 0.95"):
        conformal_limit(np.arange(need - 1.0), rate, confidence=0.95)


def test_groups_count_as_one_for_confidence():
    scores = np.arange(118.0)
    limit = calibrate(scores, scores, 0.05, groups=[str(n // 2) for n in range(118)], confidence=0.95)
    assert (limit.value, limit.groups, limit.confidence) == (117, 59, 0.95)
    assert repr(limit) == "Limit(117, conformal at 5.00% with confidence 0.95 from 118 normals in 59 groups)"
    assert f1_optimal(limit, [200.0]).confidence is None
    with pytest.raises(DataError, match="58 normal scores cannot promise"):
        calibrate(scores[:116], scores[:116], 0.05, groups=[str(n // 2) for n in range(116)], confidence=0.95)


def test_too_few_for_confidence_says_what_there_is_what_is_needed_and_what_could_be_promised():
    few = Samples(Path("d"), "plain", tuple(Sample(Path(f"{n}.png"), "normal") for n in range(40)))
    with pytest.raises(DataError) as raised:
        plan_split(few, confidence=0.95)
    assert str(raised.value) == (
        "There are 40 normal training images that are independent of each other, too few for a false-reject rate of"
        " 0.05 with confidence 0.95, which needs 59: take images of 19 more parts, or ask for what 40 can promise,"
        " 0.073 with this confidence or 0.025 on average."
    )
    assert plan_split(few, false_reject=0.073, confidence=0.95).normals == few.samples
    with pytest.raises(ParameterError, match=r"A confidence of 95 is not allowed: .* as in 0.95"):
        plan_split(few, confidence=95)


# --- groups ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(1, 5), (5, 5), (1, 40), (2, 3)])
@pytest.mark.parametrize(("groups", "rate"), [(19, 0.05), (40, 0.05), (25, 0.2)])
def test_the_promise_holds_for_an_image_of_a_new_group(sizes, groups, rate):
    """Scores of a group are nearly equal; where odd parts have few images, counting images would break the promise."""
    rng = np.random.default_rng(7)
    rejected, by_images = [], []
    for _ in range(1500):
        level = rng.gamma(2.0, size=groups + 1)
        count = rng.integers(sizes[0], sizes[1] + 1, groups)
        if sizes == (1, 40):
            count = np.where(level[:-1] > 3, 1, 40)
        names = np.repeat(np.arange(groups), count)
        scores = level[:-1][names] + rng.normal(0, 0.01, len(names))
        limit = calibrate(scores, scores, rate, groups=[str(n) for n in names])
        limit = replace(limit, value=conformal_limit(scores, rate, 1 / count[names]))  # not of a tail, if there are few
        new = level[-1] + rng.normal(0, 0.01)
        assert limit.groups == groups
        assert limit.false_reject_rate == rate
        assert (limit.p_value(new) <= rate + 1e-9) == (new > limit.value)
        rejected.append(new > limit.value)
        by_images.append(new > conformal_limit(scores, rate))
    error = 3 * np.sqrt(rate * (1 - rate) / len(rejected))
    assert np.mean(rejected) <= rate + error
    if sizes == (1, 40):
        assert np.mean(by_images) > rate + error


@given(st.lists(st.floats(-100, 100), min_size=19, max_size=60))
def test_images_that_are_each_a_group_are_as_without_groups(scores):
    plain = calibrate(scores, scores, 0.05)
    assert calibrate(scores, scores, 0.05, groups=[None] * len(scores)) == plain
    named = calibrate(scores, scores, 0.05, groups=[str(n) for n in range(len(scores))])
    assert (named.value, named.pixel, named.p_value(3.0)) == (plain.value, plain.pixel, plain.p_value(3.0))


def test_too_few_groups_promise_what_they_can():
    scores = np.arange(60.0)
    limit = calibrate(scores, scores, 0.05, groups=[str(n // 5) for n in range(60)])
    assert limit.value == 59
    assert limit.false_reject_rate == pytest.approx(1 / 13)
    assert repr(limit) == "Limit(59, conformal at 7.69% from 60 normals in 12 groups)"
    assert limit.p_value(100.0) == pytest.approx(1 / 13)
    assert limit.p_value(-1.0) == 1
    moved = f1_optimal(limit, [70.0])
    assert (moved.groups, moved.weights) == (12, limit.weights)
