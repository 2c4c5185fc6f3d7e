"""Turned copies of images, for detectors that learn from few."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F


def turned(pixels: Tensor, count: int) -> Iterator[Tensor]:
    """Yield images (B, 3, H, W) turned about their centre by ``count`` equal steps of a full turn, as they are first.

    Bilinear; what comes in at the borders is mirrored.
    """
    yield pixels
    height, width = pixels.shape[2:]
    for k in range(1, count):
        angle = 2 * math.pi * k / count
        cosine, sine = math.cos(angle), math.sin(angle)
        matrix = torch.tensor([[cosine, -sine * height / width, 0], [sine * width / height, cosine, 0]])
        grid = F.affine_grid(matrix.to(pixels).expand(len(pixels), 2, 3), list(pixels.shape), align_corners=False)
        yield F.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)
