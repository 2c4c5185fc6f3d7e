"""What the networks are shown: images drawn from formulas, crops of them, and what a camera makes of a crop."""

from __future__ import annotations

import hashlib
import inspect
import math
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import dct
from torch import Tensor
from torch.nn import functional as F

from pellucid.synthesis import fields, textures
from pellucid.synthesis.textures import scene

DRAWING_PX = 256  # side of a drawn image
CROP_PX = 160  # side of what the networks see
IMAGES_PER_FILE = 500
CAMERAS_PER_BATCH = 12  # each with a scale, an orientation, a kind of noise and a file format of its own

# from red, green and blue in [0, 255] to luma and two differences of colour around 0 (T.871)
YCC_FROM_RGB = torch.tensor(((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312)))
COSINE_BASIS = torch.from_numpy(dct(np.eye(8), axis=0, norm="ortho")).float()
DCT_BASIS = torch.einsum("ij,kl->ikjl", COSINE_BASIS, COSINE_BASIS).reshape(64, 1, 8, 8)  # what an 8x8 block is made of
# fmt: off
LUMA_STEPS = (16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
        14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
        49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99)  # steps at quality 50 (T.81, table K.1)
CHROMA_STEPS = (17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
          47, 66, 99, 99, 99, 99, 99, 99, *32 * (99,))  # table K.2
# fmt: on

Batch = tuple[Tensor, Tensor]  # what Prism sees, what the teacher sees, both (batch, 3, CROP_PX, CROP_PX) in [0, 1]


def code_sha256(*modules: ModuleType) -> str:
    """Return the SHA-256 over the source of modules, of this one, and of what it draws with, as it is now."""
    sources = [inspect.getsource(module) for module in (textures, fields, sys.modules[__name__], *modules)]
    versions = f"numpy {np.__version__}, OpenCV {cv2.__version__}"
    return hashlib.sha256("\0".join([*sources, versions]).encode()).hexdigest()


def draw_chunk(path: Path, seed: int, first: int, last: int) -> None:
    """Draw images ``first`` to ``last``, seeded one by one, and write them whole or not at all."""
    images = [scene(np.random.default_rng((seed, i)), DRAWING_PX) for i in range(first, last)]
    temporary = path.with_suffix(".part")
    with temporary.open("wb") as file:
        np.save(file, np.round(np.stack(images) * 255).astype(np.uint8))
    temporary.replace(path)


def draw_images(folder: Path, seed: int, count: int, workers: int) -> NDArray[np.uint8]:
    """Draw ``count`` images (count, DRAWING_PX, DRAWING_PX, 3).

    Those in ``folder`` that the same code drew are not drawn again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    code = code_sha256()[:16]
    ranges = [(first, min(first + IMAGES_PER_FILE, count)) for first in range(0, count, IMAGES_PER_FILE)]
    paths = {part: folder / f"{DRAWING_PX}-{seed}-{part[0]}-{part[1]}-{code}.npy" for part in ranges}
    # spawned: the threads of OpenCV, torch and CUDA do not survive a fork
    with ProcessPoolExecutor(workers, get_context("spawn"), cv2.setNumThreads, (1,)) as pool:
        jobs = [pool.submit(draw_chunk, path, seed, *part) for part, path in paths.items() if not path.exists()]
        for job in jobs:
            job.result()
    return np.concatenate([np.load(path) for path in paths.values()])


def crops(images: Tensor, seed: int, first: int, last: int, batch: int, rank: int = 0) -> Iterator[Batch]:
    """Yield the batches of process ``rank`` for steps ``first`` to ``last``.

    They are computed where ``images`` (N, DRAWING_PX, DRAWING_PX, 3) are. Each is seeded, so a resumed run sees the
    same.
    """
    for step in range(first, last):
        rng = np.random.default_rng((seed, 1, step, rank))
        noise = torch.Generator(images.device).manual_seed(int(rng.integers(2**63)))
        shots = []
        for n in range(min(CAMERAS_PER_BATCH, batch)):
            clean = random_crops(rng, images, len(range(n, batch, CAMERAS_PER_BATCH)))
            captured = (clean + camera_noise(rng, noise, clean)).clamp(0, 1)
            shots.append(
                (jpeg_roundtrip(captured, int(rng.integers(60, 97))) if rng.random() < 0.4 else captured, clean)
            )
        yield torch.cat([captured for captured, _ in shots]), torch.cat([clean for _, clean in shots])


def random_crops(rng: np.random.Generator, images: Tensor, count: int) -> Tensor:
    """Cut crops (count, 3, CROP_PX, CROP_PX) out of images, all at one random scale and turned alike; each in
    its own light, and of its own contrast or a fainter one."""
    side = int(rng.integers(100, 251))
    which = torch.from_numpy(rng.integers(len(images), size=(count, 1, 1)))
    top, left = torch.from_numpy(rng.integers(DRAWING_PX - side + 1, size=(2, count, 1, 1)))
    at = (which, top + torch.arange(side)[:, None], left + torch.arange(side))
    crop = images[tuple(_to_device_of(images, where) for where in at)].permute(0, 3, 1, 2).float() / 255
    crop = F.interpolate(crop, (CROP_PX, CROP_PX), mode="bilinear", antialias=True)
    crop = crop.flip([axis for axis in (2, 3) if rng.random() < 0.5])
    crop = crop.mT if rng.random() < 0.5 else crop
    middle = crop.mean((2, 3), keepdim=True)
    fainter = (
        _uniform_per_picture(rng, -math.log(10), math.log(10), crop).clamp(max=0).exp()
    )  # half of them stay as they are
    crop = middle + (crop - middle) * fainter
    return (crop * _uniform_per_picture(rng, 0.7, 1.2, crop) + _uniform_per_picture(rng, -0.1, 0.1, crop)).clamp(0, 1)


def _uniform_per_picture(rng: np.random.Generator, low: float, high: float, pictures: Tensor) -> Tensor:
    """Draw a number (B, 1, 1, 1) for each of the pictures (B, 3, H, W)."""
    return _to_device_of(
        pictures, torch.from_numpy(rng.uniform(low, high, (len(pictures), 1, 1, 1)).astype(np.float32))
    )


def _to_device_of(pictures: Tensor, numbers: Tensor) -> Tensor:
    """Put numbers where the pictures are, without waiting for a GPU's queue of work."""
    return numbers.to(pictures.device, non_blocking=True)


def camera_noise(rng: np.random.Generator, generator: torch.Generator, clean: Tensor) -> Tensor:
    """Draw the noise of one camera for ``clean`` (B, 3, H, W): of any strength, in half of the cameras alike in all
    colours, as where a picture is grey, and in some of them smooth, as where it was enlarged."""
    channels = 1 if rng.random() < 0.5 else 3
    noise = torch.randn((len(clean), channels, CROP_PX, CROP_PX), generator=generator, device=clean.device)
    if rng.random() < 0.3:
        bell = torch.exp(-0.5 * (torch.arange(-3, 4, device=clean.device) / rng.uniform(0.4, 0.9)) ** 2)
        bell = (bell / bell.sum()).expand(channels, 1, 1, 7)
        noise = F.conv2d(F.pad(noise, (3, 3, 3, 3), mode="reflect"), bell, groups=channels)
        noise = 1.5 * F.conv2d(noise, bell.mT, groups=channels)
    return noise * _uniform_per_picture(rng, math.log(0.0005), math.log(0.012), clean).exp()


def jpeg_roundtrip(pictures: Tensor, quality: int) -> Tensor:
    """Return what a JPEG file keeps of pictures, as a camera or a plant's archive writes one (ITU-T T.81, T.871).

    Args:
        pictures: (B, 3, H, W) in [0, 1], H and W multiples of 16; colours are kept at half the resolution.
        quality: 50 to 100.
    """
    ycc = torch.einsum("dc,bchw->bdhw", _to_device_of(pictures, YCC_FROM_RGB), (pictures * 255).round())
    luma, chroma = (ycc[:, :1] - 128).round(), F.avg_pool2d(ycc[:, 1:], 2).round()
    luma, chroma = _quantised(luma, LUMA_STEPS, quality) + 128, _quantised(chroma, CHROMA_STEPS, quality)
    ycc = torch.cat([luma, F.interpolate(chroma, scale_factor=2, mode="bilinear")], 1)
    rgb = torch.einsum("dc,bchw->bdhw", _to_device_of(pictures, YCC_FROM_RGB.inverse()), ycc)
    return rgb.round().clamp(0, 255) / 255


def _quantised(planes: Tensor, table: tuple[int, ...], quality: int) -> Tensor:
    """Round the cosines of the 8x8 blocks of planes (B, C, H, W) to multiples of ``table`` at ``quality``."""
    basis = _to_device_of(planes, DCT_BASIS)
    step = _to_device_of(planes, ((torch.tensor(table) * (200 - 2 * quality) + 50) // 100).clamp(1, 255).view(-1, 1, 1))
    coefficients = F.conv2d(planes.flatten(0, 1)[:, None], basis, stride=8)
    return F.conv_transpose2d((coefficients / step).round() * step, basis, stride=8).view_as(planes)
