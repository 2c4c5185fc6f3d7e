"""Score to decision: limits from normal images that were not fitted on.

Split-conformal prediction (Vovk et al., "Algorithmic Learning in a Random World", 2005; Bates et al., "Testing for
outliers with conformal p-values", Annals of Statistics 2023). For exchangeable normals the probability of a false
reject is at most the stated rate, whatever the detector.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import DataError
from pellucid.records import Limit


def conformal_limit(scores: Sequence[float] | NDArray[np.floating], false_reject: float) -> float:
    """Return the limit t = s_(k), k = ceil((n + 1)(1 - rate)): the k-th smallest of n normal scores; reject s > t.

    Args:
        scores: (n,) of normal images that were not fitted on.
        false_reject: promised rate, in (0, 1).

    Raises:
        DataError: n < 1 / rate - 1, so that no score is high enough to keep the promise.
    """
    ordered = np.sort(np.asarray(scores, np.float64))
    k = _rank(len(ordered), false_reject)
    if k > len(ordered):
        raise DataError(f"{len(ordered)} normal scores cannot promise a false-reject rate of {false_reject:g}.")
    return float(ordered[k - 1])


def realised_rate(count: int, false_reject: float) -> tuple[float, float]:
    """Return between which rates the true false-reject rate of a limit from ``count`` normals lies nine times in ten.

    It is distributed as Beta(n + 1 - k, k) over the draw of calibration images (Vovk, ACML 2012), around the promise.
    """
    from scipy.stats import beta

    k = _rank(count, false_reject)
    low, high = beta.ppf((0.05, 0.95), count + 1 - k, k)
    return float(low), float(high)


def _rank(count: int, false_reject: float) -> int:
    """Return k = ceil((n + 1)(1 - rate)), whatever the rounding of the product."""
    return math.ceil((count + 1) * (1 - false_reject) - 1e-9)


def calibrate(
    scores: Sequence[float], max_values: Sequence[float], false_reject: float, *, folds: bool = False
) -> Limit:
    """Choose the limit on scores, and on map pixels, from held-out normal images.

    Args:
        scores: (n,) image scores.
        max_values: (n,) highest map value of each image: taking the maximum first makes the pixel limit hold per image.
        false_reject: promised rate, in (0, 1).
        folds: the scores were pooled over folds (cross-conformal: the promise is approximate).
    """
    return Limit(
        value=conformal_limit(scores, false_reject),
        pixel=conformal_limit(max_values, false_reject),
        false_reject_rate=false_reject,
        scores=tuple(sorted(float(s) for s in scores)),
        method="cross-conformal" if folds else "conformal",
    )


def f1_optimal(limit: Limit, defect_scores: Sequence[float]) -> Limit:
    """Move a limit to the best F1 between its normal scores and labelled defects.

    It lies midway between neighbouring scores. It is optimistic: labels chose it.

    Args:
        limit: whose normal scores are taken.
        defect_scores: of labelled training defects.

    Raises:
        DataError: there are no labelled defects.
    """
    if not len(defect_scores):
        raise DataError("An F1-optimal limit needs labelled defects for selection (abnormal_train/ or split=train).")
    normal, defects = np.asarray(limit.scores), np.asarray(defect_scores, np.float64)
    values = np.unique(np.concatenate([normal, defects]))
    cuts = np.concatenate([[np.nextafter(values[0], -np.inf)], (values[:-1] + values[1:]) / 2])
    found = (defects > cuts[:, None]).sum(1)
    false = (normal > cuts[:, None]).sum(1)
    f1 = 2 * found / (found + false + len(defects))
    cut = float(cuts[int(np.argmax(f1))])
    realised = float((normal > cut).mean())
    return Limit(value=cut, pixel=limit.pixel, false_reject_rate=realised, scores=limit.scores, method="f1")
