"""Dinomaly against loops: its attention, its groups, its loss and whose gradients that shrinks, and its optimizer."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pellucid import detectors
from pellucid.detectors._maps import smooth_map
from pellucid.detectors._stable_adamw import StableAdamW
from pellucid.detectors.dinomaly import _LinearAttention, divided, loose_loss, recentred

FAST = {"layers": ("layer3",), "epochs": 3, "batch_size": 4, "decoder_depth": 2, "precision": "32-true"}


@pytest.fixture(scope="module")
def fitted(batches):
    return detectors.create("dinomaly", **FAST).fit(batches)


@pytest.mark.parametrize(("d", "heads"), [(128, 2), (160, 2), (24, 1), (192, 3), (97, 1)])
def test_attention_is_a_mean_weighted_by_a_kernel(d, heads):
    """One pair of tokens after the other."""
    torch.manual_seed(0)
    attention, x = _LinearAttention(d).double(), torch.randn(2, 5, d, dtype=torch.float64)
    assert attention.heads == heads
    qkv = attention.qkv(x).detach()
    expected = torch.empty(2, 5, d, dtype=torch.float64)
    for b in range(2):
        for head in range(heads):
            q, k, v = (
                qkv[b, :, part * d + head * (d // heads) : part * d + (head + 1) * (d // heads)] for part in range(3)
            )
            for n in range(5):
                weight = [
                    float(((nn.functional.elu(q[n]) + 1) * (nn.functional.elu(k[m]) + 1)).sum()) for m in range(5)
                ]
                mean = sum(w * v[m] for m, w in enumerate(weight)) / sum(weight)
                expected[b, n, head * (d // heads) : (head + 1) * (d // heads)] = mean
    torch.testing.assert_close(attention(x), attention.out(expected), rtol=1e-6, atol=1e-7)


@given(st.integers(0, 1000), st.sampled_from([0.0, 0.5, 0.9]))
def test_the_loss_learns_from_hard_points(seed, easy_share):
    generator = torch.Generator().manual_seed(seed)
    f_E, f_D = torch.randn(2, 2, 4, 3, 3, generator=generator, dtype=torch.float64)
    f_D.requires_grad_()
    loss = loose_loss(f_E, f_D, easy_share)
    expected = 0.0
    for e, d in zip(f_E.detach(), f_D.detach(), strict=True):
        expected += (1 - float((e * d).sum() / (e.norm() * d.norm()))) / 2
    assert float(loss.detach()) == pytest.approx(expected)
    loss.backward()
    plain = f_D.detach().clone().requires_grad_()
    loose_loss(f_E, plain, 0.0).backward()
    distances = sorted(
        (1 - float(nn.functional.cosine_similarity(f_E[b, :, y, x], f_D.detach()[b, :, y, x], dim=0)), b, y, x)
        for b in range(2)
        for y in range(3)
        for x in range(3)
    )
    hard = max(1, int((1 - easy_share) * 18))
    for rank, (_, b, y, x) in enumerate(distances):
        share = 1.0 if rank >= 18 - hard else 0.1
        torch.testing.assert_close(f_D.grad[b, :, y, x], share * plain.grad[b, :, y, x])


@given(st.integers(1, 12), st.integers(1, 12))
def test_groups_are_successive_and_alike(count, groups):
    found = divided(count, groups)
    assert [k for group in found for k in group] == [*range(count)]
    assert len(found) == min(count, groups)
    assert max(map(len, found)) - min(map(len, found)) <= 1


def test_recentred_tokens_are_those_less_their_mean():
    tokens = torch.randn(2, 6, 3, 4, generator=torch.Generator().manual_seed(0)).double()
    found = recentred(tokens)
    for b in range(2):
        context = sum(tokens[b, :, y, x] for y in range(3) for x in range(4)) / 12
        for y in range(3):
            for x in range(4):
                token = tokens[b, :, y, x] - context
                expected = (token - token.mean()) / token.var(correction=0).sqrt()
                torch.testing.assert_close(found[b, :, y, x], expected)


def slow_stable_adamw(weights, gradients, lr, weight_decay, warmup_steps):
    """Algorithm 2 of the paper, one number after the other."""
    v, u = [0.0] * len(weights), [0.0] * len(weights)
    for t, gradient in enumerate(gradients, start=1):
        rate, ratios = lr * min(1.0, t / max(1, warmup_steps)), []
        for k, g in enumerate(gradient):
            v[k] = 0.9 * v[k] + 0.1 * g
            u[k] = 0.999 * u[k] + 0.001 * g * g
            ratios.append(g * g / max(u[k] / (1 - 0.999**t), 1e-20))
        rate /= max(1.0, math.sqrt(sum(ratios) / len(ratios)))
        for k in range(len(weights)):
            step = v[k] / (1 - 0.9**t) / (math.sqrt(u[k] / (1 - 0.999**t)) + 1e-10)
            weights[k] -= rate * (step + weight_decay * weights[k])
    return weights


@given(st.integers(0, 1000), st.sampled_from([0, 1, 5]))
def test_steps_are_those_of_stable_adamw(seed, warmup_steps):
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(4, generator=generator, dtype=torch.float64)
    gradients = torch.randn(8, 4, generator=generator, dtype=torch.float64) * torch.logspace(-3, 3, 8)[:, None]
    weights = nn.Parameter(start.clone())
    optimizer = StableAdamW([weights], lr=0.1, weight_decay=0.2, warmup_steps=warmup_steps)
    for k, gradient in enumerate(gradients):
        weights.grad = gradient.clone()
        optimizer.step()
        if k == 3:  # goes on from a checkpoint
            state = optimizer.state_dict()
            optimizer = StableAdamW([weights], lr=0.1, weight_decay=0.2, warmup_steps=warmup_steps)
            optimizer.load_state_dict(state)
    assert optimizer.steps == 8
    expected = slow_stable_adamw(start.tolist(), gradients.tolist(), 0.1, 0.2, warmup_steps)
    torch.testing.assert_close(weights.detach(), torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-9)


def test_maps_are_cosine_distances_of_rebuilt_tokens(fitted, batches):
    maps, scores = fitted.score(batches[0])
    with torch.inference_mode():
        tokens = fitted.backbone_(batches[0])[0]  # (4, 160, 4, 4)
        rebuilt = fitted.decoder_(fitted.bottleneck_(tokens.flatten(2).mT))[0]  # (4, 16, 160)
    expected = torch.empty(4, 4, 4)
    for b in range(4):
        for n in range(16):
            e, d = tokens[b, :, n // 4, n % 4].double(), rebuilt[b, n].double()
            expected[b, n // 4, n % 4] = 1 - float(e @ d / (e.norm() * d.norm()))
    torch.testing.assert_close(maps, smooth_map(expected, (64, 64)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scores, maps.flatten(1).sort().values[:, -41:].mean(1), rtol=1e-5, atol=1e-6)


def test_layers_of_different_widths_are_one_token(batches):
    detector = detectors.create("dinomaly", **FAST | {"layers": ("layer2", "layer3"), "epochs": 2}).fit(batches)
    (tokens,) = detector._encode(batches[0])
    assert tokens.shape == (4, 192, 8, 8)
    assert detector.score(batches[0])[0].isfinite().all()


def test_noise_is_for_learning_only(fitted, batches):
    """Held-out images and inspected ones see no dropout; what is learned from does."""
    tokens = fitted._encode(batches[0])
    with torch.no_grad():
        assert torch.equal(fitted._rebuild(*tokens)[1][0], fitted._rebuild(*tokens)[1][0])
        fitted.bottleneck_.train()
        try:
            assert not torch.equal(fitted._rebuild(*tokens)[1][0], fitted._rebuild(*tokens)[1][0])
        finally:
            fitted.bottleneck_.eval()


def test_a_resumed_fit_is_an_uninterrupted_one(batches, tmp_path):
    """Noise, warm-up and the share of easy points go on where they were."""
    whole = detectors.create("dinomaly", **FAST | {"mining_steps": 4}).fit(batches).state()
    checkpoint = tmp_path / "checkpoint.pt"
    detectors.create("dinomaly", **FAST | {"mining_steps": 4, "epochs": 1}).fit(batches, checkpoint=checkpoint)
    resumed = detectors.create("dinomaly", **FAST | {"mining_steps": 4}).fit(batches, checkpoint=checkpoint).state()
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())


@pytest.mark.parametrize("recentring", [False, True])
def test_groups_of_a_transformers_layers(recentring, dinov2_file):
    """DINOv2-S, with random weights, from a local file."""
    images = torch.rand(4, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    layers = ("block3", "block6", "block8", "block10")
    chosen = {"backbone": "dinov2_small", "layers": layers, "weights": str(dinov2_file), "recentring": recentring}
    detector = detectors.create("dinomaly", **chosen, epochs=2, batch_size=2, decoder_depth=2).fit([images])
    maps = detector.backbone_(images)
    f_E, f_D = detector._rebuild(*detector._encode(images))
    assert len(f_E) == len(f_D) == 2
    for k, one in enumerate(f_E):
        mean = (maps[2 * k] + maps[2 * k + 1]) / 2
        torch.testing.assert_close(one, recentred(mean) if recentring else mean)
    x = detector.bottleneck_((sum(maps) / 4).flatten(2).mT)
    first = detector.decoder_.blocks[0](x)
    last = detector.decoder_.blocks[1](first)
    torch.testing.assert_close(f_D[0].flatten(2).mT, last)  # the first layers are rebuilt last
    torch.testing.assert_close(f_D[1].flatten(2).mT, first)
