"""OpenVINO: the fast runtime of x86 processors without a GPU."""

from __future__ import annotations

from pathlib import Path

from pellucid.errors import ModelFileError
from pellucid.runtimes import Floats, Name, require_installed


class OpenVino:
    """A graph in OpenVINO's own format, computed in float32: its default, bfloat16, moves scores by a per cent."""

    name: Name = "openvino"

    def __init__(self, graph: Path) -> None:
        require_installed("openvino")
        import openvino

        hints = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        try:
            self._request = openvino.Core().compile_model(graph, "CPU", hints).create_infer_request()
        except RuntimeError as error:
            raise ModelFileError(f"OpenVINO cannot read '{graph}': {str(error).strip().splitlines()[-1]}") from None

    def score(self, pixels: Floats) -> tuple[Floats, Floats]:
        found = self._request.infer([pixels])
        return found[0].copy(), found[1].copy()
