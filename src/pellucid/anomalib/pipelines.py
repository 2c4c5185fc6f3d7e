"""Pipelines of anomalib's, and what does their work."""

from __future__ import annotations

from typing import Any

from pellucid.anomalib._absent import find_absent

__path__: list[str] = []  # its parts, by anomalib's names, are found by _paths
_TILES = "Large images are seen in tiles by one model: `pellucid fit DATA --tile 1024`, or TilerConfigurationCallback."
ABSENT = {
    "Benchmark": "Models are compared by `pellucid compare DATA`, with times, memory and the one to take.",
    "TrainTiledEnsemble": _TILES,
    "EvalTiledEnsemble": _TILES,
}


def __getattr__(name: str) -> Any:
    return find_absent(__name__, name, ABSENT)
