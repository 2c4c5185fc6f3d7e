"""Draw images from formulas and teach the patch description network to see them as prism_m does, by the clock.

    python -m pretraining.train_pdn --minutes 9 -o pdn_s.safetensors

Pictures are drawn by every core while the network learns from those that are there. The teacher needs no photograph
and no download: it is the backbone that pellucid brings.

As EfficientAD distils its teacher (Batzner et al., WACV 2024, arXiv 2303.14535, algorithm 3): layers 2 and 3 of the
larger network, which sees the picture twice as large, joined on one grid, every channel of zero mean and unit variance;
the mean squared error. Deviations: crops as a camera takes them (``pretraining/pictures.py``) of which the teacher sees
the clean ones, AdamW whose rate falls with the clock, and no padding, so that only whole patches are learned from.
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
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import cv2
import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid import backbones
from pellucid._io.files import write_bytes
from pellucid.backbones import pdn
from pellucid.backbones.pdn import PADDING_PX, PDN
from pellucid.synthesis.textures import scene
from pretraining.pictures import DRAWING_PX, Batch, code_sha256, crops, draw_chunk
from pretraining.train import run_command

STUDENT, TEACHER, TEACHER_LAYERS = "pdn_s", "prism_m", ("layer2", "layer3")
IMAGES_PER_CHUNK = 200
MIN_CHUNKS = 8  # before anything is learned
WARM_UP_SHARE = 0.02  # of the time
BORDER = PADDING_PX // 4  # positions of the teacher's grid that patches without padding are not at
PROBE_BATCHES = 8  # that means, scales and agreement are measured on


class Drawings:
    """Images that processes draw, and those of them that are there so far.

    Args:
        folder: where chunks of them are kept.
        seed: of the first.
        count: a multiple of ``IMAGES_PER_CHUNK``.
        workers: processes.
        device: where they are wanted.
    """

    def __init__(self, folder: Path, seed: int, count: int, workers: int, device: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._images = torch.empty((count, DRAWING_PX, DRAWING_PX, 3), dtype=torch.uint8, device=device)
        self._pool = ProcessPoolExecutor(workers, get_context("spawn"), cv2.setNumThreads, (1,))
        self._jobs: list[tuple[Path, Future[None]]] = []
        for first in range(0, count, IMAGES_PER_CHUNK):
            path = folder / f"{seed}-{first}.npy"
            self._jobs.append((path, self._pool.submit(draw_chunk, path, seed, first, first + IMAGES_PER_CHUNK)))
        self._chunks = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def so_far(self, at_least: int = 0) -> Tensor:
        """Return the images (N, DRAWING_PX, DRAWING_PX, 3) that are there; wait for ``at_least`` chunks of them."""
        while self._chunks < len(self._jobs):
            path, job = self._jobs[self._chunks]
            if self._chunks >= at_least and not job.done():
                break
            job.result()
            first = self._chunks * IMAGES_PER_CHUNK
            self._images[first : first + IMAGES_PER_CHUNK] = torch.from_numpy(np.load(path))
            path.unlink()
            self._chunks += 1
        return self._images[: self._chunks * IMAGES_PER_CHUNK]


class Descriptions(nn.Module):
    """What the network has to say of the patches of an image (B, 3, H, W) in [0, 1]: (B, C, H/4 - 8, W/4 - 8)."""

    mean: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.backbone = backbones.create(TEACHER, layers=TEACHER_LAYERS)
        channels = sum(c for c, _, _ in self.backbone.shapes(64, 64))
        self.register_buffer("mean", torch.zeros(channels, 1, 1))
        self.register_buffer("scale", torch.ones(channels, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        large = F.interpolate(pixels, scale_factor=2, mode="bilinear")
        fine, coarse = self.backbone(large)
        joined = torch.cat([fine, twice_as_fine(coarse)], 1)[:, :, BORDER:-BORDER, BORDER:-BORDER]
        return (joined - self.mean) / self.scale

    def standardise(self, batches: list[Tensor]) -> None:
        """Find the mean and the scale of every channel."""
        values = torch.cat([self(pixels).transpose(0, 1).flatten(1) for pixels in batches], 1)  # (C, N)
        self.mean.copy_(values.mean(1)[:, None, None])
        self.scale.copy_(values.std(1)[:, None, None])


def twice_as_fine(maps: Tensor) -> Tensor:
    """Interpolate maps (B, C, h, w), whose position i lies on pixel s*i, to (B, C, 2h, 2w), i on pixel s*i/2."""
    size = [2 * side + 1 for side in maps.shape[2:]]
    edged = F.pad(maps, (0, 1, 0, 1), mode="replicate")
    return F.interpolate(edged, size=size, mode="bilinear", align_corners=True)[:, :, :-1, :-1]


def unexplained(student: Callable[[Tensor], Tensor], teacher: Descriptions, batches: Iterable[Batch]) -> float:
    """Return the share of the variance of the teacher's descriptions that the student's do not explain."""
    left, whole = 0.0, 0.0
    with torch.inference_mode():
        for captured, clean in batches:
            answer = teacher(clean)
            left += float((student(captured) - answer).square().mean())
            whole += float((answer - answer.mean((0, 2, 3), keepdim=True)).square().mean())
    return left / whole


def publish(net: PDN, path: Path, record: dict[str, Any]) -> None:
    """Write weights in half precision, the record of how they came to be, and what they compute for one drawn image."""
    content = save({name: tensor.half().cpu().contiguous() for name, tensor in net.state_dict().items()})
    write_bytes(path, content)
    pixels = torch.from_numpy(scene(np.random.default_rng(0), 64)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        (described,) = backbones.create(STUDENT, layers=PDN.layers, weights=path)(pixels)
    write_bytes(path.with_suffix(".activations.safetensors"), save({"layer1": described.half().contiguous()}))
    whole = {"sha256": hashlib.sha256(content).hexdigest(), **record}
    write_bytes(path.with_suffix(".json"), (json.dumps(whole, indent=2) + "\n").encode())


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=9.0, help="from the first picture to the last step")
    parser.add_argument("--images", type=int, default=120_000, help="drawn images, at most")
    parser.add_argument("--batch", type=int, default=256, help="crops a step")
    parser.add_argument("--seed", type=int, default=0, help="of drawings, crops and first weights")
    parser.add_argument("--lr", type=float, default=1.5e-3, help="highest learning rate")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 1) - 2), help="that draw")
    parser.add_argument("--work", type=Path, default=Path("runs/pretraining/pdn"), help="where drawings pass through")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/pretraining/pdn_s.safetensors"))
    return parser.parse_args()


class Training:
    """A training that ends when its time is up.

    Args:
        args: of :func:`parse_arguments`.
        device: ``cuda`` or ``cpu``.
    """

    def __init__(self, args: argparse.Namespace, device: str) -> None:
        self.args, self.device, self.start = args, device, time.monotonic()
        torch.manual_seed(args.seed)
        self.net = cast(PDN, backbones.network(STUDENT))
        self.teacher = Descriptions().to(device)
        self.teacher.backbone.fold()
        self.net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.compiled = torch.compile(self.net.layer1) if device == "cuda" else self.net.layer1
        self.steps, self.images, self.loss = 0, 0, math.nan

    def student(self, captured: Tensor, layers: Callable[[Tensor], Tensor]) -> Tensor:
        """Describe every whole patch of what a camera has taken, (B, C, H/4 - 8, W/4 - 8)."""
        pixels = (captured - self.net.mean[0]) / self.net.std[0]
        return layers(pixels.contiguous(memory_format=torch.channels_last))

    def error(self, captured: Tensor, clean: Tensor) -> Tensor:
        """Return the mean squared error of a batch; the teacher answers in full precision."""
        with torch.no_grad():
            answer = self.teacher(clean)
        with torch.autocast(self.device, torch.bfloat16, enabled=self.device == "cuda"):
            described = self.student(captured, self.compiled)
        return F.mse_loss(described.float(), answer)

    def run(self, drawings: Drawings) -> None:
        """Learn until the time is up; half way and at the end the weights are written."""
        args, images = self.args, drawings.so_far(MIN_CHUNKS)
        probe = crops(images, args.seed + 1, 0, PROBE_BATCHES, args.batch)
        with torch.inference_mode():
            self.teacher.standardise([clean for _, clean in probe])
        optimizer = torch.optim.AdamW(self.net.parameters(), lr=args.lr, weight_decay=0.01)
        half_written, said, recent = False, 0.0, torch.zeros((), device=self.device)
        while (share := (time.monotonic() - self.start) / (60 * args.minutes)) < 1:
            for group in optimizer.param_groups:
                group["lr"] = args.lr * min(share / WARM_UP_SHARE, 1, 0.5 * (1 + math.cos(math.pi * share)))
            captured, clean = next(crops(images, args.seed, self.steps, self.steps + 1, args.batch))
            loss = self.error(captured, clean)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
            optimizer.step()
            self.steps += 1
            recent = torch.lerp(recent, loss.detach(), max(0.01, 1 / self.steps))
            if self.steps % 10 == 0:  # a GPU's queue of work may not grow beyond the clock
                images, self.images, self.loss = drawings.so_far(), len(images), float(recent)
            if share - said > 0.02:
                said = share
                print(f"{share:.0%}  step {self.steps}  images {len(images)}  loss {float(recent):.4f}", flush=True)
            if share > 0.5 and not half_written:
                half_written, self.images, self.loss = True, len(images), float(recent)
                self.publish("half")
        self.images, self.loss = len(images), float(recent)

    def publish(self, stage: str) -> None:
        """Write the weights and their record; how far they are from the teacher is measured on other drawings."""
        args = self.args
        fresh = [scene(np.random.default_rng((args.seed + 2, i)), DRAWING_PX) for i in range(24)]
        unseen = torch.from_numpy(np.round(np.stack(fresh) * 255).astype(np.uint8)).to(self.device)
        teacher = backbones.entry(TEACHER)
        record = {
            "teacher": teacher.full_name,
            "teacher_sha256": teacher.sha256,
            "teacher_layers": TEACHER_LAYERS,
            "stage": stage,
            "seed": args.seed,
            "images_drawn": self.images,
            "crops_seen": self.steps * args.batch,
            "processor": torch.cuda.get_device_name() if self.device == "cuda" else "cpu",
            "batch": args.batch,
            "lr": args.lr,
            "code_sha256": code_sha256(pdn, sys.modules[__name__]),
            "final_loss": round(self.loss, 4),
            "unexplained_of_other_drawings": round(
                unexplained(
                    partial(self.student, layers=self.net.layer1),
                    self.teacher,
                    crops(unseen, args.seed + 3, 0, PROBE_BATCHES, args.batch),
                ),
                4,
            ),
            "train_minutes": round((time.monotonic() - self.start) / 60, 1),
            "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        }
        output = args.output if stage == "end" else args.output.with_stem(f"{args.output.stem}_{stage}")
        publish(self.net, output, record)
        print(json.dumps(record), flush=True)


def main() -> None:
    args = parse_arguments()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True
    args.output.parent.mkdir(parents=True, exist_ok=True)
    with Drawings(args.work, args.seed, args.images, args.workers, device) as drawings:
        training = Training(args, device)
        training.run(drawings)
        training.publish("end")


if __name__ == "__main__":
    run_command(main)
