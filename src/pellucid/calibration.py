"""From normal images to a limit: what a fit does with its detector, and an 8-bit export with its graph."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pellucid.acquisition.fitted_images import FittedImages
from pellucid.acquisition.images import ImageBatches, Size, batch_size, read_ahead
from pellucid.acquisition.splits import group_numbers
from pellucid.acquisition.views import lay_out
from pellucid.errors import TrainingError
from pellucid.limits.area import Regions, place_by_area, regions_of, share_beyond, unit_per_px
from pellucid.limits.conformal import ConformalMethod, calibrate, f1_optimal
from pellucid.limits.costs import Costs
from pellucid.limits.gap import move_into_gap
from pellucid.limits.segmentation import segmentation_threshold
from pellucid.records import Sample, ScoreOf, Split
from pellucid.records.limits import FalseAlarms, Limit, LimitMethod
from pellucid.regions.scale import Scale
from pellucid.regions.zones import EVERYTHING, Zones
from pellucid.runtimes import Runtime
from pellucid.runtimes.scoring import Map, enlarge, merge_views, read_and_score

if TYPE_CHECKING:
    from pellucid.detectors._base import Detector


class HeldOutScore(NamedTuple):
    """What a detector says of a normal image, and of the map at the image's own size, as an inspection sees it.

    Attributes:
        score: of the image.
        highest: value of the map.
        highest_counted: value that a defect which counts reaches; see :meth:`pellucid.regions.zones.Zones.highest`.
        median: value of the map.
        regions: of the map where defects count, for a limit by area.
        counted_px: pixels where defects count, likewise.
    """

    score: float
    highest: float
    highest_counted: float
    median: float
    regions: Regions | None = None
    counted_px: int = 0

    def counts(self, pixel_limit: float) -> bool:
        """Tell whether a defect that counts would be found on it, if its score were above the limit."""
        return self.highest_counted > segmentation_threshold(np.array([self.highest], np.float32), pixel_limit)


def fit_leaving_out(
    detector: Detector,
    samples: Sequence[Sample],
    size: Size,
    fitted_images: FittedImages,
    zones: Zones = EVERYTHING,
    *,
    update: bool = False,
    by_area: bool = False,
) -> list[HeldOutScore]:
    """Fit a detector that can leave images out, and score each of them as if its group had not been fitted on.

    A group is left out whole; where all images are of one, each is left out alone. So are all views of an image.

    Args:
        detector: not fitted yet.
        samples: normal images.
        size: height and width that the network takes.
        fitted_images: what the model remembers of them.
        zones: what counts.
        update: the detector is fitted, and learns these images on top.
        by_area: find the regions of their maps, too, for a limit by area.

    Returns:
        What is known of every sample, in order.

    Raises:
        DataError: a file cannot be read, or too little is left without a group.
        TrainingError: a score or a map is not finite.
    """
    seen = see_images(samples, size, fitted_images)
    found = leave_out(detector, seen, update=update)
    return held_out_scores(seen, found, fitted_images, detector.score_of, zones, by_area=by_area)


@dataclass(frozen=True, eq=False)
class SeenImages:
    """Normal images as the network sees them, view after view; those of one number follow each other.

    Attributes:
        batches: of all views, in order.
        numbers: of the group or fold that the image of each view is of.
        images: which image each view is of, as an index into what was given.
        sizes: height and width of every file, px, once it was read.
        margin: of views that are tiles, px; None: they are none.
    """

    batches: ImageBatches
    numbers: tuple[int, ...]
    images: tuple[int, ...]
    sizes: dict[Path, Size]
    margin: int | None


def see_images(
    samples: Sequence[Sample],
    size: Size,
    fitted_images: FittedImages,
    numbers: Sequence[int] | None = None,
    views: int | None = None,
) -> SeenImages:
    """Lay out how images are seen.

    Args:
        samples: images.
        size: height and width that the network takes.
        fitted_images: what the model remembers of them.
        numbers: of each image, by which they are ordered; by default that of its group, where all are of one group its
            own.
        views: in a batch; by default as many as are learned from at a time.

    Raises:
        DataError: a file cannot be read.
    """
    numbers = group_numbers(samples) if numbers is None else numbers
    order = sorted(range(len(samples)), key=numbers.__getitem__)
    paths = tuple(samples[k].path for k in order)
    framing, bits = fitted_images.framing, fitted_images.bits
    sizes: dict[Path, Size] = {}
    counts = [1] * len(paths)
    if framing is not None and not framing.is_filled(size):
        for _ in read_ahead(paths, size, bits, lambda _: (), sizes):  # nothing is seen yet
            pass
        counts = [len(lay_out(sizes[path], size, framing).corners) for path in paths]
    batches = ImageBatches(
        paths, size, views or batch_size(size), bits=bits, see=fitted_images.seen_by(size), sizes=sizes
    )
    images = tuple(k for k, count in zip(order, counts, strict=True) for _ in range(count))
    return SeenImages(batches, tuple(numbers[k] for k in images), images, sizes, fitted_images.margin)


def leave_out(detector: Detector, seen: SeenImages, *, update: bool = False) -> Iterator[tuple[float, Map]]:
    """Fit a detector that can leave images out, and yield score and map of every view as if its group were not there.

    The detector is fitted when all were taken.

    Args:
        detector: not fitted yet.
        seen: normal images by their groups.
        update: the detector is fitted, and learns these images on top.

    Raises:
        DataError: a file cannot be read, or too little is left without a group.
    """
    if update:
        learn = detector.update_leaving_out(seen.batches, seen.numbers)
    else:
        learn = detector.fit_leaving_out(seen.batches, seen.numbers, margin=seen.margin)
    for maps, scores in learn:
        yield from zip(scores.tolist(), maps.numpy(), strict=True)


def score_views(detector: Detector, seen: SeenImages) -> Iterator[tuple[float, Map]]:
    """Yield score and map of every view of images by a fitted detector."""
    for pixels in seen.batches:
        maps, scores = detector.score(pixels)
        yield from zip(scores.tolist(), maps.numpy(), strict=True)


def held_out_scores(
    seen: SeenImages,
    found: Iterator[tuple[float, Map]],
    fitted_images: FittedImages,
    score_of: ScoreOf,
    zones: Zones = EVERYTHING,
    *,
    by_area: bool = False,
) -> list[HeldOutScore]:
    """Join what was found on the views of normal images.

    Args:
        seen: the images.
        found: score and map of every view, in order; read to its end.
        fitted_images: what the model remembers of them.
        score_of: what of its map a score follows.
        zones: what counts.
        by_area: find the regions of their maps, too, for a limit by area.

    Returns:
        What is known of every image, in the order in which they were given.

    Raises:
        DataError: the zones do not fit an image.
        TrainingError: a score or a map is not finite.
    """
    framing, view = fitted_images.framing, seen.batches.size
    by_image: dict[int, HeldOutScore] = {}
    for path, (k, views) in zip(seen.batches.paths, groupby(seen.images), strict=True):
        of_image = list(islice(found, len(list(views))))  # by then it was read
        own = seen.sizes[path]
        score, anomaly_map = merge_views(lay_out(own, view, framing), of_image, score_of, own)
        by_image[k] = _held_out_score(path, score, anomaly_map, own, zones, by_area)
    next(found, None)  # a detector that leaves images out is fitted when all were taken
    return [by_image[k] for k in range(len(by_image))]


def score_files(
    runtime: Runtime,
    samples: Iterable[Sample],
    size: Size,
    fitted_images: FittedImages,
    zones: Zones = EVERYTHING,
    *,
    by_area: bool = False,
) -> list[HeldOutScore]:
    """Score every image, in order; :func:`held_out_scores` says what the last two are.

    Raises:
        DataError: a file cannot be read, or the zones do not fit it.
        TrainingError: a score or a map is not finite.
    """
    scored = []
    for future in read_and_score(runtime, [s.path for s in samples], size, fitted_images):
        file = future.result()
        scored.append(_held_out_score(file.path, file.score, file.map, file.size, zones, by_area))
    return scored


def _held_out_score(path: Path, score: float, small_map: Map, size: Size, zones: Zones, by_area: bool) -> HeldOutScore:
    anomaly_map = enlarge(small_map, size)
    highest = float(anomaly_map.max())
    if not math.isfinite(score + highest):
        raise TrainingError(
            f"The detector gave '{path}' the score {score}, which is no number that a limit can be chosen from: its"
            " training diverged, or its hyper-parameters are out of range."
        )
    found = HeldOutScore(score, highest, zones.highest(anomaly_map), float(np.median(small_map)))
    if not by_area:
        return found
    counted = zones.counted(size)
    return found._replace(regions=regions_of(anomaly_map, counted), counted_px=int(np.count_nonzero(counted)))


def choose_limit(
    runtime: Runtime,
    split: Split,
    size: Size,
    fitted_images: FittedImages,
    false_reject: float,
    held_out: Sequence[HeldOutScore],
    *,
    leaves_out: bool,
    method: LimitMethod,
    confidence: float | None = None,
    costs: Costs | None = None,
    defects: Sequence[float] | None = None,
    false_alarms: FalseAlarms | None = None,
    mm_per_px: Scale | None = None,
) -> Limit:
    """Choose the limit from normal images that were not fitted on, for what counts.

    The pixel limit is that of the highest values that a defect which counts would have. Where there is none above it,
    or near the map's peak, an image is accepted whatever its score, and so has the lowest. With zones that ignore
    something, the rate over n images is at most 1 / (n + 1) above the promise: docs/decisions/0031-what-counts.md.

    Args:
        runtime: scores the labelled training defects for a limit that looks at them.
        split: the data's; ``folds`` says whether the promise is approximate, ``select`` holds the labelled defects.
        size: height and width that the network takes.
        fitted_images: what the model remembers of them.
        false_reject: promised share of good images that are rejected, in (0, 1).
        held_out: what is known of every normal image of ``split.calibrating(leaves_out)``.
        leaves_out: they were fitted on, and each was left out for its score.
        method: ``f1``: the best F1 between them and the labelled defects, optimistic; ``gap``: least expected cost.
        confidence: that the rate is kept by this limit, in (0, 1); None: it is kept on average.
        costs: for ``gap``; by default an escape costs 100 false rejects, and 1 % of parts are defective.
        defects: scores of the labelled defects, where known: as if none had taught the detector that scores it.
        false_alarms: of a tiled model, the rate by area that is promised instead of ``false_reject``.
        mm_per_px: scale of the images, for a rate by m2.

    Raises:
        DataError: there are too few good images, or too little good glass.
    """
    groups, folds = [s.group for s in split.calibrating(leaves_out)], None if leaves_out else split.folds
    if false_alarms is not None:
        placed = _limit_by_area(held_out, groups, false_alarms, mm_per_px, confidence)
        return replace(placed, left_out=leaves_out, folds=folds)
    by_folds: ConformalMethod = "conformal" if split.folds is None else "cross-conformal"
    place = partial(
        calibrate,
        max_values=[one.highest_counted for one in held_out],
        false_reject=false_reject,
        groups=groups,
        method="leave-one-out" if leaves_out else by_folds,
        confidence=confidence,
    )
    tiled = fitted_images.are_tiled
    limit = replace(_limit_for_what_counts(place, held_out, tiled), folds=folds)
    if method != "conformal":
        if defects is None:
            defects = [one.score for one in score_files(runtime, split.select, size, fitted_images)]
        limit = f1_optimal(limit, defects) if method == "f1" else move_into_gap(limit, defects, costs or Costs())
    return replace(limit, pixel=min(limit.pixel, limit.value)) if tiled else limit


def _limit_for_what_counts(
    place: Callable[[list[float]], Limit], held_out: Sequence[HeldOutScore], tiled: bool
) -> Limit:
    """The limit by images; one without a defect that counts has the lowest score.

    The score of a tiled model is its map's highest value, so that what counts has a score.
    """
    scores = [one.highest_counted if tiled else one.score for one in held_out]
    limit = place(scores)
    counting = [tiled or one.counts(limit.pixel) for one in held_out]
    if not all(counting):
        placed = place([one.score if counts else min(scores) for one, counts in zip(held_out, counting, strict=True)])
        limit = replace(limit, value=placed.value, method=placed.method)
    return replace(limit, pixel_median=median(one.median for one in held_out))


def _limit_by_area(
    held_out: Sequence[HeldOutScore],
    groups: Sequence[str | None],
    asked: FalseAlarms,
    mm_per_px: Scale | None,
    confidence: float | None,
) -> Limit:
    """The limit of a tiled model by false alarms on an area, for its score and its pixels alike."""
    areas = [one.counted_px * unit_per_px(asked.unit, mm_per_px) for one in held_out]
    sizes = Counter(groups)
    weights = tuple(1.0 if group is None else 1 / sizes[group] for group in groups)
    value = place_by_area([one.regions for one in held_out if one.regions], areas, weights, asked, confidence)
    order = np.argsort([one.highest_counted for one in held_out], kind="stable")
    limit = Limit(
        value=value,
        pixel=value,
        false_reject_rate=0.0,
        scores=tuple(held_out[k].highest_counted for k in order),
        method="area",
        weights=tuple(weights[k] for k in order) if any(groups) else (),
        pixel_median=median(one.median for one in held_out),
        confidence=confidence,
        alarm_rate=asked.rate,
        alarm_unit=asked.unit,
        normal_area=float(np.dot(weights, areas)),
    )
    return replace(limit, false_reject_rate=share_beyond(limit))
