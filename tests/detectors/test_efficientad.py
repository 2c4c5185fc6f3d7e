"""EfficientAD against slow, obvious computations: which features are hard, what maps are and how they are scaled."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch.nn import functional as F

from pellucid.backbones import network
from pellucid.detectors._maps import image_score
from pellucid.detectors._moments import channel_statistics
from pellucid.detectors.efficientad import EfficientAd, hard_mean, relit
from pellucid.errors import DataError


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    net = network("pdn_s")
    for parameter in net.parameters():
        parameter.data *= 2  # a description that varies
    path = tmp_path_factory.mktemp("weights") / "pdn_s.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in net.state_dict().items()}, path)
    return str(path)


@pytest.fixture(scope="module")
def fitted(weights, batches):
    return EfficientAd(weights=weights, epochs=2, batch_size=4, penalty_images=4).fit(batches)


@given(st.integers(1, 60), st.sampled_from([0.0, 0.3, 0.9, 0.99, 0.999]))
def test_hard_features_are_those_from_the_quantile_on(count, p_hard):
    D = torch.rand(2, 3, 1, count, generator=torch.Generator().manual_seed(count), dtype=torch.float64)
    # the first value that is not below the quantile, wherever between two values that may be
    expected = [one[one >= np.quantile(one, p_hard, method="higher")] for one in D.flatten(1).numpy()]
    assert float(hard_mean(D, p_hard)) == pytest.approx(np.mean([hard.mean() for hard in expected]))


def test_light_is_changed_one_way_an_image():
    pixels = torch.rand(3, 3, 4, 5, generator=torch.Generator().manual_seed(0)) * 0.8
    found = relit(pixels, torch.tensor([0, 1, 2]), torch.tensor([1.2, 0.8, 1.1]))
    luma = [0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2] for p in pixels]
    torch.testing.assert_close(found[0], (1.2 * pixels[0]).clamp(0, 1))
    torch.testing.assert_close(found[1], (0.8 * pixels[1] + 0.2 * luma[1].mean()).clamp(0, 1))
    torch.testing.assert_close(found[2], (1.1 * pixels[2] - 0.1 * luma[2]).clamp(0, 1))


def test_channels_are_normalised_over_images_and_positions(batches):
    mu, sigma = channel_statistics(lambda pixels: pixels * 3, batches, torch.device("cpu"))
    values = 3 * torch.cat(batches).double().numpy()
    np.testing.assert_allclose(mu[:, 0, 0], values.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(sigma[:, 0, 0], values.std((0, 2, 3)), rtol=1e-6)
    assert channel_statistics(torch.zeros_like, batches, torch.device("cpu"))[1].min() > 0  # a dead channel


def slow_maps(detector, pixels):
    """Both maps of one image, (2, h, w), position by position."""
    described = detector.backbone_(pixels[None])[0][0]
    T = (described - detector.mu_) / detector.sigma_
    predicted = detector.student_((pixels[None] - 0.5) / 0.25)["layer1"][0]
    A = detector.autoencoder_((pixels[None] - 0.5) / 0.25)[0]
    C, h, w = T.shape
    maps = torch.empty(2, h, w)
    for y in range(h):
        for x in range(w):
            maps[0, y, x] = sum((T[:, y, x] - predicted[:C, y, x]) ** 2) / C
            maps[1, y, x] = sum((A[:, y, x] - predicted[C:, y, x]) ** 2) / C
    return maps


def test_map_is_the_mean_of_both_maps_between_their_quantiles(fitted, batches):
    held_out = torch.cat(batches)[9:10]  # every tenth image
    with torch.inference_mode():
        normal = slow_maps(fitted, held_out[0])
        found = slow_maps(fitted, batches[0][0])
    expected = []
    for known, one in zip(normal, found, strict=True):
        q_a, q_b = np.quantile(known.numpy(), (0.9, 0.995))
        expected.append(0.1 * (one - q_a) / (q_b - q_a))
    expected = F.interpolate((sum(expected) / 2)[None, None], size=(64, 64), mode="bilinear")[:, 0]
    anomaly_map, score = fitted.score(batches[0][:1])
    torch.testing.assert_close(anomaly_map, expected, rtol=2e-3, atol=2e-3)
    assert score == image_score(anomaly_map)


def test_loss_of_held_out_images_is_that_of_the_paper(fitted, batches):
    pixels = batches[0][:2]
    features = fitted._teacher(pixels)
    with torch.inference_mode():
        found = fitted._loss(torch.empty(0), pixels, features)
        T = (features - fitted.mu_) / fitted.sigma_
        predicted = fitted.student_((pixels - 0.5) / 0.25)["layer1"]
        S, S_prime = predicted[:, : T.shape[1]], predicted[:, T.shape[1] :]
        A = fitted.autoencoder_((pixels - 0.5) / 0.25)
    hard = [D[np.quantile(D, 0.999) <= D].mean() for D in (T - S).square().numpy()]
    expected = np.mean(hard) + float((T - A).square().mean()) + float((A - S_prime).square().mean())
    assert float(found) == pytest.approx(expected, rel=1e-4)


def test_penalty_is_what_the_student_says_of_drawings(fitted, batches):
    drawings = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    pixels, features = batches[0][:2], fitted._teacher(batches[0][:2])
    networks = fitted.student_, fitted.autoencoder_
    try:
        for net in networks:
            net.train()
        with torch.no_grad():
            losses = []
            for shown in (torch.empty(0), drawings):
                torch.manual_seed(0)
                if not len(shown):
                    torch.randint(1, (2,))  # what choosing a drawing draws
                losses.append(float(fitted._loss(shown, pixels, features)))
    finally:
        for net in networks:
            net.eval()
    with torch.inference_mode():
        described = fitted.student_((drawings - 0.5) / 0.25)["layer1"][:, : features.shape[1]]
    assert losses[1] - losses[0] == pytest.approx(float(described.square().mean()), rel=1e-3)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (50, 130)])
def test_sizes_that_table_8_does_not_have(weights, height, width):
    images = torch.rand(4, 3, height, width, generator=torch.Generator().manual_seed(0))
    detector = EfficientAd(weights=weights, epochs=1, penalty_images=0, lr=1e-4).fit([images])
    assert detector.score(images)[0].shape == (4, height, width)
    encoded = detector.autoencoder_.encoder(images)
    assert encoded.shape == (4, 64, 1, 1)


def test_decoder_has_the_sizes_of_table_8():
    detector = EfficientAd()
    detector.backbone_ = type("Teacher", (), {"shapes": lambda *_: [(192, 64, 64)]})()
    detector._build(256, 256)
    sizes = [(3, 3), (8, 8), (15, 15), (32, 32), (63, 63), (127, 127), (64, 64)]
    assert detector.autoencoder_.sizes == sizes


def test_small_images_are_refused(weights):
    with pytest.raises(DataError, match=r"Images of 31x64 px are too small for efficientad: .* Set a larger --image-"):
        EfficientAd(weights=weights).fit([torch.rand(2, 3, 31, 64)])
