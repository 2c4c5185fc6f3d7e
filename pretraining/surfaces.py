"""Flaws planted on surfaces that nobody trained on: are Prism's features as good there as its teacher's?

    python -m pretraining.surfaces --weights ../shared/weights/mobilenet_v2_imagenet.safetensors FOLDER ...

Every image of the folders is a product of its own. Crops of its left half are learned from; crops of its right half
are scored, as they are and with a scratch, a blot, or a place that is blurred or enlarged. Every figure goes to
``surfaces.csv`` beside this file as soon as it is measured, those that are there already are not measured again, and
the table goes into ``README.md``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from pellucid import detectors
from pellucid.acquisition.files import image_files
from pellucid.acquisition.images import read_image, resize
from pellucid.errors import DataError
from pellucid.study import metrics
from pellucid.study.pixels import PixelMetrics
from pellucid.synthesis.fields import blur
from pellucid.synthesis.flaws import apply_flaw, draw_flaw
from pretraining.evaluate import FOLDER, Measurements, compared, into_readme, settings
from pretraining.train import add_teacher_options, run_command

SURFACE_PX, CROP_PX = 512, 128  # sides of what an image is resized to, and of a crop
LEARNED_CROPS, CLEAN_CROPS, FLAWED_CROPS = 48, 16, 24
MIN_DEVIATION = 0.015  # of grey in [0, 1], below which nothing is to be seen
NOISE_DEVIATION = 0.004  # of grey in [0, 1], of what a camera would add
FLAW_KINDS = ("scratch", "blot", "blur", "lens")
VALUE_COLUMNS = ("image_auroc", "pixel_auroc")
Surface = NDArray[np.float32]  # (SURFACE_PX, SURFACE_PX, 3) in [0, 1]


class Crops(NamedTuple):
    """Of one image, (N, 3, CROP_PX, CROP_PX) in [0, 1]."""

    learned: torch.Tensor
    clean: torch.Tensor
    flawed: torch.Tensor
    masks: NDArray[np.bool_]  # (N, CROP_PX, CROP_PX) of ``flawed``


def surface(path: Path) -> Surface | None:
    """Read an image's middle, the shorter side resized to ``SURFACE_PX``; None if it is smaller or half of it flat."""
    pixels = read_image(path)
    height, width = pixels.shape[:2]
    if min(height, width) < SURFACE_PX:
        return None
    scale = SURFACE_PX / min(height, width)
    resized = resize(pixels, (round(height * scale), round(width * scale)))
    top, left = ((side - SURFACE_PX) // 2 for side in resized.shape[:2])
    middle = resized[top : top + SURFACE_PX, left : left + SURFACE_PX]
    flat = min(middle[:, : SURFACE_PX // 2].std(), middle[:, SURFACE_PX // 2 :].std()) < MIN_DEVIATION
    return None if flat else middle


def random_crop(rng: Generator, picture: Surface, left: int, right: int) -> Surface:
    """Cut a crop (CROP_PX, CROP_PX, 3) between two columns."""
    y, x = rng.integers(SURFACE_PX - CROP_PX + 1), rng.integers(left, right - CROP_PX + 1)
    return picture[y : y + CROP_PX, x : x + CROP_PX]


def plant_flaw(rng: Generator, kind: str, crop: Surface) -> tuple[Surface, NDArray[np.bool_]]:
    """Return a crop with one flaw, and where it is."""
    if kind == "scratch":
        covered = draw_flaw(rng, "scratch", rng.uniform(1, 3), (CROP_PX, CROP_PX))
        return apply_flaw(crop, covered, rng.choice((-1, 1)) * rng.uniform(0.1, 0.5)), covered > 0.3
    covered = draw_flaw(rng, "stone", rng.uniform(8, 32), (CROP_PX, CROP_PX))
    if kind == "blot":
        return apply_flaw(crop, covered, rng.choice((-1, 1)) * rng.uniform(0.05, 0.4)), covered > 0.3
    if kind == "blur":
        changed = blur(crop, rng.uniform(1, 4))
    else:
        changed = resize(crop[CROP_PX // 4 : -CROP_PX // 4, CROP_PX // 4 : -CROP_PX // 4], (CROP_PX, CROP_PX))
    return crop + covered[..., None] * (changed - crop), covered > 0.3


def crops(name: str, picture: Surface) -> Crops:
    """Cut what is learned from and tested on, seeded by the image's name."""
    rng = np.random.default_rng(list(name.encode()))
    half = SURFACE_PX // 2
    learned = [random_crop(rng, picture, 0, half) for _ in range(LEARNED_CROPS)]
    clean = [random_crop(rng, picture, half, SURFACE_PX) for _ in range(CLEAN_CROPS)]
    spoiled = [
        plant_flaw(rng, FLAW_KINDS[n % len(FLAW_KINDS)], random_crop(rng, picture, half, SURFACE_PX))
        for n in range(FLAWED_CROPS)
    ]

    def captured(crops: list[Surface]) -> torch.Tensor:
        pixels = np.stack(crops)
        noisy = pixels + NOISE_DEVIATION * rng.standard_normal(pixels.shape, np.float32)
        return torch.from_numpy(noisy).clamp(0, 1).permute(0, 3, 1, 2).contiguous()

    return Crops(
        captured(learned), captured(clean), captured([s for s, _ in spoiled]), np.stack([m for _, m in spoiled])
    )


def measure(made: Crops, detector: str, backbone: str, weights: Path | None) -> tuple[float, float]:
    """Return the AUROC of images and of the pixels of those with a flaw."""
    fitted = detectors.create(detector, **settings(detector, backbone, weights)).fit(torch.split(made.learned, 8))
    _, clean = fitted.score(made.clean)
    maps, flawed = fitted.score(made.flawed)
    pixels = PixelMetrics()
    for anomaly_map, mask in zip(maps.numpy(), made.masks, strict=True):
        pixels.add(anomaly_map, mask)
    labels = [False] * len(clean) + [True] * len(flawed)
    return metrics.auroc(labels, torch.cat([clean, flawed]).tolist()) or 0.0, pixels.auroc() or 0.0


def table(rows: list[dict[str, str]], teacher: str) -> Iterator[str]:
    """Yield means over surfaces in Markdown, and the differences to the teacher with their standard errors."""
    yield "| detector | backbone | image AUROC | to the teacher | pixel AUROC | to the teacher | surfaces |"
    yield "|---|---|---|---|---|---|---|"
    measured = {
        (r["detector"], r["backbone"], r["surface"]): [float(r[value]) for value in VALUE_COLUMNS] for r in rows
    }
    for detector, backbone in sorted({key[:2] for key in measured}):
        names = [n for d, b, n in measured if (d, b) == (detector, backbone) and (d, teacher, n) in measured]
        ours = np.array([measured[detector, backbone, n] for n in names])
        ahead = ours - [measured[detector, teacher, n] for n in names]
        columns = zip(ours.mean(0), ahead.mean(0), ahead.std(0, ddof=1) / len(names) ** 0.5, strict=True)
        cells = " | ".join(f"{mean:.4f} | {more:+.4f} ± {error:.4f}" for mean, more, error in columns)
        yield f"| {detector} | {backbone} | {cells} | {len(names)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_teacher_options(parser)
    parser.add_argument("--detectors", nargs="+", default=["patchcore", "padim"], choices=detectors.names())
    parser.add_argument("folders", type=Path, nargs="+", help="folders of images, with their subfolders")
    args = parser.parse_args()
    named = {str(path.relative_to(folder)): path for folder in args.folders for path in image_files(folder)}
    measurements = Measurements(FOLDER / "surfaces.csv", ("backbone", "sha256", "detector", "surface"), VALUE_COLUMNS)
    backbones, usable = compared(args.teacher, args.weights), 0
    for name, path in named.items():
        picture = surface(path)
        if picture is None:
            continue
        usable += 1
        missing = [
            (key, detector, backbone, weights)
            for detector, (backbone, weights, sha256) in product(args.detectors, backbones)
            if (key := (backbone, sha256, detector, name)) not in measurements
        ]
        if not missing:
            continue
        made = crops(name, picture)
        for key, *what in missing:
            measurements.add(key, *measure(made, *what))
    if usable < 2:
        raise DataError(f"Two images are needed at least, of {SURFACE_PX} px or more and not flat; there are {usable}.")
    lines = list(table(measurements.of(backbones), args.teacher))
    into_readme("surfaces", lines)
    print("\n".join(lines))


if __name__ == "__main__":
    run_command(main)
