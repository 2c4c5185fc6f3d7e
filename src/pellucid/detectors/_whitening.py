"""Features in the unit of how good parts vary: of zero mean, unit variance, and no correlation between channels.

A flow, a student or a decoder first learns what varies most. How good parts vary least, which is where flaws show, it
learns last and after a short training not at all. Whitened features start where a Gaussian would end: it is in closed
form, and what is trained goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid._io.progress import track
from pellucid.detectors._base import Images
from pellucid.detectors._known_defects import Moments
from pellucid.detectors._tiles import Tile

SHRINKAGE = 0.01  # of the mean variance, added to every channel's: as PaDiM adds to its covariances
MIN_VARIANCE = 1e-12  # where all images are one colour


class Whitening(nn.Module):
    """(x - mean) times the inverse root of the covariance: (B, C, h, w) to the same.

    Args:
        channels: C.
    """

    mean: Tensor
    matrix: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels, 1, 1))
        self.register_buffer("matrix", torch.eye(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x - self.mean, self.matrix[:, :, None, None])

    def learn(self, mean: Tensor, covariance: Tensor) -> None:
        """Take over the mean (C,) and the covariance (C, C) of good parts, in float64."""
        variance = covariance.diagonal().mean().clamp_min(MIN_VARIANCE)
        values, vectors = torch.linalg.eigh(covariance + SHRINKAGE * variance * torch.eye(len(mean)).to(covariance))
        self.mean.copy_(mean[:, None, None])
        self.matrix.copy_(vectors * values.rsqrt() @ vectors.T)


def fit_whitenings(
    whitenings: nn.ModuleList, extract: Callable[[Tensor], Sequence[Tensor]], images: Images, tile: Tile
) -> None:
    """Let a :class:`Whitening` for each map learn how good parts vary, over all images and positions.

    Args:
        whitenings: one for each map.
        extract: computes maps (B, C, h, w) of images, on the device of the whitenings.
        images: re-iterable of batches (B, 3, H, W); read once.
        tile: what the images are.
    """
    device = next(whitenings[0].buffers()).device
    found: list[Moments] = []
    with torch.inference_mode():
        for pixels in track(images, "describing good images"):
            maps = [tile.inner(m).movedim(1, 3) for m in extract(pixels.to(device))]  # (B, h, w, C)
            new = [Moments.of(m.flatten(0, 2)) for m in maps]
            found = [a + b for a, b in zip(found, new, strict=True)] if found else new
    for whitening, moments in zip(whitenings, found, strict=True):
        assert isinstance(whitening, Whitening)
        whitening.learn(moments.mean, moments.covariance)
