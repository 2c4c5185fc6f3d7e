"""SubspaceAD against scikit-learn's PCA of all patches, and its turned copies against quarter turns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from pellucid import detectors
from pellucid.detectors._groups import whole_groups
from pellucid.detectors._maps import smooth_map
from pellucid.detectors._subspace import Scatter
from pellucid.detectors._turned import turned
from pellucid.errors import ParameterError


@pytest.mark.parametrize("rotations", [1, 4])
def test_residuals_are_those_of_scikit_learns_pca(rotations, batches):
    detector = detectors.create("subspace", pca_level=0.95, rotations=rotations).fit(batches)
    copies = [copy for batch in batches for copy in turned(batch, rotations)]
    rows = torch.cat([detector._embed(copy) for copy in copies]).flatten(0, 2).double().numpy()
    share = PCA(svd_solver="full").fit(rows).explained_variance_ratio_.cumsum()
    pca = PCA(n_components=int((share < 0.95).sum()) + 1, svd_solver="full").fit(rows)
    assert detector.U_.shape[1] == pca.n_components_
    assert int(detector.count_) == len(rows)
    patches = detector._embed(batches[0][:1])[0].double().numpy()  # (h, w, D)
    expected = np.empty(patches.shape[:2], np.float32)
    for y, x in np.ndindex(expected.shape):
        rebuilt = pca.inverse_transform(pca.transform(patches[y, x][None]))[0]
        expected[y, x] = ((patches[y, x] - rebuilt) ** 2).sum()
    maps, scores = detector.score(batches[0][:1])
    expected_map = smooth_map(torch.from_numpy(expected)[None], (64, 64))
    torch.testing.assert_close(maps, expected_map, rtol=1e-3, atol=1e-4 * float(expected_map.max()))
    assert float(scores) == pytest.approx(float(np.sort(maps.numpy(), axis=None)[-41:].mean()), rel=1e-5)


def test_four_copies_are_quarter_turns():
    square = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for k, copy in enumerate(turned(square, 4)):
        expected = min((copy - torch.rot90(square, way * k, (2, 3))).abs().max() for way in (1, -1))
        assert expected < 1e-4


def test_a_turn_of_an_oblong_image_keeps_lengths():
    """A disc in the middle stays one: what is turned are pixels, not the sides of the image."""
    y, x = torch.meshgrid(torch.arange(40) - 19.5, torch.arange(80) - 39.5, indexing="ij")
    disc = (x**2 + y**2 < 15**2).float().expand(1, 3, 40, 80)
    for copy in turned(disc, 5):
        assert (copy - disc)[..., 4:36, 24:56].abs().mean() < 0.03  # what is mirrored comes from farther out


def test_moments_without_some_are_those_of_the_others():
    rows = torch.rand(300, 6, generator=torch.Generator().manual_seed(0)) + 1000
    whole = Scatter(rows[:10].mean(0))
    whole.add(rows)
    own = whole.empty()
    own.add(rows[50:90])
    found = whole.without(own).subspace(0.9)
    others = torch.cat([rows[:50], rows[90:]]).double().numpy()
    pca = PCA(svd_solver="full").fit(others)
    np.testing.assert_allclose(found.variance, pca.explained_variance_[: len(found.variance)], rtol=1e-4)
    np.testing.assert_allclose(found.mu, pca.mean_, rtol=1e-6)
    assert whole.count == 300


@pytest.mark.parametrize("batch", [1, 2, 5, 12])
@pytest.mark.parametrize("groups", [[*range(12)], [0] * 12, [0, 0, 0, 1, 2, 2, 2, 2, 2, 3, 3, 9]])
def test_batches_are_cut_where_groups_end(batch, groups):
    images = torch.arange(12.0)[:, None, None, None].expand(12, 3, 2, 2)
    found = [sorted({int(v) for v in part[:, 0, 0, 0]}) for part in whole_groups(images.split(batch), groups)]
    assert found == [[k for k, n in enumerate(groups) if n == number] for number in dict.fromkeys(groups)]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rotations": 0}, "rotations=0 is not allowed: it has to be at least 1"),
        ({"patchsize": 2}, "patchsize=2 is not allowed: it has to be odd and at least 1"),
        ({"pca_level": 0.0}, r"pca_level=0.0 is not allowed: it has to be in \(0, 1\]"),
        ({"image_score": "mean"}, "image_score='mean' is not allowed: it has to be top or peak"),
        ({"layers": ()}, "it has to be one or more layers"),
    ],
)
def test_what_is_refused(wrong, message):
    with pytest.raises(ParameterError, match=message):
        detectors.create("subspace", **wrong)
