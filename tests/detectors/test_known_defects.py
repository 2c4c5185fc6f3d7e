"""What labelled defects teach: directions against scikit-learn, weights against brute force, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score

from pellucid import detectors
from pellucid.detectors._known_defects import SHRINKAGE, Head, Moments, embed, fisher_direction, project
from pellucid.detectors._maps import smooth_map
from pellucid.detectors._taught import MAX_UNTESTED_WEIGHT, WEIGHTS, CrossValidation


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_direction_is_that_of_scikit_learn():
    good, defective = normal(0, 400, 6) @ normal(1, 6, 6), normal(2, 50, 6) @ normal(3, 6, 6) + 0.7
    found = fisher_direction(Moments.of(good), Moments.of(defective))
    scale = good.std(0, correction=0).double()
    rows = np.concatenate([good, defective]) / scale.numpy()
    slow = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINKAGE, priors=[0.5, 0.5])
    slow.fit(rows, np.repeat([0, 1], [400, 50]))
    np.testing.assert_allclose(found, slow.coef_[0] / scale.numpy(), rtol=1e-6)


def test_moments_add_up_and_are_taken_off():
    rows = normal(0, 30, 4) + 5
    whole, part = Moments.of(rows), Moments.of(rows[:10])
    for moments, expected in (
        (part + Moments.of(rows[10:]), rows),
        (whole - part, rows[10:]),
        (part.normalised(), rows[:10]),
    ):
        np.testing.assert_allclose(moments.mean, expected.double().mean(0), rtol=1e-12)
        np.testing.assert_allclose(moments.covariance, np.cov(expected.double().T, bias=True), rtol=1e-9)
    assert part.normalised().count == 1
    assert Moments.of(rows, 1 / len(rows)).count == pytest.approx(1)


def test_a_feature_that_never_changes_tells_nothing():
    good, defective = normal(0, 100, 3), normal(1, 20, 3) + 1
    good[:, 1] = defective[:, 1] = 3.0
    direction = fisher_direction(Moments.of(good), Moments.of(defective))
    assert direction.isfinite().all()
    assert abs(direction[1]) < 0.01 * direction[0]


def test_projecting_maps_is_projecting_their_features():
    maps = [normal(0, 2, 5, 8, 12), normal(1, 2, 3, 4, 6)]
    directions = normal(2, 8, 4)
    found = project(maps, directions, (32, 48))
    along = torch.einsum("bdhw,dk->bkhw", embed(maps), directions)
    slow = torch.stack([smooth_map(along[:, k], (32, 48)) for k in range(4)], 1)
    torch.testing.assert_close(found, slow, rtol=1e-4, atol=1e-5)


@settings(max_examples=20)
@given(st.integers(0, 1000), st.floats(-1, 1))
def test_a_head_takes_nothing_off_and_score_and_map_rise_together(seed, threshold):
    maps, anomaly_map, score = [normal(seed, 2, 3, 4, 4)], normal(seed + 1, 2, 16, 16), normal(seed + 2, 2)
    head = Head(normal(seed + 3, 3), torch.tensor(threshold), torch.tensor(2.0))
    fused, raised = head.fuse(anomaly_map, score, maps)
    assert (fused >= anomaly_map).all()
    rise = fused.flatten(1).amax(1) - anomaly_map.flatten(1).amax(1)
    torch.testing.assert_close(raised, score + 2 * rise)


def drawn(gain=0.0, loss=0.0, normals=60, defects=30, *, types=True, groups=None):
    """Scores whose order taught heads change: for the better on known defects, for the worse on others."""
    rng = np.random.default_rng(0)
    good, bad = rng.normal(0, 1, normals), rng.normal(1, 1, defects)
    weights = np.array([0.0, *WEIGHTS])
    scores_good = np.repeat((good[:, None] + 0 * weights)[:, None], 2, 1)
    scores_bad = np.stack([bad[:, None] + gain * weights, bad[:, None] - loss * weights], 1)
    known, unknown = np.zeros(defects, int), np.ones(defects, int) if types else None
    numbers = np.arange(defects) if groups is None else groups
    return CrossValidation(scores_good, np.arange(normals), scores_bad, numbers, known, unknown)


def test_gains_are_aurocs_and_their_errors_those_of_resamples():
    made = drawn(gain=1.0)
    found = made.gains(made.known)[0]
    labels = np.repeat([0, 1], [60, 30])
    for k, value in ((0, found.without), (1, found.taught)):
        scores = np.concatenate([made.normals[:, 0, k], made.defects[:, 0, k]])
        assert value == pytest.approx(roc_auc_score(labels, scores))
    rng, differences = np.random.default_rng(1), []
    for _ in range(600):
        good, bad = rng.integers(0, 60, 60), rng.integers(0, 30, 30)
        aurocs = [
            roc_auc_score(labels, np.concatenate([made.normals[good, 0, k], made.defects[bad, 0, k]])) for k in (0, 1)
        ]
        differences.append(aurocs[1] - aurocs[0])
    assert found.standard_error == pytest.approx(np.std(differences), rel=0.15)


def test_images_of_a_group_count_as_one():
    alone = drawn(gain=1.0).gains(np.zeros(30, int))[0]
    pairs = drawn(gain=1.0)
    twice = CrossValidation(
        pairs.normals,
        pairs.normal_groups,
        np.repeat(pairs.defects, 2, 0),
        np.repeat(np.arange(30), 2),
        np.zeros(60, int),
        None,
    )
    found = twice.gains(twice.known)[0]
    assert found.gain == pytest.approx(alone.gain)
    assert found.standard_error == pytest.approx(alone.standard_error, rel=1e-6)


@pytest.mark.parametrize(
    ("gain", "loss", "weight"),
    [
        (0.0, 0.0, 0.0),  # nothing is gained
        (-1.0, 0.0, 0.0),
        (1.0, 1.0, 0.0),  # other types lose
        (4.0, 0.0, 0.5),  # the lowest of those that are as good as the best
    ],
)
def test_the_weight(gain, loss, weight):
    chosen = drawn(gain, loss).choose(WEIGHTS, {"a": 20, "b": 10}, 30)
    assert chosen.weight == weight
    assert chosen.tried in WEIGHTS
    assert chosen.unknown is not None
    assert "30 labelled defects (20 a, 10 b; of 30 the place is known)" in chosen.sentence
    assert ("the model is the one without them" in chosen.sentence) == (weight == 0)
    assert "for types that were not" in chosen.sentence


def test_types_that_nobody_named_cannot_be_left_out():
    chosen = drawn(8.0, types=False).choose(WEIGHTS, {"unnamed": 30}, 0)
    assert chosen.weight == MAX_UNTESTED_WEIGHT
    assert chosen.unknown is None
    assert "for others that is not known, as fewer than two types are named" in chosen.sentence
    assert chosen.to_dict()["unknown_auroc_with"] is None


def test_another_fit_forgets_what_was_taught(batches, make):
    detector = make("padim").fit(batches)
    alone = detector.score(batches[0])
    counts = sum(m.shape[1] for m in detector.backbone_(batches[0]))
    detector.teach(Head(torch.ones(counts), torch.tensor(-1e3), torch.tensor(1.0)))
    assert (detector.score(batches[0])[1] > alone[1] + 1).all()
    detector.fit(batches)
    assert torch.equal(detector.score(batches[0])[1], alone[1])
    assert not [name for name in detector.state() if name.startswith("head_")]


@pytest.mark.parametrize("name", detectors.names())
def test_every_detector_can_be_taught(name, batches, make):
    trained = "epochs" in detectors.describe(name).defaults and name != "cfa"  # whose first steps overshoot
    detector = make(name, **({"epochs": 1} if trained else {})).fit(batches)
    assert detector.can_be_taught
