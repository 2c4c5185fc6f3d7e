"""OpenVINO: the fast runtime of x86 processors without a GPU."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

import numpy as np

from pellucid.acquisition.images import Size
from pellucid.errors import ModelFileError
from pellucid.records import ScoreOf
from pellucid.runtimes import Floats, Name, graph_for_tiles, require_installed

_bridge_lock = threading.Lock()


class _Requests(NamedTuple):
    """Of a compiled graph: those that compute nothing now, and how many there are."""

    idle: SimpleQueue[Any]
    total: int


class OpenVino:
    """A graph in OpenVINO's own format, computed in float32: its default, bfloat16, moves scores by a per cent.

    Args:
        graph: the ``.xml`` file.
        score_of: what of its map a score follows.
        throughput: a core or so for each of several images, instead of all cores for one.
        close_ups: the graphs for tiles of other sizes.
    """

    name: Name = "openvino"
    device = "cpu"
    batch_size = 1

    def __init__(
        self, graph: Path, score_of: ScoreOf = "peak", throughput: bool = False, close_ups: Sequence[Path] = ()
    ) -> None:
        require_installed("openvino")
        import openvino

        self._graph, self.score_of, self._is_throughput = graph, score_of, throughput
        self._core = openvino.Core()
        try:
            self._model = self._core.read_model(graph)
            _, _, height, width = self._model.input().partial_shape
            self.size: Size = height.get_length(), width.get_length()
        except RuntimeError as error:
            raise _unreadable(graph, error) from None
        self._close_ups = [OpenVino(smaller, score_of, throughput) for smaller in close_ups]
        self._compiling = threading.Lock()
        self._compiled: _Requests | None = None

    @property
    def parallel_requests(self) -> int:
        """How many images are computed at the same time."""
        return self._requests.total

    @property
    def _requests(self) -> _Requests:
        """Those of the graph, which is compiled when they are first needed, and takes memory from then on.

        Raises:
            ModelFileError: it cannot be compiled.
        """
        with self._compiling:
            if self._compiled is None:
                self._compiled = self._compile()
        return self._compiled

    def _compile(self) -> _Requests:
        performance = "THROUGHPUT" if self._is_throughput else "LATENCY"
        hints = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": performance}
        idle: SimpleQueue[Any] = SimpleQueue()
        try:  # for any number of images; one whose shape is known takes a twentieth less
            self._model.reshape([1, *(side.get_length() for side in list(self._model.input().partial_shape)[1:])])
            compiled = self._core.compile_model(self._model, "CPU", hints)
            count = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
            for _ in range(count):
                idle.put(self._create_request(compiled))
        except RuntimeError as error:
            raise _unreadable(self._graph, error) from None
        return _Requests(idle, count)

    @staticmethod
    def _create_request(compiled: Any) -> Any:
        """Create a request, and look at its tensors as arrays once, before several threads do.

        The first look in a process initialises OpenVINO's bridge to NumPy; two threads that do so at the same time
        wait for one another for good.
        """
        request = compiled.create_infer_request()
        with _bridge_lock:
            for tensor in (*request.input_tensors, *request.output_tensors):
                tensor.data  # noqa: B018 - looking is what it is about
        return request

    def for_throughput(self) -> OpenVino:
        """Return the same graph compiled to compute several images at a time."""
        return self if self._is_throughput else self._throughput

    @cached_property
    def _throughput(self) -> OpenVino:
        close_ups = [smaller._graph for smaller in self._close_ups]
        return OpenVino(self._graph, self.score_of, throughput=True, close_ups=close_ups)

    def for_tiles(self, size: Size) -> OpenVino:
        """Return the graph for tiles of a height and width, px; itself for its own.

        Raises:
            ParameterError: there is none.
        """
        return graph_for_tiles([self, *self._close_ups], size)

    def score(self, pixels: Floats) -> tuple[Floats, Floats]:
        found = [self._score_one(pixels[k : k + 1]) for k in range(len(pixels))]
        if len(found) == 1:
            return found[0]
        return np.concatenate([maps for maps, _ in found]), np.concatenate([scores for _, scores in found])

    def _score_one(self, pixels: Floats) -> tuple[Floats, Floats]:
        requests = self._requests.idle
        request = requests.get()
        try:
            results = request.infer([pixels], share_inputs=True)  # read where they are, not copied
            return results[0].copy(), results[1].copy()
        finally:
            requests.put(request)


def _unreadable(graph: Path, error: RuntimeError) -> ModelFileError:
    return ModelFileError(f"OpenVINO cannot read '{graph}': {str(error).strip().splitlines()[-1]}")
