"""OpenVINO: the fast runtime of x86 processors without a GPU."""

from __future__ import annotations

import threading
from functools import cached_property
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from pellucid.errors import ModelFileError
from pellucid.records import ScoreOf
from pellucid.runtimes import Floats, Name, require_installed

_bridge_lock = threading.Lock()


class OpenVino:
    """A graph in OpenVINO's own format, computed in float32: its default, bfloat16, moves scores by a per cent.

    Args:
        graph: the ``.xml`` file.
        score_of: what of its map a score follows.
        throughput: a core or so for each of several images, instead of all cores for one.
    """

    name: Name = "openvino"
    device = "cpu"
    batch_size = 1

    def __init__(self, graph: Path, score_of: ScoreOf = "peak", throughput: bool = False) -> None:
        require_installed("openvino")
        import openvino

        self._graph, self.score_of = graph, score_of
        core = openvino.Core()
        hints = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "THROUGHPUT" if throughput else "LATENCY"}
        try:
            model = core.read_model(graph)  # for any number of images; one whose shape is known takes a twentieth less
            model.reshape([1, *(side.get_length() for side in list(model.input().partial_shape)[1:])])
            compiled = core.compile_model(model, "CPU", hints)
            self.parallel_requests = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        except RuntimeError as error:
            raise ModelFileError(f"OpenVINO cannot read '{graph}': {str(error).strip().splitlines()[-1]}") from None
        self._idle: SimpleQueue[Any] = SimpleQueue()
        for _ in range(self.parallel_requests):
            self._idle.put(self._create_request(compiled))

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
        return self._throughput

    @cached_property
    def _throughput(self) -> OpenVino:
        return OpenVino(self._graph, self.score_of, throughput=True)

    def score(self, pixels: Floats) -> tuple[Floats, Floats]:
        found = [self._score_one(image[None]) for image in pixels]
        return np.concatenate([maps for maps, _ in found]), np.concatenate([scores for _, scores in found])

    def _score_one(self, pixels: Floats) -> tuple[Floats, Floats]:
        request = self._idle.get()
        try:
            results = request.infer([pixels])
            return results[0].copy(), results[1].copy()
        finally:
            self._idle.put(request)
