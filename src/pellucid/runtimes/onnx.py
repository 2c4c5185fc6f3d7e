"""ONNX Runtime: the portable runtime."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from pellucid.acquisition.images import Size
from pellucid.errors import ModelFileError
from pellucid.records import ScoreOf
from pellucid.runtimes import Floats, Name, graph_for_tiles, require_installed


class Onnx:
    """A graph in the ONNX format, computed on the processor in float32.

    Args:
        graph: the ``.onnx`` file.
        score_of: what of its map a score follows.
        parallel_requests: 1: all cores for one image; else a core for each of so many.
        close_ups: the graphs for tiles of other sizes.
    """

    name: Name = "onnx"
    device = "cpu"
    batch_size = 1

    def __init__(
        self, graph: Path, score_of: ScoreOf = "peak", parallel_requests: int = 1, close_ups: Sequence[Path] = ()
    ) -> None:
        require_installed("onnx")
        import onnxruntime

        self._graph, self.score_of, self.parallel_requests = graph, score_of, parallel_requests
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 0 if parallel_requests == 1 else 1  # 0: as many as there are cores
        try:
            self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions share no base class of their own
            raise ModelFileError(f"ONNX Runtime cannot read '{graph}': {str(error).splitlines()[-1]}") from None
        _, _, height, width = self._session.get_inputs()[0].shape
        self.size: Size = int(height), int(width)
        self._close_ups = [Onnx(smaller, score_of, parallel_requests) for smaller in close_ups]

    def for_throughput(self) -> Onnx:
        """Return a session that computes as many images at a time as there are cores."""
        return self._throughput

    @cached_property
    def _throughput(self) -> Onnx:
        close_ups = [smaller._graph for smaller in self._close_ups]
        return Onnx(self._graph, self.score_of, os.cpu_count() or 1, close_ups)

    def for_tiles(self, size: Size) -> Onnx:
        """Return the graph for tiles of a height and width, px; itself for its own.

        Raises:
            ParameterError: there is none.
        """
        return graph_for_tiles([self, *self._close_ups], size)

    def score(self, pixels: Floats) -> tuple[Floats, Floats]:
        maps, scores = self._session.run(None, {"pixels": pixels})
        return maps, scores
