"""OpenVINO: the fast runtime of x86 processors without a GPU."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from pellucid.errors import ModelFileError
from pellucid.runtimes import Floats, Name, require_installed


class OpenVino:
    """A graph in OpenVINO's own format, computed in float32: its default, bfloat16, moves scores by a per cent.

    Args:
        graph: the ``.xml`` file.
        hint: ``LATENCY``: all cores for one image; ``THROUGHPUT``: a core or so for each of several.
    """

    name: Name = "openvino"

    def __init__(self, graph: Path, hint: str = "LATENCY") -> None:
        require_installed("openvino")
        import openvino

        self._graph = graph
        try:
            hints = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": hint}
            compiled = openvino.Core().compile_model(graph, "CPU", hints)
            self.lanes = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        except RuntimeError as error:
            raise ModelFileError(f"OpenVINO cannot read '{graph}': {str(error).strip().splitlines()[-1]}") from None
        self._idle: SimpleQueue[Any] = SimpleQueue()
        for _ in range(self.lanes):
            self._idle.put(compiled.create_infer_request())

    @cached_property
    def many(self) -> OpenVino:
        return OpenVino(self._graph, "THROUGHPUT")

    def score(self, pixels: Floats) -> tuple[Floats, Floats]:
        request = self._idle.get()
        try:
            found = request.infer([pixels])
            return found[0].copy(), found[1].copy()
        finally:
            self._idle.put(request)
