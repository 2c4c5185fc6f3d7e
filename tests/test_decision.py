"""Limits, defects, metrics and the choice, against slow references and scikit-learn."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from sklearn.metrics import roc_auc_score, roc_curve

from pellucid.errors import DataError, ParameterError
from pellucid.limits.calibration import calibrate, check_rate, conformal_limit, f1_optimal, realised_rate
from pellucid.records import Limit
from pellucid.regions.defects import cut_of, find_defects
from pellucid.study import metrics
from pellucid.study.choice import auroc_error, choose, pareto


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.1])
def test_false_rejects_keep_the_promise(rate):
    """Over many draws of exchangeable normals the realised rate is the promised one, within Monte-Carlo error."""
    rng = np.random.default_rng(0)
    realised = []
    for _ in range(400):
        scores = rng.gamma(2.0, size=100 + 400)
        realised.append((scores[100:] > conformal_limit(scores[:100], rate)).mean())
    expected = 1 - np.ceil(101 * (1 - rate) - 1e-9) / 101
    assert abs(np.mean(realised) - expected) < 4 * np.std(realised) / 20
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
    assert find_defects(m, cut_of(m, 5.0))[0].centroid == (3.0, 2.0)


def _tied_maps(seed):
    rng = np.random.default_rng(seed)
    maps = [rng.integers(0, 6, (12, 12)).astype(np.float32) for _ in range(4)]
    masks = [rng.random((12, 12)) > 0.8 for _ in range(3)] + [np.zeros((12, 12), bool)]
    return maps, masks


@given(st.integers(0, 200))
def test_pixel_auroc_is_scikit_learns(seed):
    maps, masks = _tied_maps(seed)
    expected = roc_auc_score(np.ravel(masks), np.ravel(maps))
    assert metrics.pixel_auroc(maps, masks) == pytest.approx(expected)


@given(st.integers(0, 40), st.sampled_from([0.05, 0.3, 1.0]))
def test_aupro_is_the_mean_of_each_regions_curve(seed, limit):
    maps, masks = _tied_maps(seed)
    normal = np.concatenate([m[~g] for m, g in zip(maps, masks, strict=True)])
    curves = []
    for m, g in zip(maps, masks, strict=True):
        labels, count = ndimage.label(g, np.ones((3, 3)))
        for k in range(1, count + 1):
            inside = m[labels == k]
            thresholds = np.unique(np.concatenate([*(x.ravel() for x in maps)]))[::-1]
            false = [0.0] + [(normal >= t).mean() for t in thresholds]
            found = [0.0] + [(inside >= t).mean() for t in thresholds]
            # where several points share a false-positive rate the curve is vertical: take both ends
            area = sum(
                (found_a + found_b) / 2 * (b - a) for (a, found_a), (b, found_b) in _segments(false, found, limit)
            )
            curves.append(area / limit)
    assert metrics.aupro(maps, masks, limit) == pytest.approx(np.mean(curves), abs=1e-9)


def _segments(x, y, limit):
    points = list(zip(x, y, strict=True))
    for (a, ya), (b, yb) in pairwise(points):
        if a >= limit or a == b:
            continue
        end = min(b, limit)
        yield (a, ya), (end, ya + (yb - ya) * (end - a) / (b - a))


def test_metrics_without_both_classes():
    assert metrics.auroc([True, True], [1, 2]) is None
    assert metrics.average_precision([False], [1]) is None
    assert metrics.best_f1([False], [1]) is None
    assert metrics.pixel_auroc([], []) is None
    assert metrics.aupro([], []) is None
    empty = metrics.at_limit([], [], 0.0)
    assert empty["false_reject_rate"] is None
    assert empty["escape_rate"] is None


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=1, max_size=40), st.integers(-1, 10))
def test_counts_at_a_limit(pairs, limit):
    labels, scores = [a for a, _ in pairs], [b for _, b in pairs]
    got = metrics.at_limit(labels, scores, limit)
    assert got["escapes"] == sum(y and s <= limit for y, s in pairs)
    assert got["false_rejects"] == sum(not y and s > limit for y, s in pairs)


def test_best_f1_is_labelled_optimistic_and_right():
    labels, scores = [0, 0, 1, 1, 0], [1.0, 2.0, 2.0, 5.0, 0.0]
    _, _, thresholds = roc_curve(labels, scores)
    best = max(metrics.at_limit(labels, scores, t - 1e-9)["image_f1"] for t in thresholds[1:])
    assert metrics.best_f1(labels, scores) == pytest.approx(best)


def _row(name, auroc, ms, mb, seconds=1.0, on="labelled training defects"):
    return {
        "detector": name,
        "selection_auroc": auroc,
        "selection_on": on,
        "selection_positives": 50,
        "selection_negatives": 50,
        "ms_per_image_median": ms,
        "model_mb": mb,
        "fit_seconds": seconds,
        "image_auroc": auroc,
    }


def test_choice_prefers_the_cheaper_of_equals():
    rows = [_row("a", 1.0, 50, 50), _row("b", 1.0, 10, 80), _row("c", 0.9, 1, 1), _row("d", 1.0, 60, 2)]
    assert choose(rows).detector == "d"
    assert choose(rows, prefer="speed").detector == "b"
    assert choose(rows, prefer="size").detector == "d"
    assert choose(rows, max_ms=20, max_mb=100).detector == "b"
    assert choose(rows, prefer="speed", max_ms=5).detector == "c"
    assert choose(rows, max_ms=0.5).detector is None
    assert {r["detector"] for r in pareto(rows)} == {"a", "b", "c", "d"}
    assert [r["detector"] for r in pareto([_row("x", 1.0, 1, 1), _row("y", 0.9, 2, 2)])] == ["x"]


def test_a_perfect_score_on_few_images_still_ties_with_nearly_perfect_ones():
    rows = [_row("perfect", 1.0, 50, 50), _row("cheap", 0.995, 5, 5), _row("worse", 0.7, 1, 1)]
    assert choose(rows).detector == "cheap"
    assert choose(rows, prefer="accuracy").detector == "perfect"


def test_choice_says_when_test_labels_had_to_choose():
    assert "optimistic" in choose([_row("a", 0.99, 1, 1, on="test images")]).reason
    assert "cost alone decides" in choose([_row("a", None, 1, 1)]).reason


def test_auroc_error_is_hanley_and_mcneils():
    assert auroc_error(0.893, 51, 58) == pytest.approx(0.032, abs=0.002)  # table III of the paper
