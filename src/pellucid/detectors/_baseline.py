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
from pellucid.detectors._tiles import Tile

Levels = Callable[[Tensor], Tensor]  # images (B, 3, H, W) -> the map of every level (levels, B, H, W)
MIN_SCALE = 1e-6  # in the maps' unit: not zero where there is but one image


def fit_baseline(levels: Levels, images: Images, device: torch.device, tile: Tile) -> tuple[Tensor, Tensor]:
    """Estimate the mean and the scale of every level's map over good images, at every position; of tiles, of all.

    The scale is the standard deviation there plus the level's mean one: few images tell little of a single position.

    Args:
        levels: computes the maps.
        images: re-iterable of batches (B, 3, H, W); read once.
        device: where ``levels`` computes.
        tile: what the images are.

    Returns:
        Mean and scale, (levels, H, W) each, of tiles (levels, 1, 1), float32 on the device.
    """
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    with torch.inference_mode():
        for pixels in track(images, "scoring good images"):
            maps = levels(pixels.to(device)).to(double_precision_device(device)).double()
            if tile.margin is not None:
                inner = tile.inner(maps, 0).flatten(2)  # (levels, B, interior)
                maps = inner.reshape(len(inner), -1, 1, 1)  # every position counts as an image
            count, total, squares = count + maps.shape[1], total + maps.sum(1), squares + maps.square().sum(1)
        mean = total / count
        deviation = (squares / count - mean.square()).clamp_min(0).sqrt()
        scale = deviation + deviation.mean((1, 2), keepdim=True) + MIN_SCALE
    return mean.float().clone().to(device), scale.float().clone().to(device)


def fit_baseline_if(
    wanted: bool, count: int, levels: Levels, images: Images, device: torch.device, tile: Tile
) -> tuple[Tensor, Tensor]:
    """Do what :func:`fit_baseline` does, or return what makes :func:`standardise` average the maps as they are.

    Args:
        wanted: whether maps are to be how far they are above the usual.
        count: of levels.
        levels: likewise, and so are the others.

    Returns:
        Mean and scale; where they are not wanted zeros and ones, (levels, 1, 1) each.
    """
    return fit_baseline(levels, images, device, tile) if wanted else no_baseline(count, device)


def no_baseline(count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return mean and scale, (levels, 1, 1) each, by which :func:`standardise` averages the maps as they are.

    Args:
        count: of levels.
        device: where the maps are.
    """
    return torch.zeros(count, 1, 1, device=device), torch.ones(count, 1, 1, device=device)


def standardise(levels: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Express maps in scales above the mean, and average over levels.

    Args:
        levels: (levels, B, H, W).
        mean: (levels, H, W) or (levels, 1, 1), as :func:`fit_baseline_if` has it.
        scale: likewise.

    Returns:
        (B, H, W).
    """
    return ((levels - mean[:, None]) / scale[:, None]).mean(0)
