"""What the networks are shown: images drawn from formulas, crops of them, and what a camera makes of a crop."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import dct
from torch import Tensor
from torch.nn import functional as F

from pellucid.synthesis.textures import scene

SIDE = 256  # drawn images
CROP = 160  # what the networks see
CHUNK = 500  # images a file
CAMERAS = 12  # in a batch, each with a scale, an orientation, a kind of noise and a way to file of its own

# from red, green and blue in [0, 255] to luma and two differences of colour around 0 (T.871)
YCC = torch.tensor(((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312)))
COSINES = torch.from_numpy(dct(np.eye(8), axis=0, norm="ortho")).float()
WAVES = torch.einsum("ij,kl->ikjl", COSINES, COSINES).reshape(64, 1, 8, 8)  # what an 8x8 block is made of
# fmt: off
LUMA = (16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
        14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
        49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99)  # steps at quality 50 (T.81, table K.1)
CHROMA = (17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
          47, 66, 99, 99, 99, 99, 99, 99, *32 * (99,))  # table K.2
# fmt: on

Batch = tuple[Tensor, Tensor]  # what Prism sees, what the teacher sees, both (batch, 3, CROP, CROP) in [0, 1]


def draw_chunk(path: Path, seed: int, first: int, last: int) -> None:
    """Draw images ``first`` to ``last``, seeded one by one, and write them whole or not at all."""
    images = [scene(np.random.default_rng((seed, i)), SIDE) for i in range(first, last)]
    temporary = path.with_suffix(".part")
    with temporary.open("wb") as file:
        np.save(file, np.round(np.stack(images) * 255).astype(np.uint8))
    temporary.replace(path)


def drawn(folder: Path, seed: int, count: int, workers: int) -> NDArray[np.uint8]:
    """``count`` images (count, SIDE, SIDE, 3); those already in ``folder`` are not drawn again."""
    folder.mkdir(parents=True, exist_ok=True)
    ranges = [(first, min(first + CHUNK, count)) for first in range(0, count, CHUNK)]
    paths = {part: folder / f"{SIDE}-{seed}-{part[0]}-{part[1]}.npy" for part in ranges}
    # spawned: the threads of OpenCV, torch and CUDA do not survive a fork
    with ProcessPoolExecutor(workers, get_context("spawn"), cv2.setNumThreads, (1,)) as pool:
        jobs = [pool.submit(draw_chunk, path, seed, *part) for part, path in paths.items() if not path.exists()]
        for job in jobs:
            job.result()
    return np.concatenate([np.load(path) for path in paths.values()])


def crops(images: Tensor, seed: int, first: int, last: int, batch: int, rank: int = 0) -> Iterator[Batch]:
    """Batches of process ``rank`` for steps ``first`` to ``last``, computed where ``images`` (N, SIDE, SIDE, 3) are.
    Each is seeded, so a resumed run sees the same."""
    for step in range(first, last):
        rng = np.random.default_rng((seed, 1, step, rank))
        noise = torch.Generator(images.device).manual_seed(int(rng.integers(2**63)))
        films = []
        for n in range(min(CAMERAS, batch)):
            clean = cut(rng, images, len(range(n, batch, CAMERAS)))
            taken = (clean + camera_noise(rng, noise, clean)).clamp(0, 1)
            films.append((filed(taken, int(rng.integers(60, 97))) if rng.random() < 0.4 else taken, clean))
        yield torch.cat([taken for taken, _ in films]), torch.cat([clean for _, clean in films])


def cut(rng: np.random.Generator, images: Tensor, count: int) -> Tensor:
    """Crops (count, 3, CROP, CROP) of some of the images, all at one random scale and turned alike; each in its own
    light, and of its own contrast or a fainter one."""
    side = int(rng.integers(100, 251))
    which = torch.from_numpy(rng.integers(len(images), size=(count, 1, 1)))
    top, left = torch.from_numpy(rng.integers(SIDE - side + 1, size=(2, count, 1, 1)))
    at = (which, top + torch.arange(side)[:, None], left + torch.arange(side))
    crop = images[tuple(_beside(images, where) for where in at)].permute(0, 3, 1, 2).float() / 255
    crop = F.interpolate(crop, (CROP, CROP), mode="bilinear", antialias=True)
    crop = crop.flip([axis for axis in (2, 3) if rng.random() < 0.5])
    crop = crop.mT if rng.random() < 0.5 else crop
    middle = crop.mean((2, 3), keepdim=True)
    fainter = _each(rng, -math.log(10), math.log(10), crop).clamp(max=0).exp()  # half of them stay as they are
    crop = middle + (crop - middle) * fainter
    return (crop * _each(rng, 0.7, 1.2, crop) + _each(rng, -0.1, 0.1, crop)).clamp(0, 1)


def _each(rng: np.random.Generator, low: float, high: float, pictures: Tensor) -> Tensor:
    """A random number (B, 1, 1, 1) for each of the pictures (B, 3, H, W)."""
    return _beside(pictures, torch.from_numpy(rng.uniform(low, high, (len(pictures), 1, 1, 1)).astype(np.float32)))


def _beside(pictures: Tensor, numbers: Tensor) -> Tensor:
    """Numbers where the pictures are; a GPU's queue of work is not waited for."""
    return numbers.to(pictures.device, non_blocking=True)


def camera_noise(rng: np.random.Generator, generator: torch.Generator, clean: Tensor) -> Tensor:
    """Noise of one camera for ``clean`` (B, 3, CROP, CROP): of any strength, in half of the cameras alike in all
    colours, as where a picture is grey, and in some of them smooth, as where it was enlarged."""
    channels = 1 if rng.random() < 0.5 else 3
    noise = torch.randn((len(clean), channels, CROP, CROP), generator=generator, device=clean.device)
    if rng.random() < 0.3:
        bell = torch.exp(-0.5 * (torch.arange(-3, 4, device=clean.device) / rng.uniform(0.4, 0.9)) ** 2)
        bell = (bell / bell.sum()).expand(channels, 1, 1, 7)
        noise = F.conv2d(F.pad(noise, (3, 3, 3, 3), mode="reflect"), bell, groups=channels)
        noise = 1.5 * F.conv2d(noise, bell.mT, groups=channels)
    return noise * _each(rng, math.log(0.0005), math.log(0.012), clean).exp()


def filed(pictures: Tensor, quality: int) -> Tensor:
    """What a JPEG file of ``quality`` 50 to 100 keeps of pictures (B, 3, H, W) in [0, 1], H and W multiples of 16, with
    colours at half the resolution, because a camera or a plant's archive wrote one (ITU-T T.81, T.871)."""
    ycc = torch.einsum("dc,bchw->bdhw", _beside(pictures, YCC), (pictures * 255).round())
    luma, chroma = (ycc[:, :1] - 128).round(), F.avg_pool2d(ycc[:, 1:], 2).round()
    luma, chroma = _quantised(luma, LUMA, quality) + 128, _quantised(chroma, CHROMA, quality)
    ycc = torch.cat([luma, F.interpolate(chroma, scale_factor=2, mode="bilinear")], 1)
    rgb = torch.einsum("dc,bchw->bdhw", _beside(pictures, YCC.inverse()), ycc)
    return rgb.round().clamp(0, 255) / 255


def _quantised(planes: Tensor, table: tuple[int, ...], quality: int) -> Tensor:
    """Planes (B, C, H, W) with the cosines of their 8x8 blocks rounded to multiples of ``table`` at ``quality``."""
    waves = _beside(planes, WAVES)
    step = _beside(planes, ((torch.tensor(table) * (200 - 2 * quality) + 50) // 100).clamp(1, 255).view(-1, 1, 1))
    coefficients = F.conv2d(planes.flatten(0, 1)[:, None], waves, stride=8)
    return F.conv_transpose2d((coefficients / step).round() * step, waves, stride=8).view_as(planes)
