"""Normalising flows against the Jacobian that torch differentiates, and the detectors on top of them against loops."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from pellucid import detectors
from pellucid.detectors._flow import CouplingStep, Flow, negative_log_likelihood, unlikely_maps
from pellucid.detectors._maps import smooth_map
from pellucid.detectors._moments import level_statistics
from pellucid.detectors.cflow import log_likelihood, position_code
from pellucid.detectors.fastflow import Fastflow
from pellucid.detectors.uflow import UShapedFlow
from pellucid.errors import ParameterError


def drawn(module):
    """The module in float64 with weights that are not its first ones, which make every flow the identity."""
    torch.manual_seed(0)
    for p in module.double().parameters():
        torch.nn.init.normal_(p, std=0.5)
    return module


def noise(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def log_determinant(function, x):
    """Of one image by its whole Jacobian, the slow way."""
    jacobian = torch.autograd.functional.jacobian(function, x).reshape(x.numel(), x.numel())
    return float(torch.linalg.slogdet(jacobian)[1])


CODES = (noise(1, 3, 3, 1), noise(1, 3, 1, 3, seed=2))  # of three rows and three columns


@pytest.mark.parametrize(
    ("make", "condition"),
    [
        (lambda: CouplingStep(4, 1.0, 3), None),
        (lambda: CouplingStep(5, 2.0, 1, clamp=1.9, condition_channels=6), CODES),
        (lambda: Flow(4, 3, 1.0), None),
        (lambda: Flow(5, 2, 2.0, kernels=(1,), condition_channels=6), CODES),
    ],
)
def test_the_log_determinant_is_the_jacobians_and_the_inverse_undoes(make, condition):
    flow, x = drawn(make()), noise(1, 4 if condition is None else 5, 3, 3)
    z, log_det = flow(x, condition)
    assert log_det.shape == (1, 3, 3)
    expected = log_determinant(lambda v: flow(v, condition)[0], x)
    assert float(log_det.sum().detach()) == pytest.approx(expected, rel=1e-9)
    torch.testing.assert_close(flow.inverse(z, condition), x)


def test_each_positions_log_determinant_is_that_of_its_own_vector():
    """With 1x1 convolutions: a position's vector depends on no other."""
    flow, x = drawn(Flow(5, 2, 2.0, kernels=(1,), condition_channels=6)), noise(1, 5, 3, 3)
    log_det = flow(x, CODES)[1]
    for i in range(3):
        for j in range(3):
            code = CODES[0][:, :, i : i + 1], CODES[1][..., j : j + 1]
            vector = x[:, :, i : i + 1, j : j + 1]
            found = log_determinant(lambda v, code=code: flow(v, code)[0], vector)
            assert float(log_det[0, i, j].detach()) == pytest.approx(found, rel=1e-9)


def test_what_a_step_is_told_is_as_if_it_were_channels_of_its_input():
    step, x = drawn(CouplingStep(5, 2.0, 1, condition_channels=6)), noise(2, 5, 3, 3)
    first, relu, last = step.subnet
    weights = torch.cat([first.weight, *(told.weight for told in step.told)], 1)  # (hidden, kept + P, 1, 1)
    codes = [code.expand(2, 3, 3, 3) for code in CODES]
    hidden = F.conv2d(torch.cat([x[:, : step.kept], *codes], 1), weights, first.bias)
    s, t = (0.1 * last(relu(hidden))).chunk(2, 1)
    torch.testing.assert_close(step._scale_and_shift(x[:, : step.kept], CODES), (2 * torch.tanh(s), t))
    assert len(hidden[0]) == 2 * (3 + 6)


def test_the_log_determinant_of_bfloat16_is_that_of_float32():
    """The held-out loss that picks the best epoch is made of it; the terms are rounded, their sum is not."""
    torch.manual_seed(0)
    step = CouplingStep(24, 1.0, 3)
    for p in step.parameters():
        torch.nn.init.normal_(p, std=0.3)
    x = torch.randn(2, 24, 32, 32)
    with torch.no_grad():
        exact = step(x)[1].sum((1, 2))
        with torch.autocast("cpu", torch.bfloat16):
            mixed = step(x.bfloat16())[1]
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed.sum((1, 2)), exact, rtol=1e-3, atol=0)


# --- U-Flow -----------------------------------------------------------------------------------------------------------


def pyramid(channels, factors, side=2, batch=1):
    sides = [side * math.prod(factors[level:]) for level in range(len(channels))]
    return [noise(batch, c, n, n, seed=k) for k, (c, n) in enumerate(zip(channels, sides, strict=True))]


@pytest.mark.parametrize(
    ("channels", "factors"), [((2, 9), (2,)), ((2, 3, 8), (2, 1)), ((3,), ()), ((1, 8, 8), (2, 2))]
)
def test_the_u_is_one_invertible_map_of_all_levels(channels, factors):
    flow, maps = drawn(UShapedFlow(channels, factors, 2, 1.0)), pyramid(channels, factors, side=1)
    sizes = [m.numel() for m in maps]

    def latent(row):
        parts = [part.view_as(m) for part, m in zip(row.split(sizes), maps, strict=True)]
        return torch.cat([z.flatten() for z, _ in flow(parts)])

    found = flow(maps)
    row = torch.cat([m.flatten() for m in maps])
    assert sum(z.numel() for z, _ in found) == len(row)
    expected = log_determinant(latent, row)
    assert float(sum(log_det.sum() for _, log_det in found).detach()) == pytest.approx(expected, rel=1e-9)
    for one, m in zip(flow.inverse([z for z, _ in found]), maps, strict=True):
        torch.testing.assert_close(one, m)


def test_half_of_a_level_goes_on_and_is_enlarged_into_the_next():
    flow = UShapedFlow([24, 32, 160], [2, 2], 1, 1.0)  # those of prism_s
    found = [tuple(z.shape[1:]) for z, _ in flow([m.float() for m in pyramid([24, 32, 160], [2, 2], side=2)])]
    assert found == [(24 + 6, 8, 8), (32 + 20 - 24, 4, 4), (80, 2, 2)]


@pytest.mark.parametrize("size", [(64, 64), (72, 104)])
def test_sides_that_no_two_divides_are_brought_to_some(size, batches):
    images = [F.interpolate(batch, size=size) for batch in batches]
    detector = detectors.create("uflow", epochs=1, flow_steps=1).fit(images)
    assert [tuple(z.shape[2:]) for z in detector.latents(images[0])] == [
        tuple(-(-side // 16) * step for side in size) for step in (4, 2, 1)
    ]
    assert detector.score(images[0])[0].shape[1:] == size


@pytest.mark.parametrize("layers", [("layer2", "layer1"), ("layer3", "layer1")])
def test_a_u_goes_from_fine_to_coarse(layers, batches):
    with pytest.raises(ParameterError, match=r"layers=.* is not allowed: it has to be one or more layers from fine"):
        detectors.create("uflow", layers=layers).fit(batches)


# --- maps of likelihoods ----------------------------------------------------------------------------------------------


def latents_of(detector, pixels):
    with torch.no_grad():
        features = detector._extract(pixels) if isinstance(detector, Fastflow) else detector.backbone_(pixels)
        return detector._latents(*features)


@pytest.mark.parametrize("name", ["fastflow", "uflow"])
def test_levels_are_the_negative_log_likelihood(name, batches, make):
    detector = make(name, layers=("layer2",), combine="above_usual", sigma=4.0).fit(batches)
    z = latents_of(detector, batches[0])[0][0]  # (B, C, h, w)
    with torch.no_grad():
        found = detector._levels(batches[0])[0]
    normal = torch.distributions.Normal(0.0, 1.0)
    expected = -(normal.log_prob(z) - normal.log_prob(torch.zeros(()))).mean(1)
    torch.testing.assert_close(found, smooth_map(expected, (64, 64)))


@pytest.mark.parametrize("name", ["fastflow", "uflow"])
def test_the_papers_map_is_one_minus_the_mean_likelihood(name, batches, make):
    detector = make(name, combine="likelihood", sigma=0.0).fit(batches)
    expected = torch.zeros(4, 64, 64)
    for z, _ in latents_of(detector, batches[0]):
        likelihood = torch.exp(-0.5 * z.square().mean(1, keepdim=True))
        expected += F.interpolate(likelihood, size=(64, 64), mode="bilinear")[:, 0] / 3
    maps, scores = detector.score(batches[0])
    torch.testing.assert_close(maps, 1 - expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scores, maps.flatten(1).amax(1))


@pytest.mark.parametrize("name", ["fastflow", "uflow"])
def test_the_loss_is_the_likelihood_of_what_was_seen(name, batches, make):
    """By the change of variables: that of the latents, and the determinants."""
    detector = make(name).fit(batches)
    latents = latents_of(detector, batches[0])
    normal = torch.distributions.Normal(0.0, 1.0)
    expected = torch.stack(
        [-(normal.log_prob(z) - normal.log_prob(torch.zeros(()))).sum() - log_det.sum() for z, log_det in latents]
    )
    torch.testing.assert_close(negative_log_likelihood(latents), expected.sum() / 4, rtol=1e-4, atol=1e-2)


@given(st.lists(st.floats(0, 300), min_size=4, max_size=4))
@settings(max_examples=30)
def test_a_likelihood_saturates_and_its_logarithm_does_not(values):
    surprises = [torch.tensor(values).view(1, 2, 2)]
    (bounded,), (free,) = (unlikely_maps(surprises, (2, 2), how, 0.0) for how in ("likelihood", "above_usual"))
    for value, found, raw in zip(values, bounded.flatten().tolist(), free.flatten().tolist(), strict=True):
        assert found == pytest.approx(1 - math.exp(-value), abs=1e-6)
        assert raw == pytest.approx(value, rel=1e-6)


# --- CFLOW-AD ---------------------------------------------------------------------------------------------------------


def test_a_position_is_told_by_the_sinusoids_of_attention():
    code = position_code(5, 8).tolist()
    for k in range(4):
        for cell in range(5):
            angle = cell / 10000 ** (2 * k / 8)
            assert code[2 * k][cell] == pytest.approx(math.sin(angle), abs=1e-6)
            assert code[2 * k + 1][cell] == pytest.approx(math.cos(angle), abs=1e-6)


@pytest.mark.parametrize("told", [0, 8])
def test_vectors_are_drawn_with_the_codes_of_their_positions(told, batches, make):
    detector = make("cflow", condition_vector=told, fiber_batch_size=40).fit(batches)
    x = torch.arange(2 * 3 * 6.0).view(2, 1, 3, 6).expand(2, 5, 3, 6)  # (B, C, h, w), a value for each position
    vectors, condition = detector._draw(x, torch.Generator().manual_seed(0))
    assert vectors.shape == (1, 5, 1, 36)  # all, as there are fewer
    at = vectors[0, 0, 0].long()
    assert sorted(at.tolist()) == list(range(36))
    if not told:
        assert condition is None
        return
    rows, columns = position_code(3, 4), position_code(6, 4)
    torch.testing.assert_close(condition[0][0, :, 0], rows[:, at % 18 // 6])
    torch.testing.assert_close(condition[1][0, :, 0], columns[:, at % 6])


def test_drawn_vectors_are_as_likely_as_in_their_map(batches, make):
    detector = make("cflow", fiber_batch_size=10_000).fit(batches)
    with torch.no_grad():
        maps = detector._log_likelihoods(batches[0])
        for k, x in enumerate(detector._standardised(detector.backbone_(batches[0]))):
            vectors, condition = detector._draw(x, torch.Generator().manual_seed(0))
            found = log_likelihood(*detector.flows_[k](vectors, condition))
            torch.testing.assert_close(found.flatten().sort().values, maps[k].flatten().sort().values)
        loss = detector._loss(*detector.backbone_(batches[0]))
    torch.testing.assert_close(loss, -sum(m.mean() for m in maps), rtol=1e-4, atol=1e-5)


def test_held_out_images_give_the_same_vectors_every_time(batches, make):
    detector = make("cflow", fiber_batch_size=8).fit(batches)
    features = detector.backbone_(batches[0])
    with torch.no_grad():
        assert float(detector._loss(*features)) == float(detector._loss(*features))
        detector.flows_.train()
        assert len({float(detector._loss(*features)) for _ in range(3)}) == 3


def test_cflows_map_is_one_minus_the_mean_of_likelihoods_below_the_highest(batches, make):
    detector = make("cflow").fit(batches)
    with torch.no_grad():
        levels = [detector._log_likelihoods(batch) for batch in batches]
    expected = torch.zeros(4, 64, 64)
    for k in range(3):
        highest = max(float(found[k].max()) for found in levels)
        assert float(detector.highest_[k]) == pytest.approx(highest, rel=1e-5)
        likelihood = torch.exp(levels[0][k] - highest)
        expected += F.interpolate(likelihood[:, None], size=(64, 64), mode="bilinear")[:, 0] / 3
    torch.testing.assert_close(detector.score(batches[0])[0], 1 - expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("told", [8, 0])
def test_a_flow_that_is_told_positions_knows_what_belongs_where(told):
    """Vectors are near -1 in the left half of every map and near 1 in the right: either is odd on the other side."""
    torch.manual_seed(0)
    flow = Flow(2, 4, 2.0, kernels=(1,), condition_channels=told)
    code = position_code(6, told // 2) if told else None
    condition = (code[None, :, :, None], code[None, :, None, :]) if told else None
    good = torch.tensor([-1.0, -1.0, -1.0, 1.0, 1.0, 1.0]).expand(8, 2, 6, 6)
    optimizer = torch.optim.Adam(flow.parameters(), lr=0.01)
    for _ in range(200):
        loss = -log_likelihood(*flow(good + 0.1 * torch.randn_like(good), condition)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        usual, odd = (log_likelihood(*flow(x, condition)).mean() for x in (good, good.flip(3)))
    assert (float(usual - odd) > 10) == bool(told)


def test_channels_of_all_levels_are_standardised_over_images_and_positions(batches):
    def extract(pixels):
        return [pixels, pixels[:, :2, ::2, ::4] * 3]

    mu, sigma = level_statistics(extract, batches, torch.device("cpu"))
    levels = [torch.cat(level).double() for level in zip(*map(extract, batches), strict=True)]
    channels = [level[:, c] for level in levels for c in range(level.shape[1])]
    torch.testing.assert_close(mu.flatten().double(), torch.stack([c.mean() for c in channels]), rtol=1e-5, atol=1e-6)
    expected = torch.stack([c.std(correction=0) for c in channels])
    torch.testing.assert_close(sigma.flatten().double(), expected, rtol=1e-4, atol=1e-6)
