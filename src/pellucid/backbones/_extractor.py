"""The frozen extractor around a network: normalisation lives here and nowhere else."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from pellucid._io.convert import convert

FOREIGN = "pretrained"  # where a network keeps one that is another library's


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
        self._folded: tuple[nn.Module, ...] = ()  # a tuple: not a part, whose weights would be saved and counted
        self._compiled: Any = None

    def train(self, mode: bool = True) -> Backbone:  # noqa: ARG002 - frozen: batch statistics never move
        return super().train(False)

    def normalise(self, pixels: Tensor) -> Tensor:
        """Pixels as the network was trained on them, channels last."""
        return ((pixels - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        if self._compiled is not None and not torch.is_autocast_enabled("cpu"):
            found = self._compiled([pixels.contiguous().numpy()])
            return [
                torch.from_numpy(found[k]).clone(memory_format=torch.channels_last) for k in range(len(self.layers))
            ]
        net = self._folded[0] if self._folded else self.net
        maps = net(self.normalise(pixels), self._last)
        return [maps[name] for name in self.layers]

    def shapes(self, height: int, width: int) -> list[tuple[int, int, int]]:
        """(C, h, w) of every map for images of the given size."""
        with torch.inference_mode():
            maps = self(torch.zeros(1, 3, height, width, device=self.mean.device))
        return [(m.shape[1], m.shape[2], m.shape[3]) for m in maps]

    def fold(self) -> None:
        """Compute from now on with a copy of the network whose batch normalisations are in its convolutions' weights.

        Up to 40 % faster and the same up to rounding. To be called again when the weights have changed.
        """
        folded: nn.Module = copy.deepcopy(self.net)
        _fold(folded)
        self._folded = (folded.requires_grad_(False),)

    @contextmanager
    def compiled(self, height: int, width: int) -> Iterator[None]:
        """Within it, images of this size go through OpenVINO in float32, on a processor up to a third faster."""
        import openvino

        model = convert(self, torch.zeros(1, 3, height, width))
        self._compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        try:
            yield
        finally:
            self._compiled = None


def _fold(net: nn.Module) -> None:
    """Every batch normalisation into the convolution registered just before it, as our networks apply them."""
    before, name_before = None, ""
    for name, module in list(net.named_children()):
        if isinstance(before, nn.Conv2d) and type(module) is nn.BatchNorm2d:
            fused = fuse_conv_bn_eval(before, module).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            setattr(net, name_before, fused)
            setattr(net, name, nn.Identity())
        elif name != FOREIGN:
            _fold(module)
        before, name_before = module, name
