"""What a script reads of an engine's trainer, and the arguments that one is made with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pellucid.anomalib._files import give_second_name
from pellucid.anomalib._said import say_once, without_effect
from pellucid.anomalib.lightning import SEED_VARIABLE
from pellucid.errors import unknown_name

DEVICES = {"gpu": "cuda", "cuda": "cuda", "mps": "mps", "cpu": "cpu"}  # by Lightning's accelerator
LIMIT = "Engine(false_reject=0.05) says where the limit goes"
STEPS = "a fit here has epochs, and as many as the detector's default or max_epochs says"
PROGRESS = "progress is shown where somebody looks"
IDLE_OPTIONS = {  # of anomalib's engine and of Lightning's trainer, and why each has no effect
    "threshold": LIMIT,
    "task": "masks are used where there are any",
    "image_metrics": "a test returns every metric that the images allow",
    "pixel_metrics": "a test returns every metric that the images allow",
    "devices": "one device computes",
    "num_nodes": "one device computes",
    "strategy": "one device computes",
    "precision": "a detector's own parameter precision says it",
    "plugins": "one device computes",
    "sync_batchnorm": "one device computes",
    "enable_progress_bar": PROGRESS,
    "enable_model_summary": PROGRESS,
    "enable_checkpointing": "a fit writes one model at its end",
    "barebones": "a fit writes one model at its end",
    "log_every_n_steps": STEPS,
    "max_steps": STEPS,
    "min_steps": STEPS,
    "min_epochs": STEPS,
    "max_time": STEPS,
    "fast_dev_run": STEPS,
    "overfit_batches": STEPS,
    "accumulate_grad_batches": STEPS,
    "gradient_clip_val": STEPS,
    "gradient_clip_algorithm": STEPS,
    "limit_train_batches": STEPS,
    "limit_val_batches": STEPS,
    "limit_test_batches": STEPS,
    "limit_predict_batches": STEPS,
    "num_sanity_val_steps": STEPS,
    "check_val_every_n_epoch": STEPS,
    "val_check_interval": STEPS,
    "deterministic": "a fit with a seed is the same again on the same processor",
    "benchmark": "a fit with a seed is the same again on the same processor",
    "inference_mode": "it always is",
    "use_distributed_sampler": "one device computes",
    "profiler": "`pellucid compare` measures times and memory",
    "detect_anomaly": "a training that gives no numbers stops with a sentence",
    "reload_dataloaders_every_n_epochs": STEPS,
}
SILENT = {  # values that ask for what is done here anyway
    "devices": (1, "auto", [0], "1"),
    "strategy": ("auto",),
    "num_nodes": (1,),
    "enable_checkpointing": (True,),
    "inference_mode": (True,),
    "enable_progress_bar": (True,),
    "enable_model_summary": (True,),
    "barebones": (False,),
    "fast_dev_run": (False,),
}


def take_options(options: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Say which options of an engine have no effect, and why.

    Args:
        options: as a script gives them.
        known: arguments that the engine has itself, for a suggestion.

    Raises:
        ParameterError: there is no such option.
    """
    idle: dict[str, list[str]] = {}
    for name, value in options.items():
        if name not in IDLE_OPTIONS:
            raise unknown_name("argument of Engine", name, (*IDLE_OPTIONS, *known))
        if value is not None and value not in SILENT.get(name, ()):
            idle.setdefault(IDLE_OPTIONS[name], []).append(name)
    for why, names in idle.items():
        without_effect("Engine", names, why)


def take_device(accelerator: object) -> str:
    """Return where to compute, by Lightning's accelerator; the processor where there is no GPU, which is said once."""
    device = DEVICES.get(str(accelerator).lower(), "auto")
    missing = {"cuda": not torch.cuda.is_available(), "mps": not torch.backends.mps.is_available()}
    if missing.get(device):
        say_once(f"accelerator='{accelerator}' is taken as 'cpu': there is none on this machine.")
        return "cpu"
    return device


def usual_seed(given: int | None) -> int:
    """Return the seed of a data module, or that of ``seed_everything``, or 0."""
    return int(os.environ.get(SEED_VARIABLE, 0)) if given is None else given


def say_batch_size(asked: int | None, used: int | None) -> None:
    """Say once where a network is trained by another number of images at a time than a data module has in a batch.

    Args:
        asked: of the data module; None: nobody asked.
        used: of the detector; None: it has no batches.
    """
    if asked is not None and used is not None and asked != used:
        say_once(
            f"train_batch_size={asked} is taken without effect in a fit: its network is trained by {used} images at a"
            " time, which its epochs are made for; batch_size= of the model says another number."
        )


class Checkpoint:
    """Where the model of the last fit lies: ``best_model_path``, empty before."""

    def __init__(self) -> None:
        self.best_model_path = self.last_model_path = ""
        self.best_model_score: float | None = None
        self.dirpath: str | None = None


class Trainer:
    """What a script reads of an engine's trainer, after a fit or a test.

    Args:
        max_epochs: of the engine.
        default_root_dir: of the engine.
        callbacks: of the engine; those that know of a checkpoint are told where it lies.
        loggers: of the engine.
    """

    def __init__(
        self, max_epochs: int | None, default_root_dir: Path, callbacks: list[Any], loggers: list[Any]
    ) -> None:
        self.max_epochs, self.default_root_dir = max_epochs, str(default_root_dir)
        self.callbacks, self.loggers = callbacks, loggers
        self.checkpoint_callback = Checkpoint()
        self.callback_metrics: dict[str, torch.Tensor] = {}
        self.current_epoch = self.global_step = 0
        self.model: Any = None
        self.datamodule: Any = None

    @property
    def logger(self) -> Any:
        """The first logger; None where there is none."""
        return self.loggers[0] if self.loggers else None

    @property
    def log_dir(self) -> str:
        """Folder of the last run."""
        return self.default_root_dir

    logged_metrics = property(lambda self: self.callback_metrics)
    lightning_module = property(lambda self: self.model)

    def save_checkpoint(self, filepath: str | Path, **_: Any) -> None:
        """Write the model of the last fit.

        Args:
            filepath: of the file.

        Raises:
            NotFittedError: there was none.
        """
        self.model.fitted().save(Path(filepath))

    def learned(self, model: Any, source: Any, run: Path, path: Path, epochs: int) -> None:
        """Take down what a fit has written.

        Args:
            model: that was fitted.
            source: of its images.
            run: folder of the run.
            path: of the model file.
            epochs: that it was trained for; 0 where it has none.
        """
        self.model, self.datamodule, self.current_epoch, self.default_root_dir = model, source, epochs, str(run)
        paths = [(self.checkpoint_callback, path)]
        for callback in self.callbacks:
            if hasattr(callback, "best_model_path"):
                paths.append((callback, _copy(path, callback)))
        for checkpoint, own in paths:
            checkpoint.best_model_path = checkpoint.last_model_path = str(own)


def _copy(path: Path, callback: Any) -> Path:
    """The model file where a script's ModelCheckpoint wants it."""
    if callback.dirpath is None:
        return path
    name = callback.filename or "model"
    own = Path(callback.dirpath) / f"{'model' if '{' in name else name}.ckpt"
    give_second_name(path, own)
    return own
