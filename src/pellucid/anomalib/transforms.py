"""The few transforms of torchvision that scripts hand to a pre-processor, for where torchvision is not installed.

They act on a tensor (..., H, W) as theirs do. Any other can be made and handed on, as to ``train_augmentations``, and
not be used. :mod:`pellucid.anomalib._paths` finds them as ``torchvision.transforms`` and ``torchvision.transforms.v2``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import cache
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from pellucid.errors import ParameterError, missing_extra

__path__: list[str] = []  # its parts, by torchvision's names, are found by _paths


class InterpolationMode(StrEnum):
    """How values between pixels are found."""

    NEAREST = "nearest"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"


class Transform:
    """Something done to an image.

    Args:
        arguments: of it.
        options: of it.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.arguments, self.options = arguments, options

    def __call__(self, image: Any) -> Any:  # noqa: ARG002 - others need it
        """Do it.

        Raises:
            ParameterError: it is one that only torchvision does.
        """
        raise ParameterError(missing_extra(None, "torchvision", f"Transforming an image by {type(self).__name__}"))


class Compose(Transform):
    """Several, one after the other.

    Args:
        transforms: in order.
    """

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = list(transforms)

    def __call__(self, image: Any) -> Any:
        """Do all of them."""
        for one in self.transforms:
            image = one(image)
        return image


class Resize(Transform):
    """Bring an image to a size.

    Args:
        size: (height, width), or N, the shorter side, px.
        interpolation: how.
        options: the others, taken without effect.
    """

    def __init__(self, size: int | Sequence[int], interpolation: str = "bilinear", **options: Any) -> None:
        self.size, self.interpolation = [size] if isinstance(size, int) else list(size), interpolation
        self.options = options

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Resize (..., C, H, W)."""
        height, width = image.shape[-2:]
        shorter = min(height, width)
        size = self.size if len(self.size) == 2 else [side * self.size[0] // shorter for side in (height, width)]
        batch = image if image.ndim == 4 else image[None]
        how = {"mode": str(self.interpolation), "antialias": self.interpolation != "nearest"}
        resized = F.interpolate(batch.float(), size=size, **how)  # type: ignore[arg-type]
        return resized if image.ndim == 4 else resized[0]


class CenterCrop(Transform):
    """Cut the middle out of an image.

    Args:
        size: (height, width), or N for both, px.
    """

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = [size, size] if isinstance(size, int) else list(size)

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Crop (..., H, W)."""
        top, left = ((side - wanted) // 2 for side, wanted in zip(image.shape[-2:], self.size, strict=True))
        return image[..., top : top + self.size[0], left : left + self.size[1]]


class Normalize(Transform):
    """Subtract a mean from every channel and divide by a deviation.

    Args:
        mean: of each.
        std: of each.
        options: the others, taken without effect.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], **options: Any) -> None:
        self.mean, self.std, self.options = list(mean), list(std), options

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Normalise (..., C, H, W)."""
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (image - mean) / std


class ToTensor(Transform):
    """Make a tensor (C, H, W) in [0, 1] of a PIL image or an array (H, W, C) of uint8; a tensor stays."""

    def __call__(self, image: Any) -> torch.Tensor:
        """Convert."""
        if isinstance(image, torch.Tensor):
            return image
        array = np.asarray(image)
        tensor = torch.from_numpy(np.array(array if array.ndim == 3 else array[..., None])).permute(2, 0, 1)
        return tensor / 255 if tensor.dtype == torch.uint8 else tensor


class ToDtype(Transform):
    """Change the type of a tensor.

    Args:
        dtype: wanted.
        scale: bring uint8 to [0, 1].
    """

    def __init__(self, dtype: torch.dtype = torch.float32, scale: bool = False) -> None:
        self.dtype, self.scale = dtype, scale

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Convert."""
        scaled = image / 255 if self.scale and image.dtype == torch.uint8 else image
        return scaled.to(self.dtype)


class ToImage(ToTensor):
    """Make a tensor (C, H, W) of a PIL image or an array (H, W, C), of the same type."""

    def __call__(self, image: Any) -> torch.Tensor:
        """Convert."""
        if isinstance(image, torch.Tensor):
            return image
        array = np.asarray(image)
        return torch.from_numpy(np.array(array if array.ndim == 3 else array[..., None])).permute(2, 0, 1)


@cache
def _other(name: str) -> type[Transform]:
    return type(name, (Transform,), {"__doc__": f"torchvision's {name}: handed on, and not used."})


def __getattr__(name: str) -> Any:
    if name.startswith("_") or not name[0].isupper():
        if name in ("transforms", "v2"):  # as in torchvision.transforms.v2
            import sys

            return sys.modules[__name__]
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return _other(name)
