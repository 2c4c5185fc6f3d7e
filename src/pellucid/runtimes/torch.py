"""A detector as it was fitted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pellucid.acquisition.images import Size
from pellucid.records import ScoreOf
from pellucid.runtimes import Floats, Name

if TYPE_CHECKING:
    from pellucid.detectors._base import Detector

GPU_BATCH = 16  # images in one call on a GPU, at most
GPU_BATCH_PIXELS = 16 * 512 * 512  # and fewer where they are large


class Torch:
    """The reference that the other runtimes have to agree with."""

    name: Name = "torch"
    parallel_requests = 1  # each thread of ours would start as many threads of torch's as there are cores

    def __init__(self, detector: Detector) -> None:
        self.detector = detector
        self._sized: dict[Size, Torch] = {}

    @property
    def score_of(self) -> ScoreOf:
        return self.detector.score_of

    @property
    def device(self) -> str:
        return str(self.detector.device)

    def for_throughput(self) -> Torch:
        """Return itself: torch computes one call at a time, on all of the device."""
        return self

    def for_tiles(self, size: Size) -> Torch:
        """Return the same for tiles of another height and width, px; itself for its own.

        Raises:
            WeightsError: what it learned belongs to tiles of its own size.
        """
        own = self.detector
        if size == tuple(own.size_.tolist()):
            return self
        if size not in self._sized:
            import torch

            from pellucid import backbones

            backbone = backbones.rebuild(own.backbone_.config, layers=own.layers, name=own.backbone_.name)
            state = own.state() | {"size_": torch.tensor(size)}
            sized = type(own)(**own.parameters()).to(own.device).load_state(state, backbone=backbone)
            self._sized[size] = Torch(sized)
        return self._sized[size]

    @property
    def batch_size(self) -> int:
        """One on a CPU; several on a GPU, that would wait for most of the time otherwise."""
        if self.detector.device.type == "cpu":
            return 1
        height, width = (int(side) for side in self.detector.size_)
        return max(1, min(GPU_BATCH, GPU_BATCH_PIXELS // (height * width)))

    def score(self, pixels: Floats) -> tuple[Floats, Floats]:
        import torch

        maps, scores = self.detector.score(torch.from_numpy(pixels))
        return maps.numpy(), scores.numpy()
