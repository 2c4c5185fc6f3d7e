"""A coreset of patches that are never in memory together."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pellucid.detectors._coreset import k_center_greedy

PART_ROWS = 65_536  # patches that are reduced together


class StreamedCoreset:
    """Greedy k-center in two rounds: of every part of the patches, and of what these leave.

    The cover radius of the second round is at most twice that of one round over all (Malkomes et al., "Fast distributed
    k-center clustering with outliers", NIPS 2015). Where all patches are one part, both are the same.

    Args:
        share: of the patches that a part leaves, in (0, 1].
        project: brings patches (n, D) to where distances are compared.
        known: patches (M, D) that are centres already.
        size: how many a part leaves at most, instead of a share of it; None: the share.
    """

    def __init__(
        self,
        share: float,
        project: Callable[[Tensor], Tensor],
        known: Tensor | None = None,
        size: int | None = None,
    ) -> None:
        self.share, self.size, self.project, self.rows = share, size, project, 0
        self._known = None if known is None else project(known)
        self._waiting: list[tuple[Tensor, int]] = []
        self._left: list[tuple[Tensor, Tensor]] = []  # patches (n, D) and the number (n,) of each

    def add(self, patches: Tensor, number: int) -> None:
        """Take the patches (n, D) of one tile, and its number."""
        self._waiting.append((patches, number))
        self.rows += len(patches)
        if sum(len(part) for part, _ in self._waiting) >= PART_ROWS:
            self._reduce()

    def choose(self, count: int) -> tuple[Tensor, Tensor]:
        """Return so many of the patches at most, (count, D), and the number of the tile of each."""
        self._reduce()
        patches, numbers = (torch.cat(part) for part in zip(*self._left, strict=True))
        if len(patches) > count:
            chosen = self._centres(patches, count)
            patches, numbers = patches[chosen], numbers[chosen]
        return patches, numbers

    def _reduce(self) -> None:
        if not self._waiting:
            return
        patches = torch.cat([part for part, _ in self._waiting])
        numbers = torch.cat([torch.full((len(part),), number) for part, number in self._waiting])
        count = min(self.size, len(patches)) if self.size else max(1, round(self.share * len(patches)))
        chosen = self._centres(patches, count) if count < len(patches) else torch.arange(count)
        self._left.append((patches[chosen], numbers[chosen]))
        self._waiting.clear()

    def _centres(self, patches: Tensor, count: int) -> Tensor:
        first = 0 if self._known is None else None
        return k_center_greedy(self.project(patches), count, first, known=self._known).to(patches.device)
