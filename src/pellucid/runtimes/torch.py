"""A detector as it was fitted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pellucid.runtimes import Floats, Name

if TYPE_CHECKING:
    from pellucid.detectors._base import Detector


class Torch:
    """The reference that the other runtimes have to agree with."""

    name: Name = "torch"
    parallel_requests = 1  # each thread of ours would start as many threads of torch's as there are cores

    def __init__(self, detector: Detector) -> None:
        self.detector = detector

    @property
    def device(self) -> str:
        return str(self.detector.device)

    def for_throughput(self) -> Torch:
        """Return itself: torch computes one image at a time, on all cores."""
        return self

    def score(self, pixels: Floats) -> tuple[Floats, Floats]:
        import torch

        maps, scores = self.detector.score(torch.from_numpy(pixels))
        return maps.numpy(), scores.numpy()
