"""How far a map is above what is usual in the same place of a good part (``docs/decisions/0014-above-the-usual.md``).

The levels of a pyramid differ in how well good parts can be predicted, and so do places. Adding up raw levels lets the
worst one drown the rest, and the highest value of an image is then often an edge that is high in every image.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pellucid._io.progress import track
from pellucid.detectors._base import Images
from pellucid.detectors._device import double_precision_device

Levels = Callable[[Tensor], Tensor]  # images (B, 3, H, W) -> the map of every level (levels, B, H, W)


def fit_baseline(levels: Levels, images: Images, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and spread over good images at every position of every level, (levels, H, W) each.

    The spread is the standard deviation there plus the level's mean one: few images tell little of a single position.
    """
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    with torch.inference_mode():
        for pixels in track(images, "scoring good images"):
            found = levels(pixels.to(device)).to(double_precision_device(device)).double()
            count, total, squares = count + len(pixels), total + found.sum(1), squares + found.square().sum(1)
        usual = total / count
        deviation = (squares / count - usual.square()).clamp_min(0).sqrt()
        spread = deviation + deviation.mean((1, 2), keepdim=True) + 1e-6  # not zero where there is but one image
    return usual.float().clone().to(device), spread.float().clone().to(device)


def standardise(levels: Tensor, usual: Tensor, spread: Tensor) -> Tensor:
    """Spreads above the usual, a mean over levels: (levels, B, H, W) -> (B, H, W)."""
    return ((levels - usual[:, None]) / spread[:, None]).mean(0)
