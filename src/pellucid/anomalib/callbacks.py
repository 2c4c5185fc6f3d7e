"""Callbacks by anomalib's and Lightning's names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pellucid.anomalib._absent import find_absent
from pellucid.anomalib._said import say_once

__path__: list[str] = []  # its parts, by anomalib's names, are found by _paths
NO_STEPS = "a fit here has no steps that a callback could be called at"


class Callback:
    """What a script hands to an engine; none of its methods is called.

    Args:
        arguments: taken without effect.
        options: taken without effect.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.arguments, self.options = arguments, options
        for name, value in options.items():
            setattr(self, name, value)


class ModelCheckpoint(Callback):
    """Where the model goes as well; a fit here ends with one model, whatever is monitored.

    Args:
        dirpath: folder for a copy of the model; none by default.
        filename: of it, without its suffix; one with places for numbers in braces is ``model``.
        options: the others, taken without effect.

    Attributes:
        best_model_path: of the model, once it is fitted.
    """

    def __init__(self, dirpath: str | Path | None = None, filename: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.dirpath, self.filename = dirpath, filename
        self.best_model_path = self.last_model_path = ""
        self.best_model_score: float | None = None


class LoadModelCallback(Callback):
    """The model that an engine tests or predicts with.

    Args:
        weights_path: of the model file.
    """

    def __init__(self, weights_path: str | Path) -> None:
        super().__init__(weights_path=weights_path)


class TilerConfigurationCallback(Callback):
    """Images are seen in tiles, at their own scale.

    Args:
        enable: whether they are.
        tile_size: side of a tile, px: a multiple of 64 from 256 to 4096.
        options: the others, taken without effect: tiles overlap as far as that is needed.
    """

    def __init__(self, enable: bool = False, tile_size: int | tuple[int, int] = 256, **options: Any) -> None:
        side = tile_size if isinstance(tile_size, int) else max(tile_size)
        super().__init__(tile=side if enable else None)
        if any(options.values()):
            say_once(
                "Tiles are of the image's own scale, not of the resized image, and overlap as far as that is needed:"
                " a stride is taken without effect."
            )


class TimerCallback(Callback):
    """Times are measured by ``pellucid compare``."""


class GraphLogger(Callback):
    """The graph of a network is not logged."""


class EarlyStopping(Callback):
    """A detector trains as long as ``max_epochs`` says, or as it does by default."""


class ProgressBar(Callback):
    """Progress is shown where somebody looks."""


class LearningRateMonitor(Callback):
    """A learning rate is not logged."""


class Timer(Callback):
    """Times are measured by ``pellucid compare``."""


TQDMProgressBar = RichProgressBar = RichModelSummary = ModelSummary = ProgressBar
DeviceStatsMonitor = LearningRateMonitor
ABSENT = {
    "NNCFCallback": "Networks are not trained in 8-bit integers: engine.export(..., compression_type='int8_ptq') writes"
    " such a graph.",
}
KNOWN = (ModelCheckpoint, LoadModelCallback, TilerConfigurationCallback)  # that have an effect

__all__ = [
    "Callback",
    "DeviceStatsMonitor",
    "EarlyStopping",
    "GraphLogger",
    "LearningRateMonitor",
    "LoadModelCallback",
    "ModelCheckpoint",
    "ModelSummary",
    "ProgressBar",
    "RichModelSummary",
    "RichProgressBar",
    "TQDMProgressBar",
    "TilerConfigurationCallback",
    "Timer",
    "TimerCallback",
]


def take_callbacks(given: object) -> list[Any]:
    """Return the callbacks of an engine, those of Lightning's own among them, and say which have no effect.

    Args:
        given: one, several or none.
    """
    several = (
        given if isinstance(given, (list, tuple)) else list(given.values()) if isinstance(given, dict) else [given]
    )
    callbacks = [one for one in several if one is not None]
    for one in callbacks:
        if not isinstance(one, KNOWN) and not hasattr(one, "best_model_path"):
            say_once(f"The callback {type(one).__name__} is taken without effect: {NO_STEPS}.")
    return callbacks


def __getattr__(name: str) -> Any:
    return find_absent(__name__, name, ABSENT)
