"""The training loop of the gradient-trained detectors: one page, callable on its own."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pellucid._io.files import write_bytes
from pellucid._io.progress import progress_bar, track
from pellucid.detectors._base import require
from pellucid.detectors._device import resolve_device
from pellucid.detectors._feature_cache import FeatureCache
from pellucid.errors import ParameterError

HELD_OUT_EVERY = 10  # images: every tenth is held out to decide when to stop
MAX_WEIGHT = 1000.0  # trained weights stay below 100; what exceeds this has exploded, be its loss ever so finite
PRECISIONS = ("auto", "32-true", "bf16-mixed")  # auto: bfloat16 where the processor computes it, up to twice as fast


@dataclass(frozen=True)
class History:
    """How a training went: mean losses by epoch; that of held-out images is infinite where it diverged."""

    train: tuple[float, ...]
    held_out: tuple[float, ...]


@dataclass
class _Progress:
    """How far a training is.

    Attributes:
        untrained: held-out loss before the first step.
        train: mean losses by epoch.
        held_out: the same of held-out images; infinite where it is not a number, or the weights have exploded.
        best: weights after the epoch with the lowest of them; None as long as all are infinite.
        start: weights before the first step, where they are a model already; None where they are not.
    """

    untrained: float
    train: list[float] = field(default_factory=list)
    held_out: list[float] = field(default_factory=list)
    best: dict[str, Tensor] | None = None
    start: dict[str, Tensor] | None = None

    def add(self, module: nn.Module, train: float, held_out: float) -> None:
        """Note an epoch, after which the module is what it is."""
        self.train.append(train)
        self.held_out.append(held_out if math.isfinite(held_out) and not _exploded(module) else math.inf)
        if self.held_out[-1] < math.inf and self.held_out[-1] <= min(self.held_out):
            self.best = _copy(module)

    def best_weights(self, name: str, lr: float) -> dict[str, Tensor]:
        """Return the weights to keep, and warn where others diverged.

        Raises:
            ParameterError: no epoch is better than the untrained network.
        """
        lowest, advice = min(self.held_out), f"Set a lower learning rate than lr={lr:g}"
        if self.best is None:
            raise ParameterError(
                f"The training of {name} diverged: its loss or its weights grew beyond all bounds. {advice}."
            )
        if not lowest < self.untrained:
            if self.start is not None:
                return self.start
            raise ParameterError(
                f"The training of {name} learned nothing: its loss was {self.untrained:.6g} before and {lowest:.6g} at"
                f" best. Set another learning rate than lr={lr:g}, or more epochs."
            )
        if math.inf in self.held_out:
            warnings.warn(
                f"The training of {name} diverged in epoch {self.held_out.index(math.inf) + 1}; the weights of epoch"
                f" {self.held_out.index(lowest) + 1}, its best, are kept. {advice} to train longer.",
                stacklevel=3,
            )
        return self.best


class Objective(nn.Module):
    """A loss as a module.

    Args:
        loss: computes a scalar from maps (B, C, h, w).
        learners: the networks that it trains.
    """

    def __init__(self, loss: Callable[..., Tensor], *learners: nn.Module) -> None:
        super().__init__()
        self.learners = nn.ModuleList(learners)
        self._loss = loss

    def forward(self, *maps: Tensor) -> Tensor:
        return self._loss(*maps)


def train(
    module: nn.Module,
    optimizer: Optimizer,
    images: Iterable[Tensor],
    extract: Callable[[Tensor], Sequence[Tensor]],
    *,
    epochs: int,
    batch_size: int,
    seed: int = 0,
    patience: int = 10,
    clip: float | None = None,
    precision: str = "auto",
    from_model: bool = False,
    checkpoint: Path | None = None,
    description: str = "training",
) -> History:
    """Minimise ``module(*extract(pixels))``, a scalar loss, over normal images; end with the best epoch's weights.

    Args:
        module: maps the features of a batch to its loss; changed in place, on the device of its parameters.
        optimizer: over the module's trainable parameters.
        images: batches (B, 3, H, W), read once; every tenth image is held out for early stopping.
        extract: computes a batch's features, maps (B, C, h, w): once an image, see :class:`FeatureCache`.
        epochs: passes over the images, at most; 1 or more.
        batch_size: images a step, 1 or more.
        seed: of the order of images; a resumed run sees the order that an uninterrupted one would have seen.
        patience: epochs without a better held-out loss before training stops.
        clip: largest norm of the gradient; None does not limit it.
        precision: ``32-true``, ``bf16-mixed`` (``torch.autocast``, weights in float32), or ``auto``: see PRECISIONS.
        from_model: whether the module is a model before it is trained, which is kept where no epoch is better.
        checkpoint: file that is written after every epoch; where it exists, training goes on from it.
        description: its name, for people.

    Raises:
        ParameterError: the training diverged, or learned nothing; after a good epoch, diverging is a UserWarning.
        OutputError: the features, or the checkpoint, find no room.
    """
    loss_of = _loss_of(module, precision)
    module.eval()
    with FeatureCache(images, extract, next(module.parameters()).device) as cache, progress_bar() as bar:
        learned, held_out = _split(len(cache))
        held_out_loss = partial(_mean_loss, loss_of, cache, held_out if len(held_out) else learned, batch_size)
        progress = _resumed(checkpoint, module, optimizer)
        progress = progress or _Progress(held_out_loss(), start=_copy(module) if from_model else None)
        task = bar.add_task(description, total=epochs, completed=len(progress.train))
        for epoch in range(len(progress.train), epochs):
            if _stalled(progress.held_out, patience) or _exploded(module):
                break
            epoch_seed = seed * 1_000_003 + epoch
            batches = _shuffled(learned, batch_size, epoch_seed)
            train_loss = _train_epoch(module, loss_of, optimizer, cache, batches, clip, epoch_seed)
            progress.add(module, train_loss, held_out_loss())
            if checkpoint is not None:
                _save(checkpoint, module, optimizer, progress)
            bar.update(task, completed=epoch + 1, description=f"{description} {progress.held_out[-1]:.4g}")
    module.load_state_dict(progress.best_weights(description, optimizer.param_groups[0]["lr"]))
    return History(tuple(progress.train), tuple(progress.held_out))


def train_on(
    module: nn.Module,
    optimizer: Optimizer,
    images: Iterable[Tensor],
    extract: Callable[[Tensor], Sequence[Tensor]],
    draw: Callable[[torch.Generator], Tensor],
    *,
    epochs: int,
    batch_size: int,
    seed: int = 0,
    precision: str = "auto",
    description: str = "training",
) -> None:
    """Minimise the loss of a module that was trained before, for so many epochs of another kind of images.

    Nothing is held out: whoever calls it judges what came of it.

    Args:
        module: as for :func:`train`.
        optimizer: likewise.
        images: batches (B, C, H, W), read once.
        extract: computes a batch's maps.
        draw: draws the indices of the images that an epoch goes through, (N,), after all have been read.
        epochs: how many, 1 or more.
        batch_size: images a step.
        seed: of the images that are drawn, and of what the loss draws.
        precision: as for :func:`train`.
        description: its name, for people.

    Raises:
        ParameterError: the training diverged.
        OutputError: the features find no room.
    """
    loss_of = _loss_of(module, precision)
    with FeatureCache(images, extract, next(module.parameters()).device) as cache:
        for epoch in track(range(epochs), description):
            epoch_seed = seed * 1_000_003 + epoch
            batches = torch.split(draw(torch.Generator().manual_seed(epoch_seed)), batch_size)
            loss = _train_epoch(module, loss_of, optimizer, cache, batches, None, epoch_seed)
            if _exploded(module) or not math.isfinite(loss):
                lr = optimizer.param_groups[0]["lr"]
                raise ParameterError(
                    f"The training of {description} diverged. Set a lower learning rate than lr={lr:g}."
                )


def held_out_images(images: Iterable[Tensor]) -> Iterator[Tensor]:
    """Yield the images that :func:`train` does not learn from, in batches (B, 3, H, W); all where it learns from all.

    Args:
        images: re-iterable of batches, as :func:`train` reads them.
    """
    count = sum(len(pixels) for pixels in images)
    learned, held_out = _split(count)
    wanted, first = set((held_out if len(held_out) else learned).tolist()), 0
    for pixels in images:
        kept = [k for k in range(len(pixels)) if first + k in wanted]
        if kept:
            yield pixels[kept]
        first += len(pixels)


def check_training_parameters(
    *, epochs: int, batch_size: int, lr: float, precision: str, weight_decay: float = 0.0
) -> None:
    """Refuse hyper-parameters of a training that are not allowed.

    Raises:
        ParameterError: the first that is not.
    """
    require(epochs >= 1, "epochs", epochs, "at least 1")
    require(batch_size >= 1, "batch_size", batch_size, "at least 1")
    require(0 < lr < math.inf, "lr", lr, "above 0 and finite")
    require(0 <= weight_decay < math.inf, "weight_decay", weight_decay, "0 or more and finite")
    require(precision in PRECISIONS, "precision", precision, "auto, 32-true or bf16-mixed")


def _resumed(checkpoint: Path | None, module: nn.Module, optimizer: Optimizer) -> _Progress | None:
    """Take up what a checkpoint holds, if there is one; those of before 0.3 do not know what diverged."""
    if checkpoint is None or not checkpoint.exists():
        return None
    saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
    if "untrained" not in saved:
        return None
    module.load_state_dict(saved["module"])
    optimizer.load_state_dict(saved["optimizer"])
    return _Progress(saved["untrained"], saved["train"], saved["held_out"], saved["best"], saved.get("start"))


def _exploded(module: nn.Module) -> bool:
    """Whether a weight is not a number, or larger than any training that goes well makes it."""
    return not all(bool(p.detach().abs().max() <= MAX_WEIGHT) for p in module.parameters() if p.numel())


def native_precision(device: torch.device | None = None) -> str:
    """Return ``bf16-mixed`` where a device computes bfloat16 itself; elsewhere it would be many times slower.

    Args:
        device: the one that ``auto`` means by default.
    """
    device = device or resolve_device()
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:  # Apple's GPU gains little
        able = torch.cpu.get_capabilities() if device.type == "cpu" else {}
        native = bool(able.get("avx512_bf16") or able.get("amx_bf16"))
    return "bf16-mixed" if native else "32-true"


def _loss_of(module: nn.Module, precision: str) -> Callable[[Sequence[Tensor]], Tensor]:
    """Return what computes the loss of maps in a precision, which is settled where it is ``auto``."""
    device = next(module.parameters()).device
    return partial(_loss, module, native_precision(device) if precision == "auto" else precision)


def _loss(module: nn.Module, precision: str, maps: Sequence[Tensor]) -> Tensor:
    """Compute the loss, a float32 scalar, of maps (B, C, h, w)."""
    if precision == "32-true":
        loss: Tensor = module(*maps)
        return loss
    with torch.autocast(maps[0].device.type, torch.bfloat16):
        return module(*(m.to(torch.bfloat16) for m in maps)).float()  # type: ignore[no-any-return]


def _train_epoch(
    module: nn.Module,
    loss_of: Callable[[Sequence[Tensor]], Tensor],
    optimizer: Optimizer,
    cache: FeatureCache,
    batches: Sequence[Tensor],
    clip: float | None,
    seed: int,
) -> float:
    """Take a step for every batch of images' indices (B,); return the mean loss.

    The seed is of what a loss or a layer draws: a training that was resumed draws the same.
    """
    module.train()
    torch.manual_seed(seed)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    losses = []
    for batch in batches:
        loss = loss_of(cache[batch])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if clip is not None:
            nn.utils.clip_grad_norm_(parameters, clip)
        optimizer.step()
        losses.append(loss.detach())
    module.eval()
    values: list[float] = torch.stack(losses).tolist()  # a GPU is waited for once an epoch
    return sum(values) / len(values)


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {k: v.detach().cpu().clone() for k, v in module.state_dict().items()}


def _stalled(losses: list[float], patience: int) -> bool:
    return len(losses) > patience and min(losses[-patience:]) > min(losses)


def _split(count: int) -> tuple[Tensor, Tensor]:
    """Divide images into those to learn from and those held out, every tenth; their indices."""
    held_out = torch.arange(count) % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
    return (~held_out).nonzero()[:, 0], held_out.nonzero()[:, 0]


def _shuffled(images: Tensor, batch_size: int, seed: int) -> list[Tensor]:
    """Shuffle indices into batches, without a single image left over: its batch statistics say nothing."""
    order = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))]
    batches = list(torch.split(order, batch_size))
    return batches[:-1] if len(batches) > 1 and len(batches[-1]) < min(2, batch_size) else batches


def _mean_loss(
    loss_of: Callable[[Sequence[Tensor]], Tensor], cache: FeatureCache, images: Tensor, batch_size: int
) -> float:
    """Average the loss over images' indices (B,), one or more."""
    total = 0.0
    with torch.no_grad():
        for batch in torch.split(images, batch_size):
            total += float(loss_of(cache[batch])) * len(batch)
    return total / len(images)


def _save(path: Path, module: nn.Module, optimizer: Optimizer, progress: _Progress) -> None:
    """Write what :func:`_resumed` reads, whole or not at all."""
    content = {"module": module.state_dict(), "optimizer": optimizer.state_dict(), **vars(progress)}
    content_bytes = io.BytesIO()
    torch.save(content, content_bytes)
    write_bytes(path, content_bytes.getvalue())
