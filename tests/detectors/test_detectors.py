"""Each detector against a slow, obvious reference."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA
from torch.nn import functional as F

from pellucid import detectors
from pellucid.detectors import _coreset, _search
from pellucid.detectors._maps import locally_aware, smooth_map
from pellucid.detectors._spill import DiskTensor
from pellucid.errors import ParameterError


def test_unknown_names_suggest_the_near_one():
    with pytest.raises(ParameterError, match="did you mean 'patchcore'"):
        detectors.create("patchcor")
    with pytest.raises(ParameterError, match="did you mean 'num_neighbors'"):
        detectors.create("patchcore", num_neighbours=3)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("patchcore", {"coreset_sampling_ratio": 0.0}),
        ("patchcore", {"num_neighbors": 0}),
        ("padim", {"n_features": 0}),
        ("dfm", {"pca_level": 1.5}),
        ("dfm", {"score_type": "mse"}),
        ("stfpm", {"combine": "sum"}),
        ("stfpm", {"patchsize": 2}),
        ("stfpm", {"epochs": 0}),
        ("reverse_distillation", {"epochs": 0}),
        ("fastflow", {"epochs": 0}),
        ("fastflow", {"flow_steps": 0}),
        ("reverse_distillation", {"layers": ("layer3",)}),
        ("reverse_distillation", {"patchsize": 0}),
        ("reverse_distillation", {"patchsize": 2}),
    ],
)
def test_values_that_are_not_allowed(name, wrong, batches):
    with pytest.raises(ParameterError, match="is not allowed"):
        detectors.create(name, **wrong).fit(batches)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("working_set", [16, 64, 4096])
def test_k_center_is_the_naive_greedy(seed, working_set, monkeypatch):
    monkeypatch.setattr(_coreset, "WORKING_SET", working_set)
    monkeypatch.setattr(_coreset, "UPDATE_BLOCK", 128)
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(500, 8, generator=generator, dtype=torch.float64)
    points[100:] = points[:40].repeat(10, 1) + 0.01 * points[100:]  # clusters, that are settled by their first centre
    chosen = [7]
    nearest = (points - points[7]).square().sum(1)
    while len(chosen) < 120:
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, (points - points[chosen[-1]]).square().sum(1))
    assert _coreset.k_center_greedy(points, 120, 7).tolist() == chosen
    with DiskTensor(torch.device("cpu")) as in_file:
        for part in points.float().split(77):
            in_file.append(part)
        assert _coreset.k_center_greedy(in_file, 120, 7).tolist() == chosen


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.integers(0, 10**6))
def test_vectors_in_a_file_are_those_written(lengths, seed):
    generator = torch.Generator().manual_seed(seed)
    parts = [torch.randn(length, 3, generator=generator) for length in lengths]
    expected = torch.cat(parts)
    some = torch.randint(len(expected), (4,), generator=generator)
    with DiskTensor(torch.device("cpu")) as vectors:
        for part in parts:
            vectors.append(part)
        assert len(vectors) == len(expected)
        assert vectors[some].equal(expected[some])
        assert vectors[1:3].equal(expected[1:3])


def test_features_that_find_no_room(tmp_path):
    code = """
import resource, torch
from pellucid.detectors._spill import DiskTensor
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
DiskTensor(torch.device("cpu")).append(torch.zeros(1000, 10))
"""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert (
        f"OutputError: The features do not fit into the temporary folder '{tmp_path}' (File too large)" in done.stderr
    )


def test_k_center_with_fewer_distinct_points_than_asked():
    points = torch.tensor([[0.0], [0.0], [1.0], [1.0]])
    assert sorted(_coreset.k_center_greedy(points, 4, 0).tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize("block", [1, 4, 512])
def test_nearest_and_neighbours_are_those_of_scipy(block, monkeypatch):
    monkeypatch.setattr(_search, "SEARCH_BLOCK", block)
    generator = torch.Generator().manual_seed(0)
    queries, bank = torch.randn(5, 7, generator=generator), torch.randn(9, 7, generator=generator)
    norms = (bank * bank).sum(1)
    squared, index = _search.nearest(queries, bank, norms)
    assert index.tolist() == cdist(queries, bank).argmin(1).tolist()
    np.testing.assert_allclose(squared.sqrt(), cdist(queries, bank).min(1), rtol=1e-5)
    expected = cdist(bank, bank).argsort(1)[:, :3]
    assert _search.neighbours(bank, bank, norms, 3).tolist() == expected.tolist()


@pytest.mark.parametrize("many", [0, 3, 500])
@pytest.mark.parametrize("spread", [0.0, 0.1, 3.0])
def test_the_sketch_finds_what_scipy_finds(many, spread, monkeypatch):
    monkeypatch.setattr(_search, "MAX_CANDIDATES", many)
    monkeypatch.setattr(_search, "CELL_SIZE", 8)
    monkeypatch.setattr(_search, "BOUND_BLOCK", 128)
    generator = torch.Generator().manual_seed(0)
    flat = torch.randn(4, 40, generator=generator)
    points = torch.randn(390, 4, generator=generator) @ flat + spread * torch.randn(390, 40, generator=generator) + 5
    queries, bank = points[:90], torch.cat([points[90:], points[90:95]])  # some points twice
    norms = (bank * bank).sum(1)
    sketch = _search.BoundedSearch(bank, norms, _search.principal_directions(bank)[:, :6])
    distances = torch.from_numpy(cdist(queries.double(), bank.double()))
    squared, index = sketch.nearest(queries)
    for found in (distances.gather(1, index[:, None])[:, 0], squared.sqrt().double()):
        torch.testing.assert_close(found, distances.amin(1), rtol=1e-5, atol=1e-5)
    monkeypatch.setattr(_search, "SEARCH_BLOCK", 128)
    among = torch.from_numpy(cdist(bank.double(), bank.double()))
    found = among.gather(1, sketch.neighbours(5))
    torch.testing.assert_close(found, among.topk(5, largest=False).values, rtol=1e-5, atol=1e-5)


def test_long_features_are_searched_through_a_sketch(batches, monkeypatch):
    sketched = detectors.create("patchcore", coreset_size=250).fit(batches)
    monkeypatch.setattr("pellucid.detectors._search.MIN_CHANNELS_TO_BOUND", 1000)
    plain = detectors.create("patchcore", coreset_size=250).fit(batches)
    assert plain.directions_ is None
    directions, bank = sketched.directions_, sketched.bank_
    assert directions.shape[1] % 16 == 0
    torch.testing.assert_close(directions.T @ directions, torch.eye(directions.shape[1]), rtol=0, atol=1e-5)
    if directions.shape[1] < 128:
        assert (bank @ directions).var(0).sum() >= 0.93 * bank.var(0).sum()
    for a, b in zip(plain.score(batches[1]), sketched.score(batches[1]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "more"), [("patchcore", {}), ("padim", {}), ("stfpm", {"precision": "32-true", "epochs": 1})]
)
def test_a_fit_on_many_images_compiles_the_backbone_and_learns_the_same(name, more, make, batches, monkeypatch):
    plain = make(name, **more).fit(batches)
    monkeypatch.setattr("pellucid.detectors._base.MIN_PIXELS_TO_COMPILE", 0)
    compiled = make(name, **more).fit(batches)
    for found, expected in zip(compiled.score(batches[1]), plain.score(batches[1]), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.max()))


def test_patchcore_score_is_equations_6_and_7(batches, make):
    detector = make("patchcore", num_neighbors=3, image_score="peak").fit(batches)
    image = batches[1][:1]
    patches, bank = detector._embed(image)[0].flatten(0, 1).double(), detector.bank_.double()
    distances = torch.stack([(patch - bank).norm(dim=1) for patch in patches])
    nearest, memory = distances.min(1)
    k = int(nearest.argmax())
    neighbours = (bank - bank[memory[k]]).norm(dim=1).argsort()[:3]
    d = (patches[k] - bank[neighbours]).norm(dim=1)
    expected = (1 - d[0].exp() / d.exp().sum()) * nearest[k]
    assert float(detector.score(image)[1]) == pytest.approx(float(expected), rel=1e-3)


@pytest.mark.parametrize("side", [64, 16])  # 64 patches, and 4, of which the mean is that of all
def test_patchcore_score_is_the_mean_of_the_ten_farthest_patches(side, batches, make):
    images = [F.interpolate(batch, size=(side, side)) for batch in batches]
    detector = make("patchcore", coreset_size=20).fit(images)
    patches = detector._embed(images[1][:1])[0].flatten(0, 1)
    distances = sorted(float((patch - detector.bank_).norm(dim=1).min()) for patch in patches)
    score = detector.score(images[1][:1])[1]
    assert float(score) == pytest.approx(np.mean(distances[-10:]), rel=1e-4)
    assert detector.score_of == "top"
    peak = make("patchcore", coreset_size=20, image_score="peak").fit(images)
    assert peak.score_of == "peak"
    assert torch.equal(peak.score(images[1])[0], detector.score(images[1])[0])  # the map is the same


def test_padim_score_is_the_mean_of_the_highest_hundredth(batches, make):
    detector, peak = (make("padim", image_score=kind).fit(batches) for kind in ("top", "peak"))
    maps, scores = detector.score(batches[1])
    values = np.sort(maps.flatten(1).numpy(), axis=1)
    np.testing.assert_allclose(scores, values[:, -41:].mean(1), rtol=1e-5)  # of 64 x 64
    np.testing.assert_array_equal(peak.score(batches[1])[1], values[:, -1])
    assert (detector.score_of, peak.score_of) == ("top", "peak")


@pytest.mark.parametrize("name", ["patchcore", "padim"])
def test_another_score_is_refused(name):
    with pytest.raises(ParameterError, match="image_score='mean' is not allowed: it has to be top or peak"):
        detectors.create(name, image_score="mean")


def test_padim_is_numpys_gaussian(batches, make):
    detector = make("padim", n_features=8).fit(batches)
    x = torch.cat([detector._embed(b) for b in batches], 1)[37].double().numpy()  # one position, (N, C)
    covariance = np.cov(x, rowvar=False) + 0.01 * np.eye(8)
    np.testing.assert_allclose(detector.mean_[37], x.mean(0), rtol=1e-4, atol=1e-5)
    W = np.zeros((8, 8))
    W[np.tril_indices(8)] = detector.whiten_[37]
    np.testing.assert_allclose(W.T @ W, np.linalg.inv(covariance), rtol=2e-3, atol=1e-2)
    delta = detector._embed(batches[0])[37, 0] - detector.mean_[37]
    mahalanobis = np.sqrt(delta.double().numpy() @ np.linalg.inv(covariance) @ delta.double().numpy())
    found = sum((delta[: len(band[37])] @ band[37]).square().sum() for band in detector._bands) ** 0.5
    assert float(found) == pytest.approx(mahalanobis, rel=1e-3)


@pytest.mark.parametrize("score_type", ["fre", "nll"])
def test_dfm_is_scikit_learns_pca(score_type, batches, make):
    detector = make("dfm", score_type=score_type, pca_level=0.9).fit(batches)
    X = torch.cat([detector._embed(b).flatten(1) for b in batches]).double().numpy()
    pca = PCA(0.9, svd_solver="full").fit(X)
    assert detector.U_.shape[1] == pca.n_components_
    z = pca.transform(X[:4])
    if score_type == "fre":
        expected = ((X[:4] - pca.inverse_transform(z)) ** 2).sum(1)
    else:
        gaussian = multivariate_normal(np.zeros(z.shape[1]), np.diag(pca.explained_variance_))
        expected = -gaussian.logpdf(z)
    np.testing.assert_allclose(detector.score(batches[0])[1], expected, rtol=2e-3)


def test_smooth_map_is_scipys_gaussian():
    m = torch.rand(1, 40, 40, generator=torch.Generator().manual_seed(1))
    expected = gaussian_filter(m[0].double().numpy(), 4.0, mode="mirror", truncate=4.0)
    np.testing.assert_allclose(smooth_map(m, (40, 40))[0], expected, atol=1e-5)


@pytest.mark.parametrize("size", [(64, 96), (50, 33), (8, 5)])
def test_smooth_map_is_interpolation_and_then_the_gaussian(size):
    m = torch.rand(3, 16, 12, generator=torch.Generator().manual_seed(1))
    upsampled = F.interpolate(m[:, None], size=size, mode="bilinear", align_corners=False)[:, 0].double().numpy()
    radii = tuple(min(16, side - 1) for side in size)
    expected = [gaussian_filter(u, 4.0, mode="mirror", radius=radii) for u in upsampled]
    np.testing.assert_allclose(smooth_map(m, size), expected, atol=1e-5)


def test_stfpm_distance_is_half_the_squared_l2_of_unit_vectors(batches, make):
    detector = make("stfpm", patchsize=1, layers=("layer1", "layer2", "layer3")).fit(batches)
    with torch.no_grad():
        teacher = detector.backbone_(batches[0])[1]
        student = detector.student_(batches[0])["layer2"]  # Prism takes pixels as they are
        d = detector._distances(*detector._extract(batches[0]))[1]
    t, s = teacher[2, :, 3, 4], student[2, :, 3, 4]
    expected = 0.5 * ((t / t.norm() - s / s.norm()) ** 2).sum()
    assert float(d[2, 3, 4]) == pytest.approx(float(expected), rel=1e-3, abs=1e-6)


def test_reverse_distillation_distance_is_one_minus_cosine(batches, make):
    detector = make("reverse_distillation").fit(batches)
    with torch.no_grad():
        features = detector.backbone_(batches[0])
        assert torch.allclose(
            locally_aware(features, 3)[0][1, :, 2, 5], features[0][1, :, 1:4, 4:7].mean((1, 2)), atol=1e-5
        )
        encoded = locally_aware(features, detector.patchsize)
        decoded = detector.decoder_(detector.embedding_(encoded))
        assert [d.shape for d in decoded] == [e.shape for e in encoded]
        assert all((d < 0).any() for d in decoded)  # prism's features have both signs
        a, b = encoded[0][1, :, 2, 5], decoded[0][1, :, 2, 5]
        d = detector._distances(*detector._encode(batches[0]))[0]
    assert float(d[1, 2, 5]) == pytest.approx(float(1 - a @ b / (a.norm() * b.norm())), rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("name", ["fastflow", "reverse_distillation"])
def test_a_map_is_above_what_is_usual_in_its_place(name, batches, make):
    detector = make(name).fit(batches)
    with torch.no_grad():
        levels = torch.cat([detector._levels(batch) for batch in batches], 1).double().numpy()  # (levels, N, H, W)
    expected = np.zeros(levels.shape[1:])
    for level in levels:
        deviation = level.std(0)
        expected += (level - level.mean(0)) / (deviation + deviation.mean()) / len(levels)
    found = torch.cat([detector.score(batch)[0] for batch in batches])
    np.testing.assert_allclose(found, expected, rtol=0.01, atol=0.02)


def test_reverse_distillation_levels_are_its_smoothed_distances(batches, make):
    detector = make("reverse_distillation").fit(batches)
    with torch.no_grad():
        distances = detector._distances(*detector._encode(batches[0]))
        for level, distance in zip(detector._levels(batches[0]), distances, strict=True):
            torch.testing.assert_close(level, smooth_map(distance, (64, 64)))


def test_padims_nearest_enlargement_repeats_every_value(batches, make):
    fine, coarse = (make("padim", n_features=550, interpolation=how).fit(batches) for how in ("bilinear", "nearest"))
    with torch.no_grad():
        maps = coarse.backbone_(batches[0])
    rows = [
        m.repeat_interleave(factor, 2).repeat_interleave(factor, 3) for m, factor in zip(maps, (1, 2, 4), strict=True)
    ]
    expected = torch.cat(rows, 1).flatten(2).permute(2, 0, 1)  # (h*w, B, C), of all channels
    torch.testing.assert_close(coarse._embed(batches[0]), expected)
    assert not torch.allclose(fine._embed(batches[0]), expected)


def test_stfpm_without_its_gaussian_is_the_papers_product(batches, make):
    detector = make("stfpm", sigma=0.0, combine="product").fit(batches)
    with torch.no_grad():
        distances = detector._distances(*detector._extract(batches[0]))
    expected = torch.ones(4, 1, 64, 64)
    for d in distances:
        expected *= F.interpolate(d[:, None], size=(64, 64), mode="bilinear")
    maps, scores = detector.score(batches[0])
    torch.testing.assert_close(maps, expected[:, 0], rtol=1e-3, atol=1e-8)
    torch.testing.assert_close(scores, maps.flatten(1).amax(1))


def test_stfpm_averages_how_far_its_levels_are_above_what_is_usual_there(batches, make):
    detector = make("stfpm", precision="32-true").fit(batches)
    with torch.no_grad():
        teacher, student = detector.backbone_, detector.student_
        of_image = []  # the levels' maps of every good image
        for batch in batches:
            pairs = zip(teacher(batch), (student(batch)[name] for name in detector.layers), strict=True)
            means = [[F.avg_pool2d(m, 3, 1, 1) for m in pair] for pair in pairs]
            of_image.append(torch.stack([smooth_map(1 - F.cosine_similarity(t, s), (64, 64)) for t, s in means]))
    good = torch.cat(of_image, 1).double()  # (levels, 12, 64, 64)
    deviation = good.std(1, correction=0)
    scale = deviation + deviation.mean((1, 2), keepdim=True)
    expected = ((of_image[1] - good.mean(1, keepdim=True)) / scale[:, None]).mean(0)
    maps, scores = detector.score(batches[1])
    torch.testing.assert_close(maps.double(), expected, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(scores, maps.flatten(1).amax(1))


def test_reverse_distillation_without_a_baseline_averages_its_distances(batches, make):
    detector = make("reverse_distillation", baseline=False, patchsize=1, layers=("layer1", "layer2", "layer3"))
    maps, _ = detector.fit(batches).score(batches[0])
    with torch.no_grad():
        distances = detector._distances(*detector.backbone_(batches[0]))
    expected = sum(smooth_map(d, (64, 64)) for d in distances) / 3
    torch.testing.assert_close(maps, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("size", "neighbours"), [(1, 9), (1, 1), (2, 9), (3, 9), (50, 1)])
def test_a_small_bank_still_tells_far_from_near(size, neighbours, batches):
    """With a bank of one patch equation 7's softmax has one term, and would make every score 0."""
    detector = detectors.create("patchcore", coreset_size=size, num_neighbors=neighbours, image_score="peak")
    detector.fit(batches)
    odd = batches[0][:2].clone()
    odd[1, :, 20:40, 20:40] = 1.0
    _, scores = detector.score(odd)
    assert (scores > 0).all()
    assert scores[1] > scores[0]
    if min(size, neighbours) == 1:
        distance = torch.cdist(detector._embed(odd).flatten(1, 2), detector.bank_[None].expand(2, -1, -1)).amin(2)
        torch.testing.assert_close(scores, distance.amax(1), rtol=1e-4, atol=1e-5)
