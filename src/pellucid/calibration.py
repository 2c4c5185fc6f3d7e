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
from pellucid.records import Limit, Sample, Split
from pellucid.runtimes import Runtime
from pellucid.runtimes.scoring import enlarge, read_and_score


class HeldOutScore(NamedTuple):
    """What a detector says of a normal image: its score, and the highest and the median value of its map."""

    score: float
    highest: float
    median: float


def score_files(
    runtime: Runtime, samples: Iterable[Sample], size: Size, fitted_images: FittedImages
) -> list[HeldOutScore]:
    """Score every image, in order; the highest map value is that at the image's own size, as an inspection sees it.

    Raises:
        DataError: a file cannot be read.
        TrainingError: a score or a map is not finite.
    """
    scored = []
    for future in read_and_score(runtime, [s.path for s in samples], size, fitted_images):
        file = future.result()
        highest = float(enlarge(file.map, file.size).max())
        if not math.isfinite(file.score + highest):
            raise TrainingError(
                f"The detector gave '{file.path}' the score {file.score}, which is no number that a limit can be chosen"
                " from: its training diverged, or its hyper-parameters are out of range."
            )
        scored.append(HeldOutScore(file.score, highest, float(np.median(file.map))))
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
    """Choose the limit from normal images that were not fitted on.

    Args:
        runtime: scores the labelled training defects for an F1-optimal limit.
        split: the data's; ``folds`` says whether the promise is approximate, ``select`` holds the labelled defects.
        size: height and width that the network takes.
        fitted_images: what the model remembers of them.
        false_reject: promised share of good images that are rejected, in (0, 1).
        held_out: what is known of every held-out normal image.
        f1: move the limit to the best F1 between them and the labelled defects: optimistic.
    """
    scores, max_values = [one.score for one in held_out], [one.highest for one in held_out]
    groups = [s.group for s in (split.fit if split.folds else split.calibrate)]
    limit = calibrate(scores, max_values, false_reject, groups=groups, folds=split.folds is not None)
    limit = replace(limit, pixel_median=median(one.median for one in held_out))
    if not f1:
        return limit
    return f1_optimal(limit, [one.score for one in score_files(runtime, split.select, size, fitted_images)])
