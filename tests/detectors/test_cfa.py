"""CFA against slow loops: where centres lie, what attracts and repels a patch, what scores it."""

from __future__ import annotations

import math

import pytest
import torch

from pellucid import detectors
from pellucid.detectors._maps import image_score, smooth_map
from pellucid.detectors.cfa import Cfa
from pellucid.errors import ParameterError


@pytest.fixture(scope="module")
def fitted(batches):
    return Cfa(epochs=3).fit(batches)


def test_every_position_has_its_mean_for_a_centre(batches, monkeypatch):
    monkeypatch.setattr("pellucid.detectors.cfa.train", lambda *_, **__: None)
    detector = Cfa().fit(batches)  # the descriptor is as it was when centres were placed
    described = torch.cat([detector._describe(*detector._extract(batch)) for batch in batches]).detach()
    torch.testing.assert_close(detector.centres_, described.mean(0), rtol=1e-4, atol=1e-5)
    assert detector.centres_.shape == (64, 192)


def test_a_description_knows_its_place(fitted):
    one = fitted.descriptor_(torch.ones(1, 192, 8, 8)).detach()
    weight, bias = fitted.descriptor_.conv.weight[:, :, 0, 0].detach(), fitted.descriptor_.conv.bias.detach()
    for row, column in ((0, 0), (7, 0), (3, 5)):
        x = torch.cat([torch.ones(192), torch.tensor([row / 3.5 - 1, column / 3.5 - 1])])
        torch.testing.assert_close(one[0, :, row, column], weight @ x + bias, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("K", "J"), [(3, 3), (1, 0), (2, 5), (100, 3)])
@pytest.mark.parametrize(("radius", "alpha"), [(1e-5, 0.1), (2.0, 0.1), (2.0, 0.0)])
def test_loss_is_that_of_the_paper(K, J, radius, alpha, fitted, batches):
    detector = Cfa(num_neighbors=K, num_hard_negatives=J, radius=radius, alpha=alpha).load_state(fitted.state())
    (features,) = detector._extract(batches[0][:2])
    patches = detector._describe(features).detach().flatten(0, 1).double()
    attracted, repelled = [], []
    for patch in patches:
        squared = sorted(float((patch - centre).square().sum()) for centre in detector.centres_.double())
        attracted += [max(0.0, d - radius**2) for d in squared[:K]]
        repelled += [max(0.0, radius**2 - d - alpha) for d in squared[K : K + J]]
    expected = sum(attracted) / len(attracted) + (sum(repelled) / len(repelled) if repelled else 0.0)
    assert float(detector._loss(features).detach()) == pytest.approx(expected, rel=1e-4)


def test_a_patch_scores_its_nearest_centre_by_how_sure_that_is(fitted, batches):
    (features,) = fitted._extract(batches[0][:1])
    patches = fitted._describe(features)[0].detach().double()
    expected = torch.empty(1, 8, 8)
    for k, patch in enumerate(patches):
        d = sorted(float((patch - centre).norm()) for centre in fitted.centres_.double())[:3]
        expected[0, k // 8, k % 8] = d[0] * math.exp(-d[0]) / sum(math.exp(-one) for one in d)
    anomaly_map, score = fitted.score(batches[0][:1])
    torch.testing.assert_close(anomaly_map, smooth_map(expected, (64, 64)), rtol=1e-3, atol=1e-4)
    assert score == image_score(anomaly_map)
    pooled = Cfa(image_score="top").load_state(fitted.state())
    assert pooled.score(batches[0][:1])[1] < score
    assert (fitted.score_of, pooled.score_of) == ("peak", "top")


def test_training_brings_good_patches_closer_to_centres(batches, monkeypatch):
    trained = Cfa(epochs=10).fit(batches)
    monkeypatch.setattr("pellucid.detectors.cfa.train", lambda *_, **__: None)
    untrained = Cfa().fit(batches)
    (features,) = trained._extract(batches[0])
    assert trained._loss(features) < untrained._loss(features)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"gamma_d": 0}, "gamma_d=0 is not allowed: it has to be at least 1"),
        ({"radius": -1.0}, "radius=-1.0 is not allowed: it has to be 0 or more and finite"),
        ({"alpha": math.inf}, "alpha=inf is not allowed: it has to be 0 or more and finite"),
        ({"num_neighbors": 0}, "num_neighbors=0 is not allowed: it has to be at least 1"),
        ({"num_hard_negatives": -1}, "num_hard_negatives=-1 is not allowed: it has to be 0 or more"),
        ({"image_score": "mean"}, "image_score='mean' is not allowed: it has to be top or peak"),
        ({"epochs": 0}, "epochs=0 is not allowed: it has to be at least 1"),
        ({"layers": ()}, "it has to be one or more layers"),
    ],
)
def test_what_is_refused(wrong, message):
    with pytest.raises(ParameterError, match=message):
        detectors.create("cfa", **wrong)


def test_fewer_channels(batches):
    detector = Cfa(epochs=8, gamma_d=4).fit(batches)
    assert detector.centres_.shape == (64, 48)
