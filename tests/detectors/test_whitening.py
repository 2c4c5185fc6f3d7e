"""Whitening against NumPy, and a flow that starts as the Gaussian it is whitened by."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pellucid.detectors._flow import Flow
from pellucid.detectors._tiles import Tile
from pellucid.detectors._whitening import Whitening, fit_whitenings
from pellucid.detectors.fastflow import Fastflow


def fitted(images, extract, channels, tile=None):
    whitenings = nn.ModuleList(Whitening(c) for c in channels)
    fit_whitenings(whitenings, extract, images, tile or Tile(16, 16, None))
    return whitenings


@given(st.integers(1, 6), st.integers(0, 50))
def test_features_get_the_unit_of_how_they_vary(channels, seed):
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(channels, 3, generator=generator)
    images = list(torch.rand(5, 3, 16, 16, generator=generator).split(2))

    def extract(pixels):
        return [torch.einsum("kc,bchw->bkhw", mixing, pixels) + 3]

    [whitening] = fitted(images, extract, [channels])
    rows = torch.cat([extract(pixels)[0] for pixels in images]).movedim(1, 3).flatten(0, 2).double().numpy()
    covariance = np.atleast_2d(np.cov(rows.T, bias=True))
    shrunk = covariance + 0.01 * covariance.diagonal().mean() * np.eye(channels)
    deviation = rows - rows.mean(0)
    expected = (deviation * np.linalg.solve(shrunk, deviation.T).T).sum(1)  # squared distance of Mahalanobis
    found = torch.cat([whitening(extract(pixels)[0]) for pixels in images]).square().sum(1).flatten()
    np.testing.assert_allclose(found.double().numpy(), expected, rtol=2e-3, atol=2e-3)


def test_each_map_has_its_own_and_a_constant_one_stays_finite():
    images = [torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))]
    one, other = fitted(images, lambda pixels: [pixels, torch.full_like(pixels[:, :2], 0.25)], [3, 2])
    assert one(images[0]).var((0, 2, 3)).mean() == pytest.approx(1, abs=0.05)
    assert (other(torch.full((1, 2, 4, 4), 0.25)) == 0).all()
    assert other(torch.full((1, 2, 4, 4), 0.5)).isfinite().all()


def test_only_the_inside_of_tiles_is_learned_from():
    images = [torch.rand(4, 3, 128, 128, generator=torch.Generator().manual_seed(0))]
    spoilt = [images[0].clone()]
    spoilt[0][..., :16] += 100
    tile = Tile(128, 128, 48)  # a map looks 32 px beyond the interior
    [one], [other] = (fitted(pixels, lambda pixels: [pixels], [3], tile) for pixels in (images, spoilt))
    assert torch.equal(one.matrix, other.matrix)


def test_a_flow_starts_as_the_gaussian_of_its_features(batches):
    detector = Fastflow(epochs=1, flow_steps=2, layers=("layer2",)).fit(batches)
    with torch.inference_mode():
        maps = torch.cat([detector.backbone_(pixels)[0] for pixels in batches])
    detector.flows_ = nn.ModuleList([Flow(maps.shape[1], 2, 1.0)])  # that nothing has trained
    rows = maps.movedim(1, 3).flatten(0, 2).double().numpy()
    covariance = np.cov(rows.T, bias=True)
    shrunk = covariance + 0.01 * covariance.diagonal().mean() * np.eye(len(covariance))
    deviation = rows - rows.mean(0)
    expected = (deviation * np.linalg.solve(shrunk, deviation.T).T).mean(1)
    with torch.inference_mode():
        [(z, _)] = detector._latents(*detector._extract(torch.cat(list(batches))))
    np.testing.assert_allclose(z.square().mean(1).flatten().double().numpy(), expected, rtol=5e-3, atol=5e-3)


def test_without_it_features_are_normalised_by_layer(batches):
    detector = Fastflow(epochs=1, layers=("layer2",), whiten=False, flow_steps=2).fit(batches)
    assert {name.split(".")[0] for name in detector.state()} >= {"norms_", "flows_"}
    assert not any(name.startswith("whitenings_") for name in detector.state())
    [features] = detector.backbone_(batches[0])
    assert torch.equal(detector._extract(batches[0])[0], features)
    assert isinstance(detector.norms_[0], nn.LayerNorm)
