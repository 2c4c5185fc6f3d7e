"""The training loop of the gradient-trained detectors: one page, on Lightning Fabric, callable on its own."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from pellucid._io.files import write_bytes
from pellucid._io.progress import progress_bar
from pellucid.detectors._base import require
from pellucid.detectors._feature_cache import FeatureCache

HOLD_OUT = 10  # every tenth image is held out to decide when to stop
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces the precision on every fit


@dataclass(frozen=True)
class History:
    """Mean losses by epoch."""

    train: tuple[float, ...]
    held_out: tuple[float, ...]


class Objective(nn.Module):
    """A loss as a module: ``loss(*maps)``, a scalar, over the parameters of ``learners``."""

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
        module: maps what was seen in a batch to its loss; changed in place.
        optimizer: over the module's trainable parameters.
        images: batches (B, 3, H, W), read once; every tenth image is held out for early stopping.
        extract: what a batch has to teach, maps (B, C, h, w): computed once an image, see :class:`FeatureCache`.
        epochs: passes over the images, at most.
        batch_size: images a step.
        seed: of the order of images; a resumed run sees the order that an uninterrupted one would have seen.
        patience: epochs without a better held-out loss before training stops.
        clip: largest norm of the gradient.
        precision: as Lightning Fabric names it; ``auto`` is ``bf16-mixed`` where the processor computes bfloat16
            itself, which is up to twice as fast, and ``32-true`` elsewhere.
        checkpoint: written after every epoch; where it exists, training goes on from it.

    Raises:
        ParameterError: no epochs.
        OutputError: no room for what was seen.
    """
    require(epochs >= 1, "epochs", epochs, "at least 1")
    chosen = native_precision() if precision == "auto" else precision
    fabric = Fabric(accelerator="auto", devices=1, precision=chosen)  # type: ignore[arg-type]
    step_module, step_optimizer = fabric.setup(module, optimizer)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    train_losses: list[float] = []
    held_out_losses: list[float] = []
    best = _copy(module)
    if checkpoint is not None and checkpoint.exists():
        saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
        module.load_state_dict(saved["module"])
        optimizer.load_state_dict(saved["optimizer"])
        best, train_losses, held_out_losses = saved["best"], saved["train"], saved["held_out"]
    with FeatureCache(images, extract, fabric.device) as cache, progress_bar() as progress:
        learned, held_out = _split(len(cache))
        task = progress.add_task(description, total=epochs, completed=len(train_losses))
        for epoch in range(len(train_losses), epochs):
            if _stalled(held_out_losses, patience):
                break
            module.train()
            losses = []
            for batch in _shuffled(learned, batch_size, seed * 1_000_003 + epoch):
                loss = step_module(*cache[batch])
                step_optimizer.zero_grad()
                fabric.backward(loss)
                if clip is not None:
                    nn.utils.clip_grad_norm_(parameters, clip)
                step_optimizer.step()
                losses.append(float(loss.detach()))
            train_losses.append(sum(losses) / len(losses))
            held_out_losses.append(_held_out_loss(step_module, cache, held_out, batch_size, train_losses[-1]))
            if held_out_losses[-1] <= min(held_out_losses):
                best = _copy(module)
            if checkpoint is not None:
                content = {"module": module.state_dict(), "optimizer": optimizer.state_dict(), "best": best}
                _save(checkpoint, {**content, "train": train_losses, "held_out": held_out_losses})
            progress.update(task, completed=epoch + 1, description=f"{description} {held_out_losses[-1]:.4g}")
    module.load_state_dict(best)
    module.eval()
    return History(tuple(train_losses), tuple(held_out_losses))


def native_precision() -> str:
    """``bf16-mixed`` where the processor computes bfloat16 itself; elsewhere it would be many times slower."""
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    able = torch.cpu.get_capabilities()
    return "bf16-mixed" if able.get("avx512_bf16") or able.get("amx_bf16") else "32-true"


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {k: v.detach().cpu().clone() for k, v in module.state_dict().items()}


def _stalled(losses: list[float], patience: int) -> bool:
    return len(losses) > patience and min(losses[-patience:]) > min(losses)


def _split(count: int) -> tuple[Tensor, Tensor]:
    """Indices of the images to learn from and of those held out, every tenth."""
    held_out = torch.arange(count) % HOLD_OUT == HOLD_OUT - 1
    return (~held_out).nonzero()[:, 0], held_out.nonzero()[:, 0]


def _shuffled(images: Tensor, batch_size: int, seed: int) -> list[Tensor]:
    """Mini-batches of indices in random order, without a single image left over: its batch statistics say nothing."""
    order = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))]
    batches = list(torch.split(order, batch_size))
    return batches[:-1] if len(batches) > 1 and len(batches[-1]) < min(2, batch_size) else batches


def _held_out_loss(module: nn.Module, cache: FeatureCache, images: Tensor, batch_size: int, fallback: float) -> float:
    """Mean loss on the held-out images; with fewer than ten images there are none, and the training loss serves."""
    module.eval()
    total = 0.0
    with torch.no_grad():
        for batch in torch.split(images, batch_size):
            total += float(module(*cache[batch])) * len(batch)
    return total / len(images) if len(images) else fallback


def _save(path: Path, content: dict[str, object]) -> None:
    content_bytes = io.BytesIO()
    torch.save(content, content_bytes)
    write_bytes(path, content_bytes.getvalue())
