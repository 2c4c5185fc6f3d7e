"""The few names of Lightning that scripts written for anomalib import, for where Lightning is not installed.

:mod:`pellucid.anomalib._paths` finds them as ``lightning``, ``lightning.pytorch`` and ``pytorch_lightning``.
"""

from __future__ import annotations

import os
import random
from typing import Any

import numpy as np
import torch

from pellucid.anomalib._absent import find_absent
from pellucid.anomalib.callbacks import (
    Callback,
    DeviceStatsMonitor,
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
    ModelSummary,
    ProgressBar,
    RichModelSummary,
    RichProgressBar,
    Timer,
    TQDMProgressBar,
)
from pellucid.anomalib.loggers import AnomalibTensorBoardLogger, CSVLogger
from pellucid.errors import ParameterError

__path__: list[str] = []  # its parts, by Lightning's names, are found by _paths
SEED_VARIABLE = "PL_GLOBAL_SEED"  # in which Lightning's seed_everything keeps what it was given
MAX_SEED = 2**32 - 1
TensorBoardLogger = AnomalibTensorBoardLogger
STEP_OUTPUT = EVAL_DATALOADERS = TRAIN_DATALOADERS = Any  # names of types, in annotations of scripts
_OWN = "Models and their training are pellucid's own: write a detector, as docs and examples show, or take one by name."
ABSENT = {
    "Trainer": "Engine takes the arguments of a Trainer: Engine(max_epochs=10).fit(model=model, datamodule=data).",
    **dict.fromkeys(("LightningModule", "LightningCLI"), _OWN),
    "LightningDataModule": "Images come from pellucid's own data modules: give their folders as Folder(...), or their"
    " list as Tabular(...).",
    **dict.fromkeys(
        ("WandbLogger", "MLFlowLogger", "CometLogger", "NeptuneLogger"),
        "Results go to AnomalibTensorBoardLogger, AnomalibMLFlowLogger or AnomalibWandbLogger of anomalib.loggers.",
    ),
}

__all__ = [
    "CSVLogger",
    "Callback",
    "DeviceStatsMonitor",
    "EarlyStopping",
    "LearningRateMonitor",
    "ModelCheckpoint",
    "ModelSummary",
    "ProgressBar",
    "RichModelSummary",
    "RichProgressBar",
    "TQDMProgressBar",
    "TensorBoardLogger",
    "Timer",
    "seed_everything",
]


def seed_everything(seed: int | None = None, workers: bool = False, verbose: bool = True) -> int:
    """Seed Python, NumPy and torch, and every engine whose data module has no seed of its own.

    Args:
        seed: at least 0; None: the one that was given last, or 0.
        workers: taken without effect.
        verbose: taken without effect.

    Returns:
        The seed.

    Raises:
        ParameterError: it is not allowed.
    """
    del workers, verbose
    chosen = int(os.environ.get(SEED_VARIABLE, 0)) if seed is None else seed
    if not 0 <= chosen <= MAX_SEED:
        raise ParameterError(f"seed={seed} is not allowed: give one from 0 to {MAX_SEED}.")
    os.environ[SEED_VARIABLE] = str(chosen)
    random.seed(chosen)
    np.random.seed(chosen)
    torch.manual_seed(chosen)
    return chosen


def __getattr__(name: str) -> Any:
    return find_absent(__name__, name, ABSENT)
