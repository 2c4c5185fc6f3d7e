"""Frozen features of every image, computed once and read in every epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from operator import length_hint

import torch
from torch import Tensor

from pellucid._io.progress import track
from pellucid._io.space import estimate_fit_space, warn_of_little_room
from pellucid.detectors._spill import DiskTensor

CACHE_DTYPE = torch.float16  # half the room of float32; larger values than it holds are clamped


class FeatureCache(AbstractContextManager["FeatureCache"]):
    """What every image has to teach, computed once and read in every epoch: in half precision, in a temporary file.

    Index it by images' indices (B,), a tensor, for their maps (B, C, h, w), float32 and channels last.

    Args:
        images: batches (B, 3, H, W).
        extract: computes from a batch the maps (B, C, h, w) that do not change while something is trained on them.
        device: where that is computed and trained.

    Raises:
        OutputError: the file has no room.
    """

    def __init__(
        self, images: Iterable[Tensor], extract: Callable[[Tensor], Sequence[Tensor]], device: torch.device
    ) -> None:
        self._rows = DiskTensor(device, CACHE_DTYPE)
        self._shapes: list[torch.Size] = []  # (h, w, C) of every map
        largest = torch.finfo(CACHE_DTYPE).max
        with torch.inference_mode():
            for pixels in track(images, "extracting features"):
                maps = [m.permute(0, 2, 3, 1) for m in extract(pixels.to(device))]  # (B, h, w, C), as networks want it
                self._shapes = [m.shape[1:] for m in maps]
                if not len(self._rows):  # the first batch tells what all will take
                    count, size = length_hint(images) * len(pixels), CACHE_DTYPE.itemsize
                    warn_of_little_room(estimate_fit_space(count, self._shapes, bytes_per_value=size))
                self._rows.append(torch.cat([m.flatten(1) for m in maps], 1).clamp(-largest, largest))

    def __exit__(self, *_: object) -> None:
        self._rows.__exit__()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, images: Tensor) -> list[Tensor]:
        parts = torch.split(self._rows[images].float(), [shape.numel() for shape in self._shapes], 1)
        return [
            part.contiguous().view(-1, *shape).permute(0, 3, 1, 2)  # (B, C, h, w)
            for part, shape in zip(parts, self._shapes, strict=True)
        ]
