"""Loggers by anomalib's names."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Any

from pellucid.anomalib._absent import find_absent
from pellucid.anomalib._said import say_once
from pellucid.errors import ParameterError
from pellucid.tracking import Run, to_mlflow, to_tensorboard, to_wandb
from pellucid.tracking import check as check_tracker

__path__: list[str] = []  # its parts, by anomalib's names, are found by _paths


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
        version: number or name of the version to write; the next one by default.
        options: the others, taken without effect.

    Raises:
        ParameterError: tensorboard is not installed.
    """

    def __init__(
        self,
        save_dir: str | Path = "tb_logs",
        name: str | None = "default",
        version: int | str | None = None,
        **options: Any,
    ) -> None:
        check_tracker("tensorboard")
        self.save_dir, self.name, self.version, self.options = Path(save_dir), name or "", version, options
        self._written: Path | None = None

    @property
    def log_dir(self) -> str:
        """The folder that was written last, or else that will be written next."""
        return str(self._written or self._next())

    def log(self, run: Run) -> None:
        """Write the next version."""
        self._written = self._next()
        to_tensorboard(run, self._written)

    def _next(self) -> Path:
        folder = self.save_dir / self.name
        if self.version is None:
            return next_version(folder, "version_")
        return folder / (self.version if isinstance(self.version, str) else f"version_{self.version}")


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


class CSVLogger:
    """Lightning's logger of steps, which a fit here does not have; an engine says so once.

    Args:
        save_dir: taken without effect.
        name: taken without effect.
        options: taken without effect.
    """

    def __init__(self, save_dir: str | Path = ".", name: str = "", **options: Any) -> None:
        self.save_dir, self.name, self.options = Path(save_dir), name, options


ABSENT = {
    "AnomalibCometLogger": "Comet is not logged to: take AnomalibTensorBoardLogger, AnomalibMLFlowLogger or"
    " AnomalibWandbLogger.",
    "configure_logger": "Python's logging is left as it is: call logging.basicConfig(level=...) instead.",
}


def take_loggers(given: object) -> list[AnomalibLogger]:
    """Return the loggers of an engine; a TensorBoardLogger of Lightning's own says where event files go.

    Args:
        given: one, several, or True, False or None for none.

    Raises:
        ParameterError: one of them is no logger.
    """
    loggers: list[AnomalibLogger] = []
    for one in given if isinstance(given, (list, tuple)) else [given]:
        kind = type(one).__name__
        if isinstance(one, AnomalibLogger):
            loggers.append(one)
        elif kind == "TensorBoardLogger":
            loggers.append(AnomalibTensorBoardLogger(getattr(one, "save_dir", "tb_logs"), getattr(one, "name", None)))
        elif kind.endswith("Logger"):
            say_once(f"The logger {kind} is taken without effect: a fit here has no steps that it could log.")
        elif one not in (True, False, None):
            raise ParameterError(f"logger={one!r} is not allowed: give one of pellucid.anomalib.loggers, or False.")
    return loggers


def next_version(folder: Path, prefix: str) -> Path:
    """Return the first ``<prefix>N`` of a folder that is not there yet."""
    names = (re.fullmatch(rf"{prefix}(\d+)", p.name) for p in folder.glob(f"{prefix}*"))
    return folder / f"{prefix}{max((int(m.group(1)) + 1 for m in names if m), default=0)}"


def __getattr__(name: str) -> Any:
    return find_absent(__name__, name, ABSENT)
