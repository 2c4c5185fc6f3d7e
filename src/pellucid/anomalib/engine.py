"""The engine by anomalib's name: it fits, tests and predicts."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from rich.console import Console

from pellucid import detectors
from pellucid._io.files import write_text
from pellucid.acquisition.plan import Plan
from pellucid.acquisition.splits import check_rate
from pellucid.acquisition.truth import verify_truth
from pellucid.anomalib._absent import find_absent
from pellucid.anomalib._files import CHECKPOINT, give_second_name, load_model
from pellucid.anomalib._said import without_effect
from pellucid.anomalib.callbacks import take_callbacks
from pellucid.anomalib.configuration import read_configuration
from pellucid.anomalib.data.batches import ImageBatch
from pellucid.anomalib.data.datasets import (
    PredictDataset,
    Source,
    batch_size_of,
    one_source,
    part_of,
    usual_rate,
)
from pellucid.anomalib.deploy import ExportType, check_export, export_model, say_raw
from pellucid.anomalib.loggers import next_version, take_loggers
from pellucid.anomalib.models.module import AnomalibModule
from pellucid.anomalib.predictions import batch_of
from pellucid.anomalib.testing import Watch, name_metrics, score_for
from pellucid.anomalib.trainer import Trainer, say_batch_size, take_device, take_options, usual_seed
from pellucid.detectors._networks import summarise_networks
from pellucid.errors import DataError, ParameterError
from pellucid.fitting import fit_split
from pellucid.inspector import Inspector
from pellucid.reports.tables import evaluation, summary
from pellucid.study.evaluate import EvaluationPlan, evaluate_plan
from pellucid.study.results import Evaluation
from pellucid.study.scores import by_label
from pellucid.tracking import Run

__path__: list[str] = []  # its parts, by anomalib's names, are found by _paths
__all__ = ["Engine", "ExportType"]


class Engine:
    """Fit, test and predict.

    Args:
        callbacks: of :mod:`pellucid.anomalib.callbacks` or Lightning's: a ModelCheckpoint's folder gets the model, a
            TilerConfigurationCallback's tiles are done, the others are taken without effect.
        logger: one of :mod:`pellucid.anomalib.loggers`, a list of them, or nothing.
        default_root_dir: where results go: ``<root>/<Model>/<name>/<category>/vN``.
        max_epochs: of gradient-trained models; the detector's default where it is None.
        accelerator: where to compute: ``auto``, ``cpu``, ``gpu``, ``cuda`` or ``mps``.
        normalization: ``min_max`` puts the limit of models without a PostProcessor of their own at 0.5; ``none`` and
            None leave scores in the detector's unit.
        false_reject: promised share of good images that are rejected, in (0, 1); None: 0.05, or the lowest that the
            normal images allow where they are fewer than 19.
        options: further arguments of anomalib's engine and of Lightning's trainer, taken without effect.

    Attributes:
        model: of the last call; None before.
        trainer: what a script reads of a trainer.

    Raises:
        ParameterError: an option that there is not, or a value that is not allowed.
    """

    def __init__(
        self,
        callbacks: object = None,
        logger: object = None,
        default_root_dir: str | Path = "results",
        *,
        max_epochs: int | None = None,
        accelerator: str = "auto",
        normalization: str | None = None,
        false_reject: float | None = None,
        **options: Any,
    ) -> None:
        take_options(options, ENGINE_ARGUMENTS)
        self.false_reject = None if false_reject is None else check_rate(false_reject)
        self.max_epochs = max_epochs if max_epochs is None or max_epochs > 0 else None
        self.options, self.device = options, take_device(accelerator)
        self.normalizes = "min_max" in str(normalization).lower()
        self.callbacks, self.loggers = take_callbacks(callbacks), take_loggers(logger)
        self.default_root_dir = Path(default_root_dir)
        self.model: AnomalibModule | None = None
        self.trainer = Trainer(self.max_epochs, self.default_root_dir, self.callbacks, self.loggers)
        self._runs: dict[int, Path] = {}  # by model: one engine may serve many
        self._console = Console()

    @classmethod
    def from_config(cls, config_path: str | Path, **options: Any) -> tuple[Self, AnomalibModule, Source]:
        """Make an engine, a model and a data module from a YAML file, as the command line does.

        Args:
            config_path: of the file.
            options: values that go before those of the file, by their dotted names.
        """
        made = read_configuration([config_path], options)
        return cls(**made.engine), made.model(), made.datamodule()

    @property
    def best_model_path(self) -> str:
        """Path of the model of the last fit; empty before."""
        return self.trainer.checkpoint_callback.best_model_path

    def fit(
        self,
        model: AnomalibModule,
        train_dataloaders: object = None,
        val_dataloaders: object = None,
        datamodule: object = None,
        ckpt_path: str | Path | None = None,
    ) -> None:
        """Fit a model on normal images, of which a part chooses the limit, and save it.

        Args:
            model: what to fit; it holds the inspector afterwards.
            train_dataloaders: a data module, one of its data sets or a loader over one, instead of ``datamodule``.
            val_dataloaders: taken without effect: the limit is chosen from normal training images.
            datamodule: its normal images are learned from, its abnormal ones are not. Where it has abnormal images and
                says of no normal ones that they are for testing, a fifth of the normal ones is left for :meth:`test`.
            ckpt_path: only None is allowed: a fit begins anew.

        Raises:
            PellucidError: with one sentence that says what to do.
        """
        if ckpt_path is not None:
            raise ParameterError("ckpt_path is not taken by fit: it begins anew. test and predict take one.")
        if val_dataloaders is not None:
            without_effect("Engine.fit", ["val_dataloaders"], "the limit is chosen from normal training images")
        source = one_source({"train_dataloaders": train_dataloaders, "datamodule": datamodule})
        samples, seed = source.listed(), usual_seed(source.seed)
        false_reject = usual_rate(samples, self.false_reject)
        plan = Plan.from_data(samples, false_reject=false_reject, seed=seed)
        self._say(plan.notes)
        parameters = self._parameters(model, source, seed)
        image_size = model.pre_processor.image_size or source.image_size
        inspector = fit_split(
            detectors.create(model.detector, **parameters).to(self.device),
            plan.split,
            image_size,
            tile=next((one.tile for one in self.callbacks if getattr(one, "tile", None)), None),
            fitted_images=plan.fitted_images(),
            false_reject=false_reject,
            seed=seed,
        )
        self._adopt(model, inspector)
        run = self._next_run(model, source)
        path = run / "weights" / "model.pellucid"
        inspector.save(path)
        give_second_name(path, run / CHECKPOINT)
        config: dict[str, Any] = {"model": model.detector, "parameters": inspector.detector.parameters()}
        config |= {"image_size": image_size, "false_reject": false_reject, "seed": seed, "root": str(source.root)}
        write_text(run / "config.json", json.dumps(config, indent=2) + "\n")
        self._runs[id(model)] = run
        self.trainer.learned(model, source, run, path, int(parameters.get("epochs", 0)))
        summarised = {model.name: (summarise_networks(inspector.detector), path.stat().st_size / 1e6)}
        self._console.print(summary(summarised))

    def test(
        self,
        model: AnomalibModule | None = None,
        dataloaders: object = None,
        ckpt_path: str | Path | None = None,
        verbose: bool = True,
        datamodule: object = None,
    ) -> list[dict[str, Any]]:
        """Test a model on the images of a data module that it has not seen, and print the metrics.

        Args:
            model: fitted, unless a checkpoint is given; by default that of the last call.
            dataloaders: a data module, one of its data sets or a loader over one, instead of ``datamodule``.
            ckpt_path: model file to load instead; ``best`` and ``last`` are that of the last fit.
            verbose: False prints no metrics.
            datamodule: all its images are tested on, but for those that the model was fitted on or calibrated with.

        Returns:
            One dictionary with anomalib's names of metrics; nan is what the images do not allow.

        Raises:
            DataError: the model has not been fitted, or there is no image that it has not seen.
        """
        model, source = self._known(model), one_source({"dataloaders": dataloaders, "datamodule": datamodule})
        inspector = self._inspector(model, ckpt_path)
        run = self._runs.get(id(model)) or self._next_run(model, source)
        folder = None if model.visualizer is None else model.visualizer.output_dir or run / "images"
        result, metrics = self._evaluate(model, inspector, source, folder, verbose)
        tracked = Run(
            name=model.name,
            group=source.name,
            folder=run,
            parameters=inspector.detector.parameters(),
            metrics=result.metrics,
            scores=by_label(result.scored),
        )
        for logger in self.loggers:
            logger.log(tracked)
        return [metrics]

    def validate(
        self,
        model: AnomalibModule | None = None,
        dataloaders: object = None,
        ckpt_path: str | Path | None = None,
        verbose: bool = True,
        datamodule: object = None,
    ) -> list[dict[str, Any]]:
        """Return the metrics of :meth:`test`, without pictures and without telling loggers; arguments are the same."""
        model, source = self._known(model), one_source({"dataloaders": dataloaders, "datamodule": datamodule})
        return [self._evaluate(model, self._inspector(model, ckpt_path), source, None, verbose)[1]]

    def train(
        self,
        model: AnomalibModule,
        train_dataloaders: object = None,
        val_dataloaders: object = None,
        test_dataloaders: object = None,
        datamodule: object = None,
        ckpt_path: str | Path | None = None,
    ) -> list[dict[str, Any]]:
        """Fit a model and test it; what it takes, returns and raises are those of both."""
        self.fit(model, train_dataloaders, val_dataloaders, datamodule, ckpt_path)
        return self.test(model, test_dataloaders or datamodule or train_dataloaders)

    def predict(
        self,
        model: AnomalibModule | None = None,
        dataloaders: object = None,
        datamodule: object = None,
        dataset: object = None,
        return_predictions: bool | None = None,
        ckpt_path: str | Path | None = None,
        data_path: str | Path | None = None,
    ) -> list[ImageBatch] | None:
        """Inspect images: of a data module those that the model has not seen, of anything else all.

        Args:
            model: fitted, unless a checkpoint is given; by default that of the last call.
            dataloaders: a loader over one of these data sets.
            datamodule: images, and how many make a batch; without one, and without a loader, one image does.
            dataset: a :class:`PredictDataset`, or a data set of a data module, instead.
            return_predictions: False returns None.
            ckpt_path: model file to load instead; ``best`` and ``last`` are that of the last fit.
            data_path: an image or a folder instead.

        Raises:
            DataError: the model has not been fitted, or an image cannot be read.
            ParameterError: nothing to predict on is given, or several things.
        """
        path = None if data_path is None else PredictDataset(data_path)
        source = one_source(
            {"datamodule": datamodule, "dataset": dataset, "data_path": path, "dataloaders": dataloaders}
        )
        model = self._known(model)
        inspector = self._inspector(model, ckpt_path)
        listed = source.listed()
        samples, notes = verify_truth(listed.samples)
        self._say((*listed.notes, *notes))
        scored, notes = score_for(inspector, samples, source.labelled)
        self._say(notes)
        step = batch_size_of(dataloaders, datamodule)
        if not model.post_processor.enable_normalization:
            say_raw(inspector.limit.value)
        if return_predictions is False:
            return None
        return [
            batch_of(
                [one.inspection for one in scored[k : k + step]],
                inspector,
                model.post_processor,
                [one.sample for one in scored[k : k + step]],
                labelled=source.labelled,
            )
            for k in range(0, len(scored), step)
        ]

    def export(
        self,
        model: AnomalibModule | None = None,
        export_type: str = ExportType.OPENVINO,
        export_root: str | Path | None = None,
        model_file_name: str = "model",
        input_size: Sequence[int] | None = None,
        compression_type: str | None = None,
        datamodule: object = None,
        ckpt_path: str | Path | None = None,
        **options: Any,
    ) -> Path:
        """Write a fitted model as a graph; ``pellucid.load`` and ``pellucid inspect`` take its folder.

        Args:
            model: fitted, unless a checkpoint is given; by default that of the last call.
            export_type: ``openvino``, ``onnx``, or ``torch``, which is the model file itself.
            export_root: it goes to ``weights/<type>`` below; by default below the folder of the run.
            model_file_name: taken without effect: it is ``model``.
            input_size: taken without effect: images of any size are taken, and the model knows its own.
            compression_type: ``int8``, ``int8_ptq`` or ``int8_acq``: the backbone computes in 8-bit integers, and the
                limit is chosen anew; ``fp16`` is taken without effect.
            datamodule: for 8-bit integers, that which the model was fitted on; by default that of the last fit.
            ckpt_path: model file to load instead.
            options: anomalib's others, taken without effect.

        Returns:
            The file that was written.

        Raises:
            ParameterError: another type.
            ExportError: the graph does not agree with torch.
        """
        idle = {"input_size": input_size, "model_file_name": model_file_name != "model" or None, **options}
        without_effect(
            "Engine.export",
            [name for name, value in idle.items() if value is not None],
            "the graph is named 'model', and takes images of any size",
        )
        export_type, in_integers = check_export(export_type, compression_type)
        model = self._known(model)
        inspector = self._inspector(model, ckpt_path)
        folder = Path(export_root or self._runs.get(id(model), self.default_root_dir / model.name))
        data = part_of(datamodule or self.trainer.datamodule).listed() if in_integers else None
        return export_model(inspector, folder / "weights" / export_type, export_type, data)

    def _parameters(self, model: AnomalibModule, source: Source, seed: int) -> dict[str, Any]:
        """Hyper-parameters of a fit: the model's, and those that the engine and the data module say."""
        asked = {"epochs": self.max_epochs, "seed": seed}
        defaults = detectors.describe(model.detector).defaults
        said = {name: value for name, value in asked.items() if name in defaults and value is not None}
        parameters = said | model.hparams
        say_batch_size(source.train_batch_size, parameters.get("batch_size", defaults.get("batch_size")))
        return parameters

    def _evaluate(
        self, model: AnomalibModule, inspector: Inspector, source: Source, pictures: Path | None, verbose: bool
    ) -> tuple[Evaluation, dict[str, Any]]:
        """Test on what the model has not seen, and print what came of it."""
        if not source.labelled:
            raise DataError(f"The images of '{source.root}' have no labels to test by: use engine.predict.")
        samples = source.listed()
        test = tuple(sample for sample in samples.samples if sample.split != "train")
        if not inspector.fitted_images.hashes:
            self._say(["This model is of an earlier pellucid and does not know which images it was fitted on."])
        watch = Watch(test, inspector.limit.pixel, pictures)
        result = evaluate_plan(inspector, EvaluationPlan(samples, test, ()), finish=watch)
        metrics = name_metrics(result, watch.pixel_f1, model.evaluator)
        self.trainer.callback_metrics = {name: torch.tensor(value) for name, value in metrics.items()}
        for table in evaluation(result.to_dict()) if verbose else ():
            self._console.print(table)
        self._say((*samples.notes, *result.notes))
        return result, metrics

    def _say(self, notes: Iterable[str]) -> None:
        for note in notes:
            self._console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)

    def _next_run(self, model: AnomalibModule, source: Source) -> Path:
        return next_version(self.default_root_dir / model.name / source.name / source.category, "v")

    def _known(self, model: AnomalibModule | None) -> AnomalibModule:
        chosen = model or self.model
        if chosen is None:
            raise ParameterError("No model is given, and this engine has had none before: give model=.")
        return chosen

    def _inspector(self, model: AnomalibModule, ckpt_path: str | Path | None) -> Inspector:
        if ckpt_path in ("best", "last"):
            ckpt_path = self.best_model_path or None
        weights = next((one.weights_path for one in self.callbacks if hasattr(one, "weights_path")), None)
        path = ckpt_path or (weights if model.inspector is None else None)
        self._adopt(model, load_model(path, self.device) if path else model.fitted())
        return model.fitted()

    def _adopt(self, model: AnomalibModule, inspector: Inspector) -> None:
        model.post_processor.enable_normalization |= self.normalizes
        model.adopt(inspector)
        model.trainer, self.model = self.trainer, model


ENGINE_ARGUMENTS = tuple(inspect.signature(Engine).parameters)[:-1]


ABSENT = dict.fromkeys(
    ("SingleXPUStrategy", "XPUAccelerator"), "An XPU is not computed on: leave strategy and accelerator out."
)


def __getattr__(name: str) -> Any:
    return find_absent(__name__, name, ABSENT)
