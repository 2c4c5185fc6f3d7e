"""A fixed piece of work that costs are counted in, so that neither the machine nor its load choose a model.

What other processes do slows a detector and the reference alike while they take turns, and the processor's own time
leaves out the seconds in which it worked for others.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import torch

from pellucid import backbones

T = TypeVar("T")
REFERENCE_BACKBONE, REFERENCE_LAYERS = "prism_s", ("layer2", "layer3")
REFERENCE_SIDE_PX = 256
WARM_UP_PASSES = 3
PASSES_ASIDE = 30  # before a long piece of work, and again after it


class Reference:
    """One forward pass of a fixed backbone over one image.

    Args:
        device: where it is computed: the detector's.
    """

    def __init__(self, device: torch.device) -> None:
        self._backbone = backbones.create(REFERENCE_BACKBONE, layers=REFERENCE_LAYERS).to(device)
        self._pixels = torch.full((1, 3, REFERENCE_SIDE_PX, REFERENCE_SIDE_PX), 0.5, device=device)
        self.processor_seconds(WARM_UP_PASSES)

    @torch.inference_mode()
    def processor_seconds(self, passes: int) -> float:
        """Compute so many passes and return the processor's seconds for all."""
        return processor_seconds(lambda: [self._backbone(self._pixels)[-1].cpu() for _ in range(passes)])[0]

    def cost_of(self, work: Callable[[], T]) -> tuple[float, T]:
        """Return what a long piece of work costs in passes, which are measured before and after it, and its result."""
        passes = self.processor_seconds(PASSES_ASIDE)
        worked, result = processor_seconds(work)
        passes += self.processor_seconds(PASSES_ASIDE)
        return worked / passes * 2 * PASSES_ASIDE, result


def processor_seconds(work: Callable[[], T]) -> tuple[float, T]:
    """Return how long all cores together worked for this process in a piece of work, and what it returned."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result
