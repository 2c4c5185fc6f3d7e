"""Results to TensorBoard, MLflow and Weights & Biases: parameters, real metrics, scores, curves, pictures, models."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pellucid.errors import ParameterError, missing_extra, unknown_name

MAX_RESULT_PICTURES = 24  # of a run; its curves come on top


@dataclass(frozen=True)
class Run:
    """One model's results, as any tracker takes them.

    Attributes:
        name: of the run.
        group: runs of one group belong together: a data set.
        folder: with ``model.pellucid``, ``scores.csv``, ``metrics.json``, ``curves/*.png`` and ``images/*.png``; what
            is not there is left out.
        parameters: hyper-parameters by name.
        metrics: by name; None is left out.
        scores: of images, by label.
    """

    name: str
    group: str
    folder: Path
    parameters: Mapping[str, Any]
    metrics: Mapping[str, float | int | None]
    scores: Mapping[str, Sequence[float]]

    def known(self) -> dict[str, float | int]:
        """Return the metrics that are known."""
        return {k: v for k, v in self.metrics.items() if v is not None}

    def pictures(self) -> list[Path]:
        """Return the files of curves, then as many result pictures as people look at."""
        curves, images = (sorted((self.folder / part).glob("*.png")) for part in ("curves", "images"))
        return [*curves, *images[:MAX_RESULT_PICTURES]]

    def files(self) -> list[Path]:
        """Return the files of the model and its tables."""
        names = ("model.pellucid", "weights/model.pellucid", "config.toml", "config.json", "metrics.json", "scores.csv")
        return [path for name in names if (path := self.folder / name).exists()]


def log_run(run: Run, trackers: Iterable[str]) -> None:
    """Hand a run to trackers.

    Args:
        run: the results.
        trackers: names: ``tensorboard``, ``mlflow`` or ``wandb``.

    Raises:
        ParameterError: no such tracker, or its package is not installed.
    """
    for name in trackers:
        check(name)
        TRACKERS[name](run)


def check(name: str) -> None:
    """Find out before hours of work whether a tracker can be used.

    Raises:
        ParameterError: no such tracker, or its package is not installed.
    """
    if name not in TRACKERS:
        raise unknown_name("tracker", name, TRACKERS)
    if find_spec(name) is None:
        raise ParameterError(missing_extra(name, name, f"Tracking with {name}"))


def with_tensorboard(trackers: Sequence[str]) -> list[str]:
    """Return trackers and TensorBoard; where its package is missing, say how to get it and leave it out."""
    if "tensorboard" in trackers:
        return list(trackers)
    if find_spec("tensorboard") is None:
        print("No TensorBoard files are written: pip install 'pellucid[tensorboard]'.", file=sys.stderr, flush=True)
        return list(trackers)
    return ["tensorboard", *trackers]


def to_tensorboard(run: Run, folder: Path | None = None) -> None:
    """Write event files: parameters with the real metrics, histograms of scores, pictures, and where the model lies.

    Args:
        run: the results.
        folder: where they go; ``tensorboard/`` of the run's folder by default.
    """
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder or run.folder / "tensorboard")) as writer:
        writer.add_hparams(_plain(run.parameters), run.known(), run_name=".")
        for label, values in run.scores.items():
            if values:
                writer.add_histogram(f"scores/{label}", np.asarray(values))
        for path in run.pictures():
            writer.add_image(f"{path.parent.name}/{path.stem}", _rgb(path), dataformats="HWC")
        for path in run.files():
            writer.add_text(f"files/{path.name}", str(path.resolve()))


def to_mlflow(run: Run, tracking_uri: str | None = None) -> None:
    """Log a run of the experiment ``run.group``; every file is an artifact, the model too.

    MLflow's telemetry is off, unless ``MLFLOW_DISABLE_TELEMETRY`` says otherwise.

    Args:
        run: the results.
        tracking_uri: address of a server; that of ``MLFLOW_TRACKING_URI`` by default.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when mlflow is imported
    import mlflow

    if tracking_uri is not None:
        mlflow.set_tracking_uri(tracking_uri)
    mlflow.set_experiment(run.group)
    with mlflow.start_run(run_name=run.name):
        mlflow.log_params(_plain(run.parameters))
        mlflow.log_metrics({k: float(v) for k, v in run.known().items()})
        for label, values in run.scores.items():
            for step, value in enumerate(sorted(values)):
                mlflow.log_metric(f"sorted_scores_{label}", value, step=step)
        for path in run.files():
            mlflow.log_artifact(str(path))
        for path in run.pictures():
            mlflow.log_artifact(str(path), path.parent.name)


def to_wandb(run: Run, project: str = "pellucid", **settings: Any) -> None:
    """Log a run of a project, in the group ``run.group``; ``WANDB_MODE=offline`` keeps it in ``WANDB_DIR``.

    Args:
        run: the results.
        project: that they belong to.
        settings: of ``wandb.init``.
    """
    import wandb

    given = {"project": project, "group": run.group, "name": run.name, "config": _plain(run.parameters), **settings}
    with wandb.init(**given) as logged:
        logged.summary.update(run.known())
        for label, values in run.scores.items():
            if values:
                logged.log({f"scores/{label}": wandb.Histogram(values)})
        logged.log({f"{p.parent.name}/{p.stem}": wandb.Image(_rgb(p)) for p in run.pictures()})
        artifact = wandb.Artifact(re.sub(r"[^\w.-]", "-", run.name), type="model")
        for path in run.files():
            artifact.add_file(str(path))
        logged.log_artifact(artifact)


TRACKERS: dict[str, Callable[[Run], None]] = {
    "tensorboard": to_tensorboard,
    "mlflow": to_mlflow,
    "wandb": to_wandb,
}


def _plain(parameters: Mapping[str, Any]) -> dict[str, int | float | str | bool]:
    """Return values that every tracker takes; lists and None become text."""
    return {k: v if isinstance(v, (int, float, str, bool)) else json.dumps(v) for k, v in parameters.items()}


def _rgb(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    image = np.asarray(cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(image[..., ::-1])
