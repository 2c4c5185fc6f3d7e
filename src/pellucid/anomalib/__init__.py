"""The names of an anomalib 1.x notebook, on top of pellucid: change the import line, keep the calls.

Results differ where anomalib's were not honest: scores are raw (never clamped), the limit comes from held-out normal
images and never from the test, and nothing is cropped.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from pellucid import detectors
from pellucid._io.files import write_bytes, write_text
from pellucid.acquisition.folders import image_files
from pellucid.acquisition.images import Size, as_planes, parse_size, read_image, read_mask, resize
from pellucid.acquisition.plan import Plan
from pellucid.errors import DataError
from pellucid.fitting import fit_split
from pellucid.inspector import Inspector
from pellucid.models.load import load
from pellucid.records import Sample, Samples
from pellucid.reports.tables import evaluation, summary
from pellucid.study.evaluate import evaluate
from pellucid.study.results import ScoredSample
from pellucid.study.scores import by_label, score_samples
from pellucid.tracking import Run, to_mlflow, to_tensorboard, to_wandb
from pellucid.tracking import check as check_tracker

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


class Folder:
    """A folder of normal and abnormal images. Unlike anomalib's, it never moves images between train and test.

    Args:
        name: of the data set; part of the results' path.
        normal_dir, abnormal_dir, normal_test_dir, mask_dir: below ``root``.
        image_size: N or (H, W).
        train_batch_size, eval_batch_size, num_workers, task, seed: accepted; ``eval_batch_size`` shapes predictions.
    """

    def __init__(
        self,
        name: str,
        normal_dir: str | Path,
        root: str | Path | None = None,
        abnormal_dir: str | Path | None = None,
        normal_test_dir: str | Path | None = None,
        mask_dir: str | Path | None = None,
        task: str = "classification",
        image_size: int | tuple[int, int] = 256,
        train_batch_size: int = 32,
        eval_batch_size: int = 32,
        num_workers: int = 1,
        seed: int | None = None,
    ) -> None:
        self.name, self.task, self.seed = name, task, seed
        self.root = Path(root or ".")
        self.normal_dir, self.abnormal_dir = normal_dir, abnormal_dir
        self.normal_test_dir, self.mask_dir = normal_test_dir, mask_dir
        self.image_size: Size = parse_size(image_size)
        self.train_batch_size, self.eval_batch_size, self.num_workers = train_batch_size, eval_batch_size, num_workers
        self.samples: tuple[Sample, ...] = ()

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002 - the notebook may name a stage
        """List the files.

        Raises:
            DataError: a folder is missing or empty.
        """
        masks = {p.stem: p for p in image_files(self.root / self.mask_dir)} if self.mask_dir else {}
        normal = [Sample(p, "normal") for p in self._files(self.normal_dir)]
        if self.normal_test_dir is not None:
            normal += [Sample(p, "normal", "test") for p in self._files(self.normal_test_dir)]
        abnormal = self._files(self.abnormal_dir) if self.abnormal_dir is not None else []
        self.samples = (*normal, *(Sample(p, "abnormal", mask=masks.get(p.stem)) for p in abnormal))

    def _files(self, folder: str | Path) -> list[Path]:
        found = image_files(self.root / folder)
        if not found:
            raise DataError(f"There are no images in '{self.root / folder}'.")
        return found


class _Logger(ABC):
    """What an engine hands tested models to."""

    @abstractmethod
    def log(self, run: Run) -> None:
        """Record one tested model."""


class AnomalibTensorBoardLogger(_Logger):
    """Event files in ``save_dir/name/version_N``."""

    def __init__(self, save_dir: str | Path, name: str = "default") -> None:
        self.save_dir, self.name = Path(save_dir), name

    def log(self, run: Run) -> None:
        """Write the next version."""
        to_tensorboard(run, _next(self.save_dir / self.name, "version_"))


class AnomalibMLFlowLogger(_Logger):
    """A run on the server of ``tracking_uri``, or else of ``MLFLOW_TRACKING_URI``.

    Args:
        experiment_name: that the run belongs to.
        run_name: the model's name by default.
        tracking_uri: address of the server.
        options: anomalib's other arguments, accepted and without effect here.
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


class AnomalibWandbLogger(_Logger):
    """A run at Weights & Biases, or with ``offline`` in ``save_dir/wandb``.

    Args:
        name: the model's name by default.
        save_dir: where the run's files go.
        project: that the run belongs to.
        offline: send nothing.
        options: anomalib's other arguments, accepted and without effect here.
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


class _Model:
    """A detector by its anomalib name; holds hyper-parameters, and the inspector once fitted."""

    detector: str

    def __init__(self, **parameters: Any) -> None:
        parameters.pop("pre_trained", None)  # always
        self.parameters = parameters
        detectors.create(self.detector, **parameters)  # unknown parameters are refused here, not hours later
        self.inspector: Inspector | None = None


class Patchcore(_Model):
    """See :class:`pellucid.detectors.patchcore.Patchcore`."""

    detector = "patchcore"


class Padim(_Model):
    """See :class:`pellucid.detectors.padim.Padim`."""

    detector = "padim"


class Stfpm(_Model):
    """See :class:`pellucid.detectors.stfpm.Stfpm`."""

    detector = "stfpm"


class Dfm(_Model):
    """See :class:`pellucid.detectors.dfm.Dfm`."""

    detector = "dfm"


class Fastflow(_Model):
    """See :class:`pellucid.detectors.fastflow.Fastflow`."""

    detector = "fastflow"


class ReverseDistillation(_Model):
    """See :class:`pellucid.detectors.reverse_distillation.ReverseDistillation`."""

    detector = "reverse_distillation"


class Prediction(dict[str, Any]):
    """One batch: a dictionary with 1.x's keys, and attributes with 2.x's names."""

    _SINGULAR = {
        "pred_score": "pred_scores",
        "pred_label": "pred_labels",
        "anomaly_map": "anomaly_maps",
        "gt_label": "label",
        "gt_mask": "mask",
    }

    def __getattr__(self, name: str) -> Any:
        key = self._SINGULAR.get(name, name)
        if key not in self:
            raise AttributeError(f"a prediction has no '{name}'; it has {', '.join(self)}")
        return self[key]


class _Checkpoint:
    best_model_path: str = ""


class _Trainer:
    def __init__(self) -> None:
        self.checkpoint_callback = _Checkpoint()


class Engine:
    """Fits, tests and predicts.

    Args:
        max_epochs: of gradient-trained models; None is the detector's default.
        logger: one of the loggers above, a list of them, or nothing.
        default_root_dir: where results go: ``<root>/<Model>/<name>/vN``.
        false_reject: share of good images that may be rejected.
        options: Lightning's and anomalib's other arguments, accepted and without effect here.
    """

    def __init__(
        self,
        max_epochs: int | None = None,
        logger: _Logger | Sequence[_Logger] | bool | None = None,
        default_root_dir: str | Path = "results",
        false_reject: float = 0.05,
        **options: Any,
    ) -> None:
        self.max_epochs, self.options = max_epochs, options
        loggers = logger if isinstance(logger, Sequence) else [logger]
        self.loggers = [entry for entry in loggers if isinstance(entry, _Logger)]
        self.default_root_dir, self.false_reject = Path(default_root_dir), false_reject
        self.trainer = _Trainer()
        self._runs: dict[int, Path] = {}  # by model: one engine may serve many
        self._console = Console()

    def fit(self, model: _Model, datamodule: Folder) -> None:
        """Fit on the data module's normal images, of which a part chooses the limit; abnormal ones only select."""
        samples = _samples(datamodule)
        train = tuple(replace(s, split="train") for s in samples.samples if s.split != "test")
        plan = Plan.from_data(
            replace(samples, samples=train), false_reject=self.false_reject, seed=datamodule.seed or 0
        )
        parameters = dict(model.parameters)
        if self.max_epochs is not None and "epochs" in detectors.describe(model.detector).defaults:
            parameters["epochs"] = self.max_epochs
        model.inspector = fit_split(
            detectors.create(model.detector, **parameters),
            plan.split,
            datamodule.image_size,
            data_sha256=plan.data_sha256(),
            false_reject=self.false_reject,
            seed=datamodule.seed or 0,
        )
        run = _next(self.default_root_dir / type(model).__name__ / datamodule.name, "v")
        path = run / "weights" / "model.pellucid"
        model.inspector.save(path)
        config: dict[str, Any] = {"model": model.detector, "parameters": model.inspector.detector.parameters()}
        config |= {"image_size": datamodule.image_size, "false_reject": self.false_reject, "root": str(datamodule.root)}
        write_text(run / "config.json", json.dumps(config, indent=2) + "\n")
        self._runs[id(model)] = run
        self.trainer.checkpoint_callback.best_model_path = str(path)
        summarised = {type(model).__name__: (model.inspector.detector.module_summary(), path.stat().st_size / 1e6)}
        self._console.print(summary(summarised))

    def test(self, model: _Model, datamodule: Folder, ckpt_path: str | Path | None = None) -> list[dict[str, Any]]:
        """Test on every image of the data module; prints a table and returns its numbers under anomalib's names."""
        inspector, judged = self._judge(model, datamodule, ckpt_path)
        run = self._runs.get(id(model)) or _next(self.default_root_dir / type(model).__name__ / datamodule.name, "v")
        result = evaluate(_drawn(judged, run / "images"), inspector.limit)
        for table in evaluation(result.to_dict()):
            self._console.print(table)
        known = {"image_AUROC": "image_auroc", "image_F1Score": "image_f1", "image_AUPR": "image_ap"}
        if result.metrics["pixel_auroc"] is not None:
            known["pixel_AUROC"] = "pixel_auroc"
        tracked = Run(
            name=type(model).__name__,
            group=datamodule.name,
            folder=run,
            parameters=inspector.detector.parameters(),
            metrics=result.metrics,
            scores=by_label(result.judged),
        )
        for logger in self.loggers:
            logger.log(tracked)
        return [{name: result.metrics[key] for name, key in known.items()}]

    def predict(
        self,
        model: _Model,
        datamodule: Folder,
        ckpt_path: str | Path | None = None,
        return_predictions: bool = True,
    ) -> list[Prediction] | None:
        """Batches of results for every image of the data module."""
        inspector, found = self._judge(model, datamodule, ckpt_path)
        judged, step = list(found), datamodule.eval_batch_size
        if not return_predictions:
            return None
        return [_batch(judged[k : k + step], inspector) for k in range(0, len(judged), step)]

    def _judge(
        self, model: _Model, datamodule: Folder, ckpt_path: str | Path | None
    ) -> tuple[Inspector, Iterator[ScoredSample]]:
        inspector = load(ckpt_path) if ckpt_path is not None else model.inspector
        if inspector is None:
            raise DataError(f"This {type(model).__name__} has not been fitted: call engine.fit or give ckpt_path.")
        model.inspector = inspector
        return inspector, score_samples(inspector, _samples(datamodule).samples)


def _samples(datamodule: Folder) -> Samples:
    if not datamodule.samples:
        datamodule.setup()
    return Samples(datamodule.root, "folder", datamodule.samples)


def _drawn(judged: Iterator[ScoredSample], folder: Path) -> Iterator[ScoredSample]:
    """The same, with a result picture written of each."""
    for n, j in enumerate(judged):
        write_bytes(folder / f"{n:05d}_{j.sample.path.stem}.png", j.inspection.png(j.sample.mask))
        yield j


def _batch(judged: Sequence[ScoredSample], inspector: Inspector) -> Prediction:
    size = inspector.image_size
    maps = [torch.from_numpy(_fit_to(j.inspection.map, size)) for j in judged]
    batch = Prediction(
        image_path=[str(j.sample.path) for j in judged],
        image=torch.from_numpy(np.stack([as_planes(read_image(j.sample.path), size) for j in judged])),
        label=torch.tensor([int(j.sample.label == "abnormal") for j in judged]),
        pred_scores=torch.tensor([j.inspection.score for j in judged]),
        pred_labels=torch.tensor([j.inspection.verdict == "reject" for j in judged]),
        anomaly_maps=torch.stack(maps)[:, None],
        pred_masks=torch.stack([m > inspector.limit.pixel for m in maps]),
    )
    if any(j.sample.mask for j in judged):
        batch["mask"] = torch.stack(list(_masks(judged, size)))
    return batch


def _masks(judged: Sequence[ScoredSample], size: Size) -> Iterator[Tensor]:
    for j in judged:
        mask = read_mask(j.sample.mask) if j.sample.mask else np.zeros(size, bool)
        yield torch.from_numpy(_fit_to(mask.astype(np.float32), size) > 0.5)


def _fit_to(plane: np.ndarray[Any, np.dtype[np.float32]], size: Size) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.ascontiguousarray(resize(plane, size))


def _next(folder: Path, prefix: str) -> Path:
    """The first ``<prefix>N`` of a folder that is not there yet."""
    names = (re.fullmatch(rf"{prefix}(\d+)", p.name) for p in folder.glob(f"{prefix}*"))
    return folder / f"{prefix}{max((int(m.group(1)) + 1 for m in names if m), default=0)}"
