"""Images that are left out together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor


def whole_groups(images: Iterable[Tensor], groups: Sequence[int]) -> Iterator[Tensor]:
    """Cut batches (B, 3, H, W) anew, so that each is one group, in order.

    Args:
        images: batches; one is held until its last group has ended.
        groups: a number for each image, in order; images of a group follow each other.
    """
    waiting: list[Tensor] = []
    number, at = groups[0], 0
    for batch in images:
        start = 0
        for k in range(len(batch)):
            if groups[at] != number:
                yield torch.cat([*waiting, batch[start:k]])
                waiting, start, number = [], k, groups[at]
            at += 1
        waiting.append(batch[start:])
    yield torch.cat(waiting)
