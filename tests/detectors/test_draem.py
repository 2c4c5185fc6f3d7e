"""DRAEM against slow loops: what is planted, what is learned from it, and how both networks are joined."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pellucid.detectors._flaws import draw_textures, focal, perlin_noise, plant
from pellucid.detectors._maps import smooth_map
from pellucid.detectors.draem import Draem, ssim

FAST = {"epochs": 2, "batch_size": 4, "width": 8, "textures": 3, "planted": 2}


@pytest.fixture(scope="module")
def fitted(batches):
    return Draem(**FAST).fit(batches)


@pytest.fixture(scope="module")
def of_pixels(batches):
    return Draem(**FAST | {"epochs": 8}, space="pixels", depth=1).fit(batches)


@given(st.integers(0, 30), st.sampled_from([(24, 24), (20, 12)]))
def test_a_texture_shows_through_where_clouds_are_high_and_nowhere_else(seed, size):
    generator = torch.Generator().manual_seed(seed)
    pixels, textures = torch.rand(3, 3, *size, generator=generator), torch.rand(2, 3, 24, 24, generator=generator)
    planted, masks = plant(pixels, textures, 0.3, torch.Generator().manual_seed(seed))
    clouds = torch.Generator().manual_seed(seed)
    turned = [t.rot90(k, (1, 2)) for t in textures for k in range(4)]
    turned += [t.flip(2) for t in turned]
    for k in range(3):
        assert torch.equal(masks[k, 0], (perlin_noise(*size, clouds) > 0.3).float())
        there = masks[k, 0] > 0
        assert torch.equal(planted[k][:, ~there], pixels[k][:, ~there])
        if not there.any():
            continue
        errors = []  # of the texture, and how opaque it is, that explain what is seen best
        for texture in turned:
            own, shown = pixels[k][:, there], texture[:, : size[0], : size[1]][:, there]
            beta = float(((planted[k][:, there] - own) * (shown - own)).sum() / (shown - own).square().sum())
            errors.append((float((own + beta * (shown - own) - planted[k][:, there]).abs().max()), beta))
        error, beta = min(errors)
        assert error < 1e-5
        assert 0.2 - 1e-5 <= beta <= 1 + 1e-5


def test_textures_are_drawn_by_their_seed():
    one, again, other = draw_textures(2, 32, 0), draw_textures(2, 32, 0), draw_textures(2, 32, 1)
    assert one.shape == (2, 3, 32, 32)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert one.min() >= 0
    assert one.max() <= 1


def test_structural_similarity_is_that_of_the_paper():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 1, 2, 14, 13, generator=generator, dtype=torch.float64)
    found = ssim(a, b)
    for c, y, x in ((0, 0, 0), (1, 7, 6), (0, 13, 12), (1, 2, 9)):
        rows, columns = slice(max(0, y - 5), y + 6), slice(max(0, x - 5), x + 6)
        p, q = a[0, c, rows, columns], b[0, c, rows, columns]
        cov = ((p - p.mean()) * (q - q.mean())).mean()
        above = (2 * p.mean() * q.mean() + 0.0001) * (2 * cov + 0.0009)
        below = (p.mean() ** 2 + q.mean() ** 2 + 0.0001) * (p.var(correction=0) + q.var(correction=0) + 0.0009)
        assert float(found[0, c, y, x]) == pytest.approx(float(above / below), rel=1e-9)
    assert ssim(a, a).min() == pytest.approx(1)


def test_channels_of_both_networks_double_three_times_as_in_the_authors_code(batches):
    made = Draem(**FAST | {"epochs": 8}, space="pixels", depth=4, discriminative_width=4).fit(batches)
    for network, expected in ((made.reconstructive_, (8, 16, 32, 64, 64)), (made.discriminative_, (4, 8, 16, 32, 32))):
        assert tuple(level[0].out_channels for level in network.encoder) == expected
    maps, scores = made.score(batches[0])
    assert maps.isfinite().all()
    assert scores.isfinite().all()


@pytest.mark.parametrize("space", ["features", "pixels"])
def test_the_loss_of_held_out_images_is_that_of_all_their_flaws(space, fitted, of_pixels, batches):
    detector = fitted if space == "features" else of_pixels
    generator = torch.Generator().manual_seed(0)
    I = detector._extract(batches[0][:2])  # noqa: E741 - the paper's
    I_a = torch.stack([I + 0.1 * torch.randn(I.shape, generator=generator) for _ in range(3)], 1)
    M_a = (torch.rand(2, 3, *I.shape[2:], generator=generator) < 0.2).float()
    with torch.no_grad():
        found = detector._loss(I, I_a.flatten(1, 2), M_a)
        expected = []
        for b in range(2):
            for k in range(3):
                for seen, truth in ((I[b], torch.zeros_like(M_a[b, k])), (I_a[b, k], M_a[b, k])):
                    rebuilt, logits = detector._networks(seen[None])
                    loss = (rebuilt - I[b]).square().mean() + focal(logits[0, 0], truth, 2.0)
                    expected.append(loss + (1 - ssim(rebuilt, I[b][None]).mean() if space == "pixels" else 0))
    assert float(found) == pytest.approx(math.fsum(map(float, expected)) / len(expected), rel=1e-3)


def test_the_map_is_the_smoothed_logit_and_the_score_its_peak(fitted, batches):
    maps, scores = fitted.score(batches[0])
    with torch.inference_mode():
        features = fitted._extract(batches[0])
        rebuilt = fitted.reconstructive_(features)
        logits = fitted.discriminative_(torch.cat([features, rebuilt], 1))
    torch.testing.assert_close(maps, smooth_map(logits[:, 0], (64, 64)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scores, maps.flatten(1).amax(1))
    assert features.mean((0, 2, 3)).abs().max() < 0.5  # standardised


def test_of_pixels_the_backbone_is_not_asked(of_pixels, batches):
    with of_pixels.backbone_.overheard() as calls:
        maps, _ = of_pixels.score(batches[0])
    assert not calls
    assert maps.shape == (4, 64, 64)
    assert of_pixels.reconstructive_(batches[0]).shape == batches[0].shape
