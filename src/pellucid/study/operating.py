"""Where to set the limit: by a budget of false rejects, by a budget of escapes, or by what either costs.

A limit is chosen from images that are not tested on wherever there are any, and says so when test labels chose it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from pellucid.acquisition.splits import min_calibration_images
from pellucid.limits.conformal import conformal_limit
from pellucid.limits.costs import Costs
from pellucid.limits.gap import TRAINING_DEFECTS
from pellucid.records.limits import Limit
from pellucid.study import metrics
from pellucid.study.results import OperatingPoint

FALSE_REJECT_RATES = (0.01, 0.05, 0.1)  # that rules promise
ESCAPE_RATES = (0.01, 0.05, 0.1)  # that rules promise
HELD_OUT_NORMALS = "normal images that were held out"
TEST_LABELS = "test labels: optimistic"


def escape_limit(scores: Sequence[float], escape_rate: float) -> float | None:
    """Return the highest limit below which at most this share of new defects is expected to score.

    Split-conformal as the other side is: just under the k-th smallest of n scores, k = floor((n + 1) rate); for
    exchangeable defects at most ``escape_rate`` of them escape. None when n < 1 / rate - 1 promises nothing.
    """
    k = math.floor((len(scores) + 1) * escape_rate + 1e-9)
    return float(np.nextafter(np.sort(np.asarray(scores, np.float64))[k - 1], -np.inf)) if k >= 1 else None


def cheapest_limit(normal: Sequence[float], defects: Sequence[float], costs: Costs) -> float:
    """Return the limit of least expected cost on these scores: the highest that ties, midway between two scores."""
    good, bad = np.sort(np.asarray(normal, np.float64)), np.sort(np.asarray(defects, np.float64))
    values = np.unique(np.concatenate([good, bad]))
    cuts = np.r_[np.nextafter(values[0], -np.inf), (values[:-1] + values[1:]) / 2, values[-1]]
    escaped = np.searchsorted(bad, cuts, "right") / len(bad)
    rejected = 1 - np.searchsorted(good, cuts, "right") / len(good)
    cost = np.asarray(costs.expected_cost(escaped, rejected))
    return float(cuts[np.flatnonzero(cost <= cost.min() + 1e-12)[-1]])


def operating_points(
    labels: Sequence[bool], scores: Sequence[float], limit: Limit, selection: Sequence[float], costs: Costs
) -> tuple[OperatingPoint, ...]:
    """Return every limit that the images allow, with counts and intervals on the test images.

    Args:
        labels: of the test images, true where defective.
        scores: of the test images.
        limit: the model's, for its held-out normal scores.
        selection: scores of labelled training defects, if there are any.
        costs: of an escape and a false reject.
    """
    return tuple(
        OperatingPoint(rule, value, chosen_on, metrics.at_limit(labels, scores, value))
        for rule, value, chosen_on in _limits(labels, scores, limit, selection, costs)
    )


def _limits(
    labels: Sequence[bool], scores: Sequence[float], limit: Limit, selection: Sequence[float], costs: Costs
) -> Iterator[tuple[str, float, str]]:
    for rate in FALSE_REJECT_RATES:
        if len(limit.scores) >= min_calibration_images(rate):
            yield f"at most {rate:.0%} false rejects", conformal_limit(limit.scores, rate), HELD_OUT_NORMALS
    tested = [s for s, defective in zip(scores, labels, strict=True) if defective]
    defects, chosen_on = (selection, TRAINING_DEFECTS) if len(selection) else (tested, TEST_LABELS)
    for rate in ESCAPE_RATES:
        if (value := escape_limit(defects, rate)) is not None:
            yield f"at most {rate:.0%} escapes", value, chosen_on
    if len(defects) and len(limit.scores):
        rule = f"least cost (escape {costs.escape:g}, false reject {costs.reject:g}, {costs.defect_rate:.2%} defective)"
        yield rule, cheapest_limit(limit.scores, defects, costs), f"{HELD_OUT_NORMALS}, {chosen_on}"
