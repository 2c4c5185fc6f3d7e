"""From labelled defects or planted flaws to what outlines a model's defects: the image, or the map."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, get_args

import cv2
import numpy as np

from pellucid.acquisition.images import Pixels, Size, read_image
from pellucid.acquisition.masks import read_mask
from pellucid.acquisition.tiles import Tiling
from pellucid.errors import DataError, ParameterError
from pellucid.limits.segmentation import segmentation_threshold
from pellucid.records import Inspection, Sample, Split
from pellucid.regions.background import Mask
from pellucid.regions.defects import Measuring, OutlineSource
from pellucid.regions.outline import Usual
from pellucid.regions.outline import outline as outline_by_image
from pellucid.regions.scale import Scale, check_scale
from pellucid.regions.usual import shown_by, strongest
from pellucid.synthesis.flaws import COVERED, FLAW_SIZES_PX, cut_square, flaw_scale, plant_flaw

if TYPE_CHECKING:
    from pellucid.inspector import Inspector

Outline = Literal["auto", "image", "map"]
MAX_LABELLED = 40  # labelled defects that the choice is made on
PLANTED_IMAGES = 15  # that it is made on where there are none
PLANTED_KINDS = ("scratch", "stone", "seed")
PLACES = 4  # in each of these, that what good parts show is learned at
PLANTED_CONTRASTS = (0.1, 0.3, 0.6)  # shares of the light around: the least that the map shows
MIN_CHOSEN_ON = 3  # images whose map shows the defect


def check_measuring(outline: str, mm_per_px: Scale | None) -> None:
    """Refuse what a model's defects cannot be outlined by, and what is no scale.

    Raises:
        ParameterError: one of these.
    """
    if outline not in get_args(Outline):
        raise ParameterError(f"outline={outline!r} is not known; {', '.join(get_args(Outline))} are.")
    check_scale(mm_per_px)


def choose_outline(
    inspector: Inspector, split: Split, outline: Outline = "auto", mm_per_px: Scale | None = None
) -> Measuring:
    """Choose what outlines a model's defects: the one whose outlines have more in common with known ones.

    These are the masks of labelled training defects where there are any, else of flaws planted into good images, and so
    they are where the labelled ones taught the detector: its map shows those better than any other. Test images are not
    looked at.

    Args:
        inspector: fitted and calibrated.
        split: what it was fitted on.
        outline: ``image`` or ``map`` where the user has chosen.
        mm_per_px: scale of the images, which is noted.

    Raises:
        DataError: an image cannot be read.
    """
    if outline == "map":
        return Measuring(outline=outline, chosen_by="user", mm_per_px=mm_per_px)
    bits = inspector.fitted_images.bits
    measuring = Measuring(mm_per_px=mm_per_px, usual=learn_usual(inspector, split.normals))
    if outline == "image":
        return measuring.model_copy(update={"outline": outline, "chosen_by": "user"})
    inspector = replace(inspector, measuring=measuring)
    taught = inspector.taught is not None and inspector.taught.weight > 0
    masked = [sample for sample in split.select if sample.mask is not None and not taught]
    planted = _planted(split.calibrate or split.fit, inspector)
    sources: tuple[tuple[Literal["labelled defects", "planted flaws"], Iterator[list[tuple[Pixels, Mask]]]], ...]
    sources = (("labelled defects", _labelled(masked, bits)), ("planted flaws", planted))
    for chosen_by, cases in sources:
        compared = [next(filter(None, (compare_outlines(inspector, *one) for one in case)), None) for case in cases]
        ious = np.array([one for one in compared if one is not None])
        if len(ious) >= MIN_CHOSEN_ON:
            image_iou, map_iou = (float(value) for value in ious.mean(0))
            better: OutlineSource = "image" if image_iou > map_iou else "map"
            chosen = {"outline": better, "chosen_by": chosen_by, "chosen_on": len(ious)}
            return measuring.model_copy(update=chosen | {"image_iou": image_iou, "map_iou": map_iou})
    return measuring


def learn_usual(inspector: Inspector, samples: Sequence[Sample]) -> Usual | None:
    """Learn what good images show of that which defects are outlined by, such as draw lines.

    Into some images a flaw is planted, so that the map has a region as it has around flaws. What the image shows
    without the flaw, in that region and at other places of the image, is no flaw, however clearly it stands out.

    Args:
        inspector: fitted and calibrated.
        samples: good images.

    Raises:
        DataError: an image cannot be read.
    """
    windows = []
    for n, sample in enumerate(_spread(samples)):
        pixels = _part(read_image(sample.path, inspector.fitted_images.bits), inspector, n)
        rng = np.random.default_rng((1, n))
        above = _shown_region(inspector, _plant(rng, pixels, n, inspector.seen_size, PLANTED_CONTRASTS[1])[0])
        margin_px = inspector.outline_margin_px(above.shape)
        for k in range(PLACES):
            shift = rng.integers(0, above.shape) if k else (0, 0)
            windows += shown_by(pixels, np.roll(above, shift, (0, 1)), margin_px)
    return strongest(windows)


def compare_outlines(inspector: Inspector, pixels: Pixels, mask: Mask) -> tuple[float, float] | None:
    """Outline an image both ways and compare each with a mask.

    Args:
        inspector: fitted and calibrated.
        pixels: (H, W, 3) in [0, 1].
        mask: (H, W), true where the image is known to be defective; somewhere at least.

    Returns:
        Intersection by union with the mask: of the image's outline, and of the map's; None where the map does not show
        the defect. Whether the image is rejected does not matter.
    """
    found, above = _above(inspector, pixels)
    if not (above & mask).any():
        return None
    margin_px = inspector.outline_margin_px(above.shape)
    usual, tiled = inspector.measuring.usual, inspector.fitted_images.are_tiled
    outlined = outline_by_image(pixels, above, margin_px, usual, found.map, tiled=tiled)
    return _iou(outlined, mask), _iou(above, mask)


def _iou(found: Mask, mask: Mask) -> float:
    return float((found & mask).sum() / (found | mask).sum())


def _labelled(samples: Sequence[Sample], bits: int) -> Iterator[list[tuple[Pixels, Mask]]]:
    """Labelled defects, spread over all of them; a mask that cannot be used was named when the data was read."""
    for k in np.random.default_rng(0).permutation(len(samples))[:MAX_LABELLED]:
        sample = samples[k]
        pixels = read_image(sample.path, bits)
        with suppress(DataError):
            mask = read_mask(sample.mask, sample.path, pixels.shape[:2]) if sample.mask else None
            if mask is not None and mask.any():
                yield [(pixels, mask)]


def _planted(samples: Sequence[Sample], inspector: Inspector) -> Iterator[list[tuple[Pixels, Mask]]]:
    """Good images with a flaw: each at every contrast, the faintest first."""
    for n, sample in enumerate(_spread(samples)):
        pixels = _part(read_image(sample.path, inspector.fitted_images.bits), inspector, n)
        yield [  # the same flaw at every contrast
            _plant(np.random.default_rng((0, n)), pixels, n, inspector.seen_size, contrast)
            for contrast in PLANTED_CONTRASTS
        ]


def _part(pixels: Pixels, inspector: Inspector, number: int) -> Pixels:
    """As much of an image as one tile's map is about, at a random place; all of it where images are seen whole."""
    tiling = inspector.fitted_images.framing
    if not isinstance(tiling, Tiling):
        return pixels
    return cut_square(np.random.default_rng((2, number)), pixels, tiling.interior * tiling.reduce)


def _spread(samples: Sequence[Sample]) -> list[Sample]:
    """As many as flaws are planted into, evenly over all."""
    return [samples[n * len(samples) // PLANTED_IMAGES] for n in range(PLANTED_IMAGES)]


def _plant(
    rng: np.random.Generator,
    pixels: Pixels,
    number: int,
    seen_size: Callable[[tuple[int, ...]], Size],
    contrast: float,
) -> tuple[Pixels, Mask]:
    """An image with a flaw, the kinds in turn, and where that is."""
    kind = PLANTED_KINDS[number % len(PLANTED_KINDS)]
    size = float(rng.choice(FLAW_SIZES_PX[kind])) * flaw_scale([pixels], seen_size)
    flawed, covered = plant_flaw(rng, pixels, kind, size, contrast)
    return flawed, covered >= min(COVERED, float(covered.max()))


def _shown_region(inspector: Inspector, pixels: Pixels) -> Mask:
    """The region in which the map of an image is highest; none where nothing is above the limit."""
    found, above = _above(inspector, pixels)
    _, labels = cv2.connectedComponents(above.astype(np.uint8), connectivity=8)
    return np.asarray(above & (labels == labels.ravel()[found.map.argmax()]), np.bool_)


def _above(inspector: Inspector, pixels: Pixels) -> tuple[Inspection, Mask]:
    """What is found in an image, and where its map shows something, whether it is rejected or not."""
    found = inspector.inspect(pixels)
    tiled = inspector.fitted_images.are_tiled
    return found, found.map > segmentation_threshold(found.map, found.pixel_limit, tiled)
