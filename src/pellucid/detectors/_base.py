"""The contract of every detector, and the only base class."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from operator import length_hint
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from pellucid.backbones import create
from pellucid.backbones._extractor import Backbone
from pellucid.detectors._device import full_float32, resolve_device
from pellucid.errors import DataError, NotFittedError, ParameterError, WeightsError

MIN_PIXELS_TO_COMPILE = 100 * 256 * 256  # pixels from which on the backbone is compiled for a fit
Images = Iterable[Tensor]  # re-iterable float32 batches (B, 3, H, W) in [0, 1]


class Detector(ABC):
    """Learns what normal looks like, then scores: **higher is more anomalous, everywhere**.

    A detector's constructor takes keyword-only hyper-parameters and stores them, nothing else; what is learned lives in
    attributes that end in an underscore (tensors and modules) and travels through :meth:`state`. Every detector has at
    least the hyper-parameters ``backbone``, ``layers``, ``weights`` and ``seed``.
    """

    backbone: str
    layers: Sequence[str]
    weights: str | None
    seed: int

    backbone_: Backbone
    size_: Tensor  # (2,) height and width that the detector was fitted on
    _device: torch.device | None = None  # chosen by :meth:`to`, or resolved when it was first needed

    # --- what a detector writes -------------------------------------------------------------------------------------

    def _build(self, height: int, width: int) -> None:  # noqa: B027 - most have nothing to build
        """Make the trainable modules, if any, with random weights; ``self.backbone_`` is there already."""

    @abstractmethod
    def _fit(self, images: Images, checkpoint: Path | None) -> None:
        """Learn from normal images; seeded already."""

    @abstractmethod
    def _score(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, H, W) and score (B,) of a batch (B, 3, H, W); gradients are off already."""

    def _prepare_scoring(self) -> None:  # noqa: B027 - most have nothing to derive
        """Derive what scoring needs from what was learned; called after a fit and after a load."""

    # --- what everybody calls ---------------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        """Where the work is done: what :meth:`to` chose, else what ``auto`` means when it is first needed."""
        if self._device is None:
            self._device = resolve_device()
        return self._device

    def to(self, device: str | torch.device) -> Self:
        """Choose where to work; what was learned already is moved there.

        Args:
            device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; see :func:`resolve_device`.

        Raises:
            ParameterError: another name, or a device that this machine does not have.
        """
        self._device = resolve_device(str(device))
        if hasattr(self, "size_"):
            self._move()
        return self

    def parameters(self) -> dict[str, Any]:
        """Hyper-parameters by name, as given to the constructor."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def fit(self, images: Images, *, checkpoint: Path | None = None) -> Self:
        """Learn from normal images.

        Args:
            images: re-iterable of float32 batches (B, 3, H, W) in [0, 1], all of one size.
            checkpoint: where gradient-trained detectors keep their progress; a killed fit goes on from there.

        Raises:
            DataError: no images, or batches of another shape.
            WeightsError: the backbone's weights cannot be had.
        """
        first = next(iter(images), None)
        if first is None:
            raise DataError("There are no images to fit on.")
        _check_shape(first)
        height, width = first.shape[-2:]
        torch.manual_seed(self.seed)  # of the CPU, where what is random is drawn: the same on every device
        self.backbone_ = create(self.backbone, layers=self.layers, weights=self.weights)
        self.size_ = torch.tensor([height, width])
        self._build(height, width)
        self._move_networks()
        many = length_hint(images) * len(first) * height * width >= MIN_PIXELS_TO_COMPILE and self.device.type == "cpu"
        with full_float32(), self.backbone_.compiled(height, width) if many else nullcontext():
            self._fit(images, checkpoint)
        self._prepare_scoring()
        return self

    def score(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Anomaly map (B, H, W) and score (B,) on the CPU, float32, for a batch (B, 3, H, W) in [0, 1].

        Raises:
            NotFittedError: :meth:`fit` or :meth:`load_state` has not run.
            DataError: another shape than the detector was fitted on.
        """
        if not hasattr(self, "size_"):
            raise NotFittedError(f"This {type(self).__name__} has not been fitted: call fit first.")
        _check_shape(pixels)
        height, width = (int(side) for side in self.size_)
        if pixels.shape[-2:] != (height, width):
            got = "x".join(str(side) for side in pixels.shape[-2:])
            raise DataError(f"The detector was fitted on {height}x{width} images but got {got}.")
        with torch.inference_mode(), full_float32():
            anomaly_map, score = self._score(pixels.to(self.device))
        return anomaly_map.float().cpu(), score.float().cpu()

    def state(self) -> dict[str, Tensor]:
        """Everything learned, as tensors by name, the backbone's weights included."""
        out: dict[str, Tensor] = {}
        for name, value in vars(self).items():
            if not name.endswith("_"):
                continue
            if isinstance(value, nn.Module):
                out |= {f"{name}.{key}": tensor.detach().cpu() for key, tensor in value.state_dict().items()}
            elif isinstance(value, Tensor):
                out[name] = value.detach().cpu()
        return out

    def load_state(self, state: dict[str, Tensor], *, backbone: Backbone | None = None) -> Self:
        """Become the detector whose :meth:`state` this is; needs no network and no weights file.

        Args:
            state: tensors by name.
            backbone: the extractor that they are for; by default that of ``self.backbone`` as it is built today.

        Raises:
            WeightsError: the state is of another detector or of other hyper-parameters.
        """
        try:
            self.size_ = state["size_"]
            height, width = (int(side) for side in self.size_)
            self.backbone_ = backbone or create(self.backbone, layers=self.layers, pretrained=False)
            self._build(height, width)
            for name, value in list(vars(self).items()):
                if isinstance(value, nn.Module):
                    prefix = f"{name}."
                    value.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
                    value.eval()
            for name, tensor in state.items():
                if "." not in name:
                    setattr(self, name, tensor)
            for name in inspect.get_annotations(type(self)):
                if name.endswith("_") and not hasattr(self, name):
                    raise KeyError(name)
        except (KeyError, RuntimeError):
            raise WeightsError(f"This state is not that of a {type(self).__name__} with these parameters.") from None
        self._move()
        return self

    def count_parameters(self) -> tuple[int, int]:
        """(all, trained) parameters of the networks; what is estimated without gradients does not count."""
        own = [p for m in vars(self).values() if isinstance(m, nn.Module) for p in m.parameters()]
        return sum(p.numel() for p in own), sum(p.numel() for p in own if p.requires_grad)

    def module_summary(self) -> list[tuple[str, str, int, int]]:
        """(name, type, parameters, trained parameters) of every network inside."""
        return [
            (
                name.rstrip("_"),
                type(getattr(m, "net", m)).__name__,
                sum(p.numel() for p in m.parameters()),
                sum(p.numel() for p in m.parameters() if p.requires_grad),
            )
            for name, m in vars(self).items()
            if isinstance(m, nn.Module)
        ]

    def _move(self) -> None:
        """Bring what was learned to the device, and derive there what scoring needs."""
        self._move_networks()
        for name, value in list(vars(self).items()):
            if isinstance(value, Tensor) and name != "size_":
                setattr(self, name, value.to(self.device))
        self._prepare_scoring()

    def _move_networks(self) -> None:
        for value in list(vars(self).values()):
            if isinstance(value, nn.Module):
                value.to(self.device)
        self.backbone_.fold()


def _check_shape(pixels: Tensor) -> None:
    if pixels.ndim != 4 or pixels.shape[1] != 3 or not pixels.is_floating_point():
        raise DataError(f"A batch has to be float32 (B, 3, H, W) in [0, 1]; got {pixels.dtype} {tuple(pixels.shape)}.")


def require(condition: bool, name: str, value: object, allowed: str) -> None:
    """Raise ParameterError when a hyper-parameter has a value that is not allowed."""
    if not condition:
        raise ParameterError(f"{name}={value!r} is not allowed: it has to be {allowed}.")
