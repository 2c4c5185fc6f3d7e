"""Pixels to map and score, the same on torch, OpenVINO and ONNX Runtime; none of them is imported until it is used."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from pellucid.acquisition.images import Size
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

    def for_tiles(self, size: Size) -> Runtime:
        """Return the same for tiles of another height and width, px; itself for its own.

        Raises:
            ParameterError: it cannot compute others.
        """

    def score(self, pixels: Floats) -> tuple[Floats, Floats]:
        """Map (B, H, W) and score (B,) of a batch (B, 3, H, W) in [0, 1]; higher is more anomalous."""


class Graph(Protocol):
    """An exported graph, which computes tiles of one size."""

    @property
    def size(self) -> Size:
        """Height and width of its tiles, px."""


AnyGraph = TypeVar("AnyGraph", bound=Graph)


def graph_for_tiles(graphs: Sequence[AnyGraph], size: Size) -> AnyGraph:
    """Choose the graph for tiles of a height and width, px.

    Raises:
        ParameterError: there is none.
    """
    for graph in graphs:
        if graph.size == size:
            return graph
    tiles = f"{size[1]} x {size[0]} px"
    raise ParameterError(f"This model cannot compute tiles of {tiles}: export it again from its model file.")


def require_installed(name: Name) -> None:
    """ParameterError, with the command that helps, where the package of a runtime is missing."""
    if not is_installed(name):
        raise ParameterError(missing_extra(None, MODULES[name], f"Runtime '{name}'"))


def is_installed(name: Name) -> bool:
    """Whether the package of a runtime can be imported."""
    return find_spec(MODULES[name]) is not None
