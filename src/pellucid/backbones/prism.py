"""Prism: pellucid's own backbones, trained on images drawn from formulas (see ``pretraining/``).

Small residual networks (He et al., "Deep Residual Learning", CVPR 2016) with 3x3 convolutions only, behind a fixed
gain control that lifts faint contrast, as a retina does. Their weights travel inside the package, so the first image
needs no network. They were taught by a MobileNetV2 that had learned from ImageNet; ``docs/weights.md`` has the licences
of both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@lru_cache(maxsize=32)
def _averaging(side: int, cell_px: int, window_cells: int, smoothings: int) -> tuple[Tensor, Tensor]:
    """Return the matrices of one direction: means of cells of pixels, smoothed, (side / cell, side), and linear
    interpolation back to pixels, (side, side / cell). At the ends a mean is over what is there."""
    cells = F.avg_pool1d(torch.eye(side, dtype=torch.float64)[None], cell_px, ceil_mode=True)
    for _ in range(smoothings):
        cells = F.avg_pool1d(cells, window_cells, stride=1, padding=window_cells // 2, count_include_pad=False)
    coarse = cells.shape[2]
    pixels = F.interpolate(torch.eye(coarse, dtype=torch.float64)[None], size=side, mode="linear")
    return cells[0].T.contiguous(), pixels[0].T.contiguous()


@dataclass(frozen=True)
class GainControl:
    """Lifts faint local contrast, without anything that is learned.

    Attributes:
        target_deviation: local standard deviation, of [0, 1], that is aimed at.
        max_gain: the most that a place is amplified.
        cell_px: side of the cells that local means are computed on.
        window_cells: odd number of cells that one smoothing averages.
        smoothings: how often cells are averaged; twice over 7 cells of 4 px is about a Gaussian of 12 px.
    """

    target_deviation: float
    max_gain: float
    cell_px: int
    window_cells: int
    smoothings: int

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Amplify pixels around their local mean, up to ``max_gain`` times where the contrast is faint.

        Args:
            x: images (B, 3, H, W) in [0, 1].

        Returns:
            The lifted images (B, 3, H, W), and the gain (B, 1, H, W) that they were multiplied by.
        """
        x = x - 0.5  # half precision is finer around zero
        centred = x - self._local_mean(x)
        deviation = self._local_mean((centred * centred).mean(1, keepdim=True)).add(1e-6).sqrt()
        gain = (self.target_deviation / deviation).clamp(1.0, self.max_gain)
        return centred * gain, gain

    def _local_mean(self, x: Tensor) -> Tensor:
        """Average over a neighbourhood; as that is linear and separable, by small matrices."""
        shape = self.cell_px, self.window_cells, self.smoothings
        pool_rows, spread_rows = _averaging(x.shape[2], *shape)
        pool_columns, spread_columns = _averaging(x.shape[3], *shape)
        cells = pool_rows.to(x) @ x @ pool_columns.T.to(x)  # (B, C, H / cell, W / cell)
        return spread_rows.to(x) @ cells @ spread_columns.T.to(x)


class Block(nn.Module):
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
        self.blocks = nn.Sequential(Block(c_in, c_out, 2), *(Block(c_out, c_out, 1) for _ in range(blocks - 1)))
        self.features = nn.Conv2d(c_out, features, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.blocks(x)
        return x, self.features(x)


class Prism(nn.Module):
    """Prism network; ``layer1`` to ``layer3`` have strides 4, 8, 16 and channels of unit variance.

    Args:
        channels: of the blocks at strides 2, 4, 8, 16.
        blocks: residual blocks at strides 4, 8, 16.
        feature_channels: of ``layer1`` to ``layer3``, a linear map of what the blocks computed.
        contrast_weight: of the contrast that is given back to the features; 0 for a student, who has to learn it.
        contrast_level: what is usual, and subtracted from the contrast; None: the mean of the image that is seen.
        gain_control: attributes of :class:`GainControl`.
    """

    mean = (0.0, 0.0, 0.0)
    std = (1.0, 1.0, 1.0)
    layers = ("layer1", "layer2", "layer3")
    signs: Tensor  # (channels, 1, 1)

    def __init__(
        self,
        channels: Sequence[int],
        blocks: Sequence[int],
        feature_channels: Sequence[int],
        contrast_weight: float,
        gain_control: Mapping[str, Any],
        contrast_level: float | None = None,
    ) -> None:
        super().__init__()
        self.contrast_level = contrast_level
        self.contrast_weight, self.gain_control = contrast_weight, GainControl(**gain_control)
        self.stem = nn.Sequential(
            nn.Conv2d(6, channels[0], 3, 2, 1, bias=False), nn.BatchNorm2d(channels[0]), nn.ReLU()
        )
        for name, *shape in zip(self.layers, channels[:-1], channels[1:], blocks, feature_channels, strict=True):
            setattr(self, name, _Layer(*shape))
        signs = 1 - 2 * (torch.arange(max(feature_channels)) % 2)
        self.register_buffer("signs", signs.float().view(-1, 1, 1), persistent=False)

    def forward(self, x: Tensor, last: str = "layer3") -> dict[str, Tensor]:
        """Map images (B, 3, H, W) in [0, 1] to every layer up to ``last``, each (B, C, H/s, W/s).

        The gain control hides how bold a place is, and a scratch may differ by nothing else. So the logarithm of the
        contrast that it took away, less the image's mean, is added to every feature, with alternating signs: it counts
        in any choice of channels, and nothing changes when the whole image is lit or exposed differently.
        """
        lifted, gain = self.gain_control(x)
        maps = self.features(x, lifted, last)
        if self.contrast_weight == 0:
            return maps
        contrast = _contrast(gain)
        level = contrast.mean((2, 3), keepdim=True) if self.contrast_level is None else self.contrast_level
        contrast = self.contrast_weight * (contrast - level)
        for name in maps:
            maps[name] = maps[name] + self.signs[: maps[name].shape[1]] * contrast
            contrast = F.avg_pool2d(contrast, 2, ceil_mode=True)
        return maps

    def contrast(self, x: Tensor) -> Tensor:
        """Compute the logarithm of the contrast that the gain control takes away from images (B, 3, H, W), at a quarter
        of their size: (B, 1, H/4, W/4)."""
        return _contrast(self.gain_control(x)[1])

    def features(self, x: Tensor, lifted: Tensor, last: str = "layer3") -> dict[str, Tensor]:
        """Map images and their lifted contrast (B, 3, H, W) to every layer, before the contrast is given back."""
        maps: dict[str, Tensor] = {}
        x = self.stem(torch.cat([x - 0.5, lifted], 1) * 4)
        for name in self.layers:
            x, maps[name] = getattr(self, name)(x)
            if name == last:
                break
        return maps


def _contrast(gain: Tensor) -> Tensor:
    return -F.avg_pool2d(gain, 4, ceil_mode=True).log()
