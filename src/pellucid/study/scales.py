"""Which scale to see large images at: what each finds of planted flaws of the size that matters, and what it costs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pellucid._io.progress import track
from pellucid.acquisition.fitted_images import FittedImages
from pellucid.acquisition.images import DecodedImage, Pixels, read_image
from pellucid.acquisition.tiles import MAX_REDUCTION, Tiling, check_tile, scale_text
from pellucid.errors import ParameterError
from pellucid.held_out import fit_on
from pellucid.records import Sample
from pellucid.runtimes.scoring import score_file
from pellucid.runtimes.torch import Torch
from pellucid.study.planted import fewer_than_chance
from pellucid.synthesis.flaws import cut_square, plant_flaw
from pellucid.tiling import AUTOMATIC_TILE_PX, reach_px

if TYPE_CHECKING:
    from pellucid.detectors._base import Detector

REDUCTIONS = (1, 2, 4)  # that are compared
MIN_SEEN_PX = 2.0  # of the smallest flaw, after the reduction: less cannot be told from noise
KINDS = ("stone", "seed", "scratch")
CONTRASTS = (0.05, 0.1, 0.2, 0.4)  # shares of the light around
FLAWS_PER_CELL = 4  # of one kind and contrast
CROP_PX = 1024  # that flaws are planted into, the same at every scale
MAX_SMALLEST_PX = 64 * MAX_REDUCTION  # a flaw that the coarsest tiles show at a quarter of their smallest side
MAX_IMAGES = 16  # that each scale learns from, and as many that judge


@dataclass(frozen=True)
class ScaleTrial:
    """What one scale finds and costs.

    Attributes:
        reduce: factor that images are reduced by.
        found: whether each planted flaw is found, in the same order for every scale: whether the map is higher there
            than anywhere on good images that were not learned from.
        seconds_per_megapixel: of images at their own size, on this machine, as it was busy.
    """

    reduce: int
    found: tuple[bool, ...]
    seconds_per_megapixel: float

    def __str__(self) -> str:
        return (
            f"{scale_text(self.reduce)}: {sum(self.found)} of {len(self.found)} planted flaws found,"
            f" {self.seconds_per_megapixel:.2g} s a megapixel"
        )


def compare_scales(
    detector: Detector, samples: Sequence[Sample], smallest_px: float, *, tile: int | None = None, bits: int = 16
) -> list[ScaleTrial]:
    """Fit a detector at every scale on half of some good images, and look for flaws planted into the other half.

    Args:
        detector: not fitted; a copy of it is fitted for each scale.
        samples: good images, at least two.
        smallest_px: size of the smallest flaw that has to be found, px of the images at their own size: width of a
            scratch, diameter of others.
        tile: side of the tiles, px; None: 1,024.
        bits: significant bits of 16-bit values.

    Returns:
        A trial for each scale, from the finest.

    Raises:
        DataError: an image cannot be read.
        ParameterError: fewer than two images, or a size that is not above 0.
    """
    check_smallest(smallest_px)
    if len(samples) < 2:
        raise ParameterError("Scales are compared on at least two good images: one to learn from and one to judge.")
    check_tile(tile, 1)
    margin, side = reach_px(detector), tile or AUTOMATIC_TILE_PX
    factors = [k for k in REDUCTIONS if k == 1 or smallest_px / k >= MIN_SEEN_PX]
    learned, judged = (samples[first::2][:MAX_IMAGES] for first in (0, 1))
    return [
        _try(detector, learned, judged, Tiling(tile=side, margin=margin, reduce=k), smallest_px, bits) for k in factors
    ]


def check_smallest(smallest_px: float) -> None:
    """Refuse what is no size of a flaw.

    Raises:
        ParameterError: it is not above 0 and at most as large as a tile.
    """
    if not 0 < smallest_px <= MAX_SMALLEST_PX:
        raise ParameterError(
            f"A smallest flaw of {smallest_px:g} px is not allowed: give a number above 0, at most {MAX_SMALLEST_PX}."
        )


def choose_scale(trials: Sequence[ScaleTrial]) -> ScaleTrial:
    """Choose the coarsest scale that finds no fewer flaws than the one that finds most, but for chance (a sign test).

    Args:
        trials: of the same flaws.
    """
    best = max(trials, key=lambda trial: sum(trial.found))
    return max((t for t in trials if not fewer_than_chance(best.found, t.found)), key=lambda trial: trial.reduce)


def _try(
    detector: Detector,
    learned: Sequence[Sample],
    judged: Sequence[Sample],
    tiling: Tiling,
    smallest_px: float,
    bits: int,
) -> ScaleTrial:
    known, size = FittedImages(data_sha256="", bits=bits, framing=tiling), (tiling.tile, tiling.tile)
    fitted = type(detector)(**detector.parameters()).to(detector.device)
    fit_on(fitted, learned, size, known)
    runtime = Torch(fitted)

    def score(pixels: Pixels) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        return score_file(runtime, Path(), DecodedImage(pixels), size, known).map

    images, highest, seconds, pixels_scored = [], -np.inf, 0.0, 0
    for sample in track(judged, f"scoring good images, reduced {tiling.reduce} times", len(judged)):
        image = read_image(sample.path, bits)
        start = time.perf_counter()
        highest = max(highest, float(score(image).max()))
        seconds, pixels_scored = seconds + time.perf_counter() - start, pixels_scored + image[..., 0].size
        images.append(image)
    found = []
    cells = [(kind, contrast) for contrast in CONTRASTS for kind in KINDS] * FLAWS_PER_CELL
    for n, (kind, contrast) in enumerate(track(cells, "planting flaws", len(cells))):
        rng = np.random.default_rng((0, n))
        crop = cut_square(rng, images[n % len(images)], CROP_PX)
        flawed, covered = plant_flaw(rng, crop, kind, smallest_px, contrast)
        found.append(bool(score(flawed)[covered > 0].max(initial=-np.inf) > highest))
    return ScaleTrial(tiling.reduce, tuple(found), seconds / pixels_scored * 1e6)
