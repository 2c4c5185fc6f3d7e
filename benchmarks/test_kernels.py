"""Each kernel beside the obvious way to compute the same: ``make bench`` prints their times and asserts nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid import detectors
from pellucid._io.convert import convert
from pellucid.backbones import create
from pellucid.detectors._coreset import k_center_greedy
from pellucid.detectors._maps import smooth_map
from pellucid.detectors._search import BoundedSearch, nearest, neighbours, principal_directions

Benchmark = Callable[..., Any]  # pytest-benchmark's fixture


@pytest.fixture(autouse=True)
def _no_gradients() -> Any:
    with torch.inference_mode():
        yield


def draw_patches(count: int, channels: int, rank: int = 48) -> Tensor:
    """Draw patches (count, channels) that vary in ``rank`` directions, most in the first, as features do."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(rank, channels, generator=generator) / torch.arange(1, rank + 1)[:, None] ** 0.5
    noise = 0.1 * torch.randn(count, channels, generator=generator)
    return torch.randn(count, rank, generator=generator) @ basis + noise


@pytest.fixture(scope="module", params=[192, 1536])
def bank(request: pytest.FixtureRequest) -> Tensor:
    return draw_patches(8192, request.param)


@pytest.mark.benchmark(group="coreset, 500 of 20,000")
@pytest.mark.parametrize("way", ["lazy", "naive"])
def test_coreset(benchmark: Benchmark, way: str) -> None:
    points = draw_patches(20_000, 128)

    def naive() -> Tensor:
        chosen = [0]
        bound = torch.full((len(points),), torch.inf)
        while len(chosen) < 500:
            bound = torch.minimum(bound, (points - points[chosen[-1]]).norm(dim=1))
            chosen.append(int(bound.argmax()))
        return torch.tensor(chosen)

    benchmark.pedantic(naive if way == "naive" else lambda: k_center_greedy(points, 500, 0), rounds=3)


@pytest.mark.benchmark(group="nearest of 8,192, 1,024 queries")
@pytest.mark.parametrize("way", ["bounded", "product", "cdist"])
def test_nearest(benchmark: Benchmark, bank: Tensor, way: str) -> None:
    queries, norms = draw_patches(9216, bank.shape[1])[8192:], (bank * bank).sum(1)
    search = BoundedSearch(bank, norms, principal_directions(bank))
    ways = {
        "bounded": lambda: search.nearest(queries),
        "product": lambda: nearest(queries, bank, norms),
        "cdist": lambda: torch.cdist(queries, bank).min(1),
    }
    benchmark(ways[way])


@pytest.mark.benchmark(group="9 neighbours of each of 8,192")
@pytest.mark.parametrize("way", ["bounded", "product"])
def test_neighbours(benchmark: Benchmark, bank: Tensor, way: str) -> None:
    norms = (bank * bank).sum(1)
    search = BoundedSearch(bank, norms, principal_directions(bank))
    call = (lambda: search.neighbours(9)) if way == "bounded" else lambda: neighbours(bank, bank, norms, 9)
    benchmark.pedantic(call, rounds=3)


@pytest.mark.benchmark(group="map of 32x32 to 256x256, blurred")
@pytest.mark.parametrize("way", ["two products", "interpolate and convolve"])
def test_map(benchmark: Benchmark, way: str) -> None:
    cells = torch.rand(1, 32, 32)
    x = torch.arange(-16, 17, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (x / 4) ** 2)
    kernel = (kernel[:, None] * kernel / kernel.sum() ** 2)[None, None]

    def dense() -> Tensor:
        large = F.interpolate(cells[None], size=(256, 256), mode="bilinear")
        return F.conv2d(F.pad(large, (16, 16, 16, 16), mode="reflect"), kernel)

    benchmark(dense if way.startswith("interpolate") else lambda: smooth_map(cells, (256, 256)))


@pytest.mark.benchmark(group="prism_s, one image of 256x256")
@pytest.mark.parametrize("way", ["plain", "folded", "compiled"])
def test_backbone(benchmark: Benchmark, way: str) -> None:
    backbone, pixels = create("prism_s", layers=("layer2", "layer3")), torch.rand(1, 3, 256, 256)
    if way == "folded":
        backbone.fold()
    if way == "compiled":
        with backbone.compiled(256, 256):
            benchmark(backbone, pixels)
    else:
        benchmark(backbone, pixels)


@pytest.mark.benchmark(group="backbones, one image of 256x256, OpenVINO")
@pytest.mark.parametrize("precision", ["f32", "bf16"])
@pytest.mark.parametrize("name", ["prism_s", "prism_m", "resnet18"])
def test_backbone_compiled(benchmark: Benchmark, name: str, precision: str) -> None:
    import openvino

    pixels = torch.rand(1, 3, 256, 256)
    layers = ("layer3",) if name == "resnet18" else ("layer1", "layer2", "layer3")
    model = convert(create(name, layers=layers, pretrained=name != "resnet18"), pixels)
    hints = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    benchmark.pedantic(
        openvino.Core().compile_model(model, "CPU", hints), ([pixels.numpy()],), rounds=100, warmup_rounds=20
    )


@pytest.mark.benchmark(group="one image of 256x256, torch")
@pytest.mark.parametrize("name", ["dfm", "padim", "patchcore"])
def test_score(benchmark: Benchmark, name: str) -> None:
    images = torch.rand(24, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    made = detectors.create(name).fit(images.split(8))
    benchmark(made.score, images[:1])
