"""The training loop of the gradient-trained detectors: one page, callable on its own."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pellucid._io.files import write_bytes
from pellucid._io.progress import progress_bar
from pellucid.detectors._base import require
from pellucid.detectors._device import resolve_device
from pellucid.detectors._feature_cache import FeatureCache

HELD_OUT_EVERY = 10  # images: every tenth is held out to decide when to stop
PRECISIONS = ("auto", "32-true", "bf16-mixed")


Progress = tuple[dict[str, Tensor], list[float], list[float]]  # best weights, losses by epoch: trained, held out


@dataclass(frozen=True)
class History:
    """How a training went: mean losses by epoch."""

    train: tuple[float, ...]
    held_out: tuple[float, ...]


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
        precision: ``32-true`` is float32; ``bf16-mixed`` computes in bfloat16 what bears it (``torch.autocast``), with
            weights in float32; ``auto`` is ``bf16-mixed`` where the processor computes bfloat16 itself, which is up to
            twice as fast, and ``32-true`` elsewhere.
        checkpoint: file that is written after every epoch; where it exists, training goes on from it.
        description: what the progress bar calls it.

    Raises:
        ParameterError: no epochs, or another precision.
        OutputError: the features, or the checkpoint, find no room.
    """
    require(epochs >= 1, "epochs", epochs, "at least 1")
    require(precision in PRECISIONS, "precision", precision, "auto, 32-true or bf16-mixed")
    device = next(module.parameters()).device
    loss_of = partial(_loss, module, native_precision(device) if precision == "auto" else precision)
    best, train_losses, held_out_losses = _resumed(checkpoint, module, optimizer)
    with FeatureCache(images, extract, device) as cache, progress_bar() as progress:
        learned, held_out = _split(len(cache))
        task = progress.add_task(description, total=epochs, completed=len(train_losses))
        for epoch in range(len(train_losses), epochs):
            if _stalled(held_out_losses, patience):
                break
            module.train()
            batches = _shuffled(learned, batch_size, seed * 1_000_003 + epoch)
            train_losses.append(_train_epoch(loss_of, optimizer, cache, batches, clip))
            module.eval()
            held_out_losses.append(_held_out_loss(loss_of, cache, held_out, batch_size, train_losses[-1]))
            if held_out_losses[-1] <= min(held_out_losses):
                best = _copy(module)
            if checkpoint is not None:
                _save(checkpoint, module, optimizer, (best, train_losses, held_out_losses))
            progress.update(task, completed=epoch + 1, description=f"{description} {held_out_losses[-1]:.4g}")
    module.eval().load_state_dict(best)
    return History(tuple(train_losses), tuple(held_out_losses))


def _resumed(checkpoint: Path | None, module: nn.Module, optimizer: Optimizer) -> Progress:
    """Take up what a checkpoint holds, if there is one, else begin."""
    if checkpoint is None or not checkpoint.exists():
        return _copy(module), [], []
    saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
    module.load_state_dict(saved["module"])
    optimizer.load_state_dict(saved["optimizer"])
    return saved["best"], saved["train"], saved["held_out"]


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


def _loss(module: nn.Module, precision: str, maps: Sequence[Tensor]) -> Tensor:
    """Compute the loss, a float32 scalar, of maps (B, C, h, w)."""
    if precision == "32-true":
        loss: Tensor = module(*maps)
        return loss
    with torch.autocast(maps[0].device.type, torch.bfloat16):
        return module(*(m.to(torch.bfloat16) for m in maps)).float()  # type: ignore[no-any-return]


def _train_epoch(
    loss_of: Callable[[Sequence[Tensor]], Tensor],
    optimizer: Optimizer,
    cache: FeatureCache,
    batches: Sequence[Tensor],
    clip: float | None,
) -> float:
    """Take a step for every batch of images' indices (B,); return the mean loss."""
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


def _held_out_loss(
    loss_of: Callable[[Sequence[Tensor]], Tensor], cache: FeatureCache, images: Tensor, batch_size: int, fallback: float
) -> float:
    """Average the loss over held-out images; of fewer than ten images none is, and the training loss serves."""
    total = 0.0
    with torch.no_grad():
        for batch in torch.split(images, batch_size):
            total += float(loss_of(cache[batch])) * len(batch)
    return total / len(images) if len(images) else fallback


def _save(path: Path, module: nn.Module, optimizer: Optimizer, progress: Progress) -> None:
    """Write what :func:`_resumed` reads, whole or not at all."""
    best, train_losses, held_out_losses = progress
    content = {"module": module.state_dict(), "optimizer": optimizer.state_dict(), "best": best}
    content_bytes = io.BytesIO()
    torch.save({**content, "train": train_losses, "held_out": held_out_losses}, content_bytes)
    write_bytes(path, content_bytes.getvalue())
