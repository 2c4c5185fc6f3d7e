"""The frozen extractor around a network: normalisation lives here and nowhere else."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Backbone(nn.Module):
    """``pixels (B, 3, H, W) in [0, 1] -> [(B, C, h, w), ...]``, one map for each of ``layers``, never trained."""

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, layers: tuple[str, ...]) -> None:
        super().__init__()
        self.layers = layers
        aliases: dict[str, str] = getattr(net, "aliases", {})
        order = list(net.layers)  # type: ignore[arg-type]
        self._last = max(layers, key=lambda name: order.index(aliases.get(name, name)))
        for name in order[order.index(self._last) + 1 :]:  # layers that nobody asked for
            if hasattr(net, name):
                delattr(net, name)
        self.net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.register_buffer("mean", torch.tensor(net.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(net.std).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Backbone:  # noqa: ARG002 - frozen: batch statistics never move
        return super().train(False)

    def normalise(self, pixels: Tensor) -> Tensor:
        """Pixels as the network was trained on them, channels last."""
        return ((pixels - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        maps = self.net(self.normalise(pixels), self._last)
        return [maps[name] for name in self.layers]

    def shapes(self, height: int, width: int) -> list[tuple[int, int, int]]:
        """(C, h, w) of every map for images of the given size."""
        with torch.inference_mode():
            maps = self(torch.zeros(1, 3, height, width, device=self.mean.device))
        return [(m.shape[1], m.shape[2], m.shape[3]) for m in maps]
