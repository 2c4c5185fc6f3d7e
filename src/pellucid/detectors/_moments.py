"""What every channel of features is over good images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pellucid._io.progress import track
from pellucid.detectors._base import Images
from pellucid.detectors._device import double_precision_device

MIN_SCALE = 1e-6  # not zero where all images are one colour


def channel_statistics(
    teacher: Callable[[Tensor], Tensor], images: Images, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Estimate the mean and the standard deviation of every channel over images and positions, (C, 1, 1) each.

    Args:
        teacher: describes images (B, 3, H, W) by (B, C, h, w).
        images: re-iterable of batches; read once.
        device: where ``teacher`` computes.
    """
    return level_statistics(lambda pixels: [teacher(pixels)], images, device)


def level_statistics(
    extract: Callable[[Tensor], Sequence[Tensor]], images: Images, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Estimate what :func:`channel_statistics` does, of the channels of all levels in a row, (sum of C, 1, 1) each.

    Args:
        extract: describes images (B, 3, H, W) by levels (B, C, h, w).
        images: re-iterable of batches; read once.
        device: where ``extract`` computes.
    """
    count, mean, squares = 0, torch.zeros(()), torch.zeros(())
    with torch.inference_mode():
        for pixels in track(images, "describing good images"):
            levels = [level.to(double_precision_device(device)).double() for level in extract(pixels.to(device))]
            count += len(pixels)
            mean = mean + torch.cat([level.mean((2, 3)).sum(0) for level in levels])
            squares = squares + torch.cat([level.square().mean((2, 3)).sum(0) for level in levels])
        mu = mean / count
        sigma = (squares / count - mu.square()).clamp_min(0).sqrt().clamp_min(MIN_SCALE)
    return mu.float()[:, None, None].clone().to(device), sigma.float()[:, None, None].clone().to(device)
