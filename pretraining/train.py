"""Draw images from formulas and teach Prism to see them as its teacher does. One command, seeded, resumable.

    python -m pretraining.train --teacher ../shared/weights/mobilenet_v2_imagenet.safetensors

Knowledge distillation of features (Romero et al., "FitNets", ICLR 2015): 1x1 heads map Prism's layers to the teacher's
standardised features, the loss is the mean squared error, and the heads are thrown away. What ships is the network.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import platform
import queue
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid._files import write_bytes
from pellucid.backbones._extractor import Backbone
from pellucid.backbones.mobilenet import MobileNetV2
from pellucid.backbones.prism import CHANNELS, Prism
from pellucid.detectors._training import native_precision
from pellucid.synthesis.textures import scene

SIDE = 256  # drawn images
CROP = 160  # what the networks see
CHUNK = 500  # images a file
MATCH = {"layer1": ("stage1",), "layer2": ("stage2",), "layer3": ("stage3", "stage4")}
WIDTHS = {"layer1": 24, "layer2": 32, "layer3": 64 + 96}
WEIGHTS = Path(__file__).parents[1] / "src/pellucid/backbones/weights"


def draw_chunk(path: Path, seed: int, first: int) -> None:
    """Draw ``CHUNK`` images, seeded one by one, and write them whole or not at all."""
    images = [scene(np.random.default_rng((seed, i)), SIDE) for i in range(first, first + CHUNK)]
    temporary = path.with_suffix(".part")
    with temporary.open("wb") as file:
        np.save(file, np.round(np.stack(images) * 255).astype(np.uint8))
    temporary.replace(path)


def drawn(folder: Path, seed: int, count: int, workers: int) -> NDArray[np.uint8]:
    """``count`` images (count, SIDE, SIDE, 3); those already in ``folder`` are not drawn again."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{SIDE}-{seed}-{first}.npy" for first in range(0, count, CHUNK)]
    with ProcessPoolExecutor(workers) as pool:
        missing = [(path, seed, n * CHUNK) for n, path in enumerate(paths) if not path.exists()]
        for done in [pool.submit(draw_chunk, *job) for job in missing]:
            done.result()
    return np.concatenate([np.load(path) for path in paths])[:count]


def crops(images: NDArray[np.uint8], seed: int, first: int, last: int, batch: int) -> Iterator[Tensor]:
    """Batches (batch, 3, CROP, CROP) in [0, 1]; every step is seeded, so a resumed run sees the same crops."""
    for step in range(first, last):
        rng = np.random.default_rng((seed, 1, step))
        out = np.empty((batch, CROP, CROP, 3), np.float32)
        for b in range(batch):
            side = int(rng.integers(100, 251))  # random scale
            y, x = rng.integers(0, SIDE - side + 1, 2)
            crop: NDArray[Any] = images[rng.integers(len(images)), y : y + side, x : x + side]
            how = cv2.INTER_AREA if side > CROP else cv2.INTER_LINEAR
            crop = cv2.resize(crop, (CROP, CROP), interpolation=how).astype(np.float32) / 255
            crop = crop[:: rng.choice((-1, 1)), :: rng.choice((-1, 1))]
            if rng.random() < 0.5:
                crop = crop.transpose(1, 0, 2)
            out[b] = crop * rng.uniform(0.7, 1.2) + rng.uniform(-0.1, 0.1)
        yield torch.from_numpy(out.clip(0, 1)).permute(0, 3, 1, 2)


def ahead(batches: Iterator[Tensor], depth: int = 4) -> Iterator[Tensor]:
    """The same batches, prepared by a thread while the networks compute."""
    ready: queue.Queue[Tensor | None] = queue.Queue(depth)

    def fill() -> None:
        for item in batches:
            ready.put(item)
        ready.put(None)

    threading.Thread(target=fill, daemon=True).start()
    while (item := ready.get()) is not None:
        yield item


class Lesson(nn.Module):
    """Prism with its temporary heads, and the teacher that it has to agree with."""

    mean: dict[str, Tensor]
    std: dict[str, Tensor]

    def __init__(self, teacher: MobileNetV2) -> None:
        super().__init__()
        self.prism = Prism()
        self.heads = nn.ModuleDict({k: nn.Conv2d(CHANNELS[n], WIDTHS[k], 1) for n, k in enumerate(MATCH, start=1)})
        self.teacher = teacher.eval().requires_grad_(False)
        self.mean, self.std = {}, {}

    def answers(self, x: Tensor) -> dict[str, Tensor]:
        """The teacher's features per layer, (B, C, h, w).

        TensorFlow's padding centres position i of stride s on pixel s*i + s - 1, Prism's on s*i. Turning the image by
        half a turn before the teacher, and its features after, makes the two grids coincide.
        """
        with torch.no_grad():
            seen = self.teacher((x.flip(2, 3) - 0.5) / 0.5, "stage4")
        return {k: torch.cat([seen[s] for s in stages], 1).flip(2, 3).float() for k, stages in MATCH.items()}

    def standardise(self, batches: list[Tensor]) -> None:
        """Per-channel mean and deviation of the teacher's features, over the first batches."""
        answers = [self.answers(x) for x in batches]
        for k in MATCH:
            values = torch.cat([a[k] for a in answers]).transpose(0, 1).flatten(1)
            self.mean[k], self.std[k] = values.mean(1)[:, None, None], values.std(1)[:, None, None]

    def forward(self, x: Tensor) -> Tensor:
        answers = self.answers(x)
        maps = self.prism((x - 0.5) / 0.25)
        losses = [F.mse_loss(self.heads[k](maps[k]).float(), (answers[k] - self.mean[k]) / self.std[k]) for k in MATCH]
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", type=Path, required=True, help="MobileNetV2 weights, safetensors")
    parser.add_argument("--images", type=int, default=12_000, help="drawn images")
    parser.add_argument("--steps", type=int, default=3_750)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes that draw")
    parser.add_argument("--work", type=Path, default=Path("runs/pretraining"), help="drawn images and checkpoints")
    parser.add_argument("-o", "--output", type=Path, default=WEIGHTS / "prism_s.safetensors")
    args = parser.parse_args()

    images = drawn(args.work / "drawn", args.seed, args.images, args.workers)
    torch.manual_seed(args.seed)
    teacher = MobileNetV2()
    teacher.load_state_dict(load_file(args.teacher))
    lesson = Lesson(teacher)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    lesson.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    parameters = [*lesson.prism.parameters(), *lesson.heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=2e-3, weight_decay=0.01)
    lesson.standardise([x.to(device) for x in crops(images, args.seed + 1, 0, 20, args.batch)])

    start, seconds, checkpoint = 0, 0.0, args.work / f"prism_s-{args.seed}-{args.steps}.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=device, weights_only=True)
        lesson.load_state_dict(saved["lesson"])
        optimizer.load_state_dict(saved["optimizer"])
        start, seconds = saved["step"], saved["seconds"]

    native_bf16 = native_precision() == "bf16-mixed"
    running, since = 0.0, time.monotonic()
    for step, x in enumerate(ahead(crops(images, args.seed, start, args.steps, args.batch)), start=start + 1):
        for group in optimizer.param_groups:
            warm, turn = min(step / 100, 1.0), 0.5 * (1 + math.cos(math.pi * step / args.steps))
            group["lr"] = 2e-3 * warm * turn
        with torch.autocast(device, torch.bfloat16, enabled=native_bf16):
            loss = lesson(x.to(device).contiguous(memory_format=torch.channels_last))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        running = 0.98 * running + 0.02 * loss.item() if step > start + 1 else loss.item()
        if step % 125 == 0 or step == args.steps:
            spent = seconds + time.monotonic() - since
            torch.save(
                {"lesson": lesson.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "seconds": spent},
                part := checkpoint.with_suffix(".part"),
            )
            part.replace(checkpoint)
            print(f"step {step}/{args.steps}  loss {running:.4f}  {spent / 60:.1f} min", flush=True)

    publish(
        lesson.prism,
        args.output,
        {
            "teacher_sha256": hashlib.sha256(args.teacher.read_bytes()).hexdigest(),
            "seed": args.seed,
            "images_drawn": args.images,
            "crops_seen": args.steps * args.batch,
            "final_loss": round(running, 4),
            "train_minutes": round((seconds + time.monotonic() - since) / 60, 1),
            "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        },
    )


if __name__ == "__main__":
    main()
