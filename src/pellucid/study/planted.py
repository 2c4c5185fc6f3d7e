"""Does a model that learned more still find what it found? The same flaws, planted into the same images, by both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from pellucid._io.progress import track
from pellucid.acquisition.images import DecodedImage, Pixels
from pellucid.inspector import Inspector
from pellucid.records.limits import Limit
from pellucid.runtimes.scoring import enlarge, score_file
from pellucid.study.detectability import FLAW_CONTRASTS
from pellucid.synthesis.flaws import FLAW_SIZES_PX, AlphaMask, flaw_scale, plant_flaw

Item = TypeVar("Item")
FLAWS_PER_CELL = 2  # of one kind, size and contrast
MAX_PLANTED_IMAGES = 30  # that flaws are planted into
MAX_FEWER_BY_CHANCE = 0.05  # chance of as many flaws lost, less those gained, if the two models find the same


def plant_flaws(
    images: Sequence[Pixels], seen_size: Callable[[tuple[int, ...]], tuple[int, int]]
) -> Iterator[tuple[int, Pixels, AlphaMask]]:
    """Plant every kind of flaw at every size and contrast, one image after the other.

    Args:
        images: (H, W, 3) in [0, 1], of good parts.
        seen_size: returns the height and width that an image is brought to for the network; sizes are those that it
            sees.

    Yields:
        The number of the image, the image with its flaw, and how much of each pixel that covers.
    """
    scale = flaw_scale(images, seen_size)
    cells = [(kind, px, c) for kind, sizes in FLAW_SIZES_PX.items() for px in sizes for c in FLAW_CONTRASTS]
    order = np.random.default_rng(0).permutation(len(cells) * FLAWS_PER_CELL)  # every image gets faint and bold ones
    for n, place in enumerate(order):
        kind, px, contrast = cells[place % len(cells)]
        number = n % len(images)
        flawed, covered = plant_flaw(np.random.default_rng((0, n)), images[number], kind, px * scale, contrast)
        yield number, flawed, covered


def spread(items: Sequence[Item]) -> Sequence[Item]:
    """Take some from all over a sequence of images, or of what belongs to them: as many as flaws are planted into."""
    return items[:: max(1, -(-len(items) // MAX_PLANTED_IMAGES))]


def find_flaws(
    images: Sequence[Pixels], models: Sequence[Inspector], limits: Sequence[Limit]
) -> list[tuple[bool, ...]]:
    """Tell for every planted flaw at which limits it is found: the image is rejected, and the map shows it.

    Args:
        images: of good parts.
        models: for each image, the one that scores it.
        limits: each is tried on all.
    """
    total = FLAWS_PER_CELL * len(FLAW_CONTRASTS) * sum(map(len, FLAW_SIZES_PX.values()))
    found = []
    for number, flawed, covered in track(plant_flaws(images, models[0].seen_size), "planting flaws", total):
        model, image = models[number], DecodedImage(flawed)
        file = score_file(model.runtime, Path(), image, model.image_size, model.fitted_images)
        counted = model.zones.counted(file.size)
        highest = enlarge(file.map, file.size)[(covered > 0) & counted].max(initial=-np.inf)
        found.append(tuple(file.score > limit.value and bool(highest > limit.pixel) for limit in limits))
    return found


def fewer_than_chance(before: Sequence[bool], after: Sequence[bool]) -> bool:
    """Tell whether the second model finds fewer of the same flaws than chance explains, by the sign test.

    Args:
        before: which flaws the first one finds.
        after: which the second one does.
    """
    from scipy.stats import binom

    lost = sum(one and not other for one, other in zip(before, after, strict=True))
    gained = sum(other and not one for one, other in zip(before, after, strict=True))
    return bool(binom.sf(lost - 1, lost + gained, 0.5) < MAX_FEWER_BY_CHANCE)
