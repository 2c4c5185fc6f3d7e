"""ResNets (He et al., "Deep Residual Learning", CVPR 2016; Zagoruyko & Komodakis, "Wide Residual Networks", BMVC 2016).

Module names are those of torchvision and timm, so their checkpoints load unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn


class _BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, c_in: int, planes: int, stride: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = _downsample(c_in, planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class _Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, c_in: int, planes: int, stride: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, planes * 4, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * 4)
        self.downsample = _downsample(c_in, planes * 4, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


def _downsample(c_in: int, c_out: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and c_in == c_out:
        return None
    return nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))


class ResNet(nn.Module):
    """A ResNet without its classifier; ``layer1`` to ``layer4`` have strides 4, 8, 16, 32.

    Args:
        block: two 3x3 convolutions (``basic``), or one between two 1x1 convolutions (``bottleneck``).
        blocks: number of blocks of each layer.
        width_factor: of the 3x3 convolutions of a bottleneck.
    """

    mean = (0.485, 0.456, 0.406)
    std = (0.229, 0.224, 0.225)
    layers = ("layer1", "layer2", "layer3", "layer4")

    def __init__(self, block: Literal["basic", "bottleneck"], blocks: Sequence[int], width_factor: int) -> None:
        super().__init__()
        block_type = _BasicBlock if block == "basic" else _Bottleneck
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        c_in = 64
        for n, count in enumerate(blocks):
            planes, stage = 64 * 2**n, []
            for i in range(count):
                stage.append(block_type(c_in, planes, 2 if n > 0 and i == 0 else 1, planes * width_factor))
                c_in = planes * block_type.expansion
            setattr(self, f"layer{n + 1}", nn.Sequential(*stage))

    def forward(self, x: Tensor, last: str = "layer4") -> dict[str, Tensor]:
        """Map normalised images (B, 3, H, W) to every layer up to ``last``, each (B, C, H/s, W/s)."""
        maps: dict[str, Tensor] = {}
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        for name in self.layers:
            x = maps[name] = getattr(self, name)(x)
            if name == last:
                break
        return maps
