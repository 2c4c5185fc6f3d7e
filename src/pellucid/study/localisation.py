"""Is the flaw found where it is? Average precision of a map's pixels, image by image.

On labelled training defects that have masks; where those are too few, on flaws planted into good images that every
detector was fitted on, the same for each. Pixel metrics of the test images are elsewhere and choose
nothing (:mod:`pellucid.study.pixels`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pellucid._io.progress import track
from pellucid.acquisition.images import Pixels, read_image
from pellucid.acquisition.truth import open_truth
from pellucid.inspector import Inspector
from pellucid.records import Sample, Split
from pellucid.study.intervals import Interval, interval, resamples
from pellucid.study.pixels import PixelMetrics
from pellucid.study.results import ScoredSample
from pellucid.synthesis.flaws import COVERED, FLAW_SIZES_PX, flaw_scale, plant_flaw

MIN_LOCATED_FLAWS = 3  # whose places are known; of fewer, one odd mask would decide
PLANTED_IMAGES = 40
PLANTED_CONTRASTS = (0.1, 0.2, 0.4)  # shares of the light around: seen by most detectors, so that places are compared
PLANTED_SIZES = 2  # the largest of each kind
PLANTED_SIDE_PX = (256, 256)  # of the image for which the sizes are; the same for detectors of every image size


@dataclass(frozen=True)
class LocatedFlaw:
    """One flaw, real or planted, as a detector saw it.

    Attributes:
        score: of its image.
        precision: average precision of the map's pixels, in [0, 1]; None where nobody knows where the flaw is.
        group: of images that are drawn together in a resample; None: the image stands alone.
    """

    score: float
    precision: float | None
    group: str | None


@dataclass(frozen=True)
class Localisation:
    """How well the maps of one detector show where the flaws are.

    Attributes:
        on: ``labelled training defects`` or ``planted flaws``.
        each: average precision of the pixels of every image, (n,) in [0, 1].
        groups: (n,) of images that are drawn together in a resample; None: the image stands alone.
    """

    on: str
    each: tuple[float, ...]
    groups: tuple[str | None, ...]

    @property
    def value(self) -> float:
        """The mean over the images, in [0, 1]."""
        return float(np.mean(self.each))

    def interval(self) -> Interval:
        """Return where 95 % of the means over resampled images lie."""
        drawn = resamples([True] * len(self.each), self.groups).astype(np.float64)
        return interval(drawn @ np.asarray(self.each) / drawn.sum(1))


def localisation(flaws: Sequence[LocatedFlaw], on: str) -> Localisation | None:
    """Sum up what is known of where flaws are; None of fewer than ``MIN_LOCATED_FLAWS``.

    Args:
        flaws: as one detector saw them.
        on: what they are.
    """
    known = [(flaw.precision, flaw.group) for flaw in flaws if flaw.precision is not None]
    if len(known) < MIN_LOCATED_FLAWS:
        return None
    return Localisation(on, tuple(value for value, _ in known), tuple(group for _, group in known))


def localise(anomaly_map: NDArray[np.float32], defective: NDArray[np.bool_]) -> float:
    """Return the average precision of one map's pixels: 1 where every defective pixel is above every good one.

    A map that says nothing gives the share of defective pixels.

    Args:
        anomaly_map: (H, W).
        defective: (H, W), true somewhere.
    """
    pixels = PixelMetrics()
    pixels.add(anomaly_map, defective)
    found = pixels.average_precision()
    return 1.0 if found is None else found  # None: the whole image is defective


def locate_defects(scored: Iterable[ScoredSample]) -> list[LocatedFlaw]:
    """Look where the maps of labelled defects are high; each map is let go.

    Args:
        scored: with their maps.
    """
    found = []
    for one in scored:
        anomaly_map = one.inspection.map
        defective = open_truth(one.sample, (anomaly_map.shape[0], anomaly_map.shape[1]))[1]
        precision = None if defective is None else localise(anomaly_map, defective)
        found.append(LocatedFlaw(one.inspection.score, precision, one.sample.group))
    return found


def locate_planted(inspector: Inspector, split: Split) -> list[LocatedFlaw]:
    """Plant flaws into good images that every detector was fitted on, and look where the maps are high.

    There are no others that all detectors have seen alike, but for test images, which are not looked at. What is normal
    there scores lower than it would on a new image, so that the maps look a little cleaner than they are. Kinds, sizes
    and contrasts take turns; places and forms are drawn from a fixed seed.

    Args:
        inspector: fitted and calibrated.
        split: the data's.

    Raises:
        DataError: a file cannot be read.
    """
    found = []
    for name, pixels, defective in track(
        plant(split.fit, inspector.fitted_images.bits), "planting flaws", PLANTED_IMAGES
    ):
        inspected = inspector.inspect(pixels)
        found.append(LocatedFlaw(inspected.score, localise(inspected.map, defective), name))
    return found


def plant(ground: Sequence[Sample], bits: int) -> Iterator[tuple[str, Pixels, NDArray[np.bool_]]]:
    """Plant ``PLANTED_IMAGES`` flaws into good images in turn.

    Args:
        ground: good images, at least one.
        bits: significant bits of 16-bit values.

    Yields:
        Name of the image, pixels (H, W, 3), and where the flaw is, (H, W).
    """
    cases = [(kind, size) for kind, sizes in FLAW_SIZES_PX.items() for size in sizes[-PLANTED_SIZES:]]
    for k in range(PLANTED_IMAGES):
        rng, (kind, size), sample = np.random.default_rng(k), cases[k % len(cases)], ground[k % len(ground)]
        clean = read_image(sample.path, bits)
        contrast = PLANTED_CONTRASTS[k // len(cases) % len(PLANTED_CONTRASTS)]
        pixels, covered = plant_flaw(rng, clean, kind, size * flaw_scale([clean], lambda _: PLANTED_SIDE_PX), contrast)
        yield str(sample.path), pixels, covered >= COVERED
