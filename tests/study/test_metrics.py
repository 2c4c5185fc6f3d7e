"""Every metric against scikit-learn or a slow, obvious reference: random, tied, degenerate and adversarial inputs."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from pellucid.study import metrics, pixels
from pellucid.study.intervals import areas, auroc_interval, interval, resamples, wilson
from pellucid.study.pixels import PixelMetrics, Tally, sortable_keys

# few different values: ties; huge, tiny and neighbouring ones: what clamping or a sigmoid would destroy
SCORES = st.one_of(
    st.integers(0, 3).map(float),
    st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False),
    st.sampled_from([0.0, -0.0, 1e-38, 1.0, float(np.nextafter(np.float32(1), np.float32(2))), 1e9, -1e9]),
)
PAIRS = st.lists(st.tuples(st.booleans(), SCORES), min_size=1, max_size=40)


# --- images -----------------------------------------------------------------------------------------------------------


@given(PAIRS)
@example([(True, 1.0), (False, 1.0)])
def test_areas_are_scikit_learns_to_the_last_digit(pairs):
    labels, scores = [a for a, _ in pairs], [b for _, b in pairs]
    if len(set(labels)) < 2:
        assert metrics.auroc(labels, scores) is metrics.average_precision(labels, scores) is None
        assert metrics.best_f1(labels, scores) is metrics.recall_at(labels, scores, 0.05) is None
    else:
        assert metrics.auroc(labels, scores) == roc_auc_score(labels, scores)
        assert metrics.average_precision(labels, scores) == average_precision_score(labels, scores)


@given(PAIRS, SCORES)
def test_counts_at_a_limit(pairs, limit):
    labels, scores = [a for a, _ in pairs], [b for _, b in pairs]
    got = metrics.at_limit(labels, scores, limit)
    assert got["escapes"] == sum(y and s <= limit for y, s in pairs)
    assert got["false_rejects"] == sum(not y and s > limit for y, s in pairs)
    assert got["normals"] + got["defectives"] == len(pairs)
    for rate, count, total in (
        ("escape_rate", "escapes", "defectives"),
        ("false_reject_rate", "false_rejects", "normals"),
    ):
        if got[total] == 0:
            assert got[rate] is got[f"{rate}_low"] is got[f"{rate}_high"] is None
        else:
            assert got[rate] == got[count] / got[total]
            assert got[f"{rate}_low"] <= got[rate] <= got[f"{rate}_high"]


@given(PAIRS, st.sampled_from([0.0, 0.05, 0.3, 1.0]))
def test_recall_and_best_f1_are_the_best_of_all_limits(pairs, rate):
    labels, scores = [a for a, _ in pairs], [b for _, b in pairs]
    if len(set(labels)) < 2:
        return
    at = [metrics.at_limit(labels, scores, limit) for limit in [-np.inf, *scores]]
    allowed = [a for a in at if a["false_reject_rate"] <= rate]
    assert metrics.recall_at(labels, scores, rate) == pytest.approx(1 - min(a["escape_rate"] for a in allowed))
    assert metrics.best_f1(labels, scores) == pytest.approx(max(a["image_f1"] for a in at))
    precision, recall, _ = precision_recall_curve(labels, scores)
    assert metrics.best_f1(labels, scores) >= (2 * precision * recall / np.maximum(precision + recall, 1e-12)).max()


def test_nothing_to_count():
    empty = metrics.at_limit([], [], 0.0)
    assert empty["false_reject_rate"] is empty["escape_rate"] is empty["image_f1"] is None
    assert wilson(0, 0) is None


@pytest.mark.parametrize(("count", "total"), [(0, 20), (3, 20), (20, 20), (1, 1), (50, 1000)])
def test_wilson_is_the_formula(count, total):
    z, p = 1.959963984540054, count / total
    middle, half = p + z**2 / (2 * total), z * np.sqrt(p * (1 - p) / total + z**2 / (4 * total**2))
    expected = np.clip([(middle - half) / (1 + z**2 / total), (middle + half) / (1 + z**2 / total)], 0, 1)
    np.testing.assert_allclose(wilson(count, total), expected, atol=1e-12)


# --- intervals --------------------------------------------------------------------------------------------------------


@given(PAIRS, st.integers(0, 5))
def test_resampled_areas_are_those_of_the_repeated_images(pairs, seed):
    labels, scores = [a for a, _ in pairs], [b for _, b in pairs]
    if len(set(labels)) < 2:
        return
    drawn = resamples(labels, count=5, seed=seed)
    aurocs, aps = areas(labels, scores, drawn)
    for weights, auroc, ap in zip(drawn, aurocs, aps, strict=True):
        y, s = np.repeat(labels, weights), np.repeat(scores, weights)
        assert auroc == pytest.approx(roc_auc_score(y, s))
        assert ap == pytest.approx(average_precision_score(y, s))


def test_resamples_keep_classes_and_groups_whole():
    labels = [True, True, False, False, False, False]
    drawn = resamples(labels, [None, None, "a", "a", "b", None], count=500)
    assert (drawn[:, :2].sum(1) == 2).all()
    assert (drawn[:, 2] == drawn[:, 3]).all()
    assert (drawn[:, 2] + drawn[:, 4] + drawn[:, 5] == 3).all()
    more = resamples([True, True, False], count=500)
    assert (more[:, :2] == drawn[:, :2]).all()  # the same defects are drawn alike beside other normals


@given(st.floats(0, 1), st.integers(1, 300), st.integers(1, 300))
def test_the_ends_of_an_auroc_interval_are_where_the_seen_value_is_just_possible(seen, positives, negatives):
    low, high = auroc_interval(seen, positives, negatives)
    assert 0 <= low <= seen <= high <= 1
    extra = (positives + negatives) / 2 - 1
    for end in (low, high):
        if 1e-5 < end < 1 - 1e-5 and 1e-5 < seen < 1 - 1e-5:
            spread = 1 + extra * ((1 - end) / (2 - end) + end / (1 + end))
            error = np.sqrt(end * (1 - end) * spread / (positives * negatives))
            assert abs(end - seen) / error == pytest.approx(1.96, abs=0.02)


def test_hardly_any_image_is_hardly_any_knowledge():
    assert auroc_interval(1.0, 8, 6)[0] < 0.8
    assert auroc_interval(1.0, 1000, 1000)[0] > 0.99
    assert auroc_interval(0.0, 8, 6)[1] == pytest.approx(1 - auroc_interval(1.0, 8, 6)[0])


def test_the_interval_of_an_auroc_covers_the_truth():
    """Normals N(0, 1), defects N(1, 1): the true AUROC is Phi(1 / sqrt(2)), missed about 5 times in 100."""
    rng = np.random.default_rng(3)
    truth, labels, covered, by_chance = 0.7602499, [False] * 60 + [True] * 40, 0, 0
    drawn = resamples(labels, count=400)
    for _ in range(200):
        scores = np.r_[rng.normal(0, 1, 60), rng.normal(1, 1, 40)]
        low, high = interval(areas(labels, scores, drawn)[0])
        covered += low <= truth <= high
        low, high = auroc_interval(metrics.auroc(labels, scores), 40, 60)
        by_chance += low <= truth <= high
    assert by_chance >= 180
    assert 178 <= covered <= 199  # binomial(200, 0.95) is outside once in some thousand, and the bootstrap a little low


# --- pixels -----------------------------------------------------------------------------------------------------------


def _maps(seed, kinds=("tied", "smooth", "adversarial", "equal")):
    rng = np.random.default_rng(seed)
    kind = kinds[seed % len(kinds)]
    maps = {
        "tied": lambda: rng.integers(0, 6, (12, 12)).astype(np.float32),
        "smooth": lambda: rng.normal(0, 1, (12, 12)).astype(np.float32),
        "adversarial": lambda: (rng.choice([1e-30, -1e-30, 0, 1e30], (12, 12)) * rng.random((12, 12))).astype(
            np.float32
        ),
        "equal": lambda: np.full((12, 12), 0.5, np.float32),
    }[kind]
    masks = [rng.random((12, 12)) > 0.8 for _ in range(3)] + [None, None]
    return [maps() for _ in masks], masks


def _counted(maps, masks):
    counted = PixelMetrics()
    for m, mask in zip(maps, masks, strict=True):
        counted.add(m, mask)
    return counted


def _flat(masks, shape=(12, 12)):
    return np.concatenate([(np.zeros(shape, bool) if m is None else m).ravel() for m in masks])


@given(st.integers(0, 400))
def test_pixel_areas_are_scikit_learns(seed):
    maps, masks = _maps(seed)
    counted = _counted(maps, masks)
    assert counted.auroc() == pytest.approx(roc_auc_score(_flat(masks), np.ravel(maps)), rel=1e-12)
    assert counted.average_precision() == pytest.approx(
        average_precision_score(_flat(masks), np.ravel(maps)), rel=1e-12
    )


@given(st.integers(0, 60), st.sampled_from([0.05, 0.3, 1.0]))
@settings(max_examples=30)
def test_aupro_is_the_mean_of_each_regions_curve(seed, limit):
    maps, masks = _maps(seed)
    flat = _flat(masks)
    normal = np.ravel(maps)[~flat]
    thresholds = np.unique(np.ravel(maps))[::-1]
    curves = []
    for m, mask in zip(maps, masks, strict=True):
        labels, count = ndimage.label(np.zeros((12, 12)) if mask is None else mask, np.ones((3, 3)))
        for k in range(1, count + 1):
            inside = m[labels == k]
            false = [0.0] + [(normal >= t).mean() for t in thresholds]
            found = [0.0] + [(inside >= t).mean() for t in thresholds]
            # where several points share a false-positive rate the curve is vertical: take both ends
            curves.append(sum((ya + yb) / 2 * (b - a) for (a, ya), (b, yb) in _segments(false, found, limit)) / limit)
    assert _counted(maps, masks).aupro(limit) == pytest.approx(np.mean(curves), abs=1e-9)


def _segments(x, y, limit):
    for (a, ya), (b, yb) in pairwise(zip(x, y, strict=True)):
        if a >= limit or a == b:
            continue
        end = min(b, limit)
        yield (a, ya), (end, ya + (yb - ya) * (end - a) / (b - a))


@given(st.integers(0, 200), st.integers(1, 4))
@settings(max_examples=40)
def test_aupimo_is_the_mean_recall_over_the_logarithm_of_the_rate(seed, normals):
    """On a fine grid of allowed false-positive rates, each with the lowest threshold that keeps to it."""
    rng = np.random.default_rng(seed)
    shape = (130, 110)
    good = [rng.normal(0, 1, shape).astype(np.float32) for _ in range(normals)]
    bad = [rng.normal(2.5, 1, shape).astype(np.float32) for _ in range(2)]
    if seed % 3 == 0:
        good, bad = [np.round(m, 1) for m in good], [np.round(m, 1) for m in bad]
    masks = [rng.random(shape) > 0.97, np.zeros(shape, bool)]
    masks[1][5:9, 5:9] = True
    counted = _counted([*good, *bad], [None] * normals + masks)
    thresholds = np.unique(np.concatenate([*good, *bad]))
    rates = np.mean([1 - np.searchsorted(np.sort(m.ravel()), thresholds) / m.size for m in good], 0)
    grid = np.geomspace(1e-5, 1e-4, 4001)
    lowest = [thresholds[rates <= rate + 1e-12][0] if (rates <= rate + 1e-12).any() else np.inf for rate in grid]
    expected = [np.mean([(m[g] >= t).mean() for t in lowest]) for m, g in zip(bad, masks, strict=True)]
    np.testing.assert_allclose(counted.aupimo(), expected, atol=2e-3)


def test_pixel_metrics_without_both_kinds():
    nothing = PixelMetrics()
    assert nothing.auroc() is nothing.average_precision() is nothing.aupro() is nothing.aupimo() is None
    clean = _counted([np.ones((4, 4), np.float32)], [None])
    assert clean.auroc() is clean.aupimo() is None
    empty_mask = _counted([np.ones((4, 4), np.float32)], [np.zeros((4, 4), bool)])
    assert empty_mask.auroc() is empty_mask.aupimo() is None
    all_bad = _counted([np.ones((4, 4), np.float32)], [np.ones((4, 4), bool)])
    assert all_bad.auroc() is all_bad.aupro() is None


def test_the_largest_region_is_told():
    mask = np.zeros((20, 20), bool)
    mask[2:5, 2:5] = mask[10:16, 10:16] = True
    assert PixelMetrics().add(np.zeros((20, 20), np.float32), mask) == 36
    assert PixelMetrics().add(np.zeros((20, 20), np.float32)) == 0


@given(st.lists(st.floats(width=32, allow_nan=False, allow_subnormal=False), min_size=1, max_size=50))
def test_keys_are_in_the_order_of_the_floats(values):
    floats = np.array(values, np.float32)
    keys = sortable_keys(floats)
    assert ((floats[:, None] < floats) == (keys[:, None] < keys)).all()


def test_many_values_are_merged_and_hardly_move_the_areas(monkeypatch):
    rng = np.random.default_rng(0)
    maps = [rng.gamma(3, 1, (64, 64)).astype(np.float32) for _ in range(40)]
    masks = [None if n % 2 else rng.random((64, 64)) > 0.95 for n in range(40)]
    for m, mask in zip(maps, masks, strict=True):
        if mask is not None:
            m[mask] += 1
    exact = _counted(maps, masks)
    monkeypatch.setattr(pixels, "MAX_DISTINCT_VALUES", 5000)
    monkeypatch.setattr(pixels, "MAX_PENDING_PIXELS", 20_000)
    merged = _counted(maps, masks)
    assert merged.auroc() == pytest.approx(exact.auroc(), abs=1e-6)
    assert merged.average_precision() == pytest.approx(exact.average_precision(), abs=1e-4)
    for limit in (0.05, 0.3):
        assert merged.aupro(limit) == pytest.approx(exact.aupro(limit), abs=1e-4)
    np.testing.assert_allclose(merged.aupimo(), exact.aupimo(), atol=5e-3)
    assert 2500 <= len(merged._good.keys) <= 5000
    assert merged._good.sums[:, 0].sum() == exact._good.sums[:, 0].sum()


def test_a_tally_adds_weights_of_equal_values():
    tally = Tally()
    tally.add(np.array([7, 3, 7], np.uint32), np.array([[1.0, 2.0], [4.0, 5.0], [10.0, 20.0]]))
    tally.flush()
    assert tally.keys.tolist() == [3, 7]
    assert tally.sums.tolist() == [[4.0, 5.0], [11.0, 22.0]]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_images():
    """Ten times the images, each with values of its own: the process may not grow by more than its noise."""
    code = (
        "import sys, numpy as np; from pellucid.study.measure import peak_ram_mb\n"
        "from pellucid.study.pixels import PixelMetrics\n"
        "rng, counted = np.random.default_rng(0), PixelMetrics()\n"
        "mask = np.zeros((128, 128), bool); mask[40:60, 40:60] = True\n"
        "for n in range(int(sys.argv[1])):\n"
        "    counted.add(rng.gamma(3, 1, (128, 128)).astype(np.float32), mask if n % 2 else None)\n"
        "counted.auroc(), counted.aupro(), counted.aupimo()\n"
        "print(peak_ram_mb())"
    )
    few, many = (
        float(subprocess.run([sys.executable, "-c", code, n], check=True, capture_output=True, text=True).stdout)
        for n in ("300", "3000")
    )
    assert many - few < 60  # the maps themselves are 177 MB more
