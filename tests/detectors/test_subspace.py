"""The principal subspace from all features or from their scatter matrix, against scikit-learn."""

from __future__ import annotations

import pytest
import torch
from sklearn.decomposition import PCA

from pellucid import detectors
from pellucid.detectors._subspace import SCATTER_BLOCK, principal_subspace
from pellucid.errors import DataError

D = 64


def _features(count, shift=100.0):
    """Correlated features far from zero, where a careless sum of squares would cancel."""
    generator = torch.Generator().manual_seed(count)
    mixing = torch.rand(D, D, generator=generator) ** 3
    return torch.rand(count, D, generator=generator) @ mixing + shift


@pytest.mark.parametrize("count", [2, 3, D - 1, D, D + 1, D + 2, 2 * D, 600, 2 * SCATTER_BLOCK + 5])
@pytest.mark.parametrize("level", [0.5, 0.97, 1.0])
def test_it_is_scikit_learns_on_both_sides_of_n_equal_d(count, level):
    X = _features(count)
    mu, U, variance, *_ = principal_subspace(X.split(8), level)
    reference = PCA(svd_solver="full").fit(X.double().numpy())
    k = len(variance)
    torch.testing.assert_close(mu.double(), torch.from_numpy(reference.mean_), rtol=1e-6, atol=0)
    expected = torch.from_numpy(reference.explained_variance_[:k])
    torch.testing.assert_close(variance.double(), expected, rtol=1e-3, atol=1e-6 * float(expected[0]))
    share = reference.explained_variance_ratio_.cumsum()
    if level < 1:
        assert k == min(int((share < level).sum()) + 1, count - 1)
    V = torch.from_numpy(reference.components_[:k]).float()
    torch.testing.assert_close(U @ U.T, V.T @ V, rtol=0, atol=2e-3)
    torch.testing.assert_close(U.T @ U, torch.eye(k), rtol=0, atol=1e-4)


@pytest.mark.parametrize("batch", [1, 7, 8, 64, 1000])
def test_it_does_not_depend_on_the_batches(batch):
    X = _features(300)
    expected, found = principal_subspace([X], 0.9), principal_subspace(X.split(batch), 0.9)
    torch.testing.assert_close(found[2], expected[2])
    torch.testing.assert_close(found[1] @ found[1].T, expected[1] @ expected[1].T, rtol=0, atol=1e-5)


def test_far_from_zero_nothing_cancels():
    X = _features(500, shift=0.0)
    near, far = principal_subspace(X.split(8), 0.9), principal_subspace((X.double() + 4096).float().split(8), 0.9)
    torch.testing.assert_close(far[2], near[2], rtol=1e-2, atol=0)


def test_features_that_are_all_equal_have_one_direction():
    for count in (10, 3 * D):
        _, U, variance, *_ = principal_subspace(torch.ones(count, D).split(8), 0.97)
        assert U.shape == (D, 1)
        assert variance.isfinite().all()


def test_one_feature_is_refused():
    with pytest.raises(DataError, match="at least two images"):
        principal_subspace([torch.ones(1, D)], 0.97)


@pytest.mark.parametrize("count", [39, 40, 41, 90])
@pytest.mark.parametrize("score_type", ["fre", "nll"])
def test_scores_of_dfm_pass_through_n_equal_d(count, score_type):
    """Features of 160 channels pooled to one position: 160 numbers. More images than that are only added up."""
    images = torch.rand(4 * count, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    detector = detectors.create("dfm", score_type=score_type, pca_level=0.9)
    detector.fit(images.split(8))
    _, found = detector.score(images[:5])
    rows = detector._embed(images).flatten(1).double()
    assert (len(rows) > rows.shape[1]) == (4 * count > 160), "the test is about features as long as images are many"
    pca = PCA(n_components=len(detector.variance_), svd_solver="full").fit(rows.numpy())
    x = rows[:5] - torch.from_numpy(pca.mean_)
    V, variance = torch.from_numpy(pca.components_), torch.from_numpy(pca.explained_variance_)
    z = x @ V.T
    if score_type == "fre":
        expected = ((x - z @ V) ** 2).sum(1)
    else:
        expected = 0.5 * (z**2 / variance).sum(1) + 0.5 * (2 * torch.pi * variance).log().sum()
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
