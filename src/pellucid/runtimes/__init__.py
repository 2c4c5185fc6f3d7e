"""Pixels to map and score, the same on torch, OpenVINO and ONNX Runtime; none of them is imported until it is used."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import ParameterError, missing_extra
from pellucid.records import ScoreOf

Floats = NDArray[np.float32]
Name = Literal["torch", "openvino", "onnx"]
MODULES: dict[Name, str] = {"torch": "torch", "openvino": "openvino", "onnx": "onnxruntime"}


class Runtime(Protocol):
    """Whatever scores images: a detector in torch, or the graph that it was exported to."""

    name: Name

    @property
    def parallel_requests(self) -> int:
        """How many calls of score are computed at the same time, by as many threads."""

    @property
    def score_of(self) -> ScoreOf:
        """What of its map a score follows: by this, what padding adds to a score is taken off it."""

    @property
    def batch_size(self) -> int:
        """How many images one call of score had best be given; one on a CPU, so that no score depends on others."""

    @property
    def device(self) -> str:
        """Where it computes: ``cpu``, or one of torch's names such as ``cuda:0``."""

    def for_throughput(self) -> Runtime:
        """Return the same for many images: it computes more of them in a second, though each takes longer."""

    def for_tiles(self, side: int) -> Runtime:
        """Return the same for tiles of another side, px; itself for its own.

        Raises:
            ParameterError: it cannot compute others.
        """

    def score(self, pixels: Floats) -> tuple[Floats, Floats]:
        """Map (B, H, W) and score (B,) of a batch (B, 3, H, W) in [0, 1]; higher is more anomalous."""


def no_tiles_of(side: int) -> ParameterError:
    """The error of a runtime that computes no tiles of this side."""
    return ParameterError(f"This model cannot compute tiles of {side} px: export it again from its model file.")


def require_installed(name: Name) -> None:
    """ParameterError, with the command that helps, where the package of a runtime is missing."""
    if not is_installed(name):
        raise ParameterError(missing_extra(None, MODULES[name], f"Runtime '{name}'"))


def is_installed(name: Name) -> bool:
    """Whether the package of a runtime can be imported."""
    return find_spec(MODULES[name]) is not None
