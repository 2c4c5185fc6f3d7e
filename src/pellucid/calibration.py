"""From held-out images to a limit: what a fit does with its detector, and an 8-bit export with its graph."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import median
from typing import NamedTuple

import numpy as np

from pellucid.acquisition.fitted_images import FittedImages
from pellucid.acquisition.images import Size
from pellucid.errors import TrainingError
from pellucid.limits.conformal import calibrate, f1_optimal
from pellucid.limits.segmentation import segmentation_threshold
from pellucid.records import Limit, Sample, Split
from pellucid.regions.zones import EVERYTHING, Zones
from pellucid.runtimes import Runtime
from pellucid.runtimes.scoring import enlarge, read_and_score


class HeldOutScore(NamedTuple):
    """What a detector says of a normal image, and of the map at the image's own size, as an inspection sees it.

    Attributes:
        score: of the image.
        highest: value of the map.
        highest_counted: value that a defect which counts reaches; see :meth:`pellucid.regions.zones.Zones.highest`.
        median: value of the map.
    """

    score: float
    highest: float
    highest_counted: float
    median: float

    def counts(self, pixel_limit: float) -> bool:
        """Tell whether a defect that counts would be found on it, if its score were above the limit."""
        return self.highest_counted > segmentation_threshold(np.array([self.highest], np.float32), pixel_limit)


def score_files(
    runtime: Runtime,
    samples: Iterable[Sample],
    size: Size,
    fitted_images: FittedImages,
    zones: Zones = EVERYTHING,
) -> list[HeldOutScore]:
    """Score every image, in order.

    Raises:
        DataError: a file cannot be read, or the zones do not fit it.
        TrainingError: a score or a map is not finite.
    """
    scored = []
    for future in read_and_score(runtime, [s.path for s in samples], size, fitted_images):
        file = future.result()
        anomaly_map = enlarge(file.map, file.size)
        highest = float(anomaly_map.max())
        if not math.isfinite(file.score + highest):
            raise TrainingError(
                f"The detector gave '{file.path}' the score {file.score}, which is no number that a limit can be chosen"
                " from: its training diverged, or its hyper-parameters are out of range."
            )
        counted = zones.highest(anomaly_map)
        scored.append(HeldOutScore(file.score, highest, counted, float(np.median(file.map))))
    return scored


def choose_limit(
    runtime: Runtime,
    split: Split,
    size: Size,
    fitted_images: FittedImages,
    false_reject: float,
    held_out: Sequence[HeldOutScore],
    *,
    f1: bool,
) -> Limit:
    """Choose the limit from normal images that were not fitted on, for what counts.

    The pixel limit is that of the highest values that a defect which counts would have. Where there is none above it,
    or near the map's peak, an image is accepted whatever its score, and so has the lowest. With zones that ignore
    something, the rate over n images is at most 1 / (n + 1) above the promise: docs/decisions/0031-what-counts.md.

    Args:
        runtime: scores the labelled training defects for an F1-optimal limit.
        split: the data's; ``folds`` says whether the promise is approximate, ``select`` holds the labelled defects.
        size: height and width that the network takes.
        fitted_images: what the model remembers of them.
        false_reject: promised share of good images that are rejected, in (0, 1).
        held_out: what is known of every held-out normal image.
        f1: move the limit to the best F1 between them and the labelled defects: optimistic.
    """
    scores, max_values = [one.score for one in held_out], [one.highest_counted for one in held_out]
    groups = [s.group for s in (split.fit if split.folds else split.calibrate)]
    limit = calibrate(scores, max_values, false_reject, groups=groups, folds=split.folds is not None)
    if not all(one.counts(limit.pixel) for one in held_out):
        counted = [one.score if one.counts(limit.pixel) else min(scores) for one in held_out]
        limit = replace(
            limit,
            value=calibrate(counted, max_values, false_reject, groups=groups, folds=split.folds is not None).value,
        )
    limit = replace(limit, pixel_median=median(one.median for one in held_out))
    if not f1:
        return limit
    return f1_optimal(limit, [one.score for one in score_files(runtime, split.select, size, fitted_images)])
