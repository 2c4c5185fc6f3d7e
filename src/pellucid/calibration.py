"""From normal images to a limit: what a fit does with its detector, and an 8-bit export with its graph."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.acquisition.fitted_images import FittedImages
from pellucid.acquisition.images import ImageBatches, Size
from pellucid.acquisition.splits import group_numbers
from pellucid.errors import TrainingError
from pellucid.limits.conformal import ConformalMethod, calibrate, f1_optimal
from pellucid.records import Limit, Sample, Split
from pellucid.runtimes import Runtime
from pellucid.runtimes.scoring import Map, enlarge, read_and_score

if TYPE_CHECKING:
    from pellucid.detectors._base import Detector

ScoreAndMax = tuple[float, float]  # image score, highest map value


def fit_leaving_out(
    detector: Detector, samples: Sequence[Sample], size: Size, fitted_images: FittedImages
) -> list[ScoreAndMax]:
    """Fit a detector that can leave images out, and score each of them as if its group had not been fitted on.

    A group is left out whole; where all images are of one, each is left out alone.

    Args:
        detector: not fitted yet.
        samples: normal images.
        size: height and width that the network takes.
        fitted_images: what the model remembers of them.

    Returns:
        Of every sample, in order, the score and the highest map value at the image's own size.

    Raises:
        DataError: a file cannot be read, or too little is left without a group.
        TrainingError: a score or a map is not finite.
    """
    numbers = group_numbers(samples)
    order = sorted(range(len(samples)), key=numbers.__getitem__)  # images of a group follow each other
    paths = tuple(samples[k].path for k in order)
    sizes: dict[Path, Size] = {}
    batches = ImageBatches(paths, size, bits=fitted_images.bits, sizes=sizes)
    found: list[ScoreAndMax] = []
    for maps, scores in detector.fit_leaving_out(batches, [numbers[k] for k in order]):
        for anomaly_map, score in zip(maps.numpy(), scores.tolist(), strict=True):
            path = paths[len(found)]
            found.append(_score_and_max(path, score, anomaly_map, sizes[path]))
    by_place = dict(zip(order, found, strict=True))
    return [by_place[k] for k in range(len(samples))]


def score_files(
    runtime: Runtime, samples: Iterable[Sample], size: Size, fitted_images: FittedImages
) -> list[ScoreAndMax]:
    """Score every image, in order; the highest map value is that at the image's own size, as an inspection sees it.

    Raises:
        DataError: a file cannot be read.
        TrainingError: a score or a map is not finite.
    """
    scored = []
    for future in read_and_score(runtime, [s.path for s in samples], size, fitted_images):
        file = future.result()
        scored.append(_score_and_max(file.path, file.score, file.map, file.size))
    return scored


def _score_and_max(path: Path, score: float, anomaly_map: Map, size: Size) -> ScoreAndMax:
    highest = float(enlarge(anomaly_map, size).max())
    if not math.isfinite(score + highest):
        raise TrainingError(
            f"The detector gave '{path}' the score {score}, which is no number that a limit can be chosen from: its"
            " training diverged, or its hyper-parameters are out of range."
        )
    return score, highest


def choose_limit(
    runtime: Runtime,
    split: Split,
    size: Size,
    fitted_images: FittedImages,
    false_reject: float,
    held_out: Sequence[ScoreAndMax],
    *,
    leaves_out: bool,
    f1: bool,
    confidence: float | None = None,
) -> Limit:
    """Choose the limit from normal images that were not fitted on.

    Args:
        runtime: scores the labelled training defects for an F1-optimal limit.
        split: the data's; ``folds`` says whether the promise is approximate, ``select`` holds the labelled defects.
        size: height and width that the network takes.
        fitted_images: what the model remembers of them.
        false_reject: promised share of good images that are rejected, in (0, 1).
        held_out: score and highest map value of every normal image of ``split.calibrating(leaves_out)``.
        leaves_out: they were fitted on, and each was left out for its score.
        confidence: that the rate is kept by this limit, in (0, 1); None: it is kept on average.
        f1: move the limit to the best F1 between them and the labelled defects: optimistic.
    """
    scores, max_values = [score for score, _ in held_out], [value for _, value in held_out]
    groups = [s.group for s in split.calibrating(leaves_out)]
    method: ConformalMethod = "conformal" if split.folds is None else "cross-conformal"
    method = "leave-one-out" if leaves_out else method
    limit = calibrate(scores, max_values, false_reject, groups=groups, method=method, confidence=confidence)
    if not f1:
        return limit
    return f1_optimal(limit, [score for score, _ in score_files(runtime, split.select, size, fitted_images)])
