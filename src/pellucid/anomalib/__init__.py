"""The names of an anomalib script, 1.x or 2.x, on top of pellucid: change the import line, keep the calls.

``python -m pellucid.anomalib script.py`` runs a script or a notebook with its import lines as they are. Results differ
where anomalib's were not honest: scores are raw (never clamped), the limit comes from held-out normal images and never
from the test, no image is tested on that was fitted on, and nothing is cropped. What is taken without effect says so
once (:class:`AnomalibWarning`); what cannot be had is refused with a sentence that says what to use
(``docs/anomalib.md``).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pellucid.anomalib._paths import install_own_paths

if TYPE_CHECKING:
    from pellucid.anomalib._said import AnomalibWarning as AnomalibWarning
    from pellucid.anomalib.data import Folder as Folder
    from pellucid.anomalib.data import MVTec as MVTec
    from pellucid.anomalib.data import MVTecAD as MVTecAD
    from pellucid.anomalib.data import PredictDataset as PredictDataset
    from pellucid.anomalib.data import TaskType as TaskType
    from pellucid.anomalib.data import TestSplitMode as TestSplitMode
    from pellucid.anomalib.data import ValSplitMode as ValSplitMode
    from pellucid.anomalib.engine import Engine as Engine
    from pellucid.anomalib.engine import ExportType as ExportType
    from pellucid.anomalib.loggers import AnomalibMLFlowLogger as AnomalibMLFlowLogger
    from pellucid.anomalib.loggers import AnomalibTensorBoardLogger as AnomalibTensorBoardLogger
    from pellucid.anomalib.loggers import AnomalibWandbLogger as AnomalibWandbLogger
    from pellucid.anomalib.models.module import AnomalibModule as AnomalibModule
    from pellucid.anomalib.scripts import map_names as map_names

__version__ = "2.7.0"  # of anomalib, whose names these are; a script may ask whether it is 2
_MODULES = (
    *("callbacks", "data", "deploy", "engine", "loggers", "metrics", "models", "pipelines"),
    *("post_processing", "pre_processing", "visualization"),
)
_HOMES = {  # names that lie in the package itself, and where they are imported from when they are first used
    "AnomalibWarning": "_said",
    "map_names": "scripts",
    **dict.fromkeys(("LearningType", "PrecisionType", "TaskType"), "data"),
    **dict.fromkeys(("Folder", "MVTec", "MVTecAD", "PredictDataset", "TestSplitMode", "ValSplitMode"), "data"),
    **dict.fromkeys(("Engine", "ExportType"), "engine"),
    **dict.fromkeys(("AnomalibMLFlowLogger", "AnomalibTensorBoardLogger", "AnomalibWandbLogger"), "loggers"),
}
install_own_paths()


def __getattr__(name: str) -> Any:
    """Import a name when it is first used."""
    from pellucid.anomalib.models.table import MODELS

    if name == "__all__":
        return sorted({*_HOMES, *MODELS})
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    home = "models" if name in MODELS else _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return [*__getattr__("__all__"), *_MODULES]
