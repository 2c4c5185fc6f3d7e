"""The frozen extractor around a network: normalisation lives here and nowhere else."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from pellucid._io.convert import convert
from pellucid.backbones._families import make_network

FOREIGN = "pretrained"  # where a network keeps one that is another library's
_overheard: ContextVar[list[list[Tensor]] | None] = ContextVar("_overheard", default=None)  # of this thread alone
_log = logging.getLogger(__name__)


class Backbone(nn.Module):
    """``pixels (B, 3, H, W) in [0, 1] -> [(B, C, h, w), ...]``, one map for each of ``layers``, never trained.

    Args:
        net: has ``layers`` in the order in which they are computed, ``mean`` and ``std``, and maps normalised pixels
            and the name of the last layer to a dictionary of maps.
        layers: the maps to return, in this order.
        name: of its weights, with their version where they were released; without one they came from a file.
        config: rebuilds the network, see :func:`pellucid.backbones.rebuild`; as JSON has it.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, layers: tuple[str, ...], *, name: str, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.layers, self.name, self.config = layers, name, dict(config)
        aliases: dict[str, str] = getattr(net, "aliases", {})
        order = list(net.layers)  # type: ignore[arg-type]
        self._last = max(layers, key=lambda layer: order.index(aliases.get(layer, layer)))
        _drop_layers_after(net, self._last)
        self.net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.register_buffer("mean", torch.tensor(net.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(net.std).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()
        self._folded: tuple[nn.Module, ...] = ()  # a tuple: not a part, whose weights would be saved and counted
        self._compiled: Any = None

    def __repr__(self) -> str:
        return f"Backbone({self.name}, {', '.join(self.layers)})"

    def train(self, mode: bool = True) -> Backbone:  # noqa: ARG002 - frozen: batch statistics never move
        return super().train(False)

    def normalise(self, pixels: Tensor) -> Tensor:
        """Bring pixels (B, 3, H, W) in [0, 1] to what the network was trained on, channels last."""
        return ((pixels - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        maps = self._maps(pixels)
        if (calls := _overheard.get()) is not None:
            calls.append(maps)
        return maps

    def _maps(self, pixels: Tensor) -> list[Tensor]:
        if self._compiled is not None and not torch.is_autocast_enabled("cpu"):
            found = self._compiled([pixels.contiguous().numpy()])
            return [
                torch.from_numpy(found[k]).clone(memory_format=torch.channels_last) for k in range(len(self.layers))
            ]
        net = self._folded[0] if self._folded else self.net
        maps = net(self.normalise(pixels), self._last)
        return [maps[name] for name in self.layers]

    @staticmethod
    @contextmanager
    def overheard() -> Iterator[list[list[Tensor]]]:
        """Collect the maps that every call returns while it is open, so that nobody has to compute them again."""
        calls: list[list[Tensor]] = []
        token = _overheard.set(calls)
        try:
            yield calls
        finally:
            _overheard.reset(token)

    def shapes(self, height: int, width: int) -> list[tuple[int, int, int]]:
        """Return (C, h, w) of every map for images of ``height`` and ``width`` px."""
        with torch.inference_mode():
            maps = self(torch.zeros(1, 3, height, width, device=self.mean.device))
        return [(m.shape[1], m.shape[2], m.shape[3]) for m in maps]

    def student(self) -> nn.Module:
        """Return the same network up to the last layer in use, with random weights and to be trained.

        Of a Prism without the contrast that it gives back, which would be right before anything is learned.
        """
        net = make_network(self.config | ({"contrast_weight": 0.0} if "contrast_weight" in self.config else {}))
        _drop_layers_after(net, self._last)
        return net

    def with_level_of(self, images: Iterable[Tensor]) -> Backbone:
        """Return one that subtracts from no image what is a mean over all of it, but over all of these.

        So the features of a place are the same whatever else is in view, as tiles need it. One without such a mean is
        returned as it is.

        Args:
            images: batches (B, 3, H, W) in [0, 1].
        """
        if self.config.get("contrast_weight", 0) == 0:
            return self
        with torch.inference_mode():
            levels = [self.net.contrast(self.normalise(x)).mean((1, 2, 3)) for x in images]
        config = self.config | {"contrast_level": float(torch.cat(levels).double().mean())}
        fixed = Backbone(make_network(config), self.layers, name=self.name, config=config)
        fixed.net.load_state_dict(self.net.state_dict())
        return fixed.to(self.mean.device)

    def fold(self) -> None:
        """Compute from now on with a copy of the network whose batch normalisations are in its convolutions' weights.

        Up to 40 % faster and the same up to rounding. To be called again when the weights have changed.
        """
        folded: nn.Module = copy.deepcopy(self.net)
        _fold(folded)
        self._folded = (folded.requires_grad_(False),)

    @contextmanager
    def compiled(self, height: int, width: int) -> Iterator[None]:
        """Compute images of this size by OpenVINO in float32 while it is open, on a processor up to a third faster.

        A network that OpenVINO cannot take goes on being computed by torch, and a warning says so.
        """
        try:
            self._compiled = self._compile(height, width)
        except Exception as error:  # whatever tracing and conversion stumble over: torch computes everything
            reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
            _log.warning("%s is not computed by OpenVINO but by torch, which may be slower: %s", self.name, reason)
        try:
            yield
        finally:
            self._compiled = None

    def _compile(self, height: int, width: int) -> Any:
        import openvino

        model = convert(self, torch.zeros(1, 3, height, width))
        return openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def _drop_layers_after(net: nn.Module, last: str) -> None:
    """Remove the layers that nobody asked for."""
    order = list(net.layers)  # type: ignore[arg-type]
    for name in order[order.index(getattr(net, "aliases", {}).get(last, last)) + 1 :]:
        if hasattr(net, name):
            delattr(net, name)


def _fold(net: nn.Module) -> None:
    """Fold every batch normalisation into the convolution registered just before it, as our networks apply them."""
    before, name_before = None, ""
    for name, module in list(net.named_children()):
        if isinstance(before, nn.Conv2d) and type(module) is nn.BatchNorm2d:
            fused = fuse_conv_bn_eval(before, module).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            setattr(net, name_before, fused)
            setattr(net, name, nn.Identity())
        elif name != FOREIGN:
            _fold(module)
        before, name_before = module, name
