"""The training loop of the gradient-trained detectors: one page, on Lightning Fabric, callable on its own."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from pellucid._files import write_bytes
from pellucid.detectors._base import require
from pellucid.progress import bar

HOLD_OUT = 10  # every tenth image is held out to decide when to stop
BUFFER = 512  # images that are shuffled among each other
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces the precision on every fit


@dataclass(frozen=True)
class History:
    """Mean losses by epoch."""

    train: tuple[float, ...]
    held_out: tuple[float, ...]


class Objective(nn.Module):
    """A loss as a module: ``loss(pixels)``, a scalar, over the parameters of ``learners``."""

    def __init__(self, loss: Callable[[Tensor], Tensor], *learners: nn.Module) -> None:
        super().__init__()
        self.learners = nn.ModuleList(learners)
        self._loss = loss

    def forward(self, pixels: Tensor) -> Tensor:
        return self._loss(pixels)


def train(
    module: nn.Module,
    optimizer: Optimizer,
    images: Iterable[Tensor],
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
    """Minimise ``module(pixels)``, a scalar loss, over normal images; ends with the weights of the best epoch.

    Args:
        module: maps a batch (B, 3, H, W) to its loss; changed in place.
        optimizer: over the module's trainable parameters.
        images: re-iterable of batches; every tenth image is held out for early stopping.
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
    with bar() as progress:
        task = progress.add_task(description, total=epochs, completed=len(train_losses))
        for epoch in range(len(train_losses), epochs):
            if _stalled(held_out_losses, patience):
                break
            module.train()
            order = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
            losses = []
            for pixels in _shuffled(images, batch_size, order):
                loss = step_module(pixels.to(fabric.device))
                step_optimizer.zero_grad()
                fabric.backward(loss)
                if clip is not None:
                    nn.utils.clip_grad_norm_(parameters, clip)
                step_optimizer.step()
                losses.append(float(loss.detach()))
            train_losses.append(sum(losses) / len(losses))
            held_out_losses.append(_held_out_loss(step_module, images, batch_size, fabric.device, train_losses[-1]))
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


def _singles(images: Iterable[Tensor], *, held_out: bool) -> Iterator[Tensor]:
    """Images (3, H, W) one by one: every tenth, or all the others."""
    index = 0
    for batch in images:
        for image in batch:
            if (index % HOLD_OUT == HOLD_OUT - 1) == held_out:
                yield image
            index += 1


def _batched(images: Iterable[Tensor], batch_size: int) -> Iterator[Tensor]:
    batch: list[Tensor] = []
    for image in images:
        batch.append(image)
        if len(batch) == batch_size:
            yield torch.stack(batch)
            batch = []
    if batch:
        yield torch.stack(batch)


def _shuffled(images: Iterable[Tensor], batch_size: int, order: torch.Generator) -> Iterator[Tensor]:
    """Mini-batches in random order; more images than the buffer holds are shuffled as they stream by."""

    def stream() -> Iterator[Tensor]:
        buffer: list[Tensor] = []
        for image in _singles(images, held_out=False):
            if len(buffer) == BUFFER:
                k = int(torch.randint(BUFFER, (1,), generator=order))
                yield buffer[k]
                buffer[k] = image
            else:
                buffer.append(image)
        for k in torch.randperm(len(buffer), generator=order):
            yield buffer[int(k)]

    for batch in _batched(stream(), batch_size):
        if len(batch) > 1 or batch_size == 1:  # batch statistics of one image say nothing
            yield batch


def _held_out_loss(
    module: nn.Module, images: Iterable[Tensor], batch_size: int, device: torch.device, fallback: float
) -> float:
    """Mean loss on the held-out images; with fewer than ten images there are none, and the training loss serves."""
    module.eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for pixels in _batched(_singles(images, held_out=True), batch_size):
            total += float(module(pixels.to(device))) * len(pixels)
            count += len(pixels)
    return total / count if count else fallback


def _save(path: Path, content: dict[str, object]) -> None:
    content_bytes = io.BytesIO()
    torch.save(content, content_bytes)
    write_bytes(path, content_bytes.getvalue())
