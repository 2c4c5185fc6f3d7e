"""Prism: pellucid's own backbone, trained on images drawn from formulas (see ``pretraining/``).

A small residual network (He et al., "Deep Residual Learning", CVPR 2016) with 3x3 convolutions only. Its weights
travel inside the package, so the first image needs no network and no ImageNet licence.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

CHANNELS = (24, 48, 96, 160)  # at strides 2, 4, 8, 16
BLOCKS = (1, 2, 3)  # residual blocks at strides 4, 8, 16


class _Block(nn.Module):
    """Two 3x3 convolutions with a residual connection; a 1x1 convolution carries the identity where shapes change."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.identity = (
            nn.Identity()
            if stride == 1 and c_in == c_out
            else nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))
        )

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.identity(x))


class Prism(nn.Module):
    """Prism network; ``layer1`` to ``layer3`` have strides 4, 8, 16 and 48, 96, 160 channels."""

    mean = (0.5, 0.5, 0.5)
    std = (0.25, 0.25, 0.25)
    layers = ("layer1", "layer2", "layer3")

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, CHANNELS[0], 3, 2, 1, bias=False), nn.BatchNorm2d(CHANNELS[0]), nn.ReLU()
        )
        for n, (c_in, c_out, blocks) in enumerate(zip(CHANNELS, CHANNELS[1:], BLOCKS, strict=False), start=1):
            first, *rest = _Block(c_in, c_out, 2), *(_Block(c_out, c_out, 1) for _ in range(blocks - 1))
            setattr(self, f"layer{n}", nn.Sequential(first, *rest))

    def forward(self, x: Tensor, last: str = "layer3") -> dict[str, Tensor]:
        """Normalised images (B, 3, H, W) -> every layer up to ``last``, each (B, C, H/s, W/s)."""
        maps: dict[str, Tensor] = {}
        x = self.stem(x)
        for name in self.layers:
            x = maps[name] = getattr(self, name)(x)
            if name == last:
                break
        return maps
