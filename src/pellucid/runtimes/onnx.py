"""ONNX Runtime: the portable runtime."""

from __future__ import annotations

from pathlib import Path

from pellucid.errors import ModelFileError
from pellucid.runtimes import Floats, Name, require_installed


class Onnx:
    """A graph in the ONNX format, computed on the processor in float32."""

    name: Name = "onnx"

    def __init__(self, graph: Path) -> None:
        require_installed("onnx")
        import onnxruntime

        try:
            self._session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions share no base class of their own
            raise ModelFileError(f"ONNX Runtime cannot read '{graph}': {str(error).splitlines()[-1]}") from None

    def score(self, pixels: Floats) -> tuple[Floats, Floats]:
        maps, scores = self._session.run(None, {"pixels": pixels})
        return maps, scores
