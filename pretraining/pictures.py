"""What the networks are shown: images drawn from formulas, crops of them, and what a camera makes of a crop."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.synthesis.textures import scene

SIDE = 256  # drawn images
CROP = 160  # what the networks see
CHUNK = 500  # images a file

Drawn = NDArray[np.uint8]  # (N, SIDE, SIDE, 3)
Picture = NDArray[np.float32]  # (CROP, CROP, 3) in [0, 1]
Batch = tuple[Tensor, Tensor]  # what Prism sees, what the teacher sees, both (batch, 3, CROP, CROP) in [0, 1]


def draw_chunk(path: Path, seed: int, first: int, last: int) -> None:
    """Draw images ``first`` to ``last``, seeded one by one, and write them whole or not at all."""
    images = [scene(np.random.default_rng((seed, i)), SIDE) for i in range(first, last)]
    temporary = path.with_suffix(".part")
    with temporary.open("wb") as file:
        np.save(file, np.round(np.stack(images) * 255).astype(np.uint8))
    temporary.replace(path)


def drawn(folder: Path, seed: int, count: int, workers: int) -> Drawn:
    """``count`` images (count, SIDE, SIDE, 3); those already in ``folder`` are not drawn again."""
    folder.mkdir(parents=True, exist_ok=True)
    ranges = [(first, min(first + CHUNK, count)) for first in range(0, count, CHUNK)]
    paths = {part: folder / f"{SIDE}-{seed}-{part[0]}-{part[1]}.npy" for part in ranges}
    with ProcessPoolExecutor(workers) as pool:
        jobs = [pool.submit(draw_chunk, path, seed, *part) for part, path in paths.items() if not path.exists()]
        for job in jobs:
            job.result()
    return np.concatenate([np.load(path) for path in paths.values()])


def crops(images: Drawn, seed: int, first: int, last: int, batch: int, rank: int = 0) -> Iterator[Batch]:
    """Batches of process ``rank`` for steps ``first`` to ``last``; each is seeded, so a resumed run sees the same."""
    for step in range(first, last):
        rng = np.random.default_rng((seed, 1, step, rank))
        clean = np.empty((batch, CROP, CROP, 3), np.float32)
        taken = rng.standard_normal(clean.shape, np.float32)
        for b in range(batch):
            clean[b] = cut(rng, images)
            taken[b] = filed(rng, (clean[b] + camera_noise(rng, taken[b])).clip(0, 1))
        yield torch.from_numpy(taken).permute(0, 3, 1, 2), torch.from_numpy(clean).permute(0, 3, 1, 2)


def cut(rng: np.random.Generator, images: Drawn) -> Picture:
    """A crop of one of the images at a random scale, turned, of its own contrast or a fainter one."""
    side = int(rng.integers(100, 251))
    y, x = rng.integers(0, SIDE - side + 1, 2)
    crop: NDArray[Any] = images[rng.integers(len(images)), y : y + side, x : x + side]
    how = cv2.INTER_AREA if side > CROP else cv2.INTER_LINEAR
    crop = cv2.resize(crop, (CROP, CROP), interpolation=how).astype(np.float32) / 255
    crop = crop[:: rng.choice((-1, 1)), :: rng.choice((-1, 1))]
    if rng.random() < 0.5:
        crop = crop.transpose(1, 0, 2)
    if rng.random() < 0.5:
        middle = crop.mean((0, 1))
        crop = middle + (crop - middle) * np.exp(rng.uniform(np.log(0.1), 0))
    return np.asarray(crop * rng.uniform(0.7, 1.2) + rng.uniform(-0.1, 0.1), np.float32).clip(0, 1)


def camera_noise(rng: np.random.Generator, noise: Picture) -> Picture:
    """White noise (CROP, CROP, 3) of unit variance made that of a camera: of any strength, smooth where a picture was
    enlarged, alike in all colours where it is grey."""
    if rng.random() < 0.3:
        noise = np.float32(1.5) * cv2.GaussianBlur(noise, (0, 0), rng.uniform(0.4, 0.9))
    if rng.random() < 0.5:
        noise = noise[..., :1]
    return noise * np.float32(np.exp(rng.uniform(np.log(0.001), np.log(0.03))))


def filed(rng: np.random.Generator, picture: Picture) -> Picture:
    """In two of five cases what a JPEG file keeps of a picture, because a camera or a plant's archive wrote one."""
    if rng.random() > 0.4:
        return picture
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(60, 97))]
    _, file = cv2.imencode(".jpg", np.round(picture[..., ::-1] * 255).astype(np.uint8), quality)
    read = np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR), np.float32)
    return read[..., ::-1] / np.float32(255)


def ahead(batches: Iterator[Batch], depth: int = 4) -> Iterator[Batch]:
    """The same batches, prepared by a thread while the networks compute."""
    ready: queue.Queue[Batch | None] = queue.Queue(depth)

    def fill() -> None:
        for item in batches:
            ready.put(item)
        ready.put(None)

    threading.Thread(target=fill, daemon=True).start()
    while (item := ready.get()) is not None:
        yield item
