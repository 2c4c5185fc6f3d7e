"""Frozen features of every image, computed once and read in every epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from pellucid._io.progress import track
from pellucid.detectors._spill import DiskTensor

HALF = torch.float16


class FeatureCache(AbstractContextManager["FeatureCache"]):
    """What every image has to teach, computed once and read in every epoch: in half precision, in a temporary file.

    Args:
        images: batches (B, 3, H, W).
        extract: a batch of images -> maps (B, C, h, w) that do not change while something is trained on them.
        device: where that is computed and trained.

    Raises:
        OutputError: the file has no room.
    """

    def __init__(
        self, images: Iterable[Tensor], extract: Callable[[Tensor], Sequence[Tensor]], device: torch.device
    ) -> None:
        self._rows = DiskTensor(device, HALF)
        self._shapes: list[torch.Size] = []
        largest = torch.finfo(HALF).max
        with torch.inference_mode():
            for pixels in track(images, "extracting features"):
                maps = [
                    m.permute(0, 2, 3, 1) for m in extract(pixels.to(device))
                ]  # channels last, as networks want them
                self._shapes = [m.shape[1:] for m in maps]
                self._rows.append(torch.cat([m.flatten(1) for m in maps], 1).clamp(-largest, largest))

    def __exit__(self, *_: object) -> None:
        self._rows.__exit__()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, images: Tensor) -> list[Tensor]:
        """The maps (B, C, h, w) of some images, by their indices (B,)."""
        parts = torch.split(self._rows[images].float(), [shape.numel() for shape in self._shapes], 1)
        return [
            part.contiguous().view(-1, *shape).permute(0, 3, 1, 2)
            for part, shape in zip(parts, self._shapes, strict=True)
        ]
