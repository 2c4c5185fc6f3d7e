"""DFKDE against SciPy's kernel density of scikit-learn's whitened principal components."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import gaussian_kde
from sklearn.decomposition import PCA

from pellucid import detectors
from pellucid.errors import DataError, ParameterError


@pytest.fixture(scope="module")
def many():
    images = torch.rand(60, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    return list((images * torch.rand(60, 1, 1, 1, generator=torch.Generator().manual_seed(3))).split(8))


@pytest.mark.parametrize("components", [1, 4, 16])
def test_score_is_scipys_negative_log_density_but_for_a_constant(components, many):
    detector = detectors.create("dfkde", n_components=components).fit(many)
    rows = torch.cat([detector.backbone_(batch)[0].mean((2, 3)) for batch in many]).double().numpy()
    pca = PCA(n_components=components, whiten=True, svd_solver="full").fit(rows)
    density = gaussian_kde(pca.transform(rows).T)  # Scott's rule
    new = torch.rand(5, 3, 64, 64, generator=torch.Generator().manual_seed(4)) * 0.6
    seen = detector.backbone_(new)[0].mean((2, 3)).double().numpy()
    expected = -density.logpdf(pca.transform(seen).T)
    found = detector.score(new)[1].double().numpy()
    np.testing.assert_allclose(found - found[0], expected - expected[0], rtol=1e-3, atol=1e-3)


def test_the_map_adds_up_to_the_score_s_slope(many):
    """How much the score falls when the image's features are moved a little towards the mean of good images."""
    detector = detectors.create("dfkde", n_components=4).fit(many)
    deviation = detector.backbone_(many[0])[0] - detector.mu_[:, None, None]

    def scored(shrunk):
        return detector._map_and_score(shrunk, detector.whiten_, detector.kernels_, (64, 64))[1].double()

    slope = (scored(deviation * 1.01) - scored(deviation * 0.99)) / 0.02
    maps = detector._map_and_score(deviation, detector.whiten_, detector.kernels_, (2, 2))[0]
    grid = torch.nn.functional.interpolate(maps[:, None], size=deviation.shape[2:], mode="area")
    at = torch.einsum("bdhw,dk->bhwk", deviation, detector.whiten_)
    z, bandwidth = at.mean((1, 2)), 60 ** (-1 / 8)
    apart = (z[:, None] - detector.kernels_) / bandwidth
    weight = torch.softmax(-0.5 * apart.square().sum(2), 1)
    gradient = (weight[:, :, None] * apart).sum(1) / bandwidth
    share = torch.einsum("bhwk,bk->bhw", at, gradient)
    torch.testing.assert_close(share.mean((1, 2)).double(), slope, rtol=2e-2, atol=2e-2)
    assert torch.corrcoef(torch.stack([grid[:, 0].mean((1, 2)), share.mean((1, 2))]))[0, 1] > 0.9


def test_one_image_is_refused():
    with pytest.raises(DataError, match="DFKDE needs at least two images to estimate a density"):
        detectors.create("dfkde").fit([torch.rand(1, 3, 64, 64)])
    with pytest.raises(ParameterError, match="n_components=0 is not allowed: it has to be at least 1"):
        detectors.create("dfkde", n_components=0)
    with pytest.raises(ParameterError, match="it has to be one layer"):
        detectors.create("dfkde", layers=("layer1", "layer2"))
