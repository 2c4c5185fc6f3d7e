"""A limit that goes where a few images of a new lot score.

A few images tell where a lot's scores lie, and nothing of their tail, which the limit is in. So how scores are spread
is taken from the earlier ones, and the mean from the lot, as far as m images can tell it: lots differ by chance, and
their means by nature. The mean is an empirical Bayes estimate (Efron and Morris, JASA 1973), which goes all the way to
a lot that is far off and less far to one that a few images may only seem to tell apart. The limit comes to lie
sqrt(1 + 1/m) times as far above it as before, as a prediction interval does, whose mean rate is the asked one whatever
m if scores are normal (Fisher, "Statistical Methods for Research Workers", 1925). Nothing is guaranteed: lots may
differ in spread, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pellucid.records.limits import Limit

LOT_SPREAD = 0.5  # of the means of lots, at least, as a share of the spread of scores within one


def move_to_lot(limit: Limit, scores: Sequence[float], groups: Sequence[int]) -> Limit:
    """Move a limit, and the scores that it was chosen from, to where images of a new lot score.

    Args:
        limit: of the model before it learned from them; what an earlier lot widened is taken back first.
        scores: (m,) of the images, as if each had not been learned from.
        groups: (m,) the group of each: images of one group have one voice.
    """
    lot_images = len(set(groups))
    weights = limit.weights or None
    earlier = float(np.average(limit.scores, weights=weights))
    variance = float(np.average((np.asarray(limit.scores) - earlier) ** 2, weights=weights))
    apart = float(np.average(scores, weights=1 / np.bincount(groups)[np.asarray(groups)])) - earlier
    moved = apart * _share_by_nature(apart, variance, variance / lot_images)
    widened = _widening(lot_images) / _widening(limit.lot_images)

    def move(value: float) -> float:
        return earlier + moved + widened * (value - earlier)

    value = move(limit.value)
    return replace(
        limit,
        value=value,
        pixel=limit.pixel * value / limit.value if min(value, limit.value) > 0 else limit.pixel,
        scores=tuple(score + moved for score in limit.scores),
        moved_from=None if limit.moved_from is None else move(limit.moved_from),
        lot_images=lot_images,
    )


def _share_by_nature(apart: float, variance: float, by_chance: float) -> float:
    """Which share of the distance of a lot's mean is expected to be its own, and not chance."""
    by_nature = max(LOT_SPREAD**2 * variance, apart**2 - by_chance)
    return by_nature / (by_nature + by_chance) if by_chance > 0 else 1.0


def _widening(lot_images: int | None) -> float:
    return 1.0 if lot_images is None else math.sqrt(1 + 1 / lot_images)
