"""From held-out images to a limit: what a fit does with its detector, and an 8-bit export with its graph."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal

from pellucid.acquisition.fitted_images import FittedImages
from pellucid.acquisition.images import Size
from pellucid.errors import TrainingError
from pellucid.limits.conformal import calibrate, f1_optimal
from pellucid.limits.costs import Costs
from pellucid.limits.gap import move_into_gap
from pellucid.records import Limit, Sample, Split
from pellucid.runtimes import Runtime
from pellucid.runtimes.scoring import enlarge, read_and_score

LimitMethod = Literal["conformal", "f1", "gap"]
ScoreAndMax = tuple[float, float]  # image score, highest map value


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
        highest = float(enlarge(file.map, file.size).max())
        if not math.isfinite(file.score + highest):
            raise TrainingError(
                f"The detector gave '{file.path}' the score {file.score}, which is no number that a limit can be chosen"
                " from: its training diverged, or its hyper-parameters are out of range."
            )
        scored.append((file.score, highest))
    return scored


def choose_limit(
    runtime: Runtime,
    split: Split,
    size: Size,
    fitted_images: FittedImages,
    false_reject: float,
    held_out: Sequence[ScoreAndMax],
    *,
    method: LimitMethod,
    costs: Costs | None = None,
) -> Limit:
    """Choose the limit from normal images that were not fitted on.

    Args:
        runtime: scores the labelled training defects for a limit that looks at them.
        split: the data's; ``folds`` says whether the promise is approximate, ``select`` holds the labelled defects.
        size: height and width that the network takes.
        fitted_images: what the model remembers of them.
        false_reject: promised share of good images that are rejected, in (0, 1).
        held_out: score and highest map value of every held-out normal image.
        method: ``f1`` moves the limit to the best F1 between them and the labelled defects: optimistic; ``gap`` to the
            least expected cost where they score apart.
        costs: for ``gap``; by default an escape costs 100 false rejects, and 1 % of parts are defective.
    """
    scores, max_values = [score for score, _ in held_out], [value for _, value in held_out]
    groups = [s.group for s in (split.fit if split.folds else split.calibrate)]
    limit = calibrate(scores, max_values, false_reject, groups=groups, folds=split.folds is not None)
    if method == "conformal":
        return limit
    defects = [score for score, _ in score_files(runtime, split.select, size, fitted_images)]
    return f1_optimal(limit, defects) if method == "f1" else move_into_gap(limit, defects, costs or Costs())
