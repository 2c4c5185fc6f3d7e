"""The engine by anomalib's name: it fits, tests and predicts."""

from __future__ import annotations

import json
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
from pellucid._io.names import fitting_file_name
from pellucid.acquisition.images import Size, as_planes, read_image, resize
from pellucid.acquisition.masks import read_mask
from pellucid.acquisition.plan import Plan
from pellucid.acquisition.truth import verify_truth
from pellucid.anomalib.data import Folder
from pellucid.anomalib.loggers import AnomalibLogger, next_version
from pellucid.anomalib.models import AnomalyModule
from pellucid.errors import DataError
from pellucid.fitting import fit_split
from pellucid.inspector import Inspector
from pellucid.models.load import load
from pellucid.records import Samples
from pellucid.reports.tables import evaluation, summary
from pellucid.study.evaluate import evaluate_scored
from pellucid.study.results import ScoredSample
from pellucid.study.scores import by_label, score_samples
from pellucid.tracking import Run


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
    """Fit, test and predict.

    Args:
        max_epochs: of gradient-trained models; the detector's default where it is None.
        logger: one of :mod:`pellucid.anomalib.loggers`, a list of them, or nothing.
        default_root_dir: where results go: ``<root>/<Model>/<name>/vN``.
        false_reject: promised share of good images that are rejected, in (0, 1).
        options: Lightning's and anomalib's other arguments, accepted and without effect here.
    """

    def __init__(
        self,
        max_epochs: int | None = None,
        logger: AnomalibLogger | Sequence[AnomalibLogger] | bool | None = None,
        default_root_dir: str | Path = "results",
        false_reject: float = 0.05,
        **options: Any,
    ) -> None:
        self.max_epochs, self.options = max_epochs, options
        loggers = logger if isinstance(logger, Sequence) else [logger]
        self.loggers = [entry for entry in loggers if isinstance(entry, AnomalibLogger)]
        self.default_root_dir, self.false_reject = Path(default_root_dir), false_reject
        self.trainer = _Trainer()
        self._runs: dict[int, Path] = {}  # by model: one engine may serve many
        self._console = Console()

    def fit(self, model: AnomalyModule, datamodule: Folder) -> None:
        """Fit a model on normal images, of which a part chooses the limit, and save it.

        Args:
            model: what to fit; it holds the inspector afterwards.
            datamodule: its normal images are learned from, its abnormal ones are not.

        Raises:
            PellucidError: with one sentence that says what to do.
        """
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
            fitted_images=plan.fitted_images(),
            false_reject=self.false_reject,
            seed=datamodule.seed or 0,
        )
        run = self._next_run(model, datamodule)
        path = run / "weights" / "model.pellucid"
        model.inspector.save(path)
        config: dict[str, Any] = {"model": model.detector, "parameters": model.inspector.detector.parameters()}
        config |= {"image_size": datamodule.image_size, "false_reject": self.false_reject, "root": str(datamodule.root)}
        write_text(run / "config.json", json.dumps(config, indent=2) + "\n")
        self._runs[id(model)] = run
        self.trainer.checkpoint_callback.best_model_path = str(path)
        summarised = {type(model).__name__: (model.inspector.detector.module_summary(), path.stat().st_size / 1e6)}
        self._console.print(summary(summarised))

    def test(
        self, model: AnomalyModule, datamodule: Folder, ckpt_path: str | Path | None = None
    ) -> list[dict[str, Any]]:
        """Test a model on every image of a data module and print the metrics.

        Args:
            model: fitted, unless a checkpoint is given.
            datamodule: all its images are tested on, as anomalib does.
            ckpt_path: model file to load instead.

        Returns:
            One dictionary with anomalib's names of metrics.

        Raises:
            DataError: the model has not been fitted, or an image cannot be read.
        """
        inspector, scored = self._score(model, datamodule, ckpt_path)
        run = self._runs.get(id(model)) or self._next_run(model, datamodule)
        result = evaluate_scored(_drawn(scored, run / "images"), inspector.limit)
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
            scores=by_label(result.scored),
        )
        for logger in self.loggers:
            logger.log(tracked)
        return [{name: result.metrics[key] for name, key in known.items()}]

    def predict(
        self,
        model: AnomalyModule,
        datamodule: Folder,
        ckpt_path: str | Path | None = None,
        return_predictions: bool = True,
    ) -> list[Prediction] | None:
        """Inspect every image of a data module.

        Args:
            model: fitted, unless a checkpoint is given.
            datamodule: images, and how many make a batch.
            ckpt_path: model file to load instead.
            return_predictions: False returns None.

        Raises:
            DataError: the model has not been fitted, or an image cannot be read.
        """
        inspector, found = self._score(model, datamodule, ckpt_path)
        scored, step = list(found), datamodule.eval_batch_size
        if not return_predictions:
            return None
        return [_batch(scored[k : k + step], inspector) for k in range(0, len(scored), step)]

    def _next_run(self, model: AnomalyModule, datamodule: Folder) -> Path:
        return next_version(self.default_root_dir / type(model).__name__ / datamodule.name, "v")

    def _score(
        self, model: AnomalyModule, datamodule: Folder, ckpt_path: str | Path | None
    ) -> tuple[Inspector, Iterator[ScoredSample]]:
        inspector = load(ckpt_path) if ckpt_path is not None else model.inspector
        if inspector is None:
            raise DataError(f"This {type(model).__name__} has not been fitted: call engine.fit or give ckpt_path.")
        model.inspector = inspector
        data = _samples(datamodule)
        samples, notes = verify_truth(data.samples)
        for note in (*data.notes, *notes):
            self._console.print(note, markup=False, highlight=False)
        return inspector, score_samples(inspector, samples)


def _samples(datamodule: Folder) -> Samples:
    if not datamodule.samples:
        datamodule.setup()
    return Samples(datamodule.root, "folder", datamodule.samples, datamodule.notes)


def _drawn(scored: Iterator[ScoredSample], folder: Path) -> Iterator[ScoredSample]:
    """The same, with a result picture written of each."""
    for n, s in enumerate(scored):
        write_bytes(
            folder / fitting_file_name(f"{n:05d}_{s.sample.path.stem}", ".png"), s.inspection.png(s.sample.mask)
        )
        yield s


def _batch(scored: Sequence[ScoredSample], inspector: Inspector) -> Prediction:
    size = inspector.image_size
    maps = [torch.from_numpy(_fit_to(s.inspection.map, size)) for s in scored]
    batch = Prediction(
        image_path=[str(s.sample.path) for s in scored],
        image=torch.from_numpy(
            np.stack([as_planes(read_image(s.sample.path, s.inspection.bits), size) for s in scored])
        ),
        label=torch.tensor([int(s.sample.label == "abnormal") for s in scored]),
        pred_scores=torch.tensor([s.inspection.score for s in scored]),
        pred_labels=torch.tensor([s.inspection.verdict == "reject" for s in scored]),
        anomaly_maps=torch.stack(maps)[:, None],
        pred_masks=torch.stack([m > inspector.limit.pixel for m in maps]),
    )
    if any(s.sample.mask for s in scored):
        batch["mask"] = torch.stack(list(_masks(scored, size)))
    return batch


def _masks(scored: Sequence[ScoredSample], size: Size) -> Iterator[Tensor]:
    for s in scored:
        own = s.inspection.map.shape
        mask = read_mask(s.sample.mask, s.sample.path, own) if s.sample.mask else np.zeros(own, bool)
        yield torch.from_numpy(_fit_to(mask.astype(np.float32), size) > 0.5)


def _fit_to(plane: np.ndarray[Any, np.dtype[np.float32]], size: Size) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.ascontiguousarray(resize(plane, size))
