"""AnomalyDINO against NumPy: cosines to every token, the mask by scikit-learn's PCA and OpenCV, Otsu by all cuts."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from pellucid import detectors
from pellucid.detectors._maps import smooth_map
from pellucid.detectors._turned import turned
from pellucid.detectors.anomaly_dino import first_component, foreground, otsu
from pellucid.errors import ParameterError


def cosine_distances(tokens, bank):
    """One minus the highest of the cosines with all of the bank, one token after the other."""
    lengths = np.linalg.norm(bank, axis=1)
    return np.array([1 - (bank @ p / (lengths * np.linalg.norm(p))).max() for p in tokens])


@pytest.mark.parametrize("rotations", [1, 3])
def test_maps_and_scores_are_cosine_distances(rotations, batches):
    detector = detectors.create("anomaly_dino", layers=("layer2",), rotations=rotations).fit(batches)
    copies = [copy for batch in batches for copy in turned(batch, rotations)]
    bank = torch.cat([detector._tokens(copy) for copy in copies]).flatten(0, 2).double().numpy()
    assert len(detector.bank_) == len(bank)
    torch.testing.assert_close(detector.bank_.norm(dim=1), torch.ones(len(bank)))
    images = batches[0][:2].flip(3) ** 1.2
    tokens = detector._tokens(images).double().numpy()  # (2, 8, 8, D)
    expected = np.stack([cosine_distances(of_image.reshape(64, -1), bank) for of_image in tokens])
    maps, scores = detector.score(images)
    expected_map = smooth_map(torch.from_numpy(expected).view(2, 8, 8), (64, 64)).float()
    torch.testing.assert_close(maps, expected_map, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(scores.double(), torch.from_numpy(expected.max(1)), rtol=1e-3, atol=1e-5)  # 1 % of 64


def test_the_bank_is_bounded_and_knows_its_images(batches):
    detector = detectors.create("anomaly_dino", layers=("layer2",), coreset_size=100, rotations=2).fit(batches)
    assert len(detector.bank_) == 100
    tokens = torch.nn.functional.normalize(torch.cat([detector._tokens(batch) for batch in batches]), dim=3)
    copies = torch.nn.functional.normalize(
        torch.cat([detector._tokens([*turned(batch, 2)][1]) for batch in batches]), dim=3
    )
    own = torch.cat([tokens.flatten(1, 2), copies.flatten(1, 2)], 1)[detector.images_.long()]  # (100, 128, D)
    assert (own - detector.bank_[:, None]).norm(dim=2).amin(1).max() < 1e-5


@given(st.integers(2, 40), st.integers(0, 1000), st.booleans())
def test_the_cut_is_otsus(count, seed, repeated):
    values = np.random.default_rng(seed).normal(size=count).astype(np.float32)
    values = np.round(values) if repeated else values
    rising = np.sort(values)

    def apart(k):
        return k * (count - k) * float(rising[:k].mean() - rising[k:].mean()) ** 2

    threshold = float(otsu(torch.from_numpy(values)[None]))
    cut = int((values < threshold).sum()) if threshold > rising[0] else 0
    best = max(map(apart, range(1, count)))
    if best > 1e-6:
        assert apart(cut) == pytest.approx(best, rel=1e-4)


@pytest.mark.parametrize("threshold", [None, 0.8])
@pytest.mark.parametrize("seed", range(4))
def test_masks_are_those_of_the_authors_steps(threshold, seed):
    """A part in the middle, on a background, with a hole and specks."""
    rng = np.random.default_rng(seed)
    part = np.zeros((12, 15), bool)
    part[3:10, 3:12] = True
    part ^= rng.random(part.shape) < 0.04
    direction, offset = rng.normal(size=(2, 20))
    tokens = np.where(part[..., None], direction, -0.3 * direction) + offset + 0.1 * rng.normal(size=(12, 15, 20))
    mask, useful = foreground(torch.from_numpy(tokens)[None].float(), threshold)
    component = PCA(n_components=1).fit_transform(tokens.reshape(-1, 20)).reshape(12, 15)
    np.testing.assert_allclose(
        first_component(torch.from_numpy(tokens).view(1, 180, 20))[0], component.ravel(), rtol=1e-4, atol=1e-4
    )
    split = threshold if threshold is not None else float(otsu(torch.from_numpy(component.reshape(1, -1))))
    sides = [component > split, component < (-split if threshold is not None else split)]
    kept = next(side for side in sides if side[2:9, 3:12].mean() > 0.35)
    expected = cv2.morphologyEx(cv2.dilate(kept.astype(np.uint8), np.ones((3, 3))), cv2.MORPH_CLOSE, np.ones((3, 3)))
    assert (mask[0].numpy() == expected).all()
    assert expected[3:10, 3:12].all()
    assert bool(useful)


def test_an_image_without_a_part_in_its_middle_is_not_masked():
    tokens = torch.zeros(3, 12, 12, 4)
    tokens[0, :2, :, 0] = 100.0  # at the rim only, by a threshold that leaves all else out
    tokens[1, :, :6, 0] = 1.0  # what fills half of the rim as well
    tokens[2] = float("nan")
    mask, useful = foreground(tokens, 10.0)
    assert (mask[[0, 2]] == 1).all()
    assert not useful[[0, 2]].any()
    mask, useful = foreground(tokens[1:2], None)
    assert 0.4 < float(mask.mean()) < 0.7
    assert not useful.any()


def parts(count):
    """Bright, grained squares on a dark ground: (count, 3, 192, 192)."""
    generator = torch.Generator().manual_seed(count)
    grain = torch.nn.functional.avg_pool2d(torch.rand(count, 1, 80, 80, generator=generator), 3, 1, 1)
    images = 0.1 + 0.01 * torch.rand(count, 3, 192, 192, generator=generator)
    images[:, :, 56:136, 56:136] = 0.5 + 0.4 * grain
    return images


def clouds(count):
    """What has no background: (count, 3, 192, 192)."""
    smooth = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(count))
    return torch.nn.functional.interpolate(0.2 * smooth + 0.4, size=(192, 192), mode="bilinear")


def test_background_is_masked_where_that_is_useful():
    masked = detectors.create("anomaly_dino", masking="auto").fit([parts(6)])
    plain = detectors.create("anomaly_dino").fit([parts(6)])
    assert masked.useful_.tolist() == [6, 6]
    assert plain.useful_.tolist() == [0, 0]
    flawed = parts(1)
    flawed[:, :, 92:100, 92:100] = 0.0
    (with_mask, score), (without, plain_score) = masked.score(flawed), plain.score(flawed)
    corner = np.s_[0, :4, :4]
    assert float(with_mask[corner].abs().max()) == 0.0
    assert float(without[corner].min()) > 0.0
    middle = np.s_[0, 80:112, 80:112]
    torch.testing.assert_close(with_mask[middle], without[middle], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(score, plain_score)


def test_nothing_is_masked_where_most_masks_are_not_useful():
    cloudy, plain = (detectors.create("anomaly_dino", masking=kind).fit([clouds(4)]) for kind in ("auto", "never"))
    assert cloudy.useful_.tolist() == [0, 4]
    for one, other in zip(cloudy.score(clouds(2)), plain.score(clouds(2)), strict=True):
        assert torch.equal(one, other)


def test_what_is_left_out_has_no_say_in_masking():
    """Of two parts and two that fill half of the rim, most masks are useful only if one of those is left out."""
    halves = torch.cat([clouds(3)[:2, :, :, :96], parts(3)[:2, :, :, :96]], 3)
    images = torch.cat([parts(2), halves])
    detector = detectors.create("anomaly_dino", masking="auto")
    found = list(detector.fit_leaving_out([images], [*range(4)]))
    assert detector.useful_.tolist() == [2, 4]
    for n, (maps, scores) in enumerate(found):
        others = [k for k in range(4) if k != n]
        refitted = detectors.create("anomaly_dino", masking="auto").fit([images[others]])
        for one, other in zip((maps, scores), refitted.score(images[n : n + 1]), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
    hidden = [float((maps == 0).float().mean()) for maps, _ in found]
    assert min(hidden[2:]) > 0.05 > max(hidden[:2])


def test_tiles_have_no_background():
    with pytest.raises(ParameterError, match="masking=always is for whole images: give tile=0, or masking=never"):
        detectors.create("anomaly_dino", masking="always").fit([torch.rand(1, 3, 320, 320)], margin=128)


@pytest.mark.parametrize("masking", ["never", "always"])
def test_tokens_of_a_transformer(masking, dinov2_file):
    """DINOv2-S, with random weights, from a local file."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(3, 3, 56, 70, generator=generator)
    chosen = {"backbone": "dinov2_small", "layers": ("block12",), "weights": str(dinov2_file), "masking": masking}
    detector = detectors.create("anomaly_dino", **chosen).fit([images[:2]])
    assert detector.bank_.shape == (40, 384)
    assert float(detector.score(images[:2])[1].max()) == pytest.approx(0.0, abs=1e-5)
    tokens = detector._tokens(images[2:])[0]
    expected = cosine_distances(tokens.reshape(20, -1).double().numpy(), detector.bank_.double().numpy())
    if masking == "always":
        expected = expected * foreground(tokens[None], None)[0].flatten().numpy()
    assert float(detector.score(images[2:])[1]) == pytest.approx(expected.max(), rel=1e-3)
