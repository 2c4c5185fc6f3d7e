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
from pellucid.backbones._extractor import Backbone
from pellucid.backbones._weights import EMBEDDED, load_weights
from pellucid.backbones.prism import Prism, gain_control
from pellucid.detectors._training import native_precision
from pellucid.errors import PellucidError
from pellucid.synthesis.textures import scene
from pretraining.pictures import crops, drawn
from pretraining.teacher import Teacher

WEIGHTS = Path(__file__).parents[1] / "src/pellucid/backbones/weights"


class Lesson(nn.Module):
    """Prism, and the teacher that it has to agree with."""

    def __init__(self, prism: Prism, teacher: Teacher) -> None:
        super().__init__()
        self.prism, self.teacher = prism, teacher

    def forward(self, taken: Tensor, clean: Tensor) -> Tensor:
        """Squared error relative to the variance within each image: what tells parts of one product apart counts."""
        losses = []
        maps = self.prism.features(taken, gain_control(taken)[0])
        for layer, answer in self.teacher(clean).items():
            within = answer.var((2, 3)).mean(1)[:, None, None, None]
            losses.append(((maps[layer].float() - answer).square() / (within + 0.1)).mean())
        return torch.stack(losses).mean()


def publish(prism: Prism, path: Path, record: dict[str, Any]) -> None:
    """Weights in half precision, the record of how they came to be, and what they compute for one drawn image."""
    prism = prism.cpu().half().float().eval()
    content = save({k: v.half().contiguous() for k, v in prism.state_dict().items()})
    pixels = torch.from_numpy(scene(np.random.default_rng(0), 64)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        seen = dict(zip(prism.layers, Backbone(prism, prism.layers)(pixels), strict=True))
    write_bytes(path, content)
    write_bytes(path.with_suffix(".activations.safetensors"), save({k: v.half().contiguous() for k, v in seen.items()}))
    whole = {"sha256": hashlib.sha256(content).hexdigest(), **record}
    write_bytes(path.with_suffix(".json"), (json.dumps(whole, indent=2) + "\n").encode())


def run(main: Callable[[], None]) -> None:
    """Run a command; what its user got wrong is said in one sentence."""
    try:
        main()
    except PellucidError as error:
        sys.exit(f"error: {error}")


def digest(path: Path | None) -> str | None:
    """SHA-256 of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path else None


def provenance(path: Path | None) -> dict[str, Any] | None:
    """How a file of weights came to be, as far as is known."""
    if path is None:
        return None
    beside = path.with_suffix(".json")
    return cast(dict[str, Any], json.loads(beside.read_text())) if beside.exists() else {"sha256": digest(path)}


def name_teacher(parser: argparse.ArgumentParser) -> None:
    """Options that every command here has."""
    known = ", ".join(name for name in backbones.names() if name not in EMBEDDED)
    parser.add_argument("--teacher", default="mobilenet_v2", help=f"the backbone to learn from: {known}, timm/NAME")
    parser.add_argument("--weights", type=Path, help="its weights, a file; some backbones have theirs on the hub")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    name_teacher(parser)
    parser.add_argument("--student", default=EMBEDDED[0], choices=EMBEDDED)
    parser.add_argument("--images", type=int, default=12_000, help="drawn images")
    parser.add_argument("--steps", type=int, default=8_000)
    parser.add_argument("--batch", type=int, default=48, help="crops a step, in each of torchrun's processes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--from", dest="start", type=Path, help="weights of an earlier Prism to go on from")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes that draw")
    parser.add_argument("--work", type=Path, default=Path("runs/pretraining"), help="drawn images and checkpoints")
    parser.add_argument("-o", "--output", type=Path, help="the student's embedded weights by default")
    args = parser.parse_args()

    rank, processes = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))  # "cuda" is this process's own from here on
        torch.backends.cudnn.benchmark = True
    if processes > 1:
        distributed.init_process_group(timeout=timedelta(days=1))  # the others wait while the first one draws
    torch.manual_seed(args.seed)
    prism = cast(Prism, backbones.network(args.student))
    lesson = Lesson(prism, Teacher(args.teacher, args.weights))
    if args.start:
        load_weights(prism, args.student, args.start)
    if rank > 0:
        distributed.barrier()
    images = torch.from_numpy(drawn(args.work / "drawn", args.seed, args.images, args.workers)).to(device)
    if rank == 0 and processes > 1:
        distributed.barrier()
    lesson.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    parameters = list(prism.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=args.lr, weight_decay=0.01)
    lesson.teacher.standardise([clean for _, clean in crops(images, args.seed + 1, 0, 20, args.batch)])

    taught = DistributedDataParallel(lesson) if processes > 1 else lesson
    run = f"{args.student}-{args.teacher.replace('/', '-')}-{args.seed}-{args.steps}"
    start, seconds, checkpoint = 0, 0.0, args.work / f"{run}.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=device, weights_only=True)
        lesson.load_state_dict(saved["lesson"])
        optimizer.load_state_dict(saved["optimizer"])
        start, seconds = saved["step"], saved["seconds"]

    native_bf16 = native_precision() == "bf16-mixed"
    running, since = torch.tensor(math.nan), time.monotonic()
    batches = crops(images, args.seed, start, args.steps, args.batch, rank)
    for step, (taken, clean) in enumerate(batches, start=start + 1):
        for group in optimizer.param_groups:
            warm, turn = min(step / 100, 1.0), 0.5 * (1 + math.cos(math.pi * step / args.steps))
            group["lr"] = args.lr * warm * turn
        with torch.autocast(device, torch.bfloat16, enabled=native_bf16):
            loss = taught(taken, clean)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        running = torch.lerp(running, loss.detach(), 0.02) if step > start + 1 else loss.detach()
        if rank == 0 and (step % 125 == 0 or step == args.steps):
            spent = seconds + time.monotonic() - since
            torch.save(
                {"lesson": lesson.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "seconds": spent},
                part := checkpoint.with_suffix(".part"),
            )
            part.replace(checkpoint)
            print(f"step {step}/{args.steps}  loss {running:.4f}  {spent / 60:.1f} min", flush=True)

    if processes > 1:
        distributed.destroy_process_group()
    if rank > 0:
        return
    publish(
        prism,
        args.output or WEIGHTS / f"{args.student}.safetensors",
        {
            "teacher": args.teacher,
            "teacher_sha256": digest(args.weights),
            "start": provenance(args.start),
            "seed": args.seed,
            "images_drawn": args.images,
            "crops_seen": args.steps * args.batch * processes,
            "processes": processes,
            "processor": torch.cuda.get_device_name() if device == "cuda" else "cpu",
            "batch": args.batch,
            "lr": args.lr,
            "final_loss": round(float(running), 4),
            "train_minutes": round((seconds + time.monotonic() - since) / 60, 1),
            "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        },
    )


if __name__ == "__main__":
    run(main)
