"""Frozen features of every image, computed once and read in every epoch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from operator import length_hint

import torch
from torch import Tensor

from pellucid._io.progress import track
from pellucid._io.space import estimate_fit_space, warn_of_little_room
from pellucid.detectors._spill import DiskTensor
from pellucid.errors import WeightsError

MAX_HALF_VALUE = 4096.0  # in the first batch: half precision, half the room, holds sixteen times as much


class FeatureCache(AbstractContextManager["FeatureCache"]):
    """What every image has to teach, computed once and read in every epoch: in a temporary file.

    It is kept in half precision, or in float32 where the first batch says that values may be too large for that.

    Index it by images' indices (B,), a tensor, for their maps (B, C, h, w), float32 and channels last.

    Args:
        images: batches (B, 3, H, W).
        extract: computes from a batch the maps (B, C, h, w) that do not change while something is trained on them.
        device: where that is computed and trained.

    Raises:
        OutputError: the file has no room.
        WeightsError: a feature is not a finite number.

    Warns:
        UserWarning: values were cut because half precision does not hold them.
    """

    def __init__(
        self, images: Iterable[Tensor], extract: Callable[[Tensor], Sequence[Tensor]], device: torch.device
    ) -> None:
        self._shapes: list[torch.Size] = []  # (h, w, C) of every map
        cut = 0
        with ExitStack() as file, torch.inference_mode():
            for pixels in track(images, "extracting features"):
                maps = [m.permute(0, 2, 3, 1) for m in extract(pixels.to(device))]  # (B, h, w, C), as networks want it
                rows = torch.cat([m.flatten(1) for m in maps], 1)
                if not self._shapes:  # the first batch tells what all will take
                    self._shapes = [m.shape[1:] for m in maps]
                    dtype = torch.float16 if rows.abs().max() <= MAX_HALF_VALUE else torch.float32
                    self._rows = file.enter_context(DiskTensor(device, dtype))
                    count = length_hint(images) * len(pixels)
                    warn_of_little_room(estimate_fit_space(count, self._shapes, bytes_per_value=dtype.itemsize))
                cut += self._append(rows)
            self._file = file.pop_all()
        if cut:
            warnings.warn(
                f"{cut} features were cut at {torch.finfo(torch.float16).max:g}: the largest are at least sixteen times"
                " those of the first images.",
                stacklevel=2,
            )

    def _append(self, rows: Tensor) -> int:
        """Keep rows (B, D); return how many of their values had to be cut."""
        if not rows.isfinite().all():
            raise WeightsError(
                "The backbone computes features that are not finite numbers: its weights are damaged, or do not belong"
                " to it."
            )
        largest = torch.finfo(self._rows.dtype).max
        self._rows.append(rows.clamp(-largest, largest))
        return int((rows.abs() > largest).sum())

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, images: Tensor) -> list[Tensor]:
        parts = torch.split(self._rows[images].float(), [shape.numel() for shape in self._shapes], 1)
        return [
            part.contiguous().view(-1, *shape).permute(0, 3, 1, 2)  # (B, C, h, w)
            for part, shape in zip(parts, self._shapes, strict=True)
        ]
