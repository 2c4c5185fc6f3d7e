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
from pellucid.acquisition.folders import image_files
from pellucid.acquisition.images import read_image, resize
from pellucid.errors import DataError
from pellucid.study import metrics
from pellucid.study.pixels import PixelMetrics
from pellucid.synthesis.fields import blur
from pellucid.synthesis.flaws import draw_flaw, plant_flaw
from pretraining.evaluate import HERE, Figures, compared, into_readme, settings
from pretraining.train import name_teacher, run

SIDE, CROP = 512, 128  # px, of what an image is resized to, and of a crop
LEARNED, CLEAN, FLAWED = 48, 16, 24  # crops
FLAT = 0.015  # standard deviation, of [0, 1]: nothing is to be seen
NOISE = 0.004  # standard deviation, of [0, 1], of what a camera would add
KINDS = ("scratch", "blot", "blur", "lens")
VALUES = ("image_auroc", "pixel_auroc")
Surface = NDArray[np.float32]  # (SIDE, SIDE, 3) in [0, 1]


class Crops(NamedTuple):
    """Of one image, (N, 3, CROP, CROP) in [0, 1]."""

    learned: torch.Tensor
    clean: torch.Tensor
    flawed: torch.Tensor
    masks: NDArray[np.bool_]  # (N, CROP, CROP) of ``flawed``


def surface(path: Path) -> Surface | None:
    """The middle of an image, its shorter side resized to ``SIDE``; None if it is smaller or one of its halves flat."""
    pixels = read_image(path)
    height, width = pixels.shape[:2]
    if min(height, width) < SIDE:
        return None
    scale = SIDE / min(height, width)
    resized = resize(pixels, (round(height * scale), round(width * scale)))
    top, left = ((side - SIDE) // 2 for side in resized.shape[:2])
    middle = resized[top : top + SIDE, left : left + SIDE]
    flat = min(middle[:, : SIDE // 2].std(), middle[:, SIDE // 2 :].std()) < FLAT
    return None if flat else middle


def cut(rng: Generator, picture: Surface, left: int, right: int) -> Surface:
    """A crop (CROP, CROP, 3) between two columns."""
    y, x = rng.integers(SIDE - CROP + 1), rng.integers(left, right - CROP + 1)
    return picture[y : y + CROP, x : x + CROP]


def spoil(rng: Generator, kind: str, crop: Surface) -> tuple[Surface, NDArray[np.bool_]]:
    """A crop with one flaw, and where it is."""
    if kind == "scratch":
        covered = draw_flaw(rng, "scratch", rng.uniform(1, 3), (CROP, CROP))
        return plant_flaw(crop, covered, rng.choice((-1, 1)) * rng.uniform(0.1, 0.5)), covered > 0.3
    covered = draw_flaw(rng, "stone", rng.uniform(8, 32), (CROP, CROP))
    if kind == "blot":
        return plant_flaw(crop, covered, rng.choice((-1, 1)) * rng.uniform(0.05, 0.4)), covered > 0.3
    if kind == "blur":
        changed = blur(crop, rng.uniform(1, 4))
    else:
        changed = resize(crop[CROP // 4 : -CROP // 4, CROP // 4 : -CROP // 4], (CROP, CROP))
    return crop + covered[..., None] * (changed - crop), covered > 0.3


def crops(name: str, picture: Surface) -> Crops:
    """What is learned from and tested on, seeded by the image's name."""
    rng = np.random.default_rng(list(name.encode()))
    half = SIDE // 2
    learned = [cut(rng, picture, 0, half) for _ in range(LEARNED)]
    clean = [cut(rng, picture, half, SIDE) for _ in range(CLEAN)]
    spoiled = [spoil(rng, KINDS[n % len(KINDS)], cut(rng, picture, half, SIDE)) for n in range(FLAWED)]

    def taken(crops: list[Surface]) -> torch.Tensor:
        pixels = np.stack(crops)
        noisy = pixels + NOISE * rng.standard_normal(pixels.shape, np.float32)
        return torch.from_numpy(noisy).clamp(0, 1).permute(0, 3, 1, 2).contiguous()

    return Crops(taken(learned), taken(clean), taken([s for s, _ in spoiled]), np.stack([m for _, m in spoiled]))


def measure(made: Crops, detector: str, backbone: str, weights: Path | None) -> tuple[float, float]:
    """AUROC of images and of the pixels of those with a flaw."""
    fitted = detectors.create(detector, **settings(detector, backbone, weights)).fit(torch.split(made.learned, 8))
    _, clean = fitted.score(made.clean)
    maps, flawed = fitted.score(made.flawed)
    pixels = PixelMetrics()
    for anomaly_map, mask in zip(maps.numpy(), made.masks, strict=True):
        pixels.add(anomaly_map, mask)
    labels = [False] * len(clean) + [True] * len(flawed)
    return metrics.auroc(labels, torch.cat([clean, flawed]).tolist()) or 0.0, pixels.auroc() or 0.0


def table(rows: list[dict[str, str]], teacher: str) -> Iterator[str]:
    """Means over surfaces in Markdown, and the differences to the teacher with their standard errors."""
    yield "| detector | backbone | image AUROC | to the teacher | pixel AUROC | to the teacher | surfaces |"
    yield "|---|---|---|---|---|---|---|"
    measured = {(r["detector"], r["backbone"], r["surface"]): [float(r[value]) for value in VALUES] for r in rows}
    for detector, backbone in sorted({key[:2] for key in measured}):
        names = [n for d, b, n in measured if (d, b) == (detector, backbone) and (d, teacher, n) in measured]
        ours = np.array([measured[detector, backbone, n] for n in names])
        ahead = ours - [measured[detector, teacher, n] for n in names]
        columns = zip(ours.mean(0), ahead.mean(0), ahead.std(0, ddof=1) / len(names) ** 0.5, strict=True)
        cells = " | ".join(f"{mean:.4f} | {more:+.4f} ± {error:.4f}" for mean, more, error in columns)
        yield f"| {detector} | {backbone} | {cells} | {len(names)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    name_teacher(parser)
    parser.add_argument("--detectors", nargs="+", default=["patchcore", "padim"], choices=detectors.names())
    parser.add_argument("folders", type=Path, nargs="+", help="folders of images, with their subfolders")
    args = parser.parse_args()
    named = {str(path.relative_to(folder)): path for folder in args.folders for path in image_files(folder)}
    figures = Figures(HERE / "surfaces.csv", ("backbone", "sha256", "detector", "surface"), VALUES)
    backbones, usable = compared(args.teacher, args.weights), 0
    for name, path in named.items():
        picture = surface(path)
        if picture is None:
            continue
        usable += 1
        missing = [
            (key, detector, backbone, weights)
            for detector, (backbone, weights, sha256) in product(args.detectors, backbones)
            if (key := (backbone, sha256, detector, name)) not in figures
        ]
        if not missing:
            continue
        made = crops(name, picture)
        for key, *what in missing:
            figures.add(key, *measure(made, *what))
    if usable < 2:
        raise DataError(f"Two images are needed at least, of {SIDE} px or more and not flat; there are {usable}.")
    lines = list(table(figures.of(backbones), args.teacher))
    into_readme("surfaces", lines)
    print("\n".join(lines))


if __name__ == "__main__":
    run(main)
