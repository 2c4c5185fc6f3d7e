"""Feature maps and anomaly maps: how they are resized, joined, smoothed and summed up."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.records import top_count


def resize_to(maps: Tensor, size: tuple[int, int], mode: Literal["bilinear", "nearest"] = "bilinear") -> Tensor:
    """Bring maps (B, C, h, w) to (B, C, *size), bilinearly or by repeating the nearest value."""
    if maps.shape[-2:] == size:
        return maps
    if mode == "nearest":
        return F.interpolate(maps, size=size, mode="nearest")
    if maps.is_cuda and maps.requires_grad:  # there the gradients of interpolate are added up in any order
        sides = zip(maps.shape[2:], size, strict=True)
        rows, columns = (_interpolating(*side).to(maps) for side in sides)  # (H, h), (W, w)
        return rows @ maps @ columns.T
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def image_score(anomaly_map: Tensor) -> Tensor:
    """Take the highest value of each map as the score of its image: (B, H, W) -> (B,)."""
    return anomaly_map.flatten(1).amax(1)


def top_score(anomaly_map: Tensor) -> Tensor:
    """Average the highest hundredth of the values of each map, the score of its image: (B, H, W) -> (B,)."""
    values = anomaly_map.flatten(1)
    return values.topk(top_count(int(values.shape[1])), dim=1, sorted=False).values.mean(1)


def unit_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return half the squared distance of unit vectors along channels, one minus their cosine: (B, h, w) in [0, 2]."""
    return 0.5 * (F.normalize(a, dim=1) - F.normalize(b, dim=1)).square().sum(1)


def locally_aware(maps: list[Tensor], patchsize: int) -> list[Tensor]:
    """Replace every feature by the mean of its ``patchsize`` x ``patchsize`` neighbours (PatchCore, section 3.1).

    Around the maps (B, C, h, w) are zeros.
    """
    return [F.avg_pool2d(m, patchsize, stride=1, padding=patchsize // 2) for m in maps]


def concatenate(maps: list[Tensor]) -> Tensor:
    """Bring every map to the first one's grid and join them along channels: (B, sum of C, h, w)."""
    size = (maps[0].shape[-2], maps[0].shape[-1])
    return torch.cat([resize_to(m, size) for m in maps], dim=1)


def smooth_map(patch_map: Tensor, size: tuple[int, int], sigma: float = 4.0) -> Tensor:
    """Turn patch scores (B, h, w) into a map (B, *size): bilinear, then a Gaussian of ``sigma`` pixels; 0: without it.

    Both are linear and separable, so that the map is a product with one matrix for each direction.
    """
    sides = zip(patch_map.shape[1:], size, strict=True)
    rows, columns = (_enlarging(*side, sigma).to(patch_map) for side in sides)  # (H, h), (W, w)
    return rows @ patch_map @ columns.T


@lru_cache(maxsize=64)
def _interpolating(cells: int, side: int) -> Tensor:
    """(side, cells): what each cell adds to each pixel of a row by linear interpolation."""
    return F.interpolate(torch.eye(cells, dtype=torch.float64)[None], size=side, mode="linear")[0].T.contiguous()


@lru_cache(maxsize=64)
def _enlarging(cells: int, side: int, sigma: float) -> Tensor:
    """(side, cells): what each cell adds to each pixel of a row: linear interpolation, then the Gaussian, mirrored."""
    if sigma == 0:
        return _interpolating(cells, side)
    rows = _interpolating(cells, side).T[None]  # (1, cells, side)
    radius = min(int(4 * sigma + 0.5), side - 1)
    x = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (x / sigma) ** 2)
    padded = F.pad(rows, (radius, radius), mode="reflect").transpose(0, 1)  # (cells, 1, side + 2 radius)
    return F.conv1d(padded, (kernel / kernel.sum()).view(1, 1, -1))[:, 0].T.contiguous()
