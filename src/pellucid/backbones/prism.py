"""Prism: pellucid's own backbones, trained on images drawn from formulas (see ``pretraining/``).

Small residual networks (He et al., "Deep Residual Learning", CVPR 2016) with 3x3 convolutions only, behind a fixed
gain control that lifts faint contrast, as a retina does. Their weights travel inside the package, so the first image
needs no network and no ImageNet licence.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

OUTPUTS = (24, 32, 160)  # channels of layer1 to layer3: a linear map of what the blocks computed
TARGET = 0.12  # local standard deviation, of [0, 1], that the gain control aims at
GAIN = 8.0  # and the most that it amplifies
CONTRAST = 0.75  # weight, in every feature, of the contrast that the gain control has taken away


@lru_cache(maxsize=32)
def _averaging(side: int) -> tuple[Tensor, Tensor]:
    """Along one direction, means of four pixels smoothed over 7 cells twice, (side / 4, side), and linear interpolation
    back to pixels, (side, side / 4). At the ends the mean is over what is there."""
    cells = F.avg_pool1d(torch.eye(side, dtype=torch.float64)[None], 4, ceil_mode=True)
    for _ in range(2):
        cells = F.avg_pool1d(cells, 7, stride=1, padding=3, count_include_pad=False)
    coarse = cells.shape[2]
    pixels = F.interpolate(torch.eye(coarse, dtype=torch.float64)[None], size=side, mode="linear")
    return cells[0].T.contiguous(), pixels[0].T.contiguous()


def _local_mean(x: Tensor) -> Tensor:
    """Mean over a neighbourhood of about 12 px standard deviation; as it is linear and separable, by small matrices."""
    down, up = _averaging(x.shape[2])
    down_, up_ = _averaging(x.shape[3])
    return up.to(x) @ (down.to(x) @ x @ down_.T.to(x)) @ up_.T.to(x)


def gain_control(x: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels around their local mean, amplified up to ``GAIN`` times where the contrast is faint.

    Args:
        x: images (B, 3, H, W) in [0, 1].

    Returns:
        The lifted images (B, 3, H, W), and the gain (B, 1, H, W) that they were multiplied by.
    """
    x = x - 0.5  # half precision is finer around zero
    centred = x - _local_mean(x)
    deviation = _local_mean((centred * centred).mean(1, keepdim=True)).add(1e-6).sqrt()
    gain = (TARGET / deviation).clamp(1.0, GAIN)
    return centred * gain, gain


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


class _Layer(nn.Module):
    """The blocks of one stride, and the linear map that makes features of them."""

    def __init__(self, c_in: int, c_out: int, blocks: int, features: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(_Block(c_in, c_out, 2), *(_Block(c_out, c_out, 1) for _ in range(blocks - 1)))
        self.features = nn.Conv2d(c_out, features, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.blocks(x)
        return x, self.features(x)


class Prism(nn.Module):
    """Prism network; ``layer1`` to ``layer3`` have strides 4, 8, 16 and 24, 32, 160 channels of unit variance.

    Args:
        channels: of the blocks at strides 2, 4, 8, 16.
        blocks: residual blocks at strides 4, 8, 16.
        contrast: weight of the contrast that is given back to the features; 0 for a student, who has to learn it.
    """

    mean = (0.0, 0.0, 0.0)
    std = (1.0, 1.0, 1.0)
    layers = ("layer1", "layer2", "layer3")
    signs: Tensor  # (channels, 1, 1)

    def __init__(self, channels: Sequence[int], blocks: Sequence[int], contrast: float) -> None:
        super().__init__()
        self.contrast = contrast
        self.stem = nn.Sequential(
            nn.Conv2d(6, channels[0], 3, 2, 1, bias=False), nn.BatchNorm2d(channels[0]), nn.ReLU()
        )
        for name, *shape in zip(self.layers, channels[:-1], channels[1:], blocks, OUTPUTS, strict=True):
            setattr(self, name, _Layer(*shape))
        signs = 1 - 2 * (torch.arange(max(OUTPUTS)) % 2)
        self.register_buffer("signs", signs.float().view(-1, 1, 1), persistent=False)

    def forward(self, x: Tensor, last: str = "layer3") -> dict[str, Tensor]:
        """Images (B, 3, H, W) in [0, 1] -> every layer up to ``last``, each (B, C, H/s, W/s).

        The gain control hides how bold a place is, and a scratch may differ by nothing else. So the logarithm of the
        contrast that it took away, less the image's mean, is added to every feature, with alternating signs: it counts
        in any choice of channels, and nothing changes when the whole image is lit or exposed differently.
        """
        lifted, gain = gain_control(x)
        maps = self.features(x, lifted, last)
        if self.contrast == 0:
            return maps
        contrast = -F.avg_pool2d(gain, 4, ceil_mode=True).log()
        contrast = self.contrast * (contrast - contrast.mean((2, 3), keepdim=True))
        for name in maps:
            maps[name] = maps[name] + self.signs[: maps[name].shape[1]] * contrast
            contrast = F.avg_pool2d(contrast, 2, ceil_mode=True)
        return maps

    def features(self, x: Tensor, lifted: Tensor, last: str = "layer3") -> dict[str, Tensor]:
        """What the network sees in images and their lifted contrast (B, 3, H, W), before the contrast is given back."""
        maps: dict[str, Tensor] = {}
        x = self.stem(torch.cat([x - 0.5, lifted], 1) * 4)
        for name in self.layers:
            x, maps[name] = getattr(self, name)(x)
            if name == last:
                break
        return maps


def prism_s(contrast: float = CONTRAST) -> Prism:
    """The fast one, 1.4 million parameters."""
    return Prism((24, 48, 96, 192), (1, 1, 2), contrast)


def prism_m(contrast: float = CONTRAST) -> Prism:
    """The one that sees more, 5.5 million parameters."""
    return Prism((32, 64, 128, 256), (2, 3, 4), contrast)
