"""Draw images from formulas and teach Prism to see them as a teacher does. One command, seeded, resumable.

    python -m pretraining.train --weights ../shared/weights/mobilenet_v2_imagenet.safetensors
    torchrun --standalone --nproc-per-node auto -m pretraining.train --weights ...

The second way uses every GPU, or every core if there is none: two processes of one thread see twice as many crops a
second as one process of two threads.

Knowledge distillation of features (Romero et al., "FitNets", ICLR 2015): Prism's layers have to equal the teacher's
features of the same picture, where the teacher sees it with its contrast lifted and Prism as a camera would take it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from pellucid import backbones
from pellucid._io.files import write_bytes
from pellucid.backbones import prism
from pellucid.backbones._weights import load_weights
from pellucid.backbones.prism import Prism
from pellucid.detectors._training import native_precision
from pellucid.errors import ParameterError, PellucidError
from pellucid.synthesis.textures import scene
from pretraining import teacher
from pretraining.pictures import code_sha256, crops, draw_images
from pretraining.teacher import Teacher

WARM_UP_STEPS = 100
STEPS_PER_CHECKPOINT = 125


class Distillation(nn.Module):
    """Prism, and the teacher that it has to agree with."""

    def __init__(self, prism: Prism, teacher: Teacher) -> None:
        super().__init__()
        self.prism, self.teacher = prism, teacher

    def forward(self, captured: Tensor, clean: Tensor) -> Tensor:
        """Return the squared error relative to the variance within each image, so that what tells parts of one product
        apart counts."""
        losses = []
        maps = self.prism.features(captured, self.prism.gain_control(captured)[0])
        for layer, answer in self.teacher(clean).items():
            within = answer.var((2, 3)).mean(1)[:, None, None, None]
            losses.append(((maps[layer].float() - answer).square() / (within + 0.1)).mean())
        return torch.stack(losses).mean()


def publish(student: str, prism: Prism, path: Path, record: dict[str, Any]) -> None:
    """Write weights in half precision, the record of how they came to be, and what they compute for one drawn image."""
    content = save({k: v.half().contiguous() for k, v in prism.cpu().state_dict().items()})
    write_bytes(path, content)
    pixels = torch.from_numpy(scene(np.random.default_rng(0), 64)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        maps = backbones.create(student, layers=Prism.layers, weights=path)(pixels)
    activations = {layer: m.half().contiguous() for layer, m in zip(Prism.layers, maps, strict=True)}
    write_bytes(path.with_suffix(".activations.safetensors"), save(activations))
    whole = {"sha256": hashlib.sha256(content).hexdigest(), **record}
    write_bytes(path.with_suffix(".json"), (json.dumps(whole, indent=2) + "\n").encode())


def run_command(main: Callable[[], None]) -> None:
    """Run a command; what its user got wrong is said in one sentence."""
    try:
        main()
    except PellucidError as error:
        sys.exit(f"error: {error}")


def file_sha256(path: Path | None) -> str | None:
    """Return the SHA-256 of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path else None


def state_sha256(module: nn.Module) -> str:
    """Return the SHA-256 of a network's weights, where there is no file of them."""
    return hashlib.sha256(save({k: v.contiguous() for k, v in module.state_dict().items()})).hexdigest()


def provenance(path: Path | None) -> dict[str, Any] | None:
    """Return how a file of weights came to be, as far as is known."""
    if path is None:
        return None
    beside = path.with_suffix(".json")
    return cast(dict[str, Any], json.loads(beside.read_text())) if beside.exists() else {"sha256": file_sha256(path)}


def prism_names() -> list[str]:
    """Return the names of the Prisms whose weights are in the package, the default first."""
    return [name for name in backbones.embedded_names() if backbones.entry(name).family == "prism"]


def add_teacher_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that every command here has."""
    known = ", ".join(name for name in backbones.names() if name not in backbones.embedded_names())
    parser.add_argument("--teacher", default="mobilenet_v2", help=f"the backbone to learn from: {known}, timm/NAME")
    parser.add_argument("--weights", type=Path, help="its weights, a file; some backbones have theirs on the hub")


def add_student_option(parser: argparse.ArgumentParser) -> None:
    """Add the choice of a Prism."""
    known = prism_names()
    parser.add_argument("--student", default=known[0], choices=known, help="the Prism that learns from the teacher")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_teacher_options(parser)
    add_student_option(parser)
    parser.add_argument("--images", type=int, default=12_000, help="drawn images")
    parser.add_argument("--steps", type=int, default=8_000, help="of the optimizer")
    parser.add_argument("--batch", type=int, default=48, help="crops a step, in each of torchrun's processes")
    parser.add_argument("--seed", type=int, default=0, help="of drawings, crops and first weights")
    parser.add_argument("--lr", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--from", dest="start", type=Path, help="weights of an earlier Prism to go on from")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes that draw")
    parser.add_argument("--work", type=Path, default=Path("runs/pretraining"), help="drawn images and checkpoints")
    parser.add_argument("-o", "--output", type=Path, help="file of weights to write; STUDENT.safetensors in --work")
    return parser.parse_args()


class Training:
    """One student's training in one of torchrun's processes, which a kill may interrupt.

    Args:
        args: of :func:`parse_arguments`.
        rank: number of the process, from 0.
        processes: how many there are.
        device: ``cuda`` or ``cpu``.
    """

    def __init__(self, args: argparse.Namespace, rank: int, processes: int, device: str) -> None:
        self.args, self.rank, self.processes, self.device = args, rank, processes, device
        torch.manual_seed(args.seed)
        self.prism = cast(Prism, backbones.network(args.student))
        self.distillation = Distillation(self.prism, Teacher(args.teacher, args.weights))
        if args.start:
            load_weights(self.prism, args.student, args.start)
        self.shaped_by = {  # everything that the weights follow from
            "teacher": args.teacher,
            "teacher_sha256": file_sha256(args.weights) or state_sha256(self.distillation.teacher.backbone),
            "start": provenance(args.start),
            "seed": args.seed,
            "images_drawn": args.images,
            "crops_seen": args.steps * args.batch * processes,
            "processes": processes,
            "processor": torch.cuda.get_device_name() if device == "cuda" else "cpu",
            "batch": args.batch,
            "lr": args.lr,
            "code_sha256": code_sha256(teacher, prism, sys.modules[__name__]),
        }
        run = {"student": args.student, "start_sha256": file_sha256(args.start), "steps": args.steps, **self.shaped_by}
        run["torch"] = torch.__version__
        key = hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()[:16]
        self.checkpoint = args.work / f"{args.student}-{key}.pt"
        self.step, self.seconds, self.loss = 0, 0.0, torch.tensor(math.nan)

    def run(self, images: Tensor) -> None:
        """Learn from drawn images (N, SIDE, SIDE, 3), going on from the checkpoint if there is one."""
        args = self.args
        self.distillation.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        parameters = list(self.prism.parameters())
        optimizer = torch.optim.AdamW(parameters, lr=args.lr, weight_decay=0.01)
        self.distillation.teacher.standardise([clean for _, clean in crops(images, args.seed + 1, 0, 20, args.batch)])
        taught = DistributedDataParallel(self.distillation) if self.processes > 1 else self.distillation
        self._resume(optimizer)

        native_bf16 = native_precision() == "bf16-mixed"
        before, since, first = self.seconds, time.monotonic(), self.step + 1
        batches = crops(images, args.seed, self.step, args.steps, args.batch, self.rank)
        for step, (captured, clean) in enumerate(batches, start=first):
            for group in optimizer.param_groups:
                warm_up, cosine = min(step / WARM_UP_STEPS, 1.0), 0.5 * (1 + math.cos(math.pi * step / args.steps))
                group["lr"] = args.lr * warm_up * cosine
            with torch.autocast(self.device, torch.bfloat16, enabled=native_bf16):
                loss = taught(captured, clean)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            self.loss = torch.lerp(self.loss, loss.detach(), 0.02) if step > first else loss.detach()
            self.step, self.seconds = step, before + time.monotonic() - since
            if step % STEPS_PER_CHECKPOINT == 0 or step == args.steps:
                self._check_finite()
            if self.rank == 0 and (step % STEPS_PER_CHECKPOINT == 0 or step == args.steps):
                self._save(optimizer)
                print(f"step {step}/{args.steps}  loss {self.loss:.4f}  {self.seconds / 60:.1f} min", flush=True)

    def _check_finite(self) -> None:
        """Raise ParameterError when the training has diverged: nothing of it is kept."""
        if not math.isfinite(self.loss):
            raise ParameterError(
                f"The training diverged before step {self.step}: give a lower --lr than {self.args.lr:g}."
            )

    def _resume(self, optimizer: torch.optim.Optimizer) -> None:
        if self.checkpoint.exists():
            saved = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
            self.distillation.load_state_dict(saved["distillation"])
            optimizer.load_state_dict(saved["optimizer"])
            self.step, self.seconds, self.loss = saved["step"], saved["seconds"], saved["loss"]

    def _save(self, optimizer: torch.optim.Optimizer) -> None:
        state = {
            "distillation": self.distillation.state_dict(),
            "optimizer": optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "loss": self.loss,
        }
        torch.save(state, part := self.checkpoint.with_suffix(".part"))
        part.replace(self.checkpoint)

    def publish(self) -> None:
        """Write the weights and their record; the checkpoint goes, since nothing is left to be resumed."""
        record = {
            **self.shaped_by,
            "final_loss": round(float(self.loss), 4),
            "train_minutes": round(self.seconds / 60, 1),
            "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        }
        output = self.args.output or self.args.work / f"{self.args.student}.safetensors"
        publish(self.args.student, self.prism, output, record)
        self.checkpoint.unlink(missing_ok=True)


def main() -> None:
    args = parse_arguments()
    rank, processes = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))  # "cuda" is this process's own from here on
        torch.backends.cudnn.benchmark = True
    if processes > 1:
        distributed.init_process_group(timeout=timedelta(days=1))  # the others wait while the first one draws
    training = Training(args, rank, processes, device)
    if rank > 0:
        distributed.barrier()
    images = torch.from_numpy(draw_images(args.work / "drawn", args.seed, args.images, args.workers)).to(device)
    if rank == 0 and processes > 1:
        distributed.barrier()
    training.run(images)
    if processes > 1:
        distributed.destroy_process_group()
    if rank == 0:
        training.publish()


if __name__ == "__main__":
    run_command(main)
