"""Loggers by anomalib's names."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Any

from pellucid.tracking import Run, to_mlflow, to_tensorboard, to_wandb
from pellucid.tracking import check as check_tracker


class AnomalibLogger(ABC):
    """What an engine hands tested models to."""

    @abstractmethod
    def log(self, run: Run) -> None:
        """Record one tested model."""


class AnomalibTensorBoardLogger(AnomalibLogger):
    """Event files in ``save_dir/name/version_N``.

    Args:
        save_dir: folder of all versions of all names.
        name: of the experiment.

    Raises:
        ParameterError: tensorboard is not installed.
    """

    def __init__(self, save_dir: str | Path, name: str = "default") -> None:
        check_tracker("tensorboard")
        self.save_dir, self.name = Path(save_dir), name

    def log(self, run: Run) -> None:
        """Write the next version."""
        to_tensorboard(run, next_version(self.save_dir / self.name, "version_"))


class AnomalibMLFlowLogger(AnomalibLogger):
    """A run on the server of ``tracking_uri``, or else of ``MLFLOW_TRACKING_URI``.

    Args:
        experiment_name: that the run belongs to.
        run_name: the model's name by default.
        tracking_uri: address of the server.
        options: anomalib's other arguments, accepted and without effect here.

    Raises:
        ParameterError: mlflow is not installed.
    """

    def __init__(
        self,
        experiment_name: str = "anomalib_logs",
        run_name: str | None = None,
        tracking_uri: str | None = None,
        **options: Any,
    ) -> None:
        check_tracker("mlflow")
        self.experiment_name, self.run_name, self.tracking_uri = experiment_name, run_name, tracking_uri
        self.options = options

    def log(self, run: Run) -> None:
        """Send the model's results and files."""
        run = replace(run, group=self.experiment_name, name=self.run_name or run.name)
        to_mlflow(run, self.tracking_uri)


class AnomalibWandbLogger(AnomalibLogger):
    """A run at Weights & Biases, or with ``offline`` in ``save_dir/wandb``.

    Args:
        name: the model's name by default.
        save_dir: where the run's files go.
        project: that the run belongs to; ``pellucid`` by default.
        offline: send nothing.
        options: anomalib's other arguments, accepted and without effect here.

    Raises:
        ParameterError: wandb is not installed.
    """

    def __init__(
        self,
        name: str | None = None,
        save_dir: str | Path = ".",
        project: str | None = None,
        offline: bool = False,
        **options: Any,
    ) -> None:
        check_tracker("wandb")
        self.name, self.save_dir, self.project, self.offline = name, Path(save_dir), project, offline
        self.options = options

    def log(self, run: Run) -> None:
        """Record the model's results and files."""
        settings: dict[str, Any] = {"dir": str(self.save_dir)} | ({"mode": "offline"} if self.offline else {})
        to_wandb(replace(run, name=self.name or run.name), self.project or "pellucid", **settings)


def next_version(folder: Path, prefix: str) -> Path:
    """Return the first ``<prefix>N`` of a folder that is not there yet."""
    names = (re.fullmatch(rf"{prefix}(\d+)", p.name) for p in folder.glob(f"{prefix}*"))
    return folder / f"{prefix}{max((int(m.group(1)) + 1 for m in names if m), default=0)}"
