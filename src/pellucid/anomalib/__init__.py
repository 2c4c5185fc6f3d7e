"""The names of an anomalib 1.x notebook, on top of pellucid: change the import line, keep the calls.

Results differ where anomalib's were not honest: scores are raw (never clamped), the limit comes from held-out normal
images and never from the test, and nothing is cropped.
"""

from pellucid.anomalib.data import Folder
from pellucid.anomalib.engine import Engine
from pellucid.anomalib.loggers import AnomalibMLFlowLogger, AnomalibTensorBoardLogger, AnomalibWandbLogger
from pellucid.anomalib.models import Dfm, Fastflow, Padim, Patchcore, ReverseDistillation, Stfpm

__all__ = [
    "AnomalibMLFlowLogger",
    "AnomalibTensorBoardLogger",
    "AnomalibWandbLogger",
    "Dfm",
    "Engine",
    "Fastflow",
    "Folder",
    "Padim",
    "Patchcore",
    "ReverseDistillation",
    "Stfpm",
]
