"""The names of an anomalib notebook, 1.x or 2.x, on top of pellucid: change the import line, keep the calls.

Results differ where anomalib's were not honest: scores are raw (never clamped), the limit comes from held-out normal
images and never from the test, no image is tested on that was fitted on, and nothing is cropped. What means something
else here is refused with a sentence that says what to use.
"""

from pellucid.anomalib.data import Folder, MVTec, PredictDataset, TaskType, TestSplitMode, ValSplitMode
from pellucid.anomalib.engine import Engine, ExportType
from pellucid.anomalib.loggers import AnomalibMLFlowLogger, AnomalibTensorBoardLogger, AnomalibWandbLogger
from pellucid.anomalib.models import (
    Cfa,
    Cflow,
    Dfkde,
    Dfm,
    EfficientAd,
    Fastflow,
    Padim,
    Patchcore,
    ReverseDistillation,
    Stfpm,
    Supersimplenet,
    Uflow,
)

__all__ = [
    "AnomalibMLFlowLogger",
    "AnomalibTensorBoardLogger",
    "AnomalibWandbLogger",
    "Cfa",
    "Cflow",
    "Dfkde",
    "Dfm",
    "EfficientAd",
    "Engine",
    "ExportType",
    "Fastflow",
    "Folder",
    "MVTec",
    "Padim",
    "Patchcore",
    "PredictDataset",
    "ReverseDistillation",
    "Stfpm",
    "Supersimplenet",
    "TaskType",
    "TestSplitMode",
    "Uflow",
    "ValSplitMode",
]
