"""How small a flaw does a model find? Flaws of known size and contrast, planted into real images of good parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pellucid._io.files import csv_text
from pellucid._io.progress import track
from pellucid.acquisition.images import Pixels, read_image
from pellucid.acquisition.plan import Plan
from pellucid.errors import DataError
from pellucid.inspector import Inspector
from pellucid.records import Sample
from pellucid.study.intervals import wilson
from pellucid.synthesis.flaws import FLAW_SIZES_PX, flaw_scale, plant_flaw

FLAW_CONTRASTS = (0.02, 0.05, 0.1, 0.2, 0.4)  # shares of the light around
DETECTION_TARGET = 0.9  # share of flaws of one kind: "nine times in ten"
DETECTABILITY_COLUMNS = ("kind", "size_px", "contrast", "planted", "found", "share", "low", "high")


@dataclass(frozen=True)
class PlantedFlaws:
    """What was found of one kind of flaw at one size and contrast.

    Attributes:
        kind: of flaw.
        size_px: width or diameter, in pixels of the image's own size.
        contrast: to the light around, a share of it.
        planted: how many.
        found: how many of them were rejected at the model's limit.
        low: lower end of the 95 % Wilson interval of the share.
        high: its upper end.
    """

    kind: str
    size_px: int
    contrast: float
    planted: int
    found: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """Share of the planted flaws that were found, in [0, 1]."""
        return self.found / self.planted


@dataclass(frozen=True)
class Detectability:
    """What was found of all that was planted.

    Attributes:
        limit: of the model's score.
        images: how many good images, not fitted on, flaws were planted into.
        rejected_clean: how many were left out because they were rejected as they were.
        cells: every kind, size and contrast.
    """

    limit: float
    images: int
    rejected_clean: int
    cells: tuple[PlantedFlaws, ...]

    def smallest(self, kind: str, contrast: float) -> int | None:
        """Return the smallest size in px from which on every size is found nine times in ten.

        None if the largest is not.
        """
        size = None
        for cell in sorted(self._of(kind, contrast), key=lambda c: -c.size_px):
            if cell.share < DETECTION_TARGET:
                break
            size = cell.size_px
        return size

    def _of(self, kind: str, contrast: float) -> list[PlantedFlaws]:
        return [c for c in self.cells if c.kind == kind and c.contrast == contrast]

    def kinds(self) -> list[str]:
        """Return the kinds of flaws that were planted."""
        return list(dict.fromkeys(c.kind for c in self.cells))

    def to_dict(self) -> dict[str, Any]:
        """Return what ``detectability.json`` holds."""
        smallest = {kind: {f"{c:g}": self.smallest(kind, c) for c in FLAW_CONTRASTS} for kind in self.kinds()}
        return {
            "limit": self.limit,
            "images": self.images,
            "rejected_clean": self.rejected_clean,
            "smallest_px_found_9_of_10": smallest,
            "cells": [asdict(c) | {"share": c.share} for c in self.cells],
        }

    def to_csv(self) -> str:
        """Return what ``detectability.csv`` holds."""
        return csv_text(
            DETECTABILITY_COLUMNS, ([getattr(c, column) for column in DETECTABILITY_COLUMNS] for c in self.cells)
        )


def unseen_normal(plan: Plan, inspector: Inspector) -> tuple[Sample, ...]:
    """Return good images that a model was not fitted on: those tested on and, of its own data, those that calibrated.

    A model that left each image out to calibrate was fitted on these, too: they serve where there are no others. What
    it has seen as good can only score lower, so that what is found of the flaws is found all the more on new images.

    Raises:
        DataError: there are none.
    """
    known, split = inspector.fitted_images, plan.split
    own = plan.data_sha256() == known.data_sha256
    tested = tuple(s for s in split.test if s.label == "normal")
    others = tested if own else (*tested, *split.normals)
    unseen = tuple(s for s in others if not known.contain(plan.verified.hashes[s.path]))
    left_out = inspector.limit.left_out
    calibrated = split.calibrating(left_out) if own and not (left_out and unseen) else ()
    normal = (*unseen, *calibrated)
    if not normal:
        raise DataError("There are no good images that the model was not fitted on: add some to test on.")
    return normal


def measure_detectability(
    inspector: Inspector, samples: Sequence[Sample], *, flaws_per_cell: int = 20, seed: int = 0
) -> Detectability:
    """Plant every kind of flaw at every size and contrast and count what is rejected.

    Sizes are those of ``FLAW_SIZES_PX`` where the network sees the image at its own size, and larger by as much as the
    image is. Images that are rejected as they are cannot show whether a flaw was found and are left out.

    Args:
        inspector: fitted and calibrated.
        samples: good images that it was not fitted on.
        flaws_per_cell: how many flaws of one kind, size and contrast, at least 1.
        seed: of places and forms, at least 0.

    Raises:
        DataError: every image is rejected without a flaw, or a file cannot be read.
    """
    images, rejected = _accepted(inspector, samples, flaws_per_cell)
    scale = flaw_scale(images, inspector.seen_size)
    cases = [(kind, px * scale, c) for kind, sizes in FLAW_SIZES_PX.items() for px in sizes for c in FLAW_CONTRASTS]
    cells = []
    for kind, size, contrast in track(cases, "planting flaws"):
        flawed = _planted(images, kind, size, contrast, flaws_per_cell, seed)
        found = sum(inspector.inspect(pixels).verdict == "reject" for pixels in flawed)
        low, high = wilson(found, flaws_per_cell) or (0.0, 1.0)
        cells.append(PlantedFlaws(kind, size, contrast, flaws_per_cell, found, low, high))
    return Detectability(inspector.limit.value, len(images), rejected, tuple(cells))


def _accepted(inspector: Inspector, samples: Sequence[Sample], count: int) -> tuple[list[Pixels], int]:
    """The first images that are not rejected, spread over all of them, and how many were rejected before."""
    spread = [samples[k] for k in np.random.default_rng(0).permutation(len(samples))]
    kept: list[Pixels] = []
    rejected = 0
    for sample in spread:
        pixels = read_image(sample.path, inspector.fitted_images.bits)
        if inspector.inspect(pixels).verdict == "ok":
            kept.append(pixels)
        else:
            rejected += 1
        if len(kept) == count:
            break
    if not kept:
        raise DataError(f"All {rejected} good images are rejected without a flaw: calibrate the model on such images.")
    return kept, rejected


def _planted(
    images: Sequence[Pixels], kind: str, size: int, contrast: float, count: int, seed: int
) -> Iterator[Pixels]:
    """Images with a flaw; it keeps its place and form at every contrast."""
    for n in range(count):
        rng = np.random.default_rng((seed, list(FLAW_SIZES_PX).index(kind), size, n))
        yield plant_flaw(rng, images[n % len(images)], kind, size, contrast)[0]
