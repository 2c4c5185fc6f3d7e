"""A limit that goes where a few images of a new lot score.

A few images tell where a lot's scores lie, and nothing of their tail, which the limit is in. So their mean is taken
from the lot, and how scores are spread about it from the earlier ones: of m images, the limit comes to lie
sqrt(1 + 1/m) times as far above their mean as it lay above the earlier one. That is a prediction interval, whose mean
rate is the asked one whatever m if scores are normal (Fisher, "Statistical Methods for Research Workers", 1925); of
others it is near. It is not guaranteed: two lots may differ in spread, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pellucid.records import Limit


def move_to_lot(limit: Limit, scores: Sequence[float], groups: Sequence[int]) -> Limit:
    """Move a limit, and the scores that it was chosen from, to where images of a new lot score.

    Args:
        limit: of the model before it learned from them; what an earlier lot widened is taken back first.
        scores: (m,) of the images, as if each had not been learned from.
        groups: (m,) the group of each: images of one group have one voice.
    """
    lot_images = len(set(groups))
    earlier = float(np.average(limit.scores, weights=limit.weights or None))
    here = float(np.average(scores, weights=1 / np.bincount(groups)[np.asarray(groups)]))
    widened = _widening(lot_images) / _widening(limit.lot_images)
    value = here + widened * (limit.value - earlier)
    moved_from = None if limit.moved_from is None else here + widened * (limit.moved_from - earlier)
    return replace(
        limit,
        value=value,
        pixel=limit.pixel * value / limit.value if min(value, limit.value) > 0 else limit.pixel,
        scores=tuple(score + (here - earlier) for score in limit.scores),
        moved_from=moved_from,
        lot_images=lot_images,
    )


def _widening(lot_images: int | None) -> float:
    return 1.0 if lot_images is None else math.sqrt(1 + 1 / lot_images)
