"""Results to TensorBoard, MLflow and Weights & Biases: parameters, real metrics, scores, curves, pictures, models."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pellucid.errors import ParameterError, missing_extra, unknown_name

PICTURES = 24


@dataclass(frozen=True)
class Run:
    """One model's results, as any tracker takes them."""

    name: str
    group: str  # runs of one group belong together: a data set
    folder: Path  # model.pellucid, scores.csv, metrics.json, curves/*.png, images/*.png; what is not there is left out
    parameters: Mapping[str, Any]
    metrics: Mapping[str, float | int | None]  # None is left out
    scores: Mapping[str, Sequence[float]]  # of images, by label

    def known(self) -> dict[str, float | int]:
        """The metrics that there are."""
        return {k: v for k, v in self.metrics.items() if v is not None}

    def pictures(self) -> list[Path]:
        """Curves, then as many result pictures as people look at."""
        curves, images = (sorted((self.folder / part).glob("*.png")) for part in ("curves", "images"))
        return [*curves, *images[:PICTURES]]

    def files(self) -> list[Path]:
        """The model and the tables."""
        names = ("model.pellucid", "weights/model.pellucid", "config.toml", "config.json", "metrics.json", "scores.csv")
        return [path for name in names if (path := self.folder / name).exists()]


def track(run: Run, trackers: Iterable[str]) -> None:
    """Hand a run to trackers by name.

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


def to_tensorboard(run: Run, folder: Path | None = None) -> None:
    """Event files in ``tensorboard/`` of the run's folder, or elsewhere: parameters with the real metrics, histograms
    of scores, the precision-recall curve, pictures, and where the model lies."""
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
    """A run of the experiment ``run.group`` on a server, by default that of ``MLFLOW_TRACKING_URI``.

    Every file is an artifact, the model too; :func:`pellucid.load` opens it.
    """
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
    """A run of a project, group ``run.group``; ``WANDB_MODE=offline`` keeps it in ``WANDB_DIR``.

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
    """Values that every tracker takes; lists and None become text."""
    return {k: v if isinstance(v, (int, float, str, bool)) else json.dumps(v) for k, v in parameters.items()}


def _rgb(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    image = np.asarray(cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(image[..., ::-1])
