"""The engine by anomalib's name: it fits, tests and predicts."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
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
from pellucid.acquisition.splits import check_rate
from pellucid.acquisition.truth import verify_truth
from pellucid.anomalib.data import DataModule, PredictDataset
from pellucid.anomalib.loggers import AnomalibLogger, next_version
from pellucid.anomalib.models import AnomalyModule
from pellucid.detectors._networks import summarise_networks
from pellucid.errors import DataError, ParameterError, join_names, unknown_name
from pellucid.fitting import fit_split
from pellucid.inspector import Inspector
from pellucid.models.export import FILES, Format
from pellucid.models.load import load
from pellucid.records import Inspection, Sample, Samples
from pellucid.reports.tables import evaluation, summary
from pellucid.study.evaluate import EvaluationPlan, evaluate_plan
from pellucid.study.results import Evaluation, ScoredSample
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


class ExportType(StrEnum):
    """What :meth:`Engine.export` writes."""

    TORCH = "torch"
    ONNX = "onnx"
    OPENVINO = "openvino"


IGNORED_OPTIONS = (  # of anomalib 1.x and 2.x and of Lightning's trainer: what they are for is not needed here
    *("callbacks", "normalization", "task", "image_metrics", "pixel_metrics", "devices", "num_nodes", "strategy"),
    *(
        "enable_progress_bar",
        "enable_model_summary",
        "enable_checkpointing",
        "log_every_n_steps",
        "num_sanity_val_steps",
    ),
    *("check_val_every_n_epoch", "val_check_interval", "deterministic", "benchmark", "accelerator"),
)


class Engine:
    """Fit, test and predict.

    Args:
        max_epochs: of gradient-trained models; the detector's default where it is None.
        logger: one of :mod:`pellucid.anomalib.loggers`, a list of them, or nothing.
        default_root_dir: where results go: ``<root>/<Model>/<name>/vN``.
        false_reject: promised share of good images that are rejected, in (0, 1).
        options: further arguments of anomalib's engine and of Lightning's trainer, accepted and without effect here:
            those of ``IGNORED_OPTIONS``.

    Raises:
        ParameterError: another option; for a ``threshold`` the message says what to use.
    """

    def __init__(
        self,
        max_epochs: int | None = None,
        logger: AnomalibLogger | Sequence[AnomalibLogger] | bool | None = None,
        default_root_dir: str | Path = "results",
        false_reject: float = 0.05,
        **options: Any,
    ) -> None:
        if options.pop("threshold", None) is not None:
            raise ParameterError("threshold is not taken: Engine(false_reject=0.05) says where the limit goes.")
        for name in options:
            if name not in IGNORED_OPTIONS:
                raise unknown_name("argument of Engine", name, (*IGNORED_OPTIONS, *ENGINE_ARGUMENTS))
        self.max_epochs, self.options = max_epochs, options
        loggers = logger if isinstance(logger, Sequence) else [logger]
        self.loggers = [entry for entry in loggers if isinstance(entry, AnomalibLogger)]
        self.default_root_dir, self.false_reject = Path(default_root_dir), check_rate(false_reject)
        self.trainer = _Trainer()
        self._runs: dict[int, Path] = {}  # by model: one engine may serve many
        self._console = Console()

    def fit(self, model: AnomalyModule, datamodule: DataModule) -> None:
        """Fit a model on normal images, of which a part chooses the limit, and save it.

        Args:
            model: what to fit; it holds the inspector afterwards.
            datamodule: its normal images are learned from, its abnormal ones are not. Where it has abnormal images and
                says of no normal ones that they are for testing, a fifth of the normal ones is left for :meth:`test`.

        Raises:
            PellucidError: with one sentence that says what to do.
        """
        plan = Plan.from_data(_samples(datamodule), false_reject=self.false_reject, seed=datamodule.seed or 0)
        self._say(plan.notes)
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
        summarised = {type(model).__name__: (summarise_networks(model.inspector.detector), path.stat().st_size / 1e6)}
        self._console.print(summary(summarised))

    def test(
        self, model: AnomalyModule, datamodule: DataModule, ckpt_path: str | Path | None = None
    ) -> list[dict[str, Any]]:
        """Test a model on the images of a data module that it has not seen, and print the metrics.

        Args:
            model: fitted, unless a checkpoint is given.
            datamodule: all its images are tested on, but for those that the model was fitted on or calibrated with.
            ckpt_path: model file to load instead.

        Returns:
            One dictionary with anomalib's names of metrics; None is what the images do not allow.

        Raises:
            DataError: the model has not been fitted, or there is no image that it has not seen.
        """
        run = self._runs.get(id(model)) or self._next_run(model, datamodule)
        inspector, result = self._evaluate(model, datamodule, ckpt_path, run / "images")
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
        return [_metrics(result)]

    def validate(
        self, model: AnomalyModule, datamodule: DataModule, ckpt_path: str | Path | None = None
    ) -> list[dict[str, Any]]:
        """Return the metrics of :meth:`test`, without pictures and without telling loggers; arguments are the same."""
        return [_metrics(self._evaluate(model, datamodule, ckpt_path)[1])]

    def train(
        self, model: AnomalyModule, datamodule: DataModule, ckpt_path: str | Path | None = None
    ) -> list[dict[str, Any]]:
        """Fit a model and test it, on one data module; what it returns and raises are those of both.

        Args:
            model: what to fit.
            datamodule: of images to fit on and to test on.
            ckpt_path: only None is accepted: a fit begins anew.
        """
        if ckpt_path is not None:
            raise ParameterError("ckpt_path is not taken by train: a fit begins anew. engine.test takes one.")
        self.fit(model, datamodule)
        return self.test(model, datamodule)

    def predict(
        self,
        model: AnomalyModule,
        datamodule: DataModule | None = None,
        dataset: DataModule | None = None,
        data_path: str | Path | None = None,
        return_predictions: bool = True,
        ckpt_path: str | Path | None = None,
    ) -> list[Prediction] | None:
        """Inspect every image, those too that the model was fitted on; nothing is counted.

        Args:
            model: fitted, unless a checkpoint is given.
            datamodule: images, and how many make a batch.
            dataset: a :class:`PredictDataset` instead.
            data_path: an image or a folder instead.
            return_predictions: False returns None.
            ckpt_path: model file to load instead.

        Raises:
            DataError: the model has not been fitted, or an image cannot be read.
            ParameterError: nothing to predict on is given, or several things.
        """
        given = [datamodule, dataset, None if data_path is None else PredictDataset(data_path)]
        sources = [source for source in given if source is not None]
        if len(sources) != 1:
            raise ParameterError("Give one of datamodule, dataset and data_path to predict on.")
        inspector, source = self._inspector(model, ckpt_path), sources[0]
        samples, notes = verify_truth(_samples(source).samples)
        self._say((*source.notes, *notes))
        scored, step = list(score_samples(inspector, samples)), source.eval_batch_size
        if not return_predictions:
            return None
        batches = [scored[k : k + step] for k in range(0, len(scored), step)]
        return [_batch(batch, inspector, labelled=source.labelled) for batch in batches]

    def export(
        self,
        model: AnomalyModule,
        export_type: str = ExportType.OPENVINO,
        export_root: str | Path | None = None,
        ckpt_path: str | Path | None = None,
        **options: Any,
    ) -> Path:
        """Write a fitted model as a graph; ``pellucid.load`` and ``pellucid inspect`` take its folder.

        Args:
            model: fitted, unless a checkpoint is given.
            export_type: ``openvino``, ``onnx``, or ``torch``, which is the model file itself.
            export_root: folder to write to; ``weights/<type>`` of the run by default.
            ckpt_path: model file to load instead.
            options: anomalib's further ones; only None is accepted.

        Returns:
            The file that was written.

        Raises:
            ParameterError: another type, or an option that is not taken.
            ExportError: the graph does not agree with torch.
        """
        if export_type not in set(ExportType):
            raise ParameterError(f"export_type='{export_type}' is not allowed: give {', '.join(ExportType)}.")
        if taken := [name for name, value in options.items() if value is not None]:
            raise ParameterError(
                f"{join_names(taken)} is not taken: `pellucid export MODEL --int8 DATA` computes in 8-bit integers, and"
                " the size is that of the fit."
            )
        inspector = self._inspector(model, ckpt_path)
        run = self._runs.get(id(model), self.default_root_dir / type(model).__name__)
        folder = Path(export_root) if export_root is not None else run / "weights" / export_type
        if export_type == ExportType.TORCH:
            inspector.save(folder / "model.pellucid")
            return folder / "model.pellucid"
        format: Format = "onnx" if export_type == ExportType.ONNX else "openvino"
        inspector.export(folder, format)
        return folder / FILES[format][0]

    def _evaluate(
        self, model: AnomalyModule, datamodule: DataModule, ckpt_path: str | Path | None, pictures: Path | None = None
    ) -> tuple[Inspector, Evaluation]:
        """Test on what the model has not seen, and print what came of it."""
        inspector = self._inspector(model, ckpt_path)
        if not datamodule.labelled:
            raise DataError(f"The images of '{datamodule.root}' have no labels to test by: use engine.predict.")
        samples = _samples(datamodule)
        test = tuple(sample for sample in samples.samples if sample.split != "train")
        if not inspector.fitted_images.hashes:
            self._say(["This model is of an earlier pellucid and does not know which images it was fitted on."])
        finish = None if pictures is None else _drawer(test, pictures)
        result = evaluate_plan(inspector, EvaluationPlan(samples, test, ()), finish=finish)
        for table in evaluation(result.to_dict()):
            self._console.print(table)
        self._say((*samples.notes, *result.notes))
        return inspector, result

    def _say(self, notes: Iterable[str]) -> None:
        for note in notes:
            self._console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)

    def _next_run(self, model: AnomalyModule, datamodule: DataModule) -> Path:
        return next_version(self.default_root_dir / type(model).__name__ / datamodule.name, "v")

    def _inspector(self, model: AnomalyModule, ckpt_path: str | Path | None) -> Inspector:
        inspector = load(ckpt_path) if ckpt_path is not None else model.inspector
        if inspector is None:
            raise DataError(f"This {type(model).__name__} has not been fitted: call engine.fit or give ckpt_path.")
        model.inspector = inspector
        return inspector


ENGINE_ARGUMENTS = tuple(inspect.signature(Engine).parameters)[:-1]


def _samples(datamodule: DataModule) -> Samples:
    if not datamodule.samples:
        datamodule.setup()
    return Samples(datamodule.root, "folder", datamodule.samples, datamodule.notes)


def _metrics(result: Evaluation) -> dict[str, Any]:
    """Metrics by anomalib's names."""
    known = {"image_AUROC": "image_auroc", "image_F1Score": "image_f1", "image_AUPR": "image_ap"}
    if result.metrics["pixel_auroc"] is not None:
        known["pixel_AUROC"] = "pixel_auroc"
    return {name: result.metrics[key] for name, key in known.items()}


def _drawer(samples: Sequence[Sample], folder: Path) -> Callable[[int, Inspection], None]:
    """Write a picture of each inspection, with the mask where it can be drawn."""

    def draw(number: int, found: Inspection) -> None:
        try:
            picture = found.png(samples[number].mask)
        except DataError:
            picture = found.png()
        write_bytes(folder / fitting_file_name(f"{number:05d}_{found.path.stem}", ".png"), picture)

    return draw


def _batch(scored: Sequence[ScoredSample], inspector: Inspector, *, labelled: bool) -> Prediction:
    size = inspector.image_size
    maps = [torch.from_numpy(_fit_to(s.inspection.map, size)) for s in scored]
    batch = Prediction(
        image_path=[str(s.sample.path) for s in scored],
        image=torch.from_numpy(
            np.stack([as_planes(read_image(s.sample.path, s.inspection.bits), size) for s in scored])
        ),
        pred_scores=torch.tensor([s.inspection.score for s in scored]),
        pred_labels=torch.tensor([s.inspection.verdict == "reject" for s in scored]),
        anomaly_maps=torch.stack(maps)[:, None],
        pred_masks=torch.stack([m > inspector.limit.pixel for m in maps]),
    )
    if labelled:
        batch["label"] = torch.tensor([int(s.sample.label == "abnormal") for s in scored])
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
